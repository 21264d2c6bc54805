"""Finds and removes parts that a failed write left incomplete.

chDB (seen in 26.5 to 26.9) counts a write that the system refuses, because the disk is full or
broken, and goes on as if it had been done. An INSERT then ends well and leaves a part that cannot
be read; a merge puts such a part in the place of whole ones, which are deleted a minute later.
The counter is all there is to notice it by.
"""

import contextlib
import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from genmeter.errors import EngineError
from genmeter.storage.sql.base import quote

log = logging.getLogger(__name__)

CHECK_S: Final = 5.0
"""How often merges are checked, in seconds: the parts they replace stay for 60 seconds."""

_FAILED: Final = (
    "SELECT value FROM system.events WHERE event = 'WriteBufferFromFileDescriptorWriteFailed'"
)

_MERGING: Final = "SELECT count() FROM system.merges WHERE elapsed >= {}"

# Files of a part that its checksums leave out, so that bytes_on_disk does too.
_UNCOUNTED: Final = frozenset({
    "checksums.txt", "columns.txt", "columns_substreams.txt", "default_compression_codec.txt",
    "metadata_version.txt", "txn_version.txt",
})  # fmt: skip


class _Part(msgspec.Struct, frozen=True):
    name: str
    active: bool
    partition: str
    first: int
    last: int
    level: int
    bytes: int
    path: Path

    def covers(self, other: "_Part") -> bool:
        """Whether this part was made of ``other``, among others."""
        return (
            self.name != other.name
            and self.partition == other.partition
            and self.first <= other.first
            and other.last <= self.last
            and other.level < self.level
        )

    def whole(self) -> bool:
        """Whether all its files have the sizes that the engine meant to write."""
        try:
            files = {file.name: file for file in os.scandir(self.path)}
            sizes = {name: file.stat().st_size for name, file in files.items()}
            counted = sum(size for name, size in sizes.items() if name not in _UNCOUNTED)
            return (
                counted == self.bytes
                and all(sizes.values())
                and _columns_whole((self.path / "columns.txt").read_bytes())
                and _checksums_whole((self.path / "checksums.txt").read_bytes())
            )
        except (OSError, ValueError, IndexError):
            return False


class TornParts:
    """Watches one table of an engine in this process.

    ``run`` runs a statement and returns its lines. Use :meth:`check` after each statement that
    writes; a thread does it for merges. While it runs it holds ``lock``, and so must an INSERT.
    ``replaced(torn, names)`` is called for each part that was removed, with the parts it had
    replaced: their names, and those that they have now.
    """

    def __init__(
        self,
        run: Callable[[str], str],
        table: str,
        *,
        lock: Any,
        replaced: Callable[[str, Mapping[str, str]], None],
    ) -> None:
        self._run = run
        self._table = table
        self._lock = lock
        self._replaced = replaced
        self._seen = self._failed()
        self._suspect_since: float | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="torn-parts", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Check no more."""
        self._closing.set()
        self._thread.join()

    def check(self) -> None:
        """Raise EngineError if a write failed since the last check, and remove what it tore.

        A merge whose write failed may still be running, and a disk that still fails lets nothing
        be removed. So the checks that follow look again until both are over.
        """
        with self._lock:
            failed = self._failed()
            count = failed - self._seen
            if count:
                self._seen, self._suspect_since = failed, time.monotonic()
                log.error("the engine could not write to disk", extra={"writes": count})
            if self._suspect_since is None:
                return
            merging = self._run(_MERGING.format(time.monotonic() - self._suspect_since))
            self._mend()
            if not int(merging) and self._failed() == failed:
                self._suspect_since = None
            if count:
                raise EngineError(
                    f"{count} writes of the engine failed; is the disk full or broken?"
                )

    def _watch(self) -> None:
        while not self._closing.wait(CHECK_S):
            with contextlib.suppress(EngineError):  # it is in the log
                self.check()

    def _failed(self) -> int:
        return int(self._run(_FAILED) or 0)

    def _mend(self) -> None:
        """Move torn parts aside, those of merges after what they were made of is back."""
        parts = self._parts()
        for part in parts:
            if not part.active or part.whole():
                continue
            sources = [one for one in parts if part.covers(one) and one.whole()]
            sources = [one for one in sources if not any(other.covers(one) for other in sources)]
            names = {source.name: self._attach_again(source) for source in sources}
            self._run(f"ALTER TABLE {self._table} DETACH PART {quote(part.name)}")
            log.error(
                "a part was torn by a failed write and is in the folder detached now",
                extra={"part": part.name, "restored": names},
            )
            self._replaced(part.name, names)

    def _attach_again(self, part: _Part) -> str:
        """Attach a copy, by hard links, of a part that a merge replaced; returns its new name."""
        before = {one.name for one in self._parts() if one.active}
        copy = part.path.parent / "detached" / part.name
        shutil.rmtree(copy, ignore_errors=True)
        copy.mkdir()
        for file in part.path.iterdir():
            os.link(file, copy / file.name)
        self._run(f"ALTER TABLE {self._table} ATTACH PART {quote(part.name)}")
        # The last: a merge may have begun and ended meanwhile.
        new = [one for one in self._parts() if one.name not in before and one.level == part.level]
        return max(new, key=lambda one: one.last).name

    def _parts(self) -> list[_Part]:
        """All parts on disk."""
        lines = self._run(
            "SELECT name, active, partition_id, min_block_number, max_block_number, level, "
            "bytes_on_disk, path FROM system.parts "
            f"WHERE database = currentDatabase() AND table = '{self._table}'"
        )
        found = []
        for line in lines.splitlines():
            name, active, partition, first, last, level, size, path = line.split("\t")
            found.append(
                _Part(
                    name, active == "1", partition, int(first), int(last), int(level), int(size),
                    Path(path),
                )
            )  # fmt: skip
        return found


def _columns_whole(text: bytes) -> bool:
    """Whether ``columns.txt`` has as many lines as it says."""
    lines = text.split(b"\n")
    return len(lines) > 2 and lines[-1] == b"" and len(lines) - 3 == int(lines[1].split()[0])


def _checksums_whole(text: bytes) -> bool:
    """Whether the compressed blocks of ``checksums.txt`` have the lengths in their headers."""
    at = text.find(b"\n") + 1
    if not at:
        return False
    while at < len(text):
        if len(text) < at + 25:
            return False
        at += 16 + int.from_bytes(text[at + 17 : at + 21], "little")
    return at == len(text)
