"""Addresses of the servers genmeter talks to, read strictly, and passwords that do not show.

An address never holds a password: addresses are seen in ``ps``, in shells' histories and in
configuration that is passed around. No fault found here repeats any of the text, since what is
malformed may well be a password.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec

IDENTIFIER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
CLICKHOUSE_FORM: Final = "http[s]://[USER@]HOST[:PORT][,HOST[:PORT]...]/DATABASE"
POSTGRESQL_FORM: Final = (
    "postgresql://USER@HOST[:PORT][,HOST[:PORT]...]/DATABASE[?OPTION=VALUE&...]"
)
SERVICE_FORM: Final = "http[s]://HOST[:PORT][/PATH]"
POSTGRESQL_OPTIONS: Final = (
    "application_name", "channel_binding", "gssencmode", "host", "keepalives",
    "keepalives_count", "keepalives_idle", "keepalives_interval", "krbsrvname",
    "load_balance_hosts", "port", "require_auth", "ssl_max_protocol_version",
    "ssl_min_protocol_version", "sslcert", "sslcrl", "sslcrldir", "sslkey", "sslmode",
    "sslnegotiation", "sslrootcert", "sslsni", "target_session_attrs",
)  # fmt: skip
"""What may follow the question mark: libpq's options that say whom to trust and how to reach it."""

TOKEN: Final = re.compile(r"[!-~]{1,500}")
"""What a token may be made of, as far as a header can carry it."""

_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?\.?")
_PATH: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@%/-]*")
_PORT: Final = re.compile(r"[0-9]{1,5}")

Hosts = tuple[tuple[str, int], ...]
"""Names or addresses (IPv6 without brackets), each with its port."""


class Secret:
    """A password, which only :meth:`reveal` shows: not its repr, not a log line, no fault."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The password itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)


class ClickHouseUrl(msgspec.Struct, frozen=True, kw_only=True):
    """Where a ClickHouse is: the servers of ``hosts`` by HTTP, or by HTTPS where ``secure``."""

    secure: bool
    user: str = "default"
    hosts: Hosts
    database: str

    def __str__(self) -> str:
        """The database and where it is, for people."""
        hosts = ", ".join(f"{host}:{port}" for host, port in self.hosts)
        return f"{self.database} on {hosts}"


class PostgresqlUrl(msgspec.Struct, frozen=True, kw_only=True):
    """Where a PostgreSQL is. ``options`` are libpq's, by name.

    Without ``hosts`` the option ``host`` names the folder of a local server's socket.
    """

    user: str
    hosts: Hosts
    database: str
    options: dict[str, str] = {}


def clickhouse(text: str) -> ClickHouseUrl:
    """The address of a ClickHouse. Raises ValueError saying what it may be, without ``text``."""
    scheme, rest = _scheme(text, ("http", "https"), CLICKHOUSE_FORM)
    user, place = _user(rest, "GENMETER_CLICKHOUSE_PASSWORD or --clickhouse-password-file")
    hosts, slash, database = place.partition("/")
    if not slash or not IDENTIFIER.fullmatch(database):
        raise ValueError(
            f"{CLICKHOUSE_FORM}; DATABASE is letters, digits and _, no digit first, "
            "and nothing follows it"
        )
    return ClickHouseUrl(
        secure=scheme == "https",
        user="default" if user is None else user,
        hosts=_hosts(hosts, 8443 if scheme == "https" else 8123),
        database=database,
    )


def postgresql(text: str) -> PostgresqlUrl:
    """The address of a PostgreSQL. Raises ValueError saying what it may be, without ``text``."""
    _, rest = _scheme(text, ("postgresql",), POSTGRESQL_FORM)
    user, place = _user(rest, "GENMETER_ACCOUNTS_PASSWORD or --accounts-password-file")
    place, _, query = place.partition("?")
    authority, _, database = place.partition("/")
    database = _unquoted(database, "DATABASE")
    if user is None or not database:
        raise ValueError(f"{POSTGRESQL_FORM}; USER and DATABASE are needed")
    options = _options(query)
    local = bool({"host", "port"} & set(options))
    if local and (authority or not options.get("host", "").startswith("/")):
        raise ValueError(
            f"{POSTGRESQL_FORM}; the options host and port are for the folder of a local server's "
            "socket and its number, in place of HOST"
        )
    return PostgresqlUrl(
        user=user,
        hosts=() if local else _hosts(authority, 5432),
        database=database,
        options=options,
    )


def service(text: str) -> str:
    """The address of a genmeter, without a slash at its end.

    Raises ValueError saying what it may be, without ``text``.
    """
    _, rest = _scheme(text, ("http", "https"), SERVICE_FORM)
    authority, _, path = rest.partition("/")
    if "@" in authority:
        raise ValueError(f"{SERVICE_FORM} alone; who asks is told by the token")
    _host(authority, "host", 0)
    if not _PATH.fullmatch(path):
        raise ValueError(f"{SERVICE_FORM}; nothing follows the path")
    return text.rstrip("/")


def _scheme(text: str, allowed: tuple[str, ...], form: str) -> tuple[str, str]:
    scheme, mark, rest = text.partition("://")
    if not mark or scheme not in allowed:
        raise ValueError(form)
    return scheme, rest


def _user(rest: str, instead: str) -> tuple[str | None, str]:
    """The user before the last ``@``, None where there is no ``@``, and what follows it."""
    user, at, place = rest.rpartition("@")
    if ":" in user:
        raise ValueError(f"without a password; that goes into {instead}")
    if at and not user:
        raise ValueError("an address with a user before the @, or without the @")
    return (_unquoted(user, "USER") if at else None), place


def _unquoted(text: str, what: str) -> str:
    """``text`` with its ``%40`` and the like resolved."""
    try:
        plain = unquote(text, errors="strict")
    except UnicodeDecodeError:
        plain = "\0"
    if not plain.isprintable() or any(mark in text for mark in "/@?#"):
        raise ValueError(
            f"an address whose {what} is printable UTF-8, with / @ ? # as %2F and so on"
        )
    return plain


def _hosts(text: str, default_port: int) -> Hosts:
    return tuple(
        _host(part, f"host {number}", default_port)
        for number, part in enumerate(text.split(","), 1)
    )


def _host(text: str, which: str, default_port: int) -> tuple[str, int]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        try:
            valid = bool(bracket and ipaddress.IPv6Address(host) and rest[:1] in ("", ":"))
        except ValueError:
            valid = False
        _, colon, port = rest.partition(":")
    else:
        host, colon, port = text.partition(":")
        valid = bool(_HOST.fullmatch(host))
    if not valid:
        raise ValueError(
            f"an address whose {which} is a name, an IPv4 address or an [IPv6 address]"
        )
    if not colon:
        return host, default_port
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65_535:
        raise ValueError(f"an address whose {which} has a port from 1 to 65535")
    return host, int(port)


def _options(query: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query, keep_blank_values=True, strict_parsing=bool(query), errors="strict"
        )
    except ValueError:
        pairs = [("", "")]
    options = dict(pairs)
    if len(options) < len(pairs) or not set(options) <= set(POSTGRESQL_OPTIONS):
        raise ValueError(
            f"{POSTGRESQL_FORM}; OPTION is once one of {', '.join(POSTGRESQL_OPTIONS)}"
        )
    return options
