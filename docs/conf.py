"""The documentation as a site, by Sphinx; ``make docs`` builds it.

Reference pages are made from the code: settings and routes from their tables, commands by
sphinx-click, the client from its docstrings. A warning, a broken link among them, fails the build.
"""

from typing import Any

from genmeter import __version__
from genmeter.api import openapi
from genmeter.config.settings import SETTINGS
from genmeter.model.bots import ELEVEN

project = "genmeter"
author = "the genmeter maintainers"
release = version = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx_click"]
html_theme = "furo"
html_title = f"genmeter {__version__}"
html_logo = "../src/genmeter/web/static/icon.svg"
exclude_patterns = ["_build"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
autodoc_member_order = "bysource"
autodoc_typehints = "description"
nitpick_ignore_regex = [("py:.*", ".*")]  # types of other packages have no inventory here
pygments_style = "tango"
suppress_warnings = ["misc.highlighting_failure"]  # shortened requests are no valid HTTP


def setup(app: Any) -> None:
    """Fill reference pages when they are read."""
    app.connect("source-read", fill)


def fill(_: Any, name: str, source: list[str]) -> None:
    """Replace the marker of a reference page with its content."""
    if name == "reference/settings":
        source[0] = source[0].replace("{{ settings }}", settings())
    elif name == "reference/api":
        source[0] = source[0].replace("{{ api }}", api())


def settings() -> str:
    """A table of all settings."""
    lines = ["| Flag | Variable | Default | Commands | Meaning |", "|---|---|---|---|---|"]
    for setting in SETTINGS:
        flag = "" if setting.secret else f"`{setting.flag}`"
        default = f"`{setting.default}`" if setting.default else ""
        commands = ", ".join(setting.commands)
        lines.append(
            f"| {flag} | `{setting.variable}` | {default} | {commands} | {_cell(setting.help)} |"
        )
    return "\n".join(lines)


def api() -> str:
    """Every route with its parameters and responses, then every schema."""
    described = openapi.document(ELEVEN, most_records=50_000)
    parts = []
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            parts.append(f"## {method.upper()} {path}\n\n{operation['summary']}.\n")
            parts.append(_parameters(operation.get("parameters", [])))
            parts.append(_responses(operation["responses"]))
    parts.append("## Schemas\n")
    for name, schema in described["components"]["schemas"].items():
        parts.append(f"### {name}\n\n{schema.get('description', '')}\n")
        parts.append(_properties(schema))
    return "\n".join(filter(None, parts))


def _parameters(parameters: list[dict[str, Any]]) -> str:
    if not parameters:
        return ""
    lines = ["| Parameter | In | Meaning |", "|---|---|---|"]
    for one in parameters:
        required = " (required)" if one.get("required") else ""
        lines.append(
            f"| `{one['name']}`{required} | {one['in']} | {_cell(one.get('description', ''))} |"
        )
    return "\n".join(lines) + "\n"


def _responses(responses: dict[str, Any]) -> str:
    lines = ["| Status | Meaning | Body |", "|---|---|---|"]
    for status, one in responses.items():
        schema = one.get("content", {}).get("application/json", {}).get("schema", {})
        name = schema.get("$ref", "").rpartition("/")[2]
        body = f"[{name}](#{name.lower()})" if name else ""
        lines.append(f"| {status} | {_cell(one['description'])} | {body} |")
    return "\n".join(lines) + "\n"


def _properties(schema: dict[str, Any]) -> str:
    properties = schema.get("properties", {})
    if not properties:
        return ""
    required = schema.get("required", [])
    lines = ["| Key | Required | Meaning |", "|---|---|---|"]
    for key, one in properties.items():
        always = "yes" if key in required else ""
        lines.append(f"| `{key}` | {always} | {_cell(one.get('description', ''))} |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ").replace("<", "&lt;")
