"""``GET /v2/account/stats/live``: records as server-sent events, while a client listens."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Send

from genmeter.api.authentication import Authenticator
from genmeter.api.limits import Limits
from genmeter.api.responses import Streamed
from genmeter.auth.accounts import Token
from genmeter.errors import ForbiddenError, UnauthorizedError
from genmeter.execution.feed import Feed, parse_event_id
from genmeter.model.bots import Bots
from genmeter.model.record import ACCOUNT_NAME, ACCOUNT_RULE
from genmeter.query.parameters import Parameters, quoted

_MEDIA_TYPE: Final = "text/event-stream"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # a proxy must not buffer events
}

_CHECK_TOKEN_S: Final = 0.4
"""How often a stream checks its token, in seconds.

A look-up is remembered for 0.5 s, so a revoked token's stream ends within 0.9 s of the revocation.
Streams share the look-ups of a token: at most two a second, however many streams it has.
"""


class LiveRoutes:
    """The one route, with all it needs."""

    def __init__(
        self,
        live: Feed,
        authenticator: Authenticator,
        bots: Bots,
        *,
        limits: Limits,
        stall_seconds: float,
    ) -> None:
        self._live = live
        self._authenticator = authenticator
        self._limits = limits
        self._bots = bots
        self._stall_seconds = stall_seconds

    def routes(self) -> list[Route]:
        """The one route there is."""
        return [Route("/v2/account/stats/live", self._follow, methods=["GET"])]

    async def _follow(self, request: Request) -> Response:
        token = await self._authenticator.authenticate(request, "read")
        account, bots = _asked(request, token, self._bots)
        last_id = request.headers.get("last-event-id")
        after = parse_event_id(last_id) if last_id else None
        if request.method == "HEAD":
            response = Response(headers=_HEADERS, media_type=_MEDIA_TYPE)
            del response.headers["Content-Length"]  # a stream has none
            return response

        async def still_allowed() -> None:
            await self._authenticator.authenticate(request, "read")

        events = self._live.follow(account, bots, after)
        place = self._limits.following(token.account)
        return _Stream(events, place, still_allowed, self._stall_seconds)


def _asked(
    request: Request, token: Token, known: Bots
) -> tuple[str | None, tuple[str, ...] | None]:
    """The account, None for all, and the bots, None for all."""
    given = Parameters.of_address(request.query_params.multi_items())
    account = given.read("account", _account) or token.account
    bots = tuple(given.all("bot"))
    if unknown := set(bots) - {*known.names, "all"}:
        shown = ", ".join(map(quoted, sorted(unknown)[:5]))
        given.faults.append(
            f"bot must be all, or one or more of {', '.join(known.names)}, not {shown}"
        )
    given.end()
    if account != token.account and not token.is_admin:
        raise ForbiddenError("only an admin token may name another account than its own")
    return None if account == "*" else account, None if not bots or "all" in bots else bots


def _account(text: str) -> str:
    if text != "*" and not ACCOUNT_NAME.fullmatch(text):
        raise ValueError(f"* for all, or {ACCOUNT_RULE}")
    return text


class _Stream(Streamed):
    """Sends events until the client goes away, takes nothing for too long, or may no more."""

    def __init__(
        self,
        events: AsyncGenerator[bytes, None],
        place: AbstractContextManager[None],
        still_allowed: Callable[[], Awaitable[None]],
        stall_seconds: float,
    ) -> None:
        super().__init__(_MEDIA_TYPE, stall_seconds)
        self.headers.update(_HEADERS)
        self._events = events
        self._place = place
        self._still_allowed = still_allowed

    async def send(self, send: Send) -> None:
        """Send what comes. What is known to be wrong is raised before the first byte."""
        with self._place:
            await self._send(send)

    async def _send(self, send: Send) -> None:
        watching = asyncio.ensure_future(self._watch_token())
        coming = asyncio.ensure_future(anext(self._events))
        try:
            piece = await coming
            await self.begin(send)
            while True:
                await self.send_piece(send, piece)
                coming = asyncio.ensure_future(anext(self._events))
                await asyncio.wait((coming, watching), return_when=asyncio.FIRST_COMPLETED)
                if watching.done():
                    break
                try:
                    piece = coming.result()
                except StopAsyncIteration:
                    break
            await self.end(send)
        finally:
            watching.cancel()
            coming.cancel()
            await asyncio.gather(watching, coming, return_exceptions=True)
            await self._events.aclose()

    async def _watch_token(self) -> None:
        """Return when the token is no longer valid."""
        while True:
            await asyncio.sleep(_CHECK_TOKEN_S)
            try:
                await self._still_allowed()
            except (UnauthorizedError, ForbiddenError):
                return
