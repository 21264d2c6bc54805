"""The peer's databases as a run needs them: tables, tokens."""

import hashlib
import secrets
from dataclasses import dataclass

import sqlalchemy as sa

from bench.baseline import METADATA, TOKENS
from bench.postgres import Databases


@dataclass(frozen=True)
class Peer:
    """What stands behind the baseline."""

    databases: Databases

    def make_anew(self, database: str) -> None:
        """A database with the baseline's empty tables, in place of any of that name."""
        self.databases.make_anew(database)
        engine = sa.create_engine(self.databases.url(database))
        METADATA.create_all(engine)
        engine.dispose()

    def token(self, database: str, account: str, *, admin: bool = False) -> str:
        """A new token for an account."""
        text = secrets.token_hex(24)
        digest = hashlib.sha256(text.encode()).hexdigest()
        engine = sa.create_engine(self.databases.url(database))
        with engine.begin() as connection:
            connection.execute(sa.insert(TOKENS).values(hash=digest, account=account, admin=admin))
        engine.dispose()
        return text
