"""Makes calls on files fail in a server process, and rebuilds what a power cut would have kept."""

import mmap
import os
import shutil
import struct
import subprocess
import sys
from enum import Enum, IntEnum, IntFlag
from pathlib import Path
from typing import Final

from tests.support import program

SOURCE: Final = Path(__file__).with_name("shim.c")
_FIELDS: Final = struct.Struct("<IIIIiIII256s256s")


class Call(IntFlag):
    """The calls that a fault can hit."""

    WRITE = 1
    SYNC = 2
    RENAME = 4
    UNLINK = 8
    CREATE = 16
    MKDIR = 32
    TRUNCATE = 64
    LINK = 128


CHANGES: Final = ~Call(0)
"""Every call that changes something on disk."""


class Action(IntEnum):
    """What becomes of a call that is hit."""

    FAIL = 0
    TEAR = 1  # half of a write; any other call fails
    EXIT_BEFORE = 2
    EXIT_AFTER = 3


def build(folder: Path) -> Path:
    """Compile the library, unless ``folder`` has it."""
    library = folder / "faults.so"
    if not library.exists():
        command = [program("gcc"), "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run([*command, "-o", str(library), str(SOURCE), "-ldl", "-lpthread"], check=True)
    return library


def supported() -> bool:
    """Whether the library works here: it knows Linux on 64 bits."""
    return sys.platform == "linux" and sys.maxsize > 2**32


class Names(Enum):
    """Which names of files a power cut keeps; what was in a file is always that of its last fsync.

    POSIX promises only ``SYNCED``: those a folder had at its own last fsync. Filesystems with a
    journal keep ``ORDERED``, what there was when anything was last synced, or more, up to ``ALL``:
    files that were never synced are then there and empty.
    """

    SYNCED = "synced"
    ORDERED = "ordered"
    ALL = "all"


class Shim:
    """The library over one data folder, its files in ``folder`` beside it.

    Both must be on one filesystem. With ``journal`` it notes what a power cut would keep.
    """

    def __init__(self, data: Path, folder: Path, *, journal: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.data = data.resolve()
        self.library = build(folder)
        control = folder / "control"
        control.write_bytes(bytes(_FIELDS.size))
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), _FIELDS.size)
        self.variables: dict[str, str] = {
            "LD_PRELOAD": str(self.library),
            "FAULTS_ROOT": str(self.data),
            "FAULTS_CONTROL": str(control),
        }
        self.journal = Journal(self.data, folder / "journal") if journal else None
        if self.journal is not None:
            self.variables["FAULTS_JOURNAL"] = str(self.journal.folder)

    def arm(
        self,
        calls: Call,
        *,
        error: int = 0,
        skip: int = 0,
        times: int = 1,
        action: Action = Action.FAIL,
        pattern: str = "",
    ) -> None:
        """Hit the calls behind the first ``skip``: ``times`` of them, or all for 0."""
        self.disarm()
        packed = _FIELDS.pack(
            0, int(calls) & 0xFF, skip, times, error, action, 0, 0, pattern.encode(), b""
        )
        self._control[4:] = packed[4:]
        self._control[:4] = struct.pack("<I", 1)

    def disarm(self) -> int:
        """Let all calls pass; returns how many were hit."""
        self._control[:4] = bytes(4)
        return self.hit

    @property
    def seen(self) -> int:
        """How many calls were of the kind that is armed."""
        return int(_FIELDS.unpack(self._control[:])[6])

    @property
    def hit(self) -> int:
        """How many of them were hit."""
        return int(_FIELDS.unpack(self._control[:])[7])

    @property
    def where(self) -> str:
        """The file that the last hit call was on, below the data folder."""
        path: bytes = _FIELDS.unpack(self._control[:])[9]
        return path.rstrip(b"\0").decode(errors="replace").removeprefix(str(self.data))


