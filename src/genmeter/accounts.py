"""Accounts and their tokens, in a relational database: SQLite beside the records by default.

A token is shown once, when it is made; what is stored is its SHA-256, which for 192 random bits
needs neither salt nor stretching. Any number of processes may use the database at once.
"""

import hashlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
import sqlalchemy as sa

from genmeter.clock import DAY_MS
from genmeter.errors import BadRequestError, ForbiddenError, StartError, UnavailableError
from genmeter.records import ACCOUNT_NAME, ACCOUNT_RULE

SCOPES: Final = ("read", "write", "admin")

_metadata = sa.MetaData()
_tokens = sa.Table(
    "tokens",
    _metadata,
    sa.Column("id", sa.String(16), primary_key=True),
    sa.Column("account", sa.String(64), nullable=False, index=True),
    sa.Column("name", sa.String(200), nullable=False),
    sa.Column("scopes", sa.String(40), nullable=False),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("revoked_ms", sa.BigInteger),
)


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
    """The tokens in the database at ``url``, whose tables it makes where they are missing.

    Raises StartError where the database cannot be used.
    """

    def __init__(self, url: str | sa.URL) -> None:
        self._engine = sa.create_engine(url)
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _share_sqlite)
        try:
            _metadata.create_all(self._engine)
        except sa.exc.SQLAlchemyError as error:
            raise StartError(f"the accounts database cannot be used: {_reason(error)}") from error

    @classmethod
    def in_folder(cls, data: Path) -> "Accounts":
        """The accounts that lie in a data folder, which is made where it is missing."""
        try:
            data.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"cannot make the data folder {data}: {error.strerror}") from error
        return cls(sa.URL.create("sqlite", database=str(data / "accounts.sqlite3")))

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
        if len(name) > 200 or not name.isprintable():
            faults.append("name must be at most 200 printable characters")
        if expires_days is not None and not 0 < expires_days <= 36_500:
            faults.append("expires must be more than 0 and at most 36500 days")
        if faults:
            raise BadRequestError("; ".join(faults))
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
        with self._begin() as connection:
            connection.execute(_tokens.insert().values(hash=_hash(text), **values))
        return text, token

    def tokens(self) -> list[Token]:
        """Every token there is, by account and age, revoked and expired ones too."""
        with self._begin() as connection:
            query = _tokens.select().order_by(_tokens.c.account, _tokens.c.created_ms)
            return [_token(row) for row in connection.execute(query)]

    def revoke(self, token_id: str, *, now_ms: int) -> bool:
        """Make a token open nothing any more; False where none of that id is left to revoke."""
        with self._begin() as connection:
            changed = connection.execute(
                _tokens.update()
                .where(_tokens.c.id == token_id, _tokens.c.revoked_ms.is_(None))
                .values(revoked_ms=now_ms)
            )
            return changed.rowcount == 1

    def find(self, text: str) -> Token | None:
        """The token whose text this is, in force or not."""
        with self._begin() as connection:
            found = connection.execute(
                _tokens.select().where(_tokens.c.hash == _hash(text))
            ).one_or_none()
        return None if found is None else _token(found)

    @contextmanager
    def _begin(self) -> Iterator[sa.Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except sa.exc.SQLAlchemyError as error:
            raise UnavailableError("the accounts database does not answer") from error


class TokenCache:
    """Remembers for ``seconds`` what ``find`` said, so that a busy token costs no query each time.

    Half a second keeps the promise that a new, revoked or expired token takes effect within one.
    """

    def __init__(
        self,
        find: Callable[[str], Token | None],
        *,
        seconds: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._seconds = seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._found: dict[str, tuple[float, Token | None]] = {}

    def recall(self, text: str) -> tuple[bool, Token | None]:
        """Whether a fresh answer for ``text`` is remembered, and the answer."""
        until, token = self._found.get(_hash(text), (0.0, None))
        return self._clock() < until, token

    def find(self, text: str) -> Token | None:
        """What ``find`` says now, remembered from now on."""
        token = self._find(text)
        with self._lock:
            if len(self._found) >= 10_000:  # a flood of wrong tokens must not fill the memory
                self._found.clear()
            self._found[_hash(text)] = (self._clock() + self._seconds, token)
        return token


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _token(row: sa.Row[tuple[object, ...]]) -> Token:
    values = {name: value for name, value in row._mapping.items() if name != "hash"}
    values["scopes"] = tuple(values["scopes"].split(","))
    return Token(**values)


def _share_sqlite(connection: object, _record: object) -> None:
    """Let the server read while a command writes, and make a write safe when it returns."""
    cursor = connection.cursor()  # type: ignore[attr-defined]
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")
    cursor.execute("PRAGMA busy_timeout = 5000")
    cursor.close()


def _reason(error: sa.exc.SQLAlchemyError) -> str:
    return str(getattr(error, "orig", None) or error).splitlines()[0]
