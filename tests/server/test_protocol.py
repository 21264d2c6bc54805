"""What one connection may do: bytes and seconds of a head, connections, and how it is told."""

import contextlib
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from genmeter.server import protocol
from genmeter.server.connections import ConnectionLimits, Connections
from genmeter.server.protocol import MAX_HEAD_BYTES
from tests.server.raw import closed, connected, head, response
from tests.support import Process, Running, running

pytestmark = pytest.mark.own_engine

OTHER = "127.0.0.2"
"""An address of this machine that is no proxy's."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service that gives heads a second, and an address three connections."""
    data = tmp_path_factory.mktemp("protocol") / "data"
    with running(
        data,
        head_seconds=1,
        idle_seconds=2,
        stall_seconds=1,
        connections=8,
        connections_per_address=3,
    ) as service:
        yield service


def refused(connection: socket.socket, status: int, said: str) -> dict[str, str]:
    """The headers of a refusal, after which the connection ends."""
    found, headers, body = response(connection)
    assert (found, list(body)) == (status, ["error"]), body
    assert said in body["error"]
    assert headers["content-type"] == "application/json"
    assert headers["connection"] == "close"
    assert closed(connection)
    return headers


def flood(connection: socket.socket, piece: bytes, most: int = 64 * 2**20) -> int:
    """Send until the server has had enough; how many bytes it took."""
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < most:
            connection.sendall(piece)
            sent += len(piece)
    return sent


def resets(connection: socket.socket, seconds: float = 1.0) -> bool:
    """Whether the server takes nothing more."""
    until = time.monotonic() + seconds
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < until:
            connection.sendall(b"x")
            time.sleep(0.05)
        return False
    return True


@pytest.mark.parametrize(
    ("begin", "endless", "status", "said"),
    [
        (b"GET /", b"a" * 65_536, 414, "the URL is too long; with the headers it may have 65536"),
        (b"GET /healthz HTTP/1.1\r\nx: ", b"a" * 65_536, 431, "the headers are too large"),
        (b"GET /healthz HTTP/1.1\r\n", b"x: y\r\n" * 9999, 431, "the headers are too large"),
        (b"", b"\r\n" * 32_768, 400, "no request begins"),
    ],
    ids=["URL", "header", "headers", "blank lines"],
)
def test_an_endless_head_is_refused_and_costs_nothing(
    own: Running, begin: bytes, endless: bytes, status: int, said: str
) -> None:
    with connected(own.base_url) as connection:
        connection.sendall(begin + endless)
        connection.sendall(endless)
        refused(connection, status, said)
    assert own.client().http.get("/healthz").status_code == 200


def test_endless_heads_do_not_grow_the_memory(tmp_path: Path) -> None:
    with Process(tmp_path / "data") as process:
        with connected(process.base_url) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\n")
            flood(connection, b"x: y\r\n" * 10)  # warm
        before = process.resident_mb("VmHWM")
        for begin in (b"GET /", b"GET / HTTP/1.1\r\nx: ", b"POST / HTTP/1.1\r\nx: y\r\n"):
            with connected(process.base_url) as connection:
                connection.sendall(begin)
                flood(connection, (b"x" * 60 + b": y\r\n") * 1000)
        assert process.resident_mb("VmHWM") < before + 40


def test_a_head_of_the_limit_passes_and_one_byte_more_is_431(own: Running) -> None:
    bare = len(head("GET", "/healthz", x=""))
    for pause in (False, True):
        with connected(own.base_url) as connection:
            request = head("GET", "/healthz", x="a" * (MAX_HEAD_BYTES - bare))
            for start in range(0, len(request), 7001 if pause else len(request)):
                connection.sendall(request[start : start + (7001 if pause else len(request))])
            assert response(connection)[0] == 200
            connection.sendall(head("GET", "/healthz", x="a" * (MAX_HEAD_BYTES - bare + 1)))
            refused(connection, 431, "65536 bytes")


@pytest.mark.parametrize(
    "endless",
    [b"1\r\nx\r\n0\r\n" + b"x: y\r\n" * 30_000, b"1;" + b"x" * 200_000],
    ids=["trailers", "chunk extension"],
)
def test_what_follows_a_body_is_bounded_too(own: Running, endless: bytes) -> None:
    token = own.client(("admin",)).token
    with connected(own.base_url) as connection:
        connection.sendall(head("POST", "/v2/tokens", token, Transfer_Encoding="chunked"))
        connection.sendall(endless)
        refused(connection, 431, "trailers and chunk extensions")


@pytest.mark.parametrize(
    "request_",
    [
        b"GET\r\n\r\n",
        b"\x16\x03\x01\x02",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET * HTTP/9\r\n",
        b"GET /healthz\r\n\r\n",
    ],
)
def test_c20_what_is_not_http_is_told_so_in_json(own: Running, request_: bytes) -> None:
    with connected(own.base_url) as connection:
        connection.sendall(request_)
        refused(connection, 400, "not valid HTTP/1.1")


def test_c20_a_body_that_is_not_http_is_told_so(own: Running) -> None:
    with connected(own.base_url) as connection:
        token = own.client(("admin",)).token
        connection.sendall(head("POST", "/v2/tokens", token, Transfer_Encoding="chunked"))
        time.sleep(0.1)
        connection.sendall(b"no size\r\n")
        refused(connection, 400, "not valid HTTP/1.1")


@pytest.mark.parametrize("bad", [b"garbage\r\n\r\n", b"GET /healthz\r\n\r\n"])
def test_requests_before_a_bad_one_are_answered_in_full(own: Running, bad: bytes) -> None:
    with connected(own.base_url) as connection:
        connection.sendall(head("GET", "/healthz") + bad)
        assert response(connection)[0] == 200
        assert closed(connection)


