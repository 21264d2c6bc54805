"""Faults that come to a server from outside while it is under load.

Each scenario takes a :class:`Trial`, leaves what it found in the trial's ledger, and ends all that
it started. What is random comes from the trial's seed.
"""

import contextlib
import errno
import resource
import signal
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx2

from genmeter.storage.engine.torn import CHECK_S
from tests.faults.ledger import STATS
from tests.faults.shim import CHANGES, Action, Call, Names, Shim
from tests.faults.trial import Trial
from tests.support import Process

FAKETIME: Final = tuple(
    Path(f"/usr/lib/{machine}-linux-gnu/faketime/libfaketimeMT.so.1")
    for machine in ("x86_64", "aarch64")
)


def killed(trial: Trial) -> None:
    """``kill -9`` under load."""
    with trial.server() as server, trial.loaded(server):
        trial.pause()
        server.kill()
    trial.verify()


def stopped(trial: Trial) -> None:
    """SIGSTOP under load, and SIGCONT after a while."""
    with trial.server() as server, trial.loaded(server):
        trial.pause()
        server.process.send_signal(signal.SIGSTOP)
        try:
            trial.pause(0.5)
        finally:
            server.process.send_signal(signal.SIGCONT)
        trial.recovers(server)
    trial.verify()


def disk_full(trial: Trial) -> None:
    """Each write and each new file says that there is no space, half of a write is done."""
    _refused(trial, Call.WRITE | Call.CREATE | Call.MKDIR, errno.ENOSPC, Action.TEAR)


def disk_read_only(trial: Trial) -> None:
    """The filesystem has become read-only, as the kernel does it after an error."""
    _refused(trial, CHANGES & ~Call.SYNC, errno.EROFS, Action.FAIL)


def disk_fails(trial: Trial) -> None:
    """Nothing is written or synced: EIO."""
    _refused(trial, Call.WRITE | Call.SYNC, errno.EIO, Action.FAIL)


def _refused(trial: Trial, calls: Call, error: int, action: Action) -> None:
    shim = trial.shim
    assert shim is not None
    with trial.server() as server, trial.loaded(server):
        trial.pause()
        shim.arm(calls, error=error, times=0, action=action)
        trial.wait(lambda: shim.hit > 0, "writes nothing")
        trial.pause()
        trial.looks(server)
        shim.disarm()
        trial.recovers(server)
    trial.verify()


def nth_call_fails(trial: Trial, *, calls: Call = CHANGES, most: int = 80, start: int = 0) -> None:
    """The n-th call that changes something fails, for n from 1 on, one post for each n.

    Ends where a post needs no more calls than that, after ``most``, or when the time is over.
    """
    shim = trial.shim
    assert shim is not None
    end = time.monotonic() + 20 * trial.seconds
    with trial.server() as server, httpx2.Client(base_url=server.base_url, timeout=60) as client:
        sender = trial.senders()[0]
        for number in range(start, start + most):
            error = trial.chance.choice((errno.EIO, errno.ENOSPC))
            action = trial.chance.choice((Action.FAIL, Action.TEAR))
            shim.arm(calls, error=error, skip=number, action=action)
            records = sender.make(3, int(time.time() * 1000))
            reply = sender.post(client, records)
            hit = shim.disarm()
            if reply is None or not hit or time.monotonic() > end:
                break
            if reply.status_code == 503 and number % 4 == 0:
                sender.post(client, records)  # what the reply says to do
        trial.looks(server)
    trial.verify()


def merges_fail(trial: Trial) -> None:
    """Writes of merges fail, halfway; the parts they are made of must stay."""
    shim = trial.shim
    assert shim is not None
    with trial.server() as server:
        shim.arm(Call.WRITE, error=errno.ENOSPC, times=0, action=Action.TEAR, pattern="tmp_merge")
        with trial.loaded(server):
            trial.wait(lambda: shim.hit > 0, "merges nothing")
            trial.pause()
            shim.disarm()
            trial.recovers(server)
        time.sleep(CHECK_S + 1)
        trial.compare(server)
    trial.verify()


def dies_at_nth_call(trial: Trial) -> None:
    """The process ends at once before or after a random call on a file."""
    shim = trial.shim
    assert shim is not None
    with trial.server() as server:
        with trial.loaded(server):
            action = trial.chance.choice((Action.EXIT_BEFORE, Action.EXIT_AFTER))
            shim.arm(CHANGES, skip=trial.chance.randrange(300), action=action)
            trial.wait(lambda: server.process.poll() is not None, "did not come to the call")
            shim.disarm()
        server.kill()
    trial.verify()


def few_descriptors(trial: Trial) -> None:
    """No more files may be opened than are open already, or a few more."""
    with trial.server() as server, trial.loaded(server):
        trial.pause()
        pid = server.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # A limit below what is open closes nothing.
        few = len(list(Path(f"/proc/{pid}/fd").iterdir())) + trial.chance.randrange(8)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, before[1]))
        trial.pause()
        trial.looks(server)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        trial.recovers(server)
    trial.verify()


