"""Groups -> ``summary`` (C11 to C18), against a slow recomputation over single rows."""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genmeter.clock import iso
from genmeter.execution.summary import Summary, percent, summarize, time_span
from genmeter.model.bots import ELEVEN
from genmeter.storage.tally import Group, Totals

DAY: Final = 86_400_000
MORNING: Final = 1_770_940_803_000  # 2026-02-13T00:00:03.000Z
WITH_MODEL: Final = {"google-flow", "dreamina", "kling", "minimax", "pixverse", "luma"}
TIERS: Final = {"PAYGATE_TIER_TWO": "Ultra $199", "PAYGATE_TIER_TIER1P5": "Ultra $99"}
SKUS: Final = {"WS_ULTRA": "Workspace Ultra", "G1_FREEMIUM": "Free"}

Row = dict[str, Any]
FIELDS: Final = (
    "config",
    "code",
    "endpoint",
    "status",
    "model",
    "captcha_providers",
    "tier",
    "sku",
)


def group(rows: int = 1, **changes: Any) -> tuple[Group, int]:
    """So many rows that are equal."""
    values: Row = {"config": "c", "code": 200, "endpoint": "e", "status": "OK"}
    return Group(**(values | changes)), rows


def of(*groups: tuple[Group, int], msec: int = 0, latest_ms: int = MORNING) -> Totals:
    """What was counted of an answer that begins in the morning."""
    return Totals(groups=groups, msec=msec, earliest=iso(MORNING), latest=iso(latest_ms))


def half_up(value: Fraction, decimals: int) -> Decimal:
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(value.numerator) / Decimal(value.denominator)
        return exact.quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)


def counted(values: Iterable[str]) -> list[tuple[str, int]]:
    """By count descending, then key ascending (C14)."""
    by_key = sorted(Counter(values).items())
    return sorted(by_key, key=lambda item: item[1], reverse=True)


