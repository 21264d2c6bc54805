"""Answers on their way to clients that may be slow or go away."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send


def json_response(
    value: msgspec.Struct, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A structure as a JSON response."""
    return Response(msgspec.json.encode(value), status, headers, media_type="application/json")


class Streamed(Response, ABC):
    """Sends an answer while a client may go away: :meth:`send` is cancelled then.

    ``stall_seconds`` is how long the client may take for the next piece.
    """

    def __init__(self, media_type: str, stall_seconds: float) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self._stall_seconds = stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises before the first byte where there is no answer, TimeoutError on a stall."""
        sending = asyncio.create_task(self.send(send))
        watching = asyncio.create_task(disconnected(receive))
        try:
            await asyncio.wait((sending, watching), return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not sending.done():
                sending.cancel()
            watching.cancel()
            await asyncio.gather(sending, watching, return_exceptions=True)
        if not sending.cancelled():
            sending.result()

    @abstractmethod
    async def send(self, send: Send) -> None:
        """Send it all."""

    async def send_all(
        self, send: Send, size: int, pieces: AsyncIterator[bytes | memoryview]
    ) -> None:
        """Send a body of ``size`` bytes.

        A client that is told the length notices an answer that is cut off, and need not take
        chunks apart.
        """
        self.headers["content-length"] = str(size)
        await self.begin(send)
        async for piece in pieces:
            await self.send_piece(send, piece)
        await self.end(send)

    async def begin(self, send: Send) -> None:
        """Send status and headers."""
        start = {"status": self.status_code, "headers": self.raw_headers}
        await send({"type": "http.response.start", **start})

    async def send_piece(self, send: Send, piece: bytes | memoryview) -> None:
        """Send a piece; TimeoutError where the client takes too long for it."""
        async with asyncio.timeout(self._stall_seconds):
            await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def end(self, send: Send) -> None:
        """Say that the body is whole."""
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def disconnected(receive: Receive) -> None:
    """Come back when the client is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


def unchanged(request: Request, tag: str) -> bool:
    """Whether the client has the version that ``tag`` names (``If-None-Match``)."""
    known = request.headers.get("if-none-match", "")
    tags = {text.strip().removeprefix("W/") for text in known.split(",")}
    return known.strip() == "*" or tag.removeprefix("W/") in tags
