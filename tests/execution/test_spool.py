"""Bytes from a writing thread to a reading coroutine: whole, in order, bounded in memory."""

import asyncio
import hashlib
import os
import random
import threading
import tracemalloc
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genmeter.errors import SpoolFullError
from genmeter.execution.spool import (
    ALL_MEMORY_BYTES,
    MEMORY_BYTES,
    PIECE_BYTES,
    Spool,
    SpoolRoom,
)

MIB: Final = 2**20


def open_files(folder: Path) -> list[str]:
    """What this process holds open in a folder, nameless files too."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        try:
            target = str(entry.readlink())
        except OSError:  # the one that was open for listing
            continue
        if target.startswith(str(folder)):
            found.append(target)
    return found


def left(folder: Path) -> list[str]:
    """Everything in a folder, by name or open."""
    return [*(str(path) for path in folder.iterdir()), *open_files(folder)]


def run(folder: Path, use: Callable[[Spool], Coroutine[Any, Any, None]]) -> None:
    """Use a spool and close it; nothing of it may be left."""

    async def main() -> None:
        spool = Spool(SpoolRoom(folder, 2**40), "acme")
        try:
            await asyncio.wait_for(use(spool), 60)
        finally:
            spool.close()

    asyncio.run(main())
    assert left(folder) == []


async def rest(spool: Spool) -> bytes:
    """All that is left to read, up to the end."""
    pieces = []
    while piece := await spool.read():
        assert len(piece) <= PIECE_BYTES
        pieces.append(bytes(piece))
    return b"".join(pieces)


def filled(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


def test_the_end_comes_after_all_bytes_and_stays(tmp_path: Path) -> None:
    async def use(spool: Spool) -> None:
        spool.write(b"ab")
        spool.write(b"c")
        spool.finish()
        assert await rest(spool) == b"abc"
        assert [await spool.read(), await spool.read()] == [b"", b""]

    run(tmp_path, use)


def test_a_reader_that_waits_is_woken_by_each_write_and_by_the_end(tmp_path: Path) -> None:
    async def use(spool: Spool) -> None:
        for data in (b"one", b"two"):
            reading = asyncio.create_task(spool.read())
            await asyncio.sleep(0)  # let it begin to wait
            assert not reading.done()
            await asyncio.to_thread(spool.write, data)
            assert bytes(await reading) == data
        reading = asyncio.create_task(spool.read())
        await asyncio.sleep(0)
        await asyncio.to_thread(spool.finish)
        assert await reading == b""

    run(tmp_path, use)


def write_all(spool: Spool, sizes: list[int], seed: int, step: Callable[[], object]) -> str:
    """Write so many bytes each time; returns their digest."""
    source, digest = random.Random(seed), hashlib.sha256()
    for size in sizes:
        data = source.randbytes(size)
        digest.update(data)
        spool.write(data)
        step()
    spool.finish()
    return digest.hexdigest()


@pytest.mark.parametrize("pace", ["after", "in step", "free"])
@pytest.mark.parametrize("seed", [1, 2])
def test_what_a_thread_writes_is_read_in_order_at_any_pace(
    tmp_path: Path, pace: str, seed: int
) -> None:
    source = random.Random(seed)
    sizes = [source.choice([1, 100, PIECE_BYTES, PIECE_BYTES + 1, 3 * MIB]) for _ in range(40)]
    turns = threading.Semaphore(0)

    async def use(spool: Spool) -> None:
        wait = (lambda: turns.acquire(timeout=30)) if pace == "in step" else (lambda: None)
        writing = asyncio.create_task(asyncio.to_thread(write_all, spool, sizes, seed, wait))
        if pace == "after":
            await writing
        digest = hashlib.sha256()
        while piece := await spool.read():
            assert len(piece) <= PIECE_BYTES
            digest.update(piece)
            if pace == "in step":  # a turn for each piece: no write waits for more than is read
                turns.release()
        assert digest.hexdigest() == await writing

    turns.release(5)
    run(tmp_path, use)


OPS = st.lists(
    st.one_of(
        st.integers(1, 400).map(lambda size: ("write", size)),
        st.integers(1, 9).map(lambda times: ("read", times)),
        st.just(("clear", 0)),
    ),
    max_size=60,
)


@given(OPS)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_order_of_writing_reading_and_clearing(
    tmp_path: Path, ops: list[tuple[str, int]]
) -> None:
    """Against the plain model: a string of bytes. Memory is made small, so that much overflows."""

    async def use(spool: Spool) -> None:
        model = b""
        for number, (name, amount) in enumerate(ops):
            if name == "write":
                data = filled(amount, number)
                spool.write(data)
                model += data
            elif name == "clear":
                spool.clear()
                model = b""
            else:
                for _ in range(amount if model else 0):
                    if model:
                        piece = bytes(await spool.read())
                        assert 0 < len(piece) <= 100
                        assert model.startswith(piece)
                        model = model[len(piece) :]
        spool.finish()
        assert await rest(spool) == model

    with (
        patch("genmeter.execution.spool.MEMORY_BYTES", 1000),
        patch("genmeter.execution.spool.PIECE_BYTES", 100),
    ):
        run(tmp_path, use)


def test_memory_is_bounded_and_the_rest_lies_in_a_nameless_file(tmp_path: Path) -> None:
    async def use(spool: Spool) -> None:
        tracemalloc.start()
        try:
            for number in range(48):
                spool.write(number.to_bytes(1, "big") * MIB)
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert held < MEMORY_BYTES + MIB // 2
        assert len(left(tmp_path)) == len(open_files(tmp_path)) == 1
        spool.finish()
        assert await rest(spool) == b"".join(bytes([number]) * MIB for number in range(48))

    run(tmp_path, use)


def test_few_bytes_need_no_file_and_one_more_than_fits_does(tmp_path: Path) -> None:
    async def use(spool: Spool) -> None:
        spool.write(bytes(MEMORY_BYTES))
        assert open_files(tmp_path) == []
        spool.write(b"x")
        assert len(open_files(tmp_path)) == 1

    run(tmp_path, use)


def test_what_was_read_makes_room_in_memory_again(tmp_path: Path) -> None:
    async def use(spool: Spool) -> None:
        for number in range(40):
            spool.write(bytes([number]) * (MEMORY_BYTES // 2))
            for _ in range(MEMORY_BYTES // 2 // PIECE_BYTES):
                assert bytes(await spool.read()) == bytes([number]) * PIECE_BYTES
        assert open_files(tmp_path) == []

    run(tmp_path, use)


@pytest.mark.parametrize("size", [10, 2 * MEMORY_BYTES])
def test_clear_drops_what_was_not_read_wherever_it_is(tmp_path: Path, size: int) -> None:
    async def use(spool: Spool) -> None:
        spool.write(b"a" * size)
        spool.write(b"b" * size)
        await spool.read()
        spool.clear()
        spool.write(b"after ")
        spool.write(b"c" * size)
        spool.finish()
        assert await rest(spool) == b"after " + b"c" * size

    run(tmp_path, use)


@pytest.mark.parametrize("size", [10, 2 * MEMORY_BYTES])
def test_an_error_reaches_the_reader_after_the_bytes_before_it(tmp_path: Path, size: int) -> None:
    async def use(spool: Spool) -> None:
        spool.write(b"a" * size)
        await asyncio.to_thread(spool.finish, KeyError("broken"))
        read = 0
        while read < size:
            read += len(await spool.read())
        assert read == size
        for _ in range(2):
            with pytest.raises(KeyError, match="broken"):
                await spool.read()

    run(tmp_path, use)


def test_an_error_wakes_a_reader_that_waits(tmp_path: Path) -> None:
    async def use(spool: Spool) -> None:
        reading = asyncio.create_task(spool.read())
        await asyncio.sleep(0)
        await asyncio.to_thread(spool.finish, KeyError("broken"))
        with pytest.raises(KeyError):
            await reading

    run(tmp_path, use)


def test_closing_unread_removes_the_file(tmp_path: Path) -> None:
    async def use(spool: Spool) -> None:
        spool.write(bytes(3 * MEMORY_BYTES))
        await spool.read()
        assert len(open_files(tmp_path)) == 1
        spool.close()
        assert left(tmp_path) == []
        spool.close()

    run(tmp_path, use)


def test_a_thread_that_writes_on_after_closing_leaves_no_file(tmp_path: Path) -> None:
    """A reader that went away closes the spool while its thread is still in a write."""

    async def use(spool: Spool) -> None:
        spool.write(bytes(MEMORY_BYTES))
        spool.close()
        await asyncio.to_thread(spool.write, bytes(2 * MEMORY_BYTES))
        found = left(tmp_path)
        spool.close()
        assert found == []

    run(tmp_path, use)


def test_a_write_of_nothing_is_not_the_end(tmp_path: Path) -> None:
    async def use(spool: Spool) -> None:
        spool.write(b"a")
        spool.write(b"")
        spool.write(b"b")
        spool.finish()
        assert await rest(spool) == b"ab"

    run(tmp_path, use)


def test_a_disk_that_takes_less_at_a_time_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pwrite may write less than it was given, near a full disk or a quota for one."""
    whole_write = os.pwrite
    monkeypatch.setattr(
        "genmeter.execution.spool.os.pwrite",
        lambda fd, data, offset: whole_write(fd, memoryview(data)[:100_000], offset),
    )

    async def use(spool: Spool) -> None:
        data = filled(MEMORY_BYTES + 1)
        spool.write(data)
        spool.write(b"end")
        spool.finish()
        assert await rest(spool) == data + b"end"

    run(tmp_path, use)


