"""The reference itself, against what was worked out by hand."""

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.reference import figures, rows, times
from tests.reference.question import literal, matches, understand
from tests.reference.records import Row, stored, to_ms

BERLIN = ZoneInfo("Europe/Berlin")
UTC = ZoneInfo("UTC")
NOW = to_ms("2026-02-13T12:00:00Z")
Given = dict[str, Any]


def sent(timestamp: str, msec: int = 0, code: int = 200, **more: Any) -> dict[str, Any]:
    """A record of the account ``a``, named after its time."""
    return {
        "account": "a", "bot": "luma", "timestamp": timestamp, "jobid": timestamp,
        "config": "c", "endpoint": "e", "code": code, "msec": msec,
    } | more  # fmt: skip


def answered(records: list[dict[str, Any]], **given: Any) -> dict[str, Any]:
    """What is answered to the account ``a``."""
    return figures.answer(stored(records), understand(given, account="a", now=NOW))


def total(records: list[dict[str, Any]], *metrics: str, **given: Any) -> list[Any]:
    """The values of metrics over all records."""
    whole = answered(records, metrics=list(metrics), **given)["total"]
    assert list(whole) == list(metrics)
    return list(whole.values())


@pytest.mark.parametrize(
    ("zone", "day", "first", "hours", "last"),
    [
        ("UTC", "2026-03-29", "2026-03-29T00:00:00.000Z", 24, "2026-03-29T23:00:00.000Z"),
        ("Europe/Berlin", "2026-03-29", "2026-03-29T00:00:00.000+01:00", 23,
         "2026-03-29T23:00:00.000+02:00"),
        ("Europe/Berlin", "2026-10-25", "2026-10-25T00:00:00.000+02:00", 25,
         "2026-10-25T23:00:00.000+01:00"),
        ("America/Havana", "2026-03-08", "2026-03-08T01:00:00.000-04:00", 23,
         "2026-03-08T23:00:00.000-04:00"),
        ("America/Santiago", "2026-04-04", "2026-04-04T00:00:00.000-03:00", 25,
         "2026-04-04T23:00:00.000-04:00"),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-05T00:00:00.000+11:00", 25,
         "2026-04-05T23:30:00.000+10:30"),  # 24 and a half
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-04T00:00:00.000+10:30", 24,
         "2026-10-04T23:30:00.000+11:00"),  # 23 and a half
        ("Asia/Kolkata", "2026-03-29", "2026-03-29T00:00:00.000+05:30", 24,
         "2026-03-29T23:00:00.000+05:30"),
    ],
)  # fmt: skip
def test_a_day_has_as_many_hours_as_go_by(
    zone: str, day: str, first: str, hours: int, last: str
) -> None:
    place = ZoneInfo(zone)
    start = times.midnight(times.local(to_ms(f"{day}T12:00:00Z"), place).date(), place)
    assert times.iso(start, place) == first
    assert times.is_midnight(start, place)
    assert not times.is_midnight(start + 1, place)
    end = times.buckets("1d", start, start + 1, place)[0][1]
    made = times.buckets("1h", start, end, place)
    assert len(made) == hours
    assert times.iso(made[-1][0], place) == last
    assert made[-1][1] == end


def test_a_day_that_was_skipped_has_no_bucket() -> None:
    apia = ZoneInfo("Pacific/Apia")
    start, end = to_ms("2011-12-29T00:00:00-10:00"), to_ms("2012-01-01T00:00:00+14:00")
    made = [times.iso(begin, apia) for begin, _ in times.buckets("1d", start, end, apia)]
    assert made == ["2011-12-29T00:00:00.000-10:00", "2011-12-31T00:00:00.000+14:00"]


def test_buckets_begin_before_the_range_and_at_mondays_and_firsts() -> None:
    start, end = to_ms("2026-03-27T10:07:00+01:00"), to_ms("2026-04-01T00:00:00.001+02:00")

    def begins(interval: str) -> list[str]:
        made = times.buckets(interval, start, end, BERLIN)
        return [times.iso(begin, BERLIN)[:16] for begin, _ in made]

    assert begins("1d") == [f"2026-03-{day}T00:00" for day in range(27, 32)] + ["2026-04-01T00:00"]
    assert begins("1w") == ["2026-03-23T00:00", "2026-03-30T00:00"]
    assert begins("1mo") == ["2026-03-01T00:00", "2026-04-01T00:00"]
    assert begins("15m")[:2] == ["2026-03-27T10:00", "2026-03-27T10:15"]
    assert begins("1h")[-2:] == ["2026-03-31T23:00", "2026-04-01T00:00"]


