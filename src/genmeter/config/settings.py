"""Every setting in one table: name, default, what it may be, and what it is for.

Passwords and tokens have no flag, since others can see flags; a file may hold one instead. How a
command comes by its values: :mod:`genmeter.config.load`.
"""

import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from genmeter.config import urls
from genmeter.config.urls import IDENTIFIER, TOKEN, Secret
from genmeter.model.bots import ELEVEN, Bots


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting: ``read`` makes its value of a text, or raises ValueError saying what it may be.

    ``defaults`` are of commands that have their own; without one a setting must be given.
    ``needs`` names the setting without which it means nothing. A ``switch`` has a flag without a
    value. A fault repeats the text unless
    ``confidential``, which is for what may hold a password. What is ``secret`` has no flag.
    """

    name: str
    read: Callable[[str], Any]
    default: str | None
    help: str
    commands: tuple[str, ...]
    metavar: str
    defaults: Mapping[str, str | None] = {}
    needs: str | None = None
    confidential: bool = False
    secret: bool = False
    switch: bool = False

    def default_of(self, command: str) -> str | None:
        """The default in one command."""
        return self.defaults.get(command, self.default)

    @property
    def flag(self) -> str:
        """The name on the command line."""
        return "--" + self.name.replace("_", "-")

    @property
    def variable(self) -> str:
        """The name in the environment."""
        return "GENMETER_" + self.name.upper()

    @property
    def label(self) -> str:
        """How people set it first: by its flag, or by its variable where it has none."""
        return self.variable if self.secret else self.flag


_DIGITS: Final = re.compile(r"[0-9]{1,18}")


def _integer(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if _DIGITS.fullmatch(text.strip()) and least <= int(text) <= most:
            return int(text)
        raise ValueError(f"an integer from {least} to {most}")

    return read


def _days(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 36_500:
        raise ValueError("a number of days, more than 0 and at most 36500")
    return value


def _switch(text: str) -> bool:
    if text not in ("yes", "no"):
        raise ValueError("yes or no")
    return text == "yes"


def _choice(*allowed: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"one of {', '.join(allowed)}")
        return text

    return read


def _scopes(text: str) -> tuple[str, ...]:
    scopes = tuple(part.strip() for part in text.split(","))
    if not set(scopes) <= {"read", "write", "admin"}:
        raise ValueError("one or more of read, write, admin, separated by commas")
    return scopes


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("a text that is not empty")
    return text


def _path(text: str) -> Path:
    return Path(_text(text))


def _identifier(text: str) -> str:
    if not IDENTIFIER.fullmatch(text):
        raise ValueError("letters, digits and _, no digit first")
    return text


def _file(text: str) -> Path:
    try:
        with Path(text).open("rb") as file:
            file.read(1)
    except (OSError, ValueError) as error:
        raise ValueError("a file that can be read") from error
    return Path(text)


def _bots(text: str) -> Bots:
    """The contract's bots and those of a TOML file."""
    try:
        document = tomllib.loads(Path(text).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"a TOML file that can be read ({error})") from error
    try:
        return ELEVEN.extended(document)
    except ValueError as error:
        raise ValueError(f"a file of bots without faults ({error})") from error


def _password(text: str) -> Secret:
    if not text or any(mark in text for mark in "\r\n\0"):
        raise ValueError("one line that is not empty")
    return Secret(text)


def _password_file(text: str) -> Secret:
    """The password in a file, without the line end behind it."""
    try:
        content = Path(text).read_bytes().decode()
        return _password(content.removesuffix("\n").removesuffix("\r"))
    except (OSError, ValueError) as error:
        raise ValueError("a file with one line in it, the password, that can be read") from error


def _token(text: str) -> Secret:
    if not TOKEN.fullmatch(text):
        raise ValueError("a token as token create prints it")
    return Secret(text)


def _token_file(text: str) -> Secret:
    """The token in a file, without what is blank around it."""
    try:
        return _token(Path(text).read_bytes().decode().strip())
    except (OSError, ValueError) as error:
        raise ValueError("a file with a token in it that can be read") from error


OR_IN_A_FILE: Final = ("clickhouse_password", "accounts_password", "token")
"""Secrets of which a second setting names a file."""

