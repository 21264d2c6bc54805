"""``/v2/account``, the token of a request, and ``/v2/tokens``, by which admins manage tokens."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from genmeter.api.authentication import Authenticator
from genmeter.api.bodies import MAX_QUERY_BYTES, Bodies
from genmeter.api.responses import json_response
from genmeter.api.schemas import AccountView, TokenList, TokenMade, TokenView, TokenWanted
from genmeter.auth.accounts import Accounts, Token
from genmeter.clock import iso
from genmeter.errors import BadRequestError, NotFoundError

_NO_STORE: Final = {"Cache-Control": "no-store"}


class TokenRoutes:
    """The routes, with all they need."""

    def __init__(
        self,
        accounts: Accounts,
        authenticator: Authenticator,
        bodies: Bodies,
        now_ms: Callable[[], int],
    ) -> None:
        self._accounts = accounts
        self._authenticator = authenticator
        self._bodies = bodies
        self._now_ms = now_ms

    def routes(self) -> list[Route]:
        """All of them; those of ``/v2/tokens`` need the admin scope."""
        return [
            Route("/v2/account", self._account, methods=["GET"]),
            Route("/v2/tokens", self._tokens, methods=["GET", "POST"]),
            Route("/v2/tokens/{id}", self._revoke, methods=["DELETE"]),
        ]

    async def _account(self, request: Request) -> Response:
        token = await self._authenticator.authenticate(request)
        return json_response(
            AccountView(
                id=token.id, name=token.name, created=iso(token.created_ms), scopes=token.scopes
            )
        )

    async def _tokens(self, request: Request) -> Response:
        token = await self._authenticator.authenticate(request, "admin")
        if request.method == "POST":
            return await self._create(request, token.account)
        tokens = await asyncio.to_thread(self._accounts.tokens)
        now_ms = self._now_ms()
        return json_response(
            TokenList([TokenView(**_view(token, now_ms)) for token in tokens]), headers=_NO_STORE
        )

    async def _create(self, request: Request, account: str) -> Response:
        wanted = await self._wanted(request, account)
        now_ms = self._now_ms()
        text, token = await asyncio.to_thread(
            self._accounts.create,
            wanted.account,
            wanted.scopes,
            now_ms=now_ms,
            name=wanted.name,
            expires_days=wanted.expires_days,
        )
        return json_response(TokenMade(token=text, **_view(token, now_ms)), 201, headers=_NO_STORE)

    async def _revoke(self, request: Request) -> Response:
        await self._authenticator.authenticate(request, "admin")
        token_id = request.path_params["id"]
        now_ms = self._now_ms()
        if not await asyncio.to_thread(self._accounts.revoke, token_id, now_ms=now_ms):
            raise NotFoundError(f"there is no token {token_id[:40]} that is not revoked yet")
        tokens = await asyncio.to_thread(self._accounts.tokens)
        revoked = next(token for token in tokens if token.id == token_id)
        return json_response(TokenView(**_view(revoked, now_ms)), headers=_NO_STORE)

    async def _wanted(self, request: Request, account: str) -> TokenWanted:
        async with self._bodies.read(request, account, MAX_QUERY_BYTES) as body:
            try:
                return msgspec.json.decode(body, type=TokenWanted)
            except ValueError as error:
                raise BadRequestError(
                    f"the body is not a valid token request: {error}; send a JSON object with "
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
