"""A server that answers as it is told, and keeps the records it was sent."""

import gzip
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Reply = tuple[int, Mapping[str, str], bytes]
Answering = Callable[[list[bytes]], Reply]


def taken(lines: list[bytes]) -> Reply:
    """The answer to records that are all stored."""
    return answer(200, {"accepted": len(lines), "rejected": [], "rejected_total": 0})


def answer(status: int, body: Any, **headers: str) -> Reply:
    """An answer with JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return status, named, json.dumps(body).encode()


class Mock:
    """``answers`` are given in turn, then all is stored; ``posts`` has each request's lines."""

    def __init__(self) -> None:
        self.answers: list[Answering] = []
        self.posts: list[list[bytes]] = []
        self.hanging = threading.Event()
        self.url = ""

    @property
    def records(self) -> list[dict[str, Any]]:
        """All records that were sent, in order."""
        return [json.loads(line) for post in self.posts for line in post]


@contextmanager
def mock() -> Iterator[Mock]:
    """A mock on a free port of loopback."""
    made = Mock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            lines = gzip.decompress(body).split(b"\n")
            made.posts.append(lines)
            reply = (made.answers.pop(0) if made.answers else taken)(lines)
            self.send_response(reply[0])
            for name, value in reply[1].items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(reply[2])))
            self.end_headers()
            self.wfile.write(reply[2])

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        made.hanging.set()
        server.shutdown()
        thread.join()
        server.server_close()