@pytest.mark.parametrize(
    ("minutes", "interval"),
    [(1, "1m"), (200, "1m"), (201, "5m"), (1000, "5m"), (1001, "15m"), (3000, "15m"),
     (3001, "1h"), (12_000, "1h"), (12_001, "1d"), (200 * 1440, "1d"), (200 * 1440 + 1, "1w")],
)  # fmt: skip
def test_auto_is_the_shortest_with_at_most_200_buckets(minutes: int, interval: str) -> None:
    start = to_ms("2026-01-05T00:00:00Z")
    assert times.automatic(start, start + minutes * 60_000, UTC) == interval


@pytest.mark.parametrize(
    ("start", "end", "before"),
    [
        ("2026-03-01T00:00:00.000+01:00", "2026-04-01T00:00:00.000+02:00",
         "2026-02-01T00:00:00.000+01:00"),
        ("2026-01-01T00:00:00.000+01:00", "2026-03-01T00:00:00.000+01:00",
         "2025-11-01T00:00:00.000+01:00"),
        ("2026-03-30T00:00:00.000+02:00", "2026-03-31T00:00:00.000+02:00",
         "2026-03-29T00:00:00.000+01:00"),  # of 23 hours
        ("2026-03-30T00:00:00.000+02:00", "2026-03-31T00:00:00.001+02:00",
         "2026-03-28T22:59:59.999+01:00"),
    ],
)  # fmt: skip
def test_the_period_before(start: str, end: str, before: str) -> None:
    assert times.iso(times.previous(to_ms(start), to_ms(end), BERLIN), BERLIN) == before


def test_what_is_sent_again_replaces_what_was_sent() -> None:
    one = sent("2026-02-13T10:00:00Z", 1, model="m", captchaRetry=3)
    again = sent("2026-02-13T11:00:00+01:00", 2, jobid=one["jobid"], code=404)
    (row,) = stored([one, sent("2026-02-13T10:00:00Z", 9, account="b"), again])[:1]
    assert (row["msec"], row["status"], row["model"], row["captchaRetry"]) == (
        2, "Not Found", "", None,
    )  # fmt: skip
    assert total([one, again], "jobs", "success") == [1, 0]


def test_codes_are_counted() -> None:
    codes = [0, 200, 201, 299, 301, 400, 403, 404, 429, 429, 499, 500, 524, 596, 599, 700]
    records = [sent(f"2026-02-13T10:00:{n:02}Z", code=code) for n, code in enumerate(codes)]
    assert total(
        records, "jobs", "success", "client_errors", "throttled", "provider_errors",
        "success_rate", "service_rate",
    ) == [16, 3, 4, 2, 5, 18.8, 25.0]  # fmt: skip
    assert total(records[5:7], "success_rate", "service_rate") == [0.0, None]


def test_means_and_percentiles() -> None:
    spent = [50, 10, 30, 30, 20, 41, 60, 70, 80, 90]
    records = [sent(f"2026-02-13T10:00:{n:02}Z", msec) for n, msec in enumerate(spent)]
    for n in range(3):
        records[n]["captchaRetry"] = n + n // 2  # 0, 1, 3
    records[0]["captchaProviders"] = "A, B ,,A"
    assert total(
        records, "avg_msec", "min_msec", "max_msec", "p0.01", "p50", "p90", "p99.99",
        "captcha_attempts", "avg_captcha_retry", "first", "last",
    ) == [
        48, 10, 90, 10, 50, 90, 90, 3, 1.3, "2026-02-13T10:00:00.000Z", "2026-02-13T10:00:09.000Z",
    ]  # fmt: skip
    assert total(records[:2], "avg_msec", "p49.99", "p50", timezone="UTC") == [30, 10, 50]
    assert total([], "jobs", "captcha_attempts", "avg_msec", "p50", "first", "success_rate") == [
        0, 0, None, None, None, None,
    ]  # fmt: skip


