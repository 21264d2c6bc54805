"""Answers as tables for people: figures, records, and what there is to ask about. Pure."""

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from genmeter.cli.text import (
    Group,
    Look,
    caption,
    change,
    figure,
    in_time,
    label,
    moment,
    moments,
    others_last,
    pad,
    printable,
    width,
)
from genmeter.model.fields import LISTED

_GAP: Final = "  "
_LEAST: Final = 12
"""A text is not cut to fewer columns than this."""

# Of a record, what people look for first. What does not fit is left out, and named.
_FIRST: Final = (
    "timestamp", "account", "bot", "code", "msec", "endpoint", "model", "config", "status",
    "jobid", "captchaProviders", "captchaRetry", "tier", "sku", "func",
)  # fmt: skip
_RECORD: Final = tuple(dict.fromkeys((*_FIRST, *(field.key for field in LISTED))))
_NUMBERS: Final = tuple(field.key for field in LISTED if field.is_number)
_LONGEST_CELL: Final = 32


class Column(msgspec.Struct, kw_only=True):
    """A column: lines of its head and its cells; ``with_next`` keeps it on the next one's side.

    ``width`` is how many columns of the terminal it takes.
    """

    head: list[str]
    cells: list[str]
    right: bool = True
    with_next: bool = False
    width: int = 0

    def __post_init__(self) -> None:
        self.width = max(map(width, [*self.head, *self.cells]))

    def cut(self, columns: int, look: Look) -> None:
        """Make it no wider than that."""
        if self.width > columns:
            self.head = [look.cut(line, columns) for line in self.head]
            self.cells = [look.cut(cell, columns) for cell in self.cells]
            self.__post_init__()


def metrics(answer: Mapping[str, Any], look: Look) -> Iterator[str]:
    """The lines of an answer of ``/query``: a line a group and one of the total."""
    query = answer["query"]
    metrics: list[str] = query["metrics"]
    before = answer.get("previous")
    yield caption(query)
    if before:
        yield f"compared with {moment(before['from'], '1m')} to {moment(before['to'], '1m')}"
    yield ""
    if "groups" not in answer:
        yield from _totals(answer["total"], before and before["total"], metrics)
        return
    if not answer["groups"]:
        yield "no records"
        return
    found = others_last(answer["groups"])
    groups = [*found, answer["total"]]
    earlier: list[Group | None] = []
    if before:
        known = dict(_keyed(before["groups"], query))
        earlier = [known.get(key) for key, _ in _keyed(found, query)]
        earlier.append(before["total"])
    keys = _key_columns(found, query)
    columns = []
    for metric in metrics:
        head = [*metric.split("_"), *(["msec"] if _is_percentile(metric) else [])]
        cells = [figure(metric, group[metric]) for group in groups]
        column = Column(head=head, cells=cells)
        columns.append(column)
        if before and not any(isinstance(group[metric], str) for group in groups):
            column.with_next = True
            pairs = zip(groups, earlier, strict=True)
            cells = [change(metric, now[metric], was and was[metric]) for now, was in pairs]
            columns.append(Column(head=["change"], cells=cells))
    for number, block in enumerate(_blocks(keys, columns, look)):
        if number:
            yield ""
        yield from _drawn(block, look, total=True)


def records(page: Mapping[str, Any], look: Look) -> Iterator[str]:
    """The lines of an answer of ``/rows``: a line a record, as much of it as fits."""
    yield caption(page["query"])
    yield ""
    rows: list[Mapping[str, Any]] = page["data"]
    if not rows:
        yield "no records"
        return
    columns = {name: _of_records(name, rows) for name in _RECORD}
    there = {name: column for name, column in columns.items() if column is not None}
    shown: list[Column] = []
    for column in there.values():
        if look.columns is None:
            shown.append(column)
            continue
        column.cut(_LONGEST_CELL, look)
        room = look.columns - _width([*shown, column])
        if room < 0 and shown:
            if not column.right and column.width + room >= _LEAST:
                column.cut(column.width + room, look)
                shown.append(column)
            break
        shown.append(column)
    yield from _drawn(shown, look, total=False)
    yield ""
    more = ", there are more; --limit N shows more of them" if page["has_more"] else ""
    yield f"{len(rows):,} record{'' if len(rows) == 1 else 's'}{more}"
    if hidden := list(there)[len(shown) :]:
        yield f"not shown for want of room: {', '.join(hidden)}"


def _of_records(name: str, rows: Sequence[Mapping[str, Any]]) -> Column | None:
    """A field of records as a column; None where no record has it."""
    values = [row.get(name) for row in rows]
    if all(value in (None, "") for value in values):
        return None
    if name == "timestamp":
        cells = moments([str(value) for value in values], "")
    elif name == "msec":
        cells = [figure(name, value) for value in values]
    else:
        cells = ["-" if value in (None, "") else printable(str(value)) for value in values]
    return Column(head=[name], cells=cells, right=name in _NUMBERS)


