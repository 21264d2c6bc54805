"""The metrics of a query, and what each is counted from. Pure.

The engine counts *sums* (whole numbers that can be added up over shards), a metric is made of them
in integers, so that rounding is the contract's and not a float's. The contract's own summary is
rounded by the same functions (:mod:`genmeter.execution.summary`).
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

Sums = Mapping[str, int]
"""What was counted: the name of a sum and its value. Over no jobs they are all 0."""

Value = int | float | None

PERCENTILE: Final = re.compile(r"p([1-9]?[0-9])(?:\.([0-9]{1,2}))?")
HUNDREDTHS: Final = 10_000
"""Percentiles are counted in hundredths of a percent."""


class Metric(msgspec.Struct, frozen=True, kw_only=True):
    """A figure: what people read about it, the sums it needs, and how it is made of them.

    ``is_time`` says that it is a moment, in milliseconds since 1970.
    """

    name: str
    help: str
    needs: tuple[str, ...]
    value: Callable[[Sums], Value]
    is_time: bool = False


def half_up(numerator: int, denominator: int) -> int:
    """The quotient of two non-negative integers, rounded half up."""
    return (2 * numerator + denominator) // (2 * denominator)


def permille(part: int, whole: int) -> int:
    """Tenths of a percent, rounded half up (C12)."""
    return half_up(1000 * part, whole)


def _rate(part: int, whole: int) -> float | None:
    return permille(part, whole) / 10 if whole else None


def _when_any(name: str) -> Callable[[Sums], Value]:
    return lambda sums: sums[name] if sums["jobs"] else None


def _metric(
    name: str, text: str, value: Callable[[Sums], Value], *needs: str, is_time: bool = False
) -> Metric:
    return Metric(name=name, help=text, needs=("jobs", *needs), value=value, is_time=is_time)


def _count(name: str, text: str) -> Metric:
    return _metric(name, text, lambda sums: sums[name], name)


METRICS: Final = {
    metric.name: metric
    for metric in (
        _count("jobs", "Jobs"),
        _count("success", "Jobs with a 2xx code"),
        _count("client_errors", "Jobs with a 4xx code other than 429: the caller's own"),
        _count("throttled", "Jobs with code 429"),
        _count("provider_errors", "Jobs with a 5xx code, 596 among them, or 0: no answer at all"),
        _metric(
            "success_rate",
            "success / jobs, percent with one decimal",
            lambda s: _rate(s["success"], s["jobs"]),
            "success",
        ),
        _metric(
            "service_rate",
            "success / (jobs - client_errors), percent with one decimal",
            lambda s: _rate(s["success"], s["jobs"] - s["client_errors"]),
            "success",
            "client_errors",
        ),
        _metric(
            "avg_msec",
            "Mean duration, milliseconds",
            lambda s: half_up(s["msec"], s["jobs"]) if s["jobs"] else None,
            "msec",
        ),
        _metric("min_msec", "Shortest duration", _when_any("min_msec"), "min_msec"),
        _metric("max_msec", "Longest duration", _when_any("max_msec"), "max_msec"),
        _count("captcha_attempts", "Captcha providers tried, all occurrences"),
        _metric(
            "avg_captcha_retry",
            "Mean captchaRetry of the jobs that have one, one decimal",
            lambda s: half_up(10 * s["retries"], s["with_retry"]) / 10 if s["with_retry"] else None,
            "retries",
            "with_retry",
        ),
        _metric("first", "Time of the earliest job", _when_any("first"), "first", is_time=True),
        _metric("last", "Time of the latest job", _when_any("last"), "last", is_time=True),
    )
}
"""The metrics that have a name of their own; percentiles come beside them."""

PERCENTILES_HELP: Final = "pN: the duration that fewer than 100 - N percent of the jobs exceed"

DEFAULT: Final = (
    "jobs", "success", "client_errors", "throttled", "provider_errors",
    "success_rate", "service_rate", "avg_msec", "p50", "p95", "p99",
)  # fmt: skip
"""The metrics of a query that names none."""


def metric(name: str) -> Metric:
    """The metric of that name. Raises ValueError saying which there are."""
    if name in METRICS:
        return METRICS[name]
    level = percentile(name)
    if level is None:
        raise ValueError(
            f"{', '.join(METRICS)}, or a percentile above 0 and below 100 such as p50 or p99.9"
        )
    return _metric(name, PERCENTILES_HELP, _when_any(name), name)


def percentile(name: str) -> int | None:
    """The level of ``p99.9`` in hundredths of a percent; None where the name is no percentile."""
    found = PERCENTILE.fullmatch(name)
    if not found:
        return None
    level = int(found[1]) * 100 + int((found[2] or "").ljust(2, "0"))
    return level if 0 < level < HUNDREDTHS else None


def rank(level: int, jobs: int) -> int:
    """Which of ``jobs`` ascending durations, from 0, a percentile is: one that was measured."""
    return level * jobs // HUNDREDTHS
