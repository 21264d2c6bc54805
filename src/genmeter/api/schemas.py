"""The JSON bodies of requests and responses as structures; OpenAPI is made from them."""

from typing import Annotated, Final

import msgspec
from msgspec import Meta as About

from genmeter.ingest.decode import Rejection


class Recorded(msgspec.Struct, kw_only=True):
    """Accepted and rejected records of one request (R4)."""

    accepted: int
    rejected: list[Rejection]
    rejected_total: int


class AccountView(msgspec.Struct, kw_only=True):
    """The token of the request, for clients that check a credential."""

    id: str
    name: str
    created: str
    scopes: tuple[str, ...]


class TokenView(msgspec.Struct, kw_only=True):
    """A token without its secret."""

    id: str
    account: str
    name: str
    scopes: tuple[str, ...]
    created: str
    expires: str | None
    revoked: str | None
    valid: Annotated[bool, About(description="Whether it works now")]


class TokenList(msgspec.Struct):
    """All tokens by account and age, revoked and expired ones too."""

    tokens: list[TokenView]


class TokenMade(TokenView, kw_only=True):
    """A new token; only this response holds its secret."""

    token: str


class TokenWanted(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A token to create."""

    account: str
    scopes: Annotated[list[str], About(description="One or more of read, write, admin")]
    name: Annotated[str, About(description="Default: the account's")] = ""
    expires_days: Annotated[float | None, About(description="Days; default: never")] = None


class Problem(msgspec.Struct):
    """The body of every error (C20)."""

    error: str


class Health(msgspec.Struct):
    """The body of a successful health check."""

    status: str


QUERY: Final = "/v2/account/stats/query"
ROWS: Final = "/v2/account/stats/rows"
META: Final = "/v2/account/stats/meta"
