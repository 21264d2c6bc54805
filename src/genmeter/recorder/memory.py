"""Records that wait in memory, where there is no folder for them. A crash loses them."""

import threading
import time
from collections import deque
from typing import Final

from genmeter.recorder.lines import Batch
from genmeter.recorder.spool import WhenFull

BATCH_BYTES: Final = 2**20
"""Most bytes of a request, before compression."""


class Memory:
    """A bounded queue with the methods of a :class:`genmeter.recorder.spool.Spool`."""

    durable = False

    def __init__(self, *, max_bytes: int, when_full: WhenFull, block_s: float) -> None:
        self.recorded = 0
        self.dropped = {"full": 0}
        self._max_bytes = max_bytes
        self._when_full = when_full
        self._block_s = block_s
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._lines: deque[tuple[float, bytes]] = deque()
        self._bytes = 0

    @property
    def waiting(self) -> int:
        """How many records are not acknowledged."""
        return len(self._lines)

    @property
    def oldest_s(self) -> float:
        """For how many seconds the oldest of them has been waiting."""
        with self._lock:
            return time.monotonic() - self._lines[0][0] if self._lines else 0.0

    def append(self, line: bytes) -> bool:
        """Keep one record; False where it was dropped."""
        with self._lock:
            if self._when_full == "block":
                self._room.wait_for(lambda: self._fits(line), self._block_s)
            while self._when_full == "drop_oldest" and self._lines and not self._fits(line):
                self._bytes -= len(self._lines.popleft()[1])
                self.dropped["full"] += 1
            if not self._fits(line):
                self.dropped["full"] += 1
                return False
            self._lines.append((time.monotonic(), line))
            self._bytes += len(line)
            self.recorded += 1
            return True

    def read(self, most: int) -> Batch | None:
        """The oldest records; None where there are none."""
        lines: list[bytes] = []
        size = 0
        with self._lock:
            for _, line in self._lines:
                if len(lines) == most or size + len(line) > BATCH_BYTES:
                    break
                lines.append(line)
                size += len(line)
        return Batch([line.rstrip(b"\n") for line in lines]) if lines else None

    def acknowledge(self, batch: Batch) -> None:
        """Forget the lines of ``batch``, of which some may have been dropped meanwhile."""
        sent = set(batch.lines)  # a job id is in each, so no two are the same
        with self._lock:
            while self._lines and self._lines[0][1].rstrip(b"\n") in sent:
                self._bytes -= len(self._lines.popleft()[1])
            self._room.notify_all()

    def tend(self) -> None:
        """Nothing needs care."""

    def adopt(self) -> None:
        """Nobody leaves anything."""

    def release(self) -> None:
        """Nothing is open."""

    def abandon(self) -> None:
        """Nothing is open."""

    def _fits(self, line: bytes) -> bool:
        return self._bytes + len(line) <= self._max_bytes
