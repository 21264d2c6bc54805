"""Middleware that records the calls of a gateway's own web application, for ASGI and WSGI.

``POST /v1/google-flow/videos/upscale`` is bot ``google-flow``, endpoint ``post-videos-upscale`` and
func ``v1-google-flow-videos``. Other paths and methods pass unrecorded.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, Final

from genmeter.model.bots import ELEVEN
from genmeter.recorder.recorder import Recorder, log

Scope = Any
"""What a field is taken from: the ``scope`` of ASGI, the ``environ`` of WSGI."""

Taken = Callable[[Scope], str | None]
"""Takes the value of a field, once the response has ended."""

_VERSION: Final = re.compile(r"v[0-9]+")


def names(
    method: str, path: str, bots: Collection[str] = ELEVEN.names, left_out: Collection[str] = ()
) -> dict[str, str] | None:
    """The ``bot``, ``endpoint`` and ``func`` of a call; None where it is not one to a bot.

    Segments of the path that are ``left_out``, such as identifiers, are not in the endpoint.
    """
    segments = [segment for segment in path.split("/") if segment]
    if len(segments) < 3 or not _VERSION.fullmatch(segments[0]) or segments[1] not in bots:
        return None
    version, bot, *rest = segments
    resource = [segment for segment in rest if segment not in left_out] or rest[:1]
    return {
        "bot": bot,
        "endpoint": "-".join([method.lower(), *resource]),
        "func": f"{version}-{bot}-{resource[0]}",
    }


class _Calls:
    """Which calls are recorded, and how."""

    def __init__(
        self,
        recorder: Recorder,
        config: Taken,
        more: Mapping[str, Taken | None],
        methods: Collection[str],
        bots: Collection[str],
    ) -> None:
        self._recorder = recorder
        self._taken = {"config": config} | {name: take for name, take in more.items() if take}
        self._methods = methods
        self._bots = bots

    def wanted(self, method: str, path: str) -> bool:
        """Whether a call is to be recorded."""
        return method in self._methods and names(method, path, self._bots) is not None

    def record(
        self,
        method: str,
        path: str,
        left_out: Collection[str],
        scope: Scope,
        code: int,
        start: float,
    ) -> None:
        """Record a call that has ended."""
        fields: dict[str, Any] = dict(names(method, path, self._bots, left_out) or {})
        fields["code"] = code
        fields["msec"] = round((time.perf_counter() - start) * 1000)
        for name, take in self._taken.items():
            try:
                fields[name] = take(scope)
            except Exception:
                log.exception("the %s of a call cannot be told", name)
        self._recorder.record(**fields)


class RecorderMiddleware:
    """Records the calls of an ASGI application.

    ``config``, ``model`` and ``jobid`` take a field from the ``scope``, into which the application
    may put it, once the response has ended. Only ``methods`` of ``bots`` are recorded. A call takes
    until the last byte of its response is sent. ``code`` is 500 where the application fails before
    a response, and 0 where the client goes away before one.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        recorder: Recorder,
        *,
        config: Taken,
        model: Taken | None = None,
        jobid: Taken | None = None,
        methods: Collection[str] = ("POST",),
        bots: Collection[str] = ELEVEN.names,
    ) -> None:
        self._app = app
        self._calls = _Calls(recorder, config, {"model": model, "jobid": jobid}, methods, bots)

    async def __call__(
        self,
        scope: Scope,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        method = scope["method"]
        if not self._calls.wanted(method, path):
            await self._app(scope, receive, send)
            return
        start = time.perf_counter()
        code: int | None = None
        ended = False

        def end(code: int) -> None:
            nonlocal ended
            if not ended:
                ended = True
                # Routers put these in while they serve.
                left_out = {str(value) for value in (scope.get("path_params") or {}).values()}
                self._calls.record(method, path, left_out, scope, code, start)

        async def sending(message: Any) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                end(code or 0)  # what the application does after its response is no part of it

        try:
            await self._app(scope, receive, sending)
        except asyncio.CancelledError:
            end(code or 0)
            raise
        except BaseException:
            end(500 if code is None else code)
            raise
        end(500 if code is None else code)


class WsgiRecorderMiddleware:
    """Records the calls of a WSGI application; see :class:`RecorderMiddleware`.

    ``config``, ``model`` and ``jobid`` take a field from the ``environ``.
    """

    def __init__(
        self,
        app: Callable[..., Iterable[bytes]],
        recorder: Recorder,
        *,
        config: Taken,
        model: Taken | None = None,
        jobid: Taken | None = None,
        methods: Collection[str] = ("POST",),
        bots: Collection[str] = ELEVEN.names,
    ) -> None:
        self._app = app
        self._calls = _Calls(recorder, config, {"model": model, "jobid": jobid}, methods, bots)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        """Serve one request."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if not self._calls.wanted(method, path):
            return self._app(environ, start_response)
        start = time.perf_counter()
        code = 500

        def starting(status: str, *more: Any) -> Any:
            nonlocal code
            code = int(status.split()[0])
            return start_response(status, *more)

        def end() -> None:
            self._calls.record(method, path, (), environ, code, start)

        try:
            body = self._app(environ, starting)
        except BaseException:
            end()
            raise
        return _Body(body, end)


class _Body:
    """The body of a response; ``end`` is called once the server closes it."""

    def __init__(self, body: Iterable[bytes], end: Callable[[], None]) -> None:
        self._body = body
        self._end = end

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._body)

    def close(self) -> None:
        """Close the application's body, and record the call."""
        try:
            if close := getattr(self._body, "close", None):
                close()
        finally:
            self._end()
