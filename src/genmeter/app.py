"""Opens the parts of the service in their order, closes them in reverse, and makes the app."""

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import Self

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette_compress import CompressMiddleware

from genmeter import openapi
from genmeter.accounts import Accounts
from genmeter.api import Api
from genmeter.clock import now_ms as machine_ms
from genmeter.config import ServerSettings
from genmeter.engine.embedded import Embedded
from genmeter.errors import GenmeterError
from genmeter.middleware import CatchAll, RequestLog, genmeter_error, http_error
from genmeter.reader import Reader
from genmeter.store import Store
from genmeter.tasks import Task, Tasks
from genmeter.tokens import Tokens
from genmeter.web import manual
from genmeter.writer import Writer

_EXPIRE_SECONDS = 3600.0


class Service:
    """The parts of a running service: ``accounts``, ``tokens``, ``store``, ``reader``, ``writer``.

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
            self.accounts = Accounts.opened(
                settings.accounts, settings.accounts_password, settings.data
            )
            opening.callback(self.accounts.close)
            self.tokens = opening.enter_context(Tokens(self.accounts.find))
            engine = Embedded(
                settings.data / "engine",
                memory_mb=settings.engine_memory_mb,
                threads=settings.engine_threads,
            )
            opening.callback(engine.close)
            self.store = store = Store(engine, retention_days=settings.retention_days)
            self.reader = opening.enter_context(
                Reader(store.answer, threads=settings.readers, folder=settings.data / "spool")
            )
            self.writer = opening.enter_context(
                Writer(
                    lambda rows: store.insert(rows, self.now_ms()),
                    queue_rows=settings.queue_rows,
                )
            )
            expire = Task("expire", _EXPIRE_SECONDS, lambda: store.expire(self.now_ms()))
            opening.enter_context(Tasks([expire]))
            self._opened = opening.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()


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
    app = Starlette(
        routes=[*api.routes(), *manual.routes(openapi.document())],
        middleware=[
            Middleware(RequestLog),
            Middleware(
                CORSMiddleware,
                allow_origins=["*"],
                allow_methods=["*"],
                allow_headers=["*"],
                expose_headers=["X-Request-Id", "Retry-After"],
                max_age=86_400,
            ),
            # Speed before size: statistics repeat themselves and shrink tenfold at any level.
            Middleware(CompressMiddleware, brotli=False, zstd_level=1, gzip_level=1),
            Middleware(CatchAll),
        ],
        exception_handlers={GenmeterError: genmeter_error, HTTPException: http_error},
    )
    app.router.redirect_slashes = False  # a redirect would take the token to another address
    return app
