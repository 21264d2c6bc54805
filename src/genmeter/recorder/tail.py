"""Lines of NDJSON files that any program writes, and how far each has been acknowledged.

A file is known by its inode and its first line, so renaming it changes nothing. A line without a
``jobid`` gets one made of its file and place; a line without a ``timestamp`` gets the time at which
it was first read. That time is noted before the line is sent, so sending it again after a crash
sends the same record (R6).
"""

import contextlib
import fcntl
import hashlib
import itertools
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec

from genmeter.clock import DAY_MS
from genmeter.errors import FolderBusyError
from genmeter.recorder.dead_letters import NAME as DEAD_LETTERS
from genmeter.recorder.lines import WINDOW_BYTES, Batch, is_object, members, taken
from genmeter.recorder.spool import replace

ENDINGS: Final = (".ndjson", ".jsonl", ".log")
"""What names of files end in that are read in a folder; those that rotation renamed, too."""

LOOK_S: Final = 1.0
"""How often new files are looked for while others have lines to send, in seconds."""

_ROTATED: Final = re.compile(r"[.-][0-9][0-9T:._-]*")
"""What rotation adds to a name: ``.1``, ``-20260213``. A compressed file ends otherwise."""

_IN_A_FOLDER: Final = re.compile(rf"({'|'.join(map(re.escape, ENDINGS))})({_ROTATED.pattern})?$")
_FIRST_LINE_BYTES: Final = 4096
_MAX_OPEN: Final = 200
_FORGET_MS: Final = 90 * DAY_MS
_ABSENT: Final = (None, b"null", b'""')


class Mark(msgspec.Struct):
    """How far a file has been acknowledged.

    ``generation`` counts how often the file began anew, ``seen_ms`` is when it was known to be
    there. While lines without a timestamp are being sent, ``until`` is where they end and
    ``stamp_ms`` the time they get.
    """

    offset: int = 0
    generation: int = 0
    seen_ms: int = 0
    until: int = 0
    stamp_ms: int = 0


class _State(msgspec.Struct):
    files: dict[str, Mark]


class _Open(msgspec.Struct, eq=False):
    path: Path
    fd: int
    key: tuple[int, int]
    identity: str


class _Ended(msgspec.Struct, frozen=True):
    """A file whose whole lines are all acknowledged."""

    size: int
    mtime_ns: int
    offset: int
    identity: str


_UNREAD: Final = _Ended(0, 0, 0, "")


