"""Whether all that was acknowledged is there, and whole: at the start, and every minute after.

The engine sets aside a part that it cannot load, and goes on. Here the parts that there are get
compared with those that must be there (:mod:`genmeter.storage.manifest`). What can be made good
is; for the rest the operator decides, with ``--accept-loss``.
"""

import hashlib
import logging
import shutil
import struct
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from genmeter.errors import EngineError, StartError
from genmeter.storage.engine.base import Engine, table
from genmeter.storage.manifest import PART_NAME, Manifest, NotedPart, missing
from genmeter.storage.sql import maintenance

log = logging.getLogger(__name__)

_RANGE: Final = "minmax_neg_ms.idx"
_SPARE: Final = frozenset({
    "checksums.txt",
    "metadata_version.txt",
    "default_compression_codec.txt",
    "txn_version.txt",
})  # fmt: skip
"""Files of a part that the engine makes where they are missing."""
_CHECKED: Final = _SPARE | {"columns_substreams.txt"}
"""Files that may change, and whose damage the engine finds by itself."""


class Fault(msgspec.Struct, frozen=True):
    """A part whose records cannot be answered with, and why."""

    part: NotedPart
    why: str


class Integrity:
    """Compares the parts of ``engine`` with a manifest. Methods may be called from any thread.

    ``accept_loss`` says that the operator wants to go on without what is missing or damaged.
    """

    def __init__(self, engine: Engine, manifest: Manifest, *, accept_loss: bool = False) -> None:
        self._engine = engine
        self._manifest = manifest
        self._accept_loss = accept_loss
        self._lock = threading.Lock()
        self._problem = ""
        self._folder = Path()
        self._last = 0
        self._dropping: set[int] = set()  # under way
        self._dropped: set[int] = set()  # since the manifest began to be written anew
        self._replaced: list[tuple[str, Mapping[str, str]]] = []  # not noted yet
        engine.replaced = self.replaced

    def start(self) -> None:
        """Check all parts, once the tables are there. Raises StartError where records are lost."""
        self._folder = Path(self._engine.fetch(maintenance.READ_TABLE_FOLDER).decode().strip())
        there = self._there()
        noted = self._manifest.parts or {part.name: part for part in self._set_aside()}
        faults = list(self._faults(noted, there))
        left = [fault for fault in faults if not self._recover(fault.part)]
        if left and not self._accept_loss:
            raise StartError(_told(left))
        for fault in left:
            log.error(
                "records are lost",
                extra={"part": fault.part.name, "about": fault.part.rows, "why": fault.why},
            )
            if fault.part.name in self._names():
                self._engine.execute(maintenance.detach(fault.part.name))
        self._engine.damaged.clear()
        self._note_all(self._manifest.clock_ms)
        # The engine numbers its inserts on from all folders, also those of dropped months, which
        # stay for a minute. None of them is an insert from now on.
        folders = filter(PART_NAME.fullmatch, (path.name for path in self._folder.iterdir()))
        self._last = max([self._last, *(NotedPart(name, 0).place[2] for name in folders)])

    def inserted(self, months: Collection[int]) -> None:
        """Note the parts of an INSERT that has ended, one for each of ``months`` (``YYYYMM``).

        They are noted on disk when it returns. Raises EngineError.
        """
        with self._lock:
            try:
                parts = self._predicted(months) or self._listed(months)
                self._manifest.added(parts)
            except (OSError, ValueError) as error:
                raise EngineError(f"cannot note what was inserted: {error}") from error
            self._last = max(part.place[2] for part in parts)

    def replaced(self, torn: str, names: Mapping[str, str]) -> None:
        """Note that the engine removed a part whose write had failed.

        Nothing of it was acknowledged, or what it was merged from is back, by new ``names``.
        """
        with self._lock:
            self._replaced.append((torn, names))
        with suppress(EngineError, OSError):  # the next look tries again
            self._note_replaced()

    def _note_replaced(self) -> None:
        if not self._replaced:
            return
        there = self._there()
        with self._lock:
            gone = {torn for torn, _ in self._replaced}
            back: dict[str, str] = {}
            for _, names in self._replaced:
                back |= names
            parts = [part for part in self._manifest.parts.values() if part.name not in gone]
            # One that was noted may have become part of one that is back.
            parts = missing(parts, [NotedPart(name, 0) for name in back])
            parts += [
                NotedPart(name, there[name], *_looked_at(self._folder / name))
                for name in back.values()
                if name in there
            ]
            self._manifest.rewritten(parts, self._manifest.clock_ms)
            # The folders of what was replaced are still there, and no inserts of now.
            known = [NotedPart(name, 0).place[2] for name in (*gone, *back, *back.values())]
            self._last = max(self._last, *known)
            self._replaced.clear()

    @contextmanager
    def dropping(self, month: int) -> Iterator[None]:
        """To be held while a month is dropped: what is missing of it then was meant to go.

        Raises EngineError where that cannot be noted.
        """
        with self._lock:
            try:
                self._manifest.dropping(month)
            except OSError as error:
                raise EngineError(f"cannot note that a month is dropped: {error}") from error
            self._dropping.add(month)
            self._dropped.add(month)
        try:
            yield
        finally:
            with self._lock:
                self._dropping.discard(month)

    def look(self, clock_ms: int) -> None:
        """Compare again, and note what there is now, with the time."""
        with suppress(OSError):
            self._note_replaced()
        with self._lock:
            noted = dict(self._manifest.parts)
        there = self._there()
        faults = [
            fault
            for fault in self._faults(noted, there)
            if fault.part.name in self._manifest.parts  # its month may have been dropped meanwhile
            and (fault.part.name not in there or fault.part.name in self._names())
        ]
        if faults:
            told = _told(faults)
            if told != self._problem:
                log.error("records are damaged", extra={"detail": told})
            self._problem = told
        else:
            self._note_all(clock_ms)

    @property
    def clock_ms(self) -> int | None:
        """The time that was noted last, in milliseconds since 1970."""
        return self._manifest.clock_ms

    @property
    def problem(self) -> str:
        """What is wrong with the records, in one line; empty where nothing is known to be."""
        if self._engine.damaged:
            parts = [NotedPart(name, 0) for name in self._engine.damaged]
            return _told([Fault(part, "cannot be read") for part in parts])
        return self._problem

    def close(self, clock_ms: int) -> None:
        """Note what there is at the end."""
        with suppress(EngineError, OSError):  # the next start sees whatever is wrong
            self.look(clock_ms)
        self._manifest.close()

    def _note_all(self, clock_ms: int | None) -> None:
        """Write the manifest anew: what there is, and what has changed while that was asked."""
        with self._lock:
            before = set(self._manifest.parts)
            self._dropped &= self._dropping
        there = self._there()
        parts = [
            NotedPart(name, rows, *_looked_at(self._folder / name)) for name, rows in there.items()
        ]
        with self._lock:
            parts = [part for part in parts if part.place[0] not in self._dropped]
            new = [part for name, part in self._manifest.parts.items() if name not in before]
            parts += missing(new, parts)
            for name in self._engine.damaged & set(there):
                self._manifest.damaged.add(name)
            self._manifest.rewritten(parts, clock_ms)

    def _there(self) -> dict[str, int]:
        """The parts that the engine answers from, with their rows."""
        return {
            name: int(rows) for name, rows in table(self._engine.fetch(maintenance.READ_ACTIVE))
        }

    def _names(self) -> Collection[str]:
        return self._there().keys()

    def _faults(self, noted: Mapping[str, NotedPart], there: Mapping[str, int]) -> Iterator[Fault]:
        """What is not as it was noted."""
        active = [NotedPart(name, rows) for name, rows in there.items()]
        for part in missing(noted.values(), active):
            if not _from_sources(part, active):
                yield Fault(part, "is missing")
        for name, part in noted.items():
            if name not in there:
                continue
            try:
                digest = _looked_at(self._folder / name)[1]
            except OSError as error:
                yield Fault(part, f"has a file that cannot be read: {error.strerror}")
                continue
            if there[name] != part.rows or part.digest not in ("", digest):
                yield Fault(part, "has files that were altered")
            elif name in self._manifest.damaged and not self._readable(name):
                yield Fault(part, "cannot be read")

    def _readable(self, name: str, rows: int | None = None) -> bool:
        """Whether all of a part can be read, and has so many rows."""
        try:
            count, _ = next(table(self._engine.fetch(maintenance.read_part(name))))
        except EngineError:
            return False
        return rows in (None, int(count))

    def _set_aside(self) -> Iterator[NotedPart]:
        """What the engine set aside as broken before there was a manifest."""
        for folder in sorted((self._folder / "detached").glob("broken-on-start_*")):
            if found := PART_NAME.search(folder.name):
                try:
                    rows = int((folder / "count.txt").read_text(encoding="ascii"))
                except (OSError, ValueError):
                    rows = 0
                yield NotedPart(found[0], rows)

    def _recover(self, part: NotedPart) -> bool:
        """Make a part good from what is left of it and what was noted; whether that went well.

        Files that say again what is known otherwise are made anew. Then the part must be the one
        that was noted, and readable to its last byte.
        """
        detached = self._folder / "detached"
        names = self._names()
        try:
            if part.name in names:
                self._engine.execute(maintenance.detach(part.name))
                (detached / part.name).rename(detached / f"broken-on-start_{part.name}")
            for broken in sorted(detached.glob(f"*_{part.name}*")):
                named = PART_NAME.search(broken.name)
                if named and named[0] == part.name and self._attached(part, broken):
                    shutil.rmtree(broken)
                    log.warning("a damaged part was made good", extra={"part": part.name})
                    return True
        except (EngineError, OSError) as error:
            log.debug("a part cannot be made good: %s", error, extra={"part": part.name})
        return False

    def _attached(self, part: NotedPart, broken: Path) -> bool:
        """Whether a mended copy of ``broken`` was attached and can be read."""
        draft = broken.with_name(part.name)
        names = set(self._names())
        try:
            _mend(part, broken, draft)
            if part.digest not in ("", _looked_at(draft)[1]):
                raise ValueError("a file that cannot be made anew is damaged")
            self._engine.execute(maintenance.attach(part.name))
            (name,) = set(self._names()) - names
        except (EngineError, OSError, ValueError) as error:
            log.debug("a part cannot be attached: %s", error, extra={"part": part.name})
            shutil.rmtree(draft, ignore_errors=True)
            return False
        if self._readable(name, part.rows or None):
            return True
        self._engine.execute(maintenance.detach(name))
        shutil.rmtree(broken.with_name(name), ignore_errors=True)
        return False

    def _predicted(self, months: Collection[int]) -> list[NotedPart]:
        """The parts of an insert by the names that they should have; none where one is missing."""
        found = []
        wanted = set(months)
        for number in range(self._last + 1, self._last + 1 + len(months)):
            for month in wanted:
                if part := _part(self._folder / f"{month}_{number}_{number}_1"):
                    found.append(part)
                    wanted.discard(month)
                    break
        return [] if wanted else found

    def _listed(self, months: Collection[int]) -> list[NotedPart]:
        """The parts of all inserts since the last one noted, by looking at all folders there are.

        An insert that failed half-way may have left some as well.
        """
        found: dict[tuple[int, int, int], NotedPart] = {}
        for folder in sorted(self._folder.iterdir()):
            if not PART_NAME.fullmatch(folder.name):
                continue
            place = NotedPart(folder.name, 0).place
            if place[1] == place[2] > self._last and (part := _part(folder)):
                found[place] = part
        if absent := set(months) - {month for month, _, _ in found}:
            raise ValueError(f"there is no new part of {', '.join(map(str, sorted(absent)))}")
        return list(found.values())


