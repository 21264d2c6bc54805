"""The writer's thread on its own: what goes together, what is refused, what is drained."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from genmeter.errors import EngineError, QueueFullError, WriteError
from genmeter.records import Row
from genmeter.writer import BATCH_ROWS, Writer


def rows(*numbers: int) -> list[Row]:
    """Rows told apart by ``msec``."""
    return [
        Row(account="a", bot="luma", neg_ms=-n, jobid=str(n), config="c", endpoint="e", status="s",
            func="", code=200, msec=n, model="", captcha_providers="", captcha_retry=None,
            tier="", sku="")
        for n in numbers
    ]  # fmt: skip


class Sink:
    """An insert that can be held and can fail; remembers each batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.running = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()
        self.failing = False

    def __call__(self, batch: Sequence[Row]) -> None:
        """Store a batch."""
        self.running.set()
        assert self.go_on.wait(30)
        if self.failing:
            raise EngineError("no")
        self.batches.append([row.msec for row in batch])

    async def until_running(self) -> None:
        """Return when an insert is under way."""
        assert await asyncio.to_thread(self.running.wait, 30)


async def waiting(writer: Writer, count: int) -> None:
    """Return when ``count`` rows wait in the queue."""
    while writer._waiting_rows != count:
        await asyncio.sleep(0.001)


def test_requests_that_wait_go_together_in_their_order() -> None:
    sink = Sink()
    sink.go_on.clear()

    async def main(writer: Writer) -> None:
        first = asyncio.create_task(writer.submit(rows(0)))
        await sink.until_running()
        others = []
        for n in range(1, 6):
            others.append(asyncio.create_task(writer.submit(rows(n * 10, n * 10 + 1))))
            await waiting(writer, n * 2)
        assert not any(task.done() for task in (first, *others))
        assert writer.stuck_s() > 0
        sink.go_on.set()
        await asyncio.gather(first, *others)
        assert writer.stuck_s() == 0

    with Writer(sink, queue_rows=100) as writer:
        asyncio.run(main(writer))
    assert sink.batches == [[0], [10, 11, 20, 21, 30, 31, 40, 41, 50, 51]]


def test_a_request_is_never_split_over_two_inserts() -> None:
    sink = Sink()
    sink.go_on.clear()

    async def main(writer: Writer) -> None:
        tasks = [asyncio.create_task(writer.submit(rows(1)))]
        await sink.until_running()
        large = rows(*range(BATCH_ROWS - 1))
        for number, content in enumerate((large, large, rows(1, 2)), 1):
            tasks.append(asyncio.create_task(writer.submit(content)))
            await waiting(writer, min(number, 2) * len(large) + 2 * (number == 3))
        sink.go_on.set()
        await asyncio.gather(*tasks)

    with Writer(sink, queue_rows=10 * BATCH_ROWS) as writer:
        asyncio.run(main(writer))
    assert [len(batch) for batch in sink.batches] == [1, BATCH_ROWS - 1, BATCH_ROWS - 1, 2]


def test_a_full_queue_refuses_and_one_large_request_alone_is_taken() -> None:
    sink = Sink()
    sink.go_on.clear()

    async def main(writer: Writer) -> None:
        first = asyncio.create_task(writer.submit(rows(0)))
        await sink.until_running()
        large = asyncio.create_task(writer.submit(rows(*range(50))))
        await waiting(writer, 50)
        with pytest.raises(QueueFullError, match="nothing of this request was stored"):
            await writer.submit(rows(1))
        sink.go_on.set()
        await asyncio.gather(first, large)

    with Writer(sink, queue_rows=10) as writer:
        asyncio.run(main(writer))
    assert [len(batch) for batch in sink.batches] == [1, 50]


def test_a_failed_insert_fails_its_requests_and_no_others() -> None:
    sink = Sink()

    async def main(writer: Writer) -> None:
        await writer.submit(rows(1))
        sink.failing = True
        with pytest.raises(WriteError, match="send them again"):
            await writer.submit(rows(2))
        sink.failing = False
        await writer.submit(rows(3))

    with Writer(sink, queue_rows=10) as writer:
        asyncio.run(main(writer))
    assert sink.batches == [[1], [3]]


def test_leaving_stores_what_waits_and_takes_no_more() -> None:
    sink = Sink()
    sink.go_on.clear()

    async def main(writer: Writer) -> None:
        tasks = [asyncio.create_task(writer.submit(rows(0)))]
        await sink.until_running()
        tasks += [asyncio.create_task(writer.submit(rows(n))) for n in (1, 2, 3)]
        await waiting(writer, 3)
        leaving = asyncio.create_task(asyncio.to_thread(writer.__exit__))
        while not writer._closing:
            await asyncio.sleep(0.001)
        with pytest.raises(QueueFullError, match="shutting down"):
            await writer.submit(rows(9))
        sink.go_on.set()
        await asyncio.gather(*tasks, leaving)

    asyncio.run(main(Writer(sink, queue_rows=100).__enter__()))
    assert sink.batches == [[0], [1, 2, 3]]


def test_a_client_that_went_away_disturbs_nobody() -> None:
    sink = Sink()
    sink.go_on.clear()

    async def main(writer: Writer) -> None:
        gone = asyncio.create_task(writer.submit(rows(1)))
        await sink.until_running()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        stays = asyncio.create_task(writer.submit(rows(2)))
        await waiting(writer, 1)
        sink.go_on.set()
        await stays

    with Writer(sink, queue_rows=10) as writer:
        asyncio.run(main(writer))
    assert sink.batches == [[1], [2]]
