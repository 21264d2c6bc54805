"""The recorder in real processes, against a real server or one that does what it is told."""

import json
import os
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genmeter.client import Client
from genmeter.recorder import Recorder
from genmeter.recorder.dead_letters import NAME
from tests.recorder.mock import Mock, answer, mock
from tests.support import Process, environment, new_token

JOB: dict[str, Any] = {
    "bot": "kling", "config": "a@example.com", "endpoint": "post", "code": 200, "msec": 1
}  # fmt: skip


@pytest.fixture
def server() -> Iterator[Mock]:
    with mock() as made:
        yield made


def stored(url: str, token: str) -> Counter[str]:
    """How often each job id is in the server's records."""
    with Client(url, token) as client:
        return Counter(row["jobid"] for row in client.rows(last="24h"))


def gateway(*arguments: str) -> "subprocess.Popen[str]":
    """A gateway process; see :mod:`tests.recorder.gateway`."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.recorder.gateway", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def test_a_gateway_killed_in_mid_load_loses_and_doubles_nothing(tmp_path: Path) -> None:
    chance = random.Random(14)
    data, spool = tmp_path / "data", tmp_path / "spool"
    token = new_token(data, "acme")
    begun: set[str] = set()
    done: set[str] = set()

    def note(text: str) -> None:
        for line in text.splitlines():
            what, _, jobid = line.partition(" ")
            (begun if what == "begun" else done).add(jobid)

    server = Process(data)
    url = server.base_url
    for run in range(6):
        process = gateway(url, token, str(spool), f"run{run}", "1000000")
        assert process.stdout
        # Starting takes long on a busy machine: count from the first record.
        first = process.stdout.readline()
        killer = threading.Timer(0.1 + chance.random() / 2, process.kill)
        killer.start()
        note(first + process.stdout.read())
        process.wait()
        process.stdout.close()
        if run == 2:  # the server is away for the next gateways
            server.kill()
    with Process(data) as server:
        url = server.base_url  # its old port may be taken
        last, _ = gateway(url, token, str(spool), "last", "10").communicate(timeout=120)
        note(last)
        counts = stored(url, token)
    assert len(done) > 500
    assert done - set(counts) == set(), "lost"
    assert set(counts) - begun == set()
    assert [jobid for jobid, count in counts.items() if count > 1] == [], "doubled"
    assert not list(spool.iterdir())


def test_records_get_a_time_and_a_job_id_and_wait_while_the_server_is_away(
    server: Mock, tmp_path: Path
) -> None:
    server.answers = [lambda _: answer(503, {"error": "no"}, Retry_After="0") for _ in range(3)]
    recorder = Recorder(server.url, "token", tmp_path, flush_s=0.01)
    before = time.time_ns() // 1_000_000
    for _ in range(10):
        recorder.record(**JOB)
    recorder.record(**JOB, jobid="mine", timestamp="2026-02-13T10:30:00.000Z")
    wait_for(lambda: recorder.stats().acknowledged == 11)
    stats = recorder.stats()
    assert (stats.recorded, stats.waiting, stats.rejected, stats.oldest_s) == (11, 0, 0, 0)
    assert stats.sent > 11
    recorder.close(10)
    sent = {record["jobid"]: record for record in server.records}
    assert len(sent) == 11
    assert sent.pop("mine")["timestamp"] == "2026-02-13T10:30:00.000Z"
    assert all(record["timestamp"] >= before for record in sent.values())
    assert not list(tmp_path.iterdir())
    recorder.record(**JOB)
    assert recorder.stats().dropped["closed"] == 1


def test_what_breaks_the_rules_is_a_dead_letter_and_never_an_error(
    server: Mock, tmp_path: Path
) -> None:
    with Recorder(server.url, "token", tmp_path) as recorder:
        recorder.record(**JOB | {"code": 1000})
        recorder.record(**JOB, colour="red")
        recorder.record(**JOB, model="x" * 513)
        recorder.record(**JOB | {"bot": "No Bot"})
        recorder.record(**JOB | {"config": object()})
        recorder.record(**JOB, timestamp=2**62)
        recorder.record(bot="kling")
        recorder.record(**JOB | {"bot": "a-bot-that-only-the-server-knows"})
        assert recorder.stats().rejected == 7
    assert [record["bot"] for record in server.records] == ["a-bot-that-only-the-server-knows"]
    letters = [json.loads(line) for line in (tmp_path / NAME).read_bytes().splitlines()]
    reasons = [letter["reason"] for letter in letters]
    assert "code must be an integer from 0 to 999, not 1000" in reasons
    assert any(reason.startswith('unknown field "colour"') for reason in reasons)
    assert any(reason.startswith("not JSON: ") for reason in reasons)
    assert "config is required; endpoint is required; code is required; msec is required" in reasons
    assert letters[0]["record"]["config"] == "a@example.com"


def test_a_job_is_timed_and_an_exception_is_code_0_or_the_one_given(server: Mock) -> None:
    recorder = Recorder(server.url, "token")
    about = {"bot": "kling", "config": "a@example.com", "endpoint": "post"}
    with recorder.job(**about) as job:
        time.sleep(0.01)
        job.code, job.jobid = 201, "made"
    with recorder.job(**about, jobid="plain"):
        pass
    with pytest.raises(ZeroDivisionError), recorder.job(**about, jobid="failed"):
        raise ZeroDivisionError
    with pytest.raises(ZeroDivisionError), recorder.job(**about, jobid="given", code=596):
        raise ZeroDivisionError
    recorder.close(10)
    codes = {record["jobid"]: record["code"] for record in server.records}
    assert codes == {"made": 201, "plain": 200, "failed": 0, "given": 596}
    assert next(r for r in server.records if r["jobid"] == "made")["msec"] >= 10


@pytest.mark.parametrize("spooled", [True, False])
def test_close_is_bounded_while_the_server_hangs(
    server: Mock, tmp_path: Path, spooled: bool
) -> None:
    def hang(lines: list[bytes]) -> Any:
        server.hanging.wait(60)
        return answer(503, {"error": "late"})

    server.answers = [hang]
    recorder = Recorder(server.url, "token", tmp_path if spooled else None, flush_s=0.01)
    recorder.record(**JOB)
    wait_for(lambda: bool(server.posts))
    start = time.monotonic()
    recorder.close(0.2)
    assert time.monotonic() - start < 10
    assert recorder.stats().waiting == 1
    server.hanging.set()


def test_a_process_ends_in_time_while_the_server_hangs(server: Mock, tmp_path: Path) -> None:
    def hang(lines: list[bytes]) -> Any:
        server.hanging.wait(60)
        return answer(503, {"error": "late"})

    server.answers = [hang] * 5
    code = (
        "import sys; from genmeter.recorder import Recorder\n"
        "r = Recorder(sys.argv[1], 'token', sys.argv[2], exit_s=0.2)\n"
        f"r.record(jobid='kept', **{JOB})\n"
    )
    subprocess.run([sys.executable, "-c", code, server.url, str(tmp_path)], timeout=30, check=True)
    server.hanging.set()
    server.answers.clear()
    server.posts.clear()
    with Recorder(server.url, "token", tmp_path, flush_s=0.01) as recorder:
        recorder.record(**JOB, jobid="next")
        wait_for(lambda: recorder.stats().acknowledged == 2)
    assert [record["jobid"] for record in server.records] == ["kept", "next"]


@pytest.mark.parametrize("spooled", [True, False])
def test_close_retries_while_it_has_time(server: Mock, tmp_path: Path, spooled: bool) -> None:
    server.answers = [lambda _: answer(503, {"error": "no"}, Retry_After="0") for _ in range(2)]
    recorder = Recorder(server.url, "token", tmp_path if spooled else None, flush_s=60)
    recorder.record(**JOB)
    recorder.close(60)
    assert recorder.stats().acknowledged == 1


def test_an_exit_with_a_spool_does_not_wait_for_a_server_that_is_away(tmp_path: Path) -> None:
    code = (
        "import sys; from genmeter.recorder import Recorder\n"
        "r = Recorder('http://127.0.0.1:1', 'token', sys.argv[1], exit_s=600)\n"
        f"r.record(**{JOB})\n"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], timeout=60, check=True)
    assert len(list(tmp_path.glob("*.ndjson"))) == 1


def test_without_a_spool_an_exit_sends_what_waits(server: Mock) -> None:
    code = (
        "import sys; from genmeter.recorder import Recorder\n"
        f"Recorder(sys.argv[1], 'token', flush_s=60).record(jobid='last', **{JOB})\n"
    )
    # The recorder is garbage at once; its record is not.
    subprocess.run([sys.executable, "-c", code, server.url], timeout=60, check=True)
    assert [record["jobid"] for record in server.records] == ["last"]


FORKING = """
import os, sys
from genmeter.recorder import Recorder
url, spool, before, how = sys.argv[1:]
recorder = Recorder(url, "token", spool, flush_s=0.05)
def record(name):
    for n in range(50):
        recorder.record(bot="kling", config="a", endpoint="b", code=1, msec=1, jobid=f"{name}-{n}")
