"""Where measured records are: in the service's process, on a ClickHouse server, or on a cluster.

The servers are those of the tests, small ones on loopback; with them the accounts are in
PostgreSQL, as where several nodes share them, and that one does sync what it commits.
"""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.servers.clickhouse import ClickHouse as Server
from tests.servers.cluster import NAME, Cluster
from tests.servers.settings import PASSWORD, text_address

from bench import alone, postgres
from bench.alone import Holdings
from bench.fill import settle
from bench.processes import cpu_s
from genmeter.config.urls import Secret, clickhouse
from genmeter.storage.engine.base import Engine
from genmeter.storage.engine.cluster import ClickHouse

Kind = Literal["embedded", "server", "cluster"]


@dataclass(frozen=True)
class Place:
    """One store: the data folder of a service, and where else its things are."""

    data: Path
    clickhouse: str = ""
    cluster: str = ""
    accounts: str = ""

    @property
    def variables(self) -> Mapping[str, str]:
        """The environment of a service over it."""
        if not self.clickhouse:
            return {}
        return {
            "GENMETER_CLICKHOUSE": self.clickhouse,
            "GENMETER_CLICKHOUSE_PASSWORD": PASSWORD,
            "GENMETER_CLICKHOUSE_CLUSTER": self.cluster,
            "GENMETER_ACCOUNTS": self.accounts,
        }

    def open(self) -> Engine:
        """The engine without a service; no service may run if it is the one in the process."""
        if not self.clickhouse:
            return alone.open_engine(self.data / "engine")
        return ClickHouse(
            clickhouse(self.clickhouse), password=Secret(PASSWORD), cluster=self.cluster
        )

    def holdings(self) -> list[Holdings]:
        """What every shard holds, when merges have ended. To be run aside."""
        engine = self.open()
        try:
            engine.prepare(lambda _: None)
            shards = range(len(engine.layout.weights))
            for shard in shards:
                settle(engine, removed=False, shard=shard)
            return [alone.held(engine, shard) for shard in shards]
        finally:
            engine.close()


@dataclass
class Site:
    """Servers, if any, and the stores on them. ``pids`` are the servers' by what they are."""

    kind: Kind
    folder: Path
    pids: dict[str, list[int]] = field(default_factory=dict)
    servers: list[Server] = field(default_factory=list)
    cluster: Cluster | None = None
    databases: postgres.Databases | None = None

    def place(self, name: str) -> Place:
        """A new store."""
        data = self.folder / name
        if self.databases is None:
            return Place(data)
        self.databases.make_anew(name)
        accounts = f"postgresql://bench@/{name}?host={self.databases.socket}"
        database = self.cluster.database() if self.cluster else self.servers[0].database()
        ports = [each.http_port for each in self.servers]
        of = NAME if self.cluster else ""
        return Place(data, text_address(ports, database), of, accounts)

    def cpu_s(self) -> dict[str, float]:
        """Seconds of processor time that servers have used, by what they are."""
        return {name: sum(map(cpu_s, pids)) for name, pids in self.pids.items()}

    def count(self, event: str) -> int:
        """How often something has happened on all ClickHouse servers, by their own count."""
        statement = f"SELECT sum(value) FROM system.events WHERE event = '{event}'"
        return sum(int(each.query(statement)) for each in self.servers)


@contextlib.contextmanager
def site(kind: Kind, folder: Path) -> Iterator[Site]:
    """The servers for stores of a kind, while the context is open; all of it in ``folder``."""
    made = Site(kind, folder)
    if kind == "embedded":
        yield made
        return
    with contextlib.ExitStack() as stack:
        made.databases = stack.enter_context(postgres.Cluster(folder / "postgres"))
        postmaster = (folder / "postgres" / "postmaster.pid").read_text().split()[0]
        made.pids["PostgreSQL"] = [int(postmaster)]
        if kind == "server":
            made.servers = [stack.enter_context(Server(folder / "clickhouse"))]
            made.pids["ClickHouse"] = [made.servers[0].pid]
        else:
            made.cluster = stack.enter_context(Cluster(folder / "cluster"))
            made.servers = made.cluster.servers
            shards = [made.cluster.shard(1), made.cluster.shard(2)]
            made.pids["ClickHouse, written to"] = [shard[0].pid for shard in shards]
            made.pids["ClickHouse, standing by"] = [shard[1].pid for shard in shards]
            made.pids["ZooKeeper"] = [made.cluster.zookeeper.pid]
        yield made
