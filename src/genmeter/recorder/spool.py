"""A folder of NDJSON files: records that wait to be sent.

Each process appends to a file of its own, with one ``write`` a record, so a killed process loses
nothing. A process holds a lock (``flock``) on ``OWNER.lock`` while it lives; its files are
``OWNER.NUMBER.ndjson``. Files whose owner is dead are adopted by the next process. Beside a file
that has been sent in part, ``OWNER.NUMBER.ack`` says up to which byte.
"""

import contextlib
import fcntl
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, get_args

import msgspec

from genmeter.recorder.lines import WINDOW_BYTES, Batch, taken

log = logging.getLogger(__name__)

WhenFull = Literal["drop_oldest", "drop_newest", "block"]
WHEN_FULL: Final[tuple[WhenFull, ...]] = get_args(WhenFull)

FILE_BYTES: Final = 8 * 2**20
FILE_S: Final = 60.0
"""A file takes no more at this size, or so many seconds after it was begun."""

_NAME: Final = re.compile(r"(\d{13}-\d+-[0-9a-f]{8})\.(lock|\d+\.(ndjson|ack)(\.new)?)")
_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


class _File(msgspec.Struct, eq=False):
    """A file of the spool: ``records`` counts those that are not acknowledged."""

    path: Path
    fd: int = -1
    size: int = 0
    acknowledged: int = 0
    records: int = 0
    begun: float = 0.0
    oldest: float = 0.0
    final: bool = False
    dirty: bool = False

    @property
    def note(self) -> Path:
        """Where it says how far it has been acknowledged."""
        return self.path.with_suffix(".ack")


