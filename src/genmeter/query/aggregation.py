"""Parameters of ``/v2/account/stats/query`` -> what to compute, of which records. Pure."""

from typing import Final

import msgspec

from genmeter.errors import LimitError
from genmeter.query import buckets as periods
from genmeter.query import metrics, selection
from genmeter.query.metrics import Metric, Sums, percentile
from genmeter.query.parameters import Parameters, quoted
from genmeter.query.selection import DIMENSIONS, Asking, Dimension, Selection

MAX_METRICS: Final = 30
MAX_GROUP_BY: Final = 3
MAX_TOP: Final = 1000
START: Final = "start"
AUTO: Final = "auto"
PREVIOUS: Final = "previous"


class Order(msgspec.Struct, frozen=True):
    """A key that groups are ordered by: a metric, a dimension, or ``start``."""

    key: str
    descending: bool

    def __str__(self) -> str:
        return ("-" if self.descending else "") + self.key


class AggregateQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Metrics of a selection, for each group and bucket of time.

    ``edges`` are where buckets begin, none where there is no ``interval``. ``top`` is how many
    groups are told apart. ``previous`` is the range of the period before, where it is asked for.
    """

    selection: Selection
    metrics: tuple[Metric, ...]
    group_by: tuple[Dimension, ...] = ()
    interval: str | None = None
    edges: tuple[int, ...] = ()
    order: tuple[Order, ...]
    top: int | None = None
    previous: tuple[int, int] | None = None

    @property
    def cuts(self) -> bool:
        """Whether there are groups beside the total."""
        return bool(self.group_by or self.edges)

    @property
    def rank(self) -> Order:
        """What says which groups are the top ones."""
        names = {metric.name for metric in self.metrics}
        ranks = [order for order in self.order if order.key in names]
        return ranks[0] if ranks else Order(self.metrics[0].name, descending=True)

    @property
    def adds_up(self) -> bool:
        """Whether its figures are made of sums alone, which those of several groups add up to."""
        needs = (name for metric in self.metrics for name in metric.needs)
        return all(percentile(name) is None for name in needs)

    def ranking(self) -> "AggregateQuery":
        """What says which groups are the top ones: the whole range, and the one metric."""
        metric = next(metric for metric in self.metrics if metric.name == self.rank.key)
        return msgspec.structs.replace(
            self, metrics=(metric,), interval=None, edges=(), previous=None, order=(self.rank,)
        )

    def of_previous(self) -> "AggregateQuery":
        """The same of the period before."""
        assert self.previous is not None  # noqa: S101  # the caller's branch
        start, end = self.previous
        chosen = msgspec.structs.replace(self.selection, start_ms=start, end_ms=end)
        cut = periods.edges(start, end, self.interval, chosen.zone) if self.interval else []
        return msgspec.structs.replace(self, selection=chosen, edges=tuple(cut), previous=None)

    def echo(self) -> dict[str, object]:
        """The analysis as parameters: asked again, they give the same answer."""
        shown = self.selection.echo()
        shown["metrics"] = [metric.name for metric in self.metrics]
        if self.group_by:
            shown["group_by"] = [dimension.name for dimension in self.group_by]
        if self.interval:
            shown["interval"] = self.interval
        if self.cuts:
            shown["order"] = [str(order) for order in self.order]
        if self.top:
            shown["top"] = self.top
        if self.previous:
            shown["compare"] = PREVIOUS
        return shown


def parse(given: Parameters, asking: Asking, *, most_groups: int) -> AggregateQuery:
    """The analysis that ``given`` asks for; faults are noted in it.

    Where faults were noted, what comes out stands for nothing. Raises ForbiddenError as
    :func:`genmeter.query.selection.parse` does, and LimitError where there would be more than
    ``most_groups`` buckets.
    """
    chosen = selection.parse(given, asking)
    wanted = _metrics(given)
    group_by = _group_by(given, asking)
    interval = given.read("interval", _interval)
    top = given.read("top", _top)
    if top is not None and not group_by:
        given.faults.append("top needs group_by")
    compare = given.read("compare", _compare)
    keys = [metric.name for metric in wanted] + [dimension.name for dimension in group_by]
    order = _order(given, keys + ([START] if interval else []))
    if order and not group_by and not interval:
        given.faults.append("order needs group_by or interval")
    if not order:
        first = Order(wanted[0].name, descending=True)
        order = (Order(START, descending=False), first) if interval else (first,)
    analysis = AggregateQuery(
        selection=chosen,
        metrics=wanted,
        group_by=group_by,
        order=order,
        top=top,
    )
    if given.faults:
        return analysis
    span = (chosen.start_ms, chosen.end_ms)
    if interval:
        if interval == AUTO:
            interval = periods.auto(*span, chosen.zone)
        if (span[1] - span[0]) // periods.INTERVALS[interval] > most_groups:
            raise LimitError(
                f"interval={interval} divides this range into more than {most_groups} buckets, "
                "which is the most groups a response may have; use a longer interval or less time"
            )
        cut = tuple(periods.edges(*span, interval, chosen.zone))
        analysis = msgspec.structs.replace(analysis, interval=interval, edges=cut)
    if compare:
        before = periods.before(*span, chosen.zone)
        analysis = msgspec.structs.replace(analysis, previous=before)
    return analysis


def _metrics(given: Parameters) -> tuple[Metric, ...]:
    names = given.all("metrics") or metrics.DEFAULT
    found = []
    for name in names:
        try:
            found.append(metrics.metric(name))
        except ValueError as error:
            given.faults.append(f"metrics must be {error}, not {quoted(name)}")
    if len(found) > MAX_METRICS:
        given.faults.append(f"metrics are {len(found)}, at most {MAX_METRICS} are allowed")
    return tuple(found) or (metrics.metric("jobs"),)


def _group_by(given: Parameters, asking: Asking) -> tuple[Dimension, ...]:
    allowed = {
        name: dimension
        for name, dimension in DIMENSIONS.items()
        if dimension.groups and (name != "account" or asking.any_account)
    }
    found = []
    for name in given.all("group_by"):
        if name in allowed:
            found.append(allowed[name])
        else:
            given.faults.append(f"group_by must be one of {', '.join(allowed)}, not {quoted(name)}")
    if len(found) > MAX_GROUP_BY:
        given.faults.append(f"group_by has {len(found)} fields, at most {MAX_GROUP_BY} are allowed")
    return tuple(found)


def _order(given: Parameters, keys: list[str]) -> tuple[Order, ...]:
    found: dict[str, Order] = {}
    for text in given.all("order"):
        key = text.removeprefix("-")
        if key in keys:
            found.setdefault(key, Order(key, descending=text.startswith("-")))
        else:
            given.faults.append(
                f"order must be one of {', '.join(keys)}, a leading - sorts descending, "
                f"not {quoted(text)}"
            )
    return tuple(found.values())


def _interval(text: str) -> str:
    if text != AUTO and text not in periods.INTERVALS:
        raise ValueError(f"{AUTO}, {', '.join(periods.INTERVALS)}")
    return text


def _top(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 6 and 1 <= int(text) <= MAX_TOP:
        return int(text)
    raise ValueError(f"an integer from 1 to {MAX_TOP}")


def _compare(text: str) -> str:
    if text != PREVIOUS:
        raise ValueError(PREVIOUS)
    return text


Key = tuple[int | str | None, ...]
"""What a group is known by: its bucket's beginning, where there are buckets, then a value for each
dimension."""


OTHER: Final = "\x01other"
"""The value of all dimensions of the group that stands for the rest; no record can hold it (R3)."""


Groups = dict[Key, dict[str, int]]


class Aggregates(msgspec.Struct):
    """What was counted: over all, and for each group."""

    total: Sums
    groups: Groups
