"""``genmeter query``: ask a service for figures or records, from anywhere."""

import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import msgspec

from genmeter.cli import plot, table
from genmeter.cli.options import settings_of
from genmeter.cli.text import Look, in_time
from genmeter.client import FORMATS, Client, Format, Resource, format_of
from genmeter.config.load import load, no_color
from genmeter.errors import BadRequestError, GenmeterError, SettingsError, UnauthorizedError
from genmeter.query.parameters import split
from genmeter.query.selection import DIMENSIONS

F = TypeVar("F", bound=Callable[..., Any])

_FIELDS: Final = tuple(name for name in DIMENSIONS if name not in ("account", "bot"))
_INTERVALS: Final = ("1m", "5m", "15m", "1h", "1d", "1w", "1mo")
_OF_A_TABLE: Final = 100
"""Records that a table shows where no limit is given: people read it."""

_BESIDE_A_PLOT: Final = 12
"""About how many columns the scale of a plot takes."""

_PIPE_CLOSED: Final = 141  # what a shell reports of a program that SIGPIPE ended

_OPTIONS: Final = (
    # name, metavar, several values, help
    ("bot", "BOT", True, "Only jobs of these bots; default: all."),
    ("last", "SPAN", False, "Range up to now: 90m, 24h, 7d, 4w; default: 24h."),
    ("from", "WHEN", False, "Start: a date, a time with an offset, or epoch milliseconds."),
    ("to", "WHEN", False, "End, not included; default: now."),
    ("timezone", "ZONE", False, "Time zone of days, such as Europe/Vienna; default: UTC."),
    ("min_msec", "MSEC", False, "Only jobs that took at least this long."),
    ("max_msec", "MSEC", False, "Only jobs that took at most this long."),
    ("metrics", "METRIC", True, "Metrics to show: jobs, success_rate, p95, ... (see --list)."),
    ("group_by", "FIELD", True, "Group by up to three fields."),
    ("interval", "SPAN", False, "Time bucket: auto, 1m, 5m, 15m, 1h, 1d, 1w or 1mo."),
    ("order", "NAME", True, "Sort by these; -NAME descends. With --rows: oldest."),
    ("top", "N", False, "Show the first N groups, and all others as one."),
    ("compare", "previous", False, "Compare with the period before."),
    ("account", "ACCOUNT", True, "Query another account; needs a token with the admin scope."),
    ("limit", "N", False, f"With --rows: at most N; a table has {_OF_A_TABLE} by default."),
    ("cursor", "CURSOR", False, "With --rows: continue after the page before."),
    ("escape", "formulas", False, "In CSV: mark texts that a spreadsheet would run."),
)


def _question(function: F) -> F:
    """Give a command the parameters of the API as options."""
    for name in ("bot", "account", *_FIELDS):
        words = re.sub(r"([A-Z])", r"-\1", name).lower()
        for negation in ("", "not_"):
            if negation or name in _FIELDS:
                flags = {f"--{negation}{spelled}".replace("_", "-") for spelled in (name, words)}
                function = click.option(
                    *flags, f"field_{negation}{name}", multiple=True, hidden=True
                )(function)
    for name, metavar, several, text in reversed(_OPTIONS):
        flag = "--" + name.replace("_", "-")
        function = click.option(
            flag, f"field_{name}", metavar=metavar, multiple=several, help=text
        )(function)
    return function


@click.command(short_help="Query metrics or records of a server from any machine.")
@_question
@click.option("--rows", is_flag=True, help="List records instead of metrics.")
@click.option(
    "--list", "list_", is_flag=True, help="List the available fields, values and metrics."
)
@click.option("--plot", "plot_", is_flag=True, help="Draw a plot; over time with --interval.")
@click.option("--json", "json_", is_flag=True, help="Print the server's response as it is.")
@click.option("--csv", is_flag=True, help="Print CSV.")
@click.option(
    "-o",
    "--output",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help=f"Write to a file ending in .{', .'.join(FORMATS)} and verify its checksum.",
)
@settings_of("query")
def command(
    rows: bool,
    list_: bool,
    plot_: bool,
    json_: bool,
    csv: bool,
    output: Path | None,
    url: str | None,
    token_file: str | None,
    **fields: str | tuple[str, ...] | None,
) -> None:
    """Query metrics about jobs, or list the records.

    Put the token into GENMETER_TOKEN or into a file named by --token-file.

    \b
      genmeter query --last 7d --group-by model --metrics jobs,success_rate,p95
      genmeter query --last 24h --interval auto --plot
      genmeter query --from 2026-07-01 --to 2026-08-01 --compare previous
      genmeter query --rows --code 4xx --not-code 429 --last 24h
      genmeter query --rows --from 2026-07-01 --to 2026-08-01 -o july.parquet

    Filter jobs with --FIELD PATTERN and --not-FIELD PATTERN, where FIELD is config, endpoint,
    status, func, code, model, tier, sku, captcha-provider, captcha-retry or jobid; --not-bot works
    too. A pattern is an exact value, a prefix followed by *, or (empty); a code may also be 2xx.
    Separate several patterns with commas or repeat the option to match any of them. A backslash
    escapes a comma, a star or a backslash. Filters on different fields must all match.

    On a terminal a table is cut to its width; in a pipe or a file it is complete. Exit codes: 0,
    1 if the server refused, 2 if the command is wrong.
    """
    asked = _asked(fields)
    _check(rows=rows, list_=list_, plot_=plot_, json_=json_, csv=csv, output=output)
    if list_ and asked.keys() - {"account"}:
        raise click.UsageError("--list goes with --account and --json alone")
    if plot_ and (times := plot.TIMES.intersection(asked.get("metrics", ()))):
        raise click.UsageError(f"--plot draws numbers, not {' and '.join(sorted(times))}")
    values = load("query", {"url": url, "token_file": token_file})
    if values["token"] is None:
        raise SettingsError(["GENMETER_TOKEN or --token-file is required"])
    resource: Resource = "rows" if rows else "query"
    with _telling(), Client(values["url"], values["token"].reveal()) as client:
        if output:
            _save(client, output, resource, asked)
        elif list_:
            answer = client.meta(asked.get("account"))
            if json_:
                click.echo(msgspec.json.encode(answer).decode())
            else:
                _print(table.meta(answer, _look()))
        elif json_ or csv:
            _pass_on(client, resource, "json" if json_ else "csv", asked)
        elif rows:
            page = client.page({"limit": _OF_A_TABLE} | asked)
            _print(table.records(page, _look()))
            if page["has_more"] and asked.keys() & {"limit", "cursor"}:
                click.echo(f"the next ones: --cursor {page['next_cursor']}")
        elif plot_:
            look = _look()
            _print(plot.plotted(_fitting(client, {"metrics": "jobs"} | asked, look), look))
        else:
            _print(table.metrics(client.query(asked), _look()))


