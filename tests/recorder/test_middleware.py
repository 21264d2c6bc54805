"""The middlewares in real servers, whose recorder sends to a mock."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx2
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from genmeter.recorder import Recorder, RecorderMiddleware, WsgiRecorderMiddleware
from genmeter.recorder.middleware import names
from tests.recorder.mock import Mock, mock
from tests.recorder.test_recorder import wait_for


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (
            "/v1/google-flow/videos/upscale",
            ("google-flow", "post-videos-upscale", "v1-google-flow-videos"),
        ),
        ("/v2/pixverse/videos/", ("pixverse", "post-videos", "v2-pixverse-videos")),
        ("/v1/midjourney/jobs/j7/button", ("midjourney", "post-jobs-button", "v1-midjourney-jobs")),
        ("/v1/midjourney/j7", ("midjourney", "post-j7", "v1-midjourney-j7")),
        ("/v1/account/tokens", None),
        ("/v1/kling", None),
        ("/kling/videos/x", None),
        ("/", None),
    ],
)
def test_names_follow_the_contract(path: str, expected: tuple[str, str, str] | None) -> None:
    found = names("POST", path, left_out=["j7"])
    assert (found and tuple(found.values())) == expected


@pytest.fixture
def server() -> Iterator[Mock]:
    with mock() as made:
        yield made


@contextmanager
def asgi(app: Any) -> Iterator[str]:
    """The address of an application in a real server."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        web = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
        thread = threading.Thread(target=web.run, kwargs={"sockets": [listening]})
        thread.start()
        wait_for(lambda: web.started)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            web.should_exit = True
            thread.join()


may_end = threading.Event()


async def plain(request: Request) -> Response:
    """Answer at once, and go on working until the test has seen the record."""
    request.scope["made"] = "job-7"
    return PlainTextResponse("ok", 201, background=BackgroundTask(may_end.wait, 60))


async def slow(request: Request) -> Response:
    """Answer byte by byte."""

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x"
            await asyncio.sleep(0.05)

    return StreamingResponse(pieces())


async def broken(request: Request) -> Response:
    """Fail."""
    raise ZeroDivisionError


def test_calls_of_an_asgi_application_are_recorded(server: Mock) -> None:
    recorder = Recorder(server.url, "token", flush_s=0.02)
    routes = [
        Route("/v1/kling/videos/{id}/extend", plain, methods=["POST", "GET"]),
        Route("/v1/kling/streams", slow, methods=["POST"]),
        Route("/v1/kling/broken", broken, methods=["POST"]),
        Route("/v1/other/things", plain, methods=["POST"]),
    ]
    app = RecorderMiddleware(
        Starlette(routes=routes),
        recorder,
        config=lambda scope: dict(scope["headers"])[b"x-account"].decode(),
        model=lambda scope: "v2",
        jobid=lambda scope: scope.get("made"),
    )
    with asgi(app) as url, httpx2.Client(base_url=url, headers={"X-Account": "a@b"}) as http:
        assert http.post("/v1/kling/videos/7/extend").text == "ok"
        wait_for(lambda: server.records)
        may_end.set()
        assert http.post("/v1/kling/streams").text == "xxx"
        assert http.post("/v1/other/things").status_code == 201
        assert http.get("/v1/kling/videos/7/extend").status_code == 201
        assert http.post("/v1/kling/missing").status_code == 404
        # The last, since the server closes the connection after it.
        assert http.post("/v1/kling/broken").status_code == 500
    recorder.close(10)
    found = {record["endpoint"]: record for record in server.records}
    codes = {name: record["code"] for name, record in found.items()}
    assert codes == {
        "post-videos-extend": 201, "post-streams": 200, "post-broken": 500, "post-missing": 404
    }  # fmt: skip
    first = found["post-videos-extend"]
    assert (first["config"], first["model"], first["jobid"]) == ("a@b", "v2", "job-7")
    assert found["post-streams"]["msec"] >= 100


def test_an_application_that_never_answers_or_is_cancelled_is_recorded(server: Mock) -> None:
    recorder = Recorder(server.url, "token")
    scope = {"type": "http", "method": "POST", "path": "/v1/luma/videos", "headers": []}

    async def nothing(*_: Any) -> None:
        pass

    async def forever(*_: Any) -> None:
        await asyncio.sleep(60)

    def fails(_: Any) -> str:
        raise KeyError("model")

    async def run() -> None:
        silent = RecorderMiddleware(nothing, recorder, config=lambda _: "silent", model=fails)
        await silent(scope, nothing, nothing)
        waiting = RecorderMiddleware(forever, recorder, config=lambda _: "gone")
        task = asyncio.create_task(waiting(scope, nothing, nothing))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    recorder.close(10)
    assert {r["config"]: r["code"] for r in server.records} == {"silent": 500, "gone": 0}


class Quiet(WSGIRequestHandler):
    """A handler that logs nothing."""

    def log_message(self, *_: Any) -> None:
        """Log nothing."""


def test_calls_of_a_wsgi_application_are_recorded(server: Mock) -> None:
    recorder = Recorder(server.url, "token")
    closed = []

    def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterator[bytes]:
        if environ["PATH_INFO"].endswith("broken"):
            raise ZeroDivisionError
        start_response("202 Accepted", [("Content-Type", "text/plain")])

        def body() -> Iterator[bytes]:
            try:
                for _ in range(3):
                    time.sleep(0.02)
                    yield b"x"
            finally:
                closed.append(True)

        return body()

    recorded = WsgiRecorderMiddleware(app, recorder, config=lambda environ: environ["HTTP_X_A"])
    with make_server("127.0.0.1", 0, recorded, handler_class=Quiet) as web:
        thread = threading.Thread(target=web.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        url = f"http://127.0.0.1:{web.server_port}"
        with httpx2.Client(base_url=url, headers={"X-A": "a"}) as http:
            assert http.post("/v1/mureka/songs").text == "xxx"
            assert http.post("/elsewhere").text == "xxx"
        web.shutdown()
        thread.join()
    with pytest.raises(ZeroDivisionError):
        recorded(
            {"REQUEST_METHOD": "POST", "PATH_INFO": "/v1/mureka/broken", "HTTP_X_A": "a"}, print
        )
    recorder.close(10)
    codes = {record["endpoint"]: record["code"] for record in server.records}
    assert codes == {"post-songs": 202, "post-broken": 500}
    assert server.records[0]["msec"] >= 60
    assert len(closed) == 2
