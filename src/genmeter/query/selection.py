"""Parameters -> which records a query is about. Pure.

What comes out always says whose records: one account, or the patterns of an admin's query.
Nothing after this module asks without one (C23).
"""

import re
from datetime import date, datetime
from typing import Final, Literal
from zoneinfo import ZoneInfo

import msgspec

from genmeter.clock import DAY_MS, to_ms
from genmeter.errors import ForbiddenError
from genmeter.model.bots import ELEVEN, Bots
from genmeter.model.fields import FIELDS, MAX_RETRY, Field
from genmeter.query import buckets
from genmeter.query.parameters import Parameters, quoted

EMPTY: Final = "(empty)"
"""The pattern of records that have no value, as the contract calls them (C17)."""

ALL: Final = "all"
NOT: Final = "!"
"""At the end of a parameter's name: none of these."""

MINUTE_MS: Final = 60_000

DimensionType = Literal["text", "code", "retry", "provider"]


class Dimension(msgspec.Struct, frozen=True, kw_only=True):
    """A field that records can be chosen by and, where ``groups``, cut by."""

    name: str
    column: str
    type: DimensionType = "text"
    groups: bool = True


def _dimension(field: Field) -> Dimension:
    types: dict[str, DimensionType] = {"code": "code", "number": "retry", "providers": "provider"}
    return Dimension(
        name=field.dimension,
        column=field.column,
        type=types.get(field.type, "text"),
        groups=field.groups,
    )


DIMENSIONS: Final = {
    dimension.name: dimension
    for dimension in sorted(
        (_dimension(field) for field in FIELDS if field.dimension),
        # Texts first, then captchas, then what cannot be grouped by.
        key=lambda one: (not one.groups, one.type in ("provider", "retry")),
    )
}


class Pattern(msgspec.Struct, frozen=True):
    """What a value must be: ``exact``, begin with (``prefix``), or a ``class`` of codes (4: 4xx).

    An exact ``""`` is a record without a value.
    """

    match: Literal["exact", "prefix", "class"]
    value: str


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """One of these patterns holds for a dimension, or none of them where ``negated``."""

    dimension: str
    patterns: tuple[Pattern, ...]
    negated: bool = False

    @property
    def name(self) -> str:
        """The parameter's name."""
        return self.dimension + (NOT if self.negated else "")

    def matches(self, text: str) -> bool:
        """Whether a text is among these, of a dimension whose patterns are all of texts."""
        either = any(
            text.startswith(pattern.value) if pattern.match == "prefix" else text == pattern.value
            for pattern in self.patterns
        )
        return either is not self.negated


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """Records from ``start_ms`` up to and without ``end_ms`` that all ``filters`` let through.

    ``account`` is whose they are; where it is None, ``accounts`` are the patterns that an admin's
    query has for their names.
    """

    account: str | None
    accounts: tuple[Filter, ...] = ()
    start_ms: int
    end_ms: int
    timezone: str
    filters: tuple[Filter, ...] = ()
    min_msec: int | None = None
    max_msec: int | None = None

    def owns(self, account: str) -> bool:
        """Whether records of an account may be among these."""
        if self.account is not None:
            return account == self.account
        return all(filter_.matches(account) for filter_ in self.accounts)

    @property
    def zone(self) -> ZoneInfo:
        """The zone that times are cut and written in."""
        return ZoneInfo(self.timezone)

    def echo(self) -> dict[str, object]:
        """The selection as parameters: asked again, they are this very selection."""
        shown: dict[str, object] = {}
        if self.account is not None:
            shown["account"] = [_spelled(Pattern("exact", self.account))]
        for filter_ in self.accounts:
            shown[filter_.name] = [_spelled(pattern) for pattern in filter_.patterns]
        shown["bot"] = [ALL]
        shown["from"] = buckets.local_iso(self.start_ms, self.zone)
        shown["to"] = buckets.local_iso(self.end_ms, self.zone)
        shown["timezone"] = self.timezone
        for filter_ in self.filters:
            shown[filter_.name] = [_spelled(pattern) for pattern in filter_.patterns]
        for name in ("min_msec", "max_msec"):
            if (bound := getattr(self, name)) is not None:
                shown[name] = bound
        return shown