_SERVER: Final = ("serve", "demo")
_TOKENS: Final = ("token create", "token list", "token revoke")
_CLICKHOUSE: Final = ("serve", "migrate")
_ACCOUNTS: Final = ("serve", *_TOKENS, "migrate")

SETTINGS: Final = (
    Setting(
        name="host",
        read=_text,
        default="127.0.0.1",
        metavar="ADDRESS",
        commands=_SERVER,
        help="Address to listen on; 0.0.0.0 listens on all addresses of this machine.",
    ),
    Setting(
        name="port",
        read=_integer(0, 65_535),
        default="8000",
        metavar="PORT",
        commands=_SERVER,
        help="Port to listen on; 0 picks a free one.",
    ),
    Setting(
        name="data",
        read=_path,
        default="./genmeter-data",
        metavar="DIR",
        commands=(*_SERVER, *_TOKENS, "backup", "migrate"),
        help="Folder with the records and the tokens; created if missing.",
    ),
    Setting(
        name="from",
        read=_path,
        default=None,
        metavar="DIR",
        commands=("migrate",),
        help="Data folder to move records from; a server may be using it.",
    ),
    Setting(
        name="retention_days",
        read=_integer(0, 36_500),
        default="92",
        metavar="DAYS",
        commands=_SERVER,
        help="Days to keep records; 0 keeps them forever.",
    ),
    Setting(
        name="queue_rows",
        read=_integer(1, 10_000_000),
        default="100000",
        metavar="N",
        commands=_SERVER,
        help="Records that may wait in the write queue; a request beyond that gets 503.",
    ),
    Setting(
        name="readers",
        read=_integer(1, 64),
        default="4",
        metavar="N",
        commands=_SERVER,
        help="Queries to run at the same time; further ones wait.",
    ),
    Setting(
        name="query_days",
        read=_integer(1, 36_500),
        default="400",
        metavar="N",
        commands=_SERVER,
        help="Longest range of a query, in days.",
    ),
    Setting(
        name="query_groups",
        read=_integer(1, 1_000_000),
        default="10000",
        metavar="N",
        commands=_SERVER,
        help="Most groups in a response.",
    ),
    Setting(
        name="query_seconds",
        read=_integer(1, 3600),
        default="30",
        metavar="N",
        commands=_SERVER,
        help="Longest time a query may take, in seconds; a longer one is stopped.",
    ),
    Setting(
        name="engine_memory_mb",
        read=_integer(256, 1_048_576),
        default="1500",
        metavar="MB",
        commands=(*_SERVER, "migrate"),
        help="Memory the engine may use for all statements together, in MB.",
    ),
    Setting(
        name="engine_threads",
        read=_integer(1, 256),
        default="2",
        metavar="N",
        commands=(*_SERVER, "migrate"),
        help="Threads the engine uses for one query.",
    ),
    Setting(
        name="stall_seconds",
        read=_integer(1, 3600),
        default="60",
        metavar="SECONDS",
        commands=_SERVER,
        help="Seconds after which a client that reads nothing is disconnected.",
    ),
    Setting(
        name="bots",
        read=_bots,
        default="",
        metavar="FILE",
        commands=_SERVER,
        help="TOML file that adds bots to the built-in eleven, and labels of tiers and SKUs.",
    ),
    Setting(
        name="accept_loss",
        read=_switch,
        default="no",
        metavar="YES|NO",
        commands=_SERVER,
        switch=True,
        help="Start although acknowledged records, or all tokens, are missing or damaged, and go "
        "on without them. For one start; do not leave it set.",
    ),
    Setting(
        name="log_level",
        read=_choice("debug", "info", "warning", "error"),
        default="info",
        metavar="LEVEL",
        commands=_SERVER,
        defaults={"demo": "warning"},
        help="Lowest level to log: debug, info, warning (default of the demo) or error.",
    ),
    Setting(
        name="clickhouse",
        read=urls.clickhouse,
        default="",
        metavar="URL",
        commands=_CLICKHOUSE,
        defaults={"migrate": None},
        confidential=True,
        help="ClickHouse that holds the records, http[s]://[USER@]HOST[:PORT],.../DATABASE; "
        "default: the data folder.",
    ),
    Setting(
        name="clickhouse_cluster",
        read=_identifier,
        default="",
        metavar="NAME",
        commands=_CLICKHOUSE,
        needs="clickhouse",
        help="Name of the cluster in the servers' configuration.",
    ),
    Setting(
        name="clickhouse_quorum",
        read=_integer(0, 16),
        default="0",
        metavar="N",
        commands=_CLICKHOUSE,
        needs="clickhouse",
        help="Replicas that must have a record before it is acknowledged; 0: all healthy ones.",
    ),
    Setting(
        name="clickhouse_timeout_seconds",
        read=_integer(1, 3600),
        default="30",
        metavar="SECONDS",
        commands=_CLICKHOUSE,
        needs="clickhouse",
        help="Seconds a server may take to respond, or to send the next part.",
    ),
    Setting(
        name="clickhouse_password",
        read=_password,
        default="",
        metavar="TEXT",
        commands=_CLICKHOUSE,
        needs="clickhouse",
        confidential=True,
        secret=True,
        help="Password of the ClickHouse user.",
    ),
    Setting(
        name="clickhouse_password_file",
        read=_password_file,
        default="",
        metavar="FILE",
        commands=_CLICKHOUSE,
        needs="clickhouse",
        help="File with the password of the ClickHouse user, read at start.",
    ),
    Setting(
        name="clickhouse_ca_file",
        read=_file,
        default="",
        metavar="FILE",
        commands=_CLICKHOUSE,
        needs="clickhouse",
        help="Certificate authority (PEM) to trust for https instead of the system's.",
    ),
    Setting(
        name="accounts",
        read=urls.postgresql,
        default="",
        metavar="URL",
        commands=_ACCOUNTS,
        confidential=True,
        help="PostgreSQL that holds the tokens, postgresql://USER@HOST/DATABASE[?...]; "
        "default: the data folder.",
    ),
    Setting(
        name="accounts_password",
        read=_password,
        default="",
        metavar="TEXT",
        commands=_ACCOUNTS,
        needs="accounts",
        confidential=True,
        secret=True,
        help="Password of the PostgreSQL user.",
    ),
    Setting(
        name="accounts_password_file",
        read=_password_file,
        default="",
        metavar="FILE",
        commands=_ACCOUNTS,
        needs="accounts",
        help="File with the password of the PostgreSQL user, read at start.",
    ),
    Setting(
        name="url",
        read=urls.service,
        default="http://127.0.0.1:8000",
        metavar="URL",
        commands=("query",),
        confidential=True,
        help="Server to query, http[s]://HOST[:PORT][/PATH].",
    ),
    Setting(
        name="token",
        read=_token,
        default="",
        metavar="TEXT",
        commands=("query",),
        confidential=True,
        secret=True,
        help="Token to send, as printed by token create.",
    ),
    Setting(
        name="token_file",
        read=_token_file,
        default="",
        metavar="FILE",
        commands=("query",),
        help="File with the token to send.",
    ),
    Setting(
        name="days",
        read=_integer(1, 3650),
        default="90",
        metavar="DAYS",
        commands=("demo",),
        help="Days of sample traffic, up to now.",
    ),
    Setting(
        name="records",
        read=_integer(1, 100_000_000),
        default="300000",
        metavar="N",
        commands=("demo",),
        help="Records of sample traffic.",
    ),
    Setting(
        name="seed",
        read=_integer(0, 2**31),
        default="1",
        metavar="N",
        commands=("demo",),
        help="Seed of the sample traffic; the same seed makes the same traffic.",
    ),
    Setting(
        name="account",
        read=_text,
        default=None,
        metavar="NAME",
        commands=("token create",),
        help="Account the token belongs to.",
    ),
    Setting(
        name="scope",
        read=_scopes,
        default=None,
        metavar="SCOPE",
        commands=("token create",),
        help="Scopes of the token: read, write, admin, or several separated by commas.",
    ),
    Setting(
        name="name",
        read=str,
        default="",
        metavar="TEXT",
        commands=("token create",),
        help="Name of the token; default: the account's name.",
    ),
    Setting(
        name="expires",
        read=_days,
        default="",
        metavar="DAYS",
        commands=("token create",),
        help="Days until the token expires; default: never.",
    ),
)
"""All settings. Those without a default must be given; an empty default is no value at all."""
