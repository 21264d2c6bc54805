"""Local time: midnights, buckets, the period before. All times are milliseconds since 1970."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE: Final = 60_000
_DAY: Final = timedelta(days=1)
_STEPS: Final = {"1m": _MINUTE, "5m": 5 * _MINUTE, "15m": 15 * _MINUTE, "1h": 60 * _MINUTE}

INTERVALS: Final = ("1m", "5m", "15m", "1h", "1d", "1w", "1mo")
"""From the shortest to the longest."""

MOST_BUCKETS: Final = 200
"""How many ``auto`` makes at the most."""


def local(ms: int, zone: ZoneInfo) -> datetime:
    """What the clocks of the zone show at a moment."""
    return (_EPOCH + timedelta(milliseconds=ms)).astimezone(zone)


def iso(ms: int, zone: ZoneInfo) -> str:
    """A moment in ISO 8601 as the zone writes it, with milliseconds; ``Z`` for UTC."""
    text = local(ms, zone).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z") if zone.key == "UTC" else text


def midnight(day: date, zone: ZoneInfo) -> int:
    """The moment at which a local day begins, also where the clocks skip midnight itself."""
    wall = datetime.combine(day, time(), tzinfo=zone)
    ms = (wall.astimezone(UTC) - _EPOCH) // timedelta(milliseconds=1)
    if local(ms, zone).replace(tzinfo=None) == wall.replace(tzinfo=None):
        return ms
    # There is no such time: the day begins when the clocks are put forward, after it or before it.
    while local(ms, zone).date() < day:
        ms += _MINUTE
    while local(ms - _MINUTE, zone).date() >= day:
        ms -= _MINUTE
    return ms


def day_of(ms: int, zone: ZoneInfo) -> date:
    """The local day that a moment lies in."""
    day = local(ms, zone).date() - 2 * _DAY
    while midnight(day + _DAY, zone) <= ms:
        day += _DAY
    return day


def is_midnight(ms: int, zone: ZoneInfo) -> bool:
    """Whether a local day begins at this moment."""
    return midnight(day_of(ms, zone), zone) == ms


def months_later(day: date, months: int) -> date:
    """The first of the month so many months after that of ``day``."""
    count = day.year * 12 + day.month - 1 + months
    return date(count // 12, count % 12 + 1, 1)


def buckets(interval: str, start: int, end: int, zone: ZoneInfo) -> list[tuple[int, int]]:
    """The buckets that [start, end) touches, each with its begin and its end, without gaps."""
    first, last = day_of(start, zone), day_of(end - 1, zone)
    edges: list[int] = []
    if interval == "1mo":
        day = months_later(first, 0)
        while day <= months_later(last, 1):
            edges.append(midnight(day, zone))
            day = months_later(day, 1)
    elif interval == "1w":
        day = first - first.weekday() * _DAY
        while day <= last + 7 * _DAY:
            edges.append(midnight(day, zone))
            day += 7 * _DAY
    else:
        day = first
        while day <= last:
            begin, after = midnight(day, zone), midnight(day + _DAY, zone)
            edges += range(begin, after, _STEPS.get(interval, max(after - begin, 1)))
            day += _DAY
        edges.append(midnight(day, zone))
    return [(a, b) for a, b in pairwise(edges) if a < end and b > start]


def automatic(start: int, end: int, zone: ZoneInfo) -> str:
    """The shortest interval that makes few enough buckets."""
    for interval in INTERVALS:
        length = _STEPS.get(interval, _MINUTE)
        if (end - start) // length > 2 * MOST_BUCKETS and interval in _STEPS:
            continue  # far too many, and slow to count
        if len(buckets(interval, start, end, zone)) <= MOST_BUCKETS:
            return interval
    return INTERVALS[-1]


def previous(start: int, end: int, zone: ZoneInfo) -> int:
    """When the period before [start, end) began; it ends at ``start``."""
    if is_midnight(start, zone) and is_midnight(end, zone):
        first, after = day_of(start, zone), day_of(end, zone)
        if first.day == after.day == 1:
            months = (after.year - first.year) * 12 + after.month - first.month
            return midnight(months_later(first, -months), zone)
        return midnight(first - (after - first), zone)
    return start - (end - start)
