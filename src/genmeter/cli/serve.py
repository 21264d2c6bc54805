"""``genmeter serve``: run the service."""

from collections.abc import Callable

import click

from genmeter.cli.options import settings_of
from genmeter.config.load import ServerSettings, load, server_settings
from genmeter.errors import EngineError
from genmeter.server import logs
from genmeter.server import run as server
from genmeter.server.service import Service


@click.command(short_help="Run the service.")
@settings_of("serve")
def command(**flags: str | None) -> None:
    """Run the service.

    It prints one line when it is ready. On SIGTERM or Ctrl-C it finishes requests, stores queued
    records and exits with 0. Logs go to standard error as one JSON object a line.
    """
    settings = server_settings(load("serve", flags))
    logs.set_up(settings.log_level)

    def ready(service: Service, address: str, _stop: Callable[[], None]) -> None:
        click.echo(f"genmeter is ready on {address} with {_records(service, settings)}")

    server.run(settings, ready)


def _records(service: Service, settings: ServerSettings) -> str:
    """The number of records, and where they are."""
    place = str(settings.clickhouse or settings.data)
    try:
        return f"{service.store.count():,} records in {place}"
    except EngineError:
        return f"records in {place}; some servers are unreachable"
