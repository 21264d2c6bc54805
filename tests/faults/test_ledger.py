"""The tools of these tests find what they are there to find."""

import errno
import os
import signal
from pathlib import Path
from typing import Any

import httpx2
import pytest

from genmeter.clock import iso
from tests.faults.ledger import Account, Fate, Ledger, differences
from tests.faults.shim import CHANGES, Call, Names, Shim, supported
from tests.support import NOON_MS, Client, Process, new_token

linux = pytest.mark.skipif(not supported(), reason="needs Linux")


def record(jobid: str, msec: int = 1) -> dict[str, Any]:
    return {
        "bot": "kling", "timestamp": NOON_MS, "jobid": jobid, "config": "c", "endpoint": "e",
        "code": 200, "msec": msec, "model": "m",
    }  # fmt: skip


def now(jobid: str) -> dict[str, Any]:
    """A record for a server with a real clock."""
    return record(jobid) | {"timestamp": None}


def row(jobid: str, msec: int = 1) -> dict[str, Any]:
    return record(jobid, msec) | {"timestamp": iso(NOON_MS)}


def account(*sent: tuple[str, int, int]) -> Account:
    """An account that sent records, each with a duration, and got a status; 0 for no reply."""
    ledger = Ledger()
    made = ledger.open("acme", "token")
    for jobid, msec, status in sent:
        reply = None
        if status:
            text = "nothing of this request was stored" if status == 503 else ""
            reply = httpx2.Response(status, json={"accepted": 1, "error": text})
        ledger.note(made, [record(jobid, msec)], reply)
    return made


@pytest.mark.parametrize(
    ("sent", "rows", "words"),
    [
        ([("a", 1, 200)], [row("a")], None),
        ([("a", 1, 200)], [], "1 acknowledged records are lost"),
        ([("a", 1, 200)], [row("a"), row("a")], "is there 2 times"),
        ([("a", 1, 200)], [row("a", 2)], "sent was"),
        ([("a", 1, 200), ("a", 2, 200)], [row("a", 1)], "sent was"),
        ([("a", 1, 200), ("a", 2, 0)], [row("a", 1)], None),
        ([("a", 1, 200), ("a", 2, 0)], [row("a", 2)], None),
        ([("a", 1, 200), ("a", 2, 0)], [], "are lost"),
        ([("a", 1, 503)], [], None),
        ([("a", 1, 503)], [row("a")], "though it was refused"),
        ([("a", 1, 0)], [], None),
        ([("a", 1, 0)], [row("a")], None),
        ([("a", 1, 200)], [row("a"), row("b")], "was never sent"),
    ],
)
def test_the_ledger_sees_every_difference(
    sent: list[tuple[str, int, int]], rows: list[dict[str, Any]], words: str | None
) -> None:
    found = differences(account(*sent), rows)
    assert (not found) if words is None else words in "".join(found)


def test_what_was_acknowledged_after_a_moment_is_unknown_then() -> None:
    made = account(("a", 1, 200))
    made.sent[NOON_MS, "a"][0].mark = 10
    assert made.sent[NOON_MS, "a"][0].fate is Fate.ACKNOWLEDGED
    assert not differences(made, [], mark=9)
    assert differences(made, [], mark=10)


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@linux
def test_the_journal_has_every_change_of_the_folder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = new_token(data, "acme")
    shim = Shim(data, tmp_path / "shim", journal=True)
    assert shim.journal is not None
    with Process(data, variables=shim.variables) as server:
        client = Client(server.base_url, token)
        for number in range(3):
            client.record(now(f"j{number}"))
        client.http.close()
        server.kill()
    last = shim.journal.position()
    shim.journal.image(last, tmp_path / "all", Names.ALL)
    assert names(tmp_path / "all") == names(data)
    shim.journal.image(last, tmp_path / "synced", Names.SYNCED)
    assert names(tmp_path / "synced") < names(data)


@linux
@pytest.mark.parametrize("file", ["incoming", "data.bin", "count.txt", "checksums.txt", "manifest"])
def test_a_write_that_fails_is_not_acknowledged_and_harms_no_query(
    tmp_path: Path, file: str
) -> None:
    data = tmp_path / "data"
    token = new_token(data, "acme")
    shim = Shim(data, tmp_path / "shim")
    with Process(data, variables=shim.variables) as server:
        client = Client(server.base_url, token)
        client.record(now("first"))
        shim.arm(Call.WRITE, error=errno.ENOSPC, pattern=file)
        refused = client.send(now("second"))
        assert shim.disarm() == 1
        assert refused.status_code == 503, shim.where
        assert "send them again" in refused.json()["error"]
        assert [one["jobid"] for one in client.stats(bot="kling", limit=9)["data"]] in (
            ["first"], ["second", "first"],
        )  # fmt: skip
        client.record(now("second"))
        client.http.close()


def test_a_crash_of_the_engine_ends_the_process_at_once(tmp_path: Path) -> None:
    with Process(tmp_path / "data") as server:
        os.kill(server.process.pid, signal.SIGSEGV)
        assert server.process.wait(10) == -signal.SIGSEGV


@linux
def test_a_call_is_hit_as_often_as_it_should_be(tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = new_token(data, "acme")
    shim = Shim(data, tmp_path / "shim")
    with Process(data, variables=shim.variables) as server:
        client = Client(server.base_url, token)
        shim.arm(CHANGES, skip=10**6)
        client.record(now("j"))
        assert shim.seen > 10
        assert shim.disarm() == 0
        shim.arm(Call.WRITE, error=errno.EIO, times=2, pattern="incoming")
        assert [client.send(now("j")).status_code for _ in range(3)] == [503, 503, 200]
        client.http.close()
