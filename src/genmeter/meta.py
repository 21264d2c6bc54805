"""What there is to ask about: everything a form needs, as ``/v2/account/stats/meta`` answers it."""

import threading
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta as About

from genmeter.analysis import MAX_GROUP_BY, MAX_METRICS, MAX_TOP
from genmeter.analyst import MAX_VALUES, Analyst
from genmeter.bots import BOTS
from genmeter.clock import iso
from genmeter.formats import FORMATS
from genmeter.metrics import METRICS, PERCENTILES_HELP
from genmeter.periods import INTERVALS
from genmeter.query import MAX_LIMIT
from genmeter.selection import DIMENSIONS, Filter, Selection
from genmeter.shards import Run

_KEPT: Final = 1000
"""How many accounts' values are remembered."""

_FRESH_MS: Final = 3_600_000
"""How long values that no record has any more may still be named."""

_LATE: Final = 60_000_000
"""How far below the highest version records are looked at again, a minute of them: over servers a
version may be stored after a higher one."""

_Whose = tuple[str | None, tuple[Filter, ...]]
T = TypeVar("T")


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How far a question may go."""

    days: Annotated[int, About(description="Longest range, days")]
    groups: Annotated[int, About(description="Most groups of an answer")]
    seconds: Annotated[int, About(description="Longest time a question may take")]
    metrics: Annotated[int, About(description="Most metrics of a question")] = MAX_METRICS
    group_by: Annotated[int, About(description="Most fields of group_by")] = MAX_GROUP_BY
    top: Annotated[int, About(description="Most top groups")] = MAX_TOP
    limit: Annotated[int, About(description="Most rows of a page")] = MAX_LIMIT


class Described(msgspec.Struct, frozen=True):
    """A metric that can be asked for."""

    name: str
    help: str


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole answer. Times are ISO 8601 in UTC."""

    account: str | None
    accounts: list[str] | None = None
    bots: list[str]
    dimensions: Annotated[
        dict[str, list[int | str]],
        About(description="The values that records have, of each dimension, at most 1000"),
    ]
    metrics: list[Described]
    intervals: list[str]
    formats: list[str]
    limits: Limits
    retention_days: Annotated[int, About(description="0: records are kept for ever")]
    oldest: Annotated[str | None, About(description="Time of the earliest record")]
    newest: Annotated[str | None, About(description="Time of the latest record")]
    records: int


class _Known(msgspec.Struct):
    """The values of one selection, as far as records up to ``version`` have them."""

    version: int
    since_ms: int
    values: dict[str, set[int | str]]


class _Answer(msgspec.Struct, frozen=True):
    """An answer, the state of the records that it tells of, and when the earliest of them was.

    Its values are as old as ``since_ms``.
    """

    meta: Meta
    state: str
    oldest: int
    since_ms: int

    def holds(self, now_ms: int, oldest_ms: int) -> bool:
        """Whether time alone has not made it wrong."""
        past = self.meta.records and self.oldest < oldest_ms
        return not past and now_ms - self.since_ms <= _FRESH_MS


class Inventory:
    """Answers what there is, and remembers the values that records have.

    Once known, only records that have come since are looked at, and nothing where none have, so
    that a form can ask each time it opens. Values that no record has any more are named for an hour
    at the most.
    """

    def __init__(self, analyst: Analyst, limits: Limits, retention_days: int) -> None:
        self._analyst = analyst
        self._limits = limits
        self._retention_days = retention_days
        self._known: dict[_Whose, _Known] = {}
        self._answers: dict[_Whose, _Answer] = {}
        self._lock = threading.Lock()

    def meta(self, selection: Selection, run: Run, state: str) -> Meta:
        """What there is of a selection that has no other condition than whose records it has.

        ``state`` is what changes with its records, asked for before. With it unchanged an answer
        holds until its earliest record is past retention.
        """
        key = (selection.account, selection.accounts)
        with self._lock:
            last = self._answers.get(key)
        if last and last.state == state and last.holds(run.now_ms, run.oldest_ms):
            return last.meta
        # Before the values: those of every record that it tells of are then known.
        records, oldest, newest, version = self._analyst.extent(selection, run)
        values, since_ms = self._values(key, selection, run, version)
        accounts = values.pop("account", None)
        meta = Meta(
            account=selection.account,
            accounts=None if accounts is None else [str(name) for name in accounts],
            bots=list(BOTS),
            dimensions=values,
            metrics=[
                *(Described(metric.name, metric.help) for metric in METRICS.values()),
                Described("p50", PERCENTILES_HELP),
            ],
            intervals=["auto", *INTERVALS],
            formats=list(FORMATS),
            limits=self._limits,
            retention_days=self._retention_days,
            oldest=iso(oldest) if records else None,
            newest=iso(newest) if records else None,
            records=records,
        )
        with self._lock:
            _keep(self._answers, key, _Answer(meta, state, oldest, since_ms))
        return meta

    def _values(
        self, key: _Whose, selection: Selection, run: Run, version: int
    ) -> tuple[dict[str, list[int | str]], int]:
        """The values of each dimension, in order, and since when they have been added up.

        ``account`` only where there may be several; ``version`` is the highest of all records.
        """
        dimensions = [
            dimension
            for dimension in DIMENSIONS.values()
            if dimension.groups and (dimension.name != "account" or selection.account is None)
        ]
        with self._lock:
            known = self._known.get(key)
        if known is None or run.now_ms - known.since_ms > _FRESH_MS:
            known = _Known(0, run.now_ms, {})
        if version:
            late = max(0, known.version - _LATE)
            found = self._analyst.values(selection, dimensions, run, after_version=late)
            merged = {name: known.values.get(name, set()) | found[name] for name in found}
            known = _Known(version, known.since_ms, merged)
            with self._lock:
                _keep(self._known, key, known)
        named = {
            dimension.name: [*sorted(known.values.get(dimension.name, ()))][:MAX_VALUES]
            for dimension in dimensions
        }
        return named, known.since_ms


def _keep(kept: dict[_Whose, T], key: _Whose, value: T) -> None:
    if len(kept) >= _KEPT:
        kept.clear()
    kept[key] = value
