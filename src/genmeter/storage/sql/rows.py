"""Range queries -> SQL text. Pure; kept to what the oldest and the newest engine speak.

Whose records a statement reads is written by :func:`condition` alone, and in one place there;
for those who listen by :func:`arrivals`.
"""

from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from genmeter.query.listing import RowsQuery
from genmeter.query.row_text import COLUMNS, NULLABLE, NUMBERS, LineFormat, columns
from genmeter.query.selection import Dimension, Selection
from genmeter.storage.sql import base as sql
from genmeter.storage.sql.base import TIMESTAMP, TimeSlice, json_text, quote
from genmeter.storage.sql.filters import RETRY_TEXT, condition


def nth(query: RowsQuery, pieces: Sequence[TimeSlice], *, skip: int, reach_ms: int | None) -> str:
    """The ``neg_ms`` of the record after the first ``skip`` of a query, or nothing.

    It counts records that were sent again more than once, and those of the very millisecond that
    the query begins in: to leave these out it would have to read all jobids. ``reach_ms`` bounds
    how far it looks.
    """
    start_ms, end_ms = pieces[0].start_ms, pieces[-1].end_ms
    if reach_ms is not None and query.newest_first:
        start_ms = max(start_ms, end_ms - reach_ms)
    elif reach_ms is not None:
        end_ms = min(end_ms, start_ms + reach_ms)
    whole = (TimeSlice(start_ms=start_ms, end_ms=end_ms, deduplicated=True),)
    source = sql.source((), condition(query.selection), whole)
    direction = "" if query.newest_first else " DESC"
    return f"SELECT neg_ms FROM {source} ORDER BY neg_ms{direction} LIMIT 1 OFFSET {skip:d}"


def step_counts(query: RowsQuery, pieces: Sequence[TimeSlice], *, step_ms: int) -> str:
    """How many records a query has in each ``step_ms`` since 1970, equal ones more than once."""
    whole = (TimeSlice(start_ms=pieces[0].start_ms, end_ms=pieces[-1].end_ms, deduplicated=True),)
    source = sql.source((), condition(query.selection), whole)
    return f"SELECT intDiv(neg_ms, {-step_ms:d}) AS step, count() FROM {source} GROUP BY step"


def part(query: RowsQuery, bound: int | None) -> Selection:
    """The records of a query that are still to come, up to a ``neg_ms`` where one is given."""
    start_ms, end_ms = query.selection.start_ms, query.selection.end_ms
    if query.newest_first:
        if query.after is not None:
            end_ms = min(end_ms, -query.after.neg_ms + 1)
        if bound is not None:
            start_ms = max(start_ms, -bound)
    else:
        if query.after is not None:
            start_ms = max(start_ms, -query.after.neg_ms)
        if bound is not None:
            end_ms = min(end_ms, -bound + 1)
    return msgspec.structs.replace(query.selection, start_ms=start_ms, end_ms=end_ms)


def rows(
    query: RowsQuery, line_format: LineFormat, pieces: Sequence[TimeSlice], *, most: int
) -> str:
    """Records in their order, each as a line."""
    up, down = ("", " DESC") if query.newest_first else (" DESC", "")
    # The last key never decides. It makes the engine write the line before it sorts, and so move
    # one text instead of fifteen columns, which takes five times as long.
    order = f"neg_ms{up}, jobid{down}, concat(bot, '\\x01', account){up}, line"
    line = _line(line_format, columns(query.selection))
    source = sql.source(COLUMNS.values(), condition(query.selection) + _after(query), pieces)
    return f"SELECT {line} AS line FROM {source} ORDER BY {order} LIMIT {most:d}"


def _after(query: RowsQuery) -> str:
    """What is true of rows past the place a page begins after."""
    place = query.after
    if place is None:
        return ""
    less, more = ("<", ">") if query.newest_first else (">", "<")
    return (
        f" AND (neg_ms {more} {place.neg_ms:d}"
        f" OR jobid {less} {quote(place.jobid)} OR jobid = {quote(place.jobid)}"
        f" AND (bot {more} {quote(place.bot)} OR bot = {quote(place.bot)}"
        f" AND account {more} {quote(place.account)}))"
    )


