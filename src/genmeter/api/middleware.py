"""What surrounds every request: an id, a line in the log, and an answer whatever happens."""

import errno
import logging
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from genmeter.errors import (
    AccountsError,
    EngineError,
    GenmeterError,
    SpoolFullError,
    TooSlowError,
    UnauthorizedError,
    WriteError,
)

log = logging.getLogger(__name__)

_SCARCE: Final = frozenset({
    errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC, errno.EROFS,
})  # fmt: skip

REQUEST_ID: Final = "genmeter.request_id"
ACCOUNT: Final = "genmeter.account"
EXTRA_HEADERS: Final = "genmeter.headers"
"""Headers that every response to the request has, errors too."""
AUTHENTICATES: Final = "genmeter.authenticates"
"""Set on a request whose response depends on its token."""


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """The one shape of every error (C20)."""
    body = msgspec.json.encode({"error": message})
    return Response(body, status, headers, media_type="application/json")


async def genmeter_error(request: Request, error: Exception) -> Response:
    """Answer an error that was raised on purpose."""
    assert isinstance(error, GenmeterError)  # noqa: S101  # registered for this class alone
    headers = {}
    message = str(error)
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if isinstance(error, TooSlowError):
        headers["Connection"] = "close"
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, AccountsError | EngineError | WriteError | SpoolFullError):
        request_id = request.scope[REQUEST_ID]
        log.error("a request failed", extra={"request": request_id, "detail": _causes(error)})
        if isinstance(error, EngineError):  # its own words are not for clients
            message = "the storage engine could not answer; try again later"
        message = f"{message} (request {request_id})"
    return error_response(error.status, message, headers)


async def http_error(request: Request, error: Exception) -> Response:
    """Answer what the router refuses: no such route, or not this method."""
    assert isinstance(error, HTTPException)  # noqa: S101  # registered for this class alone
    path = request.url.path[:200]
    message = error.detail
    if error.status_code == 404:
        routes = sorted({route.path for route in request.app.routes})
        message = f"there is no {path} here; there are {', '.join(routes)}"
    elif error.status_code == 405:
        allowed = ", ".join(sorted((error.headers or {}).get("Allow", "").split(", ")))
        message = f"{request.method} is not allowed on {path}; allowed are {allowed}"
        return error_response(405, message, {"Allow": allowed})
    return error_response(error.status_code, message, error.headers)


class CatchAll:
    """Turns an error nobody foresaw into a plain 500, its story in the log under the same id.

    Where the machine is short of something it is a 503.

    Once an answer has begun it can only be cut off, which the client notices: the body of an
    answer that is not whole never ends properly.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            pass  # in the middle of its body: nobody is there to answer, and nothing is wrong here
        except Exception as error:
            request_id = scope[REQUEST_ID]
            log.error(
                "an answer was broken off" if started else "a request failed unforeseen",
                exc_info=not isinstance(error, GenmeterError),
                extra={"request": request_id, "detail": _causes(error)},
            )
            if started:
                return
            if _out_of_resources(error):
                message = (
                    f"the server is short of resources; try again later (request {request_id})"
                )
                await error_response(503, message, {"Retry-After": "1"})(scope, receive, send)
                return
            message = f"internal error; the server's log has the request {request_id}"
            await error_response(500, message)(scope, receive, send)


def _out_of_resources(error: Exception) -> bool:
    """Whether memory, threads, file descriptors or disk space have run out, which may pass."""
    if isinstance(error, OSError):
        return error.errno in _SCARCE
    return isinstance(error, MemoryError) or "can't start new thread" in str(error)


class Private:
    """Marks responses that depend on a token, errors too, so that no shared cache mixes them up.

    A browser may keep such a response, but must ask whether it still holds.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start" and AUTHENTICATES in scope:
                headers = MutableHeaders(raw=list(message.get("headers", ())))
                headers.setdefault("Cache-Control", "private, no-cache")
                headers.add_vary_header("Authorization")
                message["headers"] = headers.raw
            await send(message)

        await self._app(scope, receive, marked if scope["type"] == "http" else send)


class UnlessRecording:
    """Goes through ``layers`` unless a request records (at ``path``) and no page sent it.

    They cost a fifth of what such a request does, of which there are the most, for nothing: its
    answer is one line, and nobody keeps it.
    """

    def __init__(self, app: ASGIApp, path: str, layers: Callable[[ASGIApp], ASGIApp]) -> None:
        self._app = app
        self._path = path
        self._layers = layers(app)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        recording = (
            scope["type"] == "http"
            and scope["method"] == "POST"
            and scope["path"] == self._path
            and all(name != b"origin" for name, _ in scope["headers"])
        )
        await (self._app if recording else self._layers)(scope, receive, send)


class RequestLog:
    """Gives each request an id, in ``X-Request-Id`` and in the log, and logs how it went.

    The log has the route, never the query or a header: no token gets into it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        request_id = scope[REQUEST_ID] = secrets.token_hex(8)
        line: dict[str, Any] = {"request": request_id, "account": None, "status": None}
        finished = False

        async def noted(message: Message) -> None:
            nonlocal finished
            if message["type"] == "http.response.start":
                line["status"] = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    *scope.get(EXTRA_HEADERS, ()),
                ]
            elif message["type"] == "http.response.body" and not message.get("more_body"):
                finished = True
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            route = scope.get("route")
            line |= {
                "account": scope.get(ACCOUNT),
                "method": scope["method"],
                "route": getattr(route, "path", None),
                "ms": round((time.perf_counter() - started) * 1000, 1),
                "whole": finished,
            }
            log.info("request", extra=line)


def _causes(error: BaseException | None) -> str:
    """What an error and those behind it say, the deepest last."""
    texts = []
    while error is not None:
        texts.append(f"{type(error).__name__}: {error}")
        error = error.__cause__
    return "; from ".join(texts)
