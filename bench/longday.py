"""The longest answer: a day of a million records, streamed, and the memory that takes."""

import tempfile
from itertools import islice
from pathlib import Path

from bench import alone, processes
from bench.alone import RETENTION_DAYS
from bench.client import stream
from bench.fill import BATCH, batches, decode, settle
from bench.plan import Plan
from bench.processes import aside
from bench.report import Line, Report
from genmeter.clock import day_start_ms, now_ms, utc_date
from genmeter.sample_traffic import traffic
from genmeter.storage.store import Store

_ACCOUNT = "acme"
_BOT = "google-flow"
_MARK = b'{"timestamp":'


def measure(plan: Plan, report: Report) -> None:
    """Fill a store with one such day and read it."""
    print(f"streaming a day of {plan.stream_records:,} records: filling", flush=True)
    midnight = day_start_ms(utc_date(now_ms()))
    with tempfile.TemporaryDirectory(prefix="day-", dir=plan.folder) as name:
        data = Path(name)
        aside(_fill, data / "engine", plan.stream_records, midnight, plan.seed)
        token = processes.token(data, _ACCOUNT, "read")
        with processes.genmeter(data, plan.folder / "genmeter.log") as server:
            before_mb = server.memory_mb("VmRSS")
            path = f"/v2/account/stats?bot={_BOT}&date={utc_date(midnight - 1)}"
            got = stream(server.port, token, path, _MARK)
            peak_mb = server.memory_mb("VmHWM")
    report.check(
        got.status == 200 and got.rows == plan.stream_records,
        f"the day came with {got.rows:,} rows, {got.size / 1e6:.0f} MB",
    )
    report.add(
        Line(
            f"a day of {got.rows:,} rows: most memory",
            f"{peak_mb:.0f} MB ({before_mb:.0f} before)",
            target="< 700 MB",
            met=peak_mb < 700,
        ),
        stream_peak_mb=peak_mb,
    )
    report.add(
        Line(
            f"a day of {got.rows:,} rows: first byte, all {got.size / 1e6:.0f} MB",
            f"{got.first_s:.2f} s, {got.total_s:.2f} s",
        ),
        stream_first_s=got.first_s,
        stream_total_s=got.total_s,
        stream_bytes=got.size,
    )


def _fill(folder: Path, records: int, end_ms: int, seed: int) -> None:
    """Store ``records`` records of one account and bot, all of the day before ``end_ms``."""
    engine = alone.open_engine(folder)
    store = Store(engine, retention_days=RETENTION_DAYS)
    # Some two of five records are this bot's.
    everything = traffic(accounts=[_ACCOUNT], records=4 * records, days=1, end_ms=end_ms, seed=seed)
    one_bot = (line for line in everything if b'"bot":"%s"' % _BOT.encode() in line)
    done = 0
    for body in batches(islice(one_bot, records), BATCH):
        rows = decode(body, _ACCOUNT, end_ms)
        store.insert(rows, now_ms())
        done += len(rows)
    if done != records:
        raise RuntimeError(f"{done} records came of {records}")
    settle(engine, removed=False)
    engine.close()
