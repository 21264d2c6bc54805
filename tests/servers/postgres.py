"""PostgreSQL as an operator runs it: a role with a password and a schema of its own; TLS."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import psycopg
from bench.postgres import PostgresError, binaries, unprivileged

from genmeter.config.urls import PostgresqlUrl, Secret, postgresql
from tests.servers.process import HOST, ServerProcess, free_port
from tests.servers.tls import Authority
from tests.support import missing, program

DATABASE = "genmeter"
ROLE = "genmeter"
PASSWORD = "correct-horse-battery-staple"
TLS_NAME = "localhost"

_HBA = """\
local all postgres trust
local all all scram-sha-256
host all all 127.0.0.1/32 scram-sha-256
"""


class Postgres(ServerProcess):
    """A server of its own, in a folder of the user that runs it (it refuses to run as root).

    Tests are skipped where there is none (CI: they fail). ``authority`` has issued the certificate
    it has for ``localhost``.
    """

    def __init__(self) -> None:
        try:
            self._programs, self._user = binaries(), unprivileged()
        except PostgresError:
            missing("PostgreSQL")
        program("openssl")
        super().__init__("postgres", Path(tempfile.mkdtemp(prefix="genmeter-pg-")))
        self.port = free_port()
        self.authority = Authority(self.folder / "tls")
        self._certificate, self._key = self.authority.issue(TLS_NAME)
        self._data = self.folder / "data"
        self._data.mkdir()
        for path in (self.folder, *self.folder.rglob("*")):
            self._give(path)
        self._make()

    def command(self) -> Sequence[str | Path]:
        """The server; syncing is left out, since the machine does not crash in tests."""
        settings = {
            "listen_addresses": HOST,
            "port": self.port,
            "unix_socket_directories": self.folder,
            "fsync": "off",
            "ssl": "on",
            "ssl_cert_file": self._certificate,
            "ssl_key_file": self._key,
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [*self._as_user(), self._programs / "postgres", "-D", self._data, *flags]

    def answers(self) -> bool:
        """Whether the superuser gets in."""
        try:
            self.admin("postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def admin(self, database: str = DATABASE) -> "psycopg.Connection[tuple[object, ...]]":
        """A connection of the superuser, every statement committed by itself."""
        return psycopg.connect(
            host=str(self.folder), port=self.port, user="postgres", dbname=database,
            autocommit=True, connect_timeout=5,
        )  # fmt: skip

    def execute(self, statement: str, database: str = DATABASE) -> None:
        """Run a statement as the superuser."""
        with self.admin(database) as connection:
            connection.execute(statement.encode())

    def clear(self) -> None:
        """Leave the role nothing but an empty schema."""
        self.execute(f"DROP SCHEMA IF EXISTS {ROLE} CASCADE")
        self.execute(f"CREATE SCHEMA {ROLE} AUTHORIZATION {ROLE}")

    def dump(self) -> bytes:
        """All there is in the database, as SQL."""
        return subprocess.run(
            [self._programs / "pg_dump", "-h", self.folder, "-p", str(self.port), "-U", "postgres",
             DATABASE],
            capture_output=True, check=True, timeout=60,
        ).stdout  # fmt: skip

    def address(self, *, user: str = ROLE, host: str = HOST, options: str = "") -> str:
        """Where the database is, as the setting has it."""
        return f"postgresql://{user}@{host}:{self.port}/{DATABASE}{options and '?'}{options}"

    def url(self, *, user: str = ROLE, host: str = HOST, options: str = "") -> PostgresqlUrl:
        """Where the database is."""
        return postgresql(self.address(user=user, host=host, options=options))

    @property
    def secret(self) -> Secret:
        """The password of the role."""
        return Secret(PASSWORD)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a genmeter that has its accounts here."""
        return {
            "GENMETER_ACCOUNTS": self.address(),
            "GENMETER_ACCOUNTS_PASSWORD": PASSWORD,
        }

    def stop(self) -> None:
        """End it without waiting for its clients."""
        self._end(signal.SIGINT)

    def pause(self) -> None:
        """Hold it and the processes that serve its clients still."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let all of it go on."""
        self._signal(signal.SIGCONT)

    def __enter__(self) -> "Postgres":
        try:
            self.start()
            self.execute(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{PASSWORD}'", "postgres")
            self.execute(f"CREATE DATABASE {DATABASE}", "postgres")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            self.resume()
        self.stop()
        shutil.rmtree(self.folder)

    def _signal(self, number: signal.Signals) -> None:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        os.kill(self.pid, number)
        for pid in map(int, children):
            with contextlib.suppress(ProcessLookupError):  # of a connection that ended meanwhile
                os.kill(pid, number)

    def _give(self, path: Path) -> None:
        """Let the server's user alone have ``path``."""
        path.chmod(0o700 if path.is_dir() else 0o600)
        if self._user is not None:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)

    def _as_user(self) -> list[str]:
        if self._user is None:
            return []
        user, group = self._user.pw_uid, self._user.pw_gid
        return [
            "setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups",
            "--pdeathsig", "KILL",
        ]  # fmt: skip

    def _make(self) -> None:
        subprocess.run(
            [*self._as_user(), self._programs / "initdb", f"--pgdata={self._data}",
             "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"],
            capture_output=True, check=True, timeout=120, cwd="/",
        )  # fmt: skip
        (self._data / "pg_hba.conf").write_text(_HBA)
