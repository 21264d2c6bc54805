"""``GET /v2/account/stats/live``: each record once, in order, whoever reads and however slowly."""

import contextlib
import json
import socket
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from zstandard import ZstdDecompressor

from genmeter.auth.accounts import Token
from genmeter.clock import now_ms
from genmeter.execution import feed
from tests.support import NOON_MS, Client, Process, Running, job, new_token

pytestmark = pytest.mark.engines("embedded", "cluster")

PATH = "/v2/account/stats/live"


class Reader:
    """Somebody who listens; what came stands in ``events`` as (id, record)."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.last_id = ""
        self.events: list[tuple[str, dict[str, Any]]] = []

    def step(self) -> None:
        """Read one block, up to an empty line."""
        data = None
        for line in self._lines:
            if not line:
                break
            name, _, value = line.partition(": ")
            if name == "id":
                self.last_id = value
            elif name == "data":
                data = json.loads(value)
        else:
            raise EOFError
        if data is not None:
            self.events.append((self.last_id, data))

    def until(self, count: int) -> list[str]:
        """The job ids once so many records have come."""
        while len(self.events) < count:
            self.step()
        return [record["jobid"] for _, record in self.events]


@contextmanager
def listening(client: Client, last_id: str | None = None, **params: str) -> Iterator[Reader]:
    """Listen as ``client``."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    with client.http.stream("GET", PATH, params=params, headers=headers) as response:
        if response.status_code != 200:
            response.read()
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("text/event-stream")
        reader = Reader(response.iter_lines())
        reader.step()  # the first has an id and no record
        assert reader.last_id
        yield reader


def record_each(client: Client, jobs: list[dict[str, Any]]) -> list[str]:
    """Record one after the other; returns the job ids."""
    for one in jobs:
        client.record(one)
    return [one["jobid"] for one in jobs]


def test_records_arrive_as_they_are_stored(service: Running, client: Client) -> None:
    full = {
        "config": 'a "quoted" \\ <script>', "endpoint": "post-videos", "status": "Created",
        "func": "f", "code": 201, "msec": 5, "model": "veo", "tier": "t", "sku": "s",
        "captchaProviders": "CapSolver,2Captcha", "captchaRetry": 2, "bot": "google-flow",
    }  # fmt: skip
    with listening(client) as reader:
        wanted = record_each(client, [job(NOON_MS - 5), job(NOON_MS - 9, bot="kling")])
        whole = job(NOON_MS, **full)
        client.record(whole)
        assert reader.until(3) == [*wanted, whole["jobid"]]
        _, last = reader.events[2]
        assert last == whole | {"account": client.account}
        assert reader.events[1][1]["captchaRetry"] is None
    # what was read can be recorded again
    client.record(*(record for _, record in reader.events))
    assert client.stats(bot="google-flow")["total"] == 2


def test_many_records_of_one_request_arrive_once_each(client: Client) -> None:
    jobs = [job(NOON_MS - number) for number in range(5000)]
    with listening(client) as reader:
        client.record(*jobs)
        assert sorted(reader.until(5000)) == sorted(one["jobid"] for one in jobs)
        more = record_each(client, [job()])
        assert reader.until(5001)[-1:] == more


def test_it_resumes_without_gaps_or_repeats(client: Client) -> None:
    with listening(client) as reader:
        client.record(*(job(NOON_MS - number) for number in range(50)))
        record_each(client, [job(), job()])
        whole = reader.until(52)
    meanwhile = record_each(client, [job(), job()])
    for at in (0, 20, 49, 51):
        with listening(client, reader.events[at][0]) as resumed:
            assert resumed.until(53 - at) == [*whole[at + 1 :], *meanwhile]
    with listening(client, reader.events[51][0]) as resumed:
        after = record_each(client, [job()])
        assert resumed.until(3) == [*meanwhile, *after]


def test_a_token_hears_its_own_account_alone(service: Running, client: Client) -> None:
    other, admin = service.client(), service.client(("admin",))
    with (
        listening(client) as mine,
        listening(admin, account=other.account) as named,
        listening(admin, account="*") as everything,
    ):
        first, second = record_each(client, [job()])[0], record_each(other, [job()])[0]
        last = record_each(client, [job()])[0]
        assert mine.until(2) == [first, last]
        assert named.until(1) == [second]
        seen: set[str] = set()
        while not {first, second, last} <= seen:  # other tests' records may still arrive
            everything.step()
            seen = {record["jobid"] for _, record in everything.events}
        accounts = {record["account"] for _, record in everything.events}
        assert {client.account, other.account} <= accounts


def test_only_the_bots_that_were_asked_for(client: Client) -> None:
    with listening(client, bot="kling,luma") as reader:
        record_each(client, [job()])
        wanted = record_each(client, [job(bot="kling"), job(bot="luma")])
        assert reader.until(2) == wanted


