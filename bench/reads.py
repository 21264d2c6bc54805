"""Reading: the same queries to both servers in turn, and to the engine alone before and after.

With it what is known of the filled stores: their sizes, how soon a server over them is ready, and
what memory it takes before anybody asks.
"""

import contextlib
import json
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

from bench import alone, processes
from bench.alone import Targets
from bench.client import Client, Reply
from bench.peer import Peer
from bench.plan import LIMIT, Plan
from bench.processes import aside
from bench.report import Line, Report, spread
from genmeter.query.stats import StatsQuery

_WARM_UP = 3
_IDLE_S = 5.0
_DAYS_FOR_A_LIMIT = 4
"""A day's answer is short, so it is asked for this many times as often."""


@dataclass(frozen=True)
class _Asked:
    """A query, whose it is, and how often it is asked."""

    account: str
    parameters: dict[str, str]
    times: int


@dataclass
class _Side:
    """One of the two servers, with a connection for each account that asks."""

    label: str
    clients: dict[str, Client]


def measure(plan: Plan, peer: Peer | None, report: Report) -> None:
    """All of it, over the filled stores of ``plan``."""
    engine = plan.store / "engine"
    asked = aside(alone.targets, engine)
    limit = min(LIMIT, asked.rows)
    question = StatsQuery(account=asked.account, bot=asked.bot, limit=limit)
    print("reading: the engine alone", flush=True)
    engine_s = aside(alone.last_rows, engine, question, plan.repeats)
    _sizes(plan, peer, report)
    _starts(plan, report)
    last = _Asked(asked.account, {"bot": asked.bot, "limit": str(limit)}, plan.repeats)
    day = _Asked(
        asked.day_account,
        {"bot": asked.day_bot, "date": asked.day},
        plan.repeats * _DAYS_FOR_A_LIMIT,
    )
    last_s, day_s = _ask_both(plan, peer, (last, day), report)
    print("reading: the engine alone, once more", flush=True)
    engine_s += aside(alone.last_rows, engine, question, plan.repeats)
    _report(report, asked, limit, engine_s, last_s, day_s)


def _ask_both(
    plan: Plan, peer: Peer | None, questions: Sequence[_Asked], report: Report
) -> list[dict[str, list[float]]]:
    """Seconds of every answer to each query, by server."""
    accounts = {asked.account for asked in questions}
    with contextlib.ExitStack() as stack:
        log = plan.folder / "genmeter.log"
        tokens = {name: processes.token(plan.store, name, "read") for name in accounts}
        server = stack.enter_context(processes.genmeter(plan.store, log))
        sides = [_side("genmeter", server.port, tokens, stack)]
        if peer is not None:
            tokens = {name: peer.token(plan.name, name) for name in accounts}
            url = peer.databases.url(plan.name)
            server = stack.enter_context(processes.baseline(url, plan.folder / "baseline.log"))
            sides.append(_side("baseline", server.port, tokens, stack))
        return [_in_turn(sides, asked, report) for asked in questions]


def _side(label: str, port: int, tokens: dict[str, str], stack: contextlib.ExitStack) -> _Side:
    clients = {name: Client(port, token) for name, token in tokens.items()}
    for client in clients.values():
        stack.callback(client.close)
    return _Side(label, clients)


def _in_turn(sides: Sequence[_Side], asked: _Asked, report: Report) -> dict[str, list[float]]:
    """Ask one server after the other, so that a busy machine slows both alike."""
    path = "/v2/account/stats?" + urlencode(asked.parameters)
    print(f"reading: {path} of {asked.account}", flush=True)
    _compare({side.label: side.clients[asked.account].get(path) for side in sides}, report)
    for _ in range(_WARM_UP):
        for side in sides:
            side.clients[asked.account].get(path)
    seconds: dict[str, list[float]] = {side.label: [] for side in sides}
    for _ in range(asked.times):
        for side in sides:
            reply = side.clients[asked.account].get(path)
            if reply.status != 200:
                raise processes.ProcessError(f"{side.label} answered {reply.status}")
            seconds[side.label].append(reply.total_s)
    return seconds


def _compare(replies: dict[str, Reply], report: Report) -> None:
    """Check that every answer is whole, and that all say the same."""
    bodies = {label: json.loads(reply.body) for label, reply in replies.items()}
    for label, body in bodies.items():
        rows = len(body.get("data", ()))
        report.check(
            replies[label].status == 200 and 0 < rows == body["total"],
            f"{label} answers with {rows:,} rows, as its total says",
        )
    if len(bodies) == 2:
        ours, theirs = bodies.values()
        for key in sorted({*ours, *theirs}):
            report.check(ours.get(key) == theirs.get(key), f"both give the same {key}")


