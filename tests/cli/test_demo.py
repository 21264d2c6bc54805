"""``genmeter demo``: its sample traffic is complete, or completed by the next start."""

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx2

from tests.support import Process, environment

RECORDS: Final = 100_000


@contextmanager
def demo(data: Path) -> Iterator["subprocess.Popen[str]"]:
    """A demo with its data in ``data``, killed at the end if it still runs."""
    words = ["demo", "--records", str(RECORDS), "--port", "0", "--data", str(data)]
    with subprocess.Popen(
        [sys.executable, "-m", "genmeter", *words],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ready(process: "subprocess.Popen[str]") -> tuple[str, int]:
    """What a demo prints up to its end, once it is ready, and how many jobs it has."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if "Ctrl-C" in line:
            break
    address = re.search(r"ready on (\S+)", text)
    token = re.search(r"token +(\S+)", text)
    assert address, text
    assert token, text
    response = httpx2.get(
        f"{address[1]}/v2/account/stats/query",
        params={"last": "91d", "metrics": "jobs"},
        headers={"Authorization": f"Bearer {token[1]}"},
        timeout=60,
    )
    return text, response.json()["total"]["jobs"]


def test_a_demo_killed_while_it_loads_is_completed_by_the_next(tmp_path: Path) -> None:
    data = tmp_path / "data"
    note = data / "demo-loading.json"
    with demo(data) as process:
        while not list(data.glob("engine/store/*/*/20*_*")):  # a part of a month
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert note.exists(), "it was killed too late"
    with Process(data) as server:
        loaded = re.search(r"with ([\d,]+) records", server.ready_line)
        assert loaded, server.ready_line
        assert 0 < int(loaded[1].replace(",", "")) < RECORDS
    with demo(data) as process:
        text, jobs = ready(process)
        assert "an earlier demo was interrupted" in text
        assert jobs == RECORDS
        process.terminate()
        assert process.wait(60) == 0
    assert not note.exists()
    with demo(data) as process:
        text, jobs = ready(process)
        assert "none are added" in text
        assert jobs == RECORDS
