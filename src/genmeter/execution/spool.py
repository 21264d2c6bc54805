"""Bytes on their way from a reading thread to a client, in memory while few and on disk when many.

The engine writes at its own speed and is then free for the next query, however slowly the
client reads; what has not been read yet is bounded in memory by ``MEMORY_BYTES`` and lies in a
nameless file beyond that.
"""

import asyncio
import errno
import os
import tempfile
import threading
from collections import deque
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO, Final

from genmeter.errors import SpoolFullError

MEMORY_BYTES: Final = 8 * 2**20
PIECE_BYTES: Final = 512 * 2**10
"""How much :meth:`Spool.read` returns at the most."""

_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


ALL_MEMORY_BYTES: Final = 128 * 2**20
"""What all spools together hold in memory; beyond it, all goes to the disk."""

_RESERVE_BYTES: Final = 512 * 2**20
_RESERVE_SHARE: Final = 10


class SpoolRoom:
    """What all spools of a folder may take: of the disk, and of memory.

    All together take ``most_bytes`` of the disk, those of one account half of it, and none where
    less is left of the disk than records need: 512 MiB, or a tenth of a small one. Methods may be
    called from any thread.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.folder = folder
        self._most = most_bytes
        self._lock = threading.Lock()
        self._disk: dict[str, int] = {}
        self._memory = 0

    def take_disk(self, account: str, size: int) -> None:
        """Take so many bytes for a spool of an account. Raises SpoolFullError."""
        disk = os.statvfs(self.folder)
        free, whole = disk.f_bavail * disk.f_frsize, disk.f_blocks * disk.f_frsize
        if free - size < min(_RESERVE_BYTES, whole // _RESERVE_SHARE):
            raise _no_room("the server's disk has")
        with self._lock:
            mine = self._disk.get(account, 0) + size
            if mine > self._most // 2:
                raise _no_room("your account's responses that have not been read leave")
            if sum(self._disk.values()) + size > self._most:
                raise _no_room("responses that have not been read leave")
            self._disk[account] = mine

    def give_disk(self, account: str, size: int) -> None:
        """Give back so many bytes."""
        with self._lock:
            left = self._disk.get(account, 0) - size
            if left > 0:
                self._disk[account] = left
            else:
                self._disk.pop(account, None)

    def take_memory(self, size: int) -> bool:
        """Take so many bytes, if there is room for them."""
        with self._lock:
            if self._memory + size > ALL_MEMORY_BYTES:
                return False
            self._memory += size
            return True

    def give_memory(self, size: int) -> None:
        """Give back so many bytes."""
        with self._lock:
            self._memory -= size


class Spool:
    """A pipe of an account's, with one writing thread and one reading coroutine.

    What does not go into memory goes into a file, as far as there is ``room``. Every method but
    ``read`` may be called from any thread.
    """

    def __init__(self, room: SpoolRoom, account: str) -> None:
        self._room = room
        self._account = account
        self._loop = asyncio.get_running_loop()
        self._ready = asyncio.Event()
        self._lock = threading.Lock()
        self._pieces: deque[memoryview] = deque()
        self._held = 0
        self.size = 0
        """How many bytes were written since the last ``clear``."""
        self._file: IO[bytes] | None = None
        self._file_read = self._file_written = 0
        self._finished = self._closed = False
        self._error: BaseException | None = None

    def write(self, data: bytes | memoryview) -> None:
        """Append ``data``; never waits for the pool. After ``close`` it goes nowhere.

        Raises SpoolFullError where there is no room for it.
        """
        with self._lock:
            if self._closed or not data:
                return
            self.size += len(data)
            in_file = self._file_written > self._file_read
            if (
                in_file
                or self._held + len(data) > MEMORY_BYTES
                or not self._room.take_memory(len(data))
            ):
                self._write_file(memoryview(data))
            else:
                self._pieces.append(memoryview(data))
                self._held += len(data)
        self._wake()

    def finish(self, error: BaseException | None = None) -> None:
        """Say that nothing more comes; ``error`` is raised to the pool instead of an end."""
        with self._lock:
            self._finished, self._error = True, error
        self._wake()

    def clear(self) -> None:
        """Drop what has been written and not read."""
        with self._lock:
            self._pieces.clear()
            self._room.give_memory(self._held)
            self._held = self.size = 0
            self._file_read = self._file_written

    async def read(self) -> bytes | memoryview:
        """The next bytes, or none at the end. Raises the error that ended the writing."""
        while True:
            self._ready.clear()
            piece = self._take()
            if piece is not None:
                return piece
            await self._ready.wait()

    async def pieces(self) -> AsyncIterator[bytes | memoryview]:
        """All that is left to read, to its end."""
        while piece := await self.read():
            yield piece

    def close(self) -> None:
        """Give back memory and disk, although the writing thread may not know yet."""
        with self._lock:
            self._closed = True
            self._pieces.clear()
            self._room.give_memory(self._held)
            self._held = 0
            self._room.give_disk(self._account, self._file_written)
            if self._file is not None:
                self._file.close()
                self._file = None
                self._file_read = self._file_written = 0

    def _write_file(self, data: memoryview) -> None:
        try:
            self._room.take_disk(self._account, len(data))
            if self._file is None:
                folder = self._room.folder
                self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115
            while data:
                written = os.pwrite(self._file.fileno(), data, self._file_written)
                self._file_written += written
                data = data[written:]
        except OSError as error:
            if error.errno not in _FULL:
                raise
            raise _no_room("the server's disk has") from error

    def _take(self) -> bytes | memoryview | None:
        """The next bytes, none at the end, None where there are none yet."""
        with self._lock:
            if self._pieces:
                piece = self._pieces.popleft()
                if len(piece) > PIECE_BYTES:
                    self._pieces.appendleft(piece[PIECE_BYTES:])
                    piece = piece[:PIECE_BYTES]
                self._held -= len(piece)
                self._room.give_memory(len(piece))
                return piece
            if self._file is not None and self._file_read < self._file_written:
                size = min(PIECE_BYTES, self._file_written - self._file_read)
                data = os.pread(self._file.fileno(), size, self._file_read)
                self._file_read += len(data)
                return data
            if self._error is not None:
                raise self._error
            return b"" if self._finished else None

    def _wake(self) -> None:
        # The loop is closed when the server went down before the thread ended.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ready.set)


def _no_room(who: str) -> SpoolFullError:
    return SpoolFullError(
        f"{who} no room to buffer this response; ask for less, or try again later"
    )
