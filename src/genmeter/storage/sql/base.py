"""Questions -> SQL text, and the schema. Pure; tested by its exact text.

Everything a question's statement says about whose records it reads is written by
:func:`_matching`, and every value passes :func:`quote`: there is no second place for either.

Two choices shape the text (measurements: docs/decisions.md):

- The sort key holds the timestamp negated, so that "newest first" is the order on disk and an
  answer of any length is read in order, without a sort.
- A row leaves the engine as finished JSON text in one scan. What tells groups of rows apart stands
  between marks that JSON allows there, so that the summary is counted from the very text that is
  sent (:mod:`genmeter.storage.tally`), and cannot disagree with it.
"""

import hashlib
import itertools
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import msgspec

from genmeter.clock import DAY_MS
from genmeter.model.bots import fields
from genmeter.model.record import Row
from genmeter.query.stats import Question

TABLE: Final = "records"

COLUMNS: Final = {
    "account": "LowCardinality(String)",
    "bot": "LowCardinality(String)",
    "neg_ms": "Int64",
    "jobid": "String",
    "config": "LowCardinality(String)",
    "endpoint": "LowCardinality(String)",
    "status": "LowCardinality(String)",
    "func": "LowCardinality(String)",
    "code": "UInt16",
    "msec": "UInt32",
    "model": "LowCardinality(String)",
    "captcha_providers": "LowCardinality(String)",
    "captcha_retry": "Nullable(UInt16)",
    "tier": "LowCardinality(String)",
    "sku": "LowCardinality(String)",
    "version": "UInt64",
}
"""The columns of a record in the order of their making, with their types."""

PARTITION: Final = "toYYYYMM(toDate(intDiv(-neg_ms, 1000), 'UTC'))"
"""The UTC month of a record: the unit that retention drops."""

MARK: Final = "\t"
ROW_END: Final = "}\t\n"
"""A row is ``,{own MARK shared MARK msec MARK shared`` and ``ROW_END``: JSON with a tab at four
places where JSON allows one. ``own`` and ``msec`` differ from row to row, what is shared tells
groups apart. R3 keeps control characters out of texts, so neither can be anything else."""

TIMESTAMP: Final = (
    "replaceOne(toString(toDateTime(intDiv(neg_ms, -1000), 'UTC')), ' ', 'T'), "
    "'.', substring(toString(1000 - neg_ms % 1000), 2), 'Z'"
)
"""Arguments of a ``concat`` that write a record's time in ISO 8601 (C10).

Each function in a statement costs a small question up to 0.1 ms, so there are few.
"""


def quote(text: str) -> str:
    """``text`` as a string literal: the one way a value enters a statement."""
    return "'" + "".join(_ESCAPES.get(char, char) for char in text) + "'"


