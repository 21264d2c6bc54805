"""The response of ``GET /v2/account/stats``: a head with the summary, then the rows (C7)."""

import contextlib
from collections.abc import AsyncIterator, Generator
from typing import Final, NamedTuple

import msgspec

from genmeter.execution.fairness import Ticket
from genmeter.execution.pool import QueryPool
from genmeter.execution.spool import Spool
from genmeter.execution.summary import Summary, summarize
from genmeter.model.bots import Bots
from genmeter.query.stats import StatsQuery
from genmeter.storage.store import Part, Restart, Store
from genmeter.storage.tally import Tally

_TAIL: Final = b"]}"


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


@contextlib.asynccontextmanager
async def answer(
    pool: QueryPool, store: Store, query: StatsQuery, now_ms: int, ticket: Ticket
) -> AsyncIterator[Body]:
    """The body that answers ``query`` (C7).

    The summary comes first and needs all rows: entering waits for the last of them, so that an
    engine that fails raises EngineError here. What can fail later is the disk with the rows on
    it; the response must then be cut off.
    """
    async with pool.spooled(lambda: _rows(store.answer(query, now_ms)), ticket) as (spool, tally):
        head = _head(query, tally, store.bots)
        yield Body(len(head) + spool.size + len(_TAIL), _pieces(head, spool))


def _rows(
    parts: Generator[Part, None, None],
) -> Generator[memoryview | bytes | Restart, None, Tally]:
    """The rows of an answer as elements of an array; returns their tally."""
    tally = Tally()
    first = True
    with contextlib.closing(parts):
        for part in parts:
            if isinstance(part, Tally):
                tally = part
            elif isinstance(part, Restart):
                first = True
                yield part
            else:
                # The array's first element has no comma before it.
                yield memoryview(part)[1:] if first else part
                first = False
    return tally


def _head(query: StatsQuery, tally: Tally, bots: Bots) -> bytes:
    """The answer's beginning, up to where its first row goes."""
    head = Head(
        bot=query.bot,
        date=query.date,
        limit=query.limit,
        config=query.config,
        total=tally.rows,
        summary=summarize(query.bot, tally.totals(), bots) if tally.rows else None,
    )
    return msgspec.json.encode(head)[:-1] + b',"data":['


async def _pieces(head: bytes, spool: Spool) -> AsyncIterator[bytes | memoryview]:
    yield head
    async for piece in spool.pieces():
        yield piece
    yield _TAIL
