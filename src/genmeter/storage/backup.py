"""Copies of a data folder, taken while the service runs.

Parts of the engine's tables are never written again once they have their name, and stay for a
minute after a merge has replaced them. So hard links to all files, made within that minute, are a
copy of one moment up to the last few inserts, whatever the service does meanwhile. Tokens that
are in the folder are copied by SQLite's own backup.
"""

import fcntl
import os
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Final

from genmeter.errors import GenmeterError

_LINK_SECONDS: Final = 45.0
"""Well within the minute for which replaced parts stay."""

_SNAPSHOT: Final = ".snapshot-"
"""What copies are called until they have their place: a name that nobody gives to a backup."""

_NOT_COPIED: Final = frozenset({"lock", "status", "incoming.ndjson", "tmp"})
"""What belongs to the process over the folder; the engine locks ``status`` and writes into it."""


def backup(data: Path, target: Path) -> int:
    """Copy the folder ``data`` to ``target``, which must not exist; returns the bytes in it.

    Restoring is serving the copy, or a copy of it. On the same file system the copy shares its
    blocks with the original until one of the two goes. Raises GenmeterError.
    """
    if target.exists():
        raise GenmeterError(f"{target} exists; name a folder that does not")
    with snapshot(data) as copy:
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(copy, target)
        except OSError as error:
            raise GenmeterError(f"cannot copy to {target}: {error.strerror or error}") from error
    os.sync()
    return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())


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
        copy.mkdir()
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
    target.mkdir()
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
