"""Whole milliseconds since 1970, UTC (C3, C10)."""

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genmeter import clock

LAST_MS = 253_402_300_799_999  # 9999-12-31T23:59:59.999Z


def test_c10_a_moment_is_written_with_milliseconds_and_z() -> None:
    assert clock.iso(0) == "1970-01-01T00:00:00.000Z"
    assert clock.iso(1_770_978_600_000) == "2026-02-13T10:30:00.000Z"
    assert clock.iso(1_770_978_600_007) == "2026-02-13T10:30:00.007Z"
    assert clock.iso(LAST_MS) == "9999-12-31T23:59:59.999Z"


@given(st.integers(0, LAST_MS))
@settings(deadline=None)
def test_c10_what_is_written_reads_back_as_the_same_millisecond(ms: int) -> None:
    text = clock.iso(ms)
    assert len(text) == 24
    assert clock.to_ms(datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)) == ms


@given(st.integers(0, LAST_MS), st.integers(0, LAST_MS))
@settings(deadline=None)
def test_c10_written_moments_sort_like_moments(one: int, other: int) -> None:
    assert (clock.iso(one) < clock.iso(other)) == (one < other)


@given(st.integers(0, LAST_MS // 1000), st.integers(0, 999_999), st.integers(-1439, 1439))
@settings(deadline=None)
def test_r2_a_datetime_of_any_offset_is_rounded_down(
    seconds: int, microseconds: int, minutes: int
) -> None:
    try:
        moment = datetime.fromtimestamp(seconds, timezone(timedelta(minutes=minutes)))
    except (OverflowError, ValueError):  # past the calendar's end in that zone
        return
    assert clock.to_ms(moment.replace(microsecond=microseconds)) == (
        seconds * 1000 + microseconds // 1000
    )


def test_r2_before_1970_is_rounded_down_too() -> None:
    assert clock.to_ms(datetime(1969, 12, 31, 23, 59, 59, 999_999, UTC)) == -1


@given(st.integers(0, LAST_MS))
@settings(deadline=None)
def test_c3_a_day_holds_its_moments_up_to_the_next_days(ms: int) -> None:
    day = clock.utc_date(ms)
    start = clock.day_start_ms(day)
    assert start <= ms < start + clock.DAY_MS
    assert start % 86_400_000 == 0


def test_c3_days_begin_at_midnight_in_utc() -> None:
    assert clock.day_start_ms("1970-01-01") == 0
    assert clock.day_start_ms("2026-02-13") == 1_770_940_800_000
    assert clock.utc_date(1_770_940_800_000) == "2026-02-13"
    assert clock.utc_date(1_770_940_799_999) == "2026-02-12"


def test_c3_leap_days_are_days_and_others_are_not() -> None:
    assert clock.day_start_ms("2024-03-01") - clock.day_start_ms("2024-02-29") == clock.DAY_MS
    for day in ("2025-02-29", "2026-02-30", "2026-13-01", "2026-00-10", "0000-01-01", "today"):
        with pytest.raises(ValueError):  # noqa: PT011  # any says that there is no such day
            clock.day_start_ms(day)


def test_now_is_the_machines_clock_in_whole_milliseconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_770_978_600_123_999_999)
    assert clock.now_ms() == 1_770_978_600_123


def test_a_month_is_that_of_the_calendar() -> None:
    for month, start, end in (
        (202512, "2025-12-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z"),
        (202402, "2024-02-01T00:00:00.000Z", "2024-03-01T00:00:00.000Z"),
    ):
        start_ms, end_ms = clock.month_ms(month)
        assert (clock.iso(start_ms), clock.iso(end_ms)) == (start, end)
        assert clock.utc_month(start_ms) == clock.utc_month(end_ms - 1) == month
        assert clock.utc_month(end_ms) != month
