"""An HTTP/1.1 client that costs next to nothing: bytes into one buffer, looked at afterwards."""

import http.client
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass

_END_OF_CHUNKS = b"\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Reply:
    """An answer: its status, its head and body, and the seconds to its first and last byte."""

    status: int
    head: bytes
    body: bytes
    first_s: float
    total_s: float

    def header(self, name: str) -> str | None:
        """A header's value, None where it has none."""
        return _header(self.head, name)


@dataclass(frozen=True)
class Streamed:
    """A long answer of which nothing was kept: its rows and bytes were counted."""

    status: int
    rows: int
    size: int
    first_s: float
    total_s: float


class Client:
    """One connection that is kept, and one token. Close it after use."""

    def __init__(self, port: int, token: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=300)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._token = token
        self._buffer = bytearray(64 * 2**20)

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        """The whole answer to a GET."""
        return self._reply(self._request("GET", path, headers or {}))

    def post(self, path: str, body: bytes) -> Reply:
        """The whole answer to a POST of JSON."""
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        return self._reply(self._request("POST", path, headers) + body)

    def _reply(self, request: bytes) -> Reply:
        started = time.perf_counter()
        self._socket.sendall(request)
        end = self._receive(0)
        first_s = time.perf_counter() - started
        while (start := self._buffer.find(b"\r\n\r\n", 0, end) + 4) == 3:
            end = self._receive(end)
        head = bytes(self._buffer[:start])
        status = int(head[9:12])
        length = _length(status, head)
        while not self._whole(start, end, length):
            end = self._receive(end)
        total_s = time.perf_counter() - started
        body = bytes(self._buffer[start:end])
        if length is None:
            body = _joined(body)
        return Reply(status, head, body, first_s, total_s)

    def _request(self, method: str, path: str, headers: Mapping[str, str]) -> bytes:
        more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        return (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {self._token}\r\nAccept-Encoding: identity\r\n{more}\r\n"
        ).encode()

    def _receive(self, at: int) -> int:
        """Read into the buffer from ``at`` on; returns where what was read ends."""
        if at == len(self._buffer):
            self._buffer.extend(bytes(len(self._buffer)))
        got = self._socket.recv_into(memoryview(self._buffer)[at : at + 2**20])
        if not got:
            raise ConnectionError("the server broke the answer off")
        return at + got

    def _whole(self, start: int, end: int, length: int | None) -> bool:
        if length is not None:
            return end - start >= length
        # JSON holds no line ends of this kind, so the mark can only be the end.
        return self._buffer.endswith(_END_OF_CHUNKS, start - 2, end)


def _length(status: int, head: bytes) -> int | None:
    """The length of the body, None for one in chunks."""
    if status == 304:
        return 0
    told = _header(head, "content-length")
    return None if told is None else int(told)


def _header(head: bytes, wanted: str) -> str | None:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == wanted.lower().encode():
            return value.strip().decode()
    return None


def _joined(chunks: bytes) -> bytes:
    """The body inside chunked coding."""
    parts: list[bytes] = []
    at = 0
    while True:
        line = chunks.index(b"\r\n", at)
        size = int(chunks[at:line], 16)
        if not size:
            return b"".join(parts)
        parts.append(chunks[line + 2 : line + 2 + size])
        at = line + 2 + size + 2


def stream(port: int, token: str, path: str, mark: bytes) -> Streamed:
    """Read a long answer to its end, counting ``mark``, which is in each of its rows once."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=300)
    started = time.perf_counter()
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    response = connection.getresponse()
    tail = response.read(1)
    first_s = time.perf_counter() - started
    size = len(tail)
    rows = 0
    while block := response.read(2**20):
        size += len(block)
        rows += (tail + block).count(mark)
        tail = block[1 - len(mark) :]  # a mark may lie across two blocks
    total_s = time.perf_counter() - started
    connection.close()
    return Streamed(response.status, rows, size, first_s, total_s)
