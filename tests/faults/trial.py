"""One data folder with its ledger: serve it, load it, do something to it, compare."""

import contextlib
import random
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import httpx2

from genmeter.auth.accounts import Accounts
from genmeter.clock import now_ms
from tests.faults.ledger import Fate, Ledger
from tests.faults.load import HANG_S, Load, Sender
from tests.faults.shim import Shim
from tests.support import Process

CLIENTS: Final = 3
RECOVER_S: Final = 30.0
"""How long after a fault has gone the service may take until it stores records again."""

_STATUSES: Final = ("/readyz", "/v2/account/stats/query?last=1d")


class Trial:
    """A server that faults come to. ``seconds`` is how long each of them lasts, about."""

    def __init__(
        self, folder: Path, seed: int, *, seconds: float = 1.0, shim: Shim | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.data = folder / "data"
        self.chance = random.Random(seed)
        self.seconds = seconds
        self.ledger = Ledger()
        self.shim = shim
        self._seed = seed
        self.variables: dict[str, str] = {} if shim is None else shim.variables
        accounts = Accounts.in_folder(self.data)
        for number in range(CLIENTS):
            name = f"account{number}"
            token, _ = accounts.create(name, ("read", "write"), now_ms=now_ms())
            self.ledger.open(name, token)
        accounts.close()
        self._rounds = iter(range(1000))

    def senders(self, mark: Callable[[], int] = lambda: 0) -> list[Sender]:
        """One for each account; what they make differs each time."""
        number = next(self._rounds)
        return [
            Sender(self.ledger, account, self._seed * 1_000_003 + number * CLIENTS + n, mark)
            for n, account in enumerate(self.ledger.accounts.values())
        ]

    @contextlib.contextmanager
    def server(self, *flags: str) -> Iterator[Process]:
        """The server over the folder, with the shim if there is one."""
        with Process(self.data, *flags, variables=self.variables) as server:
            yield server

    def pause(self, least: float = 0.2) -> None:
        """Let the load run for a while."""
        time.sleep(self.chance.uniform(least, 1.0) * self.seconds)

    @contextlib.contextmanager
    def loaded(self, server: Process, mark: Callable[[], int] = lambda: 0) -> Iterator[Load]:
        """A load from all accounts; it has records acknowledged when the block begins."""
        before = self.ledger.count(Fate.ACKNOWLEDGED)
        load = Load(server.base_url, self.senders(mark))
        try:
            self.wait(lambda: self.ledger.count(Fate.ACKNOWLEDGED) > before, "acknowledges nothing")
            yield load
        finally:
            load.stop()

    def wait(self, done: Callable[[], bool], fault: str, seconds: float = RECOVER_S) -> None:
        """Wait until something is so; a finding where it does not come."""
        end = time.monotonic() + seconds
        while not done():
            if time.monotonic() > end:
                self.ledger.find(f"the service {fault} within {seconds:.0f} s")
                return
            time.sleep(0.02)

    def recovers(self, server: Process) -> None:
        """Records are stored again now that the fault has gone."""
        before = self.ledger.count(Fate.ACKNOWLEDGED)
        if server.process.poll() is None:
            self.wait(lambda: self.ledger.count(Fate.ACKNOWLEDGED) > before, "stores nothing anew")

    def looks(self, server: Process) -> None:
        """While a fault lasts, reads are answered, or refused with 503."""
        token = next(iter(self.ledger.accounts.values())).token
        headers = {"Authorization": f"Bearer {token}"}
        for path in _STATUSES:
            try:
                reply = httpx2.get(server.base_url + path, headers=headers, timeout=HANG_S)
            except httpx2.ReadTimeout:
                self.ledger.find(f"no reply to GET {path} within {HANG_S:.0f} s")
            except httpx2.TransportError:
                continue
            else:
                if reply.status_code not in (200, 503):
                    self.ledger.find(f"GET {path}: {reply.status_code} {reply.text[:200]}")

    def compare(self, server: Process) -> None:
        """Compare the ledger with what is there; what was unknown is known from now on."""
        self.ledger.findings += self.ledger.compare(server.base_url)
        self.ledger.settle(server.base_url)

    def verify(self) -> None:
        """Compare after a restart without any fault; also what the server then logs as an error."""
        with Process(self.data) as server:
            self.compare(server)
            if server.stop():
                self.ledger.find("the server did not stop with exit code 0")


def told(findings: Sequence[str]) -> str:
    """Findings as a text, each on a line."""
    return "\n".join(findings[:20])
