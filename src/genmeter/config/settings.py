"""Every setting in one table: name, default, what it may be, and what it is for.

Passwords and tokens have no flag, since others can see flags; a file may hold one instead. How a
command comes by its values: :mod:`genmeter.config.load`.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from genmeter.config import readers, urls


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """A setting: ``read`` makes its value of a text, or raises ValueError saying what it may be.

    ``defaults`` are of commands that have their own; without one a setting must be given.
    ``needs`` names the setting without which it means nothing. A ``switch`` has a flag without a
    value. A fault repeats the text unless ``confidential``, which is for what may hold a password.
    What is ``secret`` has no flag.
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


OR_IN_A_FILE: Final = ("clickhouse_password", "accounts_password", "token")
"""Secrets of which a second setting names a file."""

_SERVER: Final = ("serve", "demo")
_TOKENS: Final = ("token create", "token list", "token revoke")
_CLICKHOUSE: Final = ("serve", "migrate")
_ACCOUNTS: Final = ("serve", *_TOKENS, "migrate")


def _limit(name: str, default: str, what: str) -> Setting:
    """A limit of the server, which 0 takes away."""
    return Setting(
        name=name,
        read=readers.integer(0, 1_000_000_000),
        default=default,
        metavar="N",
        commands=_SERVER,
        help=f"{what}; 0: no limit.",
    )


