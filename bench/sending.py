"""Requests sent from many connections by one cheap loop: at planned times, or back to back.

With a rate the loop is open: requests are planned at even times, whether or not the last ones have
been answered, and how long one took is counted from when it was planned. A server that stalls is
so charged for every request that it kept waiting, also for those that were not sent yet.
"""

import asyncio
import contextlib
import dataclasses
import re
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import cast

import uvloop

WARM_UP_S = 1.0
GRACE_S = 30.0
"""How long answers may still take when the time is up, in seconds."""

_AGAIN_S = 0.2
_RECORDED = re.compile(rb'\{"accepted":\s*(\d+)(?:.*"rejected_total":\s*(\d+))?', re.DOTALL)
_END_OF_CHUNKS = b"\r\n0\r\n\r\n"


@dataclasses.dataclass(frozen=True)
class Load:
    """Requests from ``clients`` connections for ``seconds`` seconds after the warm-up.

    ``rate`` a second are planned; with 0.0 every client sends its next request when its last one
    has been answered.
    """

    clients: int
    seconds: float
    rate: float = 0.0


@dataclasses.dataclass
class Outcome:
    """What came of a load.

    ``statuses`` counts all answers, under 0 what got none, under -1 what was planned and not sent.
    ``accepted`` is how many records were acknowledged in all, ``in_time`` how many within
    ``seconds`` after the warm-up, ``rejected`` how many were refused one by one, ``waits_ms`` how
    long each request planned in that time took.
    ``failure`` is the first thing that went wrong.
    """

    seconds: float
    statuses: Counter[int] = dataclasses.field(default_factory=Counter)
    accepted: int = 0
    in_time: int = 0
    rejected: int = 0
    waits_ms: list[float] = dataclasses.field(default_factory=list)
    failure: str = ""

    @property
    def failed(self) -> int:
        """How many requests were not answered with 200."""
        return self.statuses.total() - self.statuses[200]


Loads = Sequence[tuple[Load, Iterator[bytes]]]
"""Loads that run at one time, each with its requests, which never end."""


def run(address: tuple[str, int], loads: Loads) -> list[Outcome]:
    """Put loads on the server at a host and port. Raises OSError where nobody listens there."""
    return uvloop.run(_run(address, loads))


async def _run(address: tuple[str, int], loads: Loads) -> list[Outcome]:
    streams = [_Stream(address, load, requests) for load, requests in loads]
    await asyncio.gather(*(stream.run() for stream in streams))
    return [stream.outcome for stream in streams]


class _Stream:
    """One load on its connections."""

    def __init__(self, address: tuple[str, int], load: Load, requests: Iterator[bytes]) -> None:
        self.outcome = Outcome(load.seconds)
        self._address = address
        self._load = load
        self._requests = requests
        self._next_request = next(requests)
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._due: deque[float] = deque()
        self._planned = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Everything from the first connection to the last answer."""
        self._loop = asyncio.get_running_loop()
        self._all_idle = asyncio.Event()
        self._start = self._began = self._until = float("inf")
        await asyncio.gather(*(self._connect() for _ in range(self._load.clients)))
        self._start = time.perf_counter()
        self._began = self._start + WARM_UP_S
        self._until = self._began + self._load.seconds
        self._tick()
        await asyncio.sleep(WARM_UP_S + self._load.seconds)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_idle.wait(), GRACE_S)
        for task in self._tasks:
            task.cancel()
        for connection in self._busy:
            self._count(connection.planned, 0, b"no answer came in time")
        for planned in self._due:
            self._count(planned, -1, b"not sent: all connections were waiting for answers")
        gone = [*self._idle, *self._busy]
        self._idle.clear()
        self._busy.clear()
        for connection in gone:
            connection.close()

    def _tick(self) -> None:
        """See what is due, send it, and come back when the next one is."""
        if self._load.rate:
            now = time.perf_counter()
            while (planned := self._start + self._planned / self._load.rate) <= now:
                if planned < self._until:
                    self._due.append(planned)
                self._planned += 1
            if planned < self._until:
                self._loop.call_later(planned - now, self._tick)
        self._send()

    def _send(self) -> None:
        """Give idle connections something to do."""
        while self._idle:
            now = time.perf_counter()
            if now >= self._until or (self._load.rate and not self._due):
                return
            connection = self._idle.pop()
            self._busy.add(connection)
            self._all_idle.clear()
            connection.send(self._next_request, self._due.popleft() if self._load.rate else now)
            self._next_request = next(self._requests)  # made while nobody waits for it

    def answered(self, connection: "_Connection", status: int, body: bytes) -> None:
        """A whole answer came."""
        self._count(connection.planned, status, body)
        self._free(connection)
        self._idle.append(connection)
        self._send()

    def lost(self, connection: "_Connection") -> None:
        """A connection is gone; another one takes its place."""
        if connection in self._idle:
            self._idle.remove(connection)
        elif connection in self._busy:
            self._free(connection)
            self._count(connection.planned, 0, b"the connection was lost")
        if time.perf_counter() < self._until:
            task = self._loop.create_task(self._connect_again())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _free(self, connection: "_Connection") -> None:
        self._busy.discard(connection)
        if not self._busy:
            self._all_idle.set()

    async def _connect(self) -> None:
        _, connection = await self._loop.create_connection(
            lambda: _Connection(self), *self._address
        )
        self._idle.append(connection)

    async def _connect_again(self) -> None:
        while time.perf_counter() < self._until:
            try:
                await self._connect()
                self._send()
                break
            except OSError:
                await asyncio.sleep(_AGAIN_S)

    def _count(self, planned: float, status: int, body: bytes) -> None:
        now = time.perf_counter()
        outcome = self.outcome
        outcome.statuses[status] += 1
        if status != 200:
            text = body[:200].decode(errors="replace")
            outcome.failure = outcome.failure or (f"{status} {text}" if status > 0 else text)
        elif found := _RECORDED.match(body):
            accepted, rejected = int(found[1]), int(found[2] or 0)
            outcome.accepted += accepted
            outcome.rejected += rejected
            if self._began <= now < self._until:
                outcome.in_time += accepted
        if planned >= self._began:
            outcome.waits_ms.append((now - planned) * 1000)


class _Connection(asyncio.Protocol):
    """A connection with one request at a time."""

    def __init__(self, stream: _Stream) -> None:
        self._stream = stream
        self.planned = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stream.lost(self)

    def send(self, request: bytes, planned: float) -> None:
        self.planned = planned
        self._head = b""
        self._body = b""
        self._transport.write(request)

    def close(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if not self._head:
            self._body += data
            head, mark, body = self._body.partition(b"\r\n\r\n")
            if not mark:
                return
            self._head, self._body = head, body
            self._length = _length(head)
        elif self._length is None:
            # Of an answer in chunks nothing but its end is looked at.
            self._body = self._body[-len(_END_OF_CHUNKS) :] + data
        else:
            self._body += data
        if self._length is None:
            if self._body.endswith(_END_OF_CHUNKS) or self._body == _END_OF_CHUNKS[2:]:
                self._stream.answered(self, int(self._head[9:12]), b"")
        elif len(self._body) >= self._length:
            self._stream.answered(self, int(self._head[9:12]), self._body)


def _length(head: bytes) -> int | None:
    """The length that the headers tell, None for an answer in chunks."""
    _, found, rest = head.lower().partition(b"content-length:")
    return int(rest.split(b"\r\n", 1)[0]) if found else None
