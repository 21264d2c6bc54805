"""What the service asks of storage, in the words of the domain: insert, answer, expire.

It knows the SQL and the engine's seam; nothing above it but a migration knows either.
"""

import contextlib
import hashlib
import logging
import secrets
import threading
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from enum import Enum
from typing import Final

import msgspec

from genmeter.clock import DAY_MS, utc_date, utc_month
from genmeter.errors import DamageError, EngineError
from genmeter.model.bots import ELEVEN, Bots
from genmeter.model.record import Row, retention_edge_ms
from genmeter.query.stats import StatsQuery
from genmeter.storage import schema
from genmeter.storage.duplicates import AssumeDuplicates, DuplicateTracker, TrackedDuplicates
from genmeter.storage.engine.base import Engine
from genmeter.storage.integrity import Integrity
from genmeter.storage.schema import prepare
from genmeter.storage.sql import base as sql
from genmeter.storage.sql import maintenance, stats
from genmeter.storage.sql import rows as sql_rows
from genmeter.storage.tally import Tally

log = logging.getLogger(__name__)

_LOOK_BACK_MS: Final = 8 * DAY_MS
_encode_rows: Final = msgspec.json.Encoder().encode_lines


class Restart(Enum):
    """Says in the middle of an answer that it starts over; drop what came before."""

    RESTART = "again"


Part = bytes | Restart | Tally
"""A piece of an answer: some of its rows, a new start, or at its end what was in it.

Rows are JSON, each with a comma before it.
"""


class StoredRecord(msgspec.Struct, frozen=True):
    """A stored record: its place among all by ``version`` and then ``number``, and its JSON."""

    version: int
    number: int
    account: str
    bot: str
    row: bytes