def _check(
    *, rows: bool, list_: bool, plot_: bool, json_: bool, csv: bool, output: Path | None
) -> None:
    """Raise UsageError for outputs that exclude each other."""
    outputs = [
        flag
        for flag, given in (
            ("--plot", plot_),
            ("--json", json_),
            ("--csv", csv),
            ("--output", output),
        )
        if given
    ]
    if len(outputs) > 1:
        raise click.UsageError(f"{' and '.join(outputs)} exclude each other; choose one")
    if rows and plot_:
        raise click.UsageError("--plot draws figures, not --rows")
    if list_ and (rows or [flag for flag in outputs if flag != "--json"]):
        raise click.UsageError("--list goes with --account and --json alone")
    if output:
        try:
            format_of(output)
        except ValueError as error:
            raise click.UsageError(f"--output must be {error}, not {output.name}") from error


def _asked(fields: Mapping[str, str | tuple[str, ...] | None]) -> dict[str, list[str]]:
    """The parameters that were given; several values are between commas, as in an address."""
    asked = {}
    for key, given in fields.items():
        name = key.removeprefix("field_")
        if isinstance(given, str):
            asked[name] = [given]
        elif given:
            asked[name] = [value for text in given for value in split(text) if value]
    return asked


def _fitting(client: Client, asked: Mapping[str, Any], look: Look) -> Any:
    """An answer whose columns fit beside each other where the interval may be chosen."""
    answer = client.query(asked)
    if asked.get("interval") != ["auto"] or not answer.get("groups"):
        return answer
    room = (look.columns or 80) - _BESIDE_A_PLOT
    longer = list(_INTERVALS[_INTERVALS.index(answer["query"]["interval"]) + 1 :])
    while longer and len(in_time(group["start"] for group in answer["groups"])) > room:
        answer = client.query(answer["query"] | {"interval": longer.pop(0)})
    return answer


def _save(client: Client, output: Path, resource: Resource, asked: Mapping[str, Any]) -> None:
    # A file that was begun is removed by whatever ends the command.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        saved = client.export(output, resource, None, asked)
    except OSError as error:
        raise GenmeterError(f"cannot write {output}: {error.strerror or error}") from error
    what = ("record" if resource == "rows" else "line") + ("" if saved.rows == 1 else "s")
    click.echo(f"{output} holds {saved.rows:,} {what}, {saved.size:,} bytes")


def _pass_on(client: Client, resource: Resource, format_: Format, asked: Mapping[str, Any]) -> None:
    """The bytes of an answer as they come; an error where they are not what was sent."""
    with client.stream(resource, format_, asked) as body:
        last = b"\n"
        for block in body:
            sys.stdout.buffer.write(block)
            last = block[-1:] or last
        if last != b"\n":
            sys.stdout.buffer.write(b"\n")
        sys.stdout.buffer.flush()


def _print(lines: Iterable[str]) -> None:
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure:
        reconfigure(errors="replace")
    for line in lines:
        sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _look() -> Look:
    """What standard output can show."""
    terminal = sys.stdout.isatty()
    try:
        "─█░…".encode(sys.stdout.encoding or "ascii")
        unicode = True
    except (UnicodeEncodeError, LookupError):
        unicode = False
    return Look(
        columns=shutil.get_terminal_size().columns if terminal else None,
        unicode=unicode,
        bold=terminal and not no_color(),
    )


@contextmanager
def _telling() -> Iterator[None]:
    """Errors and ends of all kinds, as lines for people and exit codes."""
    try:
        yield
    except BadRequestError as error:
        for fault in error.faults:
            click.echo(f"genmeter: {fault}", err=True)
        sys.exit(error.exit_code)
    except UnauthorizedError as error:
        raise GenmeterError(
            f"{error}: the server does not know the token, or it has ended"
        ) from error
    except BrokenPipeError:
        # Whoever reads has enough. Nothing is left to be flushed into the closed pipe.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(_PIPE_CLOSED)
