"""HTTP as bytes on a socket, for clients that no library would be."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATIENCE_S = 30


@contextmanager
def connected(base_url: str, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    """A connection to a service from one of this machine's addresses."""
    host, port = base_url.removeprefix("http://").split(":")
    with socket.create_connection(
        (host, int(port)), timeout=PATIENCE_S, source_address=(source, 0)
    ) as connection:
        yield connection


def head(method: str, path: str, token: str | None = None, **headers: Any) -> bytes:
    """The first line and the headers of a request."""
    named = {"Host": "test"} | {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        named["Authorization"] = f"Bearer {token}"
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in named.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def response(connection: socket.socket) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON body of the next response."""
    received = b""
    while b"\r\n\r\n" not in received:
        piece = connection.recv(65_536)
        assert piece, received
        received += piece
    top, _, body = received.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
    while len(body) < int(headers["content-length"]):
        piece = connection.recv(65_536)
        assert piece, body
        body += piece
    return int(first.split()[1]), headers, json.loads(body)


def closed(connection: socket.socket) -> bool:
    """Whether the server says that nothing more will come, waiting for it."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True
