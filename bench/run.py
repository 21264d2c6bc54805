"""Measures genmeter beside the same service made of FastAPI, SQLAlchemy and PostgreSQL."""

import contextlib
import os
import platform
from datetime import UTC, datetime

from bench import fairness, fill, ingest, longday, queries, reads
from bench.machine import two_over_one
from bench.peer import Peer
from bench.plan import Plan
from bench.postgres import Cluster, PostgresError
from bench.processes import aside
from bench.report import Report


def run(plan: Plan) -> Report:
    """One whole run; prints how it goes and the table at its end."""
    report = Report()
    report.figures |= {
        "records": plan.records,
        "accounts": plan.accounts,
        "days": plan.days,
        "seed": plan.seed,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
    }
    plan.folder.mkdir(parents=True, exist_ok=True)
    speedups = [two_over_one()]
    with contextlib.ExitStack() as stack:
        peer = _peer(plan, stack)
        note = aside(fill.fill, plan, None if peer is None else peer.databases)
        reads.measure(plan, peer, report)
        queries.measure(plan, peer, note.end_ms, report)
        ingest.measure(plan, peer, report)
    fairness.measure(plan, report)
    if plan.stream_records:
        longday.measure(plan, report)
    speedups.append(two_over_one())
    report.figures["two_threads_over_one"] = speedups
    print(
        f"\n{plan.records:,} records, {plan.accounts} accounts, {plan.days} days; "
        f"{os.cpu_count()} cores, on which two threads did {speedups[0]:.1f} times the work of one "
        f"before and {speedups[1]:.1f} times after; medians of {plan.repeats} or more\n\n"
        f"{report.table()}"
    )
    for fault in report.faults:
        print(f"WRONG: {fault}")
    if not report.faults:
        print("\nall answers were as they should be" + (" and equal" if peer else ""))
    return report


def _peer(plan: Plan, stack: contextlib.ExitStack) -> Peer | None:
    """The baseline's databases, or None with one line that says why there are none."""
    try:
        return Peer(stack.enter_context(Cluster(plan.cluster)))
    except PostgresError as error:
        print(f"without the baseline: {error}", flush=True)
        return None
