"""``/v2/account/stats``: record jobs, and return the statistics that the contract defines.

Bytes in, bytes out. No SQL and no rule of the contract lives here.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, AsyncExitStack
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Send

from genmeter.api.authentication import Authenticator
from genmeter.api.bodies import INLINE_BYTES, Bodies, aside, is_lines
from genmeter.api.limits import Limits
from genmeter.api.responses import Streamed, json_response
from genmeter.api.schemas import Recorded
from genmeter.execution import stats_answer
from genmeter.execution.costs import Costs
from genmeter.execution.fairness import Ticket
from genmeter.execution.pool import QueryPool
from genmeter.ingest import decode
from genmeter.ingest.writer import Writer
from genmeter.query import stats
from genmeter.query.stats import StatsQuery
from genmeter.storage.store import Store

STATS: Final = "/v2/account/stats"


class StatsRoutes:
    """The route of one service, with all it needs."""

    def __init__(
        self,
        *,
        authenticator: Authenticator,
        bodies: Bodies,
        store: Store,
        pool: QueryPool,
        costs: Costs,
        writer: Writer,
        now_ms: Callable[[], int],
        stall_seconds: float,
        request_records: int,
        limits: Limits,
    ) -> None:
        self._limits = limits
        self._request_records = request_records
        self._authenticator = authenticator
        self._bodies = bodies
        self._store = store
        self._pool = pool
        self._costs = costs
        self._writer = writer
        self._now_ms = now_ms
        self._stall_seconds = stall_seconds
        self._job_ids = decode.JobIds()

    def routes(self) -> list[Route]:
        """The one route there is."""
        return [Route(STATS, self._stats, methods=["GET", "POST"])]

    async def _stats(self, request: Request) -> Response:
        return await (self._record if request.method == "POST" else self._ask)(request)

    async def _ask(self, request: Request) -> Response:
        token = await self._authenticator.authenticate(request, "read")
        self._limits.query(request, token)
        now_ms = self._now_ms()
        query = stats.parse(
            request.query_params.multi_items(),
            account=token.account,
            any_account=token.is_admin,
            now_ms=now_ms,
            bots=self._store.bots,
        )
        running = self._limits.running(token.account)
        start_ms, end_ms = query.day_ms() or (0, now_ms)
        ticket = self._costs.ticket(token.account, query.account, start_ms, end_ms, query.limit)
        return _Answer(self._pool, ticket, self._store, query, now_ms, running, self._stall_seconds)

    async def _record(self, request: Request) -> Response:
        token = await self._authenticator.authenticate(request, "write")
        self._limits.post(request, token)
        lines = is_lines(request.headers.get("content-type", ""))
        async with self._bodies.read(request, token.account) as body:
            now_ms = self._now_ms()
            admission = decode.Admission(
                account=token.account,
                any_account=token.is_admin,
                now_ms=now_ms,
                oldest_ms=self._store.oldest_ms(now_ms),
                bots=self._store.bots,
                most=self._request_records,
            )
            decoded = await aside(len(body) > INLINE_BYTES, self._decode, body, lines, admission)
            del body
            self._limits.records(request, token, len(decoded.rows) + decoded.rejected_total)
            if decoded.rows:
                await self._writer.submit(decoded.rows)
        result = Recorded(
            accepted=len(decoded.rows),
            rejected=decoded.rejected,
            rejected_total=decoded.rejected_total,
        )
        return json_response(result, 200 if decoded.rows else 400)

    def _decode(self, body: bytes, lines: bool, admission: decode.Admission) -> decode.Decoded:
        return decode.decode(body, lines=lines, admission=admission, new_jobid=self._job_ids)


class _Answer(Streamed):
    """The rows of a query with their summary."""

    def __init__(
        self,
        pool: QueryPool,
        ticket: Ticket,
        store: Store,
        query: StatsQuery,
        now_ms: int,
        running: AbstractContextManager[None],
        stall_seconds: float,
    ) -> None:
        super().__init__("application/json", stall_seconds)
        self._running = running
        self._pool = pool
        self._ticket = ticket
        self._store = store
        self._query = query
        self._now_ms = now_ms

    async def send(self, send: Send) -> None:
        """Send it all."""
        answered = stats_answer.answer(
            self._pool, self._store, self._query, self._now_ms, self._ticket
        )
        async with AsyncExitStack() as stack:
            with self._running:
                body = await stack.enter_async_context(answered)
            await self.send_all(send, body.size, body.pieces)