@pytest.mark.parametrize(
    ("params", "last_id", "status", "words"),
    [
        ({"account": "someone-else"}, None, 403, "only an admin token"),
        ({"account": "*"}, None, 403, "only an admin token"),
        ({"bot": "nobody", "date": "2026-02-13"}, None, 400, 'unknown parameter "date": there'),
        ({"account": ["a", "b"]}, None, 400, "account is given 2 values"),
        ({"bot": "nobody"}, None, 400, "bot must be all, or one or more of midjourney"),
        ({}, "yesterday", 400, "Last-Event-ID must be the id of an event"),
        ({}, f"{2**70}-1", 400, "Last-Event-ID must be the id of an event"),
        ({}, f"1-{2**64}", 400, "Last-Event-ID must be the id of an event"),
        ({}, "1" * 5000 + "-1", 400, "Last-Event-ID must be the id of an event"),
    ],
)
def test_refusals(
    client: Client, params: dict[str, Any], last_id: str | None, status: int, words: str
) -> None:
    headers = {"Last-Event-ID": last_id} if last_id else {}
    response = client.http.get(PATH, params=params, headers=headers)
    assert response.status_code == status
    assert words in response.json()["error"]


def test_without_the_right_to_read_there_is_nothing_to_hear(service: Running) -> None:
    assert service.holder(None).http.get(PATH).status_code == 401
    assert service.client(("write",)).http.get(PATH).status_code == 403


def test_head_returns_the_headers_at_once(client: Client) -> None:
    response = client.http.head(PATH, timeout=10)
    assert (response.status_code, response.content) == (200, b"")
    with client.http.stream("GET", PATH) as stream:
        for name in ("content-type", "cache-control", "x-accel-buffering"):
            assert response.headers[name] == stream.headers[name]
    assert "content-length" not in response.headers
    assert client.http.head(PATH, params={"bot": "nobody"}).status_code == 400


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
def test_a_compressed_stream_is_not_held_back(client: Client, coding: str) -> None:
    decoder = zlib.decompressobj(31) if coding == "gzip" else ZstdDecompressor().decompressobj()
    with client.http.stream("GET", PATH, headers={"Accept-Encoding": coding}) as response:
        assert response.headers["content-encoding"] == coding
        pieces = response.iter_raw()
        assert b"retry" in decoder.decompress(next(pieces))
        wanted = record_each(client, [job()])[0].encode()
        assert wanted in decoder.decompress(next(pieces))


def test_a_silent_stream_says_that_it_is_alive(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "HEARTBEAT_S", 0.05)
    with client.http.stream("GET", PATH) as response:
        lines = response.iter_lines()
        assert next(line for line in lines if line.startswith(":")) == ": nothing new"


def test_a_revoked_token_ends_its_stream_before_the_first_heartbeat(service: Running) -> None:
    text, token = service.service.accounts.create("revoked", ("read",), now_ms=NOON_MS)
    with listening(service.holder(text)) as reader:
        service.service.accounts.revoke(token.id, now_ms=NOON_MS)
        with pytest.raises(EOFError):
            reader.step()  # a heartbeat would return


def test_streams_of_one_token_share_its_look_ups(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []
    find = service.service.tokens._find

    def counted(text: str) -> Token | None:
        looked_up.append(text)
        return find(text)

    monkeypatch.setattr(service.service.tokens, "_find", counted)
    text, token = service.service.accounts.create("many", ("read",), now_ms=NOON_MS)
    started = time.monotonic()
    with contextlib.ExitStack() as streams:
        readers = [streams.enter_context(listening(service.holder(text))) for _ in range(20)]
        while len(looked_up) < 5:
            time.sleep(0.05)
        service.service.accounts.revoke(token.id, now_ms=NOON_MS)
        for reader in readers:
            with pytest.raises(EOFError):
                reader.step()
    # A look-up serves all streams for half a second.
    assert len(looked_up) <= (time.monotonic() - started) / 0.5 + 1


class Silent:
    """Somebody who asks and then reads nothing, by the smallest buffer there is."""

    def __init__(self, client: Client) -> None:
        host, port = client.base_url.removeprefix("http://").split(":")
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(60)
        self._socket.connect((host, int(port)))
        request = f"GET {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {client.token}\r\n\r\n"
        self._socket.sendall(request.encode())
        self._start = self._socket.recv(10)

    def rest(self) -> bytes:
        """All that still comes until the server lets go."""
        pieces = [self._start]
        with contextlib.suppress(ConnectionError):
            while piece := self._socket.recv(2**20):
                pieces.append(piece)
        self._socket.close()
        return b"".join(pieces)


def test_who_reads_nothing_is_cut_loose_and_holds_nobody_up(tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = new_token(data, "acme")
    now = now_ms()
    batches = [[job(now - number, func="f" * 500) for number in range(2500)] for _ in range(8)]
    with Process(data, "--stall-seconds", "1") as server:
        client = Client(server.base_url, token, "acme")
        silent = Silent(client)
        with listening(client) as reader:
            for batch in batches:
                client.record(*batch)
            stored = [one["jobid"] for batch in batches for one in batch]
            assert sorted(reader.until(len(stored))) == sorted(stored)
            while PATH not in server.log():  # a request is logged when it has ended
                time.sleep(0.05)
            assert silent.rest().count(b"data: ") < len(stored)
            # Streams end as they should when the server does.
            server.process.terminate()
            with pytest.raises(EOFError):
                reader.until(len(stored) + 1)
        client.http.close()
        assert server.process.wait(60) == 0
