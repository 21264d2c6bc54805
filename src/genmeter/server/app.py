"""Opens the parts of the service in their order, closes them in reverse, and makes the app."""

import contextlib
from collections.abc import Callable, Sequence
from importlib import import_module
from types import TracebackType
from typing import Self

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp
from starlette_compress import CompressMiddleware

from genmeter.api import openapi
from genmeter.api.live import Events
from genmeter.api.middleware import (
    CatchAll,
    RequestLog,
    UnlessRecording,
    genmeter_error,
    http_error,
)
from genmeter.api.queries import Queries
from genmeter.api.stats import STATS, Api
from genmeter.api.tokens import Administration
from genmeter.auth.accounts import Accounts
from genmeter.auth.token_cache import Tokens
from genmeter.clock import now_ms as machine_ms
from genmeter.config.load import ServerSettings
from genmeter.errors import GenmeterError
from genmeter.execution.catalog import Limits
from genmeter.execution.feed import Live
from genmeter.execution.pool import Reader
from genmeter.ingest.writer import Writer
from genmeter.model.record import Row
from genmeter.server.tasks import Task, Tasks
from genmeter.storage.engine.base import Engine
from genmeter.storage.engine.cluster import ClickHouse
from genmeter.storage.shards import Shards
from genmeter.storage.store import Store
from genmeter.web import manual, page

_EXPIRE_SECONDS = 3600.0
_SETTLE_SECONDS = 2.0


class Service:
    """The parts of a running service: ``accounts``, ``tokens``, ``store`` and those that use it.

    ``now_ms`` is its clock. Use as a context manager: entering raises StartError where the
    service cannot run as set, leaving stores what waits in the queue before the engine closes.
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
            self.tokens = opening.enter_context(Tokens(accounts.find))
            engine = _engine(settings)
            opening.callback(engine.close)
            self.store = store = Store(
                engine,
                retention_days=settings.retention_days,
                # Several services may write to one ClickHouse, but only one to a folder.
                next_version=accounts.next_version if settings.clickhouse else None,
            )
            alone = settings.clickhouse is None
            self.live = live = Live(store, alone=alone, now_ms=self.now_ms)

            def insert(rows: Sequence[Row], shard: int) -> None:
                store.insert(rows, self.now_ms(), shard)
                live.stored()

            self.shards = Shards(
                engine, store.settled, memory_mb=settings.engine_memory_mb * 3 // 4
            )
            self.reader = opening.enter_context(
                Reader(store.answer, threads=settings.readers, folder=settings.data / "spool")
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
            settle = Task("settle", _SETTLE_SECONDS, lambda: store.settled.check(self.now_ms()))
            opening.enter_context(Tasks([expire, settle]))
            opening.callback(store.settled.stop)
            self._opened = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()


def _engine(settings: ServerSettings) -> Engine:
    """The engine that the settings name."""
    if settings.clickhouse is None:
        # Importing it alone takes 135 MB, which a node over servers has no use for.
        embedded = import_module("genmeter.storage.engine.embedded")
        engine: Engine = embedded.Embedded(
            settings.data / "engine",
            memory_mb=settings.engine_memory_mb,
            threads=settings.engine_threads,
        )
        return engine
    return ClickHouse(
        settings.clickhouse,
        password=settings.clickhouse_password,
        cluster=settings.clickhouse_cluster or "",
        quorum=settings.clickhouse_quorum,
        ca_file=settings.clickhouse_ca_file,
        timeout_s=settings.clickhouse_timeout_seconds,
        memory_mb=settings.engine_memory_mb,
        threads=settings.engine_threads,
    )


def _for_readers(app: ASGIApp) -> ASGIApp:
    """``app`` for pages of any origin, its answers compressed where the client takes that."""
    # Speed before size: statistics repeat themselves and shrink tenfold at any level.
    compressed = CompressMiddleware(app, brotli=False, zstd_level=1, gzip_level=1)
    return CORSMiddleware(
        compressed,
        allow_origins=["*"],
        allow_methods=["*"],
        allow_headers=["*"],
        expose_headers=[
            "Content-Disposition",
            "ETag",
            "Genmeter-Next-Cursor",
            "Genmeter-Rows",
            "Genmeter-SHA256",
            "Link",
            "Retry-After",
            "X-Request-Id",
        ],
        max_age=86_400,
    )


def create_app(service: Service) -> Starlette:
    """The web application over an opened service."""
    api = Api(
        tokens=service.tokens,
        store=service.store,
        reader=service.reader,
        writer=service.writer,
        now_ms=service.now_ms,
        stall_seconds=service.settings.stall_seconds,
    )
    queries = Queries(
        authorize=api.token,
        store=service.store,
        shards=service.shards,
        reader=service.reader,
        now_ms=service.now_ms,
        limits=Limits(
            days=service.settings.query_days,
            groups=service.settings.query_groups,
            seconds=service.settings.query_seconds,
        ),
        retention_days=service.settings.retention_days,
        stall_seconds=service.settings.stall_seconds,
    )
    administration = Administration(service.accounts, api.token, service.now_ms)
    events = Events(service.live, api.token, stall_seconds=service.settings.stall_seconds)
    app = Starlette(
        routes=[
            *api.routes(),
            *queries.routes(),
            *events.routes(),
            *administration.routes(),
            *manual.routes(openapi.document()),
            *page.routes(),
        ],
        middleware=[
            Middleware(RequestLog),
            Middleware(UnlessRecording, STATS, _for_readers),
            Middleware(CatchAll),
        ],
        exception_handlers={GenmeterError: genmeter_error, HTTPException: http_error},
    )
    app.router.redirect_slashes = False  # a redirect would take the token to another address
    return app
