"""The feed of live records: how often it reads, and how long it pauses."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from genmeter.execution.feed import Feed, parse_event_id, pause_s
from tests.support import NOON_MS, Client, Running, job

EMBEDDED = pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)


class Followed:
    """A feed of its own over the shared store, which counts how often it reads there."""

    def __init__(self, service: Running) -> None:
        self._store = service.service.store
        self.feed = Feed(self._store, alone=True, now_ms=service.clock)
        self.reads = 0

    def count_reads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count from now on."""
        arrivals = self._store.arrivals

        def counted(*arguments: Any, **more: Any) -> Any:
            self.reads += 1
            return arrivals(*arguments, **more)

        monkeypatch.setattr(self._store, "arrivals", counted)

    def run(self, use: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run ``use`` while the feed is open."""

        async def main() -> None:
            try:
                await asyncio.wait_for(use(), 60)
            finally:
                self.feed.close()

        asyncio.run(main())


def ids(piece: bytes) -> list[str]:
    """The ids of events."""
    return [line[4:] for line in piece.decode().split("\n") if line.startswith("id: ")]


@EMBEDDED
def test_many_records_are_read_in_few_large_pages_and_sent_in_small_ones(
    service: Running, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = Followed(service)
    followed.count_reads(monkeypatch)

    async def use() -> None:
        events = followed.feed.follow(client.account, None, None)
        await anext(events)
        for start in range(0, 16_000, 4_000):
            records = [job(NOON_MS - number) for number in range(start, start + 4_000)]
            await asyncio.to_thread(client.record, *records)
        followed.feed.stored()
        found: list[str] = []
        while len(found) < 16_000:
            piece = ids(await anext(events))
            assert len(piece) <= 2_000
            found += piece
        assert len(set(found)) == 16_000
        assert followed.reads == 2
        await events.aclose()

    followed.run(use)


@EMBEDDED
def test_who_stands_within_a_page_that_was_read_for_all_is_given_the_rest_of_it(
    service: Running, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed = Followed(service)

    async def use() -> None:
        events = followed.feed.follow(client.account, None, None)
        await anext(events)
        records = [job(NOON_MS - number) for number in range(100)]
        await asyncio.to_thread(client.record, *records)
        followed.feed.stored()
        found = ids(await anext(events))
        assert len(found) == 100
        followed.count_reads(monkeypatch)
        for passed in (1, 50, 99):
            later = followed.feed.follow(client.account, None, parse_event_id(found[passed - 1]))
            await anext(later)
            assert ids(await anext(later)) == found[passed:]
            await later.aclose()
        assert followed.reads == 0
        await events.aclose()

    followed.run(use)


@pytest.mark.parametrize(
    ("took_s", "records", "pause"),
    [(0.0, 0, 0.0), (0.03, 10, 0.27), (2.0, 999, 18.0), (0.05, 1_000, 0.05), (9.0, 100_000, 1.0)],
)
def test_the_pause_is_long_where_little_comes_and_short_where_much_does(
    took_s: float, records: int, pause: float
) -> None:
    assert pause_s(took_s, records) == pytest.approx(pause)
