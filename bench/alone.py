"""The engine without a service around it: what it holds, and how fast it gives the same rows.

Every function here opens the engine, so each runs in a process of its own (``aside``), with no
server over the same folder.
"""

import dataclasses
import re
import time
from collections.abc import Generator
from pathlib import Path

from bench.plan import DAY_ROWS
from genmeter.auth.accounts import Accounts
from genmeter.clock import now_ms
from genmeter.model.bots import ELEVEN
from genmeter.query.stats import StatsQuery
from genmeter.storage.engine.base import Engine
from genmeter.storage.engine.chdb import connect
from genmeter.storage.engine.embedded import Embedded
from genmeter.storage.sql import base as sql
from genmeter.storage.store import Store

MEMORY_MB = 1500
THREADS = 2
RETENTION_DAYS = 92
"""The service's defaults; nothing here sets others."""

_FASTEST = (
    "max_block_size = 8192, do_not_merge_across_partitions_select_final = 1, "
    "optimize_move_to_prewhere_if_final = 1"
)
"""What makes the engine fastest at this, as far as is known: the yardstick is not to be slow."""

_DATE = "toString(toDate(intDiv(-neg_ms, 1000), 'UTC'))"


@dataclasses.dataclass(frozen=True)
class Targets:
    """What is asked for: the largest account and bot, and a day of some account and bot."""

    account: str
    bot: str
    rows: int
    day_account: str
    day_bot: str
    day: str
    day_rows: int


@dataclasses.dataclass(frozen=True)
class Holdings:
    """What a store holds: records, parts, and bytes of these parts on the disk.

    ``index_bytes`` is what their primary keys take in memory once they have been read.
    """

    records: int
    parts: int
    part_bytes: int
    index_bytes: int


def open_engine(folder: Path) -> Embedded:
    """The engine as the service opens it, with accounts beside it: no server starts without."""
    Accounts.in_folder(folder.parent, anew=True).close()
    return Embedded(folder, memory_mb=MEMORY_MB, threads=THREADS)


def targets(folder: Path) -> Targets:
    """The queries to measure with."""
    engine = open_engine(folder)
    try:
        largest = engine.fetch(
            f"SELECT account, bot, count() AS rows FROM {sql.TABLE} FINAL "
            "GROUP BY account, bot ORDER BY rows DESC, account, bot LIMIT 1"
        )
        day = engine.fetch(
            f"SELECT account, bot, {_DATE} AS day, count() AS rows FROM {sql.TABLE} FINAL "
            f"GROUP BY account, bot, day ORDER BY abs(toInt64(rows) - {DAY_ROWS}), "
            "account, bot, day LIMIT 1"
        )
    finally:
        engine.close()
    account, bot, rows = largest.decode().strip().split("\t")
    day_account, day_bot, date, day_rows = day.decode().strip().split("\t")
    return Targets(account, bot, int(rows), day_account, day_bot, date, int(day_rows))


def holdings(folder: Path) -> Holdings:
    """What is in the store of a folder, every record counted once."""
    engine = open_engine(folder)
    try:
        return held(engine)
    finally:
        engine.close()


def held(engine: Engine, shard: int = 0) -> Holdings:
    """What is in one shard of an engine, every record counted once."""
    count = engine.fetch(f"SELECT count() FROM {sql.TABLE} FINAL", shard)
    parts = engine.fetch(
        "SELECT count(), sum(bytes_on_disk), sum(primary_key_bytes_in_memory) FROM system.parts "
        f"WHERE database = currentDatabase() AND table = '{sql.TABLE}' AND active",
        shard,
    )
    number, size, index = map(int, parts.split())
    return Holdings(int(count), number, size, index)


class _Watched(Embedded):
    """Remembers the statement it streamed last."""

    streamed = ""

    def stream(self, statement: str, shard: int = 0) -> Generator[bytes, None, None]:
        """As the engine does."""
        self.streamed = statement
        return super().stream(statement, shard)


def last_rows(folder: Path, question: StatsQuery, repeats: int) -> list[float]:
    """Seconds the engine takes to give the rows of ``query`` as JSON, for each time asked.

    It writes them by its own JSON format, with the contract's names, under the very condition
    that the store reads them with, so that it reads no more.
    """
    engine = _Watched(folder, memory_mb=MEMORY_MB, threads=THREADS)
    try:
        for _ in Store(engine, retention_days=RETENTION_DAYS).answer(question, now_ms()):
            pass
        found = re.search(r" FINAL WHERE (.*?) ORDER BY ", engine.streamed)
        if found is None:
            raise RuntimeError(f"the store asks in an unknown way: {engine.streamed}")
        columns = ", ".join(
            f"fromUnixTimestamp64Milli(-neg_ms, 'UTC') AS {field.key}"
            if field.type == "time"
            else f"{field.column} AS {field.key}"
            for field in ELEVEN.fields(question.bot)
        )
        statement = (
            f"SELECT {columns} FROM {sql.TABLE} FINAL WHERE {found[1]} "
            f"ORDER BY neg_ms, jobid DESC LIMIT {question.limit} "
            f"SETTINGS max_threads = {THREADS}, {_FASTEST}, date_time_output_format = 'iso'"
        )
        return _time(folder, statement, repeats)
    finally:
        engine.close()


def _time(folder: Path, statement: str, repeats: int) -> list[float]:
    handle = connect(str(folder))
    try:
        seconds = []
        for number in range(repeats + 2):
            started = time.perf_counter()
            body = handle.query(statement, "JSONEachRow").bytes()
            if number >= 2:  # the first two warm it up
                seconds.append(time.perf_counter() - started)
            if not body:
                raise RuntimeError("the engine alone gave no rows")
        return seconds
    finally:
        handle.close()
