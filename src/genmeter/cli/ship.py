"""``genmeter ship``: send records that any program has written into files."""

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Final

import click

from genmeter import clock
from genmeter.cli.options import settings_of
from genmeter.config.load import load
from genmeter.errors import SettingsError, StartError
from genmeter.recorder.dead_letters import NAME, DeadLetters
from genmeter.recorder.recorder import BATCH_RECORDS
from genmeter.recorder.sender import Sender, StoppedError
from genmeter.recorder.tail import Tail

POLL_S: Final = 1.0
"""How often files are looked at for new lines, in seconds."""


@click.command(short_help="Send records from NDJSON files that any program writes.")
@click.argument(
    "paths",
    metavar="PATH...",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, path_type=Path),
)
@settings_of("ship")
def command(paths: tuple[Path, ...], **flags: str | None) -> None:
    """Send the records in files of NDJSON, one JSON object a line, or in all such files of folders.

    In a folder these are files ending in .ndjson, .jsonl or .log. Files that rotation has renamed
    (.1, -20260213) are sent as well, unless compressed.

    Each record is stored once, however often this command is stopped or killed. Put the token into
    GENMETER_TOKEN or into a file named by --token-file.

    \b
      genmeter ship /var/log/gateway/jobs.ndjson
      genmeter ship --follow --state /var/lib/genmeter-ship /var/log/gateway

    It ends with 0 when all lines are stored, with 1 when some were rejected or are not complete.
    With --follow it runs until SIGTERM or Ctrl-C.
    """
    values = load("ship", flags)
    if values["token"] is None:
        raise SettingsError(["GENMETER_TOKEN or --token-file is required"])
    # The sender's warnings, such as that the server is away, are for whoever runs this.
    logging.basicConfig(format="genmeter: %(message)s", level=logging.WARNING)
    logging.getLogger("httpx2").setLevel(logging.ERROR)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    state: Path = values["state"]
    stored = 0
    try:
        dead_letters = DeadLetters(state, clock.now_ms)
        sender = Sender(values["url"], values["token"].reveal(), dead_letters, wait=stop.wait)
        with Tail(paths, state, clock.now_ms) as tail, sender:
            while not stop.is_set():
                if batch := tail.read(BATCH_RECORDS):
                    stored += sender.deliver(batch.lines)
                    tail.acknowledge(batch)
                elif values["follow"]:
                    stop.wait(POLL_S)
                else:
                    break
            left = {} if values["follow"] or stop.is_set() else tail.unfinished()
    except StoppedError:
        left = {}
    except OSError as error:
        raise StartError(f"{error.filename or state} cannot be used: {error.strerror}") from error
    click.echo(f"{stored:,} records stored, {dead_letters.count:,} rejected")
    if dead_letters.count:
        click.echo(f"genmeter: the reasons are in {state / NAME}", err=True)
    for path, size in left.items():
        click.echo(
            f"genmeter: {path} ends with a line that is not complete, {size:,} bytes", err=True
        )
    if stop.is_set() and not values["follow"]:
        click.echo("genmeter: stopped before all was sent; the same command goes on", err=True)
        sys.exit(1)
    if left or (dead_letters.count and not values["follow"]):
        sys.exit(1)
