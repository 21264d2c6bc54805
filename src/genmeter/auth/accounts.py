"""Accounts and their tokens in a relational database, and the count of writes beside them.

SQLite in the data folder is for one machine, PostgreSQL for any number. A token is shown once,
when it is made; what is stored is its SHA-256, which for 192 random bits needs neither salt nor
stretching. Any number of processes may use the database at once.
"""

import contextlib
import hashlib
import secrets
import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import sqlalchemy as sa

from genmeter.clock import DAY_MS
from genmeter.config.urls import PostgresqlUrl, Secret
from genmeter.errors import AccountsError, BadRequestError, ForbiddenError, StartError
from genmeter.model.record import ACCOUNT_NAME, ACCOUNT_RULE

FILE: Final = "accounts.sqlite3"
"""The database's name in a data folder."""

SCOPES: Final = ("read", "write", "admin")
MAX_TOKEN_NAME: Final = 200
MAX_TOKEN_DAYS: Final = 36_500

_metadata = sa.MetaData()
_tokens = sa.Table(
    "tokens",
    _metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False, index=True),
    sa.Column("name", sa.String(MAX_TOKEN_NAME), nullable=False),
    sa.Column("scopes", sa.String(40), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("revoked_ms", sa.BigInteger),
)
_versions = sa.Table(
    "record_versions",
    _metadata,
    sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("last", sa.BigInteger, nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
)
"""One row: the version given out last."""
_keys = sa.Table(
    "signing_keys",
    _metadata,
    sa.Column("name", sa.String(20), primary_key=True),
    sa.Column("key", sa.String(64), nullable=False),
)
"""Random keys in hexadecimal, the same for all who share the database."""

_CURSORS: Final = "cursors"

_MAKE_ALONE: Final = {
    "sqlite": ("BEGIN IMMEDIATE",),
    "postgresql": ("BEGIN", "SELECT pg_advisory_xact_lock(7165926304)"),
}
"""What makes tables in one go and one process at a time; the number is ours, by chance."""

_CONNECT_S: Final = 2
_STATEMENT_MS: Final = 3000
_PATIENCE: Final = {
    "connect_timeout": str(_CONNECT_S),
    "options": f"-c statement_timeout={_STATEMENT_MS} -c lock_timeout={_STATEMENT_MS}",
    # A machine that went away without a word is found out by the kernel (Linux: both ways).
    "tcp_user_timeout": str(_STATEMENT_MS),
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "2",
}
"""libpq's options that keep a dead database from holding anybody up for long."""


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """A token without its secret. Times are milliseconds since 1970, None for never."""

    id: str
    account: str
    name: str
    scopes: tuple[str, ...]
    created_ms: int
    expires_ms: int | None = None
    revoked_ms: int | None = None

    def valid(self, now_ms: int) -> bool:
        """Whether it opens anything now."""
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)

    @property
    def is_admin(self) -> bool:
        """Whether it may read and record for every account."""
        return "admin" in self.scopes

    def require(self, scope: str) -> None:
        """Raise ForbiddenError unless it has ``scope``; admin holds the others too."""
        if scope not in self.scopes and not self.is_admin:
            raise ForbiddenError(
                f"this token has the scope {', '.join(self.scopes)}; {scope} is needed here"
            )


