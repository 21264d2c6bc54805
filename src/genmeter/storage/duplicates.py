"""Which days of which accounts have no record stored twice, so that they can be read without FINAL.

The engine cannot know this, and reading with ``FINAL`` takes three to five times as long. Where one
process alone writes to the store, it can. Only an INSERT brings a record a second time, so a day
that was found without one stays so until something is inserted into it. What is kept is the
exceptions:

- months that were there at the start and have not been checked since;
- days that were touched: an insert marks them before it runs, a check takes the mark away.

A day that is over is marked account by account; one that is not gets records of nearly all accounts
anyway, and is marked and read as a whole.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import pairwise
from typing import Final, Protocol

import msgspec

from genmeter.clock import DAY_MS, month_ms, utc_month
from genmeter.model.record import Row
from genmeter.storage.engine.base import table
from genmeter.storage.slices import portions
from genmeter.storage.sql import maintenance
from genmeter.storage.sql.base import TimeSlice

MAX_NAMES: Final = 10_000
"""How many accounts' marks are kept apart, over all days: some 2 MB. Then days are marked whole."""

MAX_RUNS: Final = 3
"""How many stretches of a plan need FINAL at the most: each piece costs 3 to 5 ms."""

PORTION_RECORDS: Final = 200_000
"""About how many records one statement of a check reads: a tenth of a second."""

REST: Final = 20
"""A month is not checked again for so many times as long as it took."""

_NAMED: Final = 1000
_ALL: Final = ""  # no account is named so

Mark = tuple[int, str]
"""A day since 1970, and an account or ``_ALL`` of them."""


class Plan(msgspec.Struct, frozen=True):
    """How to read a time: its pieces, oldest first, each settled or not.

    ``holds`` says whether all that was settled still is. Asked after a statement has run it
    answers whether the statement has read each record once; if not, it must be planned again.
    """

    pieces: tuple[TimeSlice, ...]
    holds: Callable[[], bool]


class DuplicateTracker(Protocol):
    """What is known of records that are stored twice. Methods may be called from any thread."""

    def writing(self, rows: Collection[Row], now_ms: int) -> AbstractContextManager[None]:
        """To be held while ``rows`` are inserted, from before the INSERT until it has ended."""

    def plan(self, whose: Callable[[str], bool], start_ms: int, end_ms: int, now_ms: int) -> Plan:
        """How to read accounts that ``whose`` is true of, from ``start_ms`` to before ``end_ms``.

        Days that are not over at ``now_ms`` are not settled.
        """

    def check(self, now_ms: int) -> None:
        """Look for records that are stored twice where plans did not know; one caller at a time.

        It takes its time. Raises EngineError.
        """

    def stop(self) -> None:
        """Let a check that is under way end soon, and later ones at once."""


class AssumeDuplicates:
    """What is known of a store that others write to as well: nothing."""

    def writing(self, rows: Collection[Row], now_ms: int) -> AbstractContextManager[None]:
        """Any insert may run."""
        return nullcontext()

    def plan(self, whose: Callable[[str], bool], start_ms: int, end_ms: int, now_ms: int) -> Plan:
        """All with FINAL."""
        return Plan(
            (TimeSlice(start_ms=start_ms, end_ms=end_ms, deduplicated=False),), lambda: True
        )

    def check(self, now_ms: int) -> None:
        """There is nothing that would stay true."""

    def stop(self) -> None:
        """Nothing runs."""


