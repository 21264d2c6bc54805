"""``/healthz`` and ``/readyz``: whether the process runs, and whether it can serve requests."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from genmeter.api.responses import json_response
from genmeter.api.schemas import Health
from genmeter.auth.token_cache import Tokens
from genmeter.errors import UnavailableError
from genmeter.ingest.writer import Writer
from genmeter.storage.store import Store

STUCK_S: Final = 10.0
"""An INSERT that runs for longer than this makes the service not ready."""

CHECK_S: Final = 5.0
"""How long ``/readyz`` waits for the engine, in seconds."""


class HealthRoutes:
    """The health checks of one service."""

    def __init__(self, *, store: Store, writer: Writer, tokens: Tokens) -> None:
        self._store = store
        self._writer = writer
        self._tokens = tokens
        self._thread = ThreadPoolExecutor(1, "health")  # whatever else keeps threads busy

    def routes(self) -> list[Route]:
        """Both routes; neither needs a token."""
        return [
            Route("/healthz", self._health, methods=["GET"]),
            Route("/readyz", self._ready, methods=["GET"]),
        ]

    async def _health(self, _: Request) -> Response:
        return json_response(Health("ok"))

    async def _ready(self, _: Request) -> Response:
        if (seconds := self._writer.stuck_s()) > STUCK_S:
            raise UnavailableError(f"the writer has been stuck for {seconds:.0f} seconds")
        try:
            async with asyncio.timeout(CHECK_S):
                loop = asyncio.get_running_loop()
                await loop.run_in_executor(self._thread, self._store.check)
        except TimeoutError as error:
            raise UnavailableError(
                f"the engine did not answer within {CHECK_S:.0f} seconds"
            ) from error
        await self._tokens.check()
        return json_response(Health("ready"))
