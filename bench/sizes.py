"""The same query of the same account to stores of three sizes: its cost must not grow with them.

All stores hold one account of a fixed size, among more and more records of 100,000 others. Its
answers must be equal byte by byte; what they cost is looked at side by side, in turns.
"""

import hashlib
import math
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from bench import processes, stores
from bench.alone import RETENTION_DAYS, Holdings
from bench.client import Client
from bench.fill import decode
from bench.population import Population
from bench.processes import Server, aside
from bench.report import columns
from bench.stores import Kind, Place, Site
from genmeter.clock import DAY_MS, day_start_ms, now_ms, utc_date
from genmeter.model.record import Row
from genmeter.storage import schema
from genmeter.storage.sql import base as sql
from genmeter.storage.store import Store

ACCOUNT = "reference"
BOT = "google-flow"
A_DAY = 3000
DAYS = 90
"""The reference account has ``A_DAY`` records a day, over ``DAYS`` days."""

_BATCH = 50_000
_ROUNDS = 7
_ASKED = {"date={day}": 12, "limit=1000": 12, "limit=50000": 3}
"""What is asked, and how often in one round."""


@dataclass
class Cost:
    """What a query cost on one store: milliseconds waited, and of processor time a query."""

    waits_ms: list[float] = field(default_factory=list)
    node_ms: list[float] = field(default_factory=list)
    servers_ms: list[float] = field(default_factory=list)


@dataclass
class Size:
    """A store of one size and what was found about it."""

    records: int
    place: Place
    fill_s: float = 0.0
    held: list[Holdings] = field(default_factory=list)
    last_write_ms: float = 0.0
    ready_s: float = 0.0
    idle_mb: float = 0.0
    first_ms: float = 0.0
    costs: dict[str, Cost] = field(default_factory=dict)
    answers: list[str] = field(default_factory=list)


def measure(
    kind: Kind, folder: Path, *, records: int, accounts: int, zipf: float, merged: bool
) -> list[Size]:
    """Fill three stores, of a tenth of ``records``, of all and of one between, and ask them.

    They are asked as merges have left them, or, if ``merged``, with one part for each month.
    """
    end_ms = day_start_ms(utc_date(now_ms()))
    with stores.site(kind, folder) as site, ExitStack() as running:
        sizes = []
        for number, part in enumerate((10.0, math.sqrt(10.0), 1.0)):
            size = Size(round(records / part), site.place(f"size{number}"))
            print(f"{kind}: filling {size.records:,} records", flush=True)
            began = time.monotonic()
            aside(fill, size.place, size.records, accounts, zipf, end_ms, merged)
            size.fill_s = time.monotonic() - began
            size.held = aside(size.place.holdings)
            size.last_write_ms = aside(last_write, size.place)
            sizes.append(size)
        servers = []
        for size in sizes:
            token = processes.token(size.place.data, ACCOUNT, "read", size.place.variables)
            server = running.enter_context(
                processes.genmeter(size.place.data, folder / "genmeter.log", size.place.variables)
            )
            size.ready_s, size.idle_mb = server.ready_s, server.memory_mb("VmRSS")
            client = Client(server.port, token)
            running.callback(client.close)
            servers.append((size, server, client))
        day = utc_date(end_ms - 10 * DAY_MS)
        for question, times in _ASKED.items():
            path = f"/v2/account/stats?bot={BOT}&" + question.format(day=day)
            print(f"{kind}: asking {path}", flush=True)
            for size, _, client in servers:
                reply = client.get(path)
                if reply.status != 200:
                    raise processes.ProcessError(f"genmeter answered {reply.status}")
                size.first_ms = size.first_ms or reply.total_s * 1000
                size.answers.append(hashlib.sha256(reply.body).hexdigest())
                size.costs[question] = Cost()
            for _ in range(_ROUNDS):
                for size, server, client in servers:
                    _ask(site, server, client, path, times, size.costs[question])
    return sizes


def _ask(site: Site, server: Server, client: Client, path: str, times: int, cost: Cost) -> None:
    client.get(path)  # others were asked since; this one does not count
    node_s, servers_s = server.cpu_s(), sum(site.cpu_s().values())
    cost.waits_ms += [client.get(path).total_s * 1000 for _ in range(times)]
    cost.node_ms.append((server.cpu_s() - node_s) * 1000 / times)
    cost.servers_ms.append((sum(site.cpu_s().values()) - servers_s) * 1000 / times)


