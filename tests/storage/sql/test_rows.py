"""Questions about ranges -> SQL: exact text, and whose records are read (C23)."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genmeter.query import aggregation, listing
from genmeter.query.parameters import Parameters
from genmeter.query.selection import Asking
from genmeter.storage.sql import aggregates
from genmeter.storage.sql import rows as sql_rows
from genmeter.storage.sql.base import TimeSlice
from tests.storage.sql.test_stats import literals

NOW = 1_770_984_000_000  # 2026-02-13T12:00:00.000Z
ME = Asking(account="acme", any_account=False, now_ms=NOW, most_days=400, cursor_key=b"k")
ADMIN = Asking(account="ops", any_account=True, now_ms=NOW, most_days=400, cursor_key=b"k")


def analysed(
    given: dict[str, Any] | None = None, asking: Asking = ME
) -> aggregation.AggregateQuery:
    parameters = Parameters(
        {k: v if isinstance(v, list) else [v] for k, v in (given or {}).items()}
    )
    found = aggregation.parse(parameters, asking, most_groups=10_000)
    parameters.end()
    return found


def figures(wanted: aggregation.AggregateQuery, *sums: str, **more: Any) -> str:
    percentiles = [name for name in sums if name[0] == "p" and name[1].isdigit()]
    counted = [name for name in sums if name not in percentiles]
    chosen = wanted.selection
    whole = TimeSlice(start_ms=chosen.start_ms, end_ms=chosen.end_ms, deduplicated=False)
    return aggregates.statement(wanted, counted, percentiles, [whole], most=11, **more)


DAY = "neg_ms <= -1770897660000 AND neg_ms > -1770984060000"


@pytest.mark.parametrize(
    ("given", "condition"),
    [
        ({"code": ["2xx", "429"]}, "(code IN (429) OR code >= 200 AND code < 300)"),
        ({"code!": ["5xx"]}, "NOT (code >= 500 AND code < 600)"),
        ({"model": ["a", "b*"]}, "(model IN ('a') OR startsWith(model, 'b'))"),
        ({"model!": ["(empty)"]}, "NOT (model IN (''))"),
        ({"captchaRetry": ["(empty)", "0"]}, "ifNull(toInt32(captcha_retry), -1) IN (-1, 0)"),
        (
            {"captchaProvider": ["a.b", "c*", "d, e", " f*"]},
            "(match(captcha_providers, '(^|,) *a\\\\.b *(,|$)') OR 0 "
            "OR match(captcha_providers, '(^|,) *c') OR 0)",
        ),
        (
            {"captchaProvider!": ["(empty)", "g *"]},
            "NOT (NOT match(captcha_providers, '[^ ,]') "
            "OR match(captcha_providers, '(^|,) *g\\\\  *[^ ,]'))",
        ),
        ({"min_msec": "5", "max_msec": "7"}, "msec >= 5 AND msec <= 7"),
        ({"bot": ["kling"]}, "bot IN ('kling')"),
        ({"config": ["o'b\\\\"]}, "config IN ('o\\'b\\\\')"),
    ],
)
def test_conditions(given: dict[str, Any], condition: str) -> None:
    text = figures(analysed(given), "jobs")
    assert text.partition(" WHERE ")[2] == f"{DAY} AND (account = 'acme' AND {condition})"


def test_an_admin_may_ask_about_several_accounts() -> None:
    def where(**given: Any) -> str:
        return figures(analysed(given, ADMIN), "jobs").partition(f"{DAY} AND ")[2][1:-1]

    assert where() == "account = 'ops'"
    assert where(account="acme") == "account = 'acme'"
    assert where(account=["acme", "b-*"]) == ("(account IN ('acme') OR startsWith(account, 'b-'))")
    assert where(account="*") == "startsWith(account, '')"
    assert where(**{"account!": "acme"}) == "NOT (account IN ('acme'))"


def test_rows_go_on_after_a_place() -> None:
    parameters = Parameters({"limit": ["2"]})
    first = listing.parse(parameters, ME)
    place = listing.RowPosition(neg_ms=-9, jobid="j'1", bot="kling", account="acme")
    again = Parameters({"limit": ["2"], "cursor": [first.cursor(place)]})
    wanted = listing.parse(again, ME)
    newest = sql_rows.part(wanted, bound=-5)
    assert (newest.start_ms, newest.end_ms) == (wanted.selection.start_ms, 10)
    whole = TimeSlice(start_ms=1, end_ms=10, deduplicated=True)
    text = sql_rows.rows(wanted, "tsv", [whole], most=3)
    assert text.partition(" FROM ")[2] == (
        "records WHERE neg_ms <= -1 AND neg_ms > -10 AND (account = 'acme' "
        "AND (neg_ms > -9 OR jobid < 'j\\'1' OR jobid = 'j\\'1' "
        "AND (bot > 'kling' OR bot = 'kling' AND account > 'acme'))) "
        "ORDER BY neg_ms, jobid DESC, concat(bot, '\\x01', account), line LIMIT 3"
    )


@given(
    st.dictionaries(
        st.sampled_from(["config", "model!", "status", "jobid", "captchaProvider", "tier!"]),
        st.lists(st.text(max_size=8), min_size=1, max_size=3),
        min_size=1,
    )
)
def test_c23_no_value_leaves_its_quotes(given: dict[str, list[str]]) -> None:
    wanted = analysed({name: values for name, values in given.items() if any(values)})
    text, values = literals(figures(wanted, "jobs"))
    assert text.partition(" WHERE ")[2].startswith(f"{DAY} AND (account = ?")
    assert values[0] == "acme"
    rest = re.sub(r"\?|[a-zA-Z_0-9<>=!,.()\[\] -]", "", text)
    assert rest == ""


def test_arrivals_go_on_behind_a_record_of_some_accounts_or_of_all() -> None:
    number = (
        "reinterpretAsUInt64(substring(MD5(concat("
        "account, '\\t', bot, '\\t', toString(neg_ms), '\\t', jobid)), 1, 8))"
    )
    asked: dict[str, Any] = {"oldest_ms": 5, "after": (7, 8), "version": 9, "limit": 10}
    statement = sql_rows.arrivals(["b", "a'"], **asked)
    assert statement.startswith(f"SELECT version, {number} AS number, account, bot, concat(")
    assert statement.endswith(
        " FROM records WHERE account IN ('a\\'', 'b') "
        f"AND neg_ms <= -5 AND version >= 7 AND version <= 9 AND (version > 7 OR {number} > 8) "
        "ORDER BY version, number LIMIT 10"
    )
    of_all = sql_rows.arrivals(None, **asked)
    assert of_all == statement.replace("account IN ('a\\'', 'b') AND ", "")
