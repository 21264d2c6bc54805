"""Figures and rows over HTTP, on every engine, against a reference that is slow and obvious."""

import csv
import hashlib
import io
import itertools
import json
from collections import Counter
from datetime import datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import httpx2
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.asking import (
    BOTS,
    CODES,
    DAY,
    DIMENSIONS,
    EDGES,
    METRICS,
    NOW_MS,
    ZONES,
    Maker,
    few,
    figure_questions,
    row_questions,
)
from tests.reference import times
from tests.reference.question import Given
from tests.world import ACCOUNTS, QUERY, ROWS, Answer, Asker, World

pytestmark = pytest.mark.engines("embedded", "server", "cluster")

UTC: Final = ZoneInfo("UTC")
ALL_TIME: Final[Given] = {"from": NOW_MS - 90 * DAY, "to": NOW_MS + DAY}
FLAT: Final = ("ndjson", "csv", "parquet", "arrow")
_numbers = itertools.count(1)


@few(25)
@given(question=figure_questions(ACCOUNTS))
def test_figures_of_any_accounts(asked: World, admin: Asker, question: Given) -> None:
    asked.check_figures(admin, question)


@few(12)
@given(question=figure_questions(()))
def test_figures_of_ones_own(asked: World, reader: Asker, question: Given) -> None:
    asked.check_figures(reader, question)


@few(15)
@given(question=row_questions(ACCOUNTS))
def test_rows_of_any_accounts(asked: World, admin: Asker, question: Given) -> None:
    asked.check_rows(admin, question)


@few(8)
@given(question=row_questions(()))
def test_rows_of_ones_own(asked: World, reader: Asker, question: Given) -> None:
    asked.check_rows(reader, question)


@few(4)
@given(
    seed=st.integers(0, 2**32),
    count=st.integers(1, 12),
    questions=st.lists(figure_questions(()), min_size=3, max_size=3),
)
def test_figures_of_few_records(
    asked: World, seed: int, count: int, questions: list[Given]
) -> None:
    name = f"few{next(_numbers)}"
    asker = asked.asker(name, "read", "write")
    asked.send(asker, Maker(seed, [name]).records(count), at_once=5)
    for question in questions:
        asked.check_figures(asker, question)
    asked.check_figures(asker, ALL_TIME | {"metrics": list(METRICS)})
    asked.check_rows(asker, ALL_TIME)


def test_hours_of_days_on_which_clocks_change(asked: World, admin: Asker) -> None:
    for zone, day, after in (
        ("Europe/Berlin", "2026-03-29", "2026-03-30"),
        ("America/New_York", "2026-03-08", "2026-03-09"),
        ("America/Havana", "2026-03-08", "2026-03-09"),
        ("America/Santiago", "2026-04-04", "2026-04-05"),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-06"),
        ("Africa/Casablanca", "2026-03-22", "2026-03-23"),
    ):
        question = {"account": "asks-*", "timezone": zone, "from": day, "to": after}
        for interval in ("15m", "1h"):
            answer = asked.check_figures(admin, question | {"interval": interval})
            assert answer["total"]["jobs"] > 0
        asked.check_figures(admin, question | {"interval": "1d", "compare": "previous"})


def test_every_metric_by_every_dimension(asked: World, admin: Asker) -> None:
    everything = ALL_TIME | {"account": "asks-*", "metrics": list(METRICS)}
    for name in (*DIMENSIONS, "account"):
        answer = asked.check_figures(admin, everything | {"group_by": name})
        if name != "captchaProvider":
            for metric in ("jobs", "success", "client_errors", "throttled", "provider_errors"):
                assert sum(line[metric] for line in answer["groups"]) == answer["total"][metric]
        top = asked.check_figures(admin, everything | {"group_by": [name], "top": 2})
        for metric in ("jobs", "captcha_attempts"):
            counts = [sum(line[metric] for line in one["groups"]) for one in (answer, top)]
            assert counts[0] == counts[1]


