"""``make torture``: random faults for a long time, each with a seed that makes it again.

``MINUTES=60`` is how long, ``SEED=`` the first seed, ``ONLY=name,name`` the scenarios. Exit code 1
where anything was found; the folder of a run that found something is kept, and its path printed.
"""

import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

from tests.faults import scenarios
from tests.faults.ledger import Fate
from tests.faults.shim import Shim
from tests.faults.trial import Trial, told


def run(name: str, seed: int, folder: Path) -> Trial:
    """One scenario; what it raises is a finding."""
    shim = None
    if name in scenarios.WITH_SHIM:
        shim = Shim(folder / "data", folder / "shim")
    length = random.Random(seed).choice((0.3, 1.0, 3.0))
    trial = Trial(folder, seed, seconds=length, shim=shim)
    try:
        scenarios.ALL[name](trial)
    except Exception:
        trial.ledger.find(traceback.format_exc())
    return trial


def main() -> int:
    """Run scenarios until the time is over; returns the exit code."""
    minutes = float(os.environ.get("MINUTES") or 60)
    seed = int(os.environ.get("SEED") or time.time())
    only = (os.environ.get("ONLY") or ",".join(scenarios.ALL)).split(",")
    end = time.monotonic() + minutes * 60
    runs: Counter[str] = Counter()
    failed: list[str] = []
    records: Counter[Fate] = Counter()
    print(f"torture for {minutes:g} minutes, first seed {seed}", flush=True)
    while time.monotonic() < end:
        name = only[sum(runs.values()) % len(only)]
        folder = Path(tempfile.mkdtemp(prefix="torture-"))
        started = time.monotonic()
        trial = run(name, seed, folder)
        runs[name] += 1
        records.update({fate: trial.ledger.count(fate) for fate in Fate})
        answers = ", ".join(f"{n} x {reply}" for reply, n in sorted(trial.ledger.answers.items()))
        line = f"{name} SEED={seed}: {time.monotonic() - started:.1f} s, replies {answers}"
        if trial.ledger.findings:
            failed.append(f"ONLY={name} SEED={seed}")
            print(f"FOUND {line}; kept in {folder}\n{told(trial.ledger.findings)}", flush=True)
        else:
            print(f"ok    {line}", flush=True)
            shutil.rmtree(folder)
        seed += 1
    counted = ", ".join(f"{fate.value} {records[fate]}" for fate in Fate)
    print(f"\n{sum(runs.values())} runs: {dict(runs)}\nrecords at the end: {counted}")
    print(f"{len(failed)} runs found something" + "".join(f"\n  {one}" for one in failed))
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
