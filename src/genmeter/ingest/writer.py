"""The one writer: a bounded queue, a thread, one INSERT for all queued requests, then the replies.

It has a lane for each shard, with its own queue and thread.

A request is acknowledged when its rows are on disk (R5). While an INSERT runs, requests queue up
for the next one. Clients usually post again right after a reply, so the writer waits briefly for as
many requests as it has acknowledged: one INSERT costs as much as a hundred records.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from genmeter.errors import QueueFullError, UnavailableError, WriteError
from genmeter.model.record import Row

log = logging.getLogger(__name__)

PAUSE_S: Final = 0.02
"""Least time from the start of one INSERT to the next, in seconds: some 50 parts a second at the
most, which merges keep up with."""

GATHER_S: Final = 0.02
"""How long the writer waits for requests after an INSERT, at the most, in seconds."""

BATCH_ROWS: Final = 20_000
"""An INSERT takes waiting requests until it holds this many rows."""


class _Submission(msgspec.Struct, eq=False):
    rows: Sequence[Row]
    done: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop


class Writer:
    """Stores rows in the order in which they are submitted.

    Each of ``lanes`` writes by itself, so that one that is slow or fails holds no other up;
    ``lane_of`` an account is that of all its rows. ``insert(rows, lane)`` stores rows of a lane
    and raises UnavailableError where it cannot; ``queue_rows`` is how many may wait in each. Use
    as a context manager; leaving it stores what is queued.
    """

    def __init__(
        self,
        insert: Callable[[Sequence[Row], int], None],
        *,
        queue_rows: int,
        lanes: int = 1,
        lane_of: Callable[[str], int] = lambda _: 0,
    ) -> None:
        self._lock = threading.Lock()
        self._lane_of = lane_of
        self._lanes = [_Lane(number, insert, queue_rows, self._lock) for number in range(lanes)]

    def __enter__(self) -> "Writer":
        for lane in self._lanes:
            lane.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for lane in self._lanes:
            lane.close()
        for lane in self._lanes:
            lane.thread.join()

    async def submit(self, rows: Sequence[Row]) -> None:
        """Return when ``rows`` are on disk and in every answer.

        Raises QueueFullError where there is no room for them, and stores none then; WriteError
        where they could not all be stored. A request larger than the queue is taken when nothing
        else waits.
        """
        loop = asyncio.get_running_loop()
        parts = [
            (self._lanes[number], _Submission(mine, loop.create_future(), loop))
            for number, mine in self._split(rows).items()
        ]
        with self._lock:
            for lane, part in parts:
                lane.check_room(len(part.rows))
            for lane, part in parts:
                lane.add(part)
        if len(parts) == 1:  # nearly always, and much the cheaper
            await parts[0][1].done
            return
        results = await asyncio.gather(*(part.done for _, part in parts), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    @property
    def waiting_rows(self) -> int:
        """How many rows wait for their INSERT to begin."""
        return sum(lane.waiting_rows for lane in self._lanes)

    def stuck_s(self) -> float:
        """For how many seconds an INSERT has been running in every lane; 0.0 when one is idle."""
        return min(lane.stuck_s() for lane in self._lanes)

    def _split(self, rows: Sequence[Row]) -> Mapping[int, Sequence[Row]]:
        if len(self._lanes) == 1:
            return {0: rows}
        parts: dict[int, list[Row]] = {}
        for row in rows:
            parts.setdefault(self._lane_of(row.account), []).append(row)
        return parts


class _Lane:
    """One queue with the thread that empties it. ``lock`` guards the queues of all lanes."""

    def __init__(
        self,
        number: int,
        insert: Callable[[Sequence[Row], int], None],
        queue_rows: int,
        lock: threading.Lock,
    ) -> None:
        self._number = number
        self._insert = insert
        self._queue_rows = queue_rows
        self._queue: deque[_Submission] = deque()
        self.waiting_rows = 0
        self._busy_since: float | None = None
        self._filled = threading.Condition(lock)
        self._closing = threading.Event()
        self._wanted = 0
        self.thread = threading.Thread(target=self._run, name=f"writer-{number}")

    def close(self) -> None:
        """Take no more; the thread ends when the queue is empty."""
        with self._filled:
            self._closing.set()
            self._filled.notify()

    def check_room(self, rows: int) -> None:
        """Raise QueueFullError where so many rows cannot wait now. The lock is held."""
        if self._closing.is_set():
            raise QueueFullError("the server is shutting down; send the records again later")
        if self.waiting_rows and self.waiting_rows + rows > self._queue_rows:
            raise QueueFullError(
                f"{self.waiting_rows} records wait to be written and {self._queue_rows} may; "
                "nothing of this request was stored; send it again later"
            )

    def add(self, submission: _Submission) -> None:
        """Let ``submission`` wait its turn. The lock is held."""
        self._queue.append(submission)
        self.waiting_rows += len(submission.rows)
        if self._enough():  # the thread need not wake for every one
            self._filled.notify()

    def stuck_s(self) -> float:
        """For how many seconds the INSERT under way has been running; 0.0 when none is."""
        since = self._busy_since
        return 0.0 if since is None else time.monotonic() - since

    def _run(self) -> None:
        while batch := self._next_batch():
            started = self._busy_since = time.monotonic()
            error: Exception | None = None
            try:
                self._insert([row for submission in batch for row in submission.rows], self._number)
            except UnavailableError as failure:
                error = failure
                log.error(
                    "an insert failed",
                    extra={"requests": len(batch), "detail": str(failure)},
                )
            except Exception as failure:
                error = failure
                log.exception("an insert failed", extra={"requests": len(batch)})
            self._busy_since = None
            waiting = len(self._queue)
            _answer(batch, error)
            self._gather(waiting + len(batch), GATHER_S)
            self._closing.wait(started + PAUSE_S - time.monotonic())

    def _gather(self, wanted: int, seconds: float | None = None) -> None:
        """Wait until so many requests wait, or rows for a whole INSERT, or nothing more comes."""
        with self._filled:
            self._wanted = wanted
            self._filled.wait_for(self._enough, seconds)
            self._wanted = 0

    def _enough(self) -> bool:
        return (
            len(self._queue) >= self._wanted
            or self.waiting_rows >= BATCH_ROWS
            or self._closing.is_set()
        )

    def _next_batch(self) -> list[_Submission]:
        """Whole requests in their order, up to some size; none when all is done."""
        self._gather(1)
        with self._filled:
            batch: list[_Submission] = []
            rows = 0
            while self._queue and (not batch or rows + len(self._queue[0].rows) <= BATCH_ROWS):
                batch.append(self._queue.popleft())
                rows += len(batch[-1].rows)
            self.waiting_rows -= rows
            return batch


def _answer(batch: Sequence[_Submission], error: Exception | None) -> None:
    """Let the requests of a batch know, with one wake-up for each event loop."""
    for loop in {submission.loop for submission in batch}:
        mine = [submission.done for submission in batch if submission.loop is loop]
        loop.call_soon_threadsafe(_settle, mine, error)


def _settle(futures: Sequence[asyncio.Future[None]], error: Exception | None) -> None:
    for future in futures:
        if future.done():  # the client went away
            continue
        if error is None:
            future.set_result(None)
        else:
            refusal = WriteError("the records could not be stored; send them again")
            refusal.__cause__ = error
            future.set_exception(refusal)