RECORDS = [
    sent("2026-02-10T23:59:59.999Z", 5, model="x"),
    sent("2026-02-11T00:00:00Z", 10, model="a", captchaProviders="P,Q,P"),
    sent("2026-02-11T00:00:00.001Z", 20, model="a"),
    sent("2026-02-11T12:00:00Z", 30, code=500, captchaProviders="Q"),
    sent("2026-02-12T00:00:00Z", 40, model="b"),
    sent("2026-02-12T00:00:01Z", 41, model="c"),
    sent("2026-02-13T00:00:00Z", 50, model="a"),
]
TWO_DAYS: Given = {"from": "2026-02-11", "to": "2026-02-13"}


def test_groups_and_buckets() -> None:
    found = answered(RECORDS, **TWO_DAYS, metrics="jobs", group_by="model", interval="1d")
    days = [f"2026-02-{day}T00:00:00.000Z" for day in (11, 12)]
    assert found["total"] == {"jobs": 5}
    assert found["groups"] == [
        {"start": days[0], "model": "a", "jobs": 2},
        {"start": days[0], "model": "", "jobs": 1},
        {"start": days[0], "model": "b", "jobs": 0},
        {"start": days[0], "model": "c", "jobs": 0},
        {"start": days[1], "model": "b", "jobs": 1},
        {"start": days[1], "model": "c", "jobs": 1},
        {"start": days[1], "model": "", "jobs": 0},
        {"start": days[1], "model": "a", "jobs": 0},
    ]
    assert answered([], **TWO_DAYS, metrics="jobs", interval="1d")["groups"] == [
        {"start": days[0], "jobs": 0}, {"start": days[1], "jobs": 0},
    ]  # fmt: skip
    assert answered([], **TWO_DAYS, group_by="model", interval="1d")["groups"] == []


def test_the_first_groups_and_the_others() -> None:
    found = answered(RECORDS, **TWO_DAYS, metrics=["jobs", "max_msec"], group_by="model", top=2)
    assert found["groups"] == [
        {"model": "a", "jobs": 2, "max_msec": 20},
        {"model": None, "other": True, "jobs": 2, "max_msec": 41},
        {"model": "", "jobs": 1, "max_msec": 30},
    ]
    found = answered(
        RECORDS, **TWO_DAYS, metrics=["jobs", "max_msec"], group_by="model", top=1,
        order=["model", "-max_msec"], compare="previous",
    )  # fmt: skip
    assert found["groups"] == [
        {"model": "c", "jobs": 1, "max_msec": 41},
        {"model": None, "other": True, "jobs": 4, "max_msec": 40},
    ]
    assert found["previous"] == {
        "from": "2026-02-09T00:00:00.000Z",
        "to": "2026-02-11T00:00:00.000Z",
        "total": {"jobs": 1, "max_msec": 5},
        "groups": [{"model": None, "other": True, "jobs": 1, "max_msec": 5}],
    }


def test_groups_by_captcha_provider() -> None:
    found = answered(
        RECORDS, **TWO_DAYS, metrics=["jobs", "captcha_attempts"], group_by="captchaProvider"
    )
    assert found["total"] == {"jobs": 5, "captcha_attempts": 4}
    assert found["groups"] == [
        {"captchaProvider": "", "jobs": 3, "captcha_attempts": 0},
        {"captchaProvider": "Q", "jobs": 2, "captcha_attempts": 2},
        {"captchaProvider": "P", "jobs": 1, "captcha_attempts": 2},
    ]


def test_null_is_last_in_either_order() -> None:
    retries = [None, 3, 0]
    records = [
        sent(f"2026-02-13T10:00:0{n}Z", captchaRetry=retry) for n, retry in enumerate(retries)
    ]
    for order, expected in (("captchaRetry", [0, 3, None]), ("-captchaRetry", [3, 0, None])):
        groups = answered(records, group_by="captchaRetry", order=order)["groups"]
        assert [line["captchaRetry"] for line in groups] == expected


