"""A PostgreSQL server of our own for the peer: found, made, started, and stopped again.

It listens on a Unix socket in a private folder and nowhere else.
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import psycopg

_ROLE = "bench"
_START_S = 120.0
_STOP_S = 120.0

# What a team sets on a machine with a few GB for its database: memory, room in the log for
# writes, costs of a disk without heads, no compiler for queries this short. Everything that
# makes a commit durable stays as it is.
_SETTINGS = {
    "listen_addresses": "",
    "shared_buffers": "1GB",
    "effective_cache_size": "6GB",
    "work_mem": "64MB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "15min",
    "random_page_cost": "1.1",
    "jit": "off",
}


class PostgresError(Exception):
    """Why there is no PostgreSQL to compare with, in one line."""


def binaries() -> Path:
    """The folder of the server's programs; PostgresError where there is none."""
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    if config := shutil.which("pg_config"):
        said = subprocess.run([config, "--bindir"], capture_output=True, text=True, check=False)
        folders.insert(0, Path(said.stdout.strip()))
    for folder in folders:
        # The client library has pg_config too, without a server.
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise PostgresError("there is no PostgreSQL server here; apt-get install postgresql")


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdigit())


@dataclass(frozen=True)
class Databases:
    """The databases that a server serves on the socket in this folder."""

    socket: Path

    def url(self, database: str) -> str:
        """The address of a database for SQLAlchemy."""
        return f"postgresql+psycopg://{_ROLE}@/{database}?host={self.socket}"

    def connect(self, database: str = "postgres") -> "psycopg.Connection[tuple[object, ...]]":
        """A connection where every statement is committed by itself."""
        return psycopg.connect(host=str(self.socket), user=_ROLE, dbname=database, autocommit=True)

    def exists(self, database: str) -> bool:
        """Whether there is such a database."""
        with self.connect() as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database])
            return found.fetchone() is not None

    def make_anew(self, database: str) -> None:
        """An empty database in place of any of that name."""
        self.drop(database)
        with self.connect() as connection:
            connection.execute(f'CREATE DATABASE "{database}"'.encode())

    def drop(self, database: str) -> None:
        """Remove a database if it is there."""
        with self.connect() as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{database}" WITH (FORCE)'.encode())

    def number(self, database: str, statement: str) -> int:
        """The one integer that a SELECT gives."""
        with self.connect(database) as connection:
            found = connection.execute(statement.encode()).fetchone()
            return int(str(found[0])) if found else 0


class Cluster:
    """A server over ``folder``, made there if need be, while the context is open.

    As root it runs as the user ``postgres``, since PostgreSQL refuses to run as root.
    Raises PostgresError where it cannot run.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()
        self._programs = binaries()
        self._user = unprivileged()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket = Path()

    def __enter__(self) -> Databases:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._socket = Path(tempfile.mkdtemp(prefix="genmeter-bench-pg-"))
        try:
            self._give(self._folder)
            self._give(self._socket)
            if not (self._folder / "PG_VERSION").exists():
                self._make()
            self._start()
        except BaseException:
            self._stop()
            raise
        return Databases(self._socket)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def _give(self, folder: Path) -> None:
        """Let the server's user alone have ``folder``."""
        folder.chmod(0o700)
        if self._user is None:
            return
        os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        reached = subprocess.run(["test", "-w", str(folder)], check=False, **self._as())
        if reached.returncode:
            raise PostgresError(
                f"the user {self._user.pw_name} cannot reach {folder}; name another --folder"
            )

    def _as(self) -> dict[str, Any]:
        """Arguments that run a program as the server's user."""
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _make(self) -> None:
        made = subprocess.run(
            [
                str(self._programs / "initdb"),
                f"--pgdata={self._folder}",
                f"--username={_ROLE}",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",  # texts are ordered by their bytes, as the contract's jobids are
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            **self._as(),
        )
        if made.returncode:
            raise PostgresError(f"initdb failed: {made.stderr.strip()}")

    def _start(self) -> None:
        command = [str(self._programs / "postgres"), "-D", str(self._folder)]
        for name, value in {**_SETTINGS, "unix_socket_directories": str(self._socket)}.items():
            command += ["-c", f"{name}={value}"]
        log = self._folder / "server.log"
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                # Ctrl-C is for us; we stop it in our own order.
                start_new_session=True,
                **self._as(),
            )
        until = time.monotonic() + _START_S
        while True:
            try:
                Databases(self._socket).connect().close()
                return
            except psycopg.OperationalError as error:
                if self._process.poll() is not None or time.monotonic() > until:
                    raise PostgresError(f"PostgreSQL did not start; its log is {log}") from error
                time.sleep(0.05)

    def _stop(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)  # its "fast" way: clients are cut off
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait()
        shutil.rmtree(self._socket, ignore_errors=True)


def unprivileged() -> pwd.struct_passwd | None:
    """The user to run as, or None for ourselves."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError as error:
        raise PostgresError("as root it takes a user named postgres to run it") from error