def test_a_disk_that_fails_is_the_writers_error(tmp_path: Path) -> None:
    async def use(spool: Spool) -> None:
        with pytest.raises(OSError, match="No such file"):
            await asyncio.to_thread(spool.write, bytes(MEMORY_BYTES + 1))

    folder = tmp_path / "made later"
    folder.mkdir()

    async def without_folder(spool: Spool) -> None:
        folder.rmdir()
        try:
            await use(spool)
        finally:
            folder.mkdir()

    run(folder, without_folder)


def test_a_thread_may_end_after_the_loop_is_closed(tmp_path: Path) -> None:
    async def make() -> Spool:
        return Spool(SpoolRoom(tmp_path, 2**40), "acme")

    spool = asyncio.run(make())
    spool.write(b"x")
    spool.finish()
    spool.close()
    assert left(tmp_path) == []


def on_loop(work: Callable[[], None]) -> None:
    """Run something that needs a running event loop."""

    async def run() -> None:
        work()

    asyncio.run(run())


def test_an_account_gets_half_of_the_disk_and_all_together_the_whole(tmp_path: Path) -> None:
    room = SpoolRoom(tmp_path, 40 * MIB)

    def work() -> None:
        greedy, other, third = (Spool(room, name) for name in ("greedy", "other", "third"))
        for spool in (greedy, other):
            spool.write(bytes(MEMORY_BYTES))
            spool.write(bytes(20 * MIB))
        with pytest.raises(SpoolFullError, match="your account's responses"):
            greedy.write(b"1")
        third.write(bytes(MEMORY_BYTES))
        with pytest.raises(SpoolFullError, match="responses that have not been read leave no room"):
            third.write(b"1")
        greedy.close()
        third.write(bytes(20 * MIB))  # there is room again
        for spool in (other, third):
            spool.close()
        again = Spool(room, "greedy")
        again.write(bytes(19 * MIB))
        again.close()

    on_loop(work)


def test_what_records_need_of_a_disk_is_left_to_them(tmp_path: Path) -> None:
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize
    room = SpoolRoom(tmp_path, 2**60)
    with pytest.raises(SpoolFullError, match="the server's disk has no room"):
        room.take_disk("acme", free - 16 * MIB)
    room.take_disk("acme", 1)


def test_all_spools_together_hold_a_bounded_part_in_memory(tmp_path: Path) -> None:
    room = SpoolRoom(tmp_path, 2**40)

    def work() -> None:
        spools = [Spool(room, "acme") for _ in range(ALL_MEMORY_BYTES // MEMORY_BYTES + 3)]
        for spool in spools:
            spool.write(bytes(MEMORY_BYTES))
        assert len(open_files(tmp_path)) == 3
        for spool in spools:
            spool.close()
        assert room.take_memory(ALL_MEMORY_BYTES)
        assert not room.take_memory(1)

    on_loop(work)
