"""C7 to C18: the keys, the rows and the summary."""

from itertools import pairwise
from typing import Any

import pytest

from genmeter.clock import DAY_MS
from genmeter.model.bots import ELEVEN
from tests.support import NOON_MS, TODAY, Client, job

WITH_MODEL = {"google-flow", "dreamina", "kling", "minimax", "pixverse", "luma"}
PLAIN = ["timestamp", "jobid", "config", "endpoint", "status", "func", "code", "msec"]
CAPTCHA = ["captchaProviders", "captchaRetry", "tier", "sku"]


def shown(bot: str) -> list[str]:
    """The keys of a row of ``bot`` that has all of them."""
    return (
        PLAIN + (["model"] if bot in WITH_MODEL else []) + (CAPTCHA if bot == "google-flow" else [])
    )


def summary(client: Client, *jobs: dict[str, Any], bot: str = "google-flow") -> dict[str, Any]:
    """The summary of these records alone."""
    client.record(*jobs)
    answer: dict[str, Any] = client.stats(bot=bot)["summary"]
    return answer


def test_c7_keys_come_in_order(client: Client) -> None:
    client.record(job())
    by_date = client.stats(bot="google-flow")
    assert list(by_date) == ["bot", "date", "total", "summary", "data"]
    by_limit = client.stats(bot="google-flow", limit=1, config="ops@example.com")
    assert list(by_limit) == ["bot", "limit", "config", "total", "summary", "data"]


