"""Whoever reads again what was stored before does so at nobody else's expense."""

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Collection
from typing import Any, cast

from genmeter.execution.feed import Feed
from genmeter.storage.store import Store, StoredRecord

RECORDS = 5_000


class Stored:
    """Records of one insert, and a count of those who read them at one time."""

    def __init__(self) -> None:
        self.written = 1
        self.reads: Counter[str] = Counter()
        self.at_once: Counter[str] = Counter()
        self._now: Counter[str] = Counter()
        self._lock = threading.Lock()

    def arrivals(
        self, accounts: Collection[str] | None, *, after: tuple[int, int], limit: int, **_: Any
    ) -> list[StoredRecord]:
        whose = ",".join(accounts or ["*"])
        with self._lock:
            self.reads[whose] += 1
            for name in (whose, "all"):
                self._now[name] += 1
                self.at_once[name] = max(self.at_once[name], self._now[name])
        time.sleep(0.002)
        with self._lock:
            self._now[whose] -= 1
            self._now["all"] -= 1
        first = after[1] + 1 if after[0] == self.written else 0
        return [
            StoredRecord(self.written, number, whose, "luma", b"{}")
            for number in range(first, min(first + limit, RECORDS))
        ]


async def events(feed: Feed, account: str, after: tuple[int, int] | None, count: int) -> None:
    """Follow until so many events have come."""
    stream = feed.follow(account, None, after)
    try:
        async with asyncio.timeout(30):
            seen = 0
            async for piece in stream:
                seen += piece.count(b"data: ")
                if seen >= count:
                    return
    finally:
        await stream.aclose()


def test_replays_of_one_account_take_one_thread_and_leave_another_to_others() -> None:
    stored = Stored()
    stored.written = 2
    feed = Feed(cast(Store, stored), alone=True, now_ms=lambda: 0)

    async def follow() -> None:
        greedy = [asyncio.ensure_future(events(feed, "greedy", (1, 0), RECORDS)) for _ in range(64)]
        await asyncio.sleep(0.01)
        await events(feed, "other", (1, 0), RECORDS)
        assert not all(one.done() for one in greedy)
        await asyncio.gather(*greedy)

    asyncio.run(follow())
    assert stored.at_once["greedy"] == 1
    assert stored.at_once["all"] <= 2
