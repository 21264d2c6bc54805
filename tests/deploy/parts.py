"""The servers of the Compose file as processes, by their own configuration in deploy/."""

import contextlib
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from xml.etree import ElementTree

import pytest

from tests.deploy.files import DEPLOY
from tests.servers.clickhouse import ClickHouse
from tests.servers.postgres import Postgres
from tests.servers.process import HOST, start_all
from tests.servers.zookeeper import ZooKeeper
from tests.support import program

CONFIG: Final = DEPLOY / "clickhouse"
USER: Final = ("genmeter", "correct-horse-battery-staple")
REPLICAS: Final = {"clickhouse1": "localhost", "clickhouse2": HOST}
"""What the servers are called in the configuration, and here."""


class Configured(ClickHouse):
    """A server as ``deploy/clickhouse`` configures it, ``name`` being its host there."""

    def __init__(self, folder: Path, name: str) -> None:
        super().__init__(folder, name)
        for kind in ("config.d", "users.d"):
            (folder / kind).mkdir()

    def configure(self, servers: "dict[str, Configured]", zookeeper: ZooKeeper) -> None:
        """Lay out the files with the addresses of here."""
        for name, folder in (("server.xml", "config.d"), ("users.xml", "users.d")):
            tree = ElementTree.parse(CONFIG / name)
            root = tree.getroot()
            root.tag = "yandex"
            for node in root.findall("zookeeper/node"):
                _set(node, host=HOST, port=zookeeper.port)
            for replica in root.iter("replica"):
                if host := replica.findtext("host"):
                    _set(replica, host=REPLICAS[host], port=servers[host].tcp_port)
            tree.write(self.folder / folder / "genmeter.xml")
        # What a server that was just installed does not say.
        for name, section in (("config.xml", "interserver_http_host"), ("users.xml", "genmeter")):
            file = self.folder / name
            without = re.sub(rf"<{section}>.*</{section}>", "", file.read_text())
            assert without != file.read_text()
            file.write_text(without)

    def launch(self) -> None:
        """Start it with the environment that the Compose file gives it."""
        with pytest.MonkeyPatch.context() as given:
            given.setenv("CLICKHOUSE_REPLICA", REPLICAS[self.name])
            given.setenv("CLICKHOUSE_PASSWORD", USER[1])
            super().launch()


def _set(element: ElementTree.Element, **children: object) -> None:
    for name, text in children.items():
        child = element.find(name)
        assert child is not None
        child.text = str(text)


@contextlib.contextmanager
def clickhouses(folder: Path) -> Iterator[dict[str, Configured]]:
    """Both ClickHouse servers, by name, and a ZooKeeper in place of the Keeper."""
    found = {name: Configured(folder / name, name) for name in REPLICAS}
    with ZooKeeper(folder / "zookeeper") as zookeeper:
        for server in found.values():
            server.configure(found, zookeeper)
        try:
            start_all(found.values())
            for server in found.values():
                server.query("CREATE DATABASE genmeter", user=USER)
            yield found
        finally:
            for server in found.values():
                server.kill()


@contextlib.contextmanager
def postgresql(folder: Path) -> Iterator[Postgres]:
    """A PostgreSQL in which genmeter's role was made as it is in a new container."""
    password = folder / "accounts_password"
    password.write_text(f"{USER[1]}\n")
    script = (DEPLOY / "postgresql" / "create-role.sql").read_text()
    server = Postgres()
    try:
        server.start()
        subprocess.run(
            [program("psql"), "--no-psqlrc", "--set=ON_ERROR_STOP=1", "--quiet",
             f"--host={server.folder}", f"--port={server.port}", "--username=postgres"],
            input=script.replace("/run/secrets/accounts_password", str(password)),
            text=True, check=True,
        )  # fmt: skip
        yield server
    finally:
        server.__exit__()