def test_c8_newest_first_then_by_jobid_descending(client: Client) -> None:
    moments = [NOON_MS + n // 3 for n in range(30)]
    jobs = [job(ms, jobid=f"{'abc'[n % 3]}{n % 7}") for n, ms in enumerate(moments)]
    for one in sorted(jobs, key=lambda j: str(j["jobid"])):
        client.record(one)
    data = client.stats(bot="google-flow")["data"]
    keys = [(row["timestamp"], row["jobid"]) for row in data]
    assert keys == sorted(keys, reverse=True)
    assert len(set(keys)) == 30
    limited = client.stats(bot="google-flow", limit=10)["data"]
    assert limited == data[:10]


def test_c8_total_is_the_number_of_rows_and_a_day_is_never_cut(client: Client) -> None:
    count = 60_000
    lines = [
        b'{"bot":"kling","config":"c","endpoint":"e","code":200,"msec":1,'
        b'"timestamp":%d,"jobid":"j%d"}' % (NOON_MS - n, n)
        for n in range(count)
    ]
    for half in (lines[: count // 2], lines[count // 2 :]):
        sent = client.send(b"\n".join(half), Content_Type="application/x-ndjson")
        assert sent.json()["accepted"] == count // 2
    answer = client.stats(bot="kling", date=TODAY)
    assert answer["total"] == len(answer["data"]) == count
    assert {row["jobid"] for row in answer["data"]} == {f"j{n}" for n in range(count)}
    stamps = [row["timestamp"] for row in answer["data"]]
    assert all(newer >= older for newer, older in pairwise(stamps))


def test_c9_no_rows_no_summary(client: Client) -> None:
    client.record(job(NOON_MS - DAY_MS))
    text = client.ask(bot="google-flow").text
    assert text == '{"bot":"google-flow","date":"2026-02-13","total":0,"data":[]}'
    text = client.ask(bot="kling", limit=7, config="x").text
    assert text == '{"bot":"kling","limit":7,"config":"x","total":0,"data":[]}'


FULL: dict[str, Any] = {
    "model": "m",
    "captchaProviders": "CapSolver",
    "captchaRetry": 0,
    "tier": "PAYGATE_TIER_ONE",
    "sku": "G1_TIER1",
    "func": "f",
    "status": "done",
}


@pytest.mark.parametrize("bot", ELEVEN.names)
def test_c10_a_row_has_the_keys_of_its_bot_in_order(client: Client, bot: str) -> None:
    client.record(job(bot=bot, jobid="full", **FULL))
    row = client.stats(bot=bot)["data"][0]
    assert list(row) == shown(bot)
    expected = job(bot=bot, jobid="full", **FULL)
    assert row == {key: expected[key] for key in shown(bot)}


@pytest.mark.parametrize("bot", ELEVEN.names)
def test_c10_optional_texts_are_there_and_a_missing_retry_is_not(client: Client, bot: str) -> None:
    client.record(job(bot=bot))
    row = client.stats(bot=bot)["data"][0]
    assert list(row) == [key for key in shown(bot) if key != "captchaRetry"]
    texts = ["func", *(key for key in shown(bot)[8:] if key != "captchaRetry")]
    assert [row[key] for key in texts] == [""] * len(texts)


def test_c10_timestamps_have_milliseconds_and_z(client: Client) -> None:
    client.record(job(NOON_MS), job(NOON_MS + 7), job(NOON_MS + 70), job(NOON_MS + 999))
    stamps = [row["timestamp"][-9:] for row in client.stats(bot="google-flow")["data"]]
    assert stamps == ["0:00.999Z", "0:00.070Z", "0:00.007Z", "0:00.000Z"]


def test_c10_texts_come_back_as_they_were_sent(client: Client) -> None:
    odd = [
        '"',
        "\\",
        '\\"',
        "a/b",
        "</script>",
        "é ü 日本 🎬",
        "'",
        "#",
        "{}",
        "\u2028",
        "%s",
        "null",
    ]
    client.record(*(job(jobid=f"j{n:02d}", model=text, func=text) for n, text in enumerate(odd)))
    data = client.stats(bot="google-flow")["data"]
    assert [row["model"] for row in reversed(data)] == odd
    assert [row["func"] for row in reversed(data)] == odd


def test_c11_summary_keys_come_in_order(client: Client) -> None:
    base = ["from", "to", "time_span", "by_config", "by_code", "by_endpoint", "by_status",
            "success_rate", "avg_msec"]  # fmt: skip
    captcha = ["by_captcha_provider", "avg_captcha_retry", "by_tier", "by_sku", "lookup"]
    for bot in ELEVEN.names:
        extra = (["by_model"] if bot in WITH_MODEL else []) + (
            captcha if bot == "google-flow" else []
        )
        assert list(summary(client, job(bot=bot, **FULL), bot=bot)) == base + extra


def test_c11_from_and_to_are_those_of_the_rows(client: Client) -> None:
    client.record(*(job(NOON_MS + n * 1000) for n in (5, 0, 9)))
    whole = client.stats(bot="google-flow")["summary"]
    assert whole["from"] == "2026-02-13T12:00:00.000Z"
    assert whole["to"] == "2026-02-13T12:00:09.000Z"
    last = client.stats(bot="google-flow", limit=2)["summary"]
    assert last["from"] == "2026-02-13T12:00:05.000Z"


@pytest.mark.parametrize(
    ("good", "bad", "rate"),
    [(1344, 1058, "56.0%"), (3, 0, "100.0%"), (0, 3, "0.0%"), (1, 2, "33.3%"), (2, 1, "66.7%"),
     (1, 7, "12.5%"), (1, 1999, "0.1%"), (1, 2000, "0.0%"), (1999, 1, "100.0%")],
)  # fmt: skip
def test_c12_success_rate_has_one_decimal_half_up(
    client: Client, good: int, bad: int, rate: str
) -> None:
    codes = [299] * (good // 2) + [200] * (good - good // 2) + [199, 300, 0, 596][:bad]
    codes += [500] * max(0, bad - 4)
    assert summary(client, *(job(code=code) for code in codes))["success_rate"] == rate


@pytest.mark.parametrize(
    ("msecs", "mean"),
    [([1], 1), ([1, 2], 2), ([1, 1, 2], 1), ([0, 0, 1], 0), ([2**32 - 1, 2**32 - 2], 2**32 - 1)],
)
def test_c13_avg_msec_is_over_all_rows_half_up(client: Client, msecs: list[int], mean: int) -> None:
    jobs = [job(msec=msec, code=(200, 500)[n % 2]) for n, msec in enumerate(msecs)]
    average = summary(client, *jobs)["avg_msec"]
    assert (average, type(average)) == (mean, int)


def test_c14_codes_ascend_and_the_rest_is_by_count_then_key(client: Client) -> None:
    codes = [596, 0, 200, 1000 - 1, 42, 200]
    configs = ["b", "a", "c", "c", "é", "Z"]
    answer = summary(client, *(job(code=n, config=c) for n, c in zip(codes, configs, strict=True)))
    assert list(answer["by_code"].items()) == [
        ("0", 1), ("42", 1), ("200", 2), ("596", 1), ("999", 1),
    ]  # fmt: skip
    assert list(answer["by_config"].items()) == [
        ("c", 2), ("Z", 1), ("a", 1), ("b", 1), ("é", 1),
    ]  # fmt: skip
    assert list(answer["by_status"].items()) == [
        ("OK", 2), ("Unknown", 2), ("Account Error", 1), ("NetworkError", 1),
    ]  # fmt: skip


@pytest.mark.parametrize("bot", sorted(WITH_MODEL))
def test_c15_by_model_leaves_rows_without_one_out(client: Client, bot: str) -> None:
    models = ["x", "y", "", "y", None]
    answer = summary(client, *(job(bot=bot, model=model) for model in models), bot=bot)
    assert answer["by_model"] == {"y": 2, "x": 1}


def test_c16_captcha_providers_are_counted_each_time(client: Client) -> None:
    tries = ["CapSolver, 2Captcha ,CapSolver", " CapSolver", "", ",,", "2Captcha,,", "EzCaptcha"]
    answer = summary(client, *(job(captchaProviders=text) for text in tries))
    assert list(answer["by_captcha_provider"].items()) == [
        ("CapSolver", 3),
        ("2Captcha", 2),
        ("EzCaptcha", 1),
    ]


@pytest.mark.parametrize(
    ("retries", "shown_as"),
    [([2] * 49 + [3], "2"), ([2] * 11 + [3] * 9, "2.5"), ([2] * 56 + [3] * 44, "2.4"),
     ([0], "0"), ([1, None, 2], "1.5"), ([0, 0, 1], "0.3"), ([65_535], "65535")],
)  # fmt: skip
def test_c16_avg_captcha_retry_is_a_number_with_one_decimal(
    client: Client, retries: list[int | None], shown_as: str
) -> None:
    client.record(*(job(captchaRetry=retry) for retry in retries))
    assert f'"avg_captcha_retry":{shown_as},' in client.ask(bot="google-flow").text


def test_c16_avg_captcha_retry_is_left_out_where_no_row_has_one(client: Client) -> None:
    answer = summary(client, job(), job(captchaProviders="CapSolver"))
    assert "avg_captcha_retry" not in answer
    assert answer["by_captcha_provider"] == {"CapSolver": 1}


def test_c17_tiers_and_skus_count_every_row_and_have_labels(client: Client) -> None:
    pairs = [
        ("PAYGATE_TIER_TWO", "WS_ULTRA"), ("PAYGATE_TIER_TWO", "G1_TIER2"), ("", ""),
        ("PAYGATE_TIER_TIER1P5", "G1_TIER1P5"), ("PAYGATE_TIER_NINE", "NEW_SKU"),
        ("PAYGATE_TIER_ONE", "G1_TIER1"), ("PAYGATE_TIER_NOT_PAID", "G1_FREEMIUM"),
        ("PAYGATE_TIER_NOT_PAID", "WS_FREEMIUM"), ("", "G1_TIER2"),
    ]  # fmt: skip
    answer = summary(client, *(job(tier=tier, sku=sku) for tier, sku in pairs))
    assert sum(answer["by_tier"].values()) == sum(answer["by_sku"].values()) == len(pairs)
    assert answer["by_tier"]["(empty)"] == 2
    assert answer["by_sku"]["(empty)"] == 1
    assert answer["lookup"]["tiers"] == {
        "PAYGATE_TIER_TWO": "Ultra $199",
        "PAYGATE_TIER_TIER1P5": "Ultra $99",
        "PAYGATE_TIER_ONE": "Pro",
        "PAYGATE_TIER_NOT_PAID": "Free",
        "PAYGATE_TIER_NINE": "PAYGATE_TIER_NINE",
        "(empty)": "(empty)",
    }
    assert answer["lookup"]["skus"] == {
        "WS_ULTRA": "Workspace Ultra",
        "WS_FREEMIUM": "Workspace Free",
        "G1_TIER2": "Ultra $199",
        "G1_TIER1P5": "Ultra $99",
        "G1_TIER1": "Pro",
        "G1_FREEMIUM": "Free",
        "NEW_SKU": "NEW_SKU",
        "(empty)": "(empty)",
    }


SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000


@pytest.mark.parametrize(
    ("span_ms", "text"),
    [
        (0, "0 seconds"), (999, "0 seconds"), (SECOND, "1 second"), (35_999, "35 seconds"),
        (MINUTE - 1, "59 seconds"), (MINUTE, "1 minute"), (42 * MINUTE + 59_000, "42 minutes"),
        (HOUR - 1, "59 minutes"), (HOUR, "1 hour"), (3 * HOUR + 59_999, "3 hours"),
        (HOUR + MINUTE, "1 hour 1 minute"), (23 * HOUR + 58 * MINUTE, "23 hours 58 minutes"),
        (DAY_MS, "1 day"), (2 * DAY_MS + 59 * MINUTE, "2 days"),
        (2 * DAY_MS + 5 * HOUR + 30 * MINUTE, "2 days 5 hours"), (DAY_MS + HOUR, "1 day 1 hour"),
        (60 * DAY_MS + 23 * HOUR, "60 days 23 hours"),
    ],
)  # fmt: skip
def test_c18_time_span_is_in_its_two_largest_units(client: Client, span_ms: int, text: str) -> None:
    client.record(job(NOON_MS), job(NOON_MS - span_ms))
    answer = client.stats(bot="google-flow", limit=2)["summary"]
    assert answer["time_span"] == text


def test_c18_one_row_spans_nothing(client: Client) -> None:
    assert summary(client, job())["time_span"] == "0 seconds"
