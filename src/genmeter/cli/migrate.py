"""``genmeter migrate``: move an embedded store up to ClickHouse servers."""

import signal
import sys
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import click

from genmeter.auth.accounts import Accounts
from genmeter.cli.options import settings_of
from genmeter.config.load import load
from genmeter.errors import EngineError, GenmeterError
from genmeter.server import logs
from genmeter.storage.backup import snapshot
from genmeter.storage.engine.cluster import ClickHouse
from genmeter.storage.engine.embedded import Embedded
from genmeter.storage.migration import Migration


@click.command(short_help="Move a data folder's records to ClickHouse servers.")
@settings_of("migrate")
def command(**flags: str | None) -> None:
    """Move the records of a data folder to ClickHouse servers, also while it is in use.

    Takes the flags that serve will be run with. Records are sent by accounts and months, and
    compared afterwards; run it again to go on where it stopped, or to bring what is new. Tokens
    are copied to PostgreSQL with --accounts, or to the folder of --data where that is another.
    The folder itself stays as it is.
    """
    values = load("migrate", flags)
    logs.set_up("warning")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        migration = _migrate(values)
    except EngineError as error:
        reason = str(error).splitlines()[0]
        raise GenmeterError(f"stopped: {reason}; what has arrived stays, run it again") from error
    except KeyboardInterrupt as error:
        raise GenmeterError("interrupted; what has arrived stays, run it again") from error
    found, wrong = migration.found, migration.wrong
    copied = migration.sent - wrong.keys()
    there = found.keys() - migration.sent - wrong.keys()
    accounts = len({account for account, _ in found})
    click.echo(
        f"{sum(found.values()):,} records of {accounts:,} accounts: {len(copied):,} months of "
        f"accounts copied, {len(there):,} were there, {len(wrong):,} do not match"
    )
    for (account, month), difference in sorted(wrong.items()):
        click.echo(f"genmeter: {account}, {month // 100}-{month % 100:02}: {difference}", err=True)
    if wrong:
        sys.exit(1)


def _migrate(values: dict[str, Any]) -> Migration:
    with ExitStack() as opened:
        copy = opened.enter_context(snapshot(values["from"]))
        memory_mb, threads = values["engine_memory_mb"], values["engine_threads"]
        target = ClickHouse(
            values["clickhouse"],
            password=values["clickhouse_password"],
            cluster=values["clickhouse_cluster"] or "",
            quorum=values["clickhouse_quorum"],
            ca_file=values["clickhouse_ca_file"],
            timeout_s=values["clickhouse_timeout_seconds"],
            memory_mb=memory_mb,
            threads=threads,
        )
        opened.callback(target.close)
        # Reading waits for the target, so it may take as long as it likes.
        source = Embedded(copy / "engine", memory_mb=memory_mb, threads=threads, seconds=0)
        opened.callback(source.close)
        migration = Migration(source, target)
        accounts = opened.enter_context(
            closing(
                Accounts.opened(values["accounts"], values["accounts_password"], values["data"])
            )
        )
        accounts.raise_version(migration.last_version)
        click.echo(_tokens(values, copy, accounts))
        with click.progressbar(
            length=migration.records, label="records", file=sys.stderr
        ) as progress:
            for records in migration.run():
                progress.update(records)
        return migration


def _tokens(values: dict[str, Any], copy: Path, accounts: Accounts) -> str:
    """Copy the tokens where they are to be in another place; says what became of them."""
    folder, data = values["from"], values["data"]
    if values["accounts"] is None and data.samefile(folder):
        return f"the tokens stay in {data}; serve with --data {data}, or migrate with --accounts"
    if not (copy / "accounts.sqlite3").exists():
        return f"there are no tokens in {folder}"
    with closing(Accounts.in_folder(copy)) as theirs:
        copied, known = accounts.take_over(theirs)
    place = "PostgreSQL" if values["accounts"] else data
    return f"{copied:,} tokens copied to {place}, {known:,} were there"