def _part(folder: Path) -> NotedPart | None:
    """A part as its small files tell it; None where there is none."""
    try:
        rows = int((folder / "count.txt").read_bytes())
        return NotedPart(folder.name, rows, (folder / _RANGE).read_bytes().hex())
    except FileNotFoundError:
        return None


def _looked_at(folder: Path) -> tuple[str, str]:
    """The range of a part, and a digest of its files: of data how much it is, of others all."""
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(folder.iterdir()):
        if path.name in _CHECKED:
            continue
        digest.update(path.name.encode())
        if path.suffix == ".bin":
            digest.update(b"%d;" % path.stat().st_size)
        else:
            digest.update(hashlib.blake2b(path.read_bytes()).digest())
    return (folder / _RANGE).read_bytes().hex(), digest.hexdigest()


def _mend(part: NotedPart, broken: Path, draft: Path) -> None:
    """Make ``draft`` a copy of a broken part in which what is known is right."""
    month, _, _ = part.place
    known = {"partition.dat": struct.pack("<I", month)}
    if part.rows:
        known["count.txt"] = b"%d" % part.rows
    if part.range:
        known[_RANGE] = bytes.fromhex(part.range)
    draft.mkdir()
    for file in broken.iterdir():
        if file.name not in _SPARE and file.name not in known:
            (draft / file.name).hardlink_to(file)
    for name, content in known.items():
        (draft / name).write_bytes(content)


