"""The spool: bounds, policies, adoption, and reading while it is written."""

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genmeter.recorder.lines import WINDOW_BYTES, taken, whole
from genmeter.recorder.memory import Memory
from genmeter.recorder.spool import Spool, WhenFull


def spool(folder: Path, **changes: Any) -> Spool:
    """A spool of files of 100 bytes."""
    values: dict[str, Any] = {
        "max_bytes": 2**20, "when_full": "drop_oldest", "block_s": 0.05, "file_bytes": 100
    }  # fmt: skip
    return Spool(folder, **(values | changes))


def line(number: int) -> bytes:
    """A line of 20 bytes."""
    return b'{"jobid":"%07d"}\n' % number


def drained(store: Spool | Memory, most: int = 3) -> list[int]:
    """The numbers of all lines, acknowledged as they are read."""
    numbers: list[int] = []
    while batch := store.read(most):
        numbers += [int(json.loads(text)["jobid"]) for text in batch.lines]
        store.acknowledge(batch)
    return numbers


def test_lines_come_out_in_order_and_files_go(tmp_path: Path) -> None:
    store = spool(tmp_path)
    for number in range(20):
        assert store.append(line(number))
    assert len(list(tmp_path.glob("*.ndjson"))) == 4
    assert (store.waiting, store.recorded) == (20, 20)
    assert drained(store) == list(range(20))
    assert store.waiting == 0
    assert store.oldest_s == 0
    store.release()
    assert not list(tmp_path.iterdir())


def test_a_file_ends_with_its_age(tmp_path: Path) -> None:
    store = spool(tmp_path, file_s=0.0)
    store.append(line(1))
    time.sleep(0.01)
    store.tend()
    store.append(line(2))
    assert len(list(tmp_path.glob("*.ndjson"))) == 2
    store.release()


def test_what_a_dead_process_left_is_adopted_from_where_it_was_acknowledged(tmp_path: Path) -> None:
    child = os.fork()
    if not child:
        store = spool(tmp_path)
        for number in range(12):
            store.append(line(number))
        batch = store.read(2)
        assert batch
        store.acknowledge(batch)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    store = spool(tmp_path)
    store.append(line(12))
    store.adopt()
    assert store.waiting == 11
    assert drained(store) == list(range(2, 13))
    store.adopt()
    store.release()
    assert not list(tmp_path.iterdir())


def test_what_a_living_process_has_is_left_alone_but_counts(tmp_path: Path) -> None:
    one, other = spool(tmp_path), spool(tmp_path, max_bytes=30, when_full="drop_newest")
    one.append(line(1))
    other.adopt()
    assert other.read(10) is None
    assert not other.append(line(2))
    assert drained(one) == [1]
    one.release()
    other.adopt()
    assert other.append(line(2))
    other.release()


def test_a_torn_last_line_of_a_dead_process_is_handed_over_as_it_is(tmp_path: Path) -> None:
    store = spool(tmp_path)
    store.append(line(1))
    store.release()
    (file,) = tmp_path.glob("*.ndjson")
    with file.open("ab") as opened:
        opened.write(b'{"jobid":"half')
    store = spool(tmp_path)
    store.adopt()
    first = store.read(10)
    assert first
    assert first.lines == [line(1).strip()]
    store.acknowledge(first)
    rest = store.read(10)
    assert rest
    assert rest.lines == [b'{"jobid":"half']  # the server says what is wrong with it
    store.acknowledge(rest)
    store.adopt()
    store.release()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", ["spool", "memory"])
@pytest.mark.parametrize(
    ("when_full", "kept"),
    [("drop_oldest", "the newest"), ("drop_newest", "the oldest"), ("block", "the oldest")],
)
def test_a_full_store_drops_what_its_policy_says_and_counts_it(
    tmp_path: Path, kind: str, when_full: WhenFull, kept: str
) -> None:
    store: Spool | Memory
    if kind == "spool":
        store = spool(tmp_path, max_bytes=400, when_full=when_full, block_s=0.001)
    else:
        store = Memory(max_bytes=400, when_full=when_full, block_s=0.001)
    for number in range(50):
        store.append(line(number))
    left = drained(store)
    assert len(left) + store.dropped["full"] == 50
    assert left == list(range(20) if kept == "the oldest" else range(50 - len(left), 50))
    assert len(left) > 10
    store.release()


@pytest.mark.parametrize("kind", ["spool", "memory"])
def test_block_waits_for_room(tmp_path: Path, kind: str) -> None:
    store: Spool | Memory
    if kind == "spool":
        store = spool(tmp_path, max_bytes=100, file_bytes=40, when_full="block", block_s=60)
    else:
        store = Memory(max_bytes=100, when_full="block", block_s=60)
    for number in range(5):
        store.append(line(number))
    blocked = threading.Thread(target=store.append, args=(line(5),))
    blocked.start()
    assert drained(store)[:5] == list(range(5))
    blocked.join(30)
    assert not blocked.is_alive()
    assert store.recorded == 6
    assert store.dropped["full"] == 0
    store.release()


def test_a_disk_that_takes_nothing_is_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = spool(tmp_path)
    store.append(line(1))
    real = os.write

    def full(fd: int, data: bytes) -> int:
        return real(fd, data[:7])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        assert not store.append(line(2))
    assert store.append(line(3))
    assert store.dropped["disk"] == 1
    assert drained(store) == [1, 3]
    store.release()


def test_a_file_that_was_dropped_while_it_was_sent_stays_dropped(tmp_path: Path) -> None:
    store = spool(tmp_path, max_bytes=200)
    for number in range(10):
        store.append(line(number))
    batch = store.read(1)
    assert batch
    store.append(line(10))  # makes room
    store.acknowledge(batch)
    assert drained(store)[-1] == 10
    store.release()


objects = st.builds(
    lambda text, pad: json.dumps({"a": text}).encode() + pad,
    st.text(max_size=8),
    st.sampled_from([b"", b" ", b"\r"]),
)


no_objects = st.binary(max_size=6).filter(lambda text: b"{" not in text)


@given(st.lists(st.one_of(objects, st.just(b""), no_objects)), st.data())
def test_however_a_file_is_cut_its_lines_are_read_once(
    lines: list[bytes], data: st.DataObject
) -> None:
    lines = [text for one in lines for text in one.split(b"\n")]
    content = b"".join(text + b"\n" for text in lines)
    offset = 0
    found: list[bytes] = []
    size = 0
    while offset < len(content):
        size = data.draw(st.integers(min(size + 1, len(content)), len(content)))
        got, end = taken(content[offset:size], data.draw(st.integers(1, 4)))
        for at, text in got:
            assert content[offset + at :].startswith(text)
        found += [text for _, text in got]
        offset += end
        if not end and size == len(content):
            break
    assert offset == len(content)
    # Blanks after an object may come apart from it.
    assert [text.strip() for text in found] == [text.strip() for text in lines if text.strip()]


@given(objects, st.data())
def test_a_torn_line_is_not_whole(text: bytes, data: st.DataObject) -> None:
    text = text.strip()
    cut = data.draw(st.integers(0, len(text)))
    assert whole(b"x\n" + text[:cut]) == (2 + cut if cut == len(text) else 2)


def test_a_line_longer_than_the_window_is_read_in_pieces() -> None:
    block = b"x" * WINDOW_BYTES
    assert taken(block, 5) == ([(0, block)], WINDOW_BYTES)