class Store:
    """The records of all accounts, on one shard or several.

    ``retention_days`` is how long they are kept, 0 forever. ``next_version(now_ms)`` gives numbers
    that only rise, over all processes that write to the same engine; without it the store counts
    by itself and must be the only one. ``integrity`` looks after what is in its folder. Raises
    NewerSchemaError where a later version of genmeter has written the store, StartError where
    records are missing or damaged.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        retention_days: int,
        next_version: Callable[[int], int] | None = None,
        bots: Bots = ELEVEN,
        integrity: Integrity | None = None,
    ) -> None:
        self._engine = engine
        self._integrity = integrity
        self.bots = bots
        self._last_change = 0
        self._retention_days = retention_days
        self.shards = len(engine.layout.weights)
        prepare(engine)
        if integrity is not None:
            integrity.start()
        self.written = 0
        """The version of the last insert that ended well; all before it are in every answer, where
        nobody else writes."""
        self.duplicates: DuplicateTracker = AssumeDuplicates()
        """Which times of which accounts can be read without ``FINAL``."""
        if next_version is None:
            last = max(
                int(engine.fetch(schema.READ_LAST_WRITE, n) or 0) for n in range(self.shards)
            )
            next_version = _Versions(last)
            self.written = last
            self._changes: dict[str, int] | None = {}
            months = [int(month) for month in engine.fetch(schema.READ_MONTHS).split()]
            self.duplicates = TrackedDuplicates(engine.fetch, months)
        else:
            self._changes = None
        self._next_version = next_version
        self._since = secrets.token_hex(6)

    def shard(self, account: str) -> int:
        """The shard of an account's records, from 0 to ``shards`` - 1."""
        return self._engine.layout.shard(account)

    def oldest_ms(self, now_ms: int) -> int:
        """The oldest millisecond that is in any answer (C22)."""
        return retention_edge_ms(now_ms, self._retention_days)

    def insert(self, rows: Sequence[Row], now_ms: int, shard: int = 0) -> None:
        """Store ``rows`` of one shard; they are then on disk and in every answer (R5, C21).

        Of rows with one identity the last counts, here and against those stored before (R6). The
        caller makes sure that only one insert a shard runs at a time.
        """
        version = self._next_version(now_ms)
        latest: dict[tuple[str, str, int, str], Row] = {}
        for row in rows:
            row.version = version
            latest[row.identity()] = row
        one_a_month = {}
        if self._engine.layout.cluster:
            # By day first: to write a date takes longer than all else that is done to a row here.
            one_a_day = {-row.neg_ms // DAY_MS: row for row in latest.values()}
            one_a_month = {utc_date(-row.neg_ms)[:7]: row for row in one_a_day.values()}
        with self.duplicates.writing(latest.values(), now_ms), self._changing(rows, version):
            self._engine.insert(
                sql.TABLE,
                sql.COLUMNS,
                _encode_rows(latest.values()),
                shard,
                [maintenance.replication_probe(row) for row in one_a_month.values()],
            )
            if self._integrity is not None:
                days = {-row.neg_ms // DAY_MS for row in latest.values()}
                self._integrity.inserted({utc_month(day * DAY_MS) for day in days})
        self.written = version

    @contextlib.contextmanager
    def _changing(self, rows: Sequence[Row], version: int) -> Iterator[None]:
        """Note at the end that accounts have changed, also where some may have been stored."""
        try:
            yield
        finally:
            if self._changes is not None:
                self._changes |= dict.fromkeys({row.account for row in rows}, version)
                self._last_change = version

    def state(self, account: str | None) -> str:
        """A text that changes when the records of an account do, of any account for None.

        Where this process is the only one that writes, nothing has to be read for it. On servers
        it changes with every insert into the account's shard.
        """
        if self._changes is not None:
            change = self._last_change if account is None else self._changes.get(account, 0)
            return f"{self._since}-{change}"
        shards = range(self.shards) if account is None else [self.shard(account)]
        states = [self._engine.fetch(schema.READ_STATE, shard) for shard in shards]
        return hashlib.blake2b(b";".join(states), digest_size=12).hexdigest()

    def next_version(self, now_ms: int) -> int:
        """A version above all given out before, and below all that will be."""
        return self._next_version(now_ms)

    def arrivals(
        self,
        accounts: Collection[str] | None,
        *,
        now_ms: int,
        after: tuple[int, int],
        version: int,
        limit: int,
    ) -> list[StoredRecord]:
        """The first ``limit`` records, in the order in which they were stored, behind ``after``.

        Of some accounts, or of all; up to ``version``. One that was stored again since may be
        there as it was before, too.
        """
        found = []
        for shard in range(self.shards):
            mine = accounts
            if accounts is not None:
                mine = [account for account in accounts if self.shard(account) == shard]
                if not mine:
                    continue
            statement = sql_rows.arrivals(
                mine, oldest_ms=self.oldest_ms(now_ms), after=after, version=version, limit=limit
            )
            for line in filter(None, self._engine.fetch(statement, shard).split(b"\n")):
                stamp, number, account, bot, row = line.split(b"\t", 4)
                found.append(
                    StoredRecord(int(stamp), int(number), account.decode(), bot.decode(), row[1:])
                )
        return sorted(found, key=lambda one: (one.version, one.number))[:limit]

    def answer(self, query: StatsQuery, now_ms: int) -> Generator[Part, None, None]:
        """The rows that answer ``query``, and at the end their tally. Closing it ends the work.

        Raises EngineError, also in its middle; what came before is then not an answer.
        """
        oldest_ms = self.oldest_ms(now_ms)
        if query.limit:
            bound = self._bound(query, oldest_ms, now_ms)
            if bound is not None:
                tally = yield from self._rows(query, oldest_ms, bound)
                if tally.rows == query.limit:
                    yield tally
                    return
                yield Restart.RESTART
        yield (yield from self._rows(query, oldest_ms, None))

    def _rows(
        self, query: StatsQuery, oldest_ms: int, bound: int | None
    ) -> Generator[Part, None, Tally]:
        """The rows of one try; returns their tally."""
        tally = Tally()
        statement = stats.answer(query, oldest_ms=oldest_ms, max_neg_ms=bound, bots=self.bots)
        for block in self._engine.stream(statement, self.shard(query.account)):
            if rows := tally.take(block):
                yield rows
        tally.end()
        return tally

    def _bound(self, query: StatsQuery, oldest_ms: int, now_ms: int) -> int | None:
        """A ``neg_ms`` that the newest ``limit`` records do not go past, or None.

        The engine merges equal records while it reads, so what it need not read saves most of
        the time. A twentieth is added for records sent twice; where that is not enough the
        answer comes out short and is asked for again without a bound.
        """
        assert query.limit is not None  # noqa: S101  # the caller's branch
        skip = query.limit + query.limit // 20
        for since_ms in (now_ms - _LOOK_BACK_MS, None):
            found = self._engine.fetch(
                stats.nth_newest(query, skip=skip, oldest_ms=oldest_ms, since_ms=since_ms),
                self.shard(query.account),
            )
            if found:
                return int(found)
        return None

    def expire(self, now_ms: int) -> list[int]:
        """Drop the months that are past retention as a whole; returns them as ``YYYYMM``.

        The days of a month that are past it are in no answer before, and go with their month.
        A shard that cannot be reached is left for the next time.
        """
        if not self._retention_days:
            return []
        edge = utc_month(self.oldest_ms(now_ms))
        dropped = set()
        for shard in range(self.shards):
            try:
                months = [
                    int(month) for month in self._engine.fetch(schema.READ_MONTHS, shard).split()
                ]
                for month in months:
                    if month < edge:
                        with self._dropping(month):
                            self._engine.execute(schema.drop_month(month), shard)
                        dropped.add(month)
                        log.info("dropped the records of %d, past retention", month)
            except EngineError as error:
                log.warning("records past retention stay on shard %d: %s", shard + 1, error)
        return sorted(dropped)

    def _dropping(self, month: int) -> contextlib.AbstractContextManager[None]:
        if self._integrity is None:
            return contextlib.nullcontext()
        return self._integrity.dropping(month)

    def count(self) -> int:
        """How many records the store holds, those sent again perhaps more than once."""
        return sum(int(self._engine.fetch(schema.READ_COUNT, n)) for n in range(self.shards))

    def check(self) -> None:
        """Run a real query; raises EngineError where no shard answers as it should.

        Raises DamageError where records are known to be missing or damaged.
        """
        if self._integrity is not None and (problem := self._integrity.problem):
            raise DamageError(problem)
        for shard in range(self.shards):
            try:
                if self._engine.fetch(schema.READ_VERSION, shard).strip().isdigit():
                    return
                error = EngineError("the engine gave no schema version")
            except EngineError as failure:
                error = failure
        raise error


class _Versions:
    """Numbers that only rise, those of the clock while it goes forward."""

    def __init__(self, last: int) -> None:
        self._last = last
        self._lock = threading.Lock()

    def __call__(self, now_ms: int) -> int:
        with self._lock:
            self._last = max(self._last + 1, now_ms * 1000)
            return self._last