_ESCAPES: Final = {chr(n): f"\\x{n:02x}" for n in range(32)} | {"\\": "\\\\", "'": "\\'"}


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How a server keeps tables of records.

    ``settings`` is a clause, with a leading space, that makes them durable and compact as far as
    the server can. In a ``cluster`` a table is replicated, and the records of an account are on
    one of several shards, which ``weights`` tells the sizes of; ``database`` is where tables are.
    """

    settings: str = ""
    cluster: str = ""
    database: str = ""
    weights: tuple[int, ...] = (1,)

    def shard(self, account: str) -> int:
        """The shard of an account's records, from 0: identity (R6) stays on one of them.

        What ``SHARDING_KEY`` is to the servers, and their way from it to a shard.
        """
        digest = hashlib.md5(account.encode(), usedforsecurity=False).digest()
        slot = int.from_bytes(digest[:4], "little") % sum(self.weights)
        for number, end in enumerate(itertools.accumulate(self.weights)):
            if slot < end:
                return number
        raise AssertionError  # a slot is below the sum of all weights

    @property
    def engine(self) -> str:
        """The engine of the table of records."""
        if not self.cluster:
            return "ReplacingMergeTree(version)"
        path = f"/clickhouse/tables/{{shard}}/{self.database}/{TABLE}"
        return f"ReplicatedReplacingMergeTree('{path}', '{{replica}}', version)"


SHARDING_KEY: Final = "reinterpretAsUInt32(substring(MD5(account), 1, 4))"

ALL: Final = "records_all"
"""In a cluster the records of all shards, for people: the service asks the shards themselves."""


class Step(msgspec.Struct, frozen=True):
    """A statement that changes the schema, and a question that is not 0 where it has been run.

    Without the question it can be run again. Old servers have no ``IF NOT EXISTS`` for columns,
    and replicas give each other what one of them was told.
    """

    statement: str
    done: str = ""


def migrations(layout: Layout) -> tuple[tuple[Step, ...], ...]:
    """The steps that lead a server from each schema version to the next, from none on.

    A start that was cut short is finished by the next one.
    """
    columns = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
    create = (
        f"CREATE TABLE IF NOT EXISTS {TABLE} ({columns}) "
        f"ENGINE = {layout.engine} "
        f"PARTITION BY {PARTITION} ORDER BY (account, bot, neg_ms, jobid){layout.settings}"
    )
    if not layout.cluster:
        return ((Step(create),),)
    create_all = (
        f"CREATE TABLE IF NOT EXISTS {ALL} AS {TABLE} ENGINE = "
        f"Distributed({layout.cluster}, {layout.database}, {TABLE}, {SHARDING_KEY})"
    )
    return ((Step(create), Step(create_all)),)


def add_column(table: str, name: str, type_: str, default: str) -> Step:
    """A column more, which rows of before have ``default`` in."""
    return Step(
        f"ALTER TABLE {table} ADD COLUMN {name} {type_} DEFAULT {quote(default)}",
        "SELECT count() FROM system.columns WHERE database = currentDatabase() "
        f"AND table = {quote(table)} AND name = {quote(name)}",
    )


CREATE_VERSIONS: Final = (
    "CREATE TABLE IF NOT EXISTS schema_versions (version UInt32) "
    "ENGINE = MergeTree ORDER BY version"
)
CREATE_WEIGHTS: Final = (
    "CREATE TABLE IF NOT EXISTS shard_weights (weights String) ENGINE = MergeTree ORDER BY weights"
)
READ_WEIGHTS: Final = "SELECT weights FROM shard_weights"
READ_VERSION: Final = "SELECT max(version) FROM schema_versions"
READ_LAST_WRITE: Final = (
    # Read once: kept in the cache it would be a hundred megabytes that nobody asks for again.
    f"SELECT * FROM (SELECT max(version) FROM {TABLE} SETTINGS use_uncompressed_cache = 0)"
)
READ_COUNT: Final = f"SELECT count() FROM {TABLE}"
READ_MONTHS: Final = (
    "SELECT DISTINCT partition FROM system.parts "
    f"WHERE database = currentDatabase() AND table = '{TABLE}' AND active ORDER BY partition"
)


READ_STATE: Final = (
    "SELECT partition, max(max_block_number) FROM system.parts "
    f"WHERE database = currentDatabase() AND table = '{TABLE}' AND active "
    "GROUP BY partition ORDER BY partition"
)
"""What changes with every insert, and with every month that goes; merges leave it as it is."""


def write_version(version: int) -> str:
    """Note that the schema has reached ``version``."""
    return f"INSERT INTO schema_versions VALUES ({version:d})"


def write_weights(weights: tuple[int, ...]) -> str:
    """Note the shards by which records are laid out."""
    return f"INSERT INTO shard_weights VALUES ({quote(weights_text(weights))})"


def weights_text(weights: tuple[int, ...]) -> str:
    """The weights of shards as they are noted."""
    return ",".join(f"{weight:d}" for weight in weights)


def drop_month(month: int) -> str:
    """Remove the records of the UTC month ``YYYYMM``."""
    return f"ALTER TABLE {TABLE} DROP PARTITION {month:d}"


def marked(statement: str, mark: str) -> str:
    """A statement that can be found by its mark, a word of letters and digits."""
    return f"/* {mark} */ {statement}"


def kill(mark: str) -> str:
    """End the statements that have this mark, whoever waits for them."""
    return f"KILL QUERY WHERE query LIKE {quote(f'/* {mark} */%')} ASYNC"


def witness(row: Row) -> str:
    """How many rows there are of a record as it is, or as it was replaced since."""
    return (
        f"SELECT count() FROM {TABLE} WHERE {of_account(row.account)} "
        f"AND bot = {quote(row.bot)} AND neg_ms = {row.neg_ms:d} AND jobid = {quote(row.jobid)} "
        f"AND version >= {row.version:d}"
    )


def nth_newest(question: Question, *, skip: int, oldest_ms: int, since_ms: int | None) -> str:
    """The ``neg_ms`` of the record after the ``skip`` newest, or nothing where there are fewer.

    It counts records that were sent again more than once, so it is a bound to start from and not
    the answer. ``since_ms`` leaves older records out of the search.
    """
    where = _matching(question, max(oldest_ms, since_ms or 0))
    return f"SELECT neg_ms FROM {TABLE} WHERE {where} ORDER BY neg_ms LIMIT 1 OFFSET {skip:d}"


def answer(question: Question, *, oldest_ms: int, max_neg_ms: int | None = None) -> str:
    """The rows that answer ``question``, newest first, each a text with ``MARK`` in it.

    ``max_neg_ms`` promises that enough rows are at least that new.
    """
    limit = f" LIMIT {question.limit:d}" if question.limit else ""
    return (
        f"SELECT {_row(question.bot)} AS line FROM {TABLE} FINAL "
        f"WHERE {_matching(question, oldest_ms, max_neg_ms)} ORDER BY neg_ms, jobid DESC{limit}"
    )


def of_account(account: str) -> str:
    """What is true of an account's records: the condition that every question begins with (C23)."""
    return f"account = {quote(account)}"


