"""The routes of range queries: figures, rows, and what there is to ask about.

Bytes in, bytes out: what is asked is read by :mod:`genmeter.query`, and answered by
:mod:`genmeter.execution`.
"""

import asyncio
import contextlib
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import AbstractContextManager
from typing import Any, TypeVar
from urllib.parse import urlencode

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Send

from genmeter import __version__
from genmeter.api.authentication import Authenticator
from genmeter.api.bodies import INLINE_QUERY_BYTES, MAX_QUERY_BYTES, Bodies, aside
from genmeter.api.limits import Limits
from genmeter.api.responses import Streamed, disconnected, unchanged
from genmeter.api.schemas import META, QUERY, ROWS
from genmeter.errors import LimitError
from genmeter.execution import render
from genmeter.execution.aggregator import Aggregator
from genmeter.execution.catalog import Catalog, QueryLimits
from genmeter.execution.pages import Pager
from genmeter.execution.pool import QueryPool
from genmeter.formats import negotiation
from genmeter.formats.base import Format, checksum
from genmeter.query import aggregation, listing, selection
from genmeter.query.listing import RowsQuery
from genmeter.query.parameters import Parameters
from genmeter.query.selection import Asking, Selection
from genmeter.storage.shards import Run, Shards
from genmeter.storage.store import Store

log = logging.getLogger(__name__)
T = TypeVar("T")


class _Asked(msgspec.Struct, frozen=True):
    """A request, as far as all queries have it in common."""

    given: Parameters
    asking: Asking
    run: Run


