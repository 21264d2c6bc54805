"""HTTP on one connection: uvicorn's protocol with bounds that a client cannot get round.

uvicorn bounds neither a request's headers nor the time that they take, and its parser puts a long
header together in quadratic time. So every piece is counted before it is parsed. A request that is
refused here never reaches the application; its response is JSON all the same (C20).
"""

import asyncio
import http
import logging
from typing import Any, Final

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from genmeter.server.connections import Connections

log = logging.getLogger(__name__)

MAX_HEAD_BYTES: Final = 64 * 2**10
"""Most bytes of a request's line and headers together, and of what follows its body."""

LINGER_S: Final = 2.0
"""How long a refused client may go on sending, in seconds. What it sends is thrown away. Closing
at once would reset the connection, and the client might never read the response."""

MAX_LINGERING: Final = 64
"""Refused connections that may be open at one time; further ones are closed at once."""

_WAITING, _HEAD, _BODY = range(3)


def protocol_class(connections: Connections) -> type[asyncio.Protocol]:
    """The protocol of a server whose connections are counted in ``connections``."""
    return type("Protocol", (BoundedProtocol,), {"connections_": connections})


class BoundedProtocol(HttpToolsProtocol):
    """A connection: it waits for a request, receives its head, or receives its body.

    ``_unparsed`` counts the bytes since a head began, or since the body last grew.
    """

    connections_: Connections

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = self.connections_.limits
        self._address = ""
        self._stage = _WAITING
        self._unparsed = 0
        self._progress = False
        self._unsent = 0
        self._admitted = False
        self._refused = False
        self._lingers = False
        self._deadline: asyncio.TimerHandle | None = None
        self._look: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Admit or refuse a new connection."""
        super().connection_made(transport)
        self._address = self.client[0] if self.client else ""
        status = self.connections_.admit(self, self._address)
        if status is None:
            self._admitted = True
            self._set_deadline()
        elif status == 429:
            most = self._limits.per_address
            self._refuse(
                429, f"{self._address} has {most} open connections, the most that one address may"
            )
        else:
            self._refuse(
                503,
                f"all {self._limits.most} connections have requests under way; try again later",
            )

    def connection_lost(self, exc: Exception | None) -> None:
        """Give back what the connection held."""
        self._clear_deadline()
        self._unset_keepalive_if_required()
        self._unwatch_output()
        if self._admitted:
            self.connections_.forget(self, self._address)
        if self._lingers:
            self.connections_.lingering -= 1
        self._admitted = self._lingers = False
        self._refused = True
        super().connection_lost(exc)

    def give_way(self) -> None:
        """Close at once in favor of a new connection."""
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        """Parse as much as a head may have, then look whether it was one."""
        rest = memoryview(data)
        while rest and not self._refused and not self.transport.is_closing():
            piece = rest[: MAX_HEAD_BYTES - self._unparsed]
            rest = rest[len(piece) :]
            self._progress = False
            super().data_received(piece)  # type: ignore[arg-type]  # the parser takes any buffer
            self._unparsed = 0 if self._progress else self._unparsed + len(piece)
            if self._unparsed == MAX_HEAD_BYTES and not self._refused:
                self._refuse_head()
        # Bytes that begin no request, such as blank lines, count as a head that is late.
        if self._stage == _HEAD or (self._stage == _WAITING and self._unparsed):
            self._set_deadline()

    def on_message_begin(self) -> None:
        """Begin a head."""
        self._stage = _HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """End the head; the request is under way."""
        if self.parser.get_http_version() == "0.9":  # whose clients expect no head in a response
            self.send_400_response("")
            return
        self._stage = _BODY
        self._progress = True
        self._clear_deadline()
        self.connections_.busy(self)
        super().on_headers_complete()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, but not a trailer."""
        if self._stage == _HEAD:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._progress = True
        if not self._refused:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._stage = _WAITING
        self._progress = True
        if not self._refused:
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the rest of one that was answered early."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._watch_output()
        elif self.cycle.response_complete:
            self.connections_.idle(self)
            if self._stage != _WAITING:
                self._set_deadline()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, but let a client finish that still reads the response."""
        if self.transport.get_write_buffer_size():
            self._watch_output()
        else:
            self.transport.close()

    def pause_writing(self) -> None:
        """Wait for a client that reads more slowly than it is sent to."""
        super().pause_writing()
        self._watch_output()

    def resume_writing(self) -> None:
        """Go on writing."""
        super().resume_writing()
        self._unwatch_output()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse(400, "the request is not valid HTTP/1.1")

    def _watch_output(self) -> None:
        """Abort when a client has read nothing between two looks."""
        before = self._unsent
        self._unwatch_output()
        unsent = self.transport.get_write_buffer_size()
        if unsent and unsent == before:
            self.transport.abort()
        elif unsent:
            self._unsent = unsent
            self._look = self.loop.call_later(self._limits.stall_seconds, self._watch_output)

    def _unwatch_output(self) -> None:
        self._unsent = 0
        if self._look is not None:
            self._look.cancel()
            self._look = None

    def _set_deadline(self) -> None:
        if self._deadline is None and not self._refused:
            self._deadline = self.loop.call_later(self._limits.head_seconds, self._head_is_late)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _head_is_late(self) -> None:
        self._deadline = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._set_deadline()  # an earlier request of the connection is still being answered
        elif self._stage == _HEAD:
            seconds = self._limits.head_seconds
            self._refuse(408, f"the request's headers did not arrive within {seconds:g} seconds")
        else:
            self.transport.close()

    def _refuse_head(self) -> None:
        if self._stage == _HEAD and len(self.url) > MAX_HEAD_BYTES // 2:
            self._refuse(414, f"the URL is too long; with the headers it may have {_MOST}")
        elif self._stage == _HEAD:
            self._refuse(431, f"the headers are too large; with the URL they may have {_MOST}")
        elif self._stage == _BODY:
            self._refuse(431, f"trailers and chunk extensions are too large; at most {_MOST}")
        else:
            self._refuse(400, f"no request begins within {_MOST}")

    def _refuse(self, status: int, message: str) -> None:
        """Answer and close, or only close where a response is under way already."""
        self._refused = True
        self._clear_deadline()
        self._unset_keepalive_if_required()
        log.info("a request was refused", extra={"status": status, "address": self._address})
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            if self._stage != _BODY:
                cycle.keep_alive = (
                    False  # the connection ends with the response to what came before
                )
                return
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started or self.pipeline:
                self.transport.close()
                return
        self.transport.write(self._response(status, message))
        if self.connections_.lingering >= MAX_LINGERING:
            self.transport.close()
            return
        self._lingers = True
        self.connections_.lingering += 1
        self.flow.resume_reading()
        self.transport.write_eof()
        self._deadline = self.loop.call_later(LINGER_S, self.transport.abort)

    def _response(self, status: int, message: str) -> bytes:
        body = msgspec.json.encode({"error": message})
        headers = [
            *self.server_state.default_headers,
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"connection", b"close"),
        ]
        if status in (429, 503):
            headers.append((b"retry-after", b"1"))
        lines = b"".join(b"%s: %s\r\n" % header for header in headers)
        phrase = http.HTTPStatus(status).phrase.encode()
        return b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, phrase, lines, body)


_MOST: Final = f"{MAX_HEAD_BYTES} bytes"
