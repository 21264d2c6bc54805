"""Metrics: what they are counted from, and percentiles in whole numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genmeter.execution import groups
from genmeter.query import metrics

NOTHING = dict.fromkeys(
    {name for metric in metrics.METRICS.values() for name in metric.needs} | {"p50"}, 0
)


def test_over_no_jobs_counts_are_0_and_all_else_is_nothing() -> None:
    for metric in (*metrics.METRICS.values(), metrics.metric("p50")):
        counts = metric.name in ("jobs", "success", "client_errors", "throttled",
                                 "provider_errors", "captcha_attempts")  # fmt: skip
        assert metric.value(NOTHING) == (0 if counts else None), metric.name


def test_rates_are_rounded_as_the_contract_rounds() -> None:
    sums = NOTHING | {"jobs": 2402, "success": 1344, "client_errors": 402}
    assert metrics.METRICS["success_rate"].value(sums) == 56.0  # C12
    assert metrics.METRICS["service_rate"].value(sums) == 67.2
    assert metrics.METRICS["service_rate"].value(NOTHING | {"jobs": 3, "client_errors": 3}) is None
    assert metrics.METRICS["avg_msec"].value(sums | {"msec": 2402 * 10 + 1201}) == 11  # C13
    retries = NOTHING | {"retries": 49, "with_retry": 20}
    assert metrics.METRICS["avg_captcha_retry"].value(retries) == 2.5  # C16


@pytest.mark.parametrize(
    ("name", "level"),
    [("p50", 5000), ("p99.9", 9990), ("p99.99", 9999), ("p0.5", 50), ("p05", None), ("p0", None),
     ("p100", None), ("p99.999", None), ("p", None), ("p5.", None), ("P50", None),
     ("p\u0665", None)],
)  # fmt: skip
def test_percentiles_have_a_name(name: str, level: int | None) -> None:
    assert metrics.percentile(name) == level


@given(
    st.lists(st.integers(0, 50), min_size=1, max_size=200),
    st.lists(st.integers(1, 9999), min_size=1, max_size=5, unique=True),
)
def test_a_percentile_is_what_fewer_than_the_rest_exceed(
    durations: list[int], levels: list[int]
) -> None:
    names = [f"p{level // 100}.{level % 100:02d}" for level in levels]
    counted = [(msec, durations.count(msec)) for msec in set(durations)]
    found = groups.percentiles(counted, names)
    ascending = sorted(durations)
    for name, level in zip(names, levels, strict=True):
        at = metrics.rank(level, len(durations))
        assert found[name] == ascending[at]
        after = len(durations) - at - 1
        assert after * 10_000 < (10_000 - level) * len(durations)
