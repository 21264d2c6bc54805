"""Clients that post without a pause and enter each reply in a ledger."""

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final

import httpx2

from genmeter.clock import DAY_MS
from tests.faults.ledger import BOT, STATS, Account, Ledger, Record

HANG_S: Final = 60.0
"""A server that answers nothing for so long, though nothing stops it, hangs."""

_MONTHS: Final = 3


class Sender:
    """Makes records of one account, some of them corrections of earlier ones, and posts them."""

    def __init__(
        self, ledger: Ledger, account: Account, seed: int, mark: Callable[[], int] = lambda: 0
    ) -> None:
        self.ledger, self.account = ledger, account
        self._random = random.Random(seed)
        self._mark = mark
        self._numbers = iter(range(10**9))
        self._prefix = f"{seed:x}"

    def make(self, count: int, now_ms: int) -> list[Record]:
        """Records of one month or of several, a fifth of them sent before."""
        chance = self._random
        old = self.account.correctable() if chance.random() < 0.4 else []
        months = _MONTHS if chance.random() < 0.3 else 1
        made: dict[tuple[int, str], dict[str, Any]] = {}
        for _ in range(count):
            if old and chance.random() < 0.5:
                ms, jobid = chance.choice(old)
            else:
                ms = now_ms - chance.randrange(months) * 30 * DAY_MS - chance.randrange(1000)
                jobid = f"{self._prefix}-{next(self._numbers)}"
            made[ms, jobid] = {
                "bot": BOT,
                "config": f"c{chance.randrange(3)}",
                "endpoint": "e",
                "code": chance.choice((200, 429, 500)),
                "msec": chance.randrange(2**32),
                "model": f"m{chance.randrange(3)}",
                "timestamp": ms,
                "jobid": jobid,
            }
        return list(made.values())

    def post(self, client: httpx2.Client, records: Sequence[Record]) -> httpx2.Response | None:
        """Send records and note what came of them; None where no reply came."""
        headers = {"Authorization": f"Bearer {self.account.token}"}
        try:
            reply = client.post(STATS, json=records, headers=headers)
        except httpx2.ReadTimeout:
            self.ledger.find(f"no reply to a post within {HANG_S:.0f} s")
            reply = None
        except httpx2.TransportError:
            reply = None
        self.ledger.note(self.account, records, reply, self._mark())
        return reply


class Load:
    """Senders on threads of their own until :meth:`stop`, or until the server is gone.

    Where the connection breaks a client makes a new one, as long as ``again``.
    """

    def __init__(self, base_url: str, senders: Sequence[Sender], *, again: bool = True) -> None:
        self._base_url = base_url
        self._again = again
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(one,)) for one in senders]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End it; each client still waits for the reply to its last request."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(HANG_S + 30)

    def _run(self, sender: Sender) -> None:
        chance = random.Random(sender.account.name)
        with httpx2.Client(base_url=self._base_url, timeout=HANG_S) as client:
            while not self._stopping.is_set():
                records = sender.make(chance.choice((1, 1, 5, 40)), int(time.time() * 1000))
                reply = sender.post(client, records)
                if reply is None and not self._again:
                    return
                if reply is None or reply.status_code != 200:
                    self._stopping.wait(0.05)


@contextmanager
def load(base_url: str, senders: Sequence[Sender]) -> Iterator[Load]:
    """A load that runs for as long as the block does."""
    running = Load(base_url, senders)
    try:
        yield running
    finally:
        running.stop()