def _matching(question: Question, oldest_ms: int, max_neg_ms: int | None = None) -> str:
    """The condition on a question's records: whose they are, first of all (C23)."""
    terms = [of_account(question.account), f"bot = {quote(question.bot)}"]
    newest_ms = None
    if day := question.day_ms():
        oldest_ms, newest_ms = max(oldest_ms, day[0]), day[1]
    terms.append(f"neg_ms <= {-oldest_ms:d}")
    if newest_ms is not None:
        terms.append(f"neg_ms > {-newest_ms:d}")
    if max_neg_ms is not None:
        terms.append(f"neg_ms <= {max_neg_ms:d}")
    if question.config is not None:
        terms.append(f"config = {quote(question.config)}")
    return " AND ".join(terms)


def _row(bot: str) -> str:
    """An expression that writes a row of ``bot`` as JSON, its keys in order (C10).

    A comma comes first, so that rows after rows are elements of an array as they are.
    """
    mark = _escaped(MARK)
    parts = "',{"
    for field in fields(bot):
        comma = "" if parts == "',{" else ","
        if field.optional:
            some = f"concat('{comma}\"{field.key}\":', toString({field.column}))"
            parts += f"', ifNull({some}, ''), '"
        elif field.column == "msec":
            parts += f"{comma}\"{field.key}\":{mark}', toString({field.column}), '{mark}"
        elif field.kind == "number":
            parts += f"{comma}\"{field.key}\":', toString({field.column}), '"
        else:
            value = TIMESTAMP if field.kind == "timestamp" else json_text(field.column)
            after = mark if field.column == "jobid" else ""
            parts += f'{comma}"{field.key}":"\', {value}, \'"{after}'
    return f"concat({parts}{_escaped(ROW_END)}')"


class Piece(msgspec.Struct, frozen=True, kw_only=True):
    """A time from ``start_ms`` up to and without ``end_ms``.

    ``settled`` says that no record of it is stored twice (:mod:`genmeter.storage.duplicates`).
    """

    start_ms: int
    end_ms: int
    settled: bool