class Tail:
    """Reads ``paths``, files and folders, and keeps its state in ``folder``.

    Use as a context manager. Raises FolderBusyError where another process uses the folder, OSError
    where it cannot be used.
    """

    def __init__(self, paths: Sequence[Path], folder: Path, now_ms: Callable[[], int]) -> None:
        self._paths = paths
        self._folder = folder
        self._now_ms = now_ms
        self._open: dict[tuple[int, int], _Open] = {}
        self._ended: dict[tuple[int, int], _Ended] = {}
        self._tidied_ms = 0
        self._looked_s = 0.0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._lock = os.open(folder / "lock", flags, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(self._lock)
            raise FolderBusyError(f"{folder} is in use by another genmeter ship") from error
        self._file = folder / "state.json"
        try:
            self._marks = msgspec.json.decode(self._file.read_bytes(), type=_State).files
        except FileNotFoundError:
            self._marks = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._open.values():
            os.close(file.fd)
        os.close(self._lock)

    def read(self, most: int) -> Batch | None:
        """Up to ``most`` lines of one file, complete; None where there is nothing to send."""
        known = list(self._open.values())
        # New files come first now and then, and files take turns: none waits for another's end.
        due = time.monotonic() - self._looked_s > LOOK_S
        for file in (
            itertools.chain(self._new(), known) if due else itertools.chain(known, self._new())
        ):
            if batch := self._batch(file, most):
                self._open[file.key] = self._open.pop(file.key)
                return batch
        if self._now_ms() - self._tidied_ms > DAY_MS:
            self._tidy()
        return None

    def acknowledge(self, batch: Batch) -> None:
        """Note that all lines of ``batch`` are stored or among the dead letters."""
        identity, end = batch.place
        mark = self._marks[identity]
        mark.offset, mark.until, mark.seen_ms = end, 0, self._now_ms()
        self._save()

    def unfinished(self) -> dict[Path, int]:
        """Bytes of last lines that are not whole, by file. For when nothing is left to read."""
        left = {}
        for path, status in self._found().items():
            read = self._ended.get(_key(status), _UNREAD).offset
            if status.st_size > read:
                left[path] = status.st_size - read
        return left

    def _batch(self, file: _Open, most: int) -> Batch | None:
        status = os.fstat(file.fd)
        mark = self._mark(file)
        if status.st_size < mark.offset or _identity(file.fd) != file.identity:
            self._close(file)  # truncated: the next look at its path finds a new file
            self._ended.pop(file.key, None)
            return None
        block = os.pread(file.fd, WINDOW_BYTES, mark.offset)
        if mark.until:
            block = block[: mark.until - mark.offset]
        lines, size = taken(block, most)
        if not size:
            self._ended[file.key] = _Ended(*_version(status), mark.offset, file.identity)
            gone = not status.st_nlink
            if gone:
                self._marks.pop(file.identity, None)  # its inode may be given to another file
            if gone or len(self._open) > _MAX_OPEN:
                self._close(file)
            return None
        end = mark.offset + size
        sent = [self._complete(line, file, mark, mark.offset + at, end) for at, line in lines]
        return Batch(sent, (file.identity, end))

    def _complete(self, line: bytes, file: _Open, mark: Mark, at: int, end: int) -> bytes:
        """A line with a job id and a timestamp. One that is no object is sent as it is."""
        fields = members(line)
        if fields is None:
            return line
        added = False
        if _is_absent(fields.get("jobid")):
            jobid = f"{file.identity}-{mark.generation}-{at:x}"
            fields["jobid"] = msgspec.Raw(msgspec.json.encode(jobid))
            added = True
        if _is_absent(fields.get("timestamp"), or_empty=False):
            if not mark.until:
                mark.until, mark.stamp_ms = end, self._now_ms()
                self._save()
            fields["timestamp"] = msgspec.Raw(str(mark.stamp_ms).encode())
            added = True
        return msgspec.json.encode(fields) if added else line

    def _mark(self, file: _Open) -> Mark:
        return self._marks.setdefault(file.identity, Mark(seen_ms=self._now_ms()))

    def _new(self) -> Iterator[_Open]:
        """Files that are there and not open, unless nothing was added since they were read."""
        self._looked_s = time.monotonic()
        for path, status in self._found().items():
            key = _key(status)
            ended = self._ended.get(key, _UNREAD)
            if key in self._open or (ended.size, ended.mtime_ns) == _version(status):
                continue
            with contextlib.suppress(FileNotFoundError):
                if file := self._opened(path):
                    yield file

    def _opened(self, path: Path) -> _Open | None:
        """The open file at ``path``; None where it was read to its end, or has no line yet."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        status = os.fstat(fd)
        key = _key(status)
        identity = _identity(fd)
        if key in self._open or identity is None:
            os.close(fd)
            return self._open.get(key)
        file = self._open[key] = _Open(path, fd, key, identity)
        mark = self._mark(file)
        if status.st_size < mark.offset:
            self._marks[identity] = Mark(generation=mark.generation + 1, seen_ms=self._now_ms())
            self._save()
        return file

    def _close(self, file: _Open) -> None:
        del self._open[file.key]
        os.close(file.fd)

    def _found(self) -> dict[Path, os.stat_result]:
        """The files to read, the one that was written longest ago first."""
        found: dict[Path, os.stat_result] = {}
        for path in self._paths:
            folder = path if path.is_dir() else path.parent
            for each in folder.iterdir() if folder.is_dir() else ():
                if _belongs(each, path, in_folder=folder is path):
                    with contextlib.suppress(FileNotFoundError):  # rotated just now
                        status = each.stat()
                        if stat.S_ISREG(status.st_mode):
                            found[each] = status
        return dict(sorted(found.items(), key=lambda item: (item[1].st_mtime_ns, item[0])))

    def _tidy(self) -> None:
        """Forget files that have not been there for long. All that are there have been read."""
        now_ms = self._tidied_ms = self._now_ms()
        for ended in self._ended.values():
            if mark := self._marks.get(ended.identity):
                mark.seen_ms = now_ms
        oldest = now_ms - _FORGET_MS
        self._marks = {key: mark for key, mark in self._marks.items() if mark.seen_ms >= oldest}
        self._save()

    def _save(self) -> None:
        replace(self._file, msgspec.json.encode(_State(self._marks)))


def _belongs(each: Path, path: Path, *, in_folder: bool) -> bool:
    """Whether ``each`` is the file ``path``, or one in that folder, or what rotation made of it."""
    if each.name == DEAD_LETTERS or each.name.startswith("."):
        return False
    if in_folder:
        return bool(_IN_A_FOLDER.search(each.name))
    rest = each.name.removeprefix(path.name)
    return each.name.startswith(path.name) and (not rest or bool(_ROTATED.fullmatch(rest)))


def _key(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _version(status: os.stat_result) -> tuple[int, int]:
    """What changes when a file is written."""
    return status.st_size, status.st_mtime_ns


def _identity(fd: int) -> str | None:
    """What a file is known by; None while its first line is not whole."""
    start = os.pread(fd, _FIRST_LINE_BYTES, 0)
    line, feed, _ = start.partition(b"\n")
    if not feed and len(start) < _FIRST_LINE_BYTES and not is_object(line):
        return None
    return f"{os.fstat(fd).st_ino:x}-{hashlib.sha256(line.rstrip()).hexdigest()[:16]}"


def _is_absent(value: msgspec.Raw | None, *, or_empty: bool = True) -> bool:
    """Whether a field counts as not given (R2)."""
    text = None if value is None else bytes(value)
    return text in (_ABSENT if or_empty else _ABSENT[:2])
