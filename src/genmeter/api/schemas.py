"""The JSON bodies of requests and responses as structures; OpenAPI is made from them."""

from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta as About

from genmeter.auth.accounts import MAX_TOKEN_DAYS, MAX_TOKEN_NAME, SCOPES
from genmeter.ingest.decode import Rejection
from genmeter.model.record import ACCOUNT_NAME


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


_PRINTABLE: Final = (
    r"^[^\u0000-\u001f\u007f-\u00a0\u00ad\u1680\u180e\u2000-\u200f"
    r"\u2028-\u202f\u205f-\u206f\u3000\ufeff]*$"
)
"""About what ``str.isprintable`` takes."""


def _stricter(description: str = "", **rules: Any) -> About:
    """What OpenAPI says of a value beside its type; the service's own errors name every fault."""
    about = {"description": description} if description else {}
    return About(extra_json_schema=about | rules)


class TokenWanted(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A token to create."""

    account: Annotated[str, _stricter(pattern=f"^{ACCOUNT_NAME.pattern}$")]
    scopes: Annotated[
        list[Annotated[str, _stricter(enum=list(SCOPES))]],
        _stricter("One or more of these", minItems=1),
    ]
    name: Annotated[
        str,
        _stricter("Default: the account's", maxLength=MAX_TOKEN_NAME, pattern=_PRINTABLE),
    ] = ""
    expires_days: Annotated[
        Annotated[float, _stricter(exclusiveMinimum=0, maximum=MAX_TOKEN_DAYS)] | None,
        _stricter("Days; default: never"),
    ] = None


class Problem(msgspec.Struct):
    """The body of every error (C20)."""

    error: str


class Health(msgspec.Struct):
    """The body of a successful health check."""

    status: str


QUERY: Final = "/v2/account/stats/query"
ROWS: Final = "/v2/account/stats/rows"
META: Final = "/v2/account/stats/meta"
