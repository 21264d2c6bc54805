"""A record: what a client sends, what is stored, and the limits of both (R2, R3). Pure."""

import re
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from genmeter.clock import DAY_MS
from genmeter.model.bots import BOTS

MAX_TEXT_BYTES: Final = 512
MAX_CODE: Final = 999
MAX_MSEC: Final = 2**32 - 1
MAX_RETRY: Final = 65_535

ACCOUNT_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}")
ACCOUNT_RULE: Final = "1 to 64 letters, digits and . _ @ + -, a letter or digit first"

Text = Annotated[str, Meta(max_length=MAX_TEXT_BYTES)]


class Record(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """A job as a client sends it (R2). Optional text that is null or empty counts as not given."""

    bot: Annotated[Literal[BOTS], Meta(description="The bot that ran the job")]  # type: ignore[valid-type]
    config: Annotated[Text, Meta(min_length=1, description="Account, channel or email used")]
    endpoint: Annotated[Text, Meta(min_length=1, description="API endpoint called")]
    code: Annotated[
        int, Meta(ge=0, le=MAX_CODE, description="HTTP status; 0 is no HTTP answer at all")
    ]
    msec: Annotated[int, Meta(ge=0, le=MAX_MSEC, description="Duration in milliseconds")]
    timestamp: Annotated[
        int | str | None,
        Meta(description="ISO 8601 with an offset, or milliseconds since 1970; default: now"),
    ] = None
    jobid: Annotated[Text | None, Meta(description="Default: made by the server")] = None
    status: Annotated[Text | None, Meta(description="Default: the reason phrase of the code")] = (
        None
    )
    func: Annotated[Text | None, Meta(description="Function name")] = None
    model: Annotated[Text | None, Meta(description="AI model used")] = None
    captchaProviders: Annotated[  # noqa: N815
        Text | None, Meta(description="Captcha providers tried, separated by commas")
    ] = None
    captchaRetry: Annotated[  # noqa: N815
        Annotated[int, Meta(ge=0, le=MAX_RETRY)] | None, Meta(description="Captcha retries")
    ] = None
    tier: Annotated[Text | None, Meta(description="Tier of the provider's plan")] = None
    sku: Annotated[Text | None, Meta(description="The provider's sku")] = None
    account: Annotated[
        Text | None,
        Meta(description="Only an admin token may name another account than its own"),
    ] = None


class Row(msgspec.Struct, kw_only=True):
    """A record as it is stored, its fields named like the columns.

    ``neg_ms`` is the timestamp's milliseconds, negated, so that the newest row sorts first.
    (account, bot, neg_ms, jobid) is its identity; of equal ones the highest ``version`` counts
    (R6). The writer sets ``version``.
    """

    account: str
    bot: str
    neg_ms: int
    jobid: str
    config: str
    endpoint: str
    status: str
    func: str
    code: int
    msec: int
    model: str
    captcha_providers: str
    captcha_retry: int | None
    tier: str
    sku: str
    version: int = 0

    def identity(self) -> tuple[str, str, int, str]:
        """What makes two rows the same record (R6)."""
        return self.account, self.bot, self.neg_ms, self.jobid


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
