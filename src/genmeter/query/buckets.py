"""Spans of time as people in a time zone cut them: days, weeks, months, and shorter ones. Pure.

Moments are milliseconds since 1970, spans are half-open. A local day has 23, 24 or 25 hours (and
once in Samoa none): all that is known of zones is asked of the time zone database.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import cache, lru_cache
from itertools import pairwise
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from genmeter.clock import DAY_MS, to_ms

INTERVALS: Final = {
    "1m": 60_000,
    "5m": 5 * 60_000,
    "15m": 15 * 60_000,
    "1h": 3_600_000,
    "1d": DAY_MS,
    "1w": 7 * DAY_MS,
    "1mo": 30 * DAY_MS,
}
"""The intervals of a series and about how long each is, in milliseconds."""

AUTO_BUCKETS: Final = 200
"""``auto`` takes the shortest interval that gives no more than this many buckets."""

_DAY: Final = timedelta(days=1)
_FIRST: Final = datetime.min.replace(tzinfo=UTC) + 2 * _DAY
_LAST: Final = datetime.max.replace(tzinfo=UTC) - 2 * _DAY
EARLIEST_MS: Final = 0
LATEST_MS: Final = to_ms(_LAST) - 800 * DAY_MS
"""Moments between these two can be written in any zone, with a period beside them."""


@cache
def _names() -> frozenset[str]:
    return frozenset(available_timezones())


def zone(name: str) -> ZoneInfo:
    """The zone of an IANA name. Raises ValueError saying what it may be."""
    if name not in _names():
        raise ValueError("an IANA time zone such as Europe/Berlin, America/New_York or UTC")
    return ZoneInfo(name)


def local_iso(ms: int, where: ZoneInfo) -> str:
    """``2026-03-29T00:00:00.000+01:00``: a moment as a zone's clocks show it; UTC ends in ``Z``."""
    seconds, rest = divmod(ms, 1000)
    text = _local_second(seconds, where)
    return f"{text[:19]}.{rest:03d}{text[19:]}"


@lru_cache(maxsize=4096)
def _local_second(seconds: int, where: ZoneInfo) -> str:
    text = datetime.fromtimestamp(seconds, where).isoformat()
    return text[:-6] + "Z" if where.key == "UTC" else text


def midnight(day: date, where: ZoneInfo) -> int:
    """When a local day begins; where clocks skip midnight, the moment they do."""
    return to_ms(datetime(day.year, day.month, day.day, tzinfo=where).astimezone(UTC))


def local_day(ms: int, where: ZoneInfo) -> date:
    """The local day a moment lies in."""
    return datetime.fromtimestamp(ms // 1000, where).date()


def edges(start_ms: int, end_ms: int, interval: str, where: ZoneInfo) -> list[int]:
    """Where the buckets begin that [start, end) touches; the first may begin before ``start_ms``.

    Days begin at local midnights, weeks on Mondays, months on firsts. Shorter intervals begin anew
    at each local midnight and go on in steps of time that has passed.
    """
    found = [edge for edge in _cut(start_ms, end_ms, interval, where) if edge < end_ms]
    first = max((n for n, edge in enumerate(found) if edge <= start_ms), default=0)
    return found[first:]


def _cut(start_ms: int, end_ms: int, interval: str, where: ZoneInfo) -> Iterator[int]:
    """Buckets' beginnings in their order, from one at or before the start on."""
    day = _begin(local_day(start_ms, where), interval)
    begin = midnight(day, where)
    while begin < end_ms:
        following = _next(day, interval)
        end = midnight(following, where)
        if INTERVALS[interval] < DAY_MS:
            yield from range(begin, end, INTERVALS[interval])
        elif begin < end:
            yield begin
        day, begin = following, end


def numbering(edges: Sequence[int], end_ms: int) -> tuple[int, list[tuple[int, int]]]:
    """How the number of the bucket that a moment before ``end_ms`` lies in is worked out.

    It is a length and shifts, each from some moment on. To what has passed since the first edge all
    shifts are added that apply; divided by the length, without its rest, it is the number. The
    length is that of most buckets, and only those that are longer or shorter need a shift.
    """
    lengths = [end - begin for begin, end in pairwise([*edges, max(end_ms, edges[-1] + 1)])]
    length = Counter(lengths[:-1] or lengths).most_common(1)[0][0]
    shifts = []
    for begin, this in zip(edges, lengths, strict=True):
        if this < length and begin != edges[-1]:
            shifts.append((begin + this, length - this))
        # What is beyond the length falls back into the bucket, so much at a time.
        for at in range(begin + length, begin + this, length):
            shifts.append((at, -min(length, begin + this - at)))
    return length, shifts


def _begin(day: date, interval: str) -> date:
    if interval == "1w":
        return day - day.weekday() * _DAY
    return day.replace(day=1) if interval == "1mo" else day


def _next(day: date, interval: str) -> date:
    if interval == "1mo":
        return _month_later(day, 1)
    return day + (7 * _DAY if interval == "1w" else _DAY)


def _month_later(first: date, months: int) -> date:
    number = first.year * 12 + first.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


def auto(start_ms: int, end_ms: int, where: ZoneInfo) -> str:
    """The interval that ``auto`` stands for."""
    for name, length in INTERVALS.items():
        few = (end_ms - start_ms) // length <= AUTO_BUCKETS  # or they are not worth counting
        if few and len(edges(start_ms, end_ms, name, where)) <= AUTO_BUCKETS:
            return name
    return "1mo"


def before(start_ms: int, end_ms: int, where: ZoneInfo) -> tuple[int, int]:
    """The period before [start, end), which ends where that begins.

    As many months where both ends are firsts of months, as many days where both are midnights of
    the zone, else as much time.
    """
    first, last = local_day(start_ms, where), local_day(end_ms, where)
    if midnight(first, where) != start_ms or midnight(last, where) != end_ms:
        return start_ms - (end_ms - start_ms), start_ms
    if first.day == last.day == 1:
        months = (last.year - first.year) * 12 + last.month - first.month
        return midnight(_month_later(first, -months), where), start_ms
    return midnight(first - (last - first), where), start_ms