SETTINGS: Final = (
    Setting(
        name="host",
        read=readers.text,
        default="127.0.0.1",
        metavar="ADDRESS",
        commands=_SERVER,
        help="Address to listen on; 0.0.0.0 listens on all addresses of this machine.",
    ),
    Setting(
        name="port",
        read=readers.integer(0, 65_535),
        default="8000",
        metavar="PORT",
        commands=_SERVER,
        help="Port to listen on; 0 picks a free one.",
    ),
    Setting(
        name="data",
        read=readers.path,
        default="./genmeter-data",
        metavar="DIR",
        commands=(*_SERVER, *_TOKENS, "backup", "migrate"),
        help="Folder with the records and the tokens; created if missing.",
    ),
    Setting(
        name="from",
        read=readers.path,
        default=None,
        metavar="DIR",
        commands=("migrate",),
        help="Data folder to move records from; a server may be using it.",
    ),
    Setting(
        name="retention_days",
        read=readers.integer(0, 36_500),
        default="92",
        metavar="DAYS",
        commands=_SERVER,
        help="Days to keep records; 0 keeps them forever.",
    ),
    Setting(
        name="queue_rows",
        read=readers.integer(1, 10_000_000),
        default="100000",
        metavar="N",
        commands=_SERVER,
        help="Records that may wait in the write queue; a request beyond that gets 503.",
    ),
    Setting(
        name="readers",
        read=readers.integer(1, 64),
        default="4",
        metavar="N",
        commands=_SERVER,
        help="Queries to run at the same time; further ones wait.",
    ),
    Setting(
        name="query_days",
        read=readers.integer(1, 36_500),
        default="400",
        metavar="N",
        commands=_SERVER,
        help="Longest range of a query, in days.",
    ),
    Setting(
        name="query_groups",
        read=readers.integer(1, 1_000_000),
        default="10000",
        metavar="N",
        commands=_SERVER,
        help="Most groups in a response.",
    ),
    Setting(
        name="query_seconds",
        read=readers.integer(1, 3600),
        default="30",
        metavar="N",
        commands=_SERVER,
        help="Longest time a query may take, in seconds; a longer one is stopped.",
    ),
    Setting(
        name="engine_memory_mb",
        read=readers.integer(256, 1_048_576),
        default="1500",
        metavar="MB",
        commands=(*_SERVER, "migrate"),
        help="Memory the engine may use for all statements together, in MB.",
    ),
    Setting(
        name="engine_threads",
        read=readers.integer(1, 256),
        default="2",
        metavar="N",
        commands=(*_SERVER, "migrate"),
        help="Threads the engine uses for one query.",
    ),
    Setting(
        name="stall_seconds",
        read=readers.integer(1, 3600),
        default="60",
        metavar="SECONDS",
        commands=_SERVER,
        help="Seconds after which a client that reads nothing is disconnected.",
    ),
    Setting(
        name="request_records",
        read=readers.integer(1, 10_000_000),
        default="50000",
        metavar="N",
        commands=_SERVER,
        help="Most records in one request.",
    ),
    Setting(
        name="body_seconds",
        read=readers.integer(1, 3600),
        default="20",
        metavar="SECONDS",
        commands=_SERVER,
        help="Seconds that a request's body may take, and one more for each 64 KiB of it.",
    ),
    Setting(
        name="head_seconds",
        read=readers.integer(1, 3600),
        default="20",
        metavar="SECONDS",
        commands=_SERVER,
        help="Seconds that a request's line and headers may take.",
    ),
    Setting(
        name="idle_seconds",
        read=readers.integer(1, 3600),
        default="75",
        metavar="SECONDS",
        commands=_SERVER,
        help="Seconds after which a connection without a request is closed.",
    ),
    Setting(
        name="trusted_proxies",
        read=readers.networks,
        default="127.0.0.1,::1",
        metavar="ADDRESSES",
        commands=_SERVER,
        help="Addresses and networks of proxies, whose X-Forwarded-For names the client.",
    ),
    _limit("connections", "1000", "Open connections; beyond that the longest idle one is closed"),
    _limit(
        "connections_per_address",
        "250",
        "Open connections of one client address, proxies excepted",
    ),
    _limit(
        "failed_tokens", "60", "Wrong tokens a minute that an address may send before it gets 429"
    ),
    _limit("token_posts", "0", "Posts a second with one token"),
    _limit("account_posts", "0", "Posts a second of one account"),
    _limit("token_records", "0", "Records a second posted with one token"),
    _limit("account_records", "0", "Records a second posted by one account"),
    _limit("token_queries", "0", "Queries a second with one token"),
    _limit("account_queries", "100", "Queries a second of one account"),
    _limit(
        "account_queries_at_once", "32", "Queries of one account that may wait or run at one time"
    ),
    _limit("account_streams", "64", "Live streams of one account at one time"),
    Setting(
        name="spool_mb",
        read=readers.integer(1, 1_048_576),
        default="4096",
        metavar="MB",
        commands=_SERVER,
        help="Disk that responses waiting for slow clients may use, in MB; one account gets half.",
    ),
    Setting(
        name="bots",
        read=readers.bots,
        default="",
        metavar="FILE",
        commands=_SERVER,
        help="TOML file that adds bots to the built-in eleven, and labels of tiers and SKUs.",
    ),
    Setting(
        name="accept_loss",
        read=readers.switch,
        default="no",
        metavar="YES|NO",
        commands=_SERVER,
        switch=True,
        help="Start although acknowledged records, or all tokens, are missing or damaged, and go "
        "on without them. For one start; do not leave it set.",
    ),
    Setting(
        name="log_level",
        read=readers.choice("debug", "info", "warning", "error"),
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
        read=readers.identifier,
        default="",
        metavar="NAME",
        commands=_CLICKHOUSE,
        needs="clickhouse",
        help="Name of the cluster in the servers' configuration.",
    ),
    Setting(
        name="clickhouse_quorum",
        read=readers.integer(0, 16),
        default="0",
        metavar="N",
        commands=_CLICKHOUSE,
        needs="clickhouse",
        help="Replicas that must have a record before it is acknowledged; 0: all healthy ones.",
    ),
    Setting(
        name="clickhouse_timeout_seconds",
        read=readers.integer(1, 3600),
        default="30",
        metavar="SECONDS",
        commands=_CLICKHOUSE,
        needs="clickhouse",
        help="Seconds a server may take to respond, or to send the next part.",
    ),
    Setting(
        name="clickhouse_password",
        read=readers.password,
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
        read=readers.password_file,
        default="",
        metavar="FILE",
        commands=_CLICKHOUSE,
        needs="clickhouse",
        help="File with the password of the ClickHouse user, read at start.",
    ),
    Setting(
        name="clickhouse_ca_file",
        read=readers.file,
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
        read=readers.password,
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
        read=readers.password_file,
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
        commands=("query", "ship"),
        confidential=True,
        help="Server to query or to send to, http[s]://HOST[:PORT][/PATH].",
    ),
    Setting(
        name="token",
        read=readers.token,
        default="",
        metavar="TEXT",
        commands=("query", "ship"),
        confidential=True,
        secret=True,
        help="Token to send, as printed by token create.",
    ),
    Setting(
        name="token_file",
        read=readers.token_file,
        default="",
        metavar="FILE",
        commands=("query", "ship"),
        help="File with the token to send.",
    ),
    Setting(
        name="follow",
        read=readers.switch,
        default="no",
        metavar="YES|NO",
        commands=("ship",),
        switch=True,
        help="Go on with what is written later, until it is stopped.",
    ),
    Setting(
        name="state",
        read=readers.path,
        default="./genmeter-ship",
        metavar="DIR",
        commands=("ship",),
        help="Folder that says how far each file has been sent, with the rejected lines; created "
        "if missing.",
    ),
    Setting(
        name="days",
        read=readers.integer(1, 3650),
        default="90",
        metavar="DAYS",
        commands=("demo",),
        help="Days of sample traffic, up to now.",
    ),
    Setting(
        name="records",
        read=readers.integer(1, 100_000_000),
        default="300000",
        metavar="N",
        commands=("demo",),
        help="Records of sample traffic.",
    ),
    Setting(
        name="seed",
        read=readers.integer(0, 2**31),
        default="1",
        metavar="N",
        commands=("demo",),
        help="Seed of the sample traffic; the same seed makes the same traffic.",
    ),
    Setting(
        name="account",
        read=readers.text,
        default=None,
        metavar="NAME",
        commands=("token create",),
        help="Account the token belongs to.",
    ),
    Setting(
        name="scope",
        read=readers.scopes,
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
        read=readers.days,
        default="",
        metavar="DAYS",
        commands=("token create",),
        help="Days until the token expires; default: never.",
    ),
)
"""All settings. Those without a default must be given; an empty default is no value at all."""
