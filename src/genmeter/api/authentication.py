"""Who sends a request: the bearer token in its ``Authorization`` header (C1)."""

from collections.abc import Callable
from typing import Final

from starlette.requests import Request

from genmeter.api.limits import Limits
from genmeter.api.middleware import ACCOUNT, AUTHENTICATES
from genmeter.auth.accounts import Token
from genmeter.auth.token_cache import Tokens
from genmeter.errors import UnauthorizedError

_MAX_TOKEN_CHARS: Final = 500


class Authenticator:
    """Finds the token of a request. All routes share one; ``now_ms`` is the service's clock."""

    def __init__(self, tokens: Tokens, now_ms: Callable[[], int], limits: Limits) -> None:
        self._tokens = tokens
        self._limits = limits
        self._now_ms = now_ms

    async def authenticate(self, request: Request, scope: str | None = None) -> Token:
        """Return the token of ``request`` and note its account for the request log.

        Raises UnauthorizedError where no valid token is given (C1), ForbiddenError where the token
        lacks ``scope``, TooManyError where its address has sent too many wrong tokens. A token
        that was valid lately is never refused for what others behind the same address send.
        """
        request.scope[AUTHENTICATES] = True
        headers = request.headers.getlist("authorization")
        scheme, _, text = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
        text = text.strip()
        if scheme.lower() != "bearer" or not text or len(text) > _MAX_TOKEN_CHARS:
            raise UnauthorizedError
        address = request.client.host if request.client else ""
        self._limits.may_try(address, lambda: self._tokens.known(text))
        token = await self._tokens.find(text)
        if token is None or not token.valid(self._now_ms()):
            self._tokens.forget(text)
            self._limits.failed(address)
            raise UnauthorizedError
        request.scope[ACCOUNT] = token.account
        if scope is not None:
            token.require(scope)
        return token