class Journal:
    """What happened to the files of a folder, in order, each fsync with a copy of the file."""

    def __init__(self, data: Path, folder: Path) -> None:
        self.data, self.folder = data, folder
        self._log = folder / "log"
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "removed").mkdir(parents=True)
        data.mkdir(parents=True, exist_ok=True)
        lines = [f"root\t{data.stat().st_ino}"]
        for number, (path, inode) in enumerate(_tree(data).items()):
            parent = path.parent.stat().st_ino
            if path.is_symlink():
                lines.append(f"link\t{parent}\t{path.name}\t{inode}\t{path.readlink()}")
                continue
            is_folder = path.is_dir()
            lines.append(f"create\t{parent}\t{path.name}\t{inode}\t{is_folder:d}")
            if not is_folder:
                shutil.copyfile(path, folder / f"begin-{number}")
                lines.append(f"file\t{inode}\tbegin-{number}")
        lines += [
            f"folder\t{inode}"
            for inode in {data.stat().st_ino, *(p.stat().st_ino for p in _tree(data) if p.is_dir())}
        ]
        self._log.write_text("".join(line + "\n" for line in lines))

    def position(self) -> int:
        """Where the journal ends now: what was acknowledged by now is in every image from here."""
        return self._log.stat().st_size

    def positions(self) -> list[int]:
        """Every position behind a line."""
        ends, at = [], 0
        for line in self._log.read_bytes().splitlines(keepends=True):
            at += len(line)
            ends.append(at)
        return ends

    def image(self, position: int, target: Path, names: Names) -> None:
        """Make ``target`` what a power cut at ``position`` leaves of the folder."""
        live: dict[str, dict[str, str]] = {}
        synced: dict[str, dict[str, str]] = {}
        ordered: dict[str, dict[str, str]] = {}
        content: dict[str, str] = {}
        links: dict[str, str] = {}
        folders = set()
        root = ""
        lines = self._log.read_bytes()[:position].decode().splitlines()
        syncs = [at for at, line in enumerate(lines) if line.startswith(("file\t", "folder\t"))]
        last_sync = syncs[-1] if syncs else -1
        for at, line in enumerate(lines):
            match line.split("\t"):
                case ["root", inode]:
                    root = inode
                case ["create", parent, name, inode, is_folder]:
                    live.setdefault(parent, {})[name] = inode
                    if is_folder == "1":
                        folders.add(inode)
                case ["link", parent, name, inode, to]:
                    live.setdefault(parent, {})[name] = inode
                    links[inode] = to
                case ["unlink", parent, name]:
                    live.get(parent, {}).pop(name, None)
                case ["rename", parent, name, to_parent, to_name]:
                    live.setdefault(to_parent, {})[to_name] = live[parent].pop(name)
                case ["exchange", parent, name, to_parent, to_name]:
                    one, other = live[parent], live[to_parent]
                    one[name], other[to_name] = other[to_name], one[name]
                case ["file", inode, copy]:
                    content[inode] = copy
                case ["folder", inode]:
                    synced[inode] = dict(live.get(inode, {}))
                case fields:
                    raise AssertionError(f"the journal has {fields}")
            if at == last_sync:
                ordered = {inode: dict(entries) for inode, entries in live.items()}
        kept = {Names.SYNCED: synced, Names.ORDERED: ordered, Names.ALL: live}[names]

        def make(inode: str, path: Path) -> None:
            if inode in folders or inode == root:
                path.mkdir()
                for name, entry in kept.get(inode, {}).items():
                    make(entry, path / name)
            elif inode in links:
                path.symlink_to(links[inode])
            elif inode in content:
                shutil.copyfile(self.folder / content[inode], path)
            else:
                path.touch()

        make(root, target)


def _tree(folder: Path) -> dict[Path, int]:
    """Everything below a folder, parents first, with its inode."""
    found = {}
    for at, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(at) / name
            found[path] = path.lstat().st_ino
    return found
