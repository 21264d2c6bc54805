"""Time as the service counts it: whole milliseconds since 1970, UTC."""

import time
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final

DAY_MS: Final = 86_400_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def now_ms() -> int:
    """The machine's clock, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def to_ms(moment: datetime) -> int:
    """An aware datetime in milliseconds since 1970, rounded down."""
    return (moment - _EPOCH) // _MILLISECOND


def iso(ms: int) -> str:
    """``2026-02-13T10:30:00.000Z`` for milliseconds since 1970 (C10)."""
    seconds, rest = divmod(ms, 1000)
    return f"{_iso_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=64)  # the lines of a log are of few seconds
def _iso_second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S")


def from_iso(text: str) -> int:
    """Milliseconds since 1970 of a timestamp as :func:`iso` writes it."""
    return to_ms(datetime.fromisoformat(text))


def utc_date(ms: int) -> str:
    """The UTC day a moment lies in, as ``YYYY-MM-DD``."""
    return iso(ms)[:10]


def day_start_ms(day: str) -> int:
    """The first millisecond of the UTC day ``YYYY-MM-DD``.

    Raises ValueError where there is no such day.
    """
    return (date.fromisoformat(day).toordinal() - _EPOCH.toordinal()) * DAY_MS


def month_ms(month: int) -> tuple[int, int]:
    """The first millisecond of the UTC month ``YYYYMM`` and of the next one."""
    following = month + 1 if month % 100 < 12 else month + 89
    start, end = (day_start_ms(f"{m // 100:04d}-{m % 100:02d}-01") for m in (month, following))
    return start, end


def utc_month(ms: int) -> int:
    """The UTC month a moment lies in, as ``YYYYMM``."""
    return int(utc_date(ms).replace("-", "")[:6])