@pytest.mark.parametrize(
    ("given", "count"),
    [
        ({"model": "a"}, 2), ({"model": ["a", "c"]}, 3), ({"model": "(empty)"}, 1),
        ({"model!": "a"}, 3), ({"model!": ["(empty)", "b"]}, 3), ({"code": "5xx"}, 1),
        ({"code": 200}, 4), ({"captchaProvider": "Q"}, 2), ({"captchaProvider!": "P"}, 4),
        ({"captchaProvider": "(empty)"}, 3), ({"captchaRetry": "(empty)"}, 5),
        ({"captchaRetry": 0}, 0), ({"min_msec": 20, "max_msec": 40}, 3), ({"bot": "kling"}, 0),
        ({"bot!": "kling"}, 5), ({"model": "a", "max_msec": 10}, 1), ({"jobid": "2026-02-11*"}, 3),
    ],
)  # fmt: skip
def test_filters(given: Given, count: int) -> None:
    assert total(RECORDS, "jobs", **TWO_DAYS, **given) == [count]


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("veo", ["veo"], ["veo-3", "", "Veo"]),
        ("veo*", ["veo", "veo-3"], ["ve", ""]),
        ("veo\\*", ["veo*"], ["veo", "veo-3", "veo\\*"]),
        ("a*b", ["a*b"], ["ab", "axb"]),
        ("*", ["", "x"], []),
        ("(empty)", [""], ["(empty)"]),
        ("\\(empty)", ["(empty)"], [""]),
        ("a\\\\*", ["a\\", "a\\b"], ["a", "a*"]),
        ("a,b", ["a,b"], ["a", "b"]),
    ],
)
def test_patterns(pattern: str, matching: list[str], others: list[str]) -> None:
    assert [text for text in matching + others if matches(pattern, text)] == matching
    for text in matching + others:
        assert text == "" or matches(literal(text), text)


def test_rows_in_both_orders() -> None:
    moment = "2026-02-13T10:00:00.000Z"
    records = [
        sent("2026-02-13T11:00:00+01:00", jobid="1"),
        sent(moment, jobid="2", account="b"),
        sent(moment, jobid="2"),
        sent(moment, jobid="2", bot="kling", account="b"),
        sent("2026-02-13T10:00:00.001Z", jobid="0"),
    ]

    def shown(**given: Any) -> list[tuple[Any, ...]]:
        asked = understand({"account": ["a", "b"]} | given, account="a", now=NOW)
        data = rows.answer(stored(records), asked)["data"]
        return [(row["jobid"], row["bot"], row["account"]) for row in data]

    expected = [("0", "luma", "a"), ("2", "kling", "b"), ("2", "luma", "a"), ("2", "luma", "b"),
                ("1", "luma", "a")]  # fmt: skip
    assert shown() == expected
    assert shown(order="oldest") == expected[::-1]


def test_a_row_has_its_fields_in_order() -> None:
    def row(**given: Any) -> Row:
        asked = understand(given, account="a", now=NOW)
        (line,) = rows.answer(stored([sent("2026-02-13T10:00:00Z", 7)]), asked)["data"]
        return dict(line)

    assert list(row(account="a*").items()) == [
        ("timestamp", "2026-02-13T10:00:00.000Z"), ("account", "a"), ("bot", "luma"),
        ("jobid", "2026-02-13T10:00:00Z"), ("config", "c"), ("endpoint", "e"), ("status", "OK"),
        ("func", ""), ("code", 200), ("msec", 7), ("model", ""), ("captchaProviders", ""),
        ("captchaRetry", None), ("tier", ""), ("sku", ""),
    ]  # fmt: skip
    assert "account" not in row() | row(account="a")
    assert row(timezone="Europe/Berlin")["timestamp"] == "2026-02-13T10:00:00.000Z"


def test_ranges() -> None:
    def bounds(given: Given, now: int = NOW) -> list[str]:
        asked = understand(given, account="a", now=now)
        return [times.iso(asked.start, asked.zone), times.iso(asked.end, asked.zone)]

    assert bounds({}) == ["2026-02-12T12:01:00.000Z", "2026-02-13T12:01:00.000Z"]
    assert bounds({"last": "90m"}, NOW + 59_999) == [
        "2026-02-13T10:31:00.000Z", "2026-02-13T12:01:00.000Z",
    ]  # fmt: skip
    assert bounds({"from": "2026-02-01", "timezone": "Asia/Kolkata"}) == [
        "2026-02-01T00:00:00.000+05:30", "2026-02-13T17:31:00.000+05:30",
    ]  # fmt: skip
    assert bounds({"from": 0, "to": "1970-01-02T00:00:00+01:00"}) == [
        "1970-01-01T00:00:00.000Z", "1970-01-01T23:00:00.000Z",
    ]  # fmt: skip