def by_hand(bot: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The summary as the contract has it, worked out row by row; counts as lists, in order."""
    first = min(row["ms"] for row in rows)
    last = max(row["ms"] for row in rows)
    good = [row for row in rows if str(row["code"]) in {str(code) for code in range(200, 300)}]
    expected: dict[str, Any] = {
        "from": moment(first),
        "to": moment(last),
        "time_span": span_by_hand(last - first),
        "by_config": counted(row["config"] for row in rows),
        "by_code": sorted(
            ((str(code), n) for code, n in Counter(row["code"] for row in rows).items()),
            key=lambda item: int(item[0]),
        ),
        "by_endpoint": counted(row["endpoint"] for row in rows),
        "by_status": counted(row["status"] for row in rows),
        "success_rate": f"{half_up(Fraction(100 * len(good), len(rows)), 1)}%",
        "avg_msec": int(half_up(Fraction(sum(row["msec"] for row in rows), len(rows)), 0)),
    }
    if bot in WITH_MODEL:
        expected["by_model"] = counted(row["model"] for row in rows if row["model"])
    if bot == "google-flow":
        tried = [name.strip() for row in rows for name in row["captcha_providers"].split(",")]
        expected["by_captcha_provider"] = counted(filter(None, tried))
        retries = [row["retry"] for row in rows if row["retry"] is not None]
        if retries:
            expected["avg_captcha_retry"] = float(half_up(Fraction(sum(retries), len(retries)), 1))
        expected["by_tier"] = counted(row["tier"] or "(empty)" for row in rows)
        expected["by_sku"] = counted(row["sku"] or "(empty)" for row in rows)
        expected["lookup"] = [
            ("tiers", [(key, TIERS.get(key, key)) for key, _ in expected["by_tier"]]),
            ("skus", [(key, SKUS.get(key, key)) for key, _ in expected["by_sku"]]),
        ]
    return expected


def moment(ms: int) -> str:
    when = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def span_by_hand(ms: int) -> str:
    span = timedelta(milliseconds=ms)
    hours, minutes = span.seconds // 3600, span.seconds // 60 % 60
    if span.days:
        units = [(span.days, "day"), (hours, "hour")]
    elif hours or minutes:
        units = [(hours, "hour"), (minutes, "minute")]
    else:
        return "1 second" if span.seconds == 1 else f"{span.seconds} seconds"
    return " ".join(f"{n} {unit}{'' if n == 1 else 's'}" for n, unit in units if n)


def in_order(value: Any) -> Any:
    """Objects as lists of pairs, so that their order is compared too."""
    if isinstance(value, dict):
        return [(key, in_order(inner)) for key, inner in value.items()]
    return value


def encoded(summary: Summary) -> Any:
    return json.loads(msgspec.json.encode(summary))


ROW = st.fixed_dictionaries(
    {
        "ms": st.integers(MORNING, MORNING + 3 * DAY),
        "config": st.sampled_from(["a@b.c", "B", "a", "ä", ""]),
        "code": st.sampled_from([0, 99, 199, 200, 201, 299, 300, 429, 596, 999]),
        "endpoint": st.sampled_from(["post-images", "post-videos"]),
        "status": st.sampled_from(["OK", "Created", "Forbidden"]),
        "model": st.sampled_from(["", "veo", "imagen-4"]),
        "captcha_providers": st.sampled_from(["", "A", "A, B ,A", " ,,B", ",", "A,b,B"]),
        "retry": st.none() | st.integers(0, 65_535) | st.integers(0, 9),
        "tier": st.sampled_from(["", "PAYGATE_TIER_TWO", "PAYGATE_TIER_TIER1P5", "new"]),
        "sku": st.sampled_from(["", "WS_ULTRA", "G1_FREEMIUM", "PAYGATE_TIER_TWO"]),
        "msec": st.integers(0, 2**32 - 1) | st.integers(0, 3),
    }
)


@given(
    st.sampled_from(ELEVEN.names),
    st.lists(ROW, min_size=1, max_size=40),
    st.randoms(),
    st.booleans(),
)
@settings(max_examples=300, deadline=None)
def test_c11_to_c18_the_summary_is_that_of_its_rows(
    bot: str, rows: list[Row], random: Any, split: bool
) -> None:
    counts: Counter[tuple[Any, ...]] = Counter()
    for row in rows:  # groups may also come split, in any order: the sums are the same
        part = random.random() < 0.5 if split else None
        counts[(*(row[name] for name in FIELDS), row["retry"], part)] += 1
    groups = [
        (Group(**dict(zip(FIELDS, values, strict=False)), captcha_retry=values[-2]), count)
        for values, count in counts.items()
    ]
    random.shuffle(groups)
    totals = Totals(
        groups=groups,
        msec=sum(row["msec"] for row in rows),
        earliest=iso(min(row["ms"] for row in rows)),
        latest=iso(max(row["ms"] for row in rows)),
    )
    expected = by_hand(bot, rows)
    found = encoded(summarize(bot, totals))
    assert list(found) == list(expected)
    assert {key: in_order(value) for key, value in found.items()} == expected


@given(st.integers(0, 10**6), st.integers(1, 10**6))
@settings(deadline=None)
def test_c12_any_rate_is_rounded_half_up_to_one_decimal(part: int, more: int) -> None:
    whole = part + more
    assert percent(part, whole) == f"{half_up(Fraction(100 * part, whole), 1)}%"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [
        (1344, 2402, "56.0%"),  # the page's
        (1, 1, "100.0%"),
        (0, 7, "0.0%"),
        (1, 2000, "0.1%"),  # 0.05
        (9, 20_000, "0.0%"),  # 0.045
        (1999, 2000, "100.0%"),  # 99.95
        (19_989, 20_000, "99.9%"),  # 99.945
        (867, 1000, "86.7%"),
        (9, 16, "56.3%"),  # 56.25, which half even and a float's printing make 56.2
    ],
)
def test_c12_success_rate_is_rounded_half_up(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text


def test_c12_only_2xx_is_success() -> None:
    for code, rate in {199: "0.0%", 200: "100.0%", 299: "100.0%", 300: "0.0%", 0: "0.0%"}.items():
        assert summarize("kling", of(group(code=code))).success_rate == rate


@pytest.mark.parametrize(("msec", "rows", "mean"), [(1, 2, 1), (3, 2, 2), (4, 3, 1), (0, 9, 0)])
def test_c13_avg_msec_is_rounded_half_up(msec: int, rows: int, mean: int) -> None:
    assert summarize("mureka", of(group(rows), msec=msec)).avg_msec == mean


def test_c13_avg_msec_is_exact_where_floats_are_not() -> None:
    rows = 2**30
    half = rows * (2**32 - 2) + rows // 2
    assert summarize("mureka", of(group(rows), msec=half)).avg_msec == 2**32 - 1
    assert summarize("mureka", of(group(rows), msec=half - 1)).avg_msec == 2**32 - 2


def test_c14_codes_are_in_numeric_order_and_others_by_count() -> None:
    groups = [group(1, code=n, config=c) for n, c in ((1000, "b"), (99, "a"), (200, "z"), (5, "z"))]
    summary = summarize("kling", of(*groups))
    assert list(summary.by_code) == ["5", "99", "200", "1000"]
    assert list(summary.by_config.items()) == [("z", 2), ("a", 1), ("b", 1)]


def test_c15_rows_without_a_model_are_not_in_by_model() -> None:
    summary = encoded(summarize("kling", of(group(24), group(2378, model="kling-v2-6"))))
    assert summary["by_model"] == {"kling-v2-6": 2378}
    assert encoded(summarize("kling", of(group())))["by_model"] == {}
    assert "by_model" not in encoded(summarize("midjourney", of(group(model="niji"))))


def test_c16_every_occurrence_of_a_provider_counts() -> None:
    tried = [group(2, captcha_providers=" CapSolver ,2Captcha,CapSolver,, "), group(9)]
    assert encoded(summarize("google-flow", of(*tried)))["by_captcha_provider"] == {
        "CapSolver": 4, "2Captcha": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("retries", "rows", "text"),
    [
        (202, 100, b"2"), (245, 100, b"2.5"), (244, 100, b"2.4"), (2, 1, b"2"), (0, 5, b"0"),
        (1, 20, b"0.1"), (199, 100, b"2"), (65_535, 1, b"65535"), (235, 100, b"2.4"),
    ],
)  # fmt: skip
def test_c16_avg_captcha_retry_has_one_decimal_where_it_needs_one(
    retries: int, rows: int, text: bytes
) -> None:
    each, more = divmod(retries, rows)
    groups = [group(1000), group(rows - more, captcha_retry=each)]
    if more:
        groups.append(group(more, captcha_retry=each + 1))
    summary = summarize("google-flow", of(*groups))
    assert b'"avg_captcha_retry":' + text + b"," in msgspec.json.encode(summary)


def test_c16_without_any_captcha_retry_there_is_no_mean() -> None:
    assert "avg_captcha_retry" not in encoded(summarize("google-flow", of(group(5))))


def test_c17_lookup_has_the_tiers_and_skus_present() -> None:
    groups = [
        group(3, tier="PAYGATE_TIER_TWO", sku="WS_ULTRA"),
        group(2),
        group(1, tier="PAYGATE_TIER_NEW", sku="G1_NEW"),
    ]
    summary = encoded(summarize("google-flow", of(*groups)))
    assert summary["by_tier"] == {"PAYGATE_TIER_TWO": 3, "(empty)": 2, "PAYGATE_TIER_NEW": 1}
    assert summary["lookup"] == {
        "tiers": {
            "PAYGATE_TIER_TWO": "Ultra $199",
            "(empty)": "(empty)",
            "PAYGATE_TIER_NEW": "PAYGATE_TIER_NEW",
        },
        "skus": {"WS_ULTRA": "Workspace Ultra", "(empty)": "(empty)", "G1_NEW": "G1_NEW"},
    }


SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (23 * HOUR + 58 * MINUTE + 35 * SECOND, "23 hours 58 minutes"),  # the page's
        (2 * DAY + 5 * HOUR + 59 * MINUTE + 59_999, "2 days 5 hours"),
        (3 * HOUR, "3 hours"),
        (2 * DAY, "2 days"),
        (2 * DAY + 59 * MINUTE, "2 days"),
        (DAY + HOUR, "1 day 1 hour"),
        (DAY - 1, "23 hours 59 minutes"),
        (HOUR + MINUTE, "1 hour 1 minute"),
        (HOUR + MINUTE - 1, "1 hour"),
        (HOUR - 1, "59 minutes"),
        (42 * MINUTE, "42 minutes"),
        (MINUTE, "1 minute"),
        (MINUTE - 1, "59 seconds"),
        (35_999, "35 seconds"),
        (1999, "1 second"),
        (999, "0 seconds"),
        (0, "0 seconds"),
    ],
)
def test_c18_time_span_is_floored_in_its_two_largest_units(ms: int, text: str) -> None:
    assert time_span(ms) == text


@given(st.integers(0, 400 * DAY) | st.integers(0, DAY) | st.integers(0, HOUR))
@settings(deadline=None)
def test_c18_any_span(ms: int) -> None:
    assert time_span(ms) == span_by_hand(ms)


def test_c11_a_summary_of_google_flow_as_its_bytes() -> None:
    values = {
        "config": "ops@example.com", "code": 201, "endpoint": "post-images", "status": "Created",
        "model": "imagen-4", "captcha_providers": "CapSolver", "tier": "PAYGATE_TIER_ONE",
        "sku": "G1_TIER1",
    }  # fmt: skip
    three = of(
        group(1, **values),
        group(1, **values, captcha_retry=2),
        group(1, **values, captcha_retry=3),
        msec=10,
        latest_ms=MORNING + 86_315_000,
    )
    assert msgspec.json.encode(summarize("google-flow", three)).decode() == (
        '{"from":"2026-02-13T00:00:03.000Z","to":"2026-02-13T23:58:38.000Z",'
        '"time_span":"23 hours 58 minutes","by_config":{"ops@example.com":3},"by_code":{"201":3},'
        '"by_endpoint":{"post-images":3},"by_status":{"Created":3},"success_rate":"100.0%",'
        '"avg_msec":3,"by_model":{"imagen-4":3},"by_captcha_provider":{"CapSolver":3},'
        '"avg_captcha_retry":2.5,"by_tier":{"PAYGATE_TIER_ONE":3},"by_sku":{"G1_TIER1":3},'
        '"lookup":{"tiers":{"PAYGATE_TIER_ONE":"Pro"},"skus":{"G1_TIER1":"Pro"}}}'
    )
