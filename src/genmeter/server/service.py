"""Opens the parts of the service in their order and closes them in reverse."""

import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from genmeter.auth.accounts import Accounts
from genmeter.auth.token_cache import Tokens
from genmeter.clock import now_ms as machine_ms
from genmeter.config.load import ServerSettings
from genmeter.errors import EngineError, StartError
from genmeter.execution.costs import Costs
from genmeter.execution.feed import Feed
from genmeter.execution.pool import QueryPool
from genmeter.ingest.writer import Writer
from genmeter.model.bots import ELEVEN
from genmeter.model.record import Row
from genmeter.server.tasks import Task, Tasks
from genmeter.storage.backup import verify_restored
from genmeter.storage.engine.connect import connect
from genmeter.storage.integrity import Integrity
from genmeter.storage.manifest import MANIFEST, Manifest
from genmeter.storage.retention import TrustedClock
from genmeter.storage.shards import Shards
from genmeter.storage.store import Store

log = logging.getLogger(__name__)

_EXPIRE_SECONDS = 3600.0
_SETTLE_SECONDS = 2.0
_LOOK_SECONDS = 60.0


class Service:
    """The parts of a running service: ``accounts``, ``tokens``, ``store`` and those that use it.

    ``now_ms`` is its clock, ``elapsed_s`` one that is never set. Use as a context manager: entering
    raises StartError where the service cannot run as set, leaving stores what is queued before the
    engine closes.
    """

    def __init__(
        self,
        settings: ServerSettings,
        now_ms: Callable[[], int] = machine_ms,
        elapsed_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.now_ms = now_ms
        self._elapsed_s = elapsed_s
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> Self:
        settings = self.settings
        if verify_restored(settings.data):
            log.info("the folder is a backup, and all its files are what was copied")
        with contextlib.ExitStack() as opening:
            self.accounts = accounts = Accounts.opened(
                settings.accounts,
                settings.accounts_password,
                settings.data,
                anew=settings.accept_loss,
            )
            opening.callback(accounts.close)
            self.cursor_key = accounts.cursor_key()
            self.tokens = opening.enter_context(Tokens(accounts.find))
            self.engine = engine = connect(settings)
            opening.callback(engine.close)
            # Several services may write to one ClickHouse, but only one to a folder.
            alone = settings.clickhouse is None
            integrity = None
            if alone:
                manifest = Manifest.opened(settings.data / MANIFEST, anew=settings.accept_loss)
                integrity = Integrity(engine, manifest, accept_loss=settings.accept_loss)
            try:
                self.store = store = Store(
                    engine,
                    retention_days=settings.retention_days,
                    next_version=None if alone else accounts.next_version,
                    bots=settings.bots or ELEVEN,
                    integrity=integrity,
                )
            except EngineError as error:
                if not alone:
                    raise
                log.debug("the engine cannot start: %s", error)
                raise StartError(
                    f"the records in {settings.data} cannot be read, files in it are missing or "
                    "damaged; restore a backup (--log-level debug shows the engine's own words)"
                ) from error
            self._clock = clock = TrustedClock(
                self._noted_ms(integrity, store), self.now_ms, self._elapsed_s
            )
            tasks = [
                Task("expire", _EXPIRE_SECONDS, self.expire),
                Task("settle", _SETTLE_SECONDS, lambda: store.duplicates.check(self.now_ms())),
            ]
            if integrity is not None:
                looking = integrity
                opening.callback(lambda: looking.close(clock()))
                tasks.append(Task("look", _LOOK_SECONDS, lambda: looking.look(clock())))
            self.feed = feed = Feed(store, alone=alone, now_ms=self.now_ms)

            def insert(rows: Sequence[Row], shard: int) -> None:
                store.insert(rows, self.now_ms(), shard)
                feed.stored()

            self.shards = Shards(
                engine, store.duplicates, memory_mb=settings.engine_memory_mb * 3 // 4
            )
            self.pool = opening.enter_context(
                QueryPool(
                    threads=settings.readers,
                    folder=settings.data / "spool",
                    spool_bytes=settings.spool_mb * 2**20,
                )
            )
            self.costs = opening.enter_context(
                Costs(self.shards, now_ms=self.now_ms, patience_s=settings.query_seconds)
            )
            self.writer = opening.enter_context(
                Writer(
                    insert,
                    queue_rows=settings.queue_rows,
                    lanes=store.shards,
                    lane_of=store.shard,
                )
            )
            opening.enter_context(Tasks(tasks))
            opening.callback(store.duplicates.stop)
            self._opened = opening.pop_all()
        return self

    def expire(self) -> list[int]:
        """Drop the months past retention, by a clock that can be trusted; returns them."""
        return self.store.expire(self._clock()) if self._clock.settled else []

    def _noted_ms(self, integrity: Integrity | None, store: Store) -> int | None:
        """A time that was right: of the last note, or of the newest record."""
        if integrity is not None and integrity.clock_ms is not None:
            return integrity.clock_ms
        version = store.written if integrity is not None else self.accounts.last_version()
        return version // 1000 or None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()
