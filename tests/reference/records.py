"""Records as they were sent -> the rows that count."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

Row = dict[str, Any]
"""A record with all its fields; ``ms`` is its time, ``captchaRetry`` None where it has none."""

_REASONS: Final = {
    0: "NetworkError",
    200: "OK",
    201: "Created",
    299: "Unknown",
    301: "Moved Permanently",
    400: "Bad Request",
    403: "Forbidden",
    404: "Not Found",
    429: "Too Many Requests",
    499: "Unknown",
    500: "Internal Server Error",
    524: "A Timeout Occurred",
    596: "Account Error",
    599: "Unknown",
    700: "Unknown",
}
"""What a record without a status gets, for the codes that tests use."""


def stored(sent: Iterable[Mapping[str, Any]]) -> list[Row]:
    """The rows that ``sent`` leaves, in the order of sending: of equal ones the last.

    Every record names its account, its time and its job id.
    """
    rows: dict[tuple[Any, ...], Row] = {}
    for record in sent:
        ms = to_ms(record["timestamp"])
        identity = (record["account"], record["bot"], ms, record["jobid"])
        rows[identity] = {
            "ms": ms,
            "account": record["account"],
            "bot": record["bot"],
            "jobid": record["jobid"],
            "config": record["config"],
            "endpoint": record["endpoint"],
            "status": record.get("status") or _REASONS[record["code"]],
            "func": record.get("func") or "",
            "code": record["code"],
            "msec": record["msec"],
            "model": record.get("model") or "",
            "captchaProviders": record.get("captchaProviders") or "",
            "captchaRetry": record.get("captchaRetry"),
            "tier": record.get("tier") or "",
            "sku": record.get("sku") or "",
        }
    return list(rows.values())


def to_ms(timestamp: int | str) -> int:
    """Milliseconds since 1970 of a record's timestamp."""
    if isinstance(timestamp, int):
        return timestamp
    since = datetime.fromisoformat(timestamp) - datetime(1970, 1, 1, tzinfo=UTC)
    return since // timedelta(milliseconds=1)


def attempts(row: Row) -> list[str]:
    """The captcha providers of a row, as often as it names them."""
    names = [name.strip(" ") for name in row["captchaProviders"].split(",")]
    return [name for name in names if name]
