"""Records as they are stored, for any number of readers at once.

The store is the one source: records are read by their version, in whose order they became part of
answers. So a reader that was away, or is slow, is given what it missed from there; no reader has a
queue, and the writer does no more than say that there is something new. What several readers wait
for is read once.

One process over its own folder knows the last version that is on disk. Over servers others write,
too, and a version that was given out may not be there yet: what is read is held back for a
moment (``HOLD_S``).
"""

import asyncio
import contextlib
import functools
import logging
import re
import time
from bisect import bisect_right
from collections import deque
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final
from weakref import WeakValueDictionary

import msgspec

from genmeter.errors import BadRequestError, UnavailableError
from genmeter.storage.store import Store, StoredRecord

log = logging.getLogger(__name__)

HEARTBEAT_S: Final = 15.0
"""A stream that says nothing says so, in seconds: whoever reads can tell it from a dead one."""

HOLD_S: Final = 2.0
"""Over servers: how long after it was given out a version counts as stored, in seconds."""

_REPLAY_THREADS: Final = 2
_PAUSE_S: Final = 0.2
_POLL_S: Final = 1.0
_MOST_PAUSE_S: Final = 1.0
_BUSY: Final = 1_000
"""Records in one pass from which on the feed is busy: it then pauses no longer than it read."""

_QUIET_PAUSES: Final = 9
"""How much longer than it read the feed pauses where it is not busy: a tenth of a processor."""

_PAGE: Final = 2_000
_SHARED_PAGE: Final = 10_000
"""Records read at once for all clients; a page costs about as much as its scan, so few are best."""

_KEPT_BYTES: Final = 16 * 2**20
_LAST: Final = 2**64 - 1
EVENT_ID: Final = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")

EventPosition = tuple[int, int]
"""Where a reader is: behind a record, known by its version and a number among those."""


class _Span(msgspec.Struct, frozen=True):
    """What came from one place to the next, of some accounts, or of all."""

    before: EventPosition
    after: EventPosition
    accounts: frozenset[str] | None
    arrivals: Sequence[StoredRecord]
    size: int


