"""Figures as pictures of text: columns over time, or bars beside each other. Pure.

Groups are small pictures on one scale, since colours and marks for lines cannot be told apart
everywhere. A column is drawn in eighths of a line.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from genmeter.cli.text import Group, Look, caption, change, figure, in_time, is_rate, label, moment
from genmeter.cli.text import pad as padded
from genmeter.cli.text import width as width_of

MOST: Final = 12
"""How many groups are drawn over time."""

_COLUMNS: Final = 80
_UPWARDS: Final = " ▁▂▃▄▅▆▇█"
_SIDEWAYS: Final = " ▏▎▍▌▋▊▉█"
_PLAIN: Final = " ...::::#"  # the same steps in ASCII


class Series(msgspec.Struct, kw_only=True):
    """The values of a group over time; None where there is none."""

    name: str
    values: list[float | None]


def plotted(answer: Mapping[str, Any], look: Look) -> Iterator[str]:
    """The lines of a plot of each metric asked for. Raises ValueError where one is no number."""
    query = answer["query"]
    for metric in query["metrics"]:
        if isinstance(answer["total"][metric], str):
            raise ValueError(f"{metric} is a time, which cannot be plotted")
    yield caption(query)
    if before := answer.get("previous"):
        yield f"compared with {moment(before['from'], '1m')} to {moment(before['to'], '1m')}"
    for metric in query["metrics"]:
        yield ""
        yield look.strong(metric)
        if answer.get("groups") and "start" in answer["groups"][0]:
            yield from _over_time(answer, metric, look)
        else:
            yield from _bars(answer, metric, look)


def _over_time(answer: Mapping[str, Any], metric: str, look: Look) -> Iterator[str]:
    query = answer["query"]
    starts = in_time(group["start"] for group in answer["groups"])
    current = _series(answer["groups"], query, metric)
    earlier = {}
    if before := answer.get("previous"):
        earlier = {series.name: series for series in _series(before["groups"], query, metric)}
    drawn: list[Series] = []
    for series in current[:MOST]:
        drawn.append(series)
        if before and (was := earlier.get(series.name)):
            name = f"{series.name}, before" if series.name else "before"
            drawn.append(Series(name=name, values=was.values))
    values = [v for series in drawn for v in series.values if v is not None]
    top = _top(metric, values)
    axis = [figure(metric, _whole(top)), figure(metric, 0)]
    left = max(map(width_of, axis))
    room = max((look.columns or _COLUMNS) - left - 2, 10)
    height = 8 if len(drawn) == 1 else 5 if len(drawn) <= 4 else 3
    for series in drawn:
        if series.name:
            yield f"{'':{left}}  {look.cut(series.name, room)}"
        lines = _panel(series.values, top, height, room, look)
        for number, line in enumerate(lines):
            mark = axis[0] if number == 0 else axis[1] if number == height else ""
            corner = "└" if number == height else "│"
            edge = corner if look.unicode else "+" if number == height else "|"
            yield f"{mark:>{left}} {edge}{line}".rstrip()
    yield f"{'':{left}}  {_times(starts, query['interval'], room)}"
    together = math.ceil(len(starts) / room)
    if together > 1:
        yield f"each column is the mean of {together} intervals of {query['interval']}"
    if (more := len(current) - MOST) > 0:
        yield f"{more:,} more groups are not drawn; --top {MOST - 1} makes one of the rest"


def _series(groups: Sequence[Group], query: Mapping[str, Any], metric: str) -> list[Series]:
    """The groups of an answer over time, the largest first and all others last."""
    starts = in_time(group["start"] for group in groups)
    place = {start: number for number, start in enumerate(starts)}
    found: dict[tuple[bool, str], list[float | None]] = {}
    for group in groups:
        other = bool(group.get("other"))
        key = other, _name(group, query)
        found.setdefault(key, [None] * len(starts))[place[group["start"]]] = group[metric]
    ordered = sorted(found.items(), key=lambda item: (item[0][0], -sum(v or 0 for v in item[1])))
    return [Series(name=name, values=values) for (_, name), values in ordered]


def _name(group: Group, query: Mapping[str, Any]) -> str:
    other = bool(group.get("other"))
    names = [label(name, group[name], other=other) for name in query.get("group_by") or ()]
    return names[0] if other else ", ".join(names)


def _top(metric: str, values: Sequence[float]) -> float:
    """The value at the upper end of a scale."""
    return 100.0 if is_rate(metric) else max(values, default=0) or 1


def _whole(value: float) -> float:
    return int(value) if value == int(value) else value


def _panel(
    values: Sequence[float | None], top: float, height: int, room: int, look: Look
) -> list[str]:
    """Lines of columns, the upmost first, and the line they stand on, broken where is none."""
    together = math.ceil(len(values) / room)
    steps = [_mean(values[n : n + together]) for n in range(0, len(values), together)]
    each = min(room // len(steps), 10)
    filled = each - 1 if each > 2 else each
    blocks = _UPWARDS if look.unicode else _PLAIN
    lines = []
    for level in range(height - 1, -1, -1):
        line = ""
        for value in steps:
            eighths = 0 if not value else max(round(value / top * height * 8), 1)
            line += (blocks[min(max(eighths - level * 8, 0), 8)] * filled).ljust(each)
        lines.append(line.rstrip())
    ground = "".join((" " if value is None else look.line) * each for value in steps)
    return [*lines, ground.rstrip()]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _times(starts: Sequence[str], interval: str, room: int) -> str:
    """When columns begin, written under some of them."""
    together = math.ceil(len(starts) / room)
    shown = list(starts[::together])
    each = min(room // len(shown), 10)
    texts = [moment(start, interval) for start in shown]
    if interval in ("1d", "1w"):
        texts = [text[5:] for text in texts]
    elif interval != "1mo":
        one_day = len({text[:10] for text in texts}) == 1
        texts = [text[11:] if one_day else text[5:] for text in texts]
    step = math.ceil((len(texts[0]) + 2) / each)
    line = ""
    for number in range(0, len(texts), step):
        place = number * each
        if place + len(texts[number]) <= room:
            line = line.ljust(place) + texts[number]
    return line


def _bars(answer: Mapping[str, Any], metric: str, look: Look) -> Iterator[str]:
    query = answer["query"]
    if "groups" in answer:
        rows = [(_name(group, query), group[metric]) for group in answer["groups"]]
    else:
        rows = [("total", answer["total"][metric])]
    if not rows:
        yield "no records"
        return
    earlier: dict[str, Any] = {}
    if before := answer.get("previous"):
        if "groups" in before:
            earlier = {_name(group, query): group[metric] for group in before["groups"]}
        else:
            earlier = {"total": before["total"][metric]}
    numbers = [value for _, value in rows] + [earlier.get(name) for name, _ in rows]
    top = _top(metric, [number for number in numbers if number is not None])
    columns = look.columns or _COLUMNS
    left = min(max(width_of(name) for name, _ in rows), columns // 3)
    if before:
        left = max(left, len("before"))
    told = [figure(metric, value) for _, value in rows]
    if before:
        changes = [change(metric, value, earlier.get(name)) for name, value in rows]
        told = [f"{text}  {changed}" for text, changed in zip(told, changes, strict=True)]
    room = max(columns - left - 3 - max(map(len, told)), 10)
    for (name, value), text in zip(rows, told, strict=True):
        bar = _bar(value, top, room, look)
        yield f"{padded(look.cut(name, left), left)}  {bar} {text}"
        if before:
            was = earlier.get(name)
            bar = (("░" if look.unicode else "=") * round((was or 0) / top * room)).rstrip()
            yield f"{'before':>{left}}  {bar} {figure(metric, was)}"


def _bar(value: float | None, top: float, room: int, look: Look) -> str:
    eighths = 0 if not value else max(round(value / top * room * 8), 1)
    whole, rest = divmod(eighths, 8)
    if not look.unicode:
        return "#" * max(round(eighths / 8), bool(eighths))
    return "█" * whole + (_SIDEWAYS[rest] if rest else "")