if before == "before":
    record("early")
children = []
for number in range(3):
    child = os.fork()
    if not child:
        record(f"child{number}")
        if how == "close":
            recorder.close(20)
            assert not recorder.stats().waiting
        os._exit(0)
    children.append(child)
record("parent")
for child in children:
    assert os.waitpid(child, 0)[1] == 0
recorder.record(bot="kling", config="a", endpoint="b", code=1, msec=1, jobid="end-0")
recorder.close(20)
"""


@pytest.mark.parametrize("before", ["before", "never before"])
@pytest.mark.parametrize("how", ["close", "leave"])
def test_a_fork_before_or_after_the_first_record_is_safe(
    server: Mock, tmp_path: Path, before: str, how: str
) -> None:
    command = [sys.executable, "-c", FORKING, server.url, str(tmp_path), before, how]
    subprocess.run(command, timeout=120, check=True)
    with Recorder(server.url, "token", tmp_path, flush_s=0.01) as recorder:
        recorder.record(**JOB, jobid="finish-0")
        wait_for(lambda: not list(tmp_path.glob("*.[0-9]*.ndjson")) or not recorder.stats().waiting)
    names = ["child0", "child1", "child2", "parent", *(["early"] if before == "before" else [])]
    expected = {f"{name}-{n}" for name in names for n in range(50)} | {"end-0", "finish-0"}
    counts = Counter(record["jobid"] for record in server.records)
    assert set(counts) == expected
    assert not list(tmp_path.iterdir())


IMPORTING = """
import sys
from genmeter.recorder import Recorder
before = set(sys.modules)
recorder = Recorder(sys.argv[1], "token")
recorder.record(bot="kling", config="a", endpoint="b", code=1, msec=1)
recorder.close(60)
print(*sorted(set(sys.modules) - before))
"""


def test_threads_import_nothing_that_a_fork_could_leave_half_done(server: Mock) -> None:
    command = [sys.executable, "-c", IMPORTING, server.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, len(server.records)) == ("\n", 1)


SPAWNING = """
import multiprocessing, sys
from genmeter.recorder import Recorder
recorder = Recorder(sys.argv[1], "token", flush_s=60)
def work(name):
    recorder.record(bot="kling", config="a", endpoint="b", code=1, msec=1, jobid=name)
