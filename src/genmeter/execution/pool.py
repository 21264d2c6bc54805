"""Answers to queries: a bounded set of threads asks the store, clients read at their own speed.

The counterpart of the writer. A thread takes one query from the engine to its last row and is
free again; the rows wait in a spool for a client that is slower. Rows stay text on all their way.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Generator
from pathlib import Path
from typing import TypeVar

from genmeter.errors import BusyError, EngineError, GenmeterError
from genmeter.execution.fairness import SLOW_S, FairQueue, Job, Ticket
from genmeter.execution.spool import Spool, SpoolRoom
from genmeter.storage.store import Restart

log = logging.getLogger(__name__)
T = TypeVar("T")


class QueryPool:
    """Runs queries on ``threads`` threads; further ones wait, in a fair order.

    ``folder`` is where answers overflow to, ``spool_bytes`` how much of the disk they may take
    there. Use as a context manager.
    """

    def __init__(self, *, threads: int, folder: Path, spool_bytes: int) -> None:
        self._room = SpoolRoom(folder, spool_bytes)
        slots = max(2, threads)  # one heavy query must not hold up all others
        self._queue = FairQueue(slots)
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=self._serve, name=f"pool-{number}") for number in range(slots)
        ]

    def __enter__(self) -> "QueryPool":
        self._room.folder.mkdir(parents=True, exist_ok=True)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with self._changed:
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    async def run(self, function: Callable[[], T], ticket: Ticket) -> T:
        """The result of ``function``, run on one of the threads.

        Raises BusyError where its turn does not come in time. Cancelled, it does not begin.
        """
        loop = asyncio.get_running_loop()
        result: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                found = function()
            except Exception as error:
                _call(loop, _refuse, result, error)
            else:
                _call(loop, _resolve, result, found)

        async with self._turn(work, ticket):
            return await result

    @contextlib.asynccontextmanager
    async def _turn(self, work: Callable[[], None], ticket: Ticket) -> AsyncIterator[None]:
        """Wait until ``work`` begins on a thread; where it has not, it never will afterwards."""
        loop = asyncio.get_running_loop()
        started = asyncio.Event()

        def begin() -> None:
            _call(loop, started.set)
            begun = time.monotonic()
            work()
            if ticket.cheap and time.monotonic() - begun > SLOW_S:
                ticket.slow()

        job = Job(ticket.account, ticket.cheap, begin)
        with self._changed:
            self._queue.add(job)
            self._changed.notify()
        try:
            try:
                async with asyncio.timeout(ticket.patience_s):
                    await started.wait()
            except TimeoutError as error:
                raise BusyError(
                    f"the query waited {ticket.patience_s:g} seconds for others; send it again "
                    "later"
                ) from error
            yield
        finally:
            if not started.is_set():
                with self._changed:
                    self._queue.remove(job)

    def _serve(self) -> None:
        """Run what is next, until the end."""
        while (job := self._next()) is not None:
            begun = time.monotonic()
            try:
                job.work()
            finally:
                with self._changed:
                    self._queue.done(job, time.monotonic() - begun)
                    self._changed.notify_all()

    def _next(self) -> Job | None:
        """The next job, once there is one; None at the end."""
        with self._changed:
            while not self._closing.is_set():
                if (job := self._queue.take()) is not None:
                    return job
                self._changed.wait()
        return None

    @contextlib.asynccontextmanager
    async def spooled(
        self,
        make: Callable[[], Generator[bytes | memoryview | Restart, None, T]],
        ticket: Ticket,
    ) -> AsyncIterator[tuple[Spool, T]]:
        """What a generator gives, to be read when it has come to its end, and what it returns.

        It runs on one of the threads. Entering raises what the generator raises, EngineError where
        the service ends meanwhile, BusyError where its turn does not come in time.
        """
        spool = Spool(self._room, ticket.account)
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        gone = threading.Event()
        try:
            async with self._turn(lambda: self._pump(make, spool, result, gone), ticket):
                yield spool, await result
        finally:
            gone.set()  # a pump that runs sees it before its next piece
            spool.close()

    def _pump(
        self,
        make: Callable[[], Generator[bytes | memoryview | Restart, None, T]],
        spool: Spool,
        result: asyncio.Future[T],
        gone: threading.Event,
    ) -> None:
        """Take one answer to its end. Runs on a thread; raises nothing."""
        loop = result.get_loop()
        if gone.is_set():
            return
        parts = make()
        try:
            with contextlib.closing(parts):
                while True:
                    if gone.is_set() or self._closing.is_set():
                        raise EngineError("the server is shutting down")
                    part = next(parts)
                    if isinstance(part, Restart):
                        spool.clear()
                    else:
                        spool.write(part)
        except StopIteration as end:
            spool.finish()
            _call(loop, _resolve, result, end.value)
        except Exception as error:
            if not isinstance(error, GenmeterError):
                log.exception("a question failed")
            _call(loop, _refuse, result, error)
            spool.finish(error)


def _call(loop: asyncio.AbstractEventLoop, function: Callable[..., object], *given: object) -> None:
    """Call a function on the loop, unless that has ended: then nobody waits any more."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(function, *given)


def _resolve(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _refuse(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
