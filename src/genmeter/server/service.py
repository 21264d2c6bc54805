"""Opens the parts of the service in their order and closes them in reverse."""

import contextlib
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from genmeter.auth.accounts import Accounts
from genmeter.auth.token_cache import Tokens
from genmeter.clock import now_ms as machine_ms
from genmeter.config.load import ServerSettings
from genmeter.execution.feed import Feed
from genmeter.execution.pool import QueryPool
from genmeter.ingest.writer import Writer
from genmeter.model.bots import ELEVEN
from genmeter.model.record import Row
from genmeter.server.tasks import Task, Tasks
from genmeter.storage.engine.connect import connect
from genmeter.storage.shards import Shards
from genmeter.storage.store import Store

_EXPIRE_SECONDS = 3600.0
_SETTLE_SECONDS = 2.0


class Service:
    """The parts of a running service: ``accounts``, ``tokens``, ``store`` and those that use it.

    ``now_ms`` is its clock. Use as a context manager: entering raises StartError where the
    service cannot run as set, leaving stores what is queued in the queue before the engine closes.
    """

    def __init__(self, settings: ServerSettings, now_ms: Callable[[], int] = machine_ms) -> None:
        self.settings = settings
        self.now_ms = now_ms
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> Self:
        settings = self.settings
        with contextlib.ExitStack() as opening:
            self.accounts = accounts = Accounts.opened(
                settings.accounts, settings.accounts_password, settings.data
            )
            opening.callback(accounts.close)
            self.cursor_key = accounts.cursor_key()
            self.tokens = opening.enter_context(Tokens(accounts.find))
            self.engine = engine = connect(settings)
            opening.callback(engine.close)
            self.store = store = Store(
                engine,
                retention_days=settings.retention_days,
                # Several services may write to one ClickHouse, but only one to a folder.
                next_version=accounts.next_version if settings.clickhouse else None,
                bots=settings.bots or ELEVEN,
            )
            alone = settings.clickhouse is None
            self.feed = feed = Feed(store, alone=alone, now_ms=self.now_ms)

            def insert(rows: Sequence[Row], shard: int) -> None:
                store.insert(rows, self.now_ms(), shard)
                feed.stored()

            self.shards = Shards(
                engine, store.duplicates, memory_mb=settings.engine_memory_mb * 3 // 4
            )
            self.pool = opening.enter_context(
                QueryPool(threads=settings.readers, folder=settings.data / "spool")
            )
            self.writer = opening.enter_context(
                Writer(
                    insert,
                    queue_rows=settings.queue_rows,
                    lanes=store.shards,
                    lane_of=store.shard,
                )
            )
            expire = Task("expire", _EXPIRE_SECONDS, lambda: store.expire(self.now_ms()))
            settle = Task("settle", _SETTLE_SECONDS, lambda: store.duplicates.check(self.now_ms()))
            opening.enter_context(Tasks([expire, settle]))
            opening.callback(store.duplicates.stop)
            self._opened = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()
