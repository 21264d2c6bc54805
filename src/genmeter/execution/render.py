"""The bodies of answers about ranges, and what their headers say of them. Pure."""

import re
from collections.abc import Generator, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from genmeter.execution.groups import Result, present
from genmeter.formats.base import Checked, Format, Table
from genmeter.query import aggregation
from genmeter.query.aggregation import START, AggregateQuery
from genmeter.query.buckets import local_day, local_iso
from genmeter.query.listing import RowPosition, RowsQuery
from genmeter.query.metrics import Metric
from genmeter.query.row_text import columns
from genmeter.query.selection import Selection

FRACTIONS: Final = ("success_rate", "service_rate", "avg_captcha_retry")
"""The metrics that are no whole numbers."""

_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9._@+-]")
_NO_FILE_NAME: Final = re.compile(r'[\x00-\x1f\x7f-\x9f"/\\]')


class Listed(msgspec.Struct, frozen=True):
    """What is known of a listing at its end."""

    rows: int
    sha256: str
    cursor: str | None


def aggregates(
    wanted: AggregateQuery, found: Sequence[aggregation.Aggregates], format_: Format
) -> tuple[bytes, int]:
    """The body of an analysis, and how many rows of figures are in it."""
    result = present(wanted, found[0])
    previous = present(wanted.of_previous(), found[1]) if wanted.previous else None
    rows = [result.total] if result.groups is None else result.groups
    document = {"query": wanted.echo(), **_shown(result)}
    shown = len(rows)
    if previous is not None and wanted.previous:
        start, end = (local_iso(ms, wanted.selection.zone) for ms in wanted.previous)
        document["previous"] = {"from": start, "to": end} | _shown(previous)
        before = [previous.total] if previous.groups is None else previous.groups
        rows = [{"period": "current", **row} for row in rows]
        rows += [{"period": "previous", **row} for row in before]
    if wanted.top:
        rows = [{"other": False, **row} for row in rows]
    if format_.name != "json":
        shown = len(rows)
    made = Table(document=document, rows=rows, types=_types(wanted))
    return format_.table(made), shown


def _shown(result: Result) -> dict[str, Any]:
    groups = {} if result.groups is None else {"groups": result.groups}
    return {"total": result.total, **groups}


def _types(wanted: AggregateQuery) -> dict[str, type]:
    """The columns of figures in their order, and what is in them."""
    types: dict[str, type] = {}
    if wanted.previous:
        types["period"] = str
    if wanted.interval:
        types[START] = str
    if wanted.top:
        types["other"] = bool
    for dimension in wanted.group_by:
        types[dimension.name] = int if dimension.type in ("code", "retry") else str
    return types | {metric.name: _type(metric) for metric in wanted.metrics}


def _type(metric: Metric) -> type:
    if metric.is_time:
        return str
    return float if metric.name in FRACTIONS else int


def rows(
    wanted: RowsQuery, lines: Generator[bytes, None, RowPosition | None], format_: Format
) -> Generator[bytes, None, Listed]:
    """The body of a listing, piece by piece."""
    writer = Checked(format_.rows(columns(wanted.selection), wanted.echo()))
    while True:
        try:
            text = next(lines)
        except StopIteration as end:
            last: RowPosition | None = end.value
            break
        yield writer.take(text)
    cursor = None if last is None else wanted.cursor(last)
    yield writer.end({"has_more": cursor is not None, "next_cursor": cursor})
    return Listed(writer.rows, writer.sha256, cursor)


def headers(
    chosen: Selection, what: str, format_: Format, count: int, sha256: str
) -> dict[str, str]:
    """What tells a whole body from one that was cut off, and a name for its file."""
    found = {"Genmeter-Rows": str(count), "Genmeter-SHA256": sha256, "Vary": "Accept"}
    if format_.name != "json":
        whose = chosen.account or "accounts"
        start = local_day(chosen.start_ms, chosen.zone)
        end = local_day(chosen.end_ms, chosen.zone)
        name = f"genmeter-{whose}-{what}-{start}-{end}.{format_.name}"
        found["Content-Disposition"] = _attachment(name)
    return found


def _attachment(name: str) -> str:
    """Return the ``Content-Disposition`` of a file, whatever its name holds (RFC 6266).

    Every client reads the first form; those that read the second prefer it.
    """
    plain = _NOT_PLAIN.sub("_", name)
    if plain == name:
        return f'attachment; filename="{name}"'
    whole = quote(_NO_FILE_NAME.sub("_", name), safe="")
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}"