def _line(line_format: LineFormat, names: Sequence[str]) -> str:
    """An expression that writes a row as a line of ``json``, ``csv`` or ``tsv``."""
    parts = []
    for name in names:
        column = COLUMNS[name]
        key = f'"{name}":' if line_format == "json" else ""
        if name in NUMBERS:
            none = "null" if line_format == "json" else ""
            value = f"toString({column})"
            if name in NULLABLE:
                value = f"ifNull({value}, '{none}')"
            parts.append(f"{quote(key)}, {value}" if key else value)
        elif name == "timestamp" and line_format == "tsv":
            parts.append("toString(-neg_ms)")
        elif line_format == "tsv":
            parts.append(column)
        else:
            text = TIMESTAMP if name == "timestamp" else _quotable(line_format, column)
            opening = key + '"'
            parts.append(f"""{quote(opening)}, {text}, '"'""")
    comma = quote("\t" if line_format == "tsv" else ",")
    begin, end = ("',{', ", "'}\\x0a'") if line_format == "json" else ("", "'\\x0a'")
    return f"concat({begin}{f', {comma}, '.join(parts)}, {end})"


def _quotable(line_format: LineFormat, column: str) -> str:
    if line_format == "json":
        return json_text(column)
    return f"""replaceAll({column}, '"', '""')"""


def arrivals(
    accounts: Collection[str] | None,
    *,
    oldest_ms: int,
    after: tuple[int, int],
    version: int,
    limit: int,
) -> str:
    """The next records in the order of their versions: version, number, account, bot and JSON.

    ``after`` is the version and number of the one before, ``version`` the last to look at. The
    number tells the records of one version apart, and is the same whenever they are read.
    """
    number = (
        "reinterpretAsUInt64(substring(MD5(concat("
        "account, '\\t', bot, '\\t', toString(neg_ms), '\\t', jobid)), 1, 8))"
    )
    terms = [f"neg_ms <= {-oldest_ms:d}", f"version >= {after[0]:d}", f"version <= {version:d}"]
    terms.append(f"(version > {after[0]:d} OR {number} > {after[1]:d})")
    if accounts is not None:
        terms.insert(0, f"account IN ({', '.join(map(quote, sorted(accounts)))})")
    columns = f"version, {number} AS number, account, bot, {_line('json', tuple(COLUMNS))} AS line"
    return (
        f"SELECT {columns} FROM {sql.TABLE} WHERE {' AND '.join(terms)} "
        f"ORDER BY version, number LIMIT {limit:d}"
    )


def extent(selection: Selection, pieces: Sequence[TimeSlice]) -> str:
    """How many records there are, when the earliest and the latest was, and the highest version."""
    source = sql.source(["neg_ms", "version"], condition(selection), pieces)
    return f"SELECT count(), -max(neg_ms), -min(neg_ms), max(version) FROM {source}"


SEPARATOR: Final = "\x01"
"""Between values in a list of them; no text holds one (R3)."""


def values(
    selection: Selection,
    dimensions: Sequence[Dimension],
    pieces: Sequence[TimeSlice],
    *,
    after_version: int,
    most: int,
) -> str:
    """Values that dimensions have in records past a version, a list of each."""
    where = condition(selection)
    if after_version:
        where += f" AND version > {after_version:d}"
    columns = [dimension.column for dimension in dimensions]
    lists = []
    for dimension in dimensions:
        # The oldest server's function takes no limit of its own.
        found = f"arraySlice(groupUniqArray({_as_text(dimension)}), 1, {most:d})"
        lists.append(f"arrayStringConcat({found}, {quote(SEPARATOR)})")
    return f"SELECT {', '.join(lists)} FROM {sql.source(columns, where, pieces)}"


def _as_text(dimension: Dimension) -> str:
    if dimension.type == "retry":
        return RETRY_TEXT
    is_text = dimension.type in ("text", "provider")
    return dimension.column if is_text else f"toString({dimension.column})"
