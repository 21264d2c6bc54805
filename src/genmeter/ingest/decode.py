"""Bytes of ``POST /v2/account/stats`` -> rows to store and rejections. Pure.

Rules R1 to R6 live here. Each record stands alone (R4): the fast path decodes it straight into a
typed structure; only a record that fails it is looked at again, to name everything that is wrong.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from genmeter.clock import DAY_MS, iso, to_ms
from genmeter.errors import BadRequestError
from genmeter.model.bots import BOTS

MAX_TEXT_BYTES: Final = 512
MAX_CODE: Final = 999
MAX_MSEC: Final = 2**32 - 1
MAX_RETRY: Final = 65_535
MAX_AHEAD_MS: Final = 5 * 60_000
MAX_NAMED_REJECTIONS: Final = 100

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


class Rejection(msgspec.Struct, frozen=True):
    """A record that was not stored: its place among the records sent, from 0, and why."""

    index: int
    error: str


class Decoded(msgspec.Struct):
    """What a body held: rows to store, the first rejections, and the number of all of them."""

    rows: list[Row]
    rejected: list[Rejection]
    rejected_total: int = 0


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What bounds the records of one request.

    ``account`` is the token's own, ``any_account`` says whether it may record for others,
    ``now_ms`` the time of the request and ``oldest_ms`` the edge of retention (0: none).
    """

    account: str
    any_account: bool
    now_ms: int
    oldest_ms: int


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

_decode_record: Final = msgspec.json.Decoder(Record).decode
_decode_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_ISO: Final = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d([.,]\d+)?)?([Zz]|[+-]\d\d(:?[0-5]\d)?)", re.ASCII
)
_TEXTS: Final = (
    "config", "endpoint", "jobid", "status", "func", "model",
    "captchaProviders", "tier", "sku", "account",
)  # fmt: skip
_NUMBERS: Final = {"code": MAX_CODE, "msec": MAX_MSEC, "captchaRetry": MAX_RETRY}
_REQUIRED: Final = ("bot", "config", "endpoint", "code", "msec")
_FIELDS: Final = Record.__struct_encode_fields__
_MAX_NAMED_FIELDS: Final = 5
_JSON_TYPES: Final = {str: "a text", bool: "a boolean", float: "a fraction", list: "an array",
                      dict: "an object", type(None): "null", int: "an integer"}  # fmt: skip


def decode(
    body: bytes, *, lines: bool, limits: Limits, new_jobid: Callable[[int, str, str], str]
) -> Decoded:
    """The rows and rejections of a body: NDJSON if ``lines``, else one JSON object or an array.

    ``new_jobid(timestamp_ms, account, bot)`` names records that came without a job id.
    Raises BadRequestError where the body cannot be read at all, or holds no record.
    """
    decoded = Decoded(rows=[], rejected=[])
    index = -1
    for index, raw in enumerate(_split_lines(body) if lines else _split_json(body)):
        try:
            decoded.rows.append(_row(_decode_record(raw), limits, new_jobid))
        except (ValueError, _Refusal) as error:
            decoded.rejected_total += 1
            if decoded.rejected_total <= MAX_NAMED_REJECTIONS:
                text = str(error) if isinstance(error, _Refusal) else _explain(raw, error)
                decoded.rejected.append(Rejection(index, text))
    if index < 0:
        raise BadRequestError("the body holds no record; send at least one")
    return decoded


class _Refusal(Exception):  # noqa: N818  # not an error of the service: a verdict on one record
    """Why one record is not taken."""


def _split_lines(body: bytes) -> Iterator[bytes]:
    """The records of an NDJSON body; blank lines are none."""
    return (line for line in body.split(b"\n") if line.strip())


def _split_json(body: bytes) -> Iterable[bytes | msgspec.Raw]:
    try:
        if body.lstrip()[:1] == b"[":
            return _decode_array(body)
        msgspec.json.decode(body)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(
            f"the body is not JSON: {error}; send an object, an array of objects, "
            "or one object a line as application/x-ndjson"
        ) from error
    return (body,)


