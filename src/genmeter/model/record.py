"""A record: what a client sends, what is stored, and the limits of both (R2, R3). Pure.

Both structures are made from :data:`genmeter.model.fields.FIELDS`. What the code uses by name is
declared for type checkers; other fields are reached by their entry in the table.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from genmeter.clock import DAY_MS
from genmeter.model.fields import FIELDS, Field

ACCOUNT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
ACCOUNT_RULE: Final = "1 to 64 letters, digits and . _ @ + -, a letter or digit first"

_BY_NAME: Final = frozenset(
    {"account", "bot", "timestamp", "jobid", "config", "endpoint", "status", "code", "msec"}
)
OTHER_TEXTS: Final = tuple(f for f in FIELDS if f.key not in _BY_NAME and not f.is_number)
OTHER_NUMBERS: Final = tuple(f for f in FIELDS if f.key not in _BY_NAME and f.is_number)
"""The fields that no code uses by name: a row has the texts first, then the numbers."""


def _sent_as(field: Field) -> Any:
    """The type of a field in a request."""
    text = field.help + (f"; default: {field.default}" if field.default else "")
    about = Meta(description=text)
    if field.type == "time":
        return Annotated[int | str | None, about]
    if field.is_number:
        number = Annotated[int, Meta(ge=0, le=field.most)]
        return Annotated[number, about] if field.required else Annotated[number | None, about]
    if field.required:
        return Annotated[str, Meta(min_length=1, max_length=field.most, description=text)]
    return Annotated[Annotated[str, Meta(max_length=field.most)] | None, about]


def _sent(field: Field) -> tuple[str, Any] | tuple[str, Any, None]:
    """A field of ``Record``."""
    type_ = _sent_as(field)
    return (field.key, type_) if field.required else (field.key, type_, None)


if TYPE_CHECKING:

    class Record(msgspec.Struct):
        """A job as a client sends it; null or empty optional text counts as not given (R2)."""

        bot: str
        config: str
        endpoint: str
        code: int
        msec: int
        timestamp: int | str | None
        jobid: str | None
        status: str | None
        account: str | None

else:
    Record = msgspec.defstruct(
        "Record",
        # Required fields first, the account last: people read this order in OpenAPI.
        list(map(_sent, sorted(FIELDS, key=lambda f: (f.key == "account", not f.required)))),
        namespace={
            "__doc__": "A job as a client sends it; null or empty optional text counts as not "
            "given (R2)."
        },
        module=__name__,
        forbid_unknown_fields=True,
        kw_only=True,
    )


class Identified(msgspec.Struct):
    """What rows have in common. Their fields are named like columns."""

    account: str
    bot: str
    neg_ms: int
    jobid: str

    def identity(self) -> tuple[str, str, int, str]:
        """What makes two rows the same record (R6)."""
        return self.account, self.bot, self.neg_ms, self.jobid


_ROW_DOC: Final = """A record as it is stored, its fields named like the columns.

``neg_ms`` is the timestamp's milliseconds, negated, so that the newest row sorts first.
(account, bot, neg_ms, jobid) is its identity; of equal ones the highest ``version`` counts (R6).
The writer sets ``version``.
"""

if TYPE_CHECKING:

    class Row(Identified):
        """A record as it is stored."""

        config: str
        endpoint: str
        status: str
        code: int
        msec: int
        version: int = 0

        def __init__(self, *values: Any, **named: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

else:
    Row = msgspec.defstruct(
        "Row",
        [
            ("config", str),
            ("endpoint", str),
            ("status", str),
            ("code", int),
            ("msec", int),
            *((f.column, str, "") for f in OTHER_TEXTS),
            *((f.column, int | None, None) for f in OTHER_NUMBERS),
            ("version", int, 0),
        ],
        bases=(Identified,),
        namespace={"__doc__": _ROW_DOC},
        module=__name__,
    )


REASONS: Final = {
    0: "NetworkError",
    100: "Continue",
    101: "Switching Protocols",
    102: "Processing",
    103: "Early Hints",
    200: "OK",
    201: "Created",
    202: "Accepted",
    203: "Non-Authoritative Information",
    204: "No Content",
    205: "Reset Content",
    206: "Partial Content",
    207: "Multi-Status",
    208: "Already Reported",
    226: "IM Used",
    300: "Multiple Choices",
    301: "Moved Permanently",
    302: "Found",
    303: "See Other",
    304: "Not Modified",
    305: "Use Proxy",
    307: "Temporary Redirect",
    308: "Permanent Redirect",
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    407: "Proxy Authentication Required",
    408: "Request Timeout",
    409: "Conflict",
    410: "Gone",
    411: "Length Required",
    412: "Precondition Failed",
    413: "Content Too Large",
    414: "URI Too Long",
    415: "Unsupported Media Type",
    416: "Range Not Satisfiable",
    417: "Expectation Failed",
    418: "I'm a Teapot",
    421: "Misdirected Request",
    422: "Unprocessable Content",
    423: "Locked",
    424: "Failed Dependency",
    425: "Too Early",
    426: "Upgrade Required",
    428: "Precondition Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    451: "Unavailable For Legal Reasons",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
    505: "HTTP Version Not Supported",
    506: "Variant Also Negotiates",
    507: "Insufficient Storage",
    508: "Loop Detected",
    510: "Not Extended",
    511: "Network Authentication Required",
    522: "Connection Timed Out",
    524: "A Timeout Occurred",
    596: "Account Error",
}
"""Reason phrases of RFC 9110 and of the codes outside it that gateways meet.

A table of our own: the standard library's wording changes between Python versions.
"""


UNKNOWN_REASON: Final = "Unknown"


def retention_edge_ms(now_ms: int, retention_days: int) -> int:
    """The oldest millisecond that is still kept; 0 where everything is (C22)."""
    return now_ms - retention_days * DAY_MS if retention_days else 0