def test_what_is_sent_again_counts_once_and_as_it_was_last(asked: World) -> None:
    name = f"again{next(_numbers)}"
    asker = asked.asker(name, "read", "write")
    record = {
        "account": name, "bot": "luma", "timestamp": NOW_MS - 1, "jobid": "one", "config": "a",
        "endpoint": "a", "code": 500, "msec": 9, "model": "a", "captchaProviders": "A",
        "captchaRetry": 3, "tier": "a", "sku": "a", "func": "a", "status": "a",
    }  # fmt: skip
    plain = {"config": "b", "endpoint": "b", "code": 200, "msec": 1}
    kept = {name: record[name] for name in ("account", "bot", "timestamp", "jobid")}
    for again in (record, record | {"code": 429}, kept | plain, record | {"model": "z"}):
        asked.send(asker, [again])
        for group_by in ("model", "captchaProvider", "captchaRetry"):
            answer = asked.check_figures(asker, {"group_by": group_by, "metrics": list(METRICS)})
            assert answer["total"]["jobs"] == 1
        asked.check_rows(asker, {})


def test_records_past_retention_are_in_no_answer(asked: World) -> None:
    name = f"old{next(_numbers)}"
    asker = asked.asker(name, "read", "write")
    clock = asked.service.clock
    edge = NOW_MS - 92 * DAY
    common = {"bot": "luma", "config": "c", "endpoint": "e", "code": 200, "msec": 1}
    asker.record(*(common | {"timestamp": edge + n, "jobid": f"j{n}"} for n in range(4)))
    question: Given = {"from": edge - DAY, "to": edge + DAY}
    try:
        for gone in range(5):
            clock.ms = NOW_MS + gone
            assert asker.answer(QUERY, question)["total"]["jobs"] == 4 - gone
            by_bot = asker.answer(QUERY, question | {"group_by": "bot", "compare": "previous"})
            assert sum(line["jobs"] for line in by_bot["groups"]) == 4 - gone
            shown = [row["jobid"] for row in asker.answer(ROWS, question)["data"]]
            assert shown == [f"j{n}" for n in range(3, gone - 1, -1)]
    finally:
        clock.ms = NOW_MS


# The question as it was understood


def test_the_question_comes_back_with_its_defaults(reader: Asker) -> None:
    assert reader.answer(QUERY, {})["query"] == {
        "account": [ACCOUNTS[1]],
        "bot": ["all"],
        "from": "2026-04-11T12:01:00.000Z",
        "to": "2026-04-12T12:01:00.000Z",
        "timezone": "UTC",
        "metrics": ["jobs", "success", "client_errors", "throttled", "provider_errors",
                    "success_rate", "service_rate", "avg_msec", "p50", "p95", "p99"],
    }  # fmt: skip
    question = {
        "timezone": "Europe/Berlin", "from": "2026-03-29", "to": "2026-03-30", "bot": "kling",
        "bot!": "luma", "model": ["veo-*", "\\*", "(empty)", "\\(empty)", "a,b"],
        "code!": [404, "5xx"], "min_msec": 0, "max_msec": 7, "interval": "auto",
        "metrics": "p50", "group_by": "model", "top": 3, "compare": "previous",
    }  # fmt: skip
    expected = {
        "account": [ACCOUNTS[1]],
        "bot": ["kling"],
        "bot!": ["luma"],
        "from": "2026-03-29T00:00:00.000+01:00",
        "to": "2026-03-30T00:00:00.000+02:00",
        "timezone": "Europe/Berlin",
        "model": ["veo-*", "\\*", "(empty)", "\\(empty)", "a,b"],
        "code!": ["404", "5xx"],
        "min_msec": 0,
        "max_msec": 7,
        "metrics": ["p50"],
        "group_by": ["model"],
        "interval": "15m",
        "order": ["start", "-p50"],
        "top": 3,
        "compare": "previous",
    }
    assert reader.answer(QUERY, question)["query"] == expected


def test_answers_to_last_stay_what_they_were_when_time_goes_on(asked: World, reader: Asker) -> None:
    first = reader.answer(QUERY, {"last": "90m", "interval": "1m"})
    asked.service.clock.ms = NOW_MS + 7 * 60_000
    try:
        assert reader.post(QUERY, first["query"]).json() == first
        assert reader.answer(QUERY, {"last": "90m"})["query"]["to"] == "2026-04-12T12:08:00.000Z"
    finally:
        asked.service.clock.ms = NOW_MS


# Formats


