"""How many batches a second PostgreSQL gives versions to: the bound on INSERTs of all nodes."""

import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench import postgres
from bench.processes import aside
from genmeter.auth.accounts import Accounts
from genmeter.clock import now_ms
from genmeter.config.urls import postgresql

_DATABASE = "versions"


def measure(folder: Path, *, nodes: int, seconds: float) -> str:
    """The rate with some nodes asking at once, and how long one of them waits, in a line."""
    with (
        postgres.Cluster(folder / "postgres") as databases,
        ThreadPoolExecutor(nodes) as pool,
    ):
        databases.make_anew(_DATABASE)
        address = f"postgresql://bench@/{_DATABASE}?host={databases.socket}"
        jobs = [pool.submit(aside, take, address, folder, seconds) for _ in range(nodes)]
        waits_s = [job.result() for job in jobs]
    rate = sum(map(len, waits_s)) / seconds
    middle = statistics.median(wait for waits in waits_s for wait in waits)
    return f"{nodes} nodes: {rate:,.0f} versions a second, {middle * 1000:.2f} ms each"


def take(address: str, folder: Path, seconds: float) -> list[float]:
    """Take versions one after the other, as a lane of a node does; returns the seconds of each."""
    accounts = Accounts.opened(postgresql(address), None, folder)
    waits_s = []
    until = time.perf_counter() + seconds
    while (began := time.perf_counter()) < until:
        accounts.next_version(now_ms())
        waits_s.append(time.perf_counter() - began)
    accounts.close()
    return waits_s
