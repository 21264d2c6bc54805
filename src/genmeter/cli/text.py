"""Text for terminals: what fits, how figures and times are written. Pure."""

import unicodedata
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import groupby
from typing import Any, Final

import msgspec

EMPTY: Final = "(empty)"
"""What the API calls a field that a record does not have."""

OTHERS: Final = "(others)"
NONE: Final = "-"

Group = Mapping[str, Any]
"""One of the ``groups`` of an answer, or its ``total``."""


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What the output can show: ``columns`` of text (None: any), ``unicode``, ``bold``."""

    columns: int | None = None
    unicode: bool = True
    bold: bool = False

    @property
    def line(self) -> str:
        """What separators are drawn with."""
        return "─" if self.unicode else "-"

    def strong(self, text: str) -> str:
        """``text``, bold where that can be shown."""
        return f"\x1b[1m{text}\x1b[0m" if self.bold else text

    def cut(self, text: str, columns: int) -> str:
        """``text`` in at most so many columns, with a mark where something is missing."""
        if width(text) <= columns:
            return text
        kept, room = "", columns - 1
        for char in text:
            room -= width(char)
            if room < 0:
                break
            kept += char
        return kept + ("…" if self.unicode else "~")


def width(text: str) -> int:
    """How many columns of a terminal ``text`` takes."""
    if text.isascii():
        return len(text)
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in text)
    return len(text) + wide - sum(bool(unicodedata.combining(char)) for char in text)


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """``text`` with blanks behind it, or before it where it is aligned ``right``."""
    blanks = " " * (columns - width(text))
    return blanks + text if right else text + blanks


def printable(text: str) -> str:
    """``text`` without what would move the cursor or worse."""
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


def is_rate(metric: str) -> bool:
    """Whether a metric is a percentage."""
    return metric.endswith("_rate")


def figure(metric: str, value: Any) -> str:
    """A metric's value: thousands apart, rates with ``%``, times to the minute."""
    if value is None:
        return NONE
    if isinstance(value, str):
        return moment(value, "1m")
    if is_rate(metric):
        return f"{value:.1f}%"
    if metric.startswith("avg_captcha"):
        return f"{value:.1f}"
    return f"{value:,}"


def change(metric: str, value: Any, before: Any) -> str:
    """How much a value differs: in percent of what it was, of rates in percentage points."""
    if not isinstance(value, int | float) or not isinstance(before, int | float):
        return NONE
    if is_rate(metric):
        return f"{value - before:+.1f} pt"
    if before == 0:
        return NONE
    percent = (value - before) / before * 100
    return f"{percent:+,.1f}%" if abs(percent) < 999.95 else f"{percent:+,.0f}%"


def label(dimension: str, value: Any, *, other: bool = False) -> str:
    """The value of a dimension in a group."""
    if value is None or value == "":
        return OTHERS if other else EMPTY
    return printable(str(value))


def moment(text: str, interval: str, *, offset: bool = False) -> str:
    """``2026-07-01 14:00`` of an ISO 8601 time, as exact as the interval needs it.

    With its ``offset`` where hours may come twice.
    """
    if interval == "1mo":
        return text[:7]
    if interval in ("1d", "1w"):
        return text[:10]
    exact = 23 if interval == "" else 16
    return f"{text[:10]} {text[11:exact]}" + (text[23:] if offset else "")


def moments(texts: list[str], interval: str) -> list[str]:
    """Times of one column; they have their offsets where these differ."""
    several = interval not in ("1d", "1w", "1mo") and len({text[23:] for text in texts}) > 1
    return [moment(text, interval, offset=several) for text in texts]


def in_time(texts: Iterable[str]) -> list[str]:
    """Different ISO 8601 times, the earliest first, whatever their offsets."""
    return sorted(set(texts), key=datetime.fromisoformat)


def others_last(groups: Iterable[Group]) -> list[Group]:
    """Groups in their order, but all others together, which are none, at the end of each start."""
    runs = groupby(groups, key=lambda group: group.get("start"))
    return [
        group
        for _, run in runs
        for group in sorted(run, key=lambda group: bool(group.get("other")))
    ]


def caption(query: Mapping[str, Any]) -> str:
    """Whose records a query is about, which of them, and when."""
    named = {"account", "bot", "from", "to", "timezone"}
    said = named | {"metrics", "group_by", "interval", "order", "top", "compare", "limit", "cursor"}
    all_ = {"*": "all accounts", "all": "all bots"}
    what = [_values(query[name]) for name in ("account", "bot") if name in query]
    what = [all_.get(text, text) for text in what]
    what.append(f"{moment(query['from'], '1m')} to {moment(query['to'], '1m')}")
    what.append(query["timezone"])
    what += [f"{name}={_values(value)}" for name, value in query.items() if name not in said]
    return printable(", ".join(what))


def _values(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
