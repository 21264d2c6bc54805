"""Days, weeks and months as time zones cut them."""

import bisect
import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genmeter.clock import to_ms
from genmeter.query import buckets

BERLIN = ZoneInfo("Europe/Berlin")
HOUR = 3_600_000
DAY = 24 * HOUR
ZONES = [
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe",
    "Pacific/Apia", "America/Sao_Paulo", "Asia/Kathmandu", "Pacific/Chatham", "Africa/Casablanca",
]  # fmt: skip


def at(text: str) -> int:
    return to_ms(datetime.fromisoformat(text))


def test_the_days_on_which_clocks_change_have_23_and_25_hours() -> None:
    spring = buckets.edges(
        at("2026-03-28T23:00:00+00:00"), at("2026-03-30T22:00:00+00:00"), "1d", BERLIN
    )
    assert [b - a for a, b in itertools.pairwise(spring)] == [23 * HOUR]
    autumn = buckets.edges(
        at("2026-10-24T22:00:00+00:00"), at("2026-10-26T23:00:00+00:00"), "1d", BERLIN
    )
    assert [b - a for a, b in itertools.pairwise(autumn)] == [25 * HOUR]
    hours = buckets.edges(autumn[0], autumn[1], "1h", BERLIN)
    assert len(hours) == 25


def test_short_intervals_begin_anew_at_midnight() -> None:
    howe = ZoneInfo("Australia/Lord_Howe")  # half an hour of summer time
    day = buckets.midnight(date(2026, 4, 5), howe)
    following = buckets.midnight(date(2026, 4, 6), howe)
    assert following - day == 24.5 * HOUR
    hours = buckets.edges(day, following + 1, "1h", howe)
    assert hours[-2:] == [day + 24 * HOUR, following]


def test_weeks_begin_on_mondays_and_months_on_firsts() -> None:
    start, end = at("2026-02-11T12:00:00+00:00"), at("2026-03-03T00:00:00+00:00")
    where = ZoneInfo("UTC")
    weeks = [buckets.local_iso(ms, where)[:10] for ms in buckets.edges(start, end, "1w", where)]
    assert weeks == ["2026-02-09", "2026-02-16", "2026-02-23", "2026-03-02"]
    months = [buckets.local_iso(ms, where)[:10] for ms in buckets.edges(start, end, "1mo", where)]
    assert months == ["2026-02-01", "2026-03-01"]


def test_a_day_that_never_was_is_no_bucket() -> None:
    apia = ZoneInfo("Pacific/Apia")  # had no 30 December 2011
    edges = buckets.edges(
        buckets.midnight(date(2011, 12, 29), apia),
        buckets.midnight(date(2012, 1, 1), apia),
        "1d",
        apia,
    )
    assert [buckets.local_iso(ms, apia)[:10] for ms in edges] == ["2011-12-29", "2011-12-31"]


@given(
    st.sampled_from(ZONES),
    st.sampled_from(list(buckets.INTERVALS)),
    st.datetimes(datetime(1990, 1, 1), datetime(2035, 1, 1)),
    st.integers(1, 5000),
)
def test_buckets_are_ascending_and_cover_the_range(
    name: str, interval: str, begin: datetime, minutes: int
) -> None:
    where = ZoneInfo(name)
    start = to_ms(begin.replace(tzinfo=UTC))
    end = start + minutes * 60_000
    edges = buckets.edges(start, end, interval, where)
    assert edges[0] <= start
    assert all(a < b for a, b in itertools.pairwise(edges))
    assert all(start < edge < end for edge in edges[1:])
    longest = buckets.INTERVALS[interval] + (25 * HOUR if interval == "1mo" else HOUR)
    assert all(b - a <= longest for a, b in zip([*edges, end], edges[1:], strict=False))
    assert len(buckets.edges(start, end, buckets.auto(start, end, where), where)) <= 200


