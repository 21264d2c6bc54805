"""``genmeter ship`` as a process, and the reader of files that others write."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from genmeter.client import Client
from genmeter.errors import FolderBusyError
from genmeter.recorder.dead_letters import NAME
from genmeter.recorder.tail import Tail
from tests.recorder.mock import Mock, answer, mock
from tests.recorder.test_recorder import wait_for
from tests.support import Process, environment, genmeter, new_token

JOB: dict[str, Any] = {"bot": "kling", "endpoint": "post", "code": 200, "msec": 1}
NOW_MS = 1_771_000_000_000


@pytest.fixture
def server() -> Iterator[Mock]:
    with mock() as made:
        yield made


def text(*configs: object, **more: Any) -> str:
    """A line for each record: the config tells them apart."""
    return "".join(json.dumps(JOB | {"config": str(config)} | more) + "\n" for config in configs)


def ship(server: Mock, state: Path, *paths: Path) -> "subprocess.CompletedProcess[str]":
    """Send all that is there."""
    flags = ("--url", server.url, "--state", str(state))
    return genmeter("ship", *flags, *map(str, paths), GENMETER_TOKEN="token")


def configs(server: Mock) -> list[str]:
    """Which records were sent, in order."""
    return [record["config"] for record in server.records]


def test_files_and_folders_are_sent_once(server: Mock, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.ndjson").write_text(text(1, 2))
    (folder / "a.ndjson.1").write_text(text(3))
    (folder / "a.ndjson.2.gz").write_bytes(b"\x1f\x8b")
    (folder / "notes.txt").write_text("no records")
    single = tmp_path / "jobs"
    single.write_text("\n" + text(4) + text(5).strip())  # its last line has no end
    done = ship(server, tmp_path / "state", folder, single)
    assert (done.returncode, done.stdout) == (0, "5 records stored, 0 rejected\n"), done.stderr
    assert sorted(configs(server)) == list("12345")
    assert len({record["jobid"] for record in server.records}) == 5
    with single.open("a") as opened:
        opened.write("\n" + text(6, jobid="mine", timestamp=NOW_MS))
    done = ship(server, tmp_path / "state", folder, single)
    assert done.stdout == "1 records stored, 0 rejected\n"
    assert server.records[-1] == JOB | {"config": "6", "jobid": "mine", "timestamp": NOW_MS}


def test_rejected_and_torn_lines_end_it_with_1_and_are_named(server: Mock, tmp_path: Path) -> None:
    file = tmp_path / "jobs.ndjson"
    file.write_text(text(1) + "no JSON\n" + '{"bot": "kl')
    rejected = [{"index": 1, "error": "not JSON: it is malformed"}]
    server.answers = [
        lambda _: answer(200, {"accepted": 1, "rejected": rejected, "rejected_total": 1})
    ]
    done = ship(server, tmp_path / "state", file)
    assert done.returncode == 1
    assert done.stdout == "1 records stored, 1 rejected\n"
    assert f"{file} ends with a line that is not complete, 11 bytes" in done.stderr
    (letter,) = map(json.loads, (tmp_path / "state" / NAME).read_text().splitlines())
    assert (letter["record"], letter["reason"]) == ("no JSON", rejected[0]["error"])


def test_a_token_is_needed_and_a_state_is_for_one(server: Mock, tmp_path: Path) -> None:
    file = tmp_path / "jobs.ndjson"
    file.write_text(text(1))
    without = genmeter("ship", str(file))
    assert (without.returncode, without.stderr) == (
        2, "genmeter: GENMETER_TOKEN or --token-file is required\n"
    )  # fmt: skip
    with Tail([file], tmp_path / "state", lambda: NOW_MS):
        done = ship(server, tmp_path / "state", file)
    assert done.returncode == FolderBusyError.exit_code
    assert "in use by another genmeter ship" in done.stderr


WRITING = """
import json, os, sys, time
path, prefix, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
for n in range(count):
    if n % 400 == 399:  # rotate
        os.close(file)
        for old in range(9, 0, -1):
            if os.path.exists(f"{path}.{old}"):
                os.rename(f"{path}.{old}", f"{path}.{old + 1}")
        os.rename(path, path + ".1")
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    line = {"bot": "kling", "config": f"{prefix}-{n}", "endpoint": "b", "code": 200, "msec": 1}
    os.write(file, json.dumps(line).encode() + b"\\n")
    time.sleep(0.001)
