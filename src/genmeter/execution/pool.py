"""Answers to queries: a bounded set of threads asks the store, clients read at their own speed.

The counterpart of the writer. A thread takes one query from the engine to its last row and is
free again; the rows wait in a spool for a client that is slower. Rows stay text on all their way.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from genmeter.errors import EngineError, GenmeterError
from genmeter.execution.spool import Spool
from genmeter.storage.store import Restart

log = logging.getLogger(__name__)
T = TypeVar("T")


def _nobody() -> None:
    """Nobody wants to know."""


class QueryPool:
    """Runs queries on ``threads`` threads; further ones wait their turn.

    ``folder`` is where answers overflow to. Use as a context manager.
    """

    def __init__(
        self,
        *,
        threads: int,
        folder: Path,
    ) -> None:
        self._folder = folder
        self._pool = ThreadPoolExecutor(threads, "pool")
        self._closing = threading.Event()

    def __enter__(self) -> "QueryPool":
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._pool.shutdown(cancel_futures=True)

    async def run(self, function: Callable[[], T], started: Callable[[], None] = _nobody) -> T:
        """The result of ``function``, run on one of the threads; ``started`` is called before."""
        loop = asyncio.get_running_loop()

        def work() -> T:
            loop.call_soon_threadsafe(started)
            return function()

        return await loop.run_in_executor(self._pool, work)

    @contextlib.asynccontextmanager
    async def spooled(
        self, make: Callable[[], Generator[bytes | memoryview | Restart, None, T]]
    ) -> AsyncIterator[tuple[Spool, T]]:
        """What a generator gives, to be read when it has come to its end, and what it returns.

        It runs on one of the threads. Entering raises what the generator raises, EngineError where
        the service ends meanwhile.
        """
        spool = Spool(self._folder)
        result: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        gone = threading.Event()
        pump = self._pool.submit(self._pump, make, spool, result, gone)
        try:
            yield spool, await result
        finally:
            gone.set()  # a pump that runs sees it before its next piece
            pump.cancel()
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
            loop.call_soon_threadsafe(_resolve, result, end.value)
        except Exception as error:
            if not isinstance(error, GenmeterError):
                log.exception("a question failed")
            loop.call_soon_threadsafe(_refuse, result, error)
            spool.finish(error)


def _resolve(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _refuse(future: asyncio.Future[T], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
