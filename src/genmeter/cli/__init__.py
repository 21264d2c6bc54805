"""The ``genmeter`` command: its manual, and where each command lives.

A command's module is imported when the command is called: making a token does not load the
engine, and reading needs nothing of the server.
"""

import importlib
import sys
from typing import Any, Final

import click

from genmeter import __version__
from genmeter.config.settings import SETTINGS
from genmeter.errors import GenmeterError, SettingsError

_COMMANDS: Final = {
    "serve": "genmeter.cli.serve",
    "demo": "genmeter.cli.demo",
    "token": "genmeter.cli.token",
    "query": "genmeter.cli.query",
    "ship": "genmeter.cli.ship",
    "backup": "genmeter.cli.backup",
    "migrate": "genmeter.cli.migrate",
}

_INTERRUPTED: Final = 130  # what a shell reports of a program that Ctrl-C ended

_MANUAL: Final = """Usage statistics for gateways to generative-AI services.

A gateway records each job with POST /v2/account/stats; its customers query how their jobs went
with GET /v2/account/stats. Both send a token, which you create here. A running server documents
its routes at /docs.

\b
  genmeter demo                                      try it with sample traffic
  genmeter token create --account acme --scope read,write
  genmeter serve                                     run the service
  genmeter query --last 7d --group-by model          query metrics from any machine
  genmeter ship --follow /var/log/gateway.ndjson     send records from files
  genmeter backup /backups/today                     copy the data while it runs
  genmeter migrate --from DIR --clickhouse URL       move to ClickHouse servers

Set each of the settings below with a flag or in the environment: --port is GENMETER_PORT. A flag
beats the environment, and the environment beats the default. Passwords and the token of a query
come from the environment or from files, never from flags.
"""


class _Commands(click.Group):
    """Finds commands by name and imports only the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the commands, in the order of the manual."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name; one clear line where a part it needs is not installed."""
        if cmd_name not in _COMMANDS:
            return None
        try:
            command: click.Command = importlib.import_module(_COMMANDS[cmd_name]).command
        except ModuleNotFoundError as error:
            if str(error.name).startswith("genmeter"):
                raise
            raise click.ClickException(
                f"{cmd_name} needs the server's parts ({error.name} is missing); "
                "install them with: pip install 'genmeter[server]'"
            ) from error
        return command

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of all settings, so that this page is the whole manual."""
        with formatter.section("Settings (flag, environment, default)"):
            formatter.write_dl(
                [
                    (
                        setting.label if setting.secret else f"{setting.flag} {setting.metavar}",
                        f"{setting.help} [{', '.join(setting.commands)}] "
                        + ("environment only" if setting.secret else setting.variable)
                        + (f", default {setting.default}" if setting.default else ""),
                    )
                    for setting in SETTINGS
                ]
            )

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error made on purpose is a line for people and an exit code."""
        try:
            return super().invoke(ctx)
        except GenmeterError as error:
            faults = error.faults if isinstance(error, SettingsError) else (str(error),)
            for fault in faults:
                click.echo(f"genmeter: {fault}", err=True)
            sys.exit(error.exit_code)
        except KeyboardInterrupt:
            sys.exit(_INTERRUPTED)


@click.group(cls=_Commands, help=_MANUAL, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="genmeter")
def main() -> None:
    """The command itself; all work is in its commands."""