class Asking(msgspec.Struct, frozen=True, kw_only=True):
    """Who asks, when, how long a range may be, and the key that signs cursors."""

    account: str
    any_account: bool
    now_ms: int
    most_days: int
    cursor_key: bytes
    bots: Bots = ELEVEN


def parse(given: Parameters, asking: Asking) -> Selection:
    """The selection that ``given`` asks for; faults are noted in it.

    Raises ForbiddenError where another account is named without the right to. Where faults were
    noted, what comes out stands for nothing.
    """
    where = given.read("timezone", buckets.zone) or ZoneInfo("UTC")
    start_ms, end_ms = _range(given, asking, where)
    account, accounts = _accounts(given, asking)
    filters = [
        filter_
        for dimension in DIMENSIONS.values()
        if dimension.name != "account"
        for filter_ in _filters(given, dimension, asking.bots)
    ]
    return Selection(
        account=account,
        accounts=accounts,
        start_ms=start_ms,
        end_ms=end_ms,
        timezone=where.key,
        filters=tuple(filters),
        min_msec=given.read("min_msec", _msec),
        max_msec=given.read("max_msec", _msec),
    )


def everything(given: Parameters, asking: Asking) -> Selection:
    """All records of the account or accounts that ``given`` names, of any time."""
    account, accounts = _accounts(given, asking)
    return Selection(
        account=account,
        accounts=accounts,
        start_ms=0,
        end_ms=asking.now_ms + DAY_MS,  # a record may be some minutes ahead (R3)
        timezone="UTC",
    )


def _accounts(given: Parameters, asking: Asking) -> tuple[str | None, tuple[Filter, ...]]:
    """The one account a query is about, or the patterns of several."""
    filters = tuple(_filters(given, DIMENSIONS["account"], asking.bots))
    if not filters:
        return asking.account, ()
    only = filters[0].patterns[0]
    single = len(filters) == len(filters[0].patterns) == 1 and only.match == "exact"
    if single and not filters[0].negated and (asking.any_account or only.value == asking.account):
        return only.value, ()
    if not asking.any_account:
        if given.faults:
            return asking.account, ()
        raise ForbiddenError("account: only a token with the admin scope may read another account")
    return None, filters


DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}(:[0-9]{2}([.,][0-9]{1,9})?)?"
    r"([Zz]|[+-][0-9]{2}:?[0-9]{2})"
)
EPOCH: Final = re.compile(r"[0-9]{1,15}")
LAST: Final = re.compile(r"([1-9][0-9]{0,6})([mhdw])")
_UNITS: Final = {"m": MINUTE_MS, "h": 60 * MINUTE_MS, "d": DAY_MS, "w": 7 * DAY_MS}


