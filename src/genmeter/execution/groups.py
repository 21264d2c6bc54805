"""Sums of groups -> the figures of an answer: filled, ordered, with a tail. Pure."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from genmeter.query.aggregation import OTHER, START, AggregateQuery, Aggregates, Groups, Key
from genmeter.query.buckets import local_iso
from genmeter.query.metrics import Metric, Sums, percentile, rank
from genmeter.query.selection import Dimension


class Result(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The figures of a range, as an answer shows them."""

    total: dict[str, Any]
    groups: list[dict[str, Any]] | None = None


def merge(parts: Iterable[Sums], names: Iterable[str]) -> dict[str, int]:
    """The sums of several shards as those of one; percentiles cannot be added up."""
    found = [part for part in parts if part["jobs"]]
    if not found:
        return dict.fromkeys(names, 0)
    if len(found) == 1:
        return {name: found[0][name] for name in names}
    return {name: _MERGE.get(name, sum)(part[name] for part in found) for name in names}


_MERGE: Final[Mapping[str, Callable[[Iterable[int]], int]]] = {
    "min_msec": min,
    "max_msec": max,
    "first": min,
    "last": max,
}


def percentiles(durations: Sequence[tuple[int, int]], names: Sequence[str]) -> dict[str, int]:
    """Percentiles of durations, given as each duration's number of jobs."""
    ascending = sorted(durations)
    jobs = sum(count for _, count in ascending)
    places = sorted((rank(percentile(name) or 0, jobs), name) for name in names)
    found: dict[str, int] = {}
    passed = 0
    rest: Iterator[tuple[int, int]] = iter(ascending)
    msec = 0
    for wanted, name in places:
        while passed <= wanted:
            msec, count = next(rest)
            passed += count
        found[name] = msec
    return found


def top(query: AggregateQuery, groups: Groups) -> list[Key]:
    """The keys of the groups that are told apart, of groups without buckets."""
    rank = query.rank
    metric = next(metric for metric in query.metrics if metric.name == rank.key)

    def by_rank(key: Key) -> tuple[Any, ...]:
        return _sorts(metric.value(groups[key]), rank.descending), *map(_sorts, key)

    return sorted(groups, key=by_rank)[: query.top]


def without_buckets(query: AggregateQuery, groups: Groups) -> Groups:
    """Groups that add up, each over all of its buckets."""
    if not query.edges:
        return groups
    return _merged(groups, lambda key: key[1:])


def tail(query: AggregateQuery, groups: Groups, keep: Iterable[Key]) -> Groups:
    """Groups that add up, with those that are not kept as one, in each bucket."""
    kept = set(keep)
    other = (OTHER,) * len(query.group_by)
    buckets = 1 if query.edges else 0
    return _merged(groups, lambda key: key if key[buckets:] in kept else (*key[:buckets], *other))


def _merged(groups: Groups, to: Callable[[Key], Key]) -> Groups:
    apart: defaultdict[Key, list[Sums]] = defaultdict(list)
    for key, sums in groups.items():
        apart[to(key)].append(sums)
    return {key: merge(parts, parts[0]) for key, parts in apart.items()}


def present(query: AggregateQuery, counted: Aggregates) -> Result:
    """The figures as people read them."""
    zone = query.selection.zone
    result = Result(total=_values(query.metrics, counted.total, zone))
    if query.cuts:
        groups = _filled(query, counted.groups) if query.edges else counted.groups
        shown = [_group(query, key, sums, zone) for key, sums in _ordered(query, groups)]
        result.groups = shown
    return result


def buckets(query: AggregateQuery, groups: Iterable[Key]) -> int:
    """How many groups an answer has when empty buckets are filled in."""
    if not query.edges:
        return sum(1 for _ in groups)
    return len({key[1:] for key in groups} or {()}) * len(query.edges)


def _filled(query: AggregateQuery, groups: Groups) -> Groups:
    """With the buckets in which there is nothing, of every group."""
    nothing = dict.fromkeys({name for metric in query.metrics for name in metric.needs}, 0)
    apart = {key[1:] for key in groups}
    if not query.group_by:
        apart = {()}
    return {
        (edge, *rest): groups.get((edge, *rest), nothing)
        for edge, rest in product(query.edges, apart)
    }


def _ordered(query: AggregateQuery, groups: Groups) -> list[tuple[Key, Sums]]:
    names = [START] * bool(query.edges) + [dimension.name for dimension in query.group_by]
    metrics = {metric.name: metric for metric in query.metrics}

    def keys(item: tuple[Key, Sums]) -> list[Any]:
        key, sums = item
        found: list[Any] = []
        for order in query.order:
            metric = metrics.get(order.key)
            value = metric.value(sums) if metric else key[names.index(order.key)]
            found.append(_sorts(value, order.descending))
        return [*found, *map(_sorts, key)]

    return sorted(groups.items(), key=keys)


class _Descending(str):
    """A text that sorts the other way round."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        return str.__gt__(self, other)


def _sorts(value: int | float | str | None, descending: bool = False) -> tuple[int, Any]:
    """What a value sorts by: nothing and the rest come last, in either direction."""
    if value is None:
        return 1, 0
    if value == OTHER:
        return 2, 0
    if isinstance(value, str):
        return 0, _Descending(value) if descending else value
    return 0, -value if descending else value


def _group(query: AggregateQuery, key: Key, sums: Sums, zone: ZoneInfo) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    if query.edges:
        start = key[0]
        assert isinstance(start, int)  # noqa: S101  # buckets come first
        shown[START] = local_iso(start, zone)
        key = key[1:]
    if query.top is not None and OTHER in key:
        shown["other"] = True
        key = (None,) * len(key)
    shown |= {d.name: value for d, value in zip(query.group_by, key, strict=True)}
    return shown | _values(query.metrics, sums, zone)


def _values(metrics: Iterable[Metric], sums: Sums, zone: ZoneInfo) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    for metric in metrics:
        value = metric.value(sums)
        if metric.is_time and value is not None:
            shown[metric.name] = local_iso(int(value), zone)
        else:
            shown[metric.name] = value
    return shown


def value_of(dimension: Dimension, text: str) -> int | str | None:
    """A dimension's value, as the engine writes it."""
    if text == OTHER or dimension.type in ("text", "provider"):
        return text
    return int(text) if text else None
