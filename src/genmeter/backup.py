"""A copy of a data folder, taken while the service runs.

Parts of the engine's tables are never written again once they have their name, and stay for a
minute after a merge has replaced them. So hard links to all files, made within that minute, are a
copy of one moment up to the last few inserts, whatever the service does meanwhile. Tokens that
are in the folder are copied by SQLite's own backup.
"""

import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Final

from genmeter.errors import GenmeterError

_LINK_SECONDS: Final = 45.0
"""Well within the minute for which replaced parts stay."""

_NOT_COPIED: Final = frozenset({"lock", "incoming.ndjson", "tmp"})


def backup(data: Path, target: Path) -> int:
    """Copy the folder ``data`` to ``target``, which must not exist; returns the bytes in it.

    Restoring is serving the copy, or a copy of it. On the same file system the copy shares its
    blocks with the original until one of the two goes. Raises GenmeterError.
    """
    if not (data / "engine").is_dir():
        raise GenmeterError(f"{data} is no data folder: there is no engine in it")
    if target.exists():
        raise GenmeterError(f"{target} exists; name a folder that does not")
    staging = data / f"backup-{os.getpid()}"
    staging.mkdir()
    try:
        started = time.monotonic()
        _link(data / "engine", staging / "engine")
        if time.monotonic() - started > _LINK_SECONDS:
            raise GenmeterError("linking took too long for a sure copy; try when less is going on")
        if (data / "accounts.sqlite3").exists():  # not where they are in PostgreSQL
            with (
                closing(sqlite3.connect(data / "accounts.sqlite3")) as source,
                closing(sqlite3.connect(staging / "accounts.sqlite3")) as copy,
            ):
                source.backup(copy)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(staging, target)
    except OSError as error:
        raise GenmeterError(f"cannot copy to {target}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    os.sync()
    return sum(file.stat().st_size for file in target.rglob("*") if file.is_file())


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