class Feed:
    """Follows ``store`` while anybody listens.

    ``alone`` says that nobody else writes to it. ``now_ms`` is the service's clock.
    """

    def __init__(self, store: Store, *, alone: bool, now_ms: Callable[[], int]) -> None:
        self._store = store
        self._alone = alone
        self._now_ms = now_ms
        self._listening: list[str | None] = []
        self._place: EventPosition = (0, 0)
        self._marks: deque[tuple[float, int]] = deque()
        self._kept: deque[_Span] = deque()
        self._moved = asyncio.Event()
        self._news = asyncio.Event()
        self._starting = asyncio.Lock()
        # Replays have threads of their own, and an account one of them at the most.
        self._following = ThreadPoolExecutor(1, "live")
        self._replaying = ThreadPoolExecutor(_REPLAY_THREADS, "replay")
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pump: asyncio.Task[None] | None = None
        self._closed = False

    def stored(self) -> None:
        """Say that records are on disk. From any thread; costs nothing while nobody listens."""
        if (loop := self._loop) is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and all who listened
                loop.call_soon_threadsafe(self._news.set)

    def close(self) -> None:
        """End all streams, so that the service can end. Called on the event loop."""
        self._closed = True
        self._move()

    async def follow(
        self, account: str | None, bots: Collection[str] | None, after: EventPosition | None
    ) -> AsyncGenerator[bytes, None]:
        """Events of ``account``, None for all, as bytes of a ``text/event-stream``.

        They begin behind ``after``, however long ago that was, as far as what followed is still
        kept; without it with what is stored from now on.
        """
        self._listening.append(account)
        try:
            await self._start()
            at = after or self._place
            yield f"retry: 2000\nid: {_id(at)}\n\n".encode()
            while not self._closed:
                if at >= self._place:
                    moved = self._moved
                    try:
                        async with asyncio.timeout(HEARTBEAT_S):
                            await moved.wait()
                    except TimeoutError:
                        yield b": nothing new\n\n"
                    continue
                arrivals, at = await self._next(account, at)
                mine = [
                    one
                    for one in arrivals
                    if account in (None, one.account) and (bots is None or one.bot in bots)
                ]
                for start in range(0, len(mine), _PAGE):
                    yield b"".join(map(_event, mine[start : start + _PAGE]))
        finally:
            self._listening.remove(account)
            self._news.set()

    async def _start(self) -> None:
        """Begin to follow the store, where nobody listened before."""
        async with self._starting:
            if self._pump is not None:
                return
            self._loop = asyncio.get_running_loop()
            self._place = await self._beginning()
            self._pump = asyncio.create_task(self._run())

    async def _beginning(self) -> EventPosition:
        if self._alone:
            return self._store.written, _LAST
        # What was given out a moment ago may be in no answer yet, and is not to be missed.
        version = await asyncio.to_thread(self._store.next_version, self._now_ms())
        return version - int(HOLD_S * 1_000_000), _LAST

    async def _run(self) -> None:
        """Move on as records are stored, until nobody listens."""
        try:
            while self._listening and not self._closed:
                if self._alone:
                    await self._news.wait()
                    self._news.clear()
                started = time.monotonic()
                records = await self._catch_up()
                pause = pause_s(time.monotonic() - started, records)
                await asyncio.sleep(max(pause, _PAUSE_S if self._alone else _POLL_S))
        finally:
            self._pump = self._loop = None
            self._kept.clear()
            self._marks.clear()

    async def _catch_up(self) -> int:
        """Read what is new; returns how many records that were."""
        try:
            settled = await self._settled()
            if (settled, _LAST) > self._place:
                return await self._move_to(settled)
        except UnavailableError as error:
            log.warning("new records could not be read: %s", error)
            self._news.set()
            await asyncio.sleep(_POLL_S)
        return 0

    async def _settled(self) -> int:
        """A version up to which all there will ever be is in every answer."""
        if self._alone:
            return self._store.written
        now = time.monotonic()
        self._marks.append((now, await asyncio.to_thread(self._store.next_version, self._now_ms())))
        settled = 0
        while self._marks and self._marks[0][0] <= now - HOLD_S:
            settled = self._marks.popleft()[1]
        return settled

    async def _move_to(self, version: int) -> int:
        records = 0
        accounts = None if None in self._listening else frozenset(filter(None, self._listening))
        while self._place < (version, _LAST):
            arrivals, after = await self._read(
                self._following, accounts, self._place, version, _SHARED_PAGE
            )
            records += len(arrivals)
            size = sum(len(one.row) for one in arrivals)
            self._kept.append(_Span(self._place, after, accounts, arrivals, size))
            while len(self._kept) > 1 and sum(span.size for span in self._kept) > _KEPT_BYTES:
                self._kept.popleft()
            if len(self._kept) > 100:
                self._kept.popleft()
            self._place = after
            self._move()
        return records

    def _move(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()

    async def _next(
        self, account: str | None, at: EventPosition
    ) -> tuple[Sequence[StoredRecord], EventPosition]:
        """What follows ``at``: from what was read for all, or from the store."""
        for span in self._kept:
            if span.before <= at < span.after and (
                span.accounts is None or account in span.accounts
            ):
                passed = bisect_right(span.arrivals, at, key=_position)
                return span.arrivals[passed:] if passed else span.arrivals, span.after
        accounts = None if account is None else frozenset([account])
        async with self._turns.setdefault(account or "", asyncio.Lock()):
            return await self._read(self._replaying, accounts, at, self._place[0], _PAGE)

    async def _read(
        self,
        threads: ThreadPoolExecutor,
        accounts: frozenset[str] | None,
        after: EventPosition,
        version: int,
        limit: int,
    ) -> tuple[Sequence[StoredRecord], EventPosition]:
        read = functools.partial(
            self._store.arrivals,
            accounts,
            now_ms=self._now_ms(),
            after=after,
            version=version,
            limit=limit,
        )
        arrivals = await asyncio.get_running_loop().run_in_executor(threads, read)
        if len(arrivals) < limit:
            return arrivals, (version, _LAST)
        return arrivals, (arrivals[-1].version, arrivals[-1].number)


def pause_s(took_s: float, records: int) -> float:
    """Return how long to pause after a pass that took ``took_s`` for so many ``records``.

    Of a large store, where every pass is slow, this takes at most a tenth of a processor while few
    records come. While many come, it takes more rather than fall behind.
    """
    if records < _BUSY:
        return _QUIET_PAUSES * took_s
    return min(took_s, _MOST_PAUSE_S)


def _position(arrival: StoredRecord) -> EventPosition:
    return arrival.version, arrival.number


def _event(arrival: StoredRecord) -> bytes:
    return b"id: %d-%d\ndata: %b\n\n" % (arrival.version, arrival.number, arrival.row)


def _id(place: EventPosition) -> str:
    return f"{place[0]}-{place[1]}"


def parse_event_id(text: str) -> EventPosition:
    """Return the position behind the event of this id. Raises BadRequestError if it is not one."""
    found = EVENT_ID.fullmatch(text)
    position = (int(found[1]), int(found[2])) if found else (_LAST + 1, 0)
    if max(position) > _LAST:
        raise BadRequestError("Last-Event-ID must be the id of an event of this stream")
    return position
