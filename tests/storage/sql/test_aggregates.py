"""Figures of ranges -> SQL: exact text."""

import msgspec

from tests.storage.sql.test_rows import DAY, analysed, figures


def test_figures_over_all() -> None:
    assert figures(analysed(), "jobs", "success", "p99.9") == (
        "SELECT count(), countIf(code >= 200 AND code < 300), "
        "quantilesExact(0.9990000000001)(msec) "
        f"FROM records FINAL WHERE {DAY} AND (account = 'acme')"
    )


def test_figures_of_groups_and_days() -> None:
    wanted = analysed(
        {
            "from": "2026-03-28",
            "to": "2026-04-01",
            "timezone": "Europe/Berlin",
            "interval": "1d",
            "group_by": "model",
        }
    )
    # The 29th is an hour shorter, and what comes later is moved by it.
    bucket = (
        "toUInt16(intDiv(-neg_ms - 1774652400000 + 3600000 * (neg_ms <= -1774821600000), 86400000))"
    )
    assert figures(wanted, "jobs") == (
        f"SELECT {bucket} AS k0, model AS k1, count() FROM records FINAL "
        "WHERE neg_ms <= -1774652400000 AND neg_ms > -1774994400000 AND (account = 'acme') "
        "GROUP BY k0, k1 WITH TOTALS LIMIT 11"
    )


def test_numbers_of_many_buckets_are_longer() -> None:
    wanted = analysed({"from": "2026-01-01", "to": "2026-02-01", "interval": "1h"})
    by_hour = "(intDiv(-neg_ms - 1767225600000, 3600000)) AS k0"
    assert figures(wanted, "jobs").startswith(f"SELECT toUInt16{by_hour}, ")
    many = msgspec.structs.replace(wanted, edges=tuple(range(0, wanted.selection.end_ms, 2**24)))
    assert figures(many, "jobs").startswith("SELECT toUInt32(")


def test_the_rest_has_one_key() -> None:
    wanted = analysed({"group_by": ["bot", "code"], "top": "1"})
    text = figures(wanted, "jobs", keep=[("kling", 429)])
    assert "if((toString(bot), toString(code)) IN (('kling', '429')), toString(bot), " in text
    assert text.count("'\\x01other'") == 2


def test_by_captcha_provider_equal_texts_are_counted_once_and_the_total_asked_apart() -> None:
    wanted = analysed({"group_by": ["model", "captchaProvider"]})
    text = figures(wanted, "jobs", "captcha_attempts", "last", "p50")
    inner = (
        "SELECT captcha_providers, model, count() AS jobs, count() AS s0, -min(neg_ms) AS s2, "
        "quantilesExactState(0.5000000000001)(msec) AS took FROM records FINAL "
        f"WHERE {DAY} AND (account = 'acme') GROUP BY captcha_providers, model"
    )
    assert text.startswith(
        "SELECT model AS k0, provider AS k1, sum(s0), sum(attempts * jobs), max(s2), "
        "quantilesExactMerge(0.5000000000001)(took) FROM (SELECT *, arrayFilter("
    )
    assert "arrayJoin(if(empty(names), [''], arrayDistinct(names))) AS provider" in text
    assert text.endswith(f" FROM ({inner})) GROUP BY k0, k1 LIMIT 11")
    assert "arrayJoin" not in figures(wanted, "jobs", grouped=False)
