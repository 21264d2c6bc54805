"""What the service asks of storage, in the words of the domain: insert, answer, expire.

It knows the SQL and the engine's seam; nothing above it knows either.
"""

import logging
from collections.abc import Generator, Sequence
from enum import Enum
from typing import Final

import msgspec

from genmeter import sql
from genmeter.clock import DAY_MS, utc_date
from genmeter.engine import Engine
from genmeter.errors import EngineError, NewerSchemaError
from genmeter.query import Question
from genmeter.records import Row, retention_edge_ms
from genmeter.tally import Tally

log = logging.getLogger(__name__)

_LOOK_BACK_MS: Final = 8 * DAY_MS
_encode_rows: Final = msgspec.json.Encoder().encode_lines


class Again(Enum):
    """Says in the middle of an answer that it starts over; drop what came before."""

    AGAIN = "again"


Part = bytes | Again | Tally
"""A piece of an answer: some of its rows, a new start, or at its end what was in it.

Rows are JSON, each with a comma before it.
"""


class Store:
    """The records of all accounts.

    ``retention_days`` is how long they are kept, 0 for ever. Raises NewerSchemaError where a later
    version has written the store.
    """

    def __init__(self, engine: Engine, *, retention_days: int) -> None:
        self._engine = engine
        self._retention_days = retention_days
        self._migrate()
        self._version = int(engine.fetch(sql.READ_LAST_WRITE) or 0)

    def _migrate(self) -> None:
        """Bring the schema to this version's, step by step, noting each."""
        self._engine.execute(sql.CREATE_VERSIONS)
        found = int(self._engine.fetch(sql.READ_VERSION))
        steps = sql.migrations(self._engine.table_settings)
        if found > len(steps):
            raise NewerSchemaError(
                f"the data folder has schema version {found}, this genmeter knows up to "
                f"{len(steps)}; install a later genmeter, or name another folder"
            )
        for version, statements in enumerate(steps[found:], found + 1):
            for statement in statements:
                self._engine.execute(statement)
            self._engine.execute(sql.write_version(version))
            log.info("schema is at version %d", version)

    def oldest_ms(self, now_ms: int) -> int:
        """The oldest millisecond that is in any answer (C22)."""
        return retention_edge_ms(now_ms, self._retention_days)

    def insert(self, rows: Sequence[Row], now_ms: int) -> None:
        """Store ``rows``; when it returns they are on disk and in every answer (R5, C21).

        Of rows with one identity the last counts, here and against those stored before (R6).
        The caller makes sure that only one insert runs at a time.
        """
        # Later inserts win although the clock may have been set back since.
        self._version = max(self._version + 1, now_ms * 1000)
        latest: dict[tuple[str, str, int, str], Row] = {}
        for row in rows:
            row.version = self._version
            latest[row.identity()] = row
        self._engine.insert(sql.TABLE, sql.COLUMNS, _encode_rows(latest.values()))

    def answer(self, question: Question, now_ms: int) -> Generator[Part, None, None]:
        """The rows that answer ``question``, and at the end their tally. Closing it ends the work.

        Raises EngineError, also in its middle; what came before is then not an answer.
        """
        oldest_ms = self.oldest_ms(now_ms)
        if question.limit:
            bound = self._bound(question, oldest_ms, now_ms)
            if bound is not None:
                tally = yield from self._rows(question, oldest_ms, bound)
                if tally.rows == question.limit:
                    yield tally
                    return
                yield Again.AGAIN
        yield (yield from self._rows(question, oldest_ms, None))

    def _rows(
        self, question: Question, oldest_ms: int, bound: int | None
    ) -> Generator[Part, None, Tally]:
        """The rows of one try; returns their tally."""
        tally = Tally()
        statement = sql.answer(question, oldest_ms=oldest_ms, max_neg_ms=bound)
        for block in self._engine.stream(statement):
            if rows := tally.take(block):
                yield rows
        tally.end()
        return tally

    def _bound(self, question: Question, oldest_ms: int, now_ms: int) -> int | None:
        """A ``neg_ms`` that the newest ``limit`` records do not go past, or None.

        The engine merges equal records while it reads, so what it need not read saves most of
        the time. A twentieth is added for records sent twice; where that is not enough the
        answer comes out short and is asked for again without a bound.
        """
        assert question.limit is not None  # noqa: S101  # the caller's branch
        skip = question.limit + question.limit // 20
        for since_ms in (now_ms - _LOOK_BACK_MS, None):
            found = self._engine.fetch(
                sql.nth_newest(question, skip=skip, oldest_ms=oldest_ms, since_ms=since_ms)
            )
            if found:
                return int(found)
        return None

    def expire(self, now_ms: int) -> list[int]:
        """Drop the months that are past retention as a whole; returns them as ``YYYYMM``.

        The days of a month that are past it are in no answer before, and go with their month.
        """
        if not self._retention_days:
            return []
        edge = int(utc_date(self.oldest_ms(now_ms)).replace("-", "")[:6])
        months = [int(month) for month in self._engine.fetch(sql.READ_MONTHS).split()]
        past = [month for month in months if month < edge]
        for month in past:
            self._engine.execute(sql.drop_month(month))
            log.info("dropped the records of %d, past retention", month)
        return past

    def count(self) -> int:
        """How many records the store holds, those sent again perhaps more than once."""
        return int(self._engine.fetch(sql.READ_COUNT))

    def check(self) -> None:
        """Run a real query; raises EngineError where the engine does not answer as it should."""
        if not self._engine.fetch(sql.READ_VERSION).strip().isdigit():
            raise EngineError("the engine gave no schema version")