def little_memory(trial: Trial) -> None:
    """No more address space than there is already, or a little more; dying of it is allowed."""
    with trial.server() as server:
        with trial.loaded(server):
            trial.pause()
            pid = server.process.pid
            pages = int(Path(f"/proc/{pid}/statm").read_text().split()[0])
            most = pages * resource.getpagesize() + trial.chance.choice((0, 4, 64)) * 2**20
            resource.prlimit(pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
            trial.pause()
            trial.looks(server)
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(
                    pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                )
            trial.recovers(server)
        if server.process.poll() is not None:
            server.kill()
    trial.verify()


def clock_jumps(trial: Trial) -> None:
    """The clock jumps ahead and back under load; the times of records are those of before."""
    library = next(filter(Path.exists, FAKETIME))
    setting = trial.folder / "faketime"
    preload = [str(library), trial.variables.get("LD_PRELOAD", "")]
    variables = trial.variables | {
        "LD_PRELOAD": ":".join(filter(None, preload)),
        "FAKETIME_TIMESTAMP_FILE": str(setting),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }
    setting.write_text("+0")
    with Process(trial.data, variables=variables) as server, trial.loaded(server):
        for _ in range(4):
            trial.pause()
            setting.write_text(trial.chance.choice(("+40m", "-3h", "-1d", "+20s", "+2d", "+0")))
        setting.write_text("+0")
        trial.recovers(server)
    trial.verify()


def cut_connections(trial: Trial) -> None:
    """Clients that go in the middle of a request, before its response, or in the middle of that."""
    with trial.server() as server:
        host, port = server.base_url.removeprefix("http://").split(":")
        account = next(iter(trial.ledger.accounts.values()))
        sender = trial.senders()[0]
        ways: tuple[Callable[[socket.socket, bytes], None], ...] = (
            _half_a_request, _no_wait, _half_a_response, _reset,
        )  # fmt: skip
        with trial.loaded(server):
            open_before = _connections(server)
            for number in range(int(20 * max(trial.seconds, 1))):
                way = ways[number % len(ways)]
                records = sender.make(50, int(time.time() * 1000))
                # All identities new: whether it was stored is unknown, and so is its order.
                records = [one for one in records if (one["timestamp"], one["jobid"])
                           not in account.sent]  # fmt: skip
                body = httpx2.Request("POST", server.base_url, json=records).content
                if way is _half_a_response:
                    request = f"GET {STATS}/rows?last=1d HTTP/1.1\r\n"
                else:
                    request = f"POST {STATS} HTTP/1.1\r\nContent-Length: {len(body)}\r\n"
                request += f"Host: {host}\r\nAuthorization: Bearer {account.token}\r\n"
                request += "Content-Type: application/json\r\n\r\n"
                with socket.create_connection((host, int(port)), timeout=30) as connection:
                    way(connection, request.encode() + (b"" if way is _half_a_response else body))
                if way is not _half_a_response:
                    trial.ledger.note(account, records, None)
        trial.wait(lambda: _connections(server) <= open_before, "keeps connections of nobody")
        trial.looks(server)
    trial.verify()


def _half_a_request(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request[: -len(request) // 3])


def _no_wait(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request)


def _half_a_response(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request)
    connection.recv(100)
    _rst(connection)


def _reset(connection: socket.socket, request: bytes) -> None:
    connection.sendall(request)
    time.sleep(0.005)
    _rst(connection)


def _rst(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _connections(server: Process) -> int:
    """Connections that the server has open."""
    found = 0
    for entry in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(entry.readlink()).startswith("socket:")
    return found


def power_cut(trial: Trial, *, images: int = 4) -> None:
    """Cuts of power at random moments of one run, each recovered from by itself.

    What was acknowledged by the moment must be there, whatever filesystem keeps names as it likes.
    """
    assert trial.shim is None
    with Process(trial.data) as server:  # the tables are there, and on disk
        server.stop()
    shim = Shim(trial.data, trial.folder / "shim", journal=True)
    journal = shim.journal
    assert journal is not None
    with Process(trial.data, variables=shim.variables) as server:
        with trial.loaded(server, journal.position):
            time.sleep(trial.seconds)
        server.kill()
    positions = journal.positions()
    data = trial.data
    for number in range(images):
        names = trial.chance.choice((Names.ORDERED, Names.ALL))
        at = trial.chance.choice(positions[len(positions) // 3 :])
        trial.data = trial.folder / f"image{number}" / "data"
        trial.data.parent.mkdir()
        journal.image(at, trial.data, names)
        found = recovered(trial, at)
        trial.ledger.findings += [f"power cut at {at}, names {names.value}: {one}" for one in found]
    trial.data = data
    trial.verify()


def recovered(trial: Trial, mark: int) -> list[str]:
    """What a server over an image lacks."""
    try:
        with Process(trial.data) as server:
            return trial.ledger.compare(server.base_url, mark)
    except AssertionError as error:
        return [f"it does not start: {str(error)[:500]}"]


Scenario = Callable[[Trial], None]

_WITH_SHIM: Final[tuple[Scenario, ...]] = (
    disk_full, disk_read_only, disk_fails, nth_call_fails, merges_fail, dies_at_nth_call,
)  # fmt: skip
_OTHERS: Final[tuple[Scenario, ...]] = (
    killed, stopped, few_descriptors, little_memory, clock_jumps, cut_connections, power_cut,
)  # fmt: skip
WITH_SHIM: Final = {scenario.__name__: scenario for scenario in _WITH_SHIM}
ALL: Final = WITH_SHIM | {scenario.__name__: scenario for scenario in _OTHERS}
