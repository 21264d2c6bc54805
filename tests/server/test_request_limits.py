"""What one request may send: bytes and seconds of a body, records, queries."""

import contextlib
import gzip
import json
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.server.raw import closed, connected, head, response
from tests.support import Process, Running, job, new_token, running

pytestmark = pytest.mark.own_engine

POST = "/v2/account/stats"
MIB = 2**20


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service whose limits are soon reached."""
    data = tmp_path_factory.mktemp("limits") / "data"
    with running(data, body_seconds=2, request_records=100) as service:
        yield service


@pytest.mark.parametrize("path", [POST, f"{POST}/query", f"{POST}/rows", "/v2/tokens"])
def test_a_body_that_stalls_is_408_and_the_connection_ends(own: Running, path: str) -> None:
    token = own.client(("admin",)).token
    with connected(own.base_url) as connection:
        sent = head("POST", path, token, Content_Type="application/json", Content_Length=1000)
        connection.sendall(sent + b"[")
        status, headers, body = response(connection)
        assert (status, headers["connection"]) == (408, "close")
        assert "it may take 2 seconds" in body["error"]
        assert closed(connection)


def test_a_body_that_trickles_is_408_as_well(own: Running) -> None:
    with connected(own.base_url) as connection:
        token = own.client().token
        connection.sendall(
            head("POST", POST, token, Content_Type="application/json", Transfer_Encoding="chunked")
        )
        began = time.monotonic()
        connection.settimeout(0.1)
        received = b""
        while not received:
            with contextlib.suppress(TimeoutError):
                connection.sendall(b"1\r\n \r\n")
                received = connection.recv(100)
            assert time.monotonic() < began + 20
        assert received.startswith(b"HTTP/1.1 408 ")


def test_a_client_that_goes_in_the_middle_of_a_body_is_no_error(
    own: Running, caplog: pytest.LogCaptureFixture
) -> None:
    token = own.client().token
    sent = head("POST", POST, token, Content_Type="application/json", Content_Length=1000)
    with caplog.at_level("INFO", "genmeter"):
        with connected(own.base_url) as connection:
            connection.sendall(sent + b"[")
            time.sleep(0.2)
        until = time.monotonic() + 10
        while not any(record.message == "request" for record in caplog.records):
            assert time.monotonic() < until
            time.sleep(0.05)
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_uploads_of_one_account_that_stop_short_leave_room_for_others(own: Running) -> None:
    mine, other = own.client(), own.client()
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            upload = stack.enter_context(connected(own.base_url))
            sent = head("POST", POST, mine.token, Content_Type="application/json",
                        Content_Length=16 * MIB)  # fmt: skip
            with contextlib.suppress(ConnectionError):
                upload.sendall(sent + bytes(16 * MIB - 1))
        until = time.monotonic() + 10
        refused = mine.send([job()] * 20)
        while refused.status_code == 200 and time.monotonic() < until:  # not all has arrived yet
            refused = mine.send([job()] * 20)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "of this account" in refused.json()["error"]
        other.record(job())


def test_a_request_has_so_many_records(own: Running) -> None:
    client = own.client()
    records = [job() for _ in range(101)]
    client.record(*records[:100])
    for body, kind in (
        (json.dumps(records), "application/json"),
        ("\n".join(map(json.dumps, records)), "application/x-ndjson"),
    ):
        refused = client.send(body.encode(), Content_Type=kind)
        assert refused.status_code == 413
        assert "more than 100 records" in refused.json()["error"]
    assert client.stats(bot="google-flow", limit=1000)["total"] == 100


@pytest.mark.parametrize("path", [f"{POST}/query", f"{POST}/rows", "/v2/tokens"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_query_has_64_kib(own: Running, path: str, packed: bool) -> None:
    admin = own.client(("admin",))
    headers = {"Content-Type": "application/json"} | (
        {"Content-Encoding": "gzip"} if packed else {}
    )
    for size, status in ((64 * 1024, 400), (64 * 1024 + 1, 413)):
        body = b'{"x": "' + b"y" * (size - 9) + b'"}'
        sent = gzip.compress(body) if packed else body
        refused = admin.http.post(path, content=sent, headers=headers)
        assert refused.status_code == status, refused.text
    assert "over 65536 bytes" in refused.json()["error"]


def test_small_bodies_that_stand_for_large_ones_cost_no_memory(tmp_path: Path) -> None:
    """Each took 500 MB and more, and several seconds."""
    data = tmp_path / "data"
    token = new_token(data, "acme")
    many = (16 * MIB - 40) // 3
    with Process(data) as process, contextlib.ExitStack() as stack:
        client = stack.enter_context(httpx2.Client(base_url=process.base_url, timeout=60))
        headers = {"Authorization": f"Bearer {token}", "Content-Encoding": "gzip"}

        def send(path: str, body: bytes, kind: str = "application/json") -> int:
            found = client.post(
                path, content=gzip.compress(body, 1), headers=headers | {"Content-Type": kind}
            )
            return found.status_code

        send(POST, b"[" + b" " * (16 * MIB - 2) + b"]")
        before = process.resident_mb("VmHWM")
        assert send(POST, b"[" + b"1," * many + b"1]") == 413
        assert send(POST, b"[" + b"{}," * many + b"1]") == 413
        assert send(POST, b"1\n" * many, "application/x-ndjson") == 413
        assert send(POST, b"[[" + b"[]," * many + b"1]]") == 413
        assert send(POST, b'{"a":[' + b"[]," * many + b"1]}") == 400
        assert send(f"{POST}/query", b'{"bot":[' + b"1," * many + b"1]}") == 413
        assert process.resident_mb("VmHWM") < before + 60
