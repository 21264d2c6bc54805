"""Where a time is cut: never too much between two cuts, and no more cuts than needed."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genmeter.storage.slices import cuts

STEP = 60
COUNTS = st.dictionaries(st.integers(0, 30), st.integers(1, 10), max_size=20)


@pytest.mark.parametrize("backwards", [False, True])
@given(counts=COUNTS, most=st.integers(10, 25))
def test_no_more_than_most_between_two_cuts(
    counts: dict[int, int], most: int, backwards: bool
) -> None:
    steps = sorted(((n * STEP, count) for n, count in counts.items()), reverse=backwards)
    found = list(cuts(steps, STEP, most, backwards=backwards))
    assert found == sorted(set(found), reverse=backwards)
    edges = sorted([-STEP, *found, 31 * STEP])
    held = [
        sum(count for start, count in steps if low <= start < high) for low, high in pairwise(edges)
    ]
    assert all(count <= most for count in held)
    assert all(first + second > most for first, second in pairwise(held))


@pytest.mark.parametrize(
    ("backwards", "expected"),
    [(False, [60, 70, 80, 90, 100, 110]), (True, [110, 100, 90, 80, 70, 60])],
)
def test_a_step_of_too_many_is_cut_into_equal_times(backwards: bool, expected: list[int]) -> None:
    steps = [(0, 1), (60, 60)]
    if backwards:
        steps.reverse()
    assert list(cuts(steps, STEP, 10, backwards=backwards)) == expected
