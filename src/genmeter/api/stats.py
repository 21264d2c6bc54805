"""The JSON routes: bytes in, bytes out. No SQL and no rule of the contract lives here."""

import asyncio
import itertools
import secrets
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Send

from genmeter.api import bodies, openapi
from genmeter.api.middleware import ACCOUNT
from genmeter.api.responses import Streamed
from genmeter.auth.accounts import Token
from genmeter.auth.token_cache import Tokens
from genmeter.clock import iso
from genmeter.errors import UnauthorizedError, UnavailableError
from genmeter.execution.pool import Reader
from genmeter.ingest import decode as records
from genmeter.ingest.writer import Writer
from genmeter.query import stats as query
from genmeter.query.stats import Question
from genmeter.storage.store import Store

P = ParamSpec("P")
T = TypeVar("T")

STATS: Final = "/v2/account/stats"

STUCK_S: Final = 10.0
"""An INSERT that runs for longer than this makes the service not ready."""

CHECK_S: Final = 5.0
"""How long ``/readyz`` waits for the engine, in seconds."""

_DECODE_ASIDE_BYTES: Final = 64 * 2**10
"""A body larger than this is decoded on a thread, so that other requests go on meanwhile."""


class Api:
    """The routes of one service, with all they need."""

    def __init__(
        self,
        *,
        tokens: Tokens,
        store: Store,
        reader: Reader,
        writer: Writer,
        now_ms: Callable[[], int],
        stall_seconds: float,
    ) -> None:
        self._tokens = tokens
        self._store = store
        self._reader = reader
        self._writer = writer
        self._now_ms = now_ms
        self._stall_seconds = stall_seconds
        self._budget = bodies.Budget()
        self._job_ids = _JobIds()
        self._description = msgspec.json.encode(openapi.document())

    def routes(self) -> list[Route]:
        """Every JSON route there is."""
        return [
            Route(STATS, self._stats, methods=["GET", "POST"]),
            Route("/v2/account", self._account, methods=["GET"]),
            Route("/healthz", self._health, methods=["GET"]),
            Route("/readyz", self._ready, methods=["GET"]),
            Route("/openapi.json", self._openapi, methods=["GET"]),
        ]

    async def _stats(self, request: Request) -> Response:
        return await (self._record if request.method == "POST" else self._ask)(request)

    async def _ask(self, request: Request) -> Response:
        token = await self.token(request)
        token.require("read")
        now_ms = self._now_ms()
        question = query.parse(
            request.query_params.multi_items(),
            account=token.account,
            any_account=token.is_admin,
            now_ms=now_ms,
        )
        return _Answer(self._reader, question, now_ms, self._stall_seconds)

    async def _record(self, request: Request) -> Response:
        token = await self.token(request)
        token.require("write")
        lines = bodies.is_lines(request.headers.get("content-type", ""))
        with self._budget.claim() as take:
            declared = request.headers.get("content-length")
            body = await bodies.receive(request.stream(), declared, take)
            coding = request.headers.get("content-encoding", "")
            plain = await _aside(len(body), bodies.decompress, body, coding)
            take(max(0, len(plain) - len(body)))
            now_ms = self._now_ms()
            limits = records.Limits(
                account=token.account,
                any_account=token.is_admin,
                now_ms=now_ms,
                oldest_ms=self._store.oldest_ms(now_ms),
            )
            decoded = await _aside(len(plain), self._decode, plain, lines, limits)
            del body, plain
            if decoded.rows:
                await self._writer.submit(decoded.rows)
        result = openapi.Recorded(
            accepted=len(decoded.rows),
            rejected=decoded.rejected,
            rejected_total=decoded.rejected_total,
        )
        return _json(result, 200 if decoded.rows else 400)

    def _decode(self, body: bytes, lines: bool, limits: records.Limits) -> records.Decoded:
        return records.decode(body, lines=lines, limits=limits, new_jobid=self._job_ids)

    async def _account(self, request: Request) -> Response:
        token = await self.token(request)
        return _json(
            openapi.AccountView(
                id=token.id, name=token.name, created=iso(token.created_ms), scopes=token.scopes
            )
        )

    async def _health(self, _: Request) -> Response:
        return _json(openapi.Health("ok"))

    async def _ready(self, _: Request) -> Response:
        if (seconds := self._writer.stuck_s()) > STUCK_S:
            raise UnavailableError(f"the writer has been stuck for {seconds:.0f} seconds")
        try:
            async with asyncio.timeout(CHECK_S):
                await asyncio.to_thread(self._store.check)
        except TimeoutError as error:
            raise UnavailableError(
                f"the engine did not answer within {CHECK_S:.0f} seconds"
            ) from error
        await self._tokens.check()
        return _json(openapi.Health("ready"))

    async def _openapi(self, _: Request) -> Response:
        return Response(self._description, media_type="application/json")

    async def token(self, request: Request) -> Token:
        """The token that asks; UnauthorizedError where there is none in force (C1)."""
        headers = request.headers.getlist("authorization")
        scheme, _, text = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
        text = text.strip()
        if scheme.lower() != "bearer" or not text or len(text) > 500:
            raise UnauthorizedError
        token = await self._tokens.find(text)
        if token is None or not token.valid(self._now_ms()):
            raise UnauthorizedError
        request.scope[ACCOUNT] = token.account
        return token


class _Answer(Streamed):
    """The rows of a question with their summary."""

    def __init__(
        self, reader: Reader, question: Question, now_ms: int, stall_seconds: float
    ) -> None:
        super().__init__("application/json", stall_seconds)
        self._reader = reader
        self._question = question
        self._now_ms = now_ms

    async def send(self, send: Send) -> None:
        """Send it all."""
        async with self._reader.answer(self._question, self._now_ms) as body:
            await self.send_all(send, body.size, body.pieces)


class _JobIds:
    """Names for records that came without one: unique over processes and restarts."""

    def __init__(self) -> None:
        self._mine = secrets.token_hex(4)
        self._count = itertools.count()

    def __call__(self, timestamp_ms: int, account: str, bot: str) -> str:
        stamp = "".join(filter(str.isdigit, iso(timestamp_ms)))
        return f"{stamp}-{self._mine}{next(self._count):x}-user:{account}-bot:{bot}"


async def _aside(size: int, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of ``function``, on a thread where ``size`` bytes make it take long."""
    if size > _DECODE_ASIDE_BYTES:
        return await asyncio.to_thread(function, *args, **kwargs)
    return function(*args, **kwargs)


def _json(value: msgspec.Struct, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
