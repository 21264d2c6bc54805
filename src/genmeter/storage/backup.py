"""Copies of a data folder, taken while the service runs.

Parts of the engine's tables are never written again once they have their name, and stay for a
minute after a merge has replaced them. So hard links to all files, made within that minute, are a
copy of one moment up to the last few inserts, whatever the service does meanwhile. Tokens that
are in the folder are copied by SQLite's own backup.
"""

import fcntl
import hashlib
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from genmeter.errors import GenmeterError, StartError
from genmeter.storage.manifest import MANIFEST, PART_NAME, Manifest, NotedPart, missing

SUMS: Final = "SHA256SUMS"
"""The checksums' name in a backup."""

_LINK_SECONDS: Final = 45.0
"""Well within the minute for which replaced parts stay."""

_SNAPSHOT: Final = ".snapshot-"
"""What copies are called until they have their place: a name that nobody gives to a backup."""

_NOT_COPIED: Final = frozenset({"lock", "status", "incoming.ndjson", "tmp"})
"""What belongs to the process over the folder; the engine locks ``status`` and writes into it."""


def backup(data: Path, target: Path) -> int:
    """Copy the folder ``data`` to ``target``, which must not exist; returns the bytes in it.

    Restoring is serving the copy, or a copy of it. On the same file system the copy shares its
    blocks with the original until one of the two goes. Raises GenmeterError, also where records
    are missing.
    """
    if target.exists():
        raise GenmeterError(f"{target} exists; name a folder that does not")
    with snapshot(data) as copy:
        _check_parts(copy)
        try:
            lines = [f"{_sum(copy / name)}  {name}\n" for name in _files(copy)]
            (copy / SUMS).write_text("".join(lines), encoding="utf-8")
            target.parent.mkdir(parents=True, exist_ok=True)
            moved = copy.stat().st_dev != target.parent.stat().st_dev
            shutil.move(copy, target)
        except OSError as error:
            raise GenmeterError(f"cannot copy to {target}: {error.strerror or error}") from error
    os.sync()
    if moved and (faults := _differences(target)):
        raise GenmeterError(f"{target} is not what was copied: {_named(faults)}")
    return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())


def verify_restored(data: Path) -> bool:
    """Check a backup that is to be used for the first time; whether ``data`` is one.

    Its checksums go then, since its files are about to change. Raises StartError.
    """
    if not (data / SUMS).exists():
        return False
    try:
        faults = _differences(data)
        if faults:
            raise StartError(
                f"{data} is a damaged backup: {_named(faults)}; use another, or remove {SUMS} "
                "from it to use it as it is"
            )
        (data / SUMS).unlink()
    except OSError as error:
        raise StartError(f"cannot check the backup {data}: {error}") from error
    return True


def _files(folder: Path) -> list[str]:
    """The files of a backup, as texts that are relative to it."""
    found = []
    for path, folders, names in os.walk(folder):  # follows no links
        folders.sort()
        found += [str((Path(path) / name).relative_to(folder)) for name in sorted(names)]
    return [name for name in found if name != SUMS]


def _sum(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _differences(folder: Path) -> list[str]:
    """The files of a backup that are not what their checksum says."""
    faults = []
    for line in (folder / SUMS).read_text(encoding="utf-8").splitlines():
        sum_, _, name = line.partition("  ")
        try:
            if _sum(folder / name) != sum_:
                faults.append(f"{name} was altered")
        except FileNotFoundError:
            faults.append(f"{name} is missing")
    return faults


def _named(faults: list[str]) -> str:
    more = f" and {len(faults) - 3} more" if len(faults) > 3 else ""
    return ", ".join(faults[:3]) + more


def _check_parts(copy: Path) -> None:
    """Raise GenmeterError where a part is not in a copy that must be."""
    there = [
        NotedPart(folder.name, 0)
        for folder in copy.glob("engine/store/*/*/*")
        if PART_NAME.fullmatch(folder.name)
    ]
    if lost := missing(Manifest.opened(copy / MANIFEST).parts.values(), there):
        raise GenmeterError(
            f"acknowledged records are missing: {_named([part.name for part in lost])}; "
            "no backup was made; start the service to see what is missing and what to do"
        )


@contextmanager
def snapshot(data: Path) -> Iterator[Path]:
    """A copy of the folder ``data`` that is there while the context lasts.

    An engine may be opened over it: it makes new files and removes some, and changes none that
    are linked. The copy is inside the folder, since what is beside it may be another file system
    or another user's. One that a crash left there goes with the next. Raises GenmeterError.
    """
    if not (data / "engine").is_dir():
        raise GenmeterError(f"{data} is no data folder: there is no engine in it")
    copy = data / f"{_SNAPSHOT}{os.getpid()}"
    try:
        for left in data.glob(f"{_SNAPSHOT}*"):
            with suppress(FileNotFoundError), _held(left) as alone:
                if alone:
                    shutil.rmtree(left, ignore_errors=True)
        copy.mkdir(mode=0o700)
    except OSError as error:
        raise GenmeterError(f"cannot copy {data}: {error.strerror or error}") from error
    with _held(copy):
        try:
            _copy(data, copy)
            yield copy
        finally:
            shutil.rmtree(copy, ignore_errors=True)


def _copy(data: Path, copy: Path) -> None:
    try:
        if (data / MANIFEST).exists():  # before the parts, so that none is in it that is not copied
            shutil.copyfile(data / MANIFEST, copy / MANIFEST)
        started = time.monotonic()
        _link(data / "engine", copy / "engine")
        if time.monotonic() - started > _LINK_SECONDS:
            raise GenmeterError(
                "linking took too long for a consistent copy; "
                "try again when the server is less busy"
            )
        if (data / "accounts.sqlite3").exists():  # not where they are in PostgreSQL
            with (
                closing(sqlite3.connect(data / "accounts.sqlite3")) as source,
                closing(sqlite3.connect(copy / "accounts.sqlite3")) as tokens,
            ):
                source.backup(tokens)
    except (OSError, sqlite3.Error) as error:
        raise GenmeterError(f"cannot copy {data}: {error}") from error


@contextmanager
def _held(folder: Path) -> Iterator[bool]:
    """Hold a folder; False where another process does. The kernel lets go of it at the end."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
        except BlockingIOError:
            alone = False
        yield alone
    finally:
        os.close(number)


def _link(source: Path, target: Path) -> None:
    """Make ``target`` a tree of hard links to the files below ``source``."""
    target.mkdir(mode=0o700)
    for entry in os.scandir(source):
        to = target / entry.name
        if entry.name in _NOT_COPIED or entry.name.startswith("tmp_"):
            continue
        try:
            if entry.is_symlink():
                to.symlink_to(Path(entry.path).readlink())
            elif entry.is_dir():
                _link(Path(entry.path), to)
            else:
                to.hardlink_to(entry.path)
        except FileNotFoundError:  # a part that a merge replaced a minute ago; its heir is there
            continue
