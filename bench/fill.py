"""Fills genmeter's store and the peer's table with the same records, or finds them filled.

Runs as a process of its own, since the engine's threads would disturb what is measured later.
"""

import contextlib
import dataclasses
import json
import multiprocessing
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from multiprocessing.connection import Connection
from pathlib import Path

import sqlalchemy as sa

from bench.alone import RETENTION_DAYS, open_engine
from bench.baseline import JOBS, METADATA
from bench.plan import Plan
from bench.postgres import Databases
from genmeter.clock import DAY_MS, now_ms
from genmeter.ingest import decode as records
from genmeter.model.record import Row
from genmeter.sample_traffic import traffic
from genmeter.storage.engine.base import Engine
from genmeter.storage.store import Store

BATCH = 50_000

_FRESH_DAYS = 2.0
"""How old a store may be, in days. An older one is not like a store in use: its newest records
are no longer where the service looks for them first."""

_SETTLE_S = 120.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclasses.dataclass
class Note:
    """What is known of filled stores: the end of their traffic, in milliseconds since 1970."""

    end_ms: int
    genmeter: bool = False
    baseline: bool = False

    @classmethod
    def read(cls, plan: Plan) -> "Note":
        """The note of stores that still serve, or that of empty ones from now on."""
        try:
            note = cls(**json.loads(_note_path(plan).read_text()))
        except (OSError, ValueError, TypeError):
            return cls(now_ms())
        days = min(_FRESH_DAYS, RETENTION_DAYS - plan.days)
        return note if now_ms() < note.end_ms + days * DAY_MS else cls(now_ms())

    def write(self, plan: Plan) -> None:
        """Keep the note beside the store."""
        _note_path(plan).write_text(json.dumps(dataclasses.asdict(self)))


def _note_path(plan: Plan) -> Path:
    return plan.store / "filled.json"


def fill(plan: Plan, databases: Databases | None) -> Note:
    """Fill what is not filled yet; without ``databases`` genmeter's store alone."""
    note = Note.read(plan)
    if databases is not None and note.baseline and not databases.exists(plan.name):
        note.baseline = False
    for_genmeter, for_baseline = not note.genmeter, databases is not None and not note.baseline
    if not for_genmeter and not for_baseline:
        ended = datetime.fromtimestamp(note.end_ms / 1000, UTC)
        print(f"using the stores in {plan.store}, filled up to {ended:%Y-%m-%d %H:%M} UTC")
        return note
    if for_genmeter:
        # The two are filled together or from one note; a store that was cut short is no good.
        shutil.rmtree(plan.store, ignore_errors=True)
        plan.store.mkdir(parents=True)
        note.write(plan)
    sinks: list[_Genmeter | _Baseline] = []
    if for_genmeter:
        sinks.append(_Genmeter(plan))
    if for_baseline and databases is not None:
        sinks.append(_Baseline(plan, databases))
    print("filling " + " and ".join(sink.name for sink in sinks), flush=True)
    _pour(plan, note.end_ms, [sink.take for sink in sinks])
    for sink in sinks:
        print(f"finishing {sink.name}", flush=True)
        sink.finish()
    note.genmeter = True
    note.baseline = note.baseline or for_baseline
    note.write(plan)
    return note


class _Genmeter:
    name = "genmeter's store"

    def __init__(self, plan: Plan) -> None:
        self._engine = open_engine(plan.store / "engine")
        self._store = Store(self._engine, retention_days=RETENTION_DAYS)

    def take(self, rows: Sequence[Row]) -> None:
        self._store.insert(rows, now_ms())

    def finish(self) -> None:
        """Close it when nothing is left to merge, so that no measurement meets a merge."""
        settle(self._engine, removed=True)
        self._engine.close()


def settle(engine: Engine, *, removed: bool, shard: int = 0) -> None:
    """Wait until the engine merges nothing and, if ``removed``, holds nothing it has merged.

    An engine with nothing to do takes its time with removing, hence the bound.
    """
    until = time.monotonic() + _SETTLE_S
    quiet = 0
    while quiet < 3 and time.monotonic() < until:
        left = int(engine.fetch("SELECT count() FROM system.merges", shard))
        if removed:
            left += int(engine.fetch("SELECT count() FROM system.parts WHERE NOT active", shard))
        quiet = 0 if left else quiet + 1
        time.sleep(1)