def source(columns: Iterable[str], condition: str, pieces: Sequence[Piece]) -> str:
    """What a question reads FROM: each record of ``pieces`` once, as it was sent last.

    ``condition`` says whose records; their times come from ``pieces``, which do not overlap. Each
    piece is a branch of its own, as the engine is slow with times that are joined by OR.
    """
    branches = [
        f"{TABLE} {'' if piece.settled else 'FINAL '}"
        f"WHERE {_times(piece.start_ms, piece.end_ms)} AND ({condition})"
        for piece in pieces
    ]
    if len(branches) == 1:
        return branches[0]
    names = ", ".join(columns)
    return f"({' UNION ALL '.join(f'SELECT {names} FROM {branch}' for branch in branches)})"


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Records of some accounts from ``start_ms`` up to and without ``end_ms``."""

    accounts: tuple[str, ...]
    start_ms: int
    end_ms: int

    def condition(self) -> str:
        """What is true of them."""
        return f"{_among(self.accounts)} AND {_times(self.start_ms, self.end_ms)}"


def _among(accounts: Iterable[str]) -> str:
    return f"account IN ({', '.join(map(quote, accounts))})"


def _times(start_ms: int, end_ms: int) -> str:
    return f"neg_ms <= {-start_ms:d} AND neg_ms > {-end_ms:d}"


READ_PARTS: Final = (
    "SELECT partition, sum(cityHash64(name)) FROM system.parts WHERE database = currentDatabase() "
    f"AND table = '{TABLE}' AND active GROUP BY partition"
)
"""The months there are, and a number of each that changes when inserts and merges do anything."""

# Nobody waits for these scans, and questions need what is in the cache.
_GENTLY: Final = "SETTINGS max_threads = 1, max_block_size = 8192, use_uncompressed_cache = 0"


def counts(start_ms: int, end_ms: int, accounts: Collection[str] = ()) -> str:
    """Each account with its records of a time, equal ones counted more than once.

    All accounts where none are named.
    """
    whose = f"{_among(accounts)} AND " if accounts else ""
    return (
        f"SELECT * FROM (SELECT account, count() FROM {TABLE} "
        f"WHERE {whose}{_times(start_ms, end_ms)} GROUP BY account ORDER BY account {_GENTLY})"
    )


def doubled(span: Span) -> str:
    """Each account with each day, in days since 1970, of which a record is stored twice.

    It is one scan, which sees one moment, and costs less than counting with and without ``FINAL``.
    Two records whose hashes are equal would be taken for one that is there twice.
    """
    return (
        f"SELECT account, day FROM (SELECT account, intDiv(-neg_ms, {DAY_MS:d}) AS day, "
        "count() AS stored, uniqExact(cityHash64(bot, neg_ms, jobid)) AS records "
        f"FROM {TABLE} WHERE {span.condition()} GROUP BY account, day {_GENTLY}) "
        "WHERE stored != records"
    )


_MONTH: Final = "toYYYYMM(toDateTime(intDiv(-neg_ms, 1000), 'UTC'))"

READ_UNITS: Final = (
    f"SELECT {_MONTH} AS month, account, count() FROM {TABLE} "
    "GROUP BY month, account ORDER BY month, account"
)
"""What there is of each account in each UTC month, equal records counted more than once."""

STOP_MERGES: Final = f"SYSTEM STOP MERGES {TABLE}"


def fingerprints(span: Span) -> str:
    """Each account with the number of its records and a sum over their whole text and version.

    The function is one that every version of the engine computes alike.
    """
    return (
        f"SELECT account, count(), sum(cityHash64({_whole_row()})) FROM {TABLE} FINAL "
        f"WHERE {span.condition()} GROUP BY account"
    )


def whole_rows(span: Span) -> str:
    """Records with their versions, as NDJSON that an insert takes."""
    return f"SELECT {_whole_row()} AS line FROM {TABLE} FINAL WHERE {span.condition()}"


def identities(span: Span) -> str:
    """What records are known by, then their version and a sum over all there is in them.

    They are in the order of these texts' first three, which every version of the engine keeps.
    """
    content = f"toString(cityHash64({_whole_row()}))"
    parts = ("bot", "toString(neg_ms)", "jobid", "toString(version)", content)
    separator, line_end = quote("\t"), quote("\n")
    line = f", {separator}, ".join(parts)
    return (
        f"SELECT concat({line}, {line_end}) AS line FROM {TABLE} FINAL "
        f"WHERE {span.condition()} ORDER BY bot, neg_ms, jobid"
    )


def _whole_row() -> str:
    """An expression that writes all columns of a row as a line of JSON."""
    parts = "'{"
    for name, type_ in COLUMNS.items():
        comma = "" if parts == "'{" else ","
        if "String" in type_:
            parts += f'{comma}"{name}":"\', {json_text(name)}, \'"'
        elif "Nullable" in type_:
            parts += f"{comma}\"{name}\":', ifNull(toString({name}), 'null'), '"
        else:
            parts += f"{comma}\"{name}\":', toString({name}), '"
    line_end = _escaped("\n")
    return f"concat({parts}}}{line_end}')"


def json_text(column: str) -> str:
    """A text column as the inside of a JSON string; R3 leaves two characters to escape.

    One function is less to analyse than two; but it is slow, so only where an engine applies it to
    each different value and not to each row.
    """
    if COLUMNS[column].startswith("LowCardinality"):
        return rf"""replaceRegexpAll({column}, '(["\\\\])', '\\\\\\1')"""
    return rf"""replaceAll(replaceAll({column}, '\\', '\\\\'), '"', '\\"')"""


def _escaped(mark: str) -> str:
    return quote(mark)[1:-1]
