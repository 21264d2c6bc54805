"""Asks the engine for figures of ranges, and what there is to ask about.

An account's records are on one shard, and are asked for there. A query about several accounts
is run on every shard and its answers are made one here: sums are added up, and percentiles counted
anew from how many jobs took how long.
"""

import contextlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final, NamedTuple

from genmeter.errors import LimitError
from genmeter.execution.groups import (
    buckets,
    merge,
    percentiles,
    tail,
    top,
    value_of,
    without_buckets,
)
from genmeter.query.aggregation import AggregateQuery, Aggregates, Groups, Key
from genmeter.query.metrics import Sums, percentile
from genmeter.query.selection import Dimension, Selection
from genmeter.storage.engine.base import table
from genmeter.storage.shards import Run, Shards
from genmeter.storage.sql import aggregates, rows
from genmeter.storage.sql.base import TimeSlice

MAX_VALUES: Final = 1000
"""How many values of a dimension are named."""

_MOST_RANKED: Final = 200_000
"""How many groups may be looked at to find the top ones."""

_MOST_DURATIONS: Final = 5_000_000


class RecordStats(NamedTuple):
    """The number of records, when the earliest and the latest was, and the highest version."""

    records: int
    oldest: int
    newest: int
    version: int


def together(extents: Iterable[RecordStats]) -> RecordStats:
    """The extent of records that have these."""
    some = [one for one in extents if one.records]
    if not some:
        return RecordStats(0, 0, 0, 0)
    return RecordStats(
        sum(one.records for one in some),
        min(one.oldest for one in some),
        max(one.newest for one in some),
        max(one.version for one in some),
    )


class Aggregator:
    """Answers range queries from what is on ``shards``.

    ``most_groups`` bounds an answer; more raise LimitError.
    """

    def __init__(self, shards: Shards, *, most_groups: int) -> None:
        self._shards = shards
        self._most = most_groups

    def aggregate(self, query: AggregateQuery, run: Run) -> list[Aggregates]:
        """The sums of the range, then those of the period before where it is asked for.

        The groups told apart are those of the range in both.
        """
        keep: Sequence[Key] | None = None
        if query.top:
            first, keep = self._top(query, run)
        else:
            first = self._count(query, run, None, self._most)
        found = [first]
        if query.previous:
            found.append(self._count(query.of_previous(), run, keep, self._most))
        return found

    def extent(self, selection: Selection, run: Run) -> RecordStats:
        """How many records a selection has, and from when to when they are."""
        if selection.start_ms >= selection.end_ms:
            return together([])
        answers = self._shards.ask(selection, run, partial(rows.extent, selection))
        found = [RecordStats(*map(int, row)) for answer in answers for row in table(answer)]
        return together(found)

    def values(
        self,
        selection: Selection,
        dimensions: Sequence[Dimension],
        run: Run,
        *,
        after_version: int,
    ) -> dict[str, set[int | str]]:
        """The values that dimensions have in records past a version, ``MAX_VALUES`` of each."""
        make = partial(
            rows.values,
            selection,
            dimensions,
            after_version=after_version,
            most=MAX_VALUES,
        )
        found: dict[str, set[int | str]] = {dimension.name: set() for dimension in dimensions}
        for answer in self._shards.ask(selection, run, make):
            lists = answer.decode().removesuffix("\n").split("\t")
            for dimension, listed in zip(dimensions, lists, strict=True):
                texts = {text for text in listed.split(rows.SEPARATOR) if text}
                if dimension.type == "provider":
                    texts = {name.strip(" ") for text in texts for name in text.split(",")} - {""}
                as_text = dimension.type in ("text", "provider")
                found[dimension.name] |= texts if as_text else set(map(int, texts))
        return found

    def _top(self, query: AggregateQuery, run: Run) -> tuple[Aggregates, Sequence[Key]]:
        """The top groups with the rest as one, and which groups these are.

        Mostly there are few groups, and one scan tells it all: the top ones, and the rest added up.
        Percentiles cannot be added up, and many groups are counted once to see which the top ones
        are, and again with the rest under one key.
        """
        ranking = query.ranking()
        few = len(query.edges) * (query.top or 0) <= self._most
        if few and (query.adds_up or not query.edges):
            with contextlib.suppress(LimitError):
                every = self._count(query, run, None, self._most)
                ranked = without_buckets(query, every.groups)
                keep = top(ranking, ranked)
                if len(keep) == len(ranked):
                    return every, keep
                if query.adds_up:
                    return Aggregates(every.total, tail(query, every.groups, keep)), keep
        counted = self._count(ranking, run, None, max(self._most, _MOST_RANKED))
        keep = top(ranking, counted.groups)
        return self._count(query, run, keep, self._most), keep

    def _count(
        self,
        query: AggregateQuery,
        run: Run,
        keep: Sequence[Key] | None,
        most: int,
    ) -> Aggregates:
        """Sums and percentiles of the groups of one range, ``most`` of them, and over all."""
        needs = list(dict.fromkeys(name for metric in query.metrics for name in metric.needs))
        levels = [name for name in needs if percentile(name) is not None]
        sums = [name for name in needs if percentile(name) is None]
        several = self._shards.several(query.selection)
        ask = _Ask(query, sums, [] if several else levels, keep)

        def answers(grouped: bool) -> list[Aggregates]:
            make = partial(ask.statement, most=most + 1, grouped=grouped)
            texts = self._shards.ask(query.selection, run, make)
            return [ask.read(text, grouped) for text in texts]

        found = answers(grouped=query.cuts)
        apart: defaultdict[Key, list[Sums]] = defaultdict(list)
        for of_shard in found:
            for key, counted in of_shard.groups.items():
                apart[key].append(counted)
        groups: Groups = {key: merge(parts, ask.names) for key, parts in apart.items()}
        if max(buckets(query, groups), len(groups)) > most:
            raise LimitError(
                f"the response would have more than {most} groups; ask for the top ones "
                "alone, group by fewer fields, or take a longer interval or less time"
            )
        if query.cuts and aggregates.splits(query):
            found = answers(grouped=False)
        total = merge((of_shard.total for of_shard in found), ask.names)
        if several and levels:
            self._add_percentiles(query, levels, run, keep, groups, total)
        return Aggregates(total, groups)

    def _add_percentiles(
        self,
        query: AggregateQuery,
        levels: Sequence[str],
        run: Run,
        keep: Sequence[Key] | None,
        groups: Groups,
        total: dict[str, int],
    ) -> None:
        """Percentiles over several shards, from how many jobs took how long on each."""

        def counted(grouped: bool) -> dict[Key, Counter[int]]:
            make = partial(
                aggregates.durations,
                query,
                most=_MOST_DURATIONS + 1,
                keep=keep,
                grouped=grouped,
            )
            found: defaultdict[Key, Counter[int]] = defaultdict(Counter)
            lines = 0
            for answer in self._shards.ask(query.selection, run, make):
                for *cells, msec, jobs in table(answer):
                    key = _key(query, cells) if grouped else ()
                    found[key][int(msec)] += int(jobs)
                    lines += 1
            if lines > _MOST_DURATIONS:
                raise LimitError(
                    f"percentiles over several accounts are counted from at most {_MOST_DURATIONS} "
                    "different durations; ask for one account, less time, or no percentiles"
                )
            return found

        durations = counted(grouped=query.cuts)
        for key, sums in groups.items():
            sums.update(percentiles([*durations[key].items()], levels))
        if aggregates.splits(query):
            durations = counted(grouped=False)
        everything: Counter[int] = Counter()
        for of_group in durations.values():
            everything.update(of_group)
        if everything:
            total.update(percentiles([*everything.items()], levels))
        else:
            total.update(dict.fromkeys(levels, 0))


