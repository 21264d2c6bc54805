"""Recording: two loads of POSTs on a fresh store, on genmeter and then on the baseline.

Both acknowledge a request when its records are on disk. Afterwards each store must hold exactly
the records that were acknowledged.
"""

import tempfile
from pathlib import Path

from bench import alone, load, processes
from bench.load import Shape, Target
from bench.peer import Peer
from bench.plan import Plan
from bench.processes import aside
from bench.report import Line, Report, at, short
from bench.sending import Load, Outcome

_DATABASE = "ingest"


def measure(plan: Plan, peer: Peer | None, report: Report) -> None:
    """Both loads, and the check of what is there afterwards."""
    for records, clients in ((1000, 4), (1, 64)):
        print(f"recording: {records:,} a request from {clients} clients", flush=True)
        ours = _genmeter(plan, records, clients, report)
        theirs = None if peer is None else _baseline(plan, peer, records, clients, report)
        if records == 1:
            _report_single(report, clients, ours, theirs)
        else:
            _report_many(report, records, clients, ours, theirs)


def _genmeter(plan: Plan, records: int, clients: int, report: Report) -> Outcome:
    shape = Shape.ARRAY if records == 1 else Shape.LINES
    with tempfile.TemporaryDirectory(prefix="ingest-", dir=plan.folder) as name:
        data = Path(name)
        token = processes.token(data, plan.names()[0], "admin")
        with processes.genmeter(data, plan.folder / "genmeter.log") as server:
            outcome = _load(plan, records, clients, shape, server.port, token)
        held = aside(alone.holdings, data / "engine").records
    _check(report, "genmeter", outcome, held)
    return outcome


def _baseline(plan: Plan, peer: Peer, records: int, clients: int, report: Report) -> Outcome:
    peer.make_anew(_DATABASE)
    try:
        token = peer.token(_DATABASE, plan.names()[0], admin=True)
        url = peer.databases.url(_DATABASE)
        with processes.baseline(url, plan.folder / "baseline.log") as server:
            outcome = _load(plan, records, clients, Shape.ARRAY, server.port, token)
        held = peer.databases.number(_DATABASE, "SELECT count(*) FROM jobs")
    finally:
        peer.databases.drop(_DATABASE)
    _check(report, "the baseline", outcome, held)
    return outcome


def _load(plan: Plan, records: int, clients: int, shape: Shape, port: int, token: str) -> Outcome:
    """Posts back to back for the time of the plan, from a process of their own."""
    measured = aside(
        load.run, Target("127.0.0.1", port, token), Load(clients, plan.seconds),
        records=records, accounts=plan.accounts, zipf=1.0, seed=plan.seed + 1, shape=shape,
    )  # fmt: skip
    return measured.posts


def _check(report: Report, label: str, outcome: Outcome, held: int) -> None:
    report.check(
        not outcome.failed and held == outcome.accepted > 0,
        f"{label} has acknowledged {outcome.accepted:,} records and holds {held:,}"
        + (f"; {outcome.failed} requests failed: {outcome.failure}" if outcome.failed else ""),
    )


def _report_many(
    report: Report, records: int, clients: int, ours: Outcome, theirs: Outcome | None
) -> None:
    rate = ours.in_time / ours.seconds
    peers = theirs.in_time / theirs.seconds if theirs else 0.0
    report.add(
        Line(
            f"POST of {records:,} records, {clients} clients",
            f"{rate:,.0f} records/s",
            f"baseline {peers:,.0f}/s" if theirs else "none",
            f"{rate / peers:.1f} x" if peers else "",
            ">= 50,000/s",
            rate >= 50_000,
        ),
        ingest_many_records_a_s=rate,
        ingest_many_ms=_waits(ours),
        baseline_ingest_many_records_a_s=peers,
    )


def _report_single(report: Report, clients: int, ours: Outcome, theirs: Outcome | None) -> None:
    rate = ours.in_time / ours.seconds
    peers = theirs.in_time / theirs.seconds if theirs else 0.0
    report.add(
        Line(
            f"POST of 1 record, {clients} clients",
            f"{rate:,.0f} requests/s",
            f"baseline {peers:,.0f}/s" if theirs else "none",
            f"{rate / peers:.1f} x" if peers else "",
            ">= 2,000/s",
            rate >= 2000,
        ),
        ingest_single_requests_a_s=rate,
        baseline_ingest_single_requests_a_s=peers,
    )
    waits = _waits(ours)
    report.add(
        Line(
            "  of these p50, p99, slowest",
            _shown(waits),
            f"baseline {_shown(_waits(theirs))}" if theirs else "",
            "",
            "p99 < 100 ms",
            waits["p99"] < 100,
        ),
        ingest_single_ms=waits,
        baseline_ingest_single_ms=_waits(theirs) if theirs else None,
    )


def _waits(outcome: Outcome) -> dict[str, float]:
    """How long requests took, in milliseconds."""
    waits = sorted(outcome.waits_ms)
    return {"p50": at(waits, 0.5), "p99": at(waits, 0.99), "max": at(waits, 1.0)}


def _shown(waits: dict[str, float]) -> str:
    return ", ".join(short(wait) for wait in waits.values()) + " ms"