"""


def test_killed_at_any_moment_it_neither_loses_nor_doubles(tmp_path: Path) -> None:
    chance = random.Random(7)
    data, state, file = tmp_path / "data", tmp_path / "state", tmp_path / "jobs.log"
    token = new_token(data, "acme")
    file.touch()
    with Process(data) as server:
        flags = ["--url", server.base_url, "--state", str(state), str(file)]
        command = [sys.executable, "-m", "genmeter", "ship", "--follow", *flags]
        writer = subprocess.Popen([sys.executable, "-c", WRITING, str(file), "w", "3000"])
        for _ in range(6):
            shipper = subprocess.Popen(command, env=environment(GENMETER_TOKEN=token))
            time.sleep(0.5 + chance.random())
            shipper.kill()
            shipper.wait()
        assert writer.wait(120) == 0
        last = genmeter("ship", *flags, GENMETER_TOKEN=token)
        assert last.returncode == 0, last.stderr
        with Client(server.base_url, token) as client:
            counts = Counter(row["config"] for row in client.rows(last="24h"))
    expected = {f"w-{n}" for n in range(3000)}
    assert expected - set(counts) == set(), "lost"
    assert [one for one, count in counts.items() if count > 1] == [], "doubled"
    assert set(counts) == expected


def test_following_waits_for_the_server_and_ends_with_a_signal(
    server: Mock, tmp_path: Path
) -> None:
    file = tmp_path / "jobs.log"
    file.write_text(text(1))
    server.answers = [lambda _: answer(503, {"error": "no"}, Retry_After="0") for _ in range(2)]
    command = [sys.executable, "-m", "genmeter", "ship", "--follow", "--url", server.url]
    shipper = subprocess.Popen(
        [*command, "--state", str(tmp_path / "state"), str(file)],
        env=environment(GENMETER_TOKEN="token"),
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: len(server.posts) == 3)
    file.rename(tmp_path / "jobs.log.1")
    file.write_text(text(2))
    wait_for(lambda: configs(server)[3:] == ["2"])
    shipper.send_signal(signal.SIGTERM)
    out, _ = shipper.communicate(timeout=60)
    assert (shipper.returncode, out) == (0, "2 records stored, 0 rejected\n")


class Reading:
    """A tail that is closed and opened anew, as a killed process would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.now_ms = NOW_MS
        self.tail = self._new()

    def _new(self) -> Tail:
        return Tail([self.folder], self.folder / "state", lambda: self.now_ms)

    def again(self) -> None:
        """Begin as a new process."""
        self.tail.__exit__()
        self.tail = self._new()

    def read(self, most: int = 100) -> list[dict[str, Any]]:
        """The next records, which are not acknowledged."""
        batch = self.tail.read(most)
        return [json.loads(line) for line in batch.lines] if batch else []

    def drain(self) -> list[str]:
        """The configs of all that is there."""
        found = []
        while batch := self.tail.read(100):
            found += [json.loads(line)["config"] for line in batch.lines]
            self.tail.acknowledge(batch)
        return found


@pytest.fixture
def reading(tmp_path: Path) -> Iterator[Reading]:
    made = Reading(tmp_path)
    yield made
    made.tail.__exit__()


def test_what_was_not_acknowledged_is_read_again_the_same(reading: Reading) -> None:
    file = reading.folder / "a.log"
    file.write_text(text(1, 2))
    first = reading.read()
    with file.open("a") as opened:
        opened.write(text(3))
    reading.now_ms += 60_000
    reading.again()
    assert reading.read() == first
    assert [record["timestamp"] for record in first] == [NOW_MS] * 2
    assert reading.drain() == ["1", "2", "3"]


def test_a_renamed_file_is_known(reading: Reading) -> None:
    file = reading.folder / "a.log"
    file.write_text(text(1))
    assert reading.drain() == ["1"]
    file.rename(reading.folder / "a.log.1")
    with (reading.folder / "a.log.1").open("a") as opened:
        opened.write(text(2))
    file.write_text(text(3))
    reading.again()
    assert sorted(reading.drain()) == ["2", "3"]


def test_what_was_written_before_a_file_left_the_folder_is_read(reading: Reading) -> None:
    file = reading.folder / "a.log"
    file.write_text(text(1))
    assert reading.drain() == ["1"]
    with file.open("a") as opened:
        opened.write(text(2))
    file.unlink()
    assert reading.drain() == ["2"]


@pytest.mark.parametrize("restart", [True, False])
def test_a_truncated_file_begins_anew(reading: Reading, restart: bool) -> None:
    file = reading.folder / "a.log"
    file.write_text(text(1, 2))
    (first, _) = reading.read()
    assert reading.drain() == ["1", "2"]
    file.write_text("")
    os.truncate(file, 0)
    file.write_text(text(1))  # the same first line
    if restart:
        reading.again()
    (anew,) = reading.read() or reading.read()
    assert anew["config"] == "1"
    assert anew["jobid"] != first["jobid"]


def test_a_line_is_read_once_it_is_whole(reading: Reading) -> None:
    file = reading.folder / "a.log"
    line = text(1)
    for cut in (0, 5, len(line) - 2):
        file.write_text(line[:cut])
        assert reading.drain() == []
    file.write_text(line[:-1])
    assert reading.drain() == ["1"]
    file.write_text(line + text(2))
    assert reading.drain() == ["2"]


def test_more_files_than_may_be_open_are_read_once(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genmeter.recorder.tail._MAX_OPEN", 3)
    for number in range(20):
        (reading.folder / f"{number}.log").write_text(text(number))
    assert sorted(reading.drain(), key=int) == list(map(str, range(20)))
    with (reading.folder / "7.log").open("a") as opened:
        opened.write(text("more"))
    assert reading.drain() == ["more"]


def test_files_take_turns(reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genmeter.recorder.tail.LOOK_S", 0)
    for number in range(3):
        (reading.folder / f"{number}.log").write_text(text(number, number, number))
    order = []
    while batch := reading.tail.read(1):
        order.append(json.loads(batch.lines[0])["config"])
        reading.tail.acknowledge(batch)
    assert order == ["0", "1", "2"] * 3


def test_a_file_written_anew_with_the_same_size_is_read(
    reading: Reading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genmeter.recorder.tail._MAX_OPEN", 0)
    file = reading.folder / "a.log"
    file.write_text(text(1))
    assert reading.drain() == ["1"]
    file.write_text(text(2))
    assert reading.drain() == ["2"]


def test_a_file_is_forgotten_only_when_it_has_been_gone_for_long(reading: Reading) -> None:
    kept, gone = reading.folder / "kept.log", reading.folder / "gone.log"
    kept.write_text(text(1))
    gone.write_text(text(2))
    reading.drain()
    reading.again()
    gone.rename(reading.folder / "elsewhere")
    reading.now_ms += 91 * 86_400_000
    assert reading.drain() == []
    (reading.folder / "elsewhere").rename(gone)
    reading.again()
    assert reading.drain() == ["2"]
