"""The sender against servers that answer in every way."""

import json
import logging
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from genmeter.recorder.dead_letters import NAME, DeadLetters
from genmeter.recorder.sender import (
    FIRST_WAIT_S,
    LONGEST_WAIT_S,
    Sender,
    StoppedError,
)
from tests.recorder.mock import Mock, answer, mock, taken

NOW_MS = 1_771_000_000_000
LINES = [json.dumps({"jobid": str(number)}).encode() for number in range(300)]


@pytest.fixture
def server() -> Iterator[Mock]:
    with mock() as made:
        yield made


class Sending:
    """A sender whose waits take no time and are noted."""

    def __init__(self, url: str, folder: Path, chance: float = 1.0, most_waits: int = 50) -> None:
        self.waits: list[float] = []
        self.folder = folder
        self.sender = Sender(
            url, "token", DeadLetters(folder, lambda: NOW_MS),
            wait=self._wait, chance=lambda: chance, now_ms=lambda: NOW_MS, answer_s=10,
        )  # fmt: skip
        self._most = most_waits

    def _wait(self, seconds: float) -> bool:
        self.waits.append(seconds)
        return len(self.waits) >= self._most

    def deliver(self, lines: list[bytes]) -> int:
        with self.sender:
            return self.sender.deliver(lines)

    def letters(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / NAME).read_bytes().splitlines()]


def test_a_failure_is_retried_with_full_jitter(server: Mock, tmp_path: Path) -> None:
    server.answers = [lambda _: answer(500, {"error": "no"}) for _ in range(10)]
    sending = Sending(server.url, tmp_path, chance=0.5)
    assert sending.deliver(LINES[:2]) == 2
    ceilings = [min(LONGEST_WAIT_S, FIRST_WAIT_S * 2**n) for n in range(10)]
    assert sending.waits == [ceiling / 2 for ceiling in ceilings]
    assert server.posts == [LINES[:2]] * 11


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_respected(server: Mock, tmp_path: Path, status: int) -> None:
    moment = datetime.fromtimestamp(NOW_MS / 1000 + 30, UTC)
    date = moment.strftime("%a, %d %b %Y %H:%M:%S GMT")
    server.answers = [
        lambda _: answer(status, {"error": "full"}, Retry_After="7"),
        lambda _: answer(status, {"error": "full"}, Retry_After=date),
        lambda _: answer(status, {"error": "full"}, Retry_After="nonsense"),
    ]
    sending = Sending(server.url, tmp_path)
    assert sending.deliver(LINES[:1]) == 1
    assert sending.waits == [7 + FIRST_WAIT_S, 30 + FIRST_WAIT_S, FIRST_WAIT_S * 4]


def test_what_the_server_rejects_is_a_dead_letter_with_its_reason(
    server: Mock, tmp_path: Path
) -> None:
    rejected = [{"index": 1, "error": "bot is required"}]
    server.answers = [
        lambda _: answer(200, {"accepted": 2, "rejected": rejected, "rejected_total": 1})
    ]
    sending = Sending(server.url, tmp_path)
    assert sending.deliver(LINES[:3]) == 2
    (letter,) = sending.letters()
    assert (letter["reason"], letter["record"]) == ("bot is required", {"jobid": "1"})


def test_rejections_that_the_server_did_not_name_are_found(server: Mock, tmp_path: Path) -> None:
    def picky(lines: list[bytes]) -> Any:
        bad = [index for index, line in enumerate(lines) if int(json.loads(line)["jobid"]) % 2]
        named = [{"index": index, "error": "odd"} for index in bad[:100]]
        accepted = len(lines) - len(bad)
        body = {"accepted": accepted, "rejected": named, "rejected_total": len(bad)}
        return answer(200 if accepted else 400, body)

    server.answers = [picky] * 10
    sending = Sending(server.url, tmp_path)
    assert sending.deliver(LINES) == 150
    letters = [int(letter["record"]["jobid"]) for letter in sending.letters()]
    assert sorted(letters) == list(range(1, 300, 2))


@pytest.mark.parametrize("status", [413, 400])
def test_a_request_that_is_refused_as_a_whole_is_split(
    server: Mock, tmp_path: Path, status: int
) -> None:
    def small(lines: list[bytes]) -> Any:
        if len(lines) > 2 or LINES[5] in lines:
            return answer(status, {"error": "too much"})
        return taken(lines)

    server.answers = [small] * 100
    sending = Sending(server.url, tmp_path)
    assert sending.deliver(LINES[:9]) == 8
    assert [letter["record"] for letter in sending.letters()] == [{"jobid": "5"}]
    assert not sending.waits


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_token_pauses_and_is_said_once(
    server: Mock, tmp_path: Path, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "genmeter")
    server.answers = [lambda _: answer(status, {"error": "Unauthorized"}) for _ in range(3)]
    sending = Sending(server.url, tmp_path, chance=0.0)
    assert sending.deliver(LINES[:1]) == 1
    assert sending.waits == [LONGEST_WAIT_S] * 3
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        f"records wait: {server.url} answered {status}: Unauthorized",
        "records are sent again",
    ]


def test_what_is_not_genmeter_acknowledges_nothing(server: Mock, tmp_path: Path) -> None:
    server.answers = [
        lambda _: (200, {}, b"<html>log in</html>"),
        lambda _: (400, {}, b"<html>"),
        lambda _: (302, {"Location": "/elsewhere"}, b""),
        lambda _: answer(200, {"accepted": 1, "rejected": [], "rejected_total": 0}),
        lambda _: answer(200, {"accepted": 1, "rejected": [], "rejected_total": 1}),
    ]
    sending = Sending(server.url, tmp_path)
    assert sending.deliver(LINES[:2]) == 2
    assert len(sending.waits) == 5
    assert not (tmp_path / NAME).exists()


def test_it_can_be_stopped_while_the_server_is_away(tmp_path: Path) -> None:
    sending = Sending("http://127.0.0.1:1", tmp_path, most_waits=3)
    with pytest.raises(StoppedError):
        sending.deliver(LINES[:1])


def test_dead_letters_are_only_counted_where_the_disk_takes_none(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path / "not there", lambda: NOW_MS)
    threads = [threading.Thread(target=letters.put, args=(b"{}", "why")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (letters.count, letters.unwritten) == (4, 4)


def test_a_dead_letter_holds_whatever_the_line_was(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path, lambda: NOW_MS)
    letters.put(b'{"half":', "torn")
    letters.put(b"\xff\xfe", "not UTF-8")
    letters.put(b"x" * 10_000, "long")
    records = [json.loads(line)["record"] for line in (tmp_path / NAME).read_bytes().splitlines()]
    assert records == ['{"half":', "\ufffd\ufffd", "x" * 4096]