def test_many_requests_in_one_piece_are_all_answered(own: Running) -> None:
    with connected(own.base_url) as connection:
        connection.sendall(head("GET", "/healthz", x="y" * 900) * 200)
        received = b""
        while received.count(b'{"status":"ok"}') < 200:
            piece = connection.recv(65_536)
            assert piece
            received += piece


def test_a_head_that_does_not_end_is_408_however_it_trickles(own: Running) -> None:
    with connected(own.base_url) as connection:
        began = time.monotonic()
        for piece in (b"GET /healthz HTTP/1.1\r\n", *[b"x: y\r\n"] * 200):
            try:
                connection.sendall(piece)
            except ConnectionError:
                break
            connection.setblocking(False)
            try:
                if connection.recv(1):
                    break
            except BlockingIOError:
                pass
            finally:
                connection.settimeout(20)
            time.sleep(0.1)
        assert time.monotonic() - began < 10


def test_a_late_head_is_told_so(own: Running) -> None:
    for begin in (b"GET /", head("GET", "/healthz") + b"GET /", b"\r\nGET /"):
        with connected(own.base_url) as connection:
            connection.sendall(begin)
            if b"HTTP" in begin:
                assert response(connection)[0] == 200
            refused(connection, 408, "did not arrive within 1 seconds")


def test_connections_that_say_nothing_are_closed(own: Running) -> None:
    with connected(own.base_url) as connection:
        assert closed(connection)
    with connected(own.base_url) as connection:
        connection.sendall(head("GET", "/healthz"))
        assert response(connection)[0] == 200
        assert closed(connection)


def test_the_rest_of_a_refused_body_is_not_waited_for(own: Running) -> None:
    with connected(own.base_url) as connection:
        connection.sendall(head("POST", "/v2/account/stats", Content_Length=10**9) + b"x")
        assert response(connection)[0] == 401
        assert closed(connection)


def test_an_address_has_so_many_connections(own: Running) -> None:
    with contextlib.ExitStack() as stack:
        mine = [stack.enter_context(connected(own.base_url, OTHER)) for _ in range(3)]
        for connection in mine:
            connection.sendall(head("GET", "/healthz"))
            assert response(connection)[0] == 200
        fourth = stack.enter_context(connected(own.base_url, OTHER))
        headers = refused(fourth, 429, f"{OTHER} has 3 open connections")
        assert headers["retry-after"] == "1"
        assert own.client().http.get("/healthz").status_code == 200
        mine[0].close()
        time.sleep(0.2)
        again = stack.enter_context(connected(own.base_url, OTHER))
        again.sendall(head("GET", "/healthz"))
        assert response(again)[0] == 200


def test_idle_connections_give_way_and_only_busy_ones_keep_others_out(own: Running) -> None:
    token = own.client(("admin",)).token
    own.forget_clients()
    with contextlib.ExitStack() as stack:
        idle = [stack.enter_context(connected(own.base_url)) for _ in range(8)]
        post = head("POST", "/v2/tokens", token, Content_Length=9)
        busy = [stack.enter_context(connected(own.base_url)) for _ in range(8)]
        for connection in busy:
            connection.sendall(post)
        assert all(closed(connection) for connection in idle)
        time.sleep(0.2)
        ninth = stack.enter_context(connected(own.base_url))
        headers = refused(ninth, 503, "all 8 connections have requests under way")
        assert headers["retry-after"] == "1"
        busy[0].sendall(b"{}       ")
        assert response(busy[0])[0] == 400
        assert own.client().http.get("/healthz").status_code == 200


def test_a_client_that_reads_nothing_is_cut_off_and_a_slow_one_is_not(own: Running) -> None:
    asked = 400
    for pause in (5.0, 0.0):
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            host, port = own.base_url.removeprefix("http://").split(":")
            connection.settimeout(30)
            connection.connect((host, int(port)))
            connection.sendall(head("GET", "/openapi.json") * asked)
            time.sleep(pause)
            received = tail = b""
            answers = 0
            with contextlib.suppress(ConnectionError):
                while answers < asked and (received := connection.recv(262_144)):
                    answers += (tail + received).count(b"HTTP/1.1 200")
                    tail = received[-11:]
                    time.sleep(0 if pause else 0.02)
            assert (answers == asked) is not bool(pause)


def test_a_service_opens_as_many_files_as_it_may() -> None:
    """In a process without the embedded engine, which does the same for itself."""
    code = (
        "import resource; from genmeter.server.run import allow_files;"
        "_, most = resource.getrlimit(resource.RLIMIT_NOFILE);"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, most)); allow_files();"
        "assert resource.getrlimit(resource.RLIMIT_NOFILE) == (most, most)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_trusted_proxy_says_who_the_client_is_and_nobody_else_does() -> None:
    limits = ConnectionLimits(
        most=0, per_address=1, proxies=("10.0.0.0/8", "::1/128"), head_seconds=1
    )
    counted = Connections(limits)
    for address, admitted in (("10.1.2.3", 3), ("::1", 3), ("192.0.2.1", 1), ("", 1)):
        found = [counted.admit(object(), address) for _ in range(3)]  # type: ignore[arg-type]
        assert found == [None] * admitted + [429] * (3 - admitted)


def test_refused_connections_cannot_pile_up(own: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "MAX_LINGERING", 1)
    monkeypatch.setattr(protocol, "LINGER_S", 5.0)
    with connected(own.base_url) as first, connected(own.base_url) as second:
        for connection in (first, second):
            connection.sendall(b"garbage\r\n\r\n")
            assert response(connection)[0] == 400
        # The second is closed for good: what is sent to it comes back as a reset.
        assert resets(second)
        assert not resets(first)
