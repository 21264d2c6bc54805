"""The writer's thread on its own: what goes together, what is refused, what is drained."""

import asyncio
import threading
from collections.abc import Sequence

import pytest

from genmeter.errors import EngineError, QueueFullError, WriteError
from genmeter.ingest.writer import BATCH_ROWS, Writer
from genmeter.model.record import Row


def rows(*numbers: int) -> list[Row]:
    """Rows told apart by ``msec``, of the account ``even`` or ``odd`` as that is."""
    return [
        Row(account="odd" if n % 2 else "even", bot="luma", neg_ms=-n, jobid=str(n), config="c",
            endpoint="e", status="s",
            func="", code=200, msec=n, model="", captcha_providers="", captcha_retry=None,
            tier="", sku="")
        for n in numbers
    ]  # fmt: skip


class Sink:
    """An insert that can be held and can fail; remembers each batch."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.running = threading.Event()
        self.resume = threading.Event()
        self.resume.set()
        self.failing = False

    def __call__(self, batch: Sequence[Row], lane: int) -> None:
        """Store a batch."""
        self.running.set()
        assert self.resume.wait(30)
        if self.failing:
            raise EngineError("no")
        self.batches.append([row.msec for row in batch])

    async def until_running(self) -> None:
        """Return when an insert is under way."""
        assert await asyncio.to_thread(self.running.wait, 30)


async def waiting(writer: Writer, count: int) -> None:
    """Return when ``count`` rows wait in the queue."""
    while writer.waiting_rows != count:
        await asyncio.sleep(0.001)


def test_requests_that_wait_go_together_in_their_order() -> None:
    sink = Sink()
    sink.resume.clear()

    async def main(writer: Writer) -> None:
        first = asyncio.create_task(writer.submit(rows(0)))
        await sink.until_running()
        others = []
        for n in range(1, 6):
            others.append(asyncio.create_task(writer.submit(rows(n * 10, n * 10 + 1))))
            await waiting(writer, n * 2)
        assert not any(task.done() for task in (first, *others))
        assert writer.stuck_s() > 0
        sink.resume.set()
        await asyncio.gather(first, *others)
        assert writer.stuck_s() == 0

    with Writer(sink, queue_rows=100) as writer:
        asyncio.run(main(writer))
    assert sink.batches == [[0], [10, 11, 20, 21, 30, 31, 40, 41, 50, 51]]


def test_a_request_is_never_split_over_two_inserts() -> None:
    sink = Sink()
    sink.resume.clear()

    async def main(writer: Writer) -> None:
        tasks = [asyncio.create_task(writer.submit(rows(1)))]
        await sink.until_running()
        large = rows(*range(BATCH_ROWS - 1))
        for number, content in enumerate((large, large, rows(1, 2)), 1):
            tasks.append(asyncio.create_task(writer.submit(content)))
            await waiting(writer, min(number, 2) * len(large) + 2 * (number == 3))
        sink.resume.set()
        await asyncio.gather(*tasks)

    with Writer(sink, queue_rows=10 * BATCH_ROWS) as writer:
        asyncio.run(main(writer))
    assert [len(batch) for batch in sink.batches] == [1, BATCH_ROWS - 1, BATCH_ROWS - 1, 2]


def test_who_was_answered_and_comes_back_goes_with_those_who_waited(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("genmeter.ingest.writer.GATHER_S", 30.0)
    sink = Sink()
    sink.resume.clear()

    async def main(writer: Writer) -> None:
        first = asyncio.create_task(writer.submit(rows(0)))
        await sink.until_running()
        waits = asyncio.create_task(writer.submit(rows(1)))
        await waiting(writer, 1)
        sink.resume.set()
        await first
        await asyncio.sleep(0.1)  # enough for an INSERT that would not wait
        await asyncio.gather(waits, writer.submit(rows(2)))

    with Writer(sink, queue_rows=10) as writer:
        asyncio.run(main(writer))
    assert sink.batches == [[0], [1, 2]]


def test_nobody_waits_for_long_for_those_who_do_not_come_back() -> None:
    sink = Sink()
    sink.resume.clear()

    async def main(writer: Writer) -> None:
        tasks = [asyncio.create_task(writer.submit(rows(0)))]
        await sink.until_running()
        tasks += [asyncio.create_task(writer.submit(rows(n))) for n in (1, 2)]
        await waiting(writer, 2)
        sink.resume.set()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)

    with Writer(sink, queue_rows=10) as writer:
        asyncio.run(main(writer))
    assert sink.batches == [[0], [1, 2]]


def test_a_full_queue_refuses_and_one_large_request_alone_is_taken() -> None:
    sink = Sink()
    sink.resume.clear()

    async def main(writer: Writer) -> None:
        first = asyncio.create_task(writer.submit(rows(0)))
        await sink.until_running()
        large = asyncio.create_task(writer.submit(rows(*range(50))))
        await waiting(writer, 50)
        with pytest.raises(QueueFullError, match="nothing of this request was stored"):
            await writer.submit(rows(1))
        sink.resume.set()
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
    sink.resume.clear()

    async def main(writer: Writer) -> None:
        tasks = [asyncio.create_task(writer.submit(rows(0)))]
        await sink.until_running()
        tasks += [asyncio.create_task(writer.submit(rows(n))) for n in (1, 2, 3)]
        await waiting(writer, 3)
        leaving = asyncio.create_task(asyncio.to_thread(writer.__exit__))
        while not writer._lanes[0]._closing.is_set():
            await asyncio.sleep(0.001)
        with pytest.raises(QueueFullError, match="shutting down"):
            await writer.submit(rows(9))
        sink.resume.set()
        await asyncio.gather(*tasks, leaving)

    asyncio.run(main(Writer(sink, queue_rows=100).__enter__()))
    assert sink.batches == [[0], [1, 2, 3]]


def test_a_lane_that_fails_or_is_slow_holds_no_other_up() -> None:
    slow, fast = Sink(), Sink()
    slow.resume.clear()

    async def main(writer: Writer) -> None:
        stays = asyncio.create_task(writer.submit(rows(2)))
        await slow.until_running()
        for n in (1, 3, 5):
            await writer.submit(rows(n))
        assert writer.stuck_s() == 0  # not while one lane is well
        slow.failing = True
        both = asyncio.create_task(writer.submit(rows(7, 8, 9)))
        while fast.batches[-1:] != [[7, 9]]:
            await asyncio.sleep(0.001)
        assert not both.done()
        slow.resume.set()
        for task in (stays, both):
            with pytest.raises(WriteError):
                await task
        assert writer.waiting_rows == 0

    sinks = (slow, fast)
    lanes = {"even": 0, "odd": 1}
    with Writer(
        lambda batch, lane: sinks[lane](batch, lane),
        queue_rows=10,
        lanes=2,
        lane_of=lanes.__getitem__,
    ) as writer:
        asyncio.run(main(writer))
    assert fast.batches == [[1], [3], [5], [7, 9]]


def test_a_full_lane_refuses_the_whole_request() -> None:
    sinks = (Sink(), Sink())
    sinks[0].resume.clear()

    async def main(writer: Writer) -> None:
        first = asyncio.create_task(writer.submit(rows(0)))
        await sinks[0].until_running()
        second = asyncio.create_task(writer.submit(rows(2, 4)))
        await waiting(writer, 2)
        with pytest.raises(QueueFullError, match="nothing of this request was stored"):
            await writer.submit(rows(1, 3, 6, 8))
        sinks[0].resume.set()
        await asyncio.gather(first, second)

    with Writer(
        lambda batch, lane: sinks[lane](batch, lane),
        queue_rows=3,
        lanes=2,
        lane_of={"even": 0, "odd": 1}.__getitem__,
    ) as writer:
        asyncio.run(main(writer))
    assert sinks[1].batches == []


def test_a_client_that_went_away_disturbs_nobody() -> None:
    sink = Sink()
    sink.resume.clear()

    async def main(writer: Writer) -> None:
        gone = asyncio.create_task(writer.submit(rows(1)))
        await sink.until_running()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        stays = asyncio.create_task(writer.submit(rows(2)))
        await waiting(writer, 1)
        sink.resume.set()
        await stays

    with Writer(sink, queue_rows=10) as writer:
        asyncio.run(main(writer))
    assert sink.batches == [[1], [2]]
