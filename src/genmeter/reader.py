"""Answers to questions: a bounded set of threads asks the store, clients read at their own speed.

The counterpart of the writer. A thread takes one question from the engine to its last row and is
free again; the rows wait in a spool for a client that is slower. Rows stay text on all their way.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from genmeter.errors import EngineError
from genmeter.query import Question
from genmeter.spool import Spool
from genmeter.store import Again, Part
from genmeter.summary import Summary, fold
from genmeter.tally import Tally

log = logging.getLogger(__name__)
_TAIL: Final = b"]}"
T = TypeVar("T")


class Head(msgspec.Struct, omit_defaults=True, kw_only=True):
    """An answer without its rows: keys in the contract's order (C7)."""

    bot: str
    date: str | None = None
    limit: int | None = None
    config: str | None = None
    total: int
    summary: Summary | None = None


class Body(NamedTuple):
    """A whole answer: its length in bytes, and its pieces, to be read once."""

    size: int
    pieces: AsyncIterator[bytes | memoryview]


class _GoneError(Exception):
    """The client went away; nobody wants the rest."""


class Reader:
    """Runs questions on ``threads`` threads; further ones wait their turn.

    ``ask`` is the store's; ``folder`` is where answers overflow to. Use as a context manager.
    """

    def __init__(
        self,
        ask: Callable[[Question, int], Generator[Part, None, None]],
        *,
        threads: int,
        folder: Path,
    ) -> None:
        self._ask = ask
        self._folder = folder
        self._pool = ThreadPoolExecutor(threads, "reader")
        self._closing = threading.Event()

    def __enter__(self) -> "Reader":
        self._folder.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._pool.shutdown(cancel_futures=True)

    async def run(self, function: Callable[[], T]) -> T:
        """The result of ``function``, run on one of the threads."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, function)

    @contextlib.asynccontextmanager
    async def answer(self, question: Question, now_ms: int) -> AsyncIterator[Body]:
        """The body that answers ``question`` (C7).

        The summary comes first and needs all rows: entering waits for the last of them, so that
        an engine that fails raises EngineError here. What can fail later is the disk with the
        rows on it; the answer must then be broken off.
        """
        spool = Spool(self._folder)
        head: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        gone = threading.Event()
        pump = self._pool.submit(self._pump, question, now_ms, spool, head, gone)
        try:
            begin = await head
            yield Body(len(begin) + spool.size + len(_TAIL), _pieces(begin, spool))
        finally:
            gone.set()  # a pump that runs sees it before its next block
            pump.cancel()
            spool.close()

    def _pump(
        self,
        question: Question,
        now_ms: int,
        spool: Spool,
        head: asyncio.Future[bytes],
        gone: threading.Event,
    ) -> None:
        """Take one answer from the store to its end. Runs on a thread; raises nothing."""
        loop = head.get_loop()
        try:
            if gone.is_set():
                return
            first = True
            parts = self._ask(question, now_ms)
            with contextlib.closing(parts):
                for part in parts:
                    if gone.is_set() or self._closing.is_set():
                        raise _GoneError
                    if isinstance(part, Tally):
                        loop.call_soon_threadsafe(_resolve, head, _head(question, part))
                    elif isinstance(part, Again):
                        spool.clear()
                        first = True
                    else:
                        # The array's first element has no comma before it.
                        spool.write(memoryview(part)[1:] if first else part)
                        first = False
            spool.finish()
        except _GoneError:
            loop.call_soon_threadsafe(_refuse, head, EngineError("the server is shutting down"))
            spool.finish(EngineError("the server is shutting down"))
        except Exception as error:
            if not isinstance(error, EngineError):
                log.exception("a question failed")
            loop.call_soon_threadsafe(_refuse, head, error)
            spool.finish(error)


def _head(question: Question, tally: Tally) -> bytes:
    """The answer's beginning, up to where its first row goes."""
    head = Head(
        bot=question.bot,
        date=question.date,
        limit=question.limit,
        config=question.config,
        total=tally.rows,
        summary=fold(question.bot, tally.totals()) if tally.rows else None,
    )
    return msgspec.json.encode(head)[:-1] + b',"data":['


async def _pieces(head: bytes, spool: Spool) -> AsyncIterator[bytes | memoryview]:
    yield head
    while piece := await spool.read():
        yield piece
    yield _TAIL


def _resolve(future: asyncio.Future[bytes], result: bytes) -> None:
    if not future.done():
        future.set_result(result)


def _refuse(future: asyncio.Future[bytes], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)
