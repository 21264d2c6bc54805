"""Queries -> SQL text, and the schema. Pure; tested by its exact text.

Everything a query's statement says about whose records it reads is written by
:func:`_matching`, and every value passes :func:`quote`: there is no second place for either.

Two choices shape the text (measurements: docs/decisions/):

- The sort key holds the timestamp negated, so that "newest first" is the order on disk and an
  answer of any length is read in order, without a sort.
- A row leaves the engine as finished JSON text in one scan. What tells groups of rows apart stands
  between marks that JSON allows there, so that the summary is counted from the very text that is
  sent (:mod:`genmeter.storage.tally`), and cannot disagree with it.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from genmeter.model.fields import FIELDS

TABLE: Final = "records"

COLUMNS: Final = {field.column: field.column_type for field in FIELDS} | {"version": "UInt64"}
"""The columns of a record with their types."""

TIMESTAMP: Final = (
    "replaceOne(toString(toDateTime(intDiv(neg_ms, -1000), 'UTC')), ' ', 'T'), "
    "'.', substring(toString(1000 - neg_ms % 1000), 2), 'Z'"
)
"""Arguments of a ``concat`` that write a record's time in ISO 8601 (C10).

Each function in a statement costs a small query up to 0.1 ms, so there are few.
"""


def quote(text: str) -> str:
    """``text`` as a string literal: the one way a value enters a statement."""
    return "'" + "".join(_ESCAPES.get(char, char) for char in text) + "'"


_ESCAPES: Final = {chr(n): f"\\x{n:02x}" for n in range(32)} | {"\\": "\\\\", "'": "\\'"}


def tagged(statement: str, query_id: str) -> str:
    """A statement that can be found by its id, a word of letters and digits."""
    return f"/* {query_id} */ {statement}"


def kill(query_id: str) -> str:
    """End the statements that have this id, whoever waits for them."""
    return f"KILL QUERY WHERE query LIKE {quote(f'/* {query_id} */%')} ASYNC"


def of_account(account: str) -> str:
    """What is true of an account's records: the condition that every query begins with (C23)."""
    return f"account = {quote(account)}"


class TimeSlice(msgspec.Struct, frozen=True, kw_only=True):
    """A time from ``start_ms`` up to and without ``end_ms``.

    ``deduplicated`` says that no record of it is stored twice (:mod:`genmeter.storage.duplicates`).
    """

    start_ms: int
    end_ms: int
    deduplicated: bool


def source(columns: Iterable[str], condition: str, pieces: Sequence[TimeSlice]) -> str:
    """What a query reads FROM: each record of ``pieces`` once, as it was sent last.

    ``condition`` says whose records; their times come from ``pieces``, which do not overlap. Each
    piece is a branch of its own, as the engine is slow with times that are joined by OR.
    """
    branches = [
        f"{TABLE} {'' if piece.deduplicated else 'FINAL '}"
        f"WHERE {between(piece.start_ms, piece.end_ms)} AND ({condition})"
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
        return f"{among(self.accounts)} AND {between(self.start_ms, self.end_ms)}"


def among(accounts: Iterable[str]) -> str:
    return f"account IN ({', '.join(map(quote, accounts))})"


def between(start_ms: int, end_ms: int) -> str:
    return f"neg_ms <= {-start_ms:d} AND neg_ms > {-end_ms:d}"


def estimate(account: str, since_ms: int) -> str:
    """About how many records of an account there are since a time; nothing of them is read."""
    return (
        "SELECT sum(rows) FROM (EXPLAIN ESTIMATE SELECT msec "
        f"FROM {TABLE} WHERE {of_account(account)} AND neg_ms <= {-since_ms:d})"
    )


def json_text(column: str) -> str:
    """A text column as the inside of a JSON string; R3 leaves two characters to escape.

    One function is less to analyse than two; but it is slow, so only where an engine applies it to
    each different value and not to each row.
    """
    if COLUMNS[column].startswith("LowCardinality"):
        return rf"""replaceRegexpAll({column}, '(["\\\\])', '\\\\\\1')"""
    return rf"""replaceAll(replaceAll({column}, '\\', '\\\\'), '"', '\\"')"""


def escaped(mark: str) -> str:
    return quote(mark)[1:-1]
