"""A clock that is wrong for a while costs no records."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genmeter.clock import DAY_MS
from genmeter.storage.retention import FOLLOW, HOUR_MS, TrustedClock

NOW = 1_780_000_000_000


class Clocks:
    """A machine's two clocks: one that may be set, and one that only goes on."""

    def __init__(self, now_ms: int = NOW) -> None:
        self.now = now_ms
        self.elapsed = 0.0

    def __call__(self, noted_ms: int | None) -> TrustedClock:
        """What a process takes the time to be that starts now."""
        return TrustedClock(noted_ms, lambda: self.now, lambda: self.elapsed)

    def go_on(self, ms: int) -> None:
        self.now += ms
        self.elapsed += ms / 1000


def test_a_clock_that_goes_right_is_trusted() -> None:
    clocks = Clocks()
    clock = clocks(NOW - 5_000)
    assert clock() == NOW - 5_000
    clocks.go_on(2 * HOUR_MS)
    assert clock() == clocks.now


def test_without_a_note_the_clock_is_all_there_is() -> None:
    assert Clocks()(None)() == NOW


def test_a_note_that_no_calendar_has_keeps_nothing_from_starting() -> None:
    assert Clocks()(NOW * 1000)() == NOW


def test_nothing_is_settled_in_the_first_hour() -> None:
    clocks = Clocks()
    clock = clocks(None)
    assert not clock.settled
    clocks.go_on(HOUR_MS - 1)
    assert not clock.settled
    clocks.go_on(1)
    assert clock.settled


@pytest.mark.parametrize("when", ["before the start", "later"])
def test_a_jump_of_200_days_is_followed_slowly_and_logged(
    when: str, caplog: pytest.LogCaptureFixture
) -> None:
    clocks = Clocks()
    if when == "before the start":
        clocks.now += 200 * DAY_MS
    clock = clocks(NOW)
    if when == "later":
        clocks.now += 200 * DAY_MS
    clocks.go_on(HOUR_MS)
    assert clock() == NOW + HOUR_MS
    clocks.go_on(HOUR_MS)
    assert clock() == NOW + 2 * HOUR_MS + FOLLOW * HOUR_MS  # a day
    assert any("clock" in record.message for record in caplog.records)
    clocks.now -= 200 * DAY_MS  # set right: all is as if nothing had been
    assert clock() == NOW + 2 * HOUR_MS


def test_what_a_wrong_clock_noted_does_not_outlast_it() -> None:
    clocks = Clocks(NOW + 200 * DAY_MS)
    noted = clocks(NOW)()
    assert noted == NOW
    assert Clocks(NOW + 10)(noted)() == NOW


@given(
    noted=st.none() | st.integers(NOW - 400 * DAY_MS, NOW + 400 * DAY_MS),
    jumps=st.lists(
        st.tuples(st.integers(-500 * DAY_MS, 500 * DAY_MS), st.integers(0, DAY_MS)), max_size=5
    ),
)
def test_it_is_never_ahead_of_the_machine_and_gains_no_more_than_is_allowed(
    noted: int | None, jumps: list[tuple[int, int]]
) -> None:
    clocks = Clocks()
    clock = clocks(noted)
    first = clock()
    assert noted is None or first <= max(noted, 0) or first == NOW
    for jump, passed in jumps:
        clocks.now += jump
        clocks.go_on(passed)
        uptime = round(clocks.elapsed * 1000)
        assert clock() <= clocks.now
        assert clock() <= first + uptime * (1 + FOLLOW) + 1