def fill(place: Place, records: int, accounts: int, zipf: float, end_ms: int, merged: bool) -> None:
    """Fill a store with records of many accounts and with the reference, evenly over the days."""
    population = Population(accounts, zipf, seed=1)
    start_ms = end_ms - DAYS * DAY_MS
    others = population.records(_evenly(start_ms, end_ms, records))
    # Its records are made by a population of its own, so that they are the same in all stores.
    reference = Population(1, 0.0, seed=1).of_one(
        ACCOUNT, BOT, _evenly(start_ms, end_ms, A_DAY * DAYS)
    )
    engine = place.open()
    try:
        store = Store(engine, retention_days=RETENTION_DAYS)
        batches = -(-records // _BATCH)
        done = 0
        for number in range(1, batches + 1):
            until = A_DAY * DAYS * number // batches
            lines = [*islice(others, _BATCH), *islice(reference, until - done)]
            done = until
            _insert(store, b"\n".join(lines), end_ms)
            if number % (batches // 10 or 1) == 0:
                print(f"  {number * _BATCH:,}", flush=True)
        for shard in range(store.shards if merged else 0):
            for month in engine.fetch(schema.READ_MONTHS, shard).split():
                engine.execute(f"OPTIMIZE TABLE {sql.TABLE} PARTITION {int(month)} FINAL", shard)
    finally:
        engine.close()


def last_write(place: Place) -> float:
    """Milliseconds to find the last version, as the engine in the process does at its start."""
    engine = place.open()
    try:
        engine.prepare(lambda _: None)
        began = time.perf_counter()
        engine.fetch(schema.READ_LAST_WRITE)
        return (time.perf_counter() - began) * 1000
    finally:
        engine.close()


def _insert(store: Store, body: bytes, end_ms: int) -> None:
    shards: list[list[Row]] = [[] for _ in range(store.shards)]
    for row in decode(body, ACCOUNT, end_ms):
        shards[store.shard(row.account)].append(row)
    for number, rows in enumerate(shards):
        if rows:
            store.insert(rows, now_ms(), number)


def _evenly(start_ms: int, end_ms: int, times: int) -> Iterator[int]:
    return (start_ms + (end_ms - start_ms) * number // times for number in range(times))


def table(kind: Kind, sizes: Sequence[Size]) -> str:
    """The stores side by side, and how the largest compares with the smallest."""
    rows = [[f"{kind}: others' records", *(f"{size.records:,}" for size in sizes), "x"]]

    def row(what: str, values: Sequence[float], form: str) -> None:
        last = f"{values[-1] / values[0]:.2f}" if values[0] else ""
        rows.append([what, *(format(value, form) for value in values), last])

    for question, some in sizes[0].costs.items():
        costs = [size.costs[question] for size in sizes]
        what = question.format(day="DAY")
        row(f"{what}: ms, median", [statistics.median(c.waits_ms) for c in costs], ".1f")
        row("  the quickest", [min(c.waits_ms) for c in costs], ".1f")
        row("  ms of processor, API node", [statistics.median(c.node_ms) for c in costs], ".1f")
        if any(some.servers_ms):
            row("  the same, servers", [statistics.median(c.servers_ms) for c in costs], ".1f")
    row("first answer after a start, ms", [size.first_ms for size in sizes], ".0f")
    row("start until ready, s", [size.ready_s for size in sizes], ".2f")
    if kind == "embedded":
        row("  of it, ms to find the last version", [size.last_write_ms for size in sizes], ".0f")
    row("API node's memory then, MB", [size.idle_mb for size in sizes], ".0f")
    row("parts", [sum(held.parts for held in size.held) for size in sizes], ",d")
    for what, of in (
        ("bytes a record", lambda held: held.part_bytes),
        ("index in memory, bytes a record", lambda held: held.index_bytes),
    ):
        row(what, [_a_record(size, of) for size in sizes], ".2f")
    row("seconds to fill it", [size.fill_s for size in sizes], ".0f")
    return columns(rows)


def faults(sizes: Sequence[Size]) -> list[str]:
    """What should not be: stores that hold too few, or answers that differ."""
    found = [
        f"a store of {size.records:,} holds {held:,}"
        for size in sizes
        if (held := sum(shard.records for shard in size.held)) != size.records + A_DAY * DAYS
    ]
    if any(size.answers != sizes[0].answers for size in sizes):
        found.append("stores of different sizes gave different answers")
    return found


def _a_record(size: Size, of: Callable[[Holdings], int]) -> float:
    return sum(map(of, size.held)) / sum(held.records for held in size.held)