class _Baseline:
    name = "the baseline's table"

    def __init__(self, plan: Plan, databases: Databases) -> None:
        databases.make_anew(plan.name)
        engine = sa.create_engine(databases.url(plan.name))
        METADATA.create_all(engine)
        engine.dispose()
        self._connection = databases.connect(plan.name)
        self._connection.execute("ALTER TABLE jobs DROP CONSTRAINT jobs_pkey")
        self._columns = [column.name for column in JOBS.columns]

    def take(self, rows: Sequence[Row]) -> None:
        names = ", ".join(self._columns)
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY jobs ({names}) FROM STDIN".encode()) as copy,
        ):
            for row in rows:
                copy.write_row(
                    (
                        row.account,
                        row.bot,
                        _EPOCH + timedelta(milliseconds=-row.neg_ms),
                        row.jobid,
                        row.config,
                        row.endpoint,
                        row.status,
                        row.func,
                        row.code,
                        row.msec,
                        row.model,
                        row.captcha_providers,
                        row.captcha_retry,
                        row.tier,
                        row.sku,
                    )
                )

    def finish(self) -> None:
        self._connection.execute(
            "ALTER TABLE jobs ADD PRIMARY KEY (account, bot, timestamp, jobid)"
        )
        self._connection.execute("VACUUM ANALYZE jobs")
        self._connection.execute("CHECKPOINT")
        self._connection.close()


def _pour(plan: Plan, end_ms: int, takes: Sequence[Callable[[Sequence[Row]], None]]) -> None:
    """Make the traffic on a second process, decode it as the service does, and hand it on."""
    spawning = multiprocessing.get_context("spawn")
    receiving, sending = spawning.Pipe(duplex=False)
    making = spawning.Process(target=_make, args=(plan, end_ms, sending), daemon=True)
    making.start()
    sending.close()
    started = time.monotonic()
    done = 0
    for body in _bodies(receiving):
        rows = decode(body, plan.names()[0], end_ms)
        for take in takes:
            take(rows)
        done += len(rows)
        if done % (10 * BATCH) == 0 or done == plan.records:
            rate = done / (time.monotonic() - started)
            left = (plan.records - done) / rate
            print(
                f"  {done:>11,} of {plan.records:,} records, {rate:,.0f}/s, {left:.0f} s to go",
                flush=True,
            )
    making.join()
    if done != plan.records:
        raise RuntimeError(f"{done} records came of {plan.records}")


def decode(body: bytes, account: str, end_ms: int) -> list[Row]:
    """The rows of NDJSON traffic that ends at ``end_ms``, by the service's own rules.

    ``account`` is that of lines which name none.
    """
    limits = records.Admission(account=account, any_account=True, now_ms=end_ms, oldest_ms=0)
    decoded = records.decode(body, lines=True, admission=limits, new_jobid=_no_jobid)
    if decoded.rejected_total:
        raise RuntimeError(f"the service refuses sample traffic: {decoded.rejected[0].error}")
    return decoded.rows


def _no_jobid(timestamp_ms: int, account: str, bot: str) -> str:
    raise RuntimeError("sample traffic came without a job id")


def _make(plan: Plan, end_ms: int, sending: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends when nobody reads any more
    lines = traffic(
        accounts=plan.names(),
        records=plan.records,
        days=plan.days,
        end_ms=end_ms,
        seed=plan.seed,
    )
    with contextlib.suppress(BrokenPipeError):
        for body in batches(lines, BATCH):
            sending.send_bytes(body)


def batches(lines: Iterator[bytes], size: int) -> Iterator[bytes]:
    """NDJSON bodies of ``size`` lines each, the last one with the rest."""
    batch: list[bytes] = []
    for line in lines:
        batch.append(line)
        if len(batch) == size:
            yield b"\n".join(batch)
            batch.clear()
    if batch:
        yield b"\n".join(batch)


def _bodies(receiving: Connection) -> Iterator[bytes]:
    while True:
        try:
            yield receiving.recv_bytes()
        except EOFError:
            return
