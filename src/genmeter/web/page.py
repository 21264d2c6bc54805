"""``/``: the dashboard, one page with its scripts and styles, all from this server.

The files lie under an address that holds a checksum over all of them. So a browser keeps them for
good and asks only whether the page has changed, and no two versions ever mix.
"""

import hashlib
import logging
import mimetypes
from html import escape
from pathlib import Path
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from genmeter.api.responses import unchanged
from genmeter.errors import NotFoundError
from genmeter.model.fields import LISTED

log = logging.getLogger(__name__)

_HERE: Final = Path(__file__).parent
_CHARTS: Final = ("uPlot.esm.js", "uPlot.min.css")
_PAGE: Final = "index.html"
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_SAFE: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_NOT_BUILT: Final = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><title>genmeter</title>'
    "<h1>The dashboard is not built</h1><p>Its chart library comes with the installation: run "
    "<code>pip install '.[server]'</code>, or <code>python hatch_build.py</code> in a folder of "
    'the source.</p><p><a href="/docs">The routes</a> work without it.</p></html>'
)


def routes() -> list[Route]:
    """The page and its files, read once."""
    static = _HERE / "static"
    files = {
        path.relative_to(static).as_posix(): path.read_bytes()
        for path in sorted(static.rglob("*"))
        if path.is_file()
    }
    files["fields.js"] = _fields()
    page = files.pop(_PAGE).decode()
    if missing := [name for name in _CHARTS if not (_HERE / "vendor" / name).exists()]:
        log.warning("the dashboard is not built: %s missing", ", ".join(missing))
        page = _NOT_BUILT
    else:
        files |= {name: (_HERE / "vendor" / name).read_bytes() for name in _CHARTS}
    digest = hashlib.sha256(page.encode())
    for name, content in sorted(files.items()):
        digest.update(name.encode() + b"\0" + content)
    version = digest.hexdigest()[:16]
    body = _filled(page, f"/assets/{version}", list(files))
    tag = f'"{hashlib.sha256(body.encode()).hexdigest()[:16]}"'

    async def index(request: Request) -> Response:
        headers = _SAFE | {"ETag": tag, "Cache-Control": "no-cache"}
        if unchanged(request, tag):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type="text/html")

    async def asset(request: Request) -> Response:
        name = request.path_params["name"]
        if request.path_params["version"] != version or name not in files:
            raise NotFoundError("no such file; reload the page")
        headers = _SAFE | {"Cache-Control": "public, max-age=31536000, immutable"}
        suffix = Path(name).suffix
        media_type = _TYPES.get(suffix) or mimetypes.types_map[suffix]
        return Response(files[name], headers=headers, media_type=media_type)

    return [Route("/", index), Route("/assets/{version}/{name:path}", asset)]


def _fields() -> bytes:
    """The table of fields as a script: the page needs it before its first request."""
    shown = [
        {
            "key": field.key,
            "label": field.label,
            "dimension": field.dimension or None,
            "inTable": field.in_table,
        }
        for field in LISTED
    ]
    return b"export const FIELDS = " + msgspec.json.encode(shown) + b";\n"


def _filled(page: str, assets: str, names: list[str]) -> str:
    """``page`` with the address of its files, and all scripts named so that they load at once."""
    scripts = "".join(
        f'<link rel="modulepreload" href="{assets}/{escape(name)}">'
        for name in names
        if name.endswith(".js")
    )
    return page.replace("{scripts}", scripts).replace("{assets}", assets)