def flat(format_: str, response: httpx2.Response, figures: bool) -> list[dict[str, Any]]:
    """The lines of a flat answer, times as texts; in CSV everything is one."""
    assert response.status_code == 200, response.text
    body = response.content
    assert response.headers["Genmeter-SHA256"] == hashlib.sha256(body).hexdigest()
    if format_ == "ndjson":
        lines: list[dict[str, Any]] = [json.loads(line) for line in body.splitlines()]
    elif format_ == "csv":
        lines = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    else:
        source = pa.BufferReader(body)
        if format_ == "parquet":
            file = pyarrow.parquet.ParquetFile(source)
            table, counted = file.read(), file.metadata.metadata
        else:
            table = pa.ipc.open_stream(source).read_all()
            counted = table.schema.metadata or {}
        if format_ == "parquet" or figures:  # a stream of rows begins before they are counted
            assert counted[b"genmeter.rows"] == str(table.num_rows).encode()
        lines = table.to_pylist()
    assert response.headers["Genmeter-Rows"] == str(len(lines))
    return [{name: shown(value) for name, value in line.items()} for line in lines]


def shown(value: Any) -> Any:
    """A time as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value


def as_csv(lines: list[dict[str, Any]]) -> list[dict[str, str]]:
    """Lines as CSV has them: nothing is empty, all else is text."""
    written = {None: "", True: "true", False: "false"}
    return [
        {k: written[v] if v is None or isinstance(v, bool) else str(v) for k, v in line.items()}
        for line in lines
    ]


def expected_lines(answer: Answer) -> list[dict[str, Any]]:
    """The lines that a flat format has of figures."""
    query = answer["query"]
    periods = [("current", answer)]
    if "compare" in query:
        periods.append(("previous", answer["previous"]))
    lines = []
    for name, period in periods:
        for group in period.get("groups", [period["total"]]):
            line: dict[str, Any] = {"period": name} if "compare" in query else {}
            if "top" in query:
                line["other"] = False
            lines.append(line | group)
    return lines


@pytest.mark.parametrize(
    "question",
    [
        {},
        {"interval": "1d", "last": "7d", "metrics": ["jobs", "avg_msec", "success_rate", "first"]},
        {"group_by": ["config", "captchaRetry", "code"], "metrics": list(METRICS)},
        {"group_by": ["captchaProvider"], "top": 2, "compare": "previous", "interval": "1h"},
        {"group_by": ["model"], "from": 0, "to": DAY},
        {"compare": "previous", "timezone": "Europe/Berlin", "metrics": ["jobs", "last"]},
    ],
)
def test_flat_formats_hold_the_same_figures(reader: Asker, question: Given) -> None:
    answer = reader.answer(QUERY, question)
    expected = expected_lines(answer)
    for format_ in FLAT:
        response = reader.get(QUERY, question | {"format": format_})
        lines = flat(format_, response, figures=True)
        assert lines == (as_csv(expected) if format_ == "csv" else expected), format_
        assert reader.post(QUERY, question | {"format": format_}).content == response.content


@pytest.mark.parametrize(
    "question",
    [ALL_TIME, ALL_TIME | {"account": "asks-*", "order": "oldest"}, {"from": 0, "to": DAY}],
)
def test_flat_formats_hold_the_same_rows(admin: Asker, question: Given) -> None:
    expected = admin.answer(ROWS, question)["data"]
    for format_ in FLAT:
        response = admin.get(ROWS, question | {"format": format_})
        lines = flat(format_, response, figures=False)
        assert lines == (as_csv(expected) if format_ == "csv" else expected), format_
        assert admin.post(ROWS, question | {"format": format_}).content == response.content


# Beside the contract's own summary


@pytest.mark.parametrize("bot", BOTS)
def test_the_contracts_summary_says_the_same(asked: World, reader: Asker, bot: str) -> None:
    days = {row["ms"] // DAY for row in asked.rows() if row["account"] == reader.account}
    busy = sorted(days)[-2:] + sorted(days)[:1]
    for day in busy:
        date = times.iso(day * DAY, UTC)[:10]
        question = {"bot": bot, "from": day * DAY, "to": (day + 1) * DAY}
        answer = reader.answer(QUERY, question | {"metrics": [
            "jobs", "success_rate", "avg_msec", "avg_captcha_retry", "first", "last",
        ]})  # fmt: skip
        theirs = reader.stats(bot=bot, date=date)
        total = answer["total"]
        assert total["jobs"] == theirs["total"]
        rows = reader.answer(ROWS, question)["data"]
        keys = list(theirs["data"][0]) if theirs["data"] else []
        assert len(rows) == theirs["total"]
        for row, shown in zip(rows, theirs["data"], strict=True):
            assert {key: row[key] for key in shown} == shown, keys
        if not rows:
            continue
        summary = theirs["summary"]
        assert f"{total['success_rate']:.1f}%" == summary["success_rate"]
        assert total["avg_msec"] == summary["avg_msec"]
        assert (total["first"], total["last"]) == (summary["from"], summary["to"])
        assert total["avg_captcha_retry"] == summary.get(
            "avg_captcha_retry", total["avg_captcha_retry"]
        )
        for ours, name in (("config", "by_config"), ("endpoint", "by_endpoint"),
                           ("status", "by_status"), ("code", "by_code"), ("model", "by_model"),
                           ("tier", "by_tier"), ("sku", "by_sku"),
                           ("captchaProvider", "by_captcha_provider")):  # fmt: skip
            if name not in summary:
                continue
            metric = "captcha_attempts" if ours == "captchaProvider" else "jobs"
            groups = reader.answer(QUERY, question | {"group_by": ours, "metrics": metric})
            counted: Counter[str] = Counter()
            for line in groups["groups"]:
                empty = "(empty)" if ours in ("tier", "sku") else ""
                counted[str(line[ours] if line[ours] != "" else empty)] += line[metric]
            if ours in ("model", "captchaProvider"):
                del counted[""]
            assert counted == summary[name], ours


# Tenants


@few(15)
@given(question=figure_questions(ACCOUNTS), rows=st.booleans())
def test_c23_nobody_sees_another_account_whatever_they_ask(
    asked: World, reader: Asker, question: Given, rows: bool
) -> None:
    if rows:
        keep = ("metrics", "group_by", "interval", "top", "compare", "order")
        question = {name: value for name, value in question.items() if name not in keep}
    accounts = question.get("account")
    own = [accounts] if isinstance(accounts, str) else (accounts or [])
    foreign = {*own} - {reader.account} or question.get("account!")
    by_account = "account" in question.get("group_by", ())
    if not foreign and not by_account:
        (asked.check_rows if rows else asked.check_figures)(reader, question)
        return
    for response in (
        reader.get(ROWS if rows else QUERY, question),
        reader.post(ROWS if rows else QUERY, question),
    ):
        assert response.status_code in ((400, 403) if by_account else (403,)), response.text
        assert list(response.json()) == ["error"]


INJECTIONS: Final = (
    "' OR 1=1 --", "') OR (1=1", "\\' OR 1=1 --", "\\\\' OR ''='", "{account:String}", "%27 OR 1=1",
    "x' UNION ALL SELECT * FROM records --", "*", "`account`", "\x00", "\n", '" OR ""="', "${x}",
)  # fmt: skip


@pytest.mark.parametrize("field", [*DIMENSIONS, "jobid", "account", "account!", "model!"])
def test_c23_no_filter_opens_another_account(asked: World, reader: Asker, field: str) -> None:
    mine = sum(row["account"] == reader.account for row in asked.rows())
    together = ALL_TIME | {field: list(INJECTIONS)}
    for response in (
        *(reader.get(QUERY, ALL_TIME | {field: text}) for text in INJECTIONS[:4]),
        reader.post(QUERY, together),
        reader.post(ROWS, together),
    ):
        if response.status_code == 200:
            found = response.json()
            assert (found["total"]["jobs"] if "total" in found else found["count"]) <= mine
        else:
            assert response.status_code in (400, 403), response.text


def test_the_pool_of_records_is_worth_asking_about(asked: World) -> None:
    rows = [row for row in asked.rows() if row["account"] == ACCOUNTS[1]]
    assert {row["code"] for row in rows} == set(CODES)
    assert {row["ms"] for row in asked.rows()} & set(EDGES)
    assert len(asked.records) - len(asked.rows()) > 50
    assert len({zone.key for zone in ZONES}) == len(ZONES)