process = multiprocessing.get_context("fork").Process(target=work, args=("theirs",))
process.start()
process.join()
assert process.exitcode == 0
work("ours")
"""


def test_a_process_of_multiprocessing_sends_what_waits_in_memory(server: Mock) -> None:
    subprocess.run([sys.executable, "-c", SPAWNING, server.url], timeout=60, check=True)
    assert [record["jobid"] for record in server.records] == ["theirs", "ours"]


def test_threads_record_at_once(server: Mock, tmp_path: Path) -> None:
    recorder = Recorder(server.url, "token", tmp_path, flush_s=0.01)

    def work(name: int) -> None:
        for number in range(200):
            recorder.record(**JOB, jobid=f"{name}-{number}")

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    recorder.close(30)
    assert recorder.stats().recorded == recorder.stats().acknowledged == 1600
    assert len({record["jobid"] for record in server.records}) == 1600


@pytest.mark.parametrize(
    ("url", "token", "more"),
    [
        ("ftp://x", "token", {}),
        ("http://x", "two words", {}),
        ("http://x", "token", {"when_full": "explode"}),
        ("http://x", "token", {"max_mb": 0}),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(
    url: str, token: str, more: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"must be|token is"):
        Recorder(url, token, **more)


def test_a_folder_that_vanishes_is_counted_not_raised(server: Mock, tmp_path: Path) -> None:
    folder = tmp_path / "spool"
    recorder = Recorder(server.url, "token", folder)
    os.rmdir(folder)  # noqa: PTH106
    folder.write_text("")
    recorder.record(**JOB)
    recorder.record(**JOB)
    assert recorder.stats().dropped["error"] == 2


def wait_for(condition: Any) -> None:
    """Return when something is so."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