class _Ask:
    """The statement for the sums of groups, and how its answer is read."""

    def __init__(
        self,
        query: AggregateQuery,
        sums: Sequence[str],
        levels: Sequence[str],
        keep: Sequence[Key] | None,
    ) -> None:
        self.names = [*sums, *levels]
        self._analysis = query
        self._sums = sums
        self._levels = levels
        self._keep = keep

    def statement(self, pieces: Sequence[TimeSlice], *, most: int, grouped: bool) -> str:
        return aggregates.statement(
            self._analysis,
            self._sums,
            self._levels,
            pieces=pieces,
            most=most,
            keep=self._keep,
            grouped=grouped,
        )

    def read(self, answer: bytes, grouped: bool) -> Aggregates:
        """The groups, and what is over all: a line behind a blank one, or the only one."""
        text = answer.decode()
        nothing = dict.fromkeys(self.names, 0)
        if not grouped:
            return Aggregates(self._read(text.rstrip("\n").split("\t")), {})
        lines, _, last = text.partition("\n\n")
        keys = bool(self._analysis.edges) + len(self._analysis.group_by)
        groups: Groups = {}
        for line in lines.split("\n"):
            cells = line.split("\t")
            if len(cells) <= keys:
                continue
            sums = self._read(cells[keys:])
            # Of no records, the line over all may be the first, and an old server makes a group
            # where the keys are the same for every record.
            if sums["jobs"]:
                groups[_key(self._analysis, cells[:keys])] = sums
        total = self._read(last.rstrip("\n").split("\t")[keys:]) if last and groups else nothing
        return Aggregates(total, groups)

    def _read(self, cells: Sequence[str]) -> dict[str, int]:
        numbers = [int(cell) for cell in cells[: len(self._sums)]]
        if self._levels:
            numbers += [int(number) for number in cells[-1].strip("[]").split(",") if number]
        return dict(zip(self.names, numbers, strict=False))


def _key(query: AggregateQuery, cells: Sequence[str]) -> Key:
    """A group's key from the engine's texts."""
    start: list[int | str | None] = [query.edges[int(cells[0])]] if query.edges else []
    told = cells[len(start) :]
    values = [value_of(d, text) for d, text in zip(query.group_by, told, strict=False)]
    return (*start, *values)
