"""What there is to ask about: everything a form needs, as ``/v2/account/stats/meta`` answers it."""

import threading
from collections.abc import Mapping
from typing import Annotated, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Meta as About

from genmeter.clock import DAY_MS, iso
from genmeter.execution.aggregator import MAX_VALUES, Aggregator, RecordStats, together
from genmeter.formats.encoders import FORMATS
from genmeter.model.bots import Bots
from genmeter.model.fields import LISTED
from genmeter.query.aggregation import MAX_GROUP_BY, MAX_METRICS, MAX_TOP
from genmeter.query.buckets import INTERVALS
from genmeter.query.metrics import METRICS, PERCENTILES_HELP
from genmeter.query.selection import DIMENSIONS, Filter, Selection
from genmeter.query.stats import MAX_LIMIT
from genmeter.storage.shards import Lasting, Run, Shards

_KEPT: Final = 1000
"""How many accounts' values are remembered."""

_LATE: Final = 60_000_000
"""How far below the highest version records are looked at again, a minute of them: over servers a
version may be stored after a higher one."""


class _Found(NamedTuple):
    """The number of records, when the earliest and the latest was, and values in their order."""

    records: int
    oldest: int
    newest: int
    values: dict[str, list[int | str]]


_Whose = tuple[str | None, tuple[Filter, ...]]
T = TypeVar("T")


class QueryLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How far a query may go."""

    days: Annotated[int, About(description="Longest range, days")]
    groups: Annotated[int, About(description="Most groups of an answer")]
    seconds: Annotated[int, About(description="Longest time a question may take")]
    metrics: Annotated[int, About(description="Most metrics of a question")] = MAX_METRICS
    group_by: Annotated[int, About(description="Most fields of group_by")] = MAX_GROUP_BY
    top: Annotated[int, About(description="Most top groups")] = MAX_TOP
    limit: Annotated[int, About(description="Most rows of a page")] = MAX_LIMIT


class DescribedField(msgspec.Struct, frozen=True):
    """A field of a record."""

    key: Annotated[str, About(description="Its name in a record")]
    label: Annotated[str, About(description="What people call it")]
    dimension: Annotated[str | None, About(description="The name it is filtered by")]
    groups: Annotated[bool, About(description="Whether it can be grouped by")]
    number: Annotated[bool, About(description="Whether its values are integers")]


FIELDS: Final = [
    DescribedField(
        key=field.key,
        label=field.label,
        dimension=field.dimension or None,
        groups=bool(field.dimension) and field.groups,
        number=field.is_number,
    )
    for field in LISTED
]


class Described(msgspec.Struct, frozen=True):
    """A metric that can be asked for."""

    name: str
    help: str


class Meta(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The whole answer. Times are ISO 8601 in UTC."""

    account: str | None
    accounts: list[str] | None = None
    bots: list[str]
    fields: Annotated[list[DescribedField], About(description="The fields of a record, in order")]
    dimensions: Annotated[
        dict[str, list[int | str]],
        About(description="The values that records have, of each dimension, at most 1000"),
    ]
    metrics: list[Described]
    intervals: list[str]
    formats: list[str]
    limits: QueryLimits
    retention_days: Annotated[int, About(description="0: records are kept for ever")]
    oldest: Annotated[str | None, About(description="Time of the earliest record")]
    newest: Annotated[str | None, About(description="Time of the latest record")]
    records: int


class _Known(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a selection on a UTC day, in days since 1970.

    ``extent`` is that of the records of ``lasting``; ``values`` are those of all records up to
    ``version``.
    """

    day: int
    lasting: Lasting
    extent: RecordStats
    version: int
    values: Mapping[str, frozenset[int | str]]


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    """An answer, and of the records it tells of: their state and when the earliest was."""

    meta: Meta
    day: int
    state: str
    oldest: int

    def holds(self, run: Run) -> bool:
        """Whether time alone has not made it wrong."""
        past = self.meta.records and self.oldest < run.oldest_ms
        return not past and self.day == run.now_ms // DAY_MS


class Catalog:
    """Answers what there is, and remembers what was found, for a form asks each time it opens.

    Where this process alone writes, times that nothing is inserted into any more are not looked at
    again; elsewhere only records that have come since are looked at for their values. What is
    remembered is of one UTC day: so long may values be named that no record has any more.
    """

    def __init__(
        self,
        analyst: Aggregator,
        shards: Shards,
        limits: QueryLimits,
        retention_days: int,
        bots: Bots,
    ) -> None:
        self._aggregator = analyst
        self._shards = shards
        self._limits = limits
        self._retention_days = retention_days
        self._bots = bots
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
        if last and last.state == state and last.holds(run):
            return last.meta
        records, oldest, newest, values = self._found(key, selection, run)
        accounts = values.pop("account", None)
        meta = Meta(
            account=selection.account,
            accounts=None if accounts is None else [str(name) for name in accounts],
            bots=list(self._bots.names),
            fields=FIELDS,
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
        answer = _Answer(meta=meta, day=run.now_ms // DAY_MS, state=state, oldest=oldest)
        with self._lock:
            _keep(self._answers, key, answer)
        return meta

    def _found(self, key: _Whose, selection: Selection, run: Run) -> _Found:
        """What there is of a selection now."""
        dimensions = [
            dimension
            for dimension in DIMENSIONS.values()
            if dimension.groups and (dimension.name != "account" or selection.account is None)
        ]
        with self._lock:
            known = self._known.get(key)
        if known and known.day != run.now_ms // DAY_MS:
            known = None
        lasting = self._shards.lasting(selection, run)
        if known and known.lasting.covers(lasting) and known.lasting.holds():
            lasting, past = known.lasting, known.extent
            news = lasting.around(selection)
        else:
            past = self._aggregator.extent(lasting.within(selection), run)
            news = [selection]
        # Before the values: those of every record that it tells of are then known.
        around = [self._aggregator.extent(part, run) for part in lasting.around(selection)]
        whole = together([past, *around])
        version = known.version if known else 0
        values = dict(known.values) if known else {}
        for part in news if whole.version else ():
            found = self._aggregator.values(
                part, dimensions, run, after_version=max(0, version - _LATE)
            )
            for name, some in found.items():
                values[name] = values.get(name, frozenset()) | some
        known = _Known(
            day=run.now_ms // DAY_MS,
            lasting=lasting,
            extent=past,
            version=max(version, whole.version),
            values=values,
        )
        with self._lock:
            _keep(self._known, key, known)
        named = {
            dimension.name: [*sorted(values.get(dimension.name, ()))][:MAX_VALUES]
            for dimension in dimensions
        }
        return _Found(whole.records, whole.oldest, whole.newest, named)


def _keep(kept: dict[_Whose, T], key: _Whose, value: T) -> None:
    if len(kept) >= _KEPT:
        kept.clear()
    kept[key] = value
