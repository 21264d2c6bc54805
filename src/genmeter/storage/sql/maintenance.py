"""Statements for looking after records: duplicates, migration, replicas. Pure."""

from collections.abc import Collection
from typing import Final

from genmeter.clock import DAY_MS
from genmeter.model.record import Row
from genmeter.storage.sql.base import (
    COLUMNS,
    TABLE,
    Span,
    among,
    between,
    escaped,
    json_text,
    of_account,
    quote,
)


def replication_probe(row: Row) -> str:
    """How many rows there are of a record as it is, or as it was replaced since."""
    return (
        f"SELECT count() FROM {TABLE} WHERE {of_account(row.account)} "
        f"AND bot = {quote(row.bot)} AND neg_ms = {row.neg_ms:d} AND jobid = {quote(row.jobid)} "
        f"AND version >= {row.version:d}"
    )


READ_PARTS: Final = (
    "SELECT partition, sum(cityHash64(name)) FROM system.parts WHERE database = currentDatabase() "
    f"AND table = '{TABLE}' AND active GROUP BY partition"
)
"""The months there are, and a number of each that changes when inserts and merges do anything."""


READ_TABLE_FOLDER: Final = (
    "SELECT arrayElement(data_paths, 1) FROM system.tables WHERE database = currentDatabase() "
    f"AND name = '{TABLE}'"
)
"""Where the parts of the table are."""


READ_ACTIVE: Final = (
    "SELECT name, rows FROM system.parts WHERE database = currentDatabase() "
    f"AND table = '{TABLE}' AND active AND rows > 0"
)
"""The parts that answers come from, each with its rows. A dropped month is empty ones at first."""


def detach(part: str) -> str:
    """Set a part aside: it stays on disk, and is in no answer."""
    return f"ALTER TABLE {TABLE} DETACH PART {quote(part)}"


def attach(part: str) -> str:
    """Take a part that was set aside back into answers, under a new name."""
    return f"ALTER TABLE {TABLE} ATTACH PART {quote(part)}"


# Nobody waits for these scans, and queries need what is in the cache.
_GENTLY: Final = "SETTINGS max_threads = 1, max_block_size = 8192, use_uncompressed_cache = 0"


def account_counts(start_ms: int, end_ms: int, accounts: Collection[str] = ()) -> str:
    """Each account with its records of a time, equal ones counted more than once.

    All accounts where none are named.
    """
    whose = f"{among(accounts)} AND " if accounts else ""
    return (
        f"SELECT * FROM (SELECT account, count() FROM {TABLE} "
        f"WHERE {whose}{between(start_ms, end_ms)} GROUP BY account ORDER BY account {_GENTLY})"
    )


def duplicated_days(span: Span) -> str:
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


def read_part(part: str) -> str:
    """The number of rows of a part, and a sum for which every byte of it is read."""
    return (
        f"SELECT count(), sum(cityHash64({_whole_row()})) FROM {TABLE} WHERE _part = {quote(part)}"
    )


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
    line_end = escaped("\n")
    return f"concat({parts}}}{line_end}')"
