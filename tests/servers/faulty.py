"""A way to a server over HTTP that fails as tests tell it to."""

import contextlib
import http.client
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final, Self
from urllib.parse import unquote_plus

from tests.servers.process import HOST, free_port

ERROR_TEXT: Final = "Code: 241, e.displayText() = DB::Exception: Memory limit exceeded\n"
"""What ClickHouse writes into a body that it has begun."""

_BLOCK: Final = 64 * 2**10
_OF_ONE_CONNECTION: Final = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass
class Fault:
    """What goes wrong, ``times`` times, with requests whose URL or body has ``statement`` in it."""

    statement: str = ""
    times: int = sys.maxsize


@dataclass
class Late(Fault):
    """The answer begins ``seconds`` after the server gave it."""

    seconds: float = 0


@dataclass
class LostAnswer(Fault):
    """The server does what it is told, and the connection is closed before the answer."""


@dataclass
class BrokenOff(Fault):
    """The connection is closed after ``after`` bytes of the body, or before the mark of its end."""

    after: int = 0


@dataclass
class ErrorInside(Fault):
    """After ``after`` bytes of the body, or at its end, comes ERROR_TEXT; then it ends properly."""

    after: int = 0


class FaultyProxy:
    """Stands before the HTTP port of a server; passes everything on but for ``fault``.

    With ``certificate``, its file and that of its key, it is reached over TLS. ``passed`` counts
    the requests that were passed on, ``struck`` those that met a fault.
    """

    def __init__(self, http_port: int, certificate: tuple[Path, Path] | None = None) -> None:
        self.port = free_port()
        self.fault: Fault | None = None
        self.passed = 0
        self.struck = 0
        self.http_port = http_port
        self._scheme = "https" if certificate else "http"
        self._tls: ssl.SSLContext | None = None
        if certificate:
            self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._tls.load_cert_chain(*certificate)
        self._server: _Server | None = None

    @property
    def url(self) -> str:
        """Where it answers, by number and without a slash at the end."""
        return f"{self._scheme}://{HOST}:{self.port}"

    def refuse(self) -> None:
        """Close the port and all connections: nothing listens, as where a server was killed."""
        if self._server is not None:
            self._server.end()
            self._server = None

    def accept(self) -> None:
        """Listen again after :meth:`refuse`."""
        assert self._server is None, "it is listening"
        self._server = _Server(self, self._tls)

    def strike(self, request: str) -> Fault | None:
        """The fault that this request meets."""
        self.passed += 1
        fault = self.fault
        if fault is None or fault.times <= 0 or fault.statement not in request:
            return None
        fault.times -= 1
        self.struck += 1
        return fault

    def __enter__(self) -> Self:
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()


class _Server(ThreadingHTTPServer):
    """The listening side: a thread for each connection, all ended by :meth:`end`."""

    daemon_threads = False

    def __init__(self, proxy: FaultyProxy, tls: ssl.SSLContext | None) -> None:
        super().__init__((HOST, proxy.port), _Handler)
        if tls is not None:
            # The thread of a connection shakes hands, when it first reads.
            self.socket = tls.wrap_socket(
                self.socket, server_side=True, do_handshake_on_connect=False
            )
        self.proxy = proxy
        self.ending = threading.Event()
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,))
        self._thread.start()

    @contextlib.contextmanager
    def closing(self, connection: socket.socket) -> Iterator[None]:
        """Have a connection closed by :meth:`end`."""
        self._open.add(connection)
        try:
            yield
        finally:
            self._open.discard(connection)

    def end(self) -> None:
        """Close everything and wait for all threads."""
        self.ending.set()
        self.shutdown()
        self._thread.join()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()

    def handle_error(self, request: object, address: object) -> None:
        """A side that went away is what this is for; anything else is shown."""
        if not isinstance(sys.exception(), OSError | http.client.HTTPException):
            super().handle_error(request, address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    """One connection of a client."""

    protocol_version = "HTTP/1.1"
    server: _Server

    def handle(self) -> None:
        with self.server.closing(self.connection):
            super().handle()

    def do_GET(self) -> None:
        """Pass a request on, and its answer back."""
        body = self._body()
        proxy = self.server.proxy
        fault = proxy.strike(unquote_plus(self.path) + body.decode(errors="replace"))
        upstream = http.client.HTTPConnection(HOST, proxy.http_port, timeout=60)
        with contextlib.closing(upstream):
            upstream.connect()
            with self.server.closing(upstream.sock):
                upstream.request(self.command, self.path, body, _passed_on(self.headers))
                with upstream.getresponse() as response:
                    self._answer(response, fault)

    def do_POST(self) -> None:
        """The same."""
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, response: http.client.HTTPResponse, fault: Fault | None) -> None:
        if isinstance(fault, Late):
            self.server.ending.wait(fault.seconds)
        if isinstance(fault, LostAnswer):
            self.close_connection = True
            return
        self.send_response_only(response.status, response.reason)
        for name, value in _passed_on(response.headers).items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        left = fault.after if isinstance(fault, BrokenOff | ErrorInside) else sys.maxsize
        while left and (block := response.read1(min(_BLOCK, left))):
            self._chunk(block)
            left -= len(block)
        if isinstance(fault, BrokenOff):
            self.close_connection = True
            return
        if isinstance(fault, ErrorInside):
            self._chunk(ERROR_TEXT.encode())
        self._chunk(b"")

    def _chunk(self, block: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(block), block))


def _passed_on(headers: Message) -> dict[str, str]:
    """The headers that are not about one connection alone."""
    return {k: v for k, v in headers.items() if k.lower() not in _OF_ONE_CONNECTION}
