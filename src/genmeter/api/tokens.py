"""``/v2/tokens``: the tokens of all accounts, for admins: list, create, revoke."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from genmeter.api.bodies import Budget, receive
from genmeter.api.openapi import TokenList, TokenMade, TokenView, TokenWanted
from genmeter.auth.accounts import Accounts, Token
from genmeter.clock import iso
from genmeter.errors import BadRequestError, NotFoundError, TooLargeError

_MOST_BYTES: Final = 64 * 2**10


class Administration:
    """The routes. ``token_of(request)`` is who asks, and raises where nobody may."""

    def __init__(
        self,
        accounts: Accounts,
        token_of: Callable[[Request], Awaitable[Token]],
        now_ms: Callable[[], int],
    ) -> None:
        self._accounts = accounts
        self._token_of = token_of
        self._now_ms = now_ms
        self._budget = Budget()

    def routes(self) -> list[Route]:
        """All of them, each for admins alone."""
        return [
            Route("/v2/tokens", self._tokens, methods=["GET", "POST"]),
            Route("/v2/tokens/{id}", self._revoke, methods=["DELETE"]),
        ]

    async def _tokens(self, request: Request) -> Response:
        (await self._token_of(request)).require("admin")
        if request.method == "POST":
            return await self._create(request)
        tokens = await asyncio.to_thread(self._accounts.tokens)
        now_ms = self._now_ms()
        return _json(TokenList([TokenView(**_view(token, now_ms)) for token in tokens]))

    async def _create(self, request: Request) -> Response:
        wanted = await self._wanted(request)
        now_ms = self._now_ms()
        text, token = await asyncio.to_thread(
            self._accounts.create,
            wanted.account,
            wanted.scopes,
            now_ms=now_ms,
            name=wanted.name,
            expires_days=wanted.expires_days,
        )
        return _json(TokenMade(token=text, **_view(token, now_ms)), 201)

    async def _revoke(self, request: Request) -> Response:
        (await self._token_of(request)).require("admin")
        token_id = request.path_params["id"]
        now_ms = self._now_ms()
        if not await asyncio.to_thread(self._accounts.revoke, token_id, now_ms=now_ms):
            raise NotFoundError(f"there is no token {token_id[:40]} that is not revoked yet")
        tokens = await asyncio.to_thread(self._accounts.tokens)
        revoked = next(token for token in tokens if token.id == token_id)
        return _json(TokenView(**_view(revoked, now_ms)))

    async def _wanted(self, request: Request) -> TokenWanted:
        with self._budget.claim() as take:
            declared = request.headers.get("content-length")
            body = await receive(request.stream(), declared, take)
            if len(body) > _MOST_BYTES:
                raise TooLargeError(f"the body is over {_MOST_BYTES} bytes")
            try:
                return msgspec.json.decode(body, type=TokenWanted)
            except ValueError as error:
                raise BadRequestError(
                    f"the body is no token to make: {error}; send a JSON object with "
                    "account and scopes, and name and expires_days if you like"
                ) from error


def _view(token: Token, now_ms: int) -> dict[str, Any]:
    return {
        "id": token.id,
        "account": token.account,
        "name": token.name,
        "scopes": token.scopes,
        "created": iso(token.created_ms),
        "expires": None if token.expires_ms is None else iso(token.expires_ms),
        "revoked": None if token.revoked_ms is None else iso(token.revoked_ms),
        "valid": token.valid(now_ms),
    }


def _json(value: msgspec.Struct, status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")