def _range(given: Parameters, asking: Asking, where: ZoneInfo) -> tuple[int, int]:
    before = len(given.faults)
    last = given.read("last", _last)
    start = given.read("from", lambda text: _moment(text, where))
    end = given.read("to", lambda text: _moment(text, where))
    minute_end = (asking.now_ms // MINUTE_MS + 1) * MINUTE_MS
    if len(given.faults) > before:
        return 0, 1
    if last is not None and (start is not None or end is not None):
        given.faults.append("last may not be combined with from or to")
    elif last is not None or (start is None and end is None):
        end = minute_end
        start = end - (last or DAY_MS)
    elif start is None:
        given.faults.append("to needs from, or give last alone")
    elif end is None:
        end = minute_end
    if start is None or end is None or len(given.faults) > before:
        return 0, 1
    if start >= end:
        given.faults.append(
            f"from must be before to, they are {buckets.local_iso(start, where)} "
            f"and {buckets.local_iso(end, where)}"
        )
    elif end - start > asking.most_days * DAY_MS:
        given.faults.append(f"the range may be at most {asking.most_days} days long")
    return start, end


def _last(text: str) -> int:
    found = LAST.fullmatch(text)
    if not found:
        raise ValueError("a number and one of m, h, d, w, such as 90m, 24h, 7d or 4w")
    return int(found[1]) * _UNITS[found[2]]


def _moment(text: str, where: ZoneInfo) -> int:
    """A date is its local midnight, an instant itself."""
    try:
        if DATE.fullmatch(text):
            moment = buckets.midnight(date.fromisoformat(text), where)
        elif INSTANT.fullmatch(text):
            moment = to_ms(datetime.fromisoformat(text.upper().replace(",", ".")))
        elif EPOCH.fullmatch(text):
            moment = int(text)
        else:
            raise ValueError
    except (ValueError, OverflowError):
        moment = -1
    if not buckets.EARLIEST_MS <= moment <= buckets.LATEST_MS:
        raise ValueError(
            "a date such as 2026-07-01, an instant with an offset such as 2026-07-01T00:00:00Z "
            "(write + as %2B in a URL), or milliseconds since 1970"
        )
    return moment


MAX_FILTER_MSEC: Final = 10**10 - 1


def _msec(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text):
        raise ValueError("a number of milliseconds")
    return int(text)


def _filters(given: Parameters, dimension: Dimension, bots: Bots) -> list[Filter]:
    found = []
    for negated in (False, True):
        name = dimension.name + (NOT if negated else "")
        values = given.all(name)
        if dimension.name == "bot" and not negated and ALL in values:
            if len(values) > 1:
                given.faults.append("bot must be all or a list of bots, not both")
            continue
        patterns = [p for text in values if (p := _pattern(text, name, dimension, given, bots))]
        if patterns:
            found.append(
                Filter(dimension=dimension.name, patterns=tuple(patterns), negated=negated)
            )
    return found


def _pattern(
    text: str, name: str, dimension: Dimension, given: Parameters, bots: Bots
) -> Pattern | None:
    """What a value asks for; None where a fault was noted."""
    if dimension.type == "code":
        if re.fullmatch(r"[0-9]xx", text, re.IGNORECASE):
            return Pattern("class", text[0])
        if re.fullmatch(r"[0-9]{1,3}", text):
            return Pattern("exact", str(int(text)))
        given.faults.append(
            f"{name} must be a code from 0 to 999 or a class such as 2xx, not {quoted(text)}"
        )
        return None
    if dimension.type == "retry":
        if text == EMPTY:
            return Pattern("exact", "")
        if re.fullmatch(r"[0-9]{1,5}", text) and int(text) <= MAX_RETRY:
            return Pattern("exact", str(int(text)))
        given.faults.append(f"{name} must be from 0 to {MAX_RETRY} or {EMPTY}, not {quoted(text)}")
        return None
    if dimension.name == "bot":
        if text not in bots:
            known = ", ".join(bots.names)
            given.faults.append(
                f"{name} is not known: {quoted(text)}, it is {ALL}, or some of {known}"
            )
            return None
        return Pattern("exact", text)
    return unescaped(text)


def unescaped(text: str) -> Pattern:
    """The pattern that a text spells: a ``\\`` takes the meaning from the character after it."""
    if text == EMPTY:
        return Pattern("exact", "")
    value = ""
    position = 0
    while position < len(text):
        char = text[position]
        position += 1
        if char == "*" and position == len(text):
            return Pattern("prefix", value)
        if char == "\\" and position < len(text):
            char = text[position]
            position += 1
        value += char
    return Pattern("exact", value)


def _spelled(pattern: Pattern) -> str:
    """A pattern as a value that :func:`unescaped` reads (in JSON, where commas separate none)."""
    if pattern.match == "class":
        return f"{pattern.value}xx"
    text = pattern.value.replace("\\", "\\\\")
    if pattern.match == "prefix":
        return text + "*"
    if text == "":
        return EMPTY
    if text == EMPTY:
        return "\\" + EMPTY
    return text[:-1] + "\\*" if text.endswith("*") else text
