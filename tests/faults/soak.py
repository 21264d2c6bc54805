"""``make soak``: everyday load on a real server for a long time; nothing may grow.

``MINUTES=60`` is how long. Prints memory, open files, threads and latencies every minute (twenty
times in all where that is more often), and at the end how much each of them has grown, by a line
of least squares through all but the first third. Exit code 1 where one grew past its bound, where
a request failed, or where the server has other records than it acknowledged.
"""

import gzip
import itertools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx2

from tests.support import Process, new_token

STATS: Final = "/v2/account/stats"
BOT: Final = "google-flow"
ENGINE_MB: Final = 600
"""Small, so that the engine's caches are full before the first third is over."""

# What each column may have grown by in the time that the line is drawn through: at least so much,
# or this share of what it was.
BOUNDS: Final[Mapping[str, tuple[float, float]]] = {
    "memory MB": (60, 0.15),
    "files": (150, 0.5),  # of parts: merges come and go
    "threads": (6, 0.1),
    "post p99 ms": (60, 0.5),
    "query p99 ms": (80, 0.5),
}


class Soak:
    """What clients share: when to end, what they saw, how long it took."""

    def __init__(self, base_url: str, token: str) -> None:
        self.base_url = base_url
        self.headers = {"Authorization": f"Bearer {token}"}
        self.over = threading.Event()
        self.statuses: Counter[str] = Counter()
        self.failures: list[str] = []
        self.acknowledged = 0
        self.heard: list[int] = [0, 0]
        self._waits: dict[str, list[float]] = {"post": [], "query": []}
        self._lock = threading.Lock()

    def client(self) -> httpx2.Client:
        """A client with the token."""
        return httpx2.Client(base_url=self.base_url, headers=self.headers, timeout=60)

    def note(self, kind: str, response: httpx2.Response, started: float) -> None:
        """Enter how a request went."""
        with self._lock:
            self.statuses[f"{kind} {response.status_code}"] += 1
            if kind in self._waits:
                self._waits[kind].append((time.monotonic() - started) * 1000)
            if response.status_code == 200 and kind == "post":
                self.acknowledged += response.json()["accepted"]
            if response.status_code not in (200, 429):
                self.fail(f"{kind}: {response.status_code} {response.text[:200]}")

    def fail(self, text: str) -> None:
        """Note a fault; the first few are printed."""
        if len(self.failures) < 20:
            self.failures.append(text)

    def waits(self) -> dict[str, list[float]]:
        """How long requests took since the last call, in milliseconds."""
        with self._lock:
            taken = {kind: sorted(waits) for kind, waits in self._waits.items()}
            for waits in self._waits.values():
                waits.clear()
        return taken


def job(number: int) -> dict[str, Any]:
    """A record of now."""
    return {
        "bot": BOT, "timestamp": int(time.time() * 1000), "jobid": f"j{number}",
        "config": f"user{number % 50}@example.com", "endpoint": "post-images",
        "code": (200, 200, 200, 429, 500)[number % 5], "msec": number * 7919 % 90_000,
        "model": f"model-{number % 7}", "captchaProviders": "CapSolver", "captchaRetry": 1,
    }  # fmt: skip


def singles(soak: Soak, numbers: "itertools.count[int]") -> None:
    """Post records one by one."""
    with soak.client() as client:
        while not soak.over.wait(0.03):
            started = time.monotonic()
            soak.note("post", client.post(STATS, json=job(next(numbers))), started)


def batches(soak: Soak, numbers: "itertools.count[int]") -> None:
    """Post compressed NDJSON."""
    headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
    with soak.client() as client:
        while not soak.over.wait(0.5):
            lines = "\n".join(json.dumps(job(next(numbers))) for _ in range(100))
            started = time.monotonic()
            body = gzip.compress(lines.encode(), 1)
            soak.note("post", client.post(STATS, content=body, headers=headers), started)


def queries(soak: Soak) -> None:
    """Ask for the newest, for metrics by group, for a page of rows."""
    asked: Sequence[tuple[str, dict[str, Any]]] = (
        (STATS, {"bot": BOT, "limit": 100}),
        (f"{STATS}/query", {"last": "10m", "group_by": "model"}),
        (f"{STATS}/query", {"last": "5m", "interval": "1m", "metrics": "jobs,p95"}),
        (f"{STATS}/rows", {"last": "5m", "limit": 200, "code": "5xx"}),
    )
    with soak.client() as client:
        for path, params in itertools.cycle(asked):
            if soak.over.wait(0.1):
                return
            started = time.monotonic()
            soak.note("query", client.get(path, params=params), started)


def exports(soak: Soak) -> None:
    """Take all rows of some minutes, as a file."""
    with soak.client() as client:
        for kind in itertools.cycle(("csv", "parquet", "ndjson")):
            if soak.over.wait(5):
                return
            started = time.monotonic()
            params = {"last": "3m", "format": kind}
            soak.note("export", client.get(f"{STATS}/rows", params=params), started)


