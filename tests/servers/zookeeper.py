"""ZooKeeper as a process: one server, small, with short sessions."""

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.servers.process import HOST, ServerProcess, free_port
from tests.support import missing, program

_JARS: Final = ("zookeeper.jar", "slf4j-simple.jar")
_JAVA: Final = (
    "-Xms16m",
    "-Xmx128m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dzookeeper.preAllocSize=1024",  # in kB; by default each log is of 64 MB from its start
    "-Dzookeeper.forceSync=no",  # what a killed process wrote is there; only power is not survived
    "-Dzookeeper.jmx.log4j.disable=true",
)


class ZooKeeper(ServerProcess):
    """A ZooKeeper of one server; stopped and started again it has its port and its data.

    Sessions may last from 1 s to 10 s, as their clients ask.
    Without Java and ZooKeeper the test is skipped at home and fails in CI.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__("zookeeper", folder)
        self.port = free_port()
        self._java = program("java")
        self._jars = [_jar(name) for name in _JARS]
        self._config = folder / "zoo.cfg"
        self._config.write_text(
            f"dataDir={folder / 'data'}\n"
            f"clientPort={self.port}\n"
            f"clientPortAddress={HOST}\n"
            "tickTime=500\n"
            "maxClientCnxns=0\n"
            "admin.enableServer=false\n"
            "4lw.commands.whitelist=srvr,dump\n",
            encoding="utf-8",
        )

    def command(self) -> Sequence[str | Path]:
        """Java with the one class that is the server."""
        main = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
        return [self._java, *_JAVA, "-cp", ":".join(map(str, self._jars)), main, self._config]

    def answers(self) -> bool:
        """Whether it serves clients: ``srvr`` then names its mode."""
        try:
            return "Mode:" in self.ask("srvr")
        except OSError:
            return False

    def ask(self, word: str) -> str:
        """The answer to a word of four letters: ``srvr``, or ``dump`` for sessions and nodes."""
        with socket.create_connection((HOST, self.port), timeout=5) as connection:
            connection.sendall(word.encode())
            with connection.makefile("rb") as answer:
                return answer.read().decode()


def _jar(name: str) -> Path:
    path = Path("/usr/share/java", name)
    if not path.exists():
        missing("zookeeper")
    return path
