"""A day of a million records: streamed within bounds, and nobody waits for a slow reader."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from tests.support import Process, new_token

RECORDS = 1_000_000
PER_POST = 10_000
LIMIT_MB = 700


class Filled:
    """A server with one large day in it."""

    def __init__(self, server: Process, token: str, day: str) -> None:
        self.server = server
        self.token = token
        self.day = day
        self.path = f"/v2/account/stats?bot=google-flow&date={day}"
        self.headers = {"Authorization": f"Bearer {token}"}

    def connect(self) -> http.client.HTTPConnection:
        """A connection of its own, with the question asked."""
        address = self.server.base_url.removeprefix("http://")
        connection = http.client.HTTPConnection(address, timeout=120)
        connection.request("GET", self.path, headers=self.headers)
        return connection


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """One day, yesterday, of a million records of google-flow, some 330 bytes of JSON each."""
    data = tmp_path_factory.mktemp("stream") / "data"
    token = new_token(data, "large")
    day_ms = (int(time.time() * 1000) // 86_400_000 - 1) * 86_400_000
    day = datetime.fromtimestamp(day_ms / 1000, UTC).strftime("%Y-%m-%d")
    line = (
        '{"bot":"google-flow","timestamp":%d,"config":"someone%d@example.com",'
        '"jobid":"j0926181252593%06dv-u2923-email:someone%d@example.com-bot:google-flow",'
        '"endpoint":"post-videos","func":"v1-google-flow-videos","code":%d,"msec":%d,'
        '"model":"veo-3.1-fast","captchaProviders":"CapSolver,2Captcha","captchaRetry":2,'
        '"tier":"PAYGATE_TIER_TWO","sku":"G1_TIER2"}'
    )

    def post(start: int) -> None:
        body = "\n".join(
            line % (day_ms + n * 86, n % 9, n, n % 9, (200, 201, 403, 429)[n % 4], n % 90_000)
            for n in range(start, start + PER_POST)
        )
        response = httpx2.post(
            f"{server.base_url}/v2/account/stats",
            content=body.encode(),
            headers={"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"},
            timeout=120,
        )
        assert response.json()["accepted"] == PER_POST, response.text

    with Process(data) as server:
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(post, range(0, RECORDS, PER_POST)))
        assert server.stop() == 0
    with Process(
        data, "--spool-mb", "8192"
    ) as server:  # a new process, so that its peak is that of reading
        yield Filled(server, token, day)


def test_a_million_rows_are_streamed_in_bounded_memory(filled: Filled) -> None:
    connection = filled.connect()
    response = connection.getresponse()
    assert response.status == 200
    size, rows, tail = 0, 0, b""
    head = response.read(4096)
    assert b'"total":1000000,' in head[:200]
    chunk = head
    while chunk:
        size += len(chunk)
        rows += (tail[-11:] + chunk).count(b'"timestamp":')
        tail = chunk
        chunk = response.read(1 << 20)
    connection.close()
    assert tail.endswith(b'"}\t\n]}')
    assert rows == RECORDS
    assert size > 300 * 2**20
    assert filled.server.resident_mb("VmHWM") < LIMIT_MB


def test_slow_readers_and_those_who_go_away_hold_nothing_up(filled: Filled) -> None:
    slow = [filled.connect() for _ in range(6)]  # more than there are reader threads
    for connection in slow:
        connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        assert connection.getresponse().read(1000).startswith(b'{"bot":"google-flow"')
    for _ in range(3):
        small = httpx2.get(
            f"{filled.server.base_url}/v2/account/stats?bot=google-flow&limit=100",
            headers=filled.headers,
            timeout=60,
        )
        assert small.json()["total"] == 100
    stored = httpx2.post(
        f"{filled.server.base_url}/v2/account/stats",
        json={"bot": "luma", "config": "c", "endpoint": "e", "code": 200, "msec": 1},
        headers=filled.headers,
        timeout=60,
    )
    assert stored.status_code == 200
    for connection in slow:
        connection.close()
    spool = filled.server.data / "spool"
    deadline = time.monotonic() + 30
    while open_spools(filled.server, spool) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not open_spools(filled.server, spool), "an answer nobody reads is still kept"
    assert list(spool.iterdir()) == []
    assert filled.server.resident_mb("VmHWM") < LIMIT_MB


def open_spools(server: Process, spool: Path) -> int:
    """How many nameless files of answers the server holds open."""
    files = Path(f"/proc/{server.process.pid}/fd").iterdir()
    return sum(str(spool) in str(file.readlink()) for file in files if file.is_symlink())


def test_a_client_that_reads_nothing_is_cut_off(filled: Filled, tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = new_token(data, "stalled")
    with Process(data, "--stall-seconds", "1") as server:
        lines = [
            json.dumps(
                {"bot": "luma", "config": "c" * 500, "endpoint": "e" * 500, "code": 200,
                 "msec": 1, "model": "m" * 500}
            )
            for _ in range(8_000)
        ]  # fmt: skip
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"}
        url = f"{server.base_url}/v2/account/stats"
        sent = httpx2.post(url, content="\n".join(lines).encode(), headers=headers, timeout=60)
        assert sent.json()["accepted"] == 8_000
        address = server.base_url.removeprefix("http://").split(":")
        with socket.socket() as reader:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            reader.connect((address[0], int(address[1])))
            reader.sendall(
                b"GET /v2/account/stats?bot=luma HTTP/1.1\r\nHost: x\r\n"
                b"Authorization: Bearer " + token.encode() + b"\r\n\r\n"
            )
            deadline = time.monotonic() + 30
            while "broken off" not in server.log() and time.monotonic() < deadline:
                time.sleep(0.1)
            assert "an answer was broken off" in server.log()
            body = b""
            reader.settimeout(10)
            while piece := reader.recv(1 << 20):
                body += piece
            assert not body.endswith(b"0\r\n\r\n"), "a cut answer must not look whole"
