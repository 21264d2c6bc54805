"""What the store has acknowledged, noted beside the engine: its parts, and how many rows each has.

The engine sets a damaged part aside and goes on without it. So it is noted here, outside of it,
which parts there must be. The file has a line for each event, appended and synced before the
records are acknowledged, each with a checksum of its own; a line that a crash cut short was never
part of an acknowledgment. From time to time the file is written anew with what is in force.
"""

import os
import re
import zlib
from bisect import bisect_right
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from genmeter.errors import StartError

MANIFEST: Final = "manifest"
"""The file's name in the data folder."""

PART_NAME: Final = re.compile(r"([0-9]{6})_([0-9]+)_([0-9]+)_([0-9]+)(?:_[0-9]+)?")
"""A part: the UTC month of its records, the first and last insert in it, how often merged."""


class NotedPart(msgspec.Struct, frozen=True, array_like=True, tag="part"):
    """A part of the table of records.

    ``range`` is the engine's file of the least and greatest time in it, in hexadecimal. ``digest``
    stands for the files that never change; it is empty until somebody has looked at them.
    """

    name: Annotated[str, Meta(pattern=rf"^{PART_NAME.pattern}\Z")]
    rows: Annotated[int, Meta(ge=0)]
    range: str = ""
    digest: str = ""

    @property
    def place(self) -> tuple[int, int, int]:
        """Its month as ``YYYYMM``, and the numbers of the first and the last insert in it."""
        found = PART_NAME.fullmatch(self.name)
        if found is None:
            raise ValueError(f"{self.name} is not the name of a part")
        month, first, last, _ = found.groups()
        return int(month), int(first), int(last)


class _Dropped(msgspec.Struct, frozen=True, array_like=True, tag="dropped"):
    """All parts of a month, ``YYYYMM``, are about to go."""

    month: int


class _Damaged(msgspec.Struct, frozen=True, array_like=True, tag="damaged"):
    """A part could not be read."""

    name: str


class _Clock(msgspec.Struct, frozen=True, array_like=True, tag="clock"):
    """A time, in milliseconds since 1970."""

    ms: int


_Event = NotedPart | _Dropped | _Damaged | _Clock


class Manifest:
    """The file at ``path``. Methods may be called from any thread, one at a time.

    ``opened`` reads it. ``parts`` are those that must be there, by name; ``damaged`` those of them
    that could not be read; ``clock_ms`` is the last time noted, in milliseconds since 1970.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.parts: dict[str, NotedPart] = {}
        self.damaged: set[str] = set()
        self.clock_ms: int | None = None
        self.found = False
        """Whether there was a file."""
        self._file: int | None = None
        self._whole = False

    @classmethod
    def opened(cls, path: Path, *, anew: bool = False) -> "Manifest":
        """What the file says. Raises StartError where a line other than the last is damaged.

        With ``anew`` such a line is passed over.
        """
        manifest = cls(path)
        try:
            lines = path.read_bytes().split(b"\n")
        except FileNotFoundError:
            return manifest
        except OSError as error:
            raise StartError(f"cannot read {path}: {error.strerror}") from error
        manifest.found = True
        for number, line in enumerate(lines, 1):
            event = _event(line)
            if event is not None:
                manifest._apply(event)
            elif number < len(lines) and not anew:  # the last is cut short, or empty
                raise StartError(
                    f"{path} is damaged in line {number}, so nobody knows which records there "
                    "must be; restore a backup, or start once with --accept-loss to go on with "
                    "the records that are there"
                )
        return manifest

    def added(self, parts: Iterable[NotedPart]) -> None:
        """Note parts that must be there from now on. Raises OSError; then nothing is noted."""
        self._append(list(parts))

    def dropping(self, month: int) -> None:
        """Note that all parts of a month are about to go."""
        self._append([_Dropped(month)])

    def unreadable(self, name: str) -> None:
        """Note that a part could not be read."""
        self._append([_Damaged(name)])

    def rewritten(self, parts: Collection[NotedPart], clock_ms: int | None) -> None:
        """Replace all by ``parts`` and a time. What was damaged and is still there stays so."""
        names = {part.name for part in parts}
        events: list[_Event] = list(parts)
        events += [_Damaged(name) for name in sorted(self.damaged & names)]
        if clock_ms is not None:
            events.append(_Clock(clock_ms))
        draft = self.path.with_suffix(".new")
        with draft.open("wb") as file:
            file.write(b"".join(map(_line, events)))
            file.flush()
            os.fsync(file.fileno())
        self.close()
        draft.replace(self.path)
        _sync_folder(self.path.parent)
        self.parts, self.damaged, self.clock_ms = {}, set(), None
        for event in events:
            self._apply(event)
        self._whole = self.found = True

    def close(self) -> None:
        """Close the file; the next note opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _append(self, events: Collection[_Event]) -> None:
        """Write events behind the others, on disk when it returns."""
        if not self._whole:  # it may end in half a line, or be on disk in part
            self.rewritten(list(self.parts.values()), self.clock_ms)
        data = b"".join(map(_line, events))
        try:
            if self._file is None:
                self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
            if os.write(self._file, data) != len(data):
                raise OSError(f"{self.path} could not be written to its end")
            os.fdatasync(self._file)
        except OSError:
            self._whole = False
            raise
        for event in events:
            self._apply(event)

    def _apply(self, event: _Event) -> None:
        match event:
            case NotedPart():
                self.parts[event.name] = event
            case _Dropped():
                gone = [part.name for part in self.parts.values() if part.place[0] == event.month]
                for name in gone:
                    del self.parts[name]
                    self.damaged.discard(name)
            case _Damaged():
                self.damaged.add(event.name)
            case _Clock():
                self.clock_ms = event.ms


def missing(noted: Iterable[NotedPart], there: Iterable[NotedPart]) -> list[NotedPart]:
    """Those of ``noted`` that are neither ``there`` nor merged into one that is. Pure."""
    spans: dict[int, list[tuple[int, int]]] = {}
    for part in there:
        month, first, last = part.place
        spans.setdefault(month, []).append((first, last))
    for found in spans.values():
        found.sort()

    def covered(part: NotedPart) -> bool:
        month, first, last = part.place
        found = spans.get(month, [])
        at = bisect_right(found, (first, 1 << 63)) - 1
        return at >= 0 and last <= found[at][1]

    return [part for part in noted if not covered(part)]


def _line(event: _Event) -> bytes:
    text = msgspec.json.encode(event)
    return b"%08x %b\n" % (zlib.crc32(text), text)


_decoder: Final[msgspec.json.Decoder[_Event]] = msgspec.json.Decoder(_Event)


def _event(line: bytes) -> _Event | None:
    """What a line says; None where it is not whole, or says nothing known."""
    sum_, _, text = line.partition(b" ")
    if sum_ != b"%08x" % zlib.crc32(text):
        return None
    try:
        return _decoder.decode(text)
    except ValueError:
        return None


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