def _row(record: Record, limits: Limits, new_jobid: Callable[[int, str, str], str]) -> Row:
    account = record.account or limits.account
    if account != limits.account and not limits.any_account:
        raise _Refusal("account: only an admin token may record for another account than its own")
    if account != limits.account and not ACCOUNT_NAME.fullmatch(account):
        raise _Refusal(f"account must be {ACCOUNT_RULE}")
    stamp = limits.now_ms if record.timestamp is None else _timestamp(record.timestamp, limits)
    row = Row(
        account=account,
        bot=record.bot,
        neg_ms=-stamp,
        jobid=record.jobid or new_jobid(stamp, account, record.bot),
        config=record.config,
        endpoint=record.endpoint,
        status=record.status or REASONS.get(record.code, UNKNOWN_REASON),
        func=record.func or "",
        code=record.code,
        msec=record.msec,
        model=record.model or "",
        captcha_providers=record.captchaProviders or "",
        captcha_retry=record.captchaRetry,
        tier=record.tier or "",
        sku=record.sku or "",
    )
    # One look at all texts together clears nearly every record; the rest are looked at singly.
    together = (
        f"{account}{row.jobid}{row.config}{row.endpoint}{row.status}{row.func}{row.model}"
        f"{row.captcha_providers}{row.tier}{row.sku}"
    )
    if not (together.isascii() and together.isprintable() and len(together) <= MAX_TEXT_BYTES):
        faults = [fault for name in _TEXTS if (fault := _text_fault(name, getattr(record, name)))]
        if faults:
            raise _Refusal("; ".join(faults))
    return row


def _timestamp(value: int | str, limits: Limits) -> int:
    """Milliseconds since 1970, within what may be recorded now (R2, R3)."""
    if isinstance(value, str):
        if not _ISO.fullmatch(value):
            raise _Refusal(
                "timestamp must be ISO 8601 with an offset, such as 2026-02-13T10:30:00.000Z, "
                "or milliseconds since 1970"
            )
        try:
            value = to_ms(datetime.fromisoformat(value.upper()))
        except (ValueError, OverflowError) as error:
            raise _Refusal(f"timestamp is no moment of the calendar: {error}") from error
    if value > limits.now_ms + MAX_AHEAD_MS:
        raise _Refusal("timestamp is more than 5 minutes ahead of the server's clock")
    if value < 0:
        raise _Refusal("timestamp is before 1970-01-01T00:00:00.000Z")
    if value < limits.oldest_ms:
        raise _Refusal(
            f"timestamp is past retention; the oldest that is kept is {iso(limits.oldest_ms)}"
        )
    return value


def _text_fault(name: str, text: str | None) -> str | None:
    if not text:
        return None
    if (size := len(text.encode())) > MAX_TEXT_BYTES:
        return f"{name} has {size} bytes of UTF-8; at most {MAX_TEXT_BYTES} are allowed"
    if _CONTROL.search(text):
        return f"{name} holds a control character"
    return None


def _explain(raw: bytes | msgspec.Raw, error: ValueError) -> str:
    """Everything that keeps a record from being decoded, not only the first thing."""
    try:
        record = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return f"not JSON: {error}"
    if not isinstance(record, dict):
        return f"a record is a JSON object, not {_JSON_TYPES[type(record)]}"
    faults = [f"{name} is required" for name in _REQUIRED if record.get(name) in (None, "")]
    faults += [
        fault
        for name, value in record.items()
        if (value is not None and value != "") or name in ("timestamp", *_NUMBERS)
        if (fault := _fault(name, value))
    ]
    unknown = [name for name in record if name not in _FIELDS]
    if unknown:
        named = ", ".join(f'"{name[:60]}"' for name in unknown[:_MAX_NAMED_FIELDS])
        more = (
            f" and {len(unknown) - _MAX_NAMED_FIELDS} more" if unknown[_MAX_NAMED_FIELDS:] else ""
        )
        faults.append(f"unknown field {named}{more}; a record has {', '.join(_FIELDS)}")
    return "; ".join(faults) or str(error)


def _fault(name: str, value: Any) -> str | None:
    kind = _JSON_TYPES[type(value)]
    if name == "bot":
        if value in BOTS:
            return None
        return f"bot must be one of {', '.join(BOTS)}"
    if name in _NUMBERS:
        most = _NUMBERS[name]
        if value is None or (type(value) is int and 0 <= value <= most):
            return None
        shown = kind
        if type(value) is int:
            shown = str(value) if abs(value) < 10**20 else "one of over 20 digits"
        return f"{name} must be an integer from 0 to {most}, not {shown}"
    if name == "timestamp":
        if value is None or type(value) in (str, int):
            return None
        return f"timestamp must be a text or an integer, not {kind}"
    if name in _TEXTS:
        if isinstance(value, str):
            return _text_fault(name, value)
        return f"{name} must be a text, not {kind}"
    return None


def retention_edge_ms(now_ms: int, retention_days: int) -> int:
    """The oldest millisecond that is still kept; 0 where everything is (C22)."""
    return now_ms - retention_days * DAY_MS if retention_days else 0
