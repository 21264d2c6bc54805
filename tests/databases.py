"""The databases that accounts can be in, alike for the tests that run on each."""

import os
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Protocol

from genmeter.auth.accounts import Accounts
from genmeter.config.load import load
from tests.servers.postgres import ROLE, Postgres
from tests.support import environment


class Database(Protocol):
    """A database that is empty at first."""

    def open(self) -> Accounts:
        """The accounts in it, once more."""

    def settings(self) -> dict[str, str]:
        """The environment that leads a command to it."""

    def content(self) -> bytes:
        """All there is in it."""

    def execute(self, statement: str) -> None:
        """Run a statement, as somebody who may do everything."""


class InFolder:
    """SQLite in a data folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> Accounts:
        """The accounts in the folder."""
        return Accounts.in_folder(self.folder)

    def settings(self) -> dict[str, str]:
        """The environment with the folder."""
        return environment(GENMETER_DATA=str(self.folder))

    def content(self) -> bytes:
        """The bytes of all files."""
        return b"".join(path.read_bytes() for path in self.folder.rglob("*") if path.is_file())

    def execute(self, statement: str) -> None:
        """Run a statement on the file."""
        with closing(sqlite3.connect(self.folder / "accounts.sqlite3")) as connection:
            connection.execute(statement)
            connection.commit()


class OnServer:
    """The database of a PostgreSQL."""

    def __init__(self, server: Postgres) -> None:
        self.server = server

    def open(self) -> Accounts:
        """The accounts, by more connections."""
        return Accounts.on_server(self.server.url(), self.server.secret)

    def settings(self) -> dict[str, str]:
        """The environment with the address and the password."""
        return environment(**self.server.variables)

    def content(self) -> bytes:
        """The database as SQL."""
        return self.server.dump()

    def execute(self, statement: str) -> None:
        """Run a statement in the schema of the role."""
        self.server.execute(f"SET search_path = {ROLE}; {statement}")


if __name__ == "__main__":  # a process that takes versions, as many as it is told
    values = load("token list", {}, os.environ)
    url, password, data = (values[name] for name in ("accounts", "accounts_password", "data"))
    with closing(Accounts.opened(url, password, data)) as accounts:
        for _ in range(int(sys.argv[1])):
            sys.stdout.write(f"{accounts.next_version(0)}\n")