class Accounts:
    """The tokens in a database, whose tables are made where they are missing.

    ``opened`` is the one way to them. Raises StartError where the database cannot be used;
    a method raises AccountsError while it does not answer, within seconds, and works again once
    it does.
    """

    def __init__(self, engine: sa.Engine) -> None:
        # Each method is one statement, and so a transaction of its own without asking for one.
        self._engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        try:
            self._make_tables()
        except sa.exc.SQLAlchemyError as error:
            self.close()
            raise StartError(f"the accounts database cannot be used: {_reason(error)}") from error

    @classmethod
    def opened(
        cls, url: PostgresqlUrl | None, password: Secret | None, data: Path, *, anew: bool = False
    ) -> "Accounts":
        """The accounts at ``url``, or without one those in the folder ``data``."""
        return cls.in_folder(data, anew=anew) if url is None else cls.on_server(url, password)

    @classmethod
    def in_folder(cls, data: Path, *, anew: bool = False) -> "Accounts":
        """The accounts that lie in a data folder, which is made where it is missing.

        Raises StartError where there are records and no accounts, unless ``anew``.
        """
        file = data / FILE
        if not anew and (data / "engine").exists() and not _has_tokens(file):
            raise StartError(
                f"{file} is missing or empty, and without it nobody may ask for the records "
                "beside it; restore it from a backup, or run serve once with --accept-loss and "
                "make new tokens"
            )
        try:
            data.mkdir(mode=0o700, parents=True, exist_ok=True)  # for nobody else of the machine
        except OSError as error:
            raise StartError(f"cannot make the data folder {data}: {error.strerror}") from error
        engine = sa.create_engine(sa.URL.create("sqlite", database=str(file)), hide_parameters=True)
        sa.event.listen(engine, "connect", _share_sqlite)
        return cls(engine)

    @classmethod
    def on_server(cls, url: PostgresqlUrl, password: Secret | None = None) -> "Accounts":
        """The accounts in a PostgreSQL, by a few connections that are tested before each use."""
        options: dict[str, Any] = {
            "user": url.user,
            "dbname": url.database,
            "fallback_application_name": "genmeter",
        }
        if url.hosts:
            options["host"] = ",".join(host for host, _ in url.hosts)
            options["port"] = ",".join(str(port) for _, port in url.hosts)
        if len(url.hosts) > 1:  # of several, one is the primary
            options["target_session_attrs"] = "read-write"
        if password is not None:
            options["password"] = password.reveal()
        engine = sa.create_engine(
            "postgresql+psycopg://",
            connect_args=_PATIENCE | options | url.options,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_timeout=_CONNECT_S,
        )
        return cls(engine)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def create(
        self,
        account: str,
        scopes: Sequence[str],
        *,
        now_ms: int,
        name: str = "",
        expires_days: float | None = None,
    ) -> tuple[str, Token]:
        """A new token and what is kept of it. The text of the token exists nowhere else.

        ``name`` defaults to the account's. Raises BadRequestError with every fault.
        """
        faults = []
        if not ACCOUNT_NAME.fullmatch(account):
            faults.append(f"account must be {ACCOUNT_RULE}")
        if not scopes or set(scopes) - set(SCOPES):
            faults.append(f"scope must be one or more of {', '.join(SCOPES)}")
        if len(name) > MAX_TOKEN_NAME or not name.isprintable():
            faults.append("name must be at most 200 printable characters")
        if expires_days is not None and not 0 < expires_days <= MAX_TOKEN_DAYS:
            faults.append("expires must be more than 0 and at most 36500 days")
        if faults:
            raise BadRequestError(*faults)
        text = f"user:{account}-{secrets.token_hex(24)}"
        token = Token(
            id=secrets.token_hex(4),
            account=account,
            name=name or account,
            scopes=tuple(scope for scope in SCOPES if scope in scopes),
            created_ms=now_ms,
            expires_ms=None if expires_days is None else now_ms + int(expires_days * DAY_MS),
        )
        values = msgspec.structs.asdict(token) | {"scopes": ",".join(token.scopes)}
        with self._connected() as connection:
            connection.execute(_tokens.insert().values(hash=hash_of(text), **values))
        return text, token

    def tokens(self) -> list[Token]:
        """Every token there is, by account and age, revoked and expired ones too."""
        with self._connected() as connection:
            query = _tokens.select().order_by(_tokens.c.account, _tokens.c.created_ms)
            return [_token(row) for row in connection.execute(query)]

    def revoke(self, token_id: str, *, now_ms: int) -> bool:
        """Make a token open nothing any more; False where none of that id is left to revoke."""
        if "\0" in token_id:  # which PostgreSQL cannot be asked for
            return False
        with self._connected() as connection:
            changed = connection.execute(
                _tokens.update()
                .where(_tokens.c.id == token_id, _tokens.c.revoked_ms.is_(None))
                .values(revoked_ms=now_ms)
            )
            return changed.rowcount == 1

    def find(self, text: str) -> Token | None:
        """The token whose text this is, in force or not."""
        with self._connected() as connection:
            found = connection.execute(
                _tokens.select().where(_tokens.c.hash == hash_of(text))
            ).one_or_none()
        return None if found is None else _token(found)

    def take_over(self, other: "Accounts") -> tuple[int, int]:
        """Copy the tokens of ``other``, so that they open the same here.

        One that is here already stays as it is, but revoked where it is revoked there. Returns
        how many were copied and how many were here.
        """
        with other._connected() as connection:
            theirs = connection.execute(_tokens.select()).all()
        with self._connected() as connection:
            here = set(connection.execute(sa.select(_tokens.c.id)).scalars())
            for token in theirs:
                if token.id not in here:
                    connection.execute(_tokens.insert().values(**token._mapping))
                elif token.revoked_ms is not None:
                    connection.execute(
                        _tokens.update()
                        .where(_tokens.c.id == token.id, _tokens.c.revoked_ms.is_(None))
                        .values(revoked_ms=token.revoked_ms)
                    )
        known = sum(token.id in here for token in theirs)
        return len(theirs) - known, known

    def next_version(self, now_ms: int) -> int:
        """A version for records, higher than any given out before, to whatever process (R6).

        It is at least ``now_ms * 1000``, and goes on from the last where the clock was set back
        or another machine's is ahead. It stays given out when it returns.
        """
        last = _versions.c.last
        greatest = sa.func.max if self._engine.dialect.name == "sqlite" else sa.func.greatest
        with self._connected() as connection:
            version: int = connection.execute(
                _versions.update().values(last=greatest(last + 1, now_ms * 1000)).returning(last)
            ).scalar_one()
        return version

    def last_version(self) -> int:
        """The version given out last, 0 where none was."""
        with self._connected() as connection:
            version: int = connection.execute(sa.select(_versions.c.last)).scalar_one()
        return version

    def raise_version(self, at_least: int) -> None:
        """Let all versions from now on be higher than ``at_least``, that of records brought in."""
        with self._connected() as connection:
            connection.execute(
                _versions.update().where(_versions.c.last < at_least).values(last=at_least)
            )

    def cursor_key(self) -> bytes:
        """Return the key that signs cursors: 32 random bytes, made with the database."""
        with self._connected() as connection:
            query = sa.select(_keys.c.key).where(_keys.c.name == _CURSORS)
            key: str = connection.execute(query).scalar_one()
        return bytes.fromhex(key)

    def _make_tables(self) -> None:
        """Make what is missing, however many start at once; what is there needs no right to."""
        with self._engine.connect() as connection:
            for statement in _MAKE_ALONE[connection.dialect.name]:
                connection.exec_driver_sql(statement)
            _metadata.create_all(connection)
            if connection.execute(_versions.select()).one_or_none() is None:
                connection.execute(_versions.insert().values(id=1, last=0))
            if connection.execute(_keys.select()).one_or_none() is None:
                key = secrets.token_hex(32)
                connection.execute(_keys.insert().values(name=_CURSORS, key=key))
            connection.exec_driver_sql("COMMIT")

    @contextmanager
    def _connected(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.connect() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            words = getattr(error, "orig", None) or error
            raise AccountsError("the accounts database does not answer") from words


def _has_tokens(file: Path) -> bool:
    """Whether a file is a database with a table of tokens, or one that only SQLite can judge."""
    try:
        if not file.stat().st_size:
            return False
        with contextlib.closing(
            sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)
        ) as database:
            return bool(
                database.execute("SELECT 1 FROM sqlite_master WHERE name = 'tokens'").fetchone()
            )
    except OSError:
        return False
    except sqlite3.Error:
        return True  # opening it says what is wrong


def hash_of(text: str) -> str:
    """What is kept of a token's text, and what it is known by."""
    return hashlib.sha256(text.encode()).hexdigest()


def _token(row: sa.Row[tuple[object, ...]]) -> Token:
    values = {name: value for name, value in row._mapping.items() if name != "hash"}
    values["scopes"] = tuple(values["scopes"].split(","))
    return Token(**values)


def _share_sqlite(connection: object, _record: object) -> None:
    """Let the server read while a command writes, and make a write safe when it returns."""
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA busy_timeout = 5000")  # first, for those that follow wait too
    give_up = time.monotonic() + 5
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            # Of several who turn a new database to WAL, all but one are refused at once.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
            time.sleep(0.01)
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.close()


def _reason(error: sa.exc.SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]