class TrackedDuplicates:
    """What is known of a store that this process alone writes to.

    ``fetch`` asks the engine. Until a month in ``months`` (``YYYYMM``), those that have records
    now, has been checked nothing of it is settled.
    """

    def __init__(self, fetch: Callable[[str], bytes], months: Iterable[int]) -> None:
        self._fetch = fetch
        self._stop = threading.Event()
        self._seen: dict[int, tuple[str, Mapping[Mark, int]]] = {}
        self._rest: dict[int, float] = {}
        self._lock = threading.Lock()  # guards all below
        self._unchecked = set(months)
        self._wanted: set[int] = set()
        self._days: dict[int, dict[str, int]] = {}  # day -> account -> number of its last mark
        self._names = 0
        self._number = 0
        self._taken = 0  # highest number of a mark that was taken away
        self._writing: dict[int, frozenset[Mark]] = {}

    @contextmanager
    def writing(self, rows: Collection[Row], now_ms: int) -> Iterator[None]:
        """Mark the days of ``rows``, and keep checks from taking these marks away meanwhile."""
        marks = frozenset((-row.neg_ms // DAY_MS, row.account) for row in rows)
        with self._lock:
            self._number = number = self._number + 1
            for day, account in marks:
                self._mark(day, account if day < now_ms // DAY_MS else _ALL, number)
            self._writing[number] = marks
        try:
            yield
        finally:
            with self._lock:
                del self._writing[number]

    def plan(self, whose: Callable[[str], bool], start_ms: int, end_ms: int, now_ms: int) -> Plan:
        """How to read the time, with as few pieces as are worth it."""
        today = now_ms // DAY_MS
        doubtful = [(today * DAY_MS, max(end_ms, (today + 1) * DAY_MS))]
        with self._lock:
            number = self._number
            for month in self._unchecked:
                first_ms, next_ms = month_ms(month)
                if start_ms < next_ms and first_ms < end_ms:
                    doubtful.append((first_ms, next_ms))
                    self._wanted.add(month)
            for day, names in self._days.items():
                if _meets(day, start_ms, end_ms) and any(
                    name == _ALL or whose(name) for name in names
                ):
                    doubtful.append((day * DAY_MS, (day + 1) * DAY_MS))
                    if day < today:
                        self._wanted.add(utc_month(day * DAY_MS))
        pieces = _pieces(doubtful, start_ms, end_ms)
        settled = [piece for piece in pieces if piece.deduplicated]
        return Plan(pieces, lambda: self._holds(settled, whose, number))

    def check(self, now_ms: int) -> None:
        """Check months that a plan had doubts about since: what nobody asks for costs nothing."""
        with self._lock:
            months = sorted(self._wanted, reverse=True)
        parts = self._parts() if months else {}
        for month in months:
            if self._stop.is_set():
                return
            started = time.monotonic()
            if started < self._rest.get(month, 0):
                continue
            with self._lock:
                self._wanted.discard(month)
            self._check(month, parts.get(month, ""), now_ms)
            self._rest[month] = time.monotonic() + REST * (time.monotonic() - started)

    def stop(self) -> None:
        """The statement under way is one of a portion, and ends in a fraction of a second."""
        self._stop.set()

    def _parts(self) -> dict[int, str]:
        """What tells of each month whether the engine has changed anything in it."""
        return {int(month): state for month, state in table(self._fetch(maintenance.READ_PARTS))}

    def _mark(self, day: int, name: str, number: int) -> None:
        """Mark an account's day, or the whole day where there are too many. The lock is held.

        ``number`` is higher than all before.
        """
        names = self._days.setdefault(day, {})
        if name not in names and (name == _ALL or _ALL in names or self._names >= MAX_NAMES):
            self._names -= len(names) - (_ALL in names)
            names.clear()
            name = _ALL
        elif name not in names:
            self._names += 1
        names[name] = number

    def _holds(
        self, pieces: Sequence[TimeSlice], whose: Callable[[str], bool], number: int
    ) -> bool:
        """Whether nothing in ``pieces`` was marked after mark ``number``."""
        with self._lock:
            if self._taken > number:  # marked, checked, and nobody knows any more what it was
                return False
            return not any(
                given > number and (name == _ALL or whose(name))
                for day, names in self._days.items()
                if any(_meets(day, piece.start_ms, piece.end_ms) for piece in pieces)
                for name, given in names.items()
            )

    def _check(self, month: int, parts: str, now_ms: int) -> None:
        """Check a month that has not been, or its marks that can be taken away."""
        whole, marks = self._due(month, now_ms)
        if not whole and (not marks or self._seen.get(month) == (parts, marks)):
            return  # what was stored twice still is
        start_ms, end_ms = month_ms(month)
        names: Collection[str] = ()
        if not whole:
            start_ms = min(day for day, _ in marks) * DAY_MS
            end_ms = max(day + 1 for day, _ in marks) * DAY_MS
            names = {name for _, name in marks}
            if _ALL in names or len(names) > _NAMED:
                names = ()
        found: set[Mark] = set()
        counts = self._fetch(maintenance.account_counts(start_ms, end_ms, sorted(names)))
        sizes = ((name, int(count)) for name, count in table(counts))
        for span, _ in portions(sizes, start_ms, end_ms, PORTION_RECORDS):
            started = time.monotonic()
            for account, day in table(self._fetch(maintenance.duplicated_days(span))):
                found.add((int(day), account))
            if self._stop.wait(time.monotonic() - started):  # half of one processor at the most
                return
        self._seen[month] = parts, self._checked(month, marks, found)

    def _due(self, month: int, now_ms: int) -> tuple[bool, dict[Mark, int]]:
        """Whether the month was never checked, and its marks that a check may take away.

        Not those of an insert that has not ended: the check may not see it, and it may come after.
        """
        with self._lock:
            writing = frozenset[Mark]().union(*self._writing.values())
            days = {day for day, _ in writing}
            return month in self._unchecked, {
                (day, name): number
                for day, names in self._days.items()
                if day < now_ms // DAY_MS and utc_month(day * DAY_MS) == month
                for name, number in names.items()
                if (day not in days if name == _ALL else (day, name) not in writing)
            }

    def _checked(
        self, month: int, marks: Mapping[Mark, int], found: Collection[Mark]
    ) -> dict[Mark, int]:
        """Take away ``marks`` that were not made again since, except for what was found twice.

        Returns the marks that such a check leaves where nothing changes.
        """
        left: dict[Mark, int] = {}
        with self._lock:
            for (day, name), number in marks.items():
                names = self._days.get(day, {})
                if names.get(name) != number:
                    continue
                if (day, name) in found:
                    left[day, name] = number
                    continue
                del names[name]
                self._names -= name != _ALL
                self._taken = max(self._taken, number)
                if not names:
                    del self._days[day]
            # What only the marks of whole days, or none in a month never checked, stood for.
            for day, account in found:
                names = self._days.get(day, {})
                if _ALL not in names and account not in names:
                    self._number += 1
                    self._mark(day, account, self._number)
                    left[day, account] = self._number
            self._unchecked.discard(month)
        return left


def _meets(day: int, start_ms: int, end_ms: int) -> bool:
    return start_ms < (day + 1) * DAY_MS and day * DAY_MS < end_ms


def _pieces(
    doubtful: Iterable[tuple[int, int]], start_ms: int, end_ms: int
) -> tuple[TimeSlice, ...]:
    """The time in pieces, those settled that do not meet ``doubtful`` times."""
    runs: list[tuple[int, int]] = []
    for start, end in sorted(doubtful):
        start, end = max(start, start_ms), min(end, end_ms)
        if start >= end:
            continue
        if runs and start <= runs[-1][1]:
            start, end = runs[-1][0], max(end, runs.pop()[1])
        runs.append((start, end))
    # Only the longest times between runs are worth a piece; the others are read like the runs.
    between = [(one[1], other[0]) for one, other in pairwise(runs)]
    cuts = sorted(sorted(between, key=lambda gap: gap[0] - gap[1])[: MAX_RUNS - 1])
    if runs:
        starts = [runs[0][0], *(gap[1] for gap in cuts)]
        runs = list(zip(starts, [*(gap[0] for gap in cuts), runs[-1][1]], strict=True))
    pieces: list[TimeSlice] = []
    at = start_ms
    for start, end in runs:
        if at < start:
            pieces.append(TimeSlice(start_ms=at, end_ms=start, deduplicated=True))
        pieces.append(TimeSlice(start_ms=start, end_ms=end, deduplicated=False))
        at = end
    if at < end_ms or not pieces:
        pieces.append(TimeSlice(start_ms=at, end_ms=end_ms, deduplicated=True))
    return tuple(pieces)
