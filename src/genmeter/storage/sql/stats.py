"""A query of ``GET /v2/account/stats`` -> its statement. Pure; tested by its exact text."""

from collections.abc import Sequence
from typing import Final

from genmeter.model.bots import ELEVEN, Bots
from genmeter.model.fields import Field
from genmeter.query.stats import StatsQuery
from genmeter.storage.sql.base import TABLE, TIMESTAMP, escaped, json_text, of_account, quote

MARK: Final = "\t"
ROW_END: Final = "}\t\n"
"""A row is ``,{own MARK shared MARK msec MARK shared`` and ``ROW_END``: JSON with a tab at four
places where JSON allows one. ``own`` and ``msec`` differ from row to row, what is shared tells
groups apart. R3 keeps control characters out of texts, so neither can be anything else."""


def nth_newest(query: StatsQuery, *, skip: int, oldest_ms: int, since_ms: int | None) -> str:
    """The ``neg_ms`` of the record after the ``skip`` newest, or nothing where there are fewer.

    It counts records that were sent again more than once, so it is a bound to start from and not
    the answer. ``since_ms`` leaves older records out of the search.
    """
    where = _matching(query, max(oldest_ms, since_ms or 0))
    return f"SELECT neg_ms FROM {TABLE} WHERE {where} ORDER BY neg_ms LIMIT 1 OFFSET {skip:d}"


def answer(
    query: StatsQuery,
    *,
    oldest_ms: int,
    max_neg_ms: int | None = None,
    bots: Bots = ELEVEN,
) -> str:
    """The rows that answer ``query``, newest first, each a text with ``MARK`` in it.

    ``max_neg_ms`` promises that enough rows are at least that new.
    """
    limit = f" LIMIT {query.limit:d}" if query.limit else ""
    return (
        f"SELECT {_row(bots.fields(query.bot))} AS line FROM {TABLE} FINAL "
        f"WHERE {_matching(query, oldest_ms, max_neg_ms)} ORDER BY neg_ms, jobid DESC{limit}"
    )


def _matching(query: StatsQuery, oldest_ms: int, max_neg_ms: int | None = None) -> str:
    """The condition on a query's records: whose they are, first of all (C23)."""
    terms = [of_account(query.account), f"bot = {quote(query.bot)}"]
    newest_ms = None
    if day := query.day_ms():
        oldest_ms, newest_ms = max(oldest_ms, day[0]), day[1]
    terms.append(f"neg_ms <= {-oldest_ms:d}")
    if newest_ms is not None:
        terms.append(f"neg_ms > {-newest_ms:d}")
    if max_neg_ms is not None:
        terms.append(f"neg_ms <= {max_neg_ms:d}")
    if query.config is not None:
        terms.append(f"config = {quote(query.config)}")
    return " AND ".join(terms)


def _row(fields: Sequence[Field]) -> str:
    """An expression that writes ``fields`` of a row as JSON, its keys in order (C10).

    A comma comes first, so that rows after rows are elements of an array as they are.
    """
    mark = escaped(MARK)
    parts = "',{"
    for field in fields:
        comma = "" if parts == "',{" else ","
        if field.nullable:
            some = f"concat('{comma}\"{field.key}\":', toString({field.column}))"
            parts += f"', ifNull({some}, ''), '"
        elif field.column == "msec":
            parts += f"{comma}\"{field.key}\":{mark}', toString({field.column}), '{mark}"
        elif field.is_number:
            parts += f"{comma}\"{field.key}\":', toString({field.column}), '"
        else:
            value = TIMESTAMP if field.type == "time" else json_text(field.column)
            after = mark if field.column == "jobid" else ""
            parts += f'{comma}"{field.key}":"\', {value}, \'"{after}'
    return f"concat({parts}{escaped(ROW_END)}')"