@given(
    st.sampled_from(ZONES),
    st.sampled_from(list(buckets.INTERVALS)),
    st.datetimes(datetime(1990, 1, 1), datetime(2035, 1, 1)),
    st.one_of(st.integers(1, 5000), st.integers(1, 400 * 24 * 60)),
    st.data(),
)
def test_a_bucket_has_the_number_of_its_edge(
    name: str, interval: str, begin: datetime, minutes: int, data: st.DataObject
) -> None:
    where = ZoneInfo(name)
    start = to_ms(begin.replace(tzinfo=UTC))
    end = start + minutes * 60_000
    if minutes > 20_000 and interval in ("1m", "5m"):
        return
    edges = buckets.edges(start, end, interval, where)
    length, shifts = buckets.numbering(edges, end)
    near = st.sampled_from([*edges, end]).flatmap(lambda ms: st.integers(ms - 2, ms + 1))
    moments = st.one_of(near, st.integers(start, end - 1))
    for ms in data.draw(st.lists(moments.filter(lambda ms: edges[0] <= ms < end), max_size=30)):
        shift = sum(by_ms for at_ms, by_ms in shifts if ms >= at_ms)
        assert (ms - edges[0] + shift) // length == bisect.bisect_right(edges, ms) - 1


@pytest.mark.parametrize(
    ("lengths", "numbers"),
    [
        ([5], "00000"),
        ([2, 2, 2], "001122"),
        ([2, 1, 2, 2], "0012233"),
        ([2, 3, 2, 2], "001112233"),
        ([2, 7, 2, 2], "0011111112233"),
        ([2, 7, 1, 2, 5, 2], "0011111112334444455"),
        ([2, 2, 5], "001122222"),
        ([2, 2, 1], "00112"),
    ],
)
def test_numbers_of_buckets_of_odd_lengths(lengths: list[int], numbers: str) -> None:
    edges = [0, *itertools.accumulate(lengths)]
    length, shifts = buckets.numbering(edges[:-1], edges[-1])
    found = [
        (ms + sum(by_ms for at_ms, by_ms in shifts if ms >= at_ms)) // length
        for ms in range(edges[-1])
    ]
    assert "".join(map(str, found)) == numbers


@given(
    st.sampled_from(ZONES),
    st.dates(date(1995, 1, 1), date(2034, 1, 1)),
    st.integers(1, 400),
)
def test_before_whole_days_are_as_many_whole_days(name: str, first: date, days: int) -> None:
    where = ZoneInfo(name)
    last = first + timedelta(days)
    if first.day == last.day == 1:
        return
    start, end = buckets.midnight(first, where), buckets.midnight(last, where)
    if start == end:  # the day Samoa left out
        return
    before = buckets.before(start, end, where)
    assert before == (buckets.midnight(first - timedelta(days), where), start)


@pytest.mark.parametrize(
    ("start", "end", "before"),
    [
        ("2026-03-01T00:00:00+01:00", "2026-04-01T00:00:00+02:00", "2026-02-01T00:00:00+01:00"),
        ("2026-01-01T00:00:00+01:00", "2026-03-01T00:00:00+01:00", "2025-11-01T00:00:00+01:00"),
        ("2026-03-30T00:00:00+02:00", "2026-03-31T00:00:00+02:00", "2026-03-29T00:00:00+01:00"),
        ("2026-03-29T12:00:00+02:00", "2026-03-29T18:00:00+02:00", "2026-03-29T06:00:00+02:00"),
    ],
)
def test_the_period_before(start: str, end: str, before: str) -> None:
    assert buckets.before(at(start), at(end), BERLIN) == (at(before), at(start))


def test_times_are_written_with_the_offset_of_their_zone() -> None:
    moment = at("2026-07-01T10:20:30.045+00:00")
    assert buckets.local_iso(moment, BERLIN) == "2026-07-01T12:20:30.045+02:00"
    assert buckets.local_iso(moment, ZoneInfo("UTC")) == "2026-07-01T10:20:30.045Z"


@pytest.mark.parametrize("name", ["", "Mars", "../etc/passwd", "europe/berlin", "/UTC"])
def test_a_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="IANA"):
        buckets.zone(name)
