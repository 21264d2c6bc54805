"""ClickHouse's HTTP interface over chDB, as far as genmeter uses it: ``FOLDER PORT``.

A program of its own, because a process has one engine.
"""

import contextlib
import gzip
import itertools
import sys
import threading
from collections.abc import Generator, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from genmeter.storage.engine.chdb import connect

DATABASE: Final = "genmeter"
_NO_SETTINGS: Final = frozenset({"database", "default_format", "query", "wait_end_of_query"})


def serve(folder: Path, port: int) -> None:
    """Answer statements until the process ends."""
    anchor = connect(str(folder))
    anchor.query(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
    inserting = threading.Lock()

    def run(parameters: dict[str, str], body: bytes) -> Generator[bytes, None, None]:
        """The blocks of an answer; what is not a SELECT is one."""
        handle = connect(str(folder))
        try:
            handle.query(f"USE {parameters.get('database', DATABASE)}")
            settings = [
                f"{name} = '{value}'"
                for name, value in parameters.items()
                if name not in _NO_SETTINGS
            ]
            if settings:
                handle.query("SET " + ", ".join(settings))
            form = parameters.get("default_format", "TSV")
            if "query" in parameters:
                with inserting:
                    yield handle.query(parameters["query"] + "\n" + body.decode()).bytes()
            elif not body.startswith(b"SELECT"):
                yield handle.query(body.decode(), form).bytes()
            else:
                result = handle.send_query(body.decode(), form)
                ended = False
                try:
                    while block := handle.streaming_fetch_result(result).bytes():
                        yield block
                    ended = True
                finally:
                    if not ended:
                        handle.streaming_cancel_query(result)
        finally:
            handle.close()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            blocks = run(dict(parse_qsl(urlsplit(self.path).query)), body)
            with contextlib.closing(blocks):
                try:
                    first = next(blocks, b"")
                except RuntimeError as error:
                    self._answer(500, str(error).encode(), ())
                else:
                    self._answer(200, first, blocks)

        def _answer(self, status: int, first: bytes, others: Iterable[bytes]) -> None:
            self.send_response(status)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            try:
                for block in itertools.chain((first,), others):
                    if block:
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(block), block))
                self.wfile.write(b"0\r\n\r\n")
            except (RuntimeError, ConnectionError):  # the answer ends without the mark of its end
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Nothing: the tests have their own."""

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), int(sys.argv[2]))