def meta(answer: Mapping[str, Any], look: Look) -> Iterator[str]:
    """The lines of an answer of ``/meta``."""
    span = ""
    if answer["oldest"] and answer["newest"]:
        span = f", {moment(answer['oldest'], '1m')} to {moment(answer['newest'], '1m')}"
    days = answer["retention_days"]
    told = [
        ("account", answer["account"] or ""),
        ("accounts", ", ".join(answer.get("accounts") or ())),
        ("records", f"{answer['records']:,}{span}"),
        ("kept for", f"{days} days" if days else "ever"),
        ("bots", ", ".join(answer["bots"])),
        ("intervals", ", ".join(answer["intervals"])),
    ]
    told = [(name, text) for name, text in told if text]
    dimensions = [
        (name, ", ".join(label(name, value) for value in values))
        for name, values in answer["dimensions"].items()
    ]
    metrics = [(metric["name"], metric["help"]) for metric in answer["metrics"]]
    first = max(len(name) for name, _ in (*told, *dimensions, *metrics)) + len(_GAP)
    columns = max((look.columns or 10**6) - first, 20)
    for head, entries in (("", told), ("fields", dimensions), ("metrics", metrics)):
        if head:
            yield ""
            yield look.strong(head)
        for name, text in entries:
            lines = textwrap.wrap(printable(text), columns, break_on_hyphens=False) or ["-"]
            for number, line in enumerate(lines):
                yield f"{'' if number else name:<{first}}{line}"


def _totals(total: Group, before: Group | None, metrics: Sequence[str]) -> Iterator[str]:
    """One group alone: a line a metric."""
    columns = [
        Column(head=[""], cells=list(metrics), right=False),
        Column(head=[""], cells=[figure(metric, total[metric]) for metric in metrics]),
    ]
    if before is not None:
        changes = [change(metric, total[metric], before[metric]) for metric in metrics]
        columns.append(Column(head=[""], cells=changes))
    for number in range(len(metrics)):
        yield _row([column.cells[number] for column in columns], columns)


def _keyed(
    groups: Sequence[Group], query: Mapping[str, Any]
) -> Iterator[tuple[tuple[Any, ...], Group]]:
    """Groups by what finds the same one in another period: a bucket by its place in it."""
    starts = in_time(group["start"] for group in groups if "start" in group)
    place = {start: number for number, start in enumerate(starts)}
    for group in groups:
        values = tuple(group[name] for name in query.get("group_by") or ())
        bucket = place[group["start"]] if starts else 0
        yield (bucket, bool(group.get("other")), *values), group


def _key_columns(groups: Sequence[Group], query: Mapping[str, Any]) -> list[Column]:
    """What tells groups apart, with ``total`` at the end."""
    keys = []
    if "start" in groups[0]:
        starts = [group["start"] for group in groups]
        keys.append(("start", moments(starts, query["interval"])))
    for name in query.get("group_by") or ():
        values = [label(name, group[name], other=bool(group.get("other"))) for group in groups]
        keys.append((name, values))
    return [
        Column(head=[name], cells=[*cells, "" if number else "total"], right=False)
        for number, (name, cells) in enumerate(keys)
    ]


def _blocks(keys: list[Column], columns: list[Column], look: Look) -> Iterator[list[Column]]:
    """All columns beside each other or, where that is too wide, in blocks with the same keys."""
    if look.columns is None or _width([*keys, *columns]) <= look.columns:
        yield [*keys, *columns]
        return
    # A little cutting may do; texts get half of the room in any case.
    room = max(look.columns // 2, look.columns - _width(columns) - len(_GAP))
    while (excess := _width(keys) - room) > 0:
        *narrower, widest = sorted(keys, key=lambda column: column.width)
        if widest.width <= _LEAST:
            break
        # The widest first; those that are equally wide share what must go.
        share = widest.width - math.ceil(excess / len(keys))
        least = min(narrower[-1].width, share) if narrower else 0
        widest.cut(max(_LEAST, widest.width - excess, least), look)
    block: list[Column] = []
    unit: list[Column] = []
    for column in columns:
        unit.append(column)
        if column.with_next:
            continue
        if block and _width([*keys, *block, *unit]) > look.columns:
            yield [*keys, *block]
            block = []
        block += unit
        unit = []
    yield [*keys, *block]


def _width(columns: Sequence[Column]) -> int:
    return sum(column.width for column in columns) + len(_GAP) * (len(columns) - 1)


def _drawn(columns: list[Column], look: Look, *, total: bool) -> Iterator[str]:
    """A head, a line under it, the cells, and the total under another."""
    lines = max(len(column.head) for column in columns)
    for number in range(lines):
        cells = [[*[""] * (lines - len(c.head)), *c.head][number] for c in columns]
        yield look.strong(_row(cells, columns))
    rule = _GAP.join(look.line * column.width for column in columns)
    yield rule
    count = len(columns[0].cells)
    for number in range(count):
        last = total and number == count - 1
        if last:
            yield rule
        row = _row([column.cells[number] for column in columns], columns)
        yield look.strong(row) if last else row


def _row(cells: Sequence[str], columns: Sequence[Column]) -> str:
    pairs = zip(cells, columns, strict=True)
    return _GAP.join(pad(text, c.width, right=c.right) for text, c in pairs).rstrip()


def _is_percentile(metric: str) -> bool:
    return metric[:1] == "p" and metric[1:2].isdigit()
