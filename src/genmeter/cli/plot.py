"""Figures as pictures of text: columns over time, or bars beside each other. Pure.

Groups are small pictures on one scale, since colours and marks for lines cannot be told apart
everywhere. A column is drawn in eighths of a line.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from genmeter.cli.text import (
    Group,
    Look,
    caption,
    change,
    figure,
    in_time,
    is_rate,
    label,
    moment,
    others_last,
    pad,
    width,
)

MOST: Final = 12
"""How many groups are drawn over time."""

TIMES: Final = frozenset({"first", "last"})
"""Metrics that are moments, which no column shows."""

_COLUMNS: Final = 80
_WIDEST: Final = 10
_DAY: Final = 1440
_DAYS: Final = tuple(days * _DAY for days in (1, 2, 7, 14, 28, 56, 112))
_MINUTES: Final = (1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, *_DAYS)
_STEPS: Final = {"1d": _DAYS, "1w": _DAYS, "1mo": (1, 2, 3, 6, 12)}
"""Between times that are written under columns."""

_UPWARDS: Final = " ▁▂▃▄▅▆▇█"
_SIDEWAYS: Final = " ▏▎▍▌▋▊▉█"
_PLAIN: Final = " ...::::#"  # the same steps in ASCII


class Series(msgspec.Struct, kw_only=True):
    """The values of a group over time; None where there is none."""

    name: str
    values: list[float | None]


def plotted(answer: Mapping[str, Any], look: Look) -> Iterator[str]:
    """The lines of a plot of each metric asked for, of which none may be one of TIMES."""
    query = answer["query"]
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
    values = [value for series in drawn for value in series.values]
    left = len(figure(metric, _top(metric, values)))
    room = max((look.columns or _COLUMNS) - left - 2, 10)
    together = math.ceil(len(starts) / room)
    for series in drawn:
        series.values = _means(series.values, together)
    top = _top(metric, [value for series in drawn for value in series.values])
    height = 8 if len(drawn) == 1 else 5 if len(drawn) <= 4 else 3
    each = min(room // math.ceil(len(starts) / together), _WIDEST)
    for series in drawn:
        if series.name:
            yield f"{'':{left}}  {look.cut(series.name, room)}"
        *columns, ground = _panel(series.values, top, height, each, look)
        for number, line in enumerate(columns):
            mark = "" if number else figure(metric, _whole(top))
            yield f"{mark:>{left}} {'│' if look.unicode else '|'}{line}".rstrip()
        yield f"{figure(metric, 0):>{left}} {'└' if look.unicode else '+'}{ground}"
    yield f"{'':{left}}  {_times(starts, query['interval'], each, together, room)}".rstrip()
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


def _top(metric: str, values: Sequence[float | None]) -> float:
    """The value at the upper end of a scale."""
    return 100.0 if is_rate(metric) else max((v for v in values if v), default=1)


def _whole(value: float) -> float:
    """``value`` for a scale: small ones to the tenth where they have one."""
    return round(value) if value >= 10 or value == int(value) else round(value, 1)


def _means(values: Sequence[float | None], together: int) -> list[float | None]:
    """The means of so many values after one another, of those that are there."""
    means: list[float | None] = []
    for first in range(0, len(values), together):
        known = [value for value in values[first : first + together] if value is not None]
        means.append(sum(known) / len(known) if known else None)
    return means


def _panel(
    values: Sequence[float | None], top: float, height: int, each: int, look: Look
) -> list[str]:
    """Lines of columns, the upmost first, and the line they stand on, broken where is none."""
    filled = each - 1 if each > 2 else each
    blocks = _UPWARDS if look.unicode else _PLAIN
    lines = []
    for level in range(height - 1, -1, -1):
        line = ""
        for value in values:
            eighths = 0 if not value else max(round(value / top * height * 8), 1)
            line += (blocks[min(max(eighths - level * 8, 0), 8)] * filled).ljust(each)
        lines.append(line.rstrip())
    ground = "".join((" " if value is None else look.line) * each for value in values)
    return [*lines, ground.rstrip()]


def _times(starts: Sequence[str], interval: str, each: int, together: int, room: int) -> str:
    """When columns begin, under those that begin at a round time, as many as there is room for."""
    one_day = len({start[:10] for start in starts}) == 1
    for step in _STEPS.get(interval, _MINUTES):
        if interval == "1mo":
            shown = slice(0, 7)
        else:
            shown = slice(5, 10) if step % _DAY == 0 else slice(11 if one_day else 5, 16)
        line = ""
        for number, start in enumerate(starts):
            place = number // together * each
            text = moment(start, "1m")[shown]
            if _place(start, interval) % step or place + len(text) > room:
                continue
            if line and place < len(line) + 2:
                break  # too close to the one before: the next step is longer
            line = line.ljust(place) + text
        else:
            if line:
                return line
    return moment(starts[0], interval)[:room]


def _place(start: str, interval: str) -> int:
    """A local time, counted in minutes from a Monday, in whole days or in months."""
    time = datetime.fromisoformat(start)
    if interval == "1mo":
        return time.year * 12 + time.month - 1
    days = (time.toordinal() - 1) * _DAY
    # A day may begin at one o'clock, where clocks are put forward at midnight.
    return days if interval in ("1d", "1w") else days + time.hour * 60 + time.minute


def _bars(answer: Mapping[str, Any], metric: str, look: Look) -> Iterator[str]:
    query = answer["query"]
    if "groups" in answer:
        rows = [(_name(group, query), group[metric]) for group in others_last(answer["groups"])]
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
    top = _top(metric, numbers)
    columns = look.columns or _COLUMNS
    left = min(max(width(name) for name, _ in rows), columns // 3)
    if before:
        left = max(left, len("before"))
    told = [figure(metric, value) for _, value in rows]
    if before:
        changes = [change(metric, value, earlier.get(name)) for name, value in rows]
        told = [f"{text}  {changed}" for text, changed in zip(told, changes, strict=True)]
    room = max(columns - left - 3 - max(map(len, told)), 10)
    for (name, value), text in zip(rows, told, strict=True):
        bar = _bar(value, top, room, look)
        yield f"{pad(look.cut(name, left), left)}  {bar}{' ' if bar else ''}{text}"
        if before:
            was = earlier.get(name)
            bar = ("░" if look.unicode else "=") * round((was or 0) / top * room)
            yield f"{'before':>{left}}  {bar}{' ' if bar else ''}{figure(metric, was)}"


def _bar(value: float | None, top: float, room: int, look: Look) -> str:
    eighths = 0 if not value else max(round(value / top * room * 8), 1)
    whole, rest = divmod(eighths, 8)
    if not look.unicode:
        return "#" * max(round(eighths / 8), bool(eighths))
    return "█" * whole + (_SIDEWAYS[rest] if rest else "")
