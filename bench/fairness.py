"""How long a small question takes while another account asks as much as it can.

The same questions are asked with nothing else going on, and while one account of the store, the
largest, asks heavy ones over several connections. What is compared is the 99th percentile.
"""

import contextlib
import itertools
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench import processes
from bench.client import Client
from bench.plan import Plan
from bench.processes import Server
from bench.report import Line, Report, at, short

TIMES: Final = 200
MOST_MS: Final = 100
MOST_TIMES: Final = 4
_CONNECTIONS: Final = (4, 32)
_SETTLE_S: Final = 15.0

_PATH: Final = "/v2/account/stats"
_SMALL: Final = {
    "last 100 records": f"{_PATH}?bot=google-flow&limit=100",
    "a page of 100 rows": f"{_PATH}/rows?limit=100&last=7d",
    "7 days by day with percentiles": f"{_PATH}/query?last=7d&interval=1d&metrics=p50,p95,p99",
}
_HEAVY: Final = (
    f"{_PATH}/query?last=90d&interval=1d&metrics=p50,p95,p99&group_by=config",
    f"{_PATH}/query?last=89d&interval=1h&metrics=p50,p95,p99",
    f"{_PATH}/query?last=88d&interval=1d&metrics=jobs&group_by=model,endpoint",
)
# What is measured is the order of queries; the rates of one account would hide it.
_NO_RATES: Final = {"GENMETER_TOKEN_QUERIES": "0", "GENMETER_ACCOUNT_QUERIES": "0"}


def measure(plan: Plan, report: Report) -> None:
    """Ask, and add a line for each small question and load."""
    with _server(plan) as (server, small, large):
        quiet = _ask(server, small)
        for connections in _CONNECTIONS:
            with _load(server, large, connections) as served:
                loaded = _ask(server, small)
            for what, times in loaded.items():
                before, now = at(sorted(quiet[what]), 0.99), at(sorted(times), 0.99)
                ratio = now / before
                report.add(
                    Line(
                        f"{what}, while another account asks by {connections} connections: p99",
                        f"{short(now * 1e3)} ms",
                        f"with nothing else {short(before * 1e3)} ms",
                        f"{ratio:.1f} x",
                        f"< {MOST_MS} ms, {MOST_TIMES} x",
                        now * 1e3 <= MOST_MS and ratio <= MOST_TIMES,
                    ),
                    **{f"fairness_{connections}_{what}_s": {"quiet": quiet[what], "loaded": times}},
                )
            report.check(served[0] > 0, f"{served[0]} heavy questions were answered meanwhile")


@contextlib.contextmanager
def _server(plan: Plan) -> Iterator[tuple[Server, str, str]]:
    """A service over a copy of the store, with a token of its last account and of its first."""
    copy = plan.folder / "fairness"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(plan.store, copy, symlinks=True)
    try:
        names = plan.names()
        small, large = (processes.token(copy, name, "read") for name in (names[-1], names[0]))
        with processes.genmeter(copy, Path(f"{copy}.log"), _NO_RATES) as server:
            _ask(server, small)
            time.sleep(_SETTLE_S)  # what is not settled yet is read at a higher price
            yield server, small, large
    finally:
        shutil.rmtree(copy, ignore_errors=True)


def _ask(server: Server, token: str) -> dict[str, list[float]]:
    """The seconds that each small question takes."""
    times: dict[str, list[float]] = {what: [] for what in _SMALL}
    client = Client(server.port, token)
    with contextlib.closing(client):
        for _ in range(TIMES):
            for what, path in _SMALL.items():
                reply = client.get(path)
                if reply.status != 200:
                    raise processes.ProcessError(f"genmeter answered {reply.status} to {path}")
                times[what].append(reply.total_s)
    return times


@contextlib.contextmanager
def _load(server: Server, token: str, connections: int) -> Iterator[list[int]]:
    """Heavy questions one after the other on each connection; counts those answered."""
    stop = threading.Event()
    served = [0]

    def ask(first: int) -> None:
        with contextlib.closing(Client(server.port, token)) as client:
            for path in itertools.islice(itertools.cycle(_HEAVY), first, None):
                if stop.is_set():
                    return
                if client.get(path).status == 200:
                    served[0] += 1
                else:  # too many of one account: that is a limit, too
                    stop.wait(0.1)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    try:
        time.sleep(1)
        yield served
    finally:
        stop.set()
        for thread in threads:
            thread.join()
