"""The web application: every route over the parts of an opened service."""

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp
from starlette_compress import CompressMiddleware

from genmeter.api import openapi
from genmeter.api.authentication import Authenticator
from genmeter.api.bodies import Bodies
from genmeter.api.health import HealthRoutes
from genmeter.api.limits import Limits
from genmeter.api.live import LiveRoutes
from genmeter.api.middleware import (
    CatchAll,
    Private,
    RequestLog,
    UnlessRecording,
    genmeter_error,
    http_error,
)
from genmeter.api.queries import QueryRoutes
from genmeter.api.stats import STATS, StatsRoutes
from genmeter.api.tokens import TokenRoutes
from genmeter.errors import GenmeterError
from genmeter.execution.catalog import QueryLimits
from genmeter.server.service import Service
from genmeter.web import manual, page


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
            "RateLimit",
            "RateLimit-Policy",
            "Retry-After",
            "X-Request-Id",
        ],
        max_age=86_400,
    )


def create_app(service: Service) -> Starlette:
    """The web application over an opened service."""
    settings = service.settings
    limits = Limits(settings)
    authenticator = Authenticator(service.tokens, service.now_ms, limits)
    bodies = Bodies(settings.body_seconds)
    stats = StatsRoutes(
        authenticator=authenticator,
        bodies=bodies,
        store=service.store,
        pool=service.pool,
        costs=service.costs,
        writer=service.writer,
        now_ms=service.now_ms,
        stall_seconds=settings.stall_seconds,
        request_records=settings.request_records,
        limits=limits,
    )
    queries = QueryRoutes(
        authenticator=authenticator,
        bodies=bodies,
        store=service.store,
        shards=service.shards,
        pool=service.pool,
        costs=service.costs,
        now_ms=service.now_ms,
        clients=limits,
        limits=QueryLimits(
            days=settings.query_days,
            groups=settings.query_groups,
            seconds=settings.query_seconds,
        ),
        cursor_key=service.cursor_key,
        retention_days=settings.retention_days,
        stall_seconds=settings.stall_seconds,
    )
    tokens = TokenRoutes(service.accounts, authenticator, bodies, service.now_ms)
    live = LiveRoutes(
        service.feed,
        authenticator,
        service.store.bots,
        limits=limits,
        stall_seconds=settings.stall_seconds,
    )
    health = HealthRoutes(store=service.store, writer=service.writer, tokens=service.tokens)
    description = openapi.document(service.store.bots, most_records=settings.request_records)
    app = Starlette(
        routes=[
            *stats.routes(),
            *queries.routes(),
            *live.routes(),
            *tokens.routes(),
            *health.routes(),
            *openapi.routes(description),
            *manual.routes(description),
            *page.routes(),
        ],
        middleware=[
            Middleware(RequestLog),
            Middleware(Private),
            Middleware(UnlessRecording, STATS, _for_readers),
            Middleware(CatchAll),
        ],
        exception_handlers={GenmeterError: genmeter_error, HTTPException: http_error},
    )
    app.router.redirect_slashes = False  # a redirect would take the token to another address
    return app