def _from_sources(part: NotedPart, there: Collection[NotedPart]) -> bool:
    """Whether what a part was merged from is there in its place, as it is for a minute."""
    month, first, last = part.place
    inside = [
        one
        for one in there
        if one.place[0] == month and first <= one.place[1] and one.place[2] <= last
    ]
    return (
        bool(inside)
        and min(one.place[1] for one in inside) == first
        and max(one.place[2] for one in inside) == last
        and sum(one.rows for one in inside) >= part.rows
    )


def _told(faults: Collection[Fault]) -> str:
    """All faults in one line, and what to do."""
    months: dict[int, list[Fault]] = {}
    for fault in faults:
        months.setdefault(fault.part.place[0], []).append(fault)
    texts = []
    for month, found in sorted(months.items()):
        rows = sum(fault.part.rows for fault in found)
        about = (
            f"about {rows:,} record{'s' * (rows > 1)}" if rows else "an unknown number of records"
        )
        parts = ", ".join(f"{fault.part.name} {fault.why}" for fault in found[:3])
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        texts.append(f"{month // 100}-{month % 100:02d}: {about} ({parts}{more})")
    return (
        f"acknowledged records are missing or damaged: {'; '.join(texts)}; restore a backup, "
        "or start once with --accept-loss to go on without them"
    )