def _sizes(plan: Plan, peer: Peer | None, report: Report) -> None:
    held = aside(alone.holdings, plan.store / "engine")
    report.check(held.records == plan.records, f"genmeter's store holds {held.records:,} records")
    disk = _on_disk(plan.store / "engine") / held.records
    parts = held.part_bytes / held.records
    peers = 0.0
    if peer is not None:
        rows = peer.databases.number(plan.name, "SELECT count(*) FROM jobs")
        report.check(rows == plan.records, f"the baseline's table holds {rows:,} records")
        size = "SELECT pg_total_relation_size('jobs')"
        peers = peer.databases.number(plan.name, size) / rows
    report.add(
        Line(
            "disk, bytes a record",
            f"{disk:.1f} (its parts {parts:.1f}, {held.parts} of them)",
            f"baseline {peers:.0f}" if peers else "",
            f"{peers / disk:.1f} x" if peers else "",
            "<= 25",
            disk <= 25,
        ),
        disk_bytes_a_record=disk,
        parts_bytes_a_record=parts,
        parts=held.parts,
        baseline_bytes_a_record=peers,
    )


def _on_disk(folder: Path) -> int:
    """What the files of a folder take on the disk, in bytes."""
    return sum(path.lstat().st_blocks * 512 for path in folder.rglob("*"))


def _starts(plan: Plan, report: Report) -> None:
    """Start the service twice; look at its memory when it has come to rest."""
    print("starting genmeter twice", flush=True)
    log = plan.folder / "genmeter.log"
    with processes.genmeter(plan.store, log) as server:
        first_s = server.ready_s
        time.sleep(_IDLE_S)
        idle_mb = server.memory_mb("VmRSS")
    with processes.genmeter(plan.store, log) as server:
        second_s = server.ready_s
    slower = max(first_s, second_s)
    report.add(
        Line(
            "start until ready, first and second time",
            f"{first_s:.2f} s, {second_s:.2f} s",
            target="< 3 s",
            met=slower < 3,
        ),
        ready_s=[first_s, second_s],
    )
    report.add(
        Line("resident memory, idle", f"{idle_mb:.0f} MB", target="< 220 MB", met=idle_mb < 220),
        idle_mb=idle_mb,
    )


def _report(
    report: Report,
    asked: Targets,
    limit: int,
    engine_s: list[float],
    last_s: dict[str, list[float]],
    day_s: dict[str, list[float]],
) -> None:
    last, alone_s = statistics.median(last_s["genmeter"]), statistics.median(engine_s)
    name = f"limit={limit} of {asked.account}, {asked.bot}"
    report.add(
        Line(
            f"{name}: beside the engine alone",
            spread(last_s["genmeter"]),
            f"engine {spread(engine_s)}",
            f"{last / alone_s:.2f} x",
            "<= 2.5 x",
            last <= 2.5 * alone_s,
        ),
        limit=limit,
        limit_s=last_s,
        engine_alone_s=engine_s,
        limit_to_engine=last / alone_s,
    )
    report.add(
        Line(
            f"{name}: median",
            f"{last * 1000:.1f} ms",
            target="< 150 ms",
            met=last < 0.15,
        )
    )
    _beside(report, f"{name}: beside the baseline", last_s, 8, "limit")
    day = statistics.median(day_s["genmeter"])
    name = f"a day of {asked.day_rows:,} rows"
    report.add(
        Line(f"{name}: median", f"{day * 1000:.1f} ms", target="< 25 ms", met=day < 0.025),
        day_rows=asked.day_rows,
        day_s=day_s,
    )
    _beside(report, f"{name}: beside the baseline", day_s, 3, "day")


def _beside(
    report: Report, what: str, seconds: dict[str, list[float]], least: float, key: str
) -> None:
    ours = statistics.median(seconds["genmeter"])
    if "baseline" not in seconds:
        report.add(Line(what, spread(seconds["genmeter"]), "none", "", f">= {least:g} x"))
        return
    ratio = statistics.median(seconds["baseline"]) / ours
    report.add(
        Line(
            what,
            spread(seconds["genmeter"]),
            f"baseline {spread(seconds['baseline'])}",
            f"{ratio:.1f} x",
            f">= {least:g} x",
            ratio >= least,
        ),
        **{f"baseline_to_{key}": ratio},
    )
