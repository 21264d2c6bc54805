"""What tests of migrations share: a data folder with odd records, servers, and all the answers."""

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genmeter.clock import month_ms, utc_date
from genmeter.model.bots import ELEVEN
from tests.servers.clickhouse import ClickHouse
from tests.support import NOON_MS, Client, Process, genmeter, job

ACCOUNTS = ("acme", "Zed", "a.b_c@d+e-f")
TIMES = (
    *(month_ms(month)[0] + n for month in (202512, 202601, 202602) for n in (-1, 0)),
    5_000,
    NOON_MS,
)
"""The edges of months; the first seconds of 1970, which some functions take for days; and more."""

DAYS = sorted({utc_date(ms) for ms in TIMES})
TEXTS = ("plain", 'quo"te', "back\\slash", '\\n \\" \\\\', "é日本😀", "'", "{},[]", "\u2028", " ")
UNITS = len(ACCOUNTS) * 5
"""Months of accounts: 1970-01, 2025-11, 2025-12, 2026-01 and 2026-02 of each."""

FOR_EVER = ("--retention-days", "0")


def records(account: str) -> list[dict[str, Any]]:
    """Records of an account, of all bots and times, with all that a text may hold."""
    number = 0
    made = []
    for bot in ELEVEN.names:
        for ms in TIMES:
            texts = [TEXTS[(number + n) % len(TEXTS)] for n in range(8)]
            names = ("config", "endpoint", "status", "func", "model", "captchaProviders", "tier")
            fields: dict[str, Any] = dict(zip(names, texts, strict=False))
            if number % 3:
                fields |= {"func": "", "model": "", "tier": "", "captchaRetry": number % 5}
            jobid = f"{texts[7]}-{number}"
            made.append(job(ms, bot=bot, jobid=jobid, account=account, msec=number) | fields)
            number += 1
    return made


@dataclass
class Source:
    """A data folder, an admin's token, and what is answered from it."""

    data: Path
    token: str
    answers: dict[str, bytes]

    def copy(self, folder: Path) -> "Source":
        """The same in another folder, to do with as one likes."""
        shutil.copytree(self.data, folder, symlinks=True)
        return Source(folder, self.token, self.answers)


@dataclass
class Target:
    """Servers, one of each shard, a database on them, and the environment that leads there."""

    servers: Sequence[ClickHouse]
    database: str
    variables: dict[str, str]

    def query(self, statement: str) -> list[str]:
        """The answers of all shards."""
        return [server.query(statement, database=self.database) for server in self.servers]

    def rows(self) -> int:
        """How many rows are stored, equal ones more than once; 0 before there is a table."""
        known = f"SELECT count() FROM system.tables WHERE database = '{self.database}'"
        if any(int(tables) < 2 for tables in self.query(known)):
            return 0
        return sum(map(int, self.query("SELECT count() FROM records")))

    def migrate(self, data: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
        """Run the command to its end; the accounts are the folder's, or where the flags say."""
        variables = {"GENMETER_DATA": str(data)} | self.variables
        return genmeter("migrate", "--from", str(data), *flags, **variables)

    def serve(self, data: Path) -> Process:
        """The service over the target."""
        return Process(data, *FOR_EVER, variables=self.variables)


def ask(
    server: Process,
    token: str,
    accounts: Sequence[str] = ACCOUNTS,
    bots: Sequence[str] = ELEVEN.names,
) -> dict[str, bytes]:
    """The answers to all questions, without empty lines between rows."""
    client = Client(server.base_url, token)
    answers = {}
    with client.http:
        for account in accounts:
            for bot in bots:
                for more in ("limit=50000", "limit=3", *(f"date={day}" for day in DAYS)):
                    question = f"account={account.replace('+', '%2B')}&bot={bot}&{more}"
                    response = client.http.get(f"/v2/account/stats?{question}")
                    assert response.status_code == 200, server.log()
                    lines = response.content.split(b"\n")
                    answers[question] = b"\n".join(filter(None, lines))
    return answers


def state(data: Path) -> dict[str, tuple[int, int, str]]:
    """Every file of a folder with its size, its time and what is in it."""
    return {
        str(path.relative_to(data)): (
            path.stat().st_size,
            path.stat().st_mtime_ns,
            hashlib.sha256(path.read_bytes()).hexdigest(),
        )
        for path in data.rglob("*")
        if path.is_file()
    }


def told(done: "subprocess.CompletedProcess[str]") -> list[str]:
    """The lines for people on standard error, without the progress."""
    return [line for line in done.stderr.splitlines() if line.startswith("genmeter: ")]


def summary(copied: int, there: int, wrong: int = 0) -> str:
    """The last line of a migration of the whole source."""
    count = sum(len(records(account)) for account in ACCOUNTS)
    return (
        f"{count} records of 3 accounts: {copied} months of accounts copied, "
        f"{there} were there, {wrong} do not match"
    )