class Spool:
    """The spool of one process in a folder that several share.

    At most ``max_bytes`` of files are kept, those of other processes included. Where a record has
    no room, ``when_full`` decides: ``drop_oldest`` removes the file with the oldest records,
    ``drop_newest`` the new record, ``block`` waits up to ``block_s`` first. ``dropped`` counts
    records lost by reason, ``recorded`` those it took. Raises OSError where the folder cannot be
    used.
    """

    durable = True

    def __init__(
        self,
        folder: Path,
        *,
        max_bytes: int,
        when_full: WhenFull,
        block_s: float,
        file_bytes: int = FILE_BYTES,
        file_s: float = FILE_S,
    ) -> None:
        self.recorded = 0
        self.dropped = dict.fromkeys(("full", "disk"), 0)
        self._folder = folder
        self._max_bytes = max_bytes
        self._file_bytes = max(1, min(file_bytes, max_bytes // 4))
        self._file_s = file_s
        self._when_full = when_full
        self._block_s = block_s
        # A signal handler or a finalizer may record while its thread does: reentrant.
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._number = 0
        self._current: _File | None = None
        self._files: list[_File] = []
        self._to_close: list[_File] = []
        self._locks: dict[str, int] = {}
        self._bytes = 0
        self._other_bytes = 0
        self._tending = threading.Lock()
        self._said = False
        while True:
            self._owner = f"{time.time_ns() // 1_000_000:013d}-{os.getpid()}-{secrets.token_hex(4)}"
            if self._hold(self._owner):
                break

    @property
    def waiting(self) -> int:
        """How many records are not acknowledged, of this process and of those it adopted."""
        with self._lock:
            return sum(file.records for file in self._files)

    @property
    def oldest_s(self) -> float:
        """For how many seconds, at the most, the oldest of them has been waiting."""
        with self._lock:
            since = [file.oldest for file in self._files if file.records]
        return max(0.0, time.monotonic() - min(since)) if since else 0.0

    def append(self, line: bytes) -> bool:
        """Write one record with its line feed; False where it was dropped."""
        with self._lock:
            if not self._make_room(len(line)):
                self.dropped["full"] += 1
                return False
            file = None
            try:
                file = self._writable(len(line))
                written = os.write(file.fd, line)
                if written < len(line):
                    os.ftruncate(file.fd, file.size)
                    raise OSError("the disk is full")
            except OSError as error:
                self.dropped["disk"] += 1
                if not self._said:
                    self._said = True
                    log.error("records are lost: the spool cannot be written: %s", error)
                return False
            if not file.records:
                file.oldest = time.monotonic()
            file.size += len(line)
            self._bytes += len(line)
            file.records += 1
            file.dirty = True
            self.recorded += 1
            return True

    def read(self, most: int) -> Batch | None:
        """The oldest records that are not acknowledged; None where there are none."""
        with self._lock:
            files = list(self._files)
        for file in files:
            block, final = b"", file.final  # first, since it may take more until it is final
            # One that is gone was dropped to make room.
            with contextlib.suppress(FileNotFoundError), file.path.open("rb") as opened:
                opened.seek(file.acknowledged)
                block = opened.read(WINDOW_BYTES)
            lines, size = taken(block, most)
            if not size and block and final:
                lines, size = [(0, block)], len(block)  # cut off by a power cut or a full disk
            if lines or size:
                return Batch([line for _, line in lines], (file, file.acknowledged + size))
            if final:
                self._remove(file)
        return None

    def acknowledge(self, batch: Batch) -> None:
        """Note that all lines of ``batch`` are stored or among the dead letters."""
        file: _File
        file, end = batch.place
        with self._lock:
            if file not in self._files:
                return
            file.acknowledged = end
            file.records = max(0, file.records - len(batch.lines))
            if file.final and end >= file.size:
                self._remove(file)
                return
        try:
            replace(file.note, str(end).encode())
        except OSError as error:  # after a crash these records are sent again, which is safe
            log.warning("how far records were sent cannot be noted: %s", error)

    def tend(self) -> None:
        """Put what was written on the disk, and end a file that is old. Called every second."""
        with self._tending:
            with self._lock:
                current = self._current
                if current and time.monotonic() - current.begun > self._file_s:
                    self._end_current()
                dirty = [file for file in (*self._to_close, self._current) if file and file.dirty]
                for file in dirty:
                    file.dirty = False
            for file in dirty:
                try:
                    os.fsync(file.fd)
                except OSError as error:
                    log.error("records may be lost by a power cut: %s", error)
            with self._lock:
                closing = [file for file in self._to_close if not file.dirty]
                self._to_close = [file for file in self._to_close if file.dirty]
            for file in closing:
                os.close(file.fd)

    def adopt(self) -> None:
        """Take over the files of dead processes, and look how much others hold."""
        owners: dict[str, list[Path]] = {}
        for path in sorted(self._folder.iterdir()):
            if name := _NAME.fullmatch(path.name):
                owners.setdefault(name[1], []).append(path)
        others = 0
        for owner, paths in owners.items():
            if owner in self._locks:
                continue
            if self._hold(owner):
                # What was there when it was looked for may be sent and gone.
                self._take_over([path for path in paths if path.exists()])
            else:
                for path in paths:
                    with contextlib.suppress(FileNotFoundError):
                        others += path.stat().st_size
        with self._lock:
            self._other_bytes = others
            done = [
                owner
                for owner in self._locks
                if owner != self._owner
                and not any(file.path.name.startswith(f"{owner}.") for file in self._files)
            ]
        for owner in done:
            self._let_go(owner)

    def release(self) -> None:
        """Close everything; what was not acknowledged is the next process's."""
        with self._lock:
            self._end_current()
        self.tend()
        with self._lock:
            for file in list(self._files):
                if file.acknowledged >= file.size:
                    self._remove(file)
            for owner in list(self._locks):
                self._let_go(owner)

    def abandon(self) -> None:
        """In a forked child: close its copies of the parent's files, whose locks stay held."""
        files = [*self._to_close, *([self._current] if self._current else [])]
        for fd in [*self._locks.values(), *(file.fd for file in files)]:
            with contextlib.suppress(OSError):
                os.close(fd)

    def _hold(self, owner: str) -> bool:
        """Whether the lock of ``owner`` is now held by this process."""
        path = self._folder / f"{owner}.lock"
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever held it before may have removed it.
            held = os.stat(path).st_ino == os.fstat(fd).st_ino  # noqa: PTH116
        except (BlockingIOError, FileNotFoundError):
            held = False
        if held:
            self._locks[owner] = fd
        else:
            os.close(fd)
        return held

    def _let_go(self, owner: str) -> None:
        """Release a lock, and remove it where no record is left."""
        left = list(self._folder.glob(f"{owner}.*.ndjson"))
        if not left:
            for path in self._folder.glob(f"{owner}.*"):
                path.unlink(missing_ok=True)
        os.close(self._locks.pop(owner))

    def _take_over(self, paths: list[Path]) -> None:
        for path in paths:
            if path.suffix != ".ndjson":
                continue
            file = _File(path, final=True, size=path.stat().st_size, oldest=time.monotonic())
            with contextlib.suppress(FileNotFoundError, ValueError):
                file.acknowledged = int(file.note.read_bytes())
            file.records = _records(path, file.acknowledged)
            with self._lock:
                # Before this process's own: they are older.
                at = next((i for i, f in enumerate(self._files) if f.path > path), None)
                self._files.insert(len(self._files) if at is None else at, file)
                self._bytes += file.size

    def _fits(self, size: int) -> bool:
        return self._bytes + self._other_bytes + size <= self._max_bytes

    def _make_room(self, size: int) -> bool:
        """Whether so many bytes may be written now; the lock is held."""
        if self._fits(size):
            return True
        if self._when_full == "block":
            return self._room.wait_for(lambda: self._fits(size), self._block_s)
        if self._when_full == "drop_newest":
            return False
        while self._files and not self._fits(size):
            oldest = self._files[0]
            if oldest is self._current:
                self._end_current()
            self.dropped["full"] += oldest.records
            self._remove(oldest)
        return self._fits(size)

    def _writable(self, size: int) -> _File:
        """The open file, begun anew where it would become too large; the lock is held."""
        if self._current and self._current.size + size > self._file_bytes:
            self._end_current()
        if self._current is None:
            path = self._folder / f"{self._owner}.{self._number:06d}.ndjson"
            self._number += 1
            begun = time.monotonic()
            self._current = _File(path, os.open(path, _FLAGS, 0o600), begun=begun)
            self._files.append(self._current)
        return self._current

    def _end_current(self) -> None:
        """Let nothing more be written to the open file, which :meth:`tend` closes."""
        if self._current:
            self._current.final = True
            self._to_close.append(self._current)
            self._current = None

    def _remove(self, file: _File) -> None:
        """Remove a file, its note after it: a note without a file means nothing."""
        with self._lock:
            if file in self._files:
                self._files.remove(file)
                self._bytes -= file.size
                self._room.notify_all()
        file.path.unlink(missing_ok=True)
        file.note.unlink(missing_ok=True)


def replace(path: Path, content: bytes) -> None:
    """Write a small file that is there as a whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def _blocks(path: Path, start: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(WINDOW_BYTES):
            yield block


def _records(path: Path, start: int) -> int:
    """How many lines of a file follow ``start``; one that is cut off counts."""
    lines, last = 0, b"\n"
    for block in _blocks(path, start):
        lines, last = lines + block.count(b"\n"), block[-1:]
    return lines + (last != b"\n")
