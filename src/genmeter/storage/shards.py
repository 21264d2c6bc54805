"""Statements to the shards that hold a selection's records, and their end before their time."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec

from genmeter.clock import DAY_MS
from genmeter.errors import EngineError, EngineLimitError, LimitError
from genmeter.query.selection import Selection
from genmeter.storage.duplicates import DuplicateTracker
from genmeter.storage.engine.base import Engine
from genmeter.storage.sql import base as sql
from genmeter.storage.sql.base import TimeSlice

Make = Callable[[Sequence[TimeSlice]], str]
"""Writes a statement over pieces of time."""

_TRIES: Final = 3
_RECENT_DAYS: Final = 30


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a query: when it was sent, and the oldest millisecond in retention then.

    ``query_id`` is a word that its statements are found by. ``ended`` is set when nobody waits for
    the response any more.
    """

    now_ms: int
    oldest_ms: int
    query_id: str
    ended: threading.Event = msgspec.field(default_factory=threading.Event)


class Lasting(msgspec.Struct, frozen=True, kw_only=True):
    """A time of whole days from ``start_ms`` up to and without ``end_ms``, perhaps of none.

    As long as ``holds`` says so, its records are those that they were.
    """

    start_ms: int
    end_ms: int
    holds: Callable[[], bool]

    def covers(self, other: "Lasting") -> bool:
        """Whether it is no shorter at either end."""
        return self.start_ms <= other.start_ms and other.end_ms <= self.end_ms

    def within(self, selection: Selection) -> Selection:
        """What a selection has in it."""
        return msgspec.structs.replace(selection, start_ms=self.start_ms, end_ms=self.end_ms)

    def around(self, selection: Selection) -> list[Selection]:
        """What a selection has before it and behind it, where there is such a time."""
        before = msgspec.structs.replace(selection, end_ms=self.start_ms)
        behind = msgspec.structs.replace(selection, start_ms=self.end_ms)
        return [part for part in (before, behind) if part.start_ms < part.end_ms]


class Shards:
    """The shards of ``engine``. A query that needs more than ``memory_mb`` raises LimitError.

    ``settled`` knows what can be read without ``FINAL``.
    """

    def __init__(self, engine: Engine, settled: DuplicateTracker, *, memory_mb: int) -> None:
        self._engine = engine
        self._settled = settled
        self._memory_mb = memory_mb

    def of(self, selection: Selection) -> list[int]:
        """Where the records of a selection are: an account's are on one shard."""
        if selection.account is not None:
            return [self._engine.layout.shard(selection.account)]
        return [*range(len(self._engine.layout.weights))]

    def several(self, selection: Selection) -> bool:
        """Whether a selection's records may be on more than one shard."""
        return len(self.of(selection)) > 1

    def lasting(self, selection: Selection, run: Run) -> Lasting:
        """The longest time of a selection that only inserts change which are known of at once."""
        start_ms = max(selection.start_ms, run.oldest_ms)
        start_ms += -start_ms % DAY_MS
        plan = self._settled.plan(selection.owns, start_ms, selection.end_ms, run.now_ms)
        times = [(piece.start_ms, piece.end_ms) for piece in plan.pieces if piece.deduplicated]
        none = (selection.start_ms, selection.start_ms)
        start_ms, end_ms = max(times, key=_length, default=none)
        return Lasting(start_ms=start_ms, end_ms=end_ms, holds=plan.holds)

    def ask(self, selection: Selection, run: Run, make: Make) -> list[bytes]:
        """What each shard that has some of a selection's records answers."""
        return self._planned(selection, run, make, self._engine.fetch)

    def lines(self, selection: Selection, run: Run, make: Make) -> list[bytes]:
        """The values of one text column from each of these shards."""

        def read(statement: str, shard: int) -> bytes:
            return b"".join(self._engine.stream(statement, shard))

        return self._planned(selection, run, make, read)

    def records_a_day(self, account: str, now_ms: int) -> float:
        """About how many records an account has a day, by the index alone. Raises EngineError.

        It is the higher of two: of the last 30 days, and of all, as if they were of 90.
        """
        shard = self._engine.layout.shard(account)
        recent, ever = (
            int(self._engine.fetch(sql.estimate(account, since_ms), shard) or 0)
            for since_ms in (now_ms - _RECENT_DAYS * DAY_MS, 0)
        )
        return max(recent / _RECENT_DAYS, ever / 90)

    def stop(self, run: Run) -> None:
        """End the statements of a run, wherever they are, and begin no more of them."""
        run.ended.set()
        for shard in range(len(self._engine.layout.weights)):
            self._engine.execute(sql.kill(run.query_id), shard)

    def _planned(
        self, selection: Selection, run: Run, make: Make, read: Callable[[str, int], bytes]
    ) -> list[bytes]:
        """Answers that count each record once: read anew where what was settled is no more."""
        start_ms, end_ms = max(selection.start_ms, run.oldest_ms), selection.end_ms
        for _ in range(_TRIES):
            plan = self._settled.plan(selection.owns, start_ms, end_ms, run.now_ms)
            answers = self._read(selection, run, make(plan.pieces), read)
            if plan.holds():
                return answers
        whole = (TimeSlice(start_ms=start_ms, end_ms=end_ms, deduplicated=False),)
        return self._read(selection, run, make(whole), read)

    def _read(
        self, selection: Selection, run: Run, statement: str, read: Callable[[str, int], bytes]
    ) -> list[bytes]:
        tagged = sql.tagged(statement, run.query_id)
        answers = []
        with self._limits():
            for shard in self.of(selection):
                if run.ended.is_set():
                    raise EngineError("nobody waits for the answer any more")
                answers.append(read(tagged, shard))
        return answers

    @contextlib.contextmanager
    def _limits(self) -> Iterator[None]:
        try:
            yield
        except EngineLimitError as error:
            raise LimitError(
                f"the question needs more than the {self._memory_mb} MB or the time that the "
                "engine gives to one; ask for less time, fewer groups or no percentiles"
            ) from error


def _length(time: tuple[int, int]) -> int:
    return time[1] - time[0]
