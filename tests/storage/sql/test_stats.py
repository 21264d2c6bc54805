"""Questions -> SQL: the exact text of answers, quoting, and whose records are read (C23)."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genmeter.model.bots import ELEVEN
from genmeter.query.stats import StatsQuery
from genmeter.storage import schema
from genmeter.storage.engine import base
from genmeter.storage.sql import base as sql
from genmeter.storage.sql import maintenance, stats

NOON = 1_770_984_000_000  # 2026-02-13T12:00:00.000Z
MIDNIGHT = 1_770_940_800_000
DAY = 86_400_000

# In the golden texts a line end stands for one blank.
FLOW = r"""
SELECT concat(',{"timestamp":"',
replaceOne(toString(toDateTime(intDiv(neg_ms, -1000), 'UTC')), ' ', 'T'), '.',
substring(toString(1000 - neg_ms % 1000), 2), 'Z',
'","jobid":"', replaceAll(replaceAll(jobid, '\\', '\\\\'), '"', '\\"'),
'"\x09,"config":"', replaceRegexpAll(config, '(["\\\\])', '\\\\\\1'),
'","endpoint":"', replaceRegexpAll(endpoint, '(["\\\\])', '\\\\\\1'),
'","status":"', replaceRegexpAll(status, '(["\\\\])', '\\\\\\1'),
'","func":"', replaceRegexpAll(func, '(["\\\\])', '\\\\\\1'),
'","code":', toString(code), ',"msec":\x09', toString(msec),
'\x09,"model":"', replaceRegexpAll(model, '(["\\\\])', '\\\\\\1'),
'","captchaProviders":"', replaceRegexpAll(captcha_providers, '(["\\\\])', '\\\\\\1'),
'"', ifNull(concat(',"captchaRetry":', toString(captcha_retry)), ''),
',"tier":"', replaceRegexpAll(tier, '(["\\\\])', '\\\\\\1'),
'","sku":"', replaceRegexpAll(sku, '(["\\\\])', '\\\\\\1'), '"}\x09\x0a') AS line
FROM records FINAL
WHERE account = 'acme' AND bot = 'google-flow' AND neg_ms <= -5 AND neg_ms <= -7
AND config = 'o\'b@c+d:é \\ x'
ORDER BY neg_ms, jobid DESC LIMIT 1000
"""

KLING = r"""
SELECT concat(',{"timestamp":"',
replaceOne(toString(toDateTime(intDiv(neg_ms, -1000), 'UTC')), ' ', 'T'), '.',
substring(toString(1000 - neg_ms % 1000), 2), 'Z',
'","jobid":"', replaceAll(replaceAll(jobid, '\\', '\\\\'), '"', '\\"'),
'"\x09,"config":"', replaceRegexpAll(config, '(["\\\\])', '\\\\\\1'),
'","endpoint":"', replaceRegexpAll(endpoint, '(["\\\\])', '\\\\\\1'),
'","status":"', replaceRegexpAll(status, '(["\\\\])', '\\\\\\1'),
'","func":"', replaceRegexpAll(func, '(["\\\\])', '\\\\\\1'),
'","code":', toString(code), ',"msec":\x09', toString(msec),
'\x09,"model":"', replaceRegexpAll(model, '(["\\\\])', '\\\\\\1'), '"}\x09\x0a') AS line
FROM records FINAL
WHERE account = 'acme' AND bot = 'kling' AND neg_ms <= -1770940800000 AND neg_ms > -1771027200000
ORDER BY neg_ms, jobid DESC
"""

RUNWAYML = r"""
SELECT concat(',{"timestamp":"',
replaceOne(toString(toDateTime(intDiv(neg_ms, -1000), 'UTC')), ' ', 'T'), '.',
substring(toString(1000 - neg_ms % 1000), 2), 'Z',
'","jobid":"', replaceAll(replaceAll(jobid, '\\', '\\\\'), '"', '\\"'),
'"\x09,"config":"', replaceRegexpAll(config, '(["\\\\])', '\\\\\\1'),
'","endpoint":"', replaceRegexpAll(endpoint, '(["\\\\])', '\\\\\\1'),
'","status":"', replaceRegexpAll(status, '(["\\\\])', '\\\\\\1'),
'","func":"', replaceRegexpAll(func, '(["\\\\])', '\\\\\\1'),
'","code":', toString(code), ',"msec":\x09', toString(msec), '\x09}\x09\x0a') AS line
FROM records FINAL WHERE account = 'acme' AND bot = 'runwayml' AND neg_ms <= 0
ORDER BY neg_ms, jobid DESC LIMIT 50000
"""

WHOLE = r"""
concat('{"account":"', replaceRegexpAll(account, '(["\\\\])', '\\\\\\1'),
'","bot":"', replaceRegexpAll(bot, '(["\\\\])', '\\\\\\1'),
'","neg_ms":', toString(neg_ms),
',"jobid":"', replaceAll(replaceAll(jobid, '\\', '\\\\'), '"', '\\"'),
'","config":"', replaceRegexpAll(config, '(["\\\\])', '\\\\\\1'),
'","endpoint":"', replaceRegexpAll(endpoint, '(["\\\\])', '\\\\\\1'),
'","status":"', replaceRegexpAll(status, '(["\\\\])', '\\\\\\1'),
'","func":"', replaceRegexpAll(func, '(["\\\\])', '\\\\\\1'),
'","code":', toString(code), ',"msec":', toString(msec),
',"model":"', replaceRegexpAll(model, '(["\\\\])', '\\\\\\1'),
'","captcha_providers":"', replaceRegexpAll(captcha_providers, '(["\\\\])', '\\\\\\1'),
'","captcha_retry":', ifNull(toString(captcha_retry), 'null'),
',"tier":"', replaceRegexpAll(tier, '(["\\\\])', '\\\\\\1'),
'","sku":"', replaceRegexpAll(sku, '(["\\\\])', '\\\\\\1'),
'","version":', toString(version), '}\x0a')
"""


def golden(text: str) -> str:
    return text.strip().replace("\n", " ")


def literals(statement: str) -> tuple[str, list[str]]:
    """A statement with ? for each string literal, and the literals' values.

    A tiny reading of ClickHouse's rules: a literal ends at the first quote that no backslash
    escapes, and \\xHH is one byte.
    """
    plain: list[str] = []
    values: list[str] = []
    chars = iter(statement)
    for char in chars:
        if char != "'":
            plain.append(char)
            continue
        value = ""
        for inside in chars:
            if inside == "'":
                break
            if inside == "\\":
                inside = next(chars)
                if inside == "x":
                    inside = chr(int(next(chars) + next(chars), 16))
                else:
                    assert inside in "\\'\"", f"\\{inside} is nothing this reader knows"
            value += inside
        else:
            pytest.fail("a literal does not end")
        plain.append("?")
        values.append(value)
    return "".join(plain), values


def test_c10_the_answer_of_google_flow_with_limit_and_config_is_this_statement() -> None:
    question = StatsQuery(account="acme", bot="google-flow", limit=1000, config="o'b@c+d:é \\ x")
    assert stats.answer(question, oldest_ms=5, max_neg_ms=-7) == golden(FLOW)


def test_c3_the_answer_of_kling_for_a_day_is_this_statement() -> None:
    question = StatsQuery(account="acme", bot="kling", date="2026-02-13")
    assert stats.answer(question, oldest_ms=MIDNIGHT - 1) == golden(KLING)


def test_c4_the_answer_of_runwayml_without_a_bound_is_this_statement() -> None:
    question = StatsQuery(account="acme", bot="runwayml", limit=50_000)
    assert stats.answer(question, oldest_ms=0) == golden(RUNWAYML)


def test_c22_a_day_is_cut_off_at_the_edge_of_retention() -> None:
    question = StatsQuery(account="acme", bot="kling", date="2026-02-13")
    assert stats.answer(question, oldest_ms=NOON) == golden(KLING).replace(
        "neg_ms <= -1770940800000", f"neg_ms <= -{NOON}"
    )


def test_c4_the_bound_of_a_limit_is_searched_with_this_statement() -> None:
    question = StatsQuery(account="acme", bot="kling", limit=100, config="c")
    searched = (
        "SELECT neg_ms FROM records WHERE account = 'acme' AND bot = 'kling' AND neg_ms <= {} "
        "AND config = 'c' ORDER BY neg_ms LIMIT 1 OFFSET 105"
    )
    for oldest, since, edge in ((5, None, -5), (5, 9, -9), (9, 5, -9), (0, None, 0)):
        found = stats.nth_newest(question, skip=105, oldest_ms=oldest, since_ms=since)
        assert found == searched.format(edge)


HOSTILE = st.text(
    st.sampled_from("\\'\"xnN0`;-/*\0\t\n\r\x1e\x7f\u2018\u2019\u201c{}%?é😀"), max_size=20
)


@given(HOSTILE | st.text(st.characters(exclude_categories=())))
@settings(max_examples=500, deadline=None)
def test_c23_a_quoted_text_is_one_literal_and_reads_back_as_itself(text: str) -> None:
    assert literals(sql.quote(text)) == ("?", [text])
    assert literals(f"a {sql.quote(text)} b {sql.quote(text)}") == ("a ? b ?", [text, text])


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("", "''"), ("a", "'a'"), ("'", r"'\''"), ("\\", r"'\\'"), ("\\'", r"'\\\''"),
        ("\0\n\t\x1f", r"'\x00\x0a\x09\x1f'"), ('"é', "'\"é'"), ("' OR 1=1 --", r"'\' OR 1=1 --'"),
    ],
)  # fmt: skip
def test_c23_quoting(text: str, literal: str) -> None:
    assert sql.quote(text) == literal


ACCOUNT = re.compile(r"WHERE account = $")


@given(
    account=HOSTILE,
    config=st.none() | HOSTILE | st.just("' OR account = 'other"),
    bot=st.sampled_from(ELEVEN.names),
    of_day=st.booleans(),
    bound=st.none() | st.integers(-NOON, 0),
)
@settings(max_examples=200, deadline=None)
def test_c23_each_condition_of_a_question_starts_with_the_account(
    account: str, config: str | None, bot: str, of_day: bool, bound: int | None
) -> None:
    day, limit = ("2026-02-13", None) if of_day else (None, 9)
    question = StatsQuery(account=account, bot=bot, date=day, limit=limit, config=config)
    tame = StatsQuery(account="a", bot=bot, date=day, limit=limit, config=config and "c")
    for statement, plain in (
        (
            stats.answer(question, oldest_ms=7, max_neg_ms=bound),
            stats.answer(tame, oldest_ms=7, max_neg_ms=bound),
        ),
        (
            stats.nth_newest(question, skip=3, oldest_ms=7, since_ms=NOON),
            stats.nth_newest(tame, skip=3, oldest_ms=7, since_ms=NOON),
        ),
    ):
        text, values = literals(statement)
        assert text == literals(plain)[0]  # no value changes anything outside its own literal
        sources = re.findall(
            r"FROM records (?:FINAL )?(WHERE account = \? AND bot = \? AND )?", text
        )
        assert sources
        assert all(sources)
        before = text.split("?")
        asked = [value for part, value in zip(before, values, strict=False) if ACCOUNT.search(part)]
        assert asked == [account] * len(sources)
        assert " OR " not in text


def test_c8_an_answer_merges_equal_records_and_is_newest_first() -> None:
    for bot in ELEVEN.names:
        text, _ = literals(stats.answer(StatsQuery(account="a", bot=bot, limit=9), oldest_ms=0))
        assert text.count("FROM records ") == text.count("FROM records FINAL WHERE") == 1  # R6
        assert text.endswith(" ORDER BY neg_ms, jobid DESC LIMIT 9")


def test_c10_the_keys_of_each_bots_rows_are_in_order() -> None:
    for bot in ELEVEN.names:
        statement = stats.answer(StatsQuery(account="a", bot=bot, limit=1), oldest_ms=0)
        keys = re.findall(r'"(\w+)":', statement)
        assert keys == [field.key for field in ELEVEN.fields(bot)]


def test_r6_the_table_is_sorted_by_identity_and_keeps_the_highest_version() -> None:
    ((step,),) = schema.migrations(base.Layout(settings=" SETTINGS x = 1"))
    assert step.statement == (
        "CREATE TABLE IF NOT EXISTS records (account LowCardinality(String), "
        "bot LowCardinality(String), neg_ms Int64, jobid String, config LowCardinality(String), "
        "endpoint LowCardinality(String), status LowCardinality(String), "
        "func LowCardinality(String), code UInt16, msec UInt32, model LowCardinality(String), "
        "captcha_providers LowCardinality(String), captcha_retry Nullable(UInt16), "
        "tier LowCardinality(String), sku LowCardinality(String), version UInt64) "
        "ENGINE = ReplacingMergeTree(version) "
        "PARTITION BY toYYYYMM(toDate(intDiv(-neg_ms, 1000), 'UTC')) "
        "ORDER BY (account, bot, neg_ms, jobid) SETTINGS x = 1"
    )


def test_r6_in_a_cluster_the_table_is_replicated_and_an_account_is_on_one_shard() -> None:
    layout = base.Layout(settings=" SETTINGS x = 1", cluster="c", database="d", weights=(1, 1))
    ((create, create_all),) = schema.migrations(layout)
    assert (
        "ENGINE = ReplicatedReplacingMergeTree("
        "'/clickhouse/tables/{shard}/d/records', '{replica}', version) PARTITION BY"
    ) in create.statement
    assert create_all.statement == (
        "CREATE TABLE IF NOT EXISTS records_all AS records ENGINE = "
        "Distributed(c, d, records, reinterpretAsUInt32(substring(MD5(account), 1, 4)))"
    )


def test_r6_shards_get_accounts_by_their_weight_always_the_same() -> None:
    names = [f"account{n}" for n in range(4000)]
    even = base.Layout(weights=(1, 1))
    assert [even.shard(name) for name in ("acme", "a0", "a1", "a2", "a5")] == [1, 0, 0, 1, 0]
    heavy = [base.Layout(weights=(3, 1)).shard(name) for name in names]
    assert 2800 < heavy.count(0) < 3200
    assert {base.Layout().shard(name) for name in names} == {0}


def test_c22_numbers_of_a_statement_are_numbers() -> None:
    assert schema.drop_month(202602) == "ALTER TABLE records DROP PARTITION 202602"
    assert schema.write_version(3) == "INSERT INTO schema_versions VALUES (3)"
    for statement in (schema.drop_month, schema.write_version):
        with pytest.raises(ValueError, match="format code"):
            statement("1; DROP TABLE records")  # type: ignore[arg-type]


SPAN = sql.Span(accounts=("acme", "o'b"), start_ms=5, end_ms=NOON)
MEANT = (
    f"FROM records FINAL WHERE account IN ('acme', 'o\\'b') AND neg_ms <= -5 AND neg_ms > -{NOON}"
)


def test_r6_a_migration_carries_all_columns_of_merged_records() -> None:
    assert maintenance.whole_rows(SPAN) == f"SELECT {golden(WHOLE)} AS line {MEANT}"
    keys = re.findall(r'"(\w+)":', maintenance.whole_rows(SPAN))
    assert keys == list(sql.COLUMNS)


def test_r6_a_migration_compares_by_the_text_that_is_carried() -> None:
    assert maintenance.fingerprints(SPAN) == (
        f"SELECT account, count(), sum(cityHash64({golden(WHOLE)})) {MEANT} GROUP BY account"
    )
    assert maintenance.identities(SPAN) == (
        "SELECT concat(bot, '\\x09', toString(neg_ms), '\\x09', jobid, '\\x09', toString(version), "
        f"'\\x09', toString(cityHash64({golden(WHOLE)})), '\\x0a') AS line {MEANT} "
        "ORDER BY bot, neg_ms, jobid"
    )


def test_r6_a_settled_time_is_read_without_final() -> None:
    piece = sql.TimeSlice(start_ms=5, end_ms=NOON, deduplicated=True)
    assert sql.source(["bot", "msec"], "account = 'a' OR account = 'b'", [piece]) == (
        f"records WHERE neg_ms <= -5 AND neg_ms > -{NOON} AND (account = 'a' OR account = 'b')"
    )


def test_r6_a_time_that_is_not_settled_is_read_with_final() -> None:
    piece = sql.TimeSlice(start_ms=5, end_ms=NOON, deduplicated=False)
    assert sql.source(["bot", "msec"], "account = 'a'", [piece]) == (
        f"records FINAL WHERE neg_ms <= -5 AND neg_ms > -{NOON} AND (account = 'a')"
    )


def test_r6_a_time_that_is_settled_in_part_is_read_piece_by_piece() -> None:
    pieces = [
        sql.TimeSlice(start_ms=0, end_ms=5, deduplicated=True),
        sql.TimeSlice(start_ms=5, end_ms=7, deduplicated=False),
        sql.TimeSlice(start_ms=7, end_ms=9, deduplicated=True),
    ]
    assert sql.source(iter(["bot", "msec"]), "account = 'a'", pieces) == (
        "(SELECT bot, msec FROM records WHERE neg_ms <= 0 AND neg_ms > -5 AND (account = 'a') "
        "UNION ALL "
        "SELECT bot, msec FROM records FINAL WHERE neg_ms <= -5 AND neg_ms > -7 "
        "AND (account = 'a') UNION ALL "
        "SELECT bot, msec FROM records WHERE neg_ms <= -7 AND neg_ms > -9 AND (account = 'a'))"
    )


GENTLY = "SETTINGS max_threads = 1, max_block_size = 8192, use_uncompressed_cache = 0"


def test_a_check_counts_all_accounts_or_those_it_names() -> None:
    assert maintenance.account_counts(5, 7) == (
        "SELECT * FROM (SELECT account, count() FROM records WHERE neg_ms <= -5 AND neg_ms > -7 "
        f"GROUP BY account ORDER BY account {GENTLY})"
    )
    assert maintenance.account_counts(5, 7, ["a", "o'b"]) == (
        "SELECT * FROM (SELECT account, count() FROM records WHERE account IN ('a', 'o\\'b') AND "
        f"neg_ms <= -5 AND neg_ms > -7 GROUP BY account ORDER BY account {GENTLY})"
    )


def test_a_check_compares_identities_within_days() -> None:
    assert maintenance.duplicated_days(SPAN) == (
        "SELECT account, day FROM (SELECT account, intDiv(-neg_ms, 86400000) AS day, "
        "count() AS stored, uniqExact(cityHash64(bot, neg_ms, jobid)) AS records FROM records "
        f"{MEANT.removeprefix('FROM records FINAL ')} GROUP BY account, day {GENTLY}) "
        "WHERE stored != records"
    )
