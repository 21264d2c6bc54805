"""A load of POSTs from many connections, made before it starts and sent by one cheap loop."""

import asyncio
import dataclasses
import functools
import time
from enum import Enum
from typing import cast

import uvloop

from bench.plan import Plan
from genmeter.traffic import traffic

WARM_UP_S = 1.0
_MARK = b"@@@@@@@@"
"""Stands in every job id for the number of the request, which makes each record a new one."""

_BODIES_OF_MANY = 60
_BODIES_OF_ONE = 5_000


class Shape(Enum):
    """How records are put into a body."""

    LINES = "application/x-ndjson"
    ARRAY = "application/json"


@dataclasses.dataclass(frozen=True)
class Load:
    """Posts of ``records`` records each from ``clients`` connections, for ``seconds`` seconds."""

    records: int
    clients: int
    seconds: float
    shape: Shape
    end_ms: int


@dataclasses.dataclass
class Outcome:
    """What came of a load.

    ``accepted`` is how many records were acknowledged in all, ``in_time`` how many within
    ``seconds`` after the warm-up, ``waits_ms`` how long each request of that time took.
    """

    accepted: int = 0
    in_time: int = 0
    seconds: float = 0.0
    waits_ms: list[float] = dataclasses.field(default_factory=list)
    failed: int = 0
    failure: str = ""


def run(plan: Plan, load: Load, port: int, token: str) -> Outcome:
    """Put ``load`` on the server at ``port`` and return what came of it."""
    return uvloop.run(_run(_requests(plan, load, token), load, port))


async def _run(requests: list[list[bytes]], load: Load, port: int) -> Outcome:
    loop = asyncio.get_running_loop()
    outcome = Outcome(seconds=load.seconds)
    began = time.perf_counter() + WARM_UP_S
    source = _Source(requests, began + load.seconds)
    ended = []
    for _ in range(load.clients):
        client = _Client(source, outcome, began, loop.create_future())
        ended.append(client.done)
        await loop.create_connection(functools.partial(_itself, client), "127.0.0.1", port)
    await asyncio.gather(*ended)
    return outcome


def _itself(client: "_Client") -> "_Client":
    return client


class _Source:
    """Requests without end, each with a number of its own, until the time is up."""

    def __init__(self, requests: list[list[bytes]], until: float) -> None:
        self._requests = requests
        self.until = until
        self._sent = 0

    def next(self) -> bytes:
        parts = self._requests[self._sent % len(self._requests)]
        self._sent += 1
        return (b"%08x" % self._sent).join(parts)


class _Client(asyncio.Protocol):
    """A connection that sends its next request when the last one has been answered."""

    def __init__(
        self, source: _Source, outcome: Outcome, began: float, done: "asyncio.Future[None]"
    ) -> None:
        self._source = source
        self._outcome = outcome
        self._began = began
        self.done = done
        self._answer = b""
        self._sent_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self._fail(f"a connection was lost: {exc}")
            self.done.set_result(None)

    def data_received(self, data: bytes) -> None:
        self._answer += data
        head, mark, body = self._answer.partition(b"\r\n\r\n")
        if not mark or len(body) < _length(head):
            return
        now = time.perf_counter()
        accepted = _accepted(body) if head[9:12] == b"200" else 0
        if accepted:
            self._outcome.accepted += accepted
        else:
            self._fail(f"{head[9:12].decode()} {body[:200].decode(errors='replace')}")
        if self._sent_at >= self._began:
            self._outcome.waits_ms.append((now - self._sent_at) * 1000)
        if self._began <= now < self._source.until:
            self._outcome.in_time += accepted
        self._answer = b""
        self._send()

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        if self._sent_at < self._source.until:
            self._transport.write(self._source.next())
        else:
            self.done.set_result(None)
            self._transport.close()

    def _fail(self, why: str) -> None:
        self._outcome.failed += 1
        self._outcome.failure = self._outcome.failure or why


def _length(head: bytes) -> int:
    at = head.lower().index(b"content-length:") + len(b"content-length:")
    return int(head[at:].split(b"\r\n", 1)[0])


def _accepted(body: bytes) -> int:
    """The number in ``{"accepted":12,…}``."""
    number = body.partition(b'"accepted":')[2].strip().split(b",")[0].rstrip(b"}")
    return int(number) if number.isdigit() else 0


def _requests(plan: Plan, load: Load, token: str) -> list[list[bytes]]:
    """Whole requests, each cut where the number of the request goes."""
    bodies = _BODIES_OF_ONE if load.records == 1 else _BODIES_OF_MANY
    lines = traffic(
        accounts=plan.names(),
        records=bodies * load.records,
        days=1,
        end_ms=load.end_ms,
        seed=plan.seed + 1,
    )
    marked = [line.replace(b'"jobid":"', b'"jobid":"' + _MARK + b"-") for line in lines]
    requests = []
    for start in range(0, len(marked), load.records):
        some = marked[start : start + load.records]
        if load.shape is Shape.LINES:
            body = b"\n".join(some)
        else:
            body = some[0] if load.records == 1 else b"[" + b",".join(some) + b"]"
        head = (
            f"POST /v2/account/stats HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: {load.shape.value}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        requests.append((head.encode() + body).split(_MARK))
    return requests
