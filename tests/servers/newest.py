"""The newest ClickHouse behind its HTTP interface: chDB's SQL, for what Debian's is too old for.

It is told statements and settings as a server is, and answers as one does: the text, or the error
with status 500. It asks for no password.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import httpx2

from tests.servers.process import HOST, ServerProcess, free_port

DATABASE: Final = "genmeter"
_PROGRAM: Final = Path(__file__).with_name("chdb_server.py")


class Newest(ServerProcess):
    """The server as a process, with an empty database ``genmeter``."""

    def __init__(self, folder: Path) -> None:
        super().__init__("newest", folder)
        self.http_port = free_port()

    def command(self) -> Sequence[str | Path]:
        """The program with a folder and a port."""
        return [sys.executable, _PROGRAM, self.folder / "data", str(self.http_port)]

    def answers(self) -> bool:
        """Whether it runs a statement."""
        try:
            url = f"http://{HOST}:{self.http_port}/"
            return httpx2.post(url, content=b"SELECT 1", timeout=5).content == b"1\n"
        except httpx2.TransportError:
            return False