class QueryRoutes:
    """The routes, with all they need."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        bodies: Bodies,
        store: Store,
        shards: Shards,
        pool: QueryPool,
        now_ms: Callable[[], int],
        clients: Limits,
        limits: QueryLimits,
        cursor_key: bytes,
        retention_days: int,
        stall_seconds: float,
    ) -> None:
        self._authenticator = authenticator
        self._bodies = bodies
        self._store = store
        self._shards = shards
        self._aggregator = Aggregator(shards, most_groups=limits.groups)
        self._catalog = Catalog(self._aggregator, shards, limits, retention_days, store.bots)
        self._pager = Pager(shards)
        self._pool = pool
        self._now_ms = now_ms
        self._clients = clients
        self._limits = limits
        self._cursor_key = cursor_key
        self._stall_seconds = stall_seconds

    def routes(self) -> list[Route]:
        """Every route there is."""
        return [
            Route(QUERY, self._query, methods=["GET", "POST"]),
            Route(ROWS, self._rows, methods=["GET", "POST"]),
            Route(META, self._meta, methods=["GET"]),
        ]

    async def _query(self, request: Request) -> Response:
        asked = await self._asked(request)
        format_ = _format(asked.given, request)
        wanted = aggregation.parse(asked.given, asked.asking, most_groups=self._limits.groups)
        asked.given.end()
        selections = [wanted.selection]
        if wanted.previous:
            selections.append(wanted.of_previous().selection)
        tag = await self._tag(asked, selections, [format_.name, wanted.echo()])
        if unchanged(request, tag):
            return Response(status_code=304, headers={"ETag": tag})
        found = await self._work(
            request, asked, lambda: self._aggregator.aggregate(wanted, asked.run)
        )
        body, rows = await asyncio.to_thread(render.aggregates, wanted, found, format_)
        headers = render.headers(wanted.selection, "query", format_, rows, checksum(body))
        return Response(body, 200, headers | {"ETag": tag}, format_.media_type)

    async def _rows(self, request: Request) -> Response:
        asked = await self._asked(request)
        format_ = _format(asked.given, request)
        wanted = listing.parse(asked.given, asked.asking)
        asked.given.end()
        about = [format_.name, wanted.echo(), wanted.after]
        tag = await self._tag(asked, [wanted.selection], about)
        if unchanged(request, tag):
            return Response(status_code=304, headers={"ETag": tag})

        def pieces() -> Generator[bytes, None, render.Listed]:
            lines = self._pager.rows(wanted, format_.line_format, asked.run)
            return render.rows(wanted, lines, format_)

        running = self._clients.running(asked.asking.account)
        response = _Rows(self._pool, pieces, format_, running, self._stall_seconds)
        response.stop = lambda: self._stop(asked.run)
        response.headers["ETag"] = tag
        response.described = lambda listed: (
            render.headers(wanted.selection, "rows", format_, listed.rows, listed.sha256)
            | _next(request, wanted, listed.cursor)
        )
        return response

    async def _meta(self, request: Request) -> Response:
        asked = await self._asked(request)
        chosen = selection.everything(asked.given, asked.asking)
        asked.given.end()
        state = await asyncio.to_thread(self._store.state, chosen.account)
        found = await self._work(
            request, asked, lambda: self._catalog.meta(chosen, asked.run, state)
        )
        body = msgspec.json.encode(found)
        tag = _weak(body)
        if unchanged(request, tag):
            return Response(status_code=304, headers={"ETag": tag})
        return Response(body, headers={"ETag": tag}, media_type="application/json")

    async def _asked(self, request: Request) -> _Asked:
        token = await self._authenticator.authenticate(request, "read")
        self._clients.query(request, token)
        if request.method == "POST":
            async with self._bodies.read(request, token.account, MAX_QUERY_BYTES) as body:
                long = len(body) > INLINE_QUERY_BYTES
                given = await aside(long, Parameters.of_json, body)
        else:
            given = Parameters.of_address(request.query_params.multi_items())
        now_ms = self._now_ms()
        asking = Asking(
            account=token.account,
            any_account=token.is_admin,
            now_ms=now_ms,
            most_days=self._limits.days,
            cursor_key=self._cursor_key,
            bots=self._store.bots,
        )
        run = Run(
            now_ms=now_ms,
            oldest_ms=self._store.oldest_ms(now_ms),
            query_id=f"q{secrets.token_hex(8)}",
        )
        return _Asked(given, asking, run)

    async def _tag(self, asked: _Asked, selections: Sequence[Selection], about: list[Any]) -> str:
        """Return an ETag that changes with the query, and with the records of ``selections``.

        All selections are of one account or group of accounts. Their state is read before their
        records: a record stored in between gives this response an ETag that no later one has.
        """
        state = await asyncio.to_thread(self._store.state, selections[0].account)
        # A record leaves every response the moment it is past retention (C22).
        oldest_ms = asked.run.oldest_ms
        edge = oldest_ms if any(one.start_ms < oldest_ms for one in selections) else 0
        return _weak(msgspec.json.encode([__version__, state, edge, *about]))

    async def _work(self, request: Request, asked: _Asked, function: Callable[[], T]) -> T:
        """The result of ``function`` on a reading thread, unless it takes too long.

        Its statements are ended in the engine then, and when the client goes away.
        """
        with self._clients.running(asked.asking.account):
            return await self._watched(request, asked, function)

    async def _watched(self, request: Request, asked: _Asked, function: Callable[[], T]) -> T:
        """The result of ``function``, which is ended when it takes too long or the client goes."""
        started = asyncio.Event()
        work = asyncio.ensure_future(self._pool.run(function, started.set))
        gone = asyncio.ensure_future(disconnected(request.receive))
        starting = asyncio.ensure_future(started.wait())
        first = asyncio.FIRST_COMPLETED
        try:
            # The work is done before it starts where there is no thread for it.
            await asyncio.wait((starting, work, gone), return_when=first)
            await asyncio.wait((work, gone), timeout=self._limits.seconds, return_when=first)
            if not work.done():
                raise LimitError(
                    f"the query took longer than {self._limits.seconds} seconds; ask for less "
                    "time, fewer groups or no percentiles"
                )
            return work.result()
        finally:
            gone.cancel()
            starting.cancel()
            if not work.done():
                work.cancel()
                await self._stop(asked.run)

    async def _stop(self, run: Run) -> None:
        """End the statements of a query that nobody waits for."""
        try:
            await asyncio.to_thread(self._shards.stop, run)
        except Exception:
            log.warning("a question that nobody waits for goes on", exc_info=True)


class _Rows(Streamed):
    """Rows in any format, sent when the last of them has been read."""

    described: Callable[[render.Listed], dict[str, str]]
    stop: Callable[[], Awaitable[None]]

    def __init__(
        self,
        pool: QueryPool,
        make: Callable[[], Generator[bytes, None, render.Listed]],
        format_: Format,
        running: AbstractContextManager[None],
        stall_seconds: float,
    ) -> None:
        super().__init__(format_.media_type, stall_seconds)
        self._running = running
        self._pool = pool
        self._make = make

    async def send(self, send: Send) -> None:
        """Send it all."""
        read = False
        try:
            async with contextlib.AsyncExitStack() as stack:
                with self._running:
                    reading = self._pool.spooled(self._make)
                    spool, listed = await stack.enter_async_context(reading)
                read = True
                self.headers.update(self.described(listed))
                await self.send_all(send, spool.size, spool.pieces())
        finally:
            if not read:
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.shield(self.stop())


def _format(given: Parameters, request: Request) -> Format:
    """The format asked for; JSON where a fault was noted."""
    named = given.read("format", negotiation.named)
    return named or negotiation.accepted(", ".join(request.headers.getlist("accept")))


def _next(request: Request, wanted: RowsQuery, cursor: str | None) -> dict[str, str]:
    """Where the next page is."""
    if cursor is None:
        return {}
    headers = {"Genmeter-Next-Cursor": cursor}
    if request.method == "GET":
        kept = [(k, v) for k, v in request.query_params.multi_items() if k != "cursor"]
        headers["Link"] = f'<{ROWS}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'
    return headers


def _weak(content: bytes) -> str:
    return f'W/"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
