"""What a store takes: records a second, processor time a record by who spends it, bytes a record.

Posts come back to back, so the rate is the most that these processors give to senders, service
and databases together. What carries over to another machine is the processor time: it counts
everything, also the merges afterwards, and a busy neighbour changes it less than the rate.
"""

import statistics
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import load, processes, stores
from bench.load import Measured, Target
from bench.processes import Server, aside
from bench.report import at, columns, short
from bench.sending import Load
from bench.stores import Kind, Site

_PARTS = (
    "SELECT max(parts) FROM (SELECT count() AS parts FROM system.parts "
    "WHERE active AND table = 'records' GROUP BY database, partition)"
)
_MERGES = "SELECT count() FROM system.merges"
_QUEUE = "SELECT sum(queue_size) FROM system.replicas"
_QUIET = 0.1
_QUIET_TIMES = 3
_PATIENCE_S = 120


@dataclass(frozen=True)
class Round:
    """One load and what followed from it."""

    records: int
    rate: float
    waits_ms: Sequence[float]
    failed: int
    cpu_s: dict[str, float]
    inserts: int
    parts: int


@dataclass(frozen=True)
class Recorded:
    """All rounds on one store, and what it holds afterwards, by shards together."""

    kind: Kind
    nodes: int
    batch: int
    clients: int
    rounds: list[Round]
    held: int
    part_bytes: int
    index_bytes: int


def measure(
    kind: Kind, folder: Path, *, nodes: int, posting: Load, batch: int, rounds: int
) -> Recorded:
    """Load a new store of a kind several times, through some API nodes at once."""
    with stores.site(kind, folder) as site, ExitStack() as running:
        place = site.place("recording")
        token = processes.token(place.data, "operator", "admin", place.variables)
        servers = [
            running.enter_context(
                processes.genmeter(data, folder / "genmeter.log", place.variables)
            )
            for data in (place.data, *(folder / f"node{n}" for n in range(1, nodes)))
        ]
        done = []
        for number in range(rounds):
            done.append(_round(site, servers, token, posting, batch, number * nodes))
            print(f"  {done[-1].rate:,.0f} records a second", flush=True)
        running.close()
        held = aside(place.holdings)
    return Recorded(
        kind, nodes, batch, posting.clients, done,
        sum(shard.records for shard in held),
        sum(shard.part_bytes for shard in held),
        sum(shard.index_bytes for shard in held),
    )  # fmt: skip


def _round(
    site: Site, servers: Sequence[Server], token: str, posting: Load, batch: int, seed: int
) -> Round:
    def spent() -> dict[str, float]:
        return {"API nodes": sum(server.cpu_s() for server in servers)} | site.cpu_s()

    def put(number: int) -> Measured:
        target = Target("127.0.0.1", servers[number].port, token)
        return aside(load.run, target, posting, records=batch, seed=seed + number)

    before, inserts = spent(), site.count("InsertQuery")
    with _most_parts(site) as parts, ThreadPoolExecutor(len(servers)) as pool:
        measured = list(pool.map(put, range(len(servers))))
    _wait_for_merges(site, servers)
    after = spent()
    posts = [one.posts for one in measured]
    own_cpu_s = sum(one.own_cpu_s for one in measured)
    return Round(
        records=sum(one.accepted for one in posts),
        rate=sum(one.in_time for one in posts) / posting.seconds,
        waits_ms=[wait for one in posts for wait in one.waits_ms],
        failed=sum(one.failed + one.rejected for one in posts),
        cpu_s={who: after[who] - before[who] for who in after} | {"load": own_cpu_s},
        inserts=site.count("InsertQuery") - inserts,
        parts=max(parts, default=0),
    )


def _wait_for_merges(site: Site, servers: Sequence[Server]) -> None:
    """Wait until what came is merged, on all replicas, so that its cost is counted, too."""
    give_up = time.monotonic() + _PATIENCE_S
    quiet = 0
    while quiet < _QUIET_TIMES and time.monotonic() < give_up:
        before = sum(server.cpu_s() for server in servers)
        time.sleep(1)
        # The engine in the process tells nobody; it is done when it does nothing any more.
        busy = sum(server.cpu_s() for server in servers) - before > _QUIET
        busy |= any(int(each.query(query)) for each in site.servers for query in (_MERGES, _QUEUE))
        quiet = 0 if busy else quiet + 1


@contextmanager
def _most_parts(site: Site) -> Iterator[list[int]]:
    """Collects twice a second how many parts a month has, on the server that has most."""
    found: list[int] = []
    ending = threading.Event()

    def look() -> None:
        while not ending.wait(0.5):
            found.append(max(int(server.query(_PARTS)) for server in site.servers))

    thread = threading.Thread(target=look)
    if site.servers:
        thread.start()
    try:
        yield found
    finally:
        ending.set()
        if site.servers:
            thread.join()


def table(one: Recorded) -> str:
    """What was found, line by line."""
    rates = [each.rate for each in one.rounds]
    rows = [
        ("what", _title(one)),
        ("records a second, median", f"{statistics.median(rates):,.0f}"),
        ("  least and most", f"{min(rates):,.0f} to {max(rates):,.0f}"),
        ("post p50, p99", _waits(one)),
    ]
    for who in one.rounds[0].cpu_s:
        rows.append((f"µs of processor a record: {who}", _cpu(one, who)))
    if any(each.inserts for each in one.rounds):
        rows.append(("INSERTs, records in each", _inserts(one)))
        rows.append(("most parts of a month", str(max(each.parts for each in one.rounds))))
    rows.append(("records held", f"{one.held:,}"))
    rows.append(("bytes a record, one replica", f"{one.part_bytes / one.held:.1f}"))
    rows.append(("index in memory, bytes a record", f"{one.index_bytes / one.held:.2f}"))
    return columns(rows)


def faults(one: Recorded) -> list[str]:
    """What went wrong: records that were acknowledged must be held, no more and no fewer."""
    sent = sum(each.records for each in one.rounds)
    failed = sum(each.failed for each in one.rounds)
    found = [f"{one.kind}: {failed} requests failed"] if failed else []
    if sent != one.held:
        found.append(f"{one.kind}: {sent:,} records were acknowledged and {one.held:,} are held")
    return found


def _title(one: Recorded) -> str:
    nodes = f", {one.nodes} nodes" if one.nodes > 1 else ""
    return f"{one.kind}{nodes}, {one.clients} x {one.batch:,}"


def _waits(one: Recorded) -> str:
    waits = sorted(wait for each in one.rounds for wait in each.waits_ms)
    return f"{short(at(waits, 0.5))}, {short(at(waits, 0.99))} ms"


def _cpu(one: Recorded, who: str) -> str:
    each = [part.cpu_s[who] / part.records * 1e6 for part in one.rounds]
    return f"{statistics.median(each):.1f} ({min(each):.1f} to {max(each):.1f})"


def _inserts(one: Recorded) -> str:
    inserts = sum(each.inserts for each in one.rounds)
    records = sum(each.records for each in one.rounds)
    return f"{inserts:,}, {records / inserts:,.0f}"