def listener(soak: Soak, which: int) -> None:
    """Follow new records; comes back where it was after each end of the stream."""
    last = ""
    with soak.client() as client:
        while not soak.over.is_set():
            headers = {"Last-Event-ID": last} if last else {}
            try:
                with client.stream("GET", f"{STATS}/live", headers=headers) as response:
                    for line in response.iter_lines():
                        if line.startswith("id:"):
                            last = line[3:].strip()
                        elif line.startswith("data:"):
                            soak.heard[which] += 1
            except httpx2.TransportError:
                soak.over.wait(0.1)


def sample(server: Process, soak: Soak) -> dict[str, float]:
    """All columns now."""
    process = Path(f"/proc/{server.process.pid}")
    waits = soak.waits()

    def part(kind: str, share: float) -> float:
        found = waits[kind]
        return found[min(int(len(found) * share), len(found) - 1)] if found else float("nan")

    return {
        "memory MB": server.resident_mb(),
        "files": len(list((process / "fd").iterdir())),
        "threads": len(list((process / "task").iterdir())),
        "post p50 ms": part("post", 0.5),
        "post p99 ms": part("post", 0.99),
        "query p50 ms": part("query", 0.5),
        "query p99 ms": part("query", 0.99),
    }


def growth(times: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """The value at the beginning of a line through all, and by how much it has grown at the end."""
    slope, start = statistics.linear_regression(times, values)
    return start + slope * times[0], slope * (times[-1] - times[0])


def judged(samples: Sequence[Mapping[str, float]], times: Sequence[float]) -> list[str]:
    """What has grown past its bound; prints how much all have."""
    skip = len(times) // 3
    faults = []
    for column, (least, share) in BOUNDS.items():
        begin, grown = growth(times[skip:], [one[column] for one in samples][skip:])
        bound = max(least, share * begin)
        print(f"{column}: {begin:.1f} {grown:+.1f} (may grow by {bound:.1f})")
        if not grown <= bound:
            faults.append(f"{column} grew by {grown:.1f} from {begin:.1f}")
    return faults


def ended(soak: Soak, server: Process) -> None:
    """Compare what is there, and what listeners heard, with what was acknowledged."""
    with soak.client() as client:
        whole = {"last": "2d", "metrics": "jobs"}
        there = client.get(f"{STATS}/query", params=whole).json()["total"]["jobs"]
    if there != soak.acknowledged:
        soak.fail(f"{soak.acknowledged} records were acknowledged and {there} are there")
    end = time.monotonic() + 60
    while min(soak.heard) < soak.acknowledged and time.monotonic() < end:
        time.sleep(0.1)
    if set(soak.heard) != {soak.acknowledged}:
        soak.fail(f"listeners heard {soak.heard} of {soak.acknowledged} records")


def run(data: Path, minutes: float) -> list[str]:
    """Run it all; returns what is wrong."""
    token = new_token(data, "soak")
    with Process(data, "--engine-memory-mb", str(ENGINE_MB), "--log-level", "warning") as server:
        soak = Soak(server.base_url, token)
        numbers = itertools.count()
        work: list[tuple[Callable[..., None], tuple[Any, ...]]] = [
            (singles, (soak, numbers)), (singles, (soak, numbers)), (batches, (soak, numbers)),
            (queries, (soak,)), (queries, (soak,)), (exports, (soak,)),
        ]  # fmt: skip
        listeners = [threading.Thread(target=listener, args=(soak, n), daemon=True) for n in (0, 1)]
        workers = [threading.Thread(target=_guarded, args=(soak, *one)) for one in work]
        for thread in listeners:
            thread.start()
        time.sleep(1)  # they hear all from the first record on
        for thread in workers:
            thread.start()
        try:
            samples, times = _watched(server, soak, minutes)
        finally:
            soak.over.set()
            for thread in workers:
                thread.join(90)
        ended(soak, server)
        print(f"\n{soak.acknowledged} records; {dict(sorted(soak.statuses.items()))}")
        faults = judged(samples, times)
        if server.stop():
            soak.fail(f"the server did not end well: {server.log()[-500:]}")
        return soak.failures + faults


def _guarded(soak: Soak, work: Callable[..., None], given: tuple[Any, ...]) -> None:
    try:
        work(*given)
    except Exception as error:
        soak.fail(f"{work.__name__}: {error!r}")


def _watched(
    server: Process, soak: Soak, minutes: float
) -> tuple[list[dict[str, float]], list[float]]:
    started = time.monotonic()
    pause = min(60.0, minutes * 3)
    samples: list[dict[str, float]] = []
    times: list[float] = []
    while (now := time.monotonic() - started) < minutes * 60 and server.process.poll() is None:
        time.sleep(min(pause, max(minutes * 60 - now, 0.1)))
        samples.append(sample(server, soak))
        times.append(time.monotonic() - started)
        if len(samples) == 1:
            print("  ".join(["minute", *samples[0]]), flush=True)
        cells = [f"{value:{len(name)}.1f}" for name, value in samples[-1].items()]
        print("  ".join([f"{times[-1] / 60:6.2f}", *cells]), flush=True)
    return samples, times


def main() -> int:
    """Run for ``MINUTES``; returns the exit code."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        faults = run(Path(folder) / "data", float(os.environ.get("MINUTES") or 60))
    print("\n".join(faults) or "nothing grew past its bound, no request failed")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
