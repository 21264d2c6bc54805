"""``genmeter backup``: copy a data folder, also while the server runs."""

from pathlib import Path

import click

from genmeter.cli.options import settings_of
from genmeter.config.load import load
from genmeter.storage.backup import backup


@click.command(short_help="Copy the data folder while a server uses it.")
@click.argument("target", metavar="TARGET", type=click.Path(path_type=Path))
@settings_of("backup")
def command(target: Path, **flags: str | None) -> None:
    """Copy the data folder to TARGET, a new folder. A server may be running.

    To restore, run serve with --data TARGET or a copy of it.
    """
    values = load("backup", flags)
    size = backup(values["data"], target)
    click.echo(f"{target} holds a copy of {values['data']}, {size / 1e6:,.1f} MB")
