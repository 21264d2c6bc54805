"""``/docs``: the OpenAPI description as a page to read, with no address outside the server."""

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_STYLE: Final = (Path(__file__).parent / "manual.css").read_text(encoding="utf-8")
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; style-src 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
}


def routes(description: dict[str, Any]) -> list[Route]:
    """The page that shows ``description``, and its style."""
    page = render(description)

    async def manual(_: Request) -> Response:
        return Response(page, headers=_HEADERS, media_type="text/html")

    async def style(_: Request) -> Response:
        return Response(_STYLE, headers=_HEADERS, media_type="text/css")

    return [Route("/docs", manual), Route("/docs.css", style)]


def render(description: dict[str, Any]) -> str:
    """The page as HTML."""
    info = description["info"]
    operations = [
        (method, path, operation)
        for path, methods in description["paths"].items()
        for method, operation in methods.items()
    ]
    links = "".join(
        f'<li><a href="#{escape(op["operationId"])}">'
        f"<b>{method.upper()}</b> {escape(path)}</a></li>"
        for method, path, op in operations
    )
    schemas = description["components"]["schemas"]
    names = "".join(f'<li><a href="#{escape(name)}">{escape(name)}</a></li>' for name in schemas)
    body = "".join(_operation(*operation) for operation in operations)
    shapes = "".join(_schema(name, schema) for name, schema in schemas.items())
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title>"
        '<link rel="stylesheet" href="/docs.css"></head><body>'
        f"<nav><h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
        f"<h2>Routes</h2><ul>{links}</ul><h2>Shapes</h2><ul>{names}</ul></nav>"
        f"<main><p>{escape(info['summary'])}. Requests carry "
        "<code>Authorization: Bearer TOKEN</code>; every error is "
        '<code>{"error": "…"}</code>. The same for programs: '
        f'<a href="/openapi.json">openapi.json</a>.</p>{body}<h2>Shapes</h2>{shapes}</main>'
        "</body></html>"
    )


def _operation(method: str, path: str, operation: dict[str, Any]) -> str:
    parameters = [
        (p["name"], _type(p["schema"]), "required" if p["required"] else "", p.get("description"))
        for p in operation.get("parameters", ())
    ]
    bodies = [
        (media, _type(content["schema"]), "", "")
        for media, content in operation.get("requestBody", {}).get("content", {}).items()
    ]
    answers = [
        (status, _answer(answer), "", answer["description"])
        for status, answer in sorted(operation["responses"].items())
    ]
    return (
        f'<section id="{escape(operation["operationId"])}">'
        f"<h2><b>{method.upper()}</b> <code>{escape(path)}</code></h2>"
        f"<p>{escape(operation['summary'])}.</p>"
        f"{_table('Parameters', parameters)}{_table('Body', bodies)}{_table('Answers', answers)}"
        "</section>"
    )


def _answer(answer: dict[str, Any]) -> str:
    """The shape of an answer, and the other formats it can have."""
    content = answer.get("content")
    if not content:
        return "nothing"
    shape, *others = content.items()
    named = "".join(f", <code>{escape(media_type)}</code>" for media_type, _ in others)
    return _type(shape[1]["schema"]) + named


def _schema(name: str, schema: dict[str, Any]) -> str:
    required = schema.get("required", ())
    rows = [
        (key, _type(value), "required" if key in required else "", value.get("description"))
        for key, value in schema.get("properties", {}).items()
    ]
    text = escape(schema.get("description", "").split("\n\n")[0])
    return (
        f'<section id="{escape(name)}"><h3>{escape(name)}</h3><p>{text}</p>'
        f"{_table('Keys', rows)}</section>"
    )


def _table(title: str, rows: Sequence[tuple[str, str, str, str | None]]) -> str:
    if not rows:
        return ""
    cells = "".join(
        f"<tr><th scope=row><code>{escape(name)}</code></th><td>{shape}</td>"
        f"<td>{note}</td><td>{escape(text or '')}</td></tr>"
        for name, shape, note, text in rows
    )
    return f"<h4>{title}</h4><table>{cells}</table>"


def _type(schema: dict[str, Any]) -> str:
    """A schema in a few words, as HTML."""
    if "$ref" in schema:
        name = escape(schema["$ref"].rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(_type(one) for one in schema[key])
    if "enum" in schema:
        return "one of " + ", ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
    if schema.get("type") == "array":
        return f"list of {_type(schema['items'])}" if schema.get("items") else "list"
    if isinstance(schema.get("additionalProperties"), dict):
        return f"map of {_type(schema['additionalProperties'])}"
    if "const" in schema:
        return f"<code>{escape(str(schema['const']).lower())}</code>"
    kinds = schema.get("type", "anything")
    kinds = kinds if isinstance(kinds, str) else " or ".join(kinds)
    bounds = [
        f"{words} {schema[key]}"
        for key, words in (
            ("minimum", "from"),
            ("maximum", "to"),
            ("minLength", "at least"),
            ("maxLength", "at most"),
        )
        if key in schema
    ]
    return escape(" ".join([schema.get("format") or kinds, *bounds]))
