"""Two shards of two replicas each, and the ZooKeeper between them."""

import time
from itertools import product
from pathlib import Path
from typing import Final, Self

from tests.servers.clickhouse import GENMETER, ClickHouse, escape
from tests.servers.process import HOST, start_all
from tests.servers.zookeeper import ZooKeeper

NAME: Final = "genmeter"
"""The cluster's name in ``remote_servers``, that is in ``Distributed(…)`` and ``ON CLUSTER``."""

SHARDS: Final = 2
REPLICAS: Final = 2

_READ_ONLY: Final = "SELECT concat(database, '.', table) FROM system.replicas WHERE is_readonly"


class Cluster:
    """The servers of a cluster that runs between ``__enter__`` and ``__exit__``.

    ``servers`` are ordered by shard, then by replica, as in ``remote_servers``; the second has a
    time zone far from UTC. Every server knows itself by the macros ``shard`` and ``replica``.
    Servers talk to each other as the user GENMETER.
    """

    def __init__(self, folder: Path) -> None:
        self.zookeeper = ZooKeeper(folder / "zookeeper")
        self.servers: list[ClickHouse] = []
        for shard, replica in product(range(1, SHARDS + 1), range(1, REPLICAS + 1)):
            name = f"shard{shard}-replica{replica}"
            zone = "Asia/Kathmandu" if (shard, replica) == (1, 2) else "UTC"
            self.servers.append(ClickHouse(folder / name, name, timezone=zone))
        shared = self._remote_servers() + self._keeper()
        for number, server in enumerate(self.servers):
            server.write_config(
                f"  <macros><shard>{number // REPLICAS + 1}</shard>"
                f"<replica>{server.name}</replica></macros>\n{shared}"
            )

    def shard(self, number: int) -> list[ClickHouse]:
        """The replicas of a shard; the first shard is 1."""
        return self.servers[(number - 1) * REPLICAS : number * REPLICAS]

    def database(self) -> str:
        """The name of a database, new and empty on every server, that GENMETER may use."""
        first, *others = self.servers
        name = first.database()
        for server in others:
            server.query(f"CREATE DATABASE {name}")
        return name

    def everywhere(self, sql: str) -> list[str]:
        """Run a statement on every server, one after the other."""
        return [server.query(sql) for server in self.servers]

    def mend(self) -> None:
        """Start what was ended, let go on what was held, wait until every table can be written.

        A server that finds its own old session in ZooKeeper, or no ZooKeeper, tries again after
        10 s. So old sessions are waited for (4 s), and to start a replica anew is to try now.
        """
        give_up = time.monotonic() + 60
        self.zookeeper.mend()
        for server in self.servers:
            while not server.running and f"/{server.name}/is_active" in self.zookeeper.ask("dump"):
                assert time.monotonic() < give_up, f"the session of {server.name} does not end"
                time.sleep(0.05)
            server.mend()
        for server in self.servers:
            while tables := server.query(_READ_ONLY).split():
                assert time.monotonic() < give_up, f"read-only on {server.name}: {tables}"
                time.sleep(0.2)
                for table in tables:
                    server.query(f"SYSTEM RESTART REPLICA {table}")

    def __enter__(self) -> Self:
        try:
            self.zookeeper.start()
            start_all(self.servers)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for server in (*self.servers, self.zookeeper):
            server.kill()

    def _remote_servers(self) -> str:
        user, password = GENMETER
        shards = ""
        for number in range(1, SHARDS + 1):
            replicas = "".join(
                f"<replica><host>{HOST}</host><port>{server.tcp_port}</port>"
                f"<user>{user}</user><password>{escape(password)}</password></replica>\n"
                for server in self.shard(number)
            )
            shards += (
                "<shard><internal_replication>true</internal_replication>\n" + replicas + "</shard>"
            )
        return f"  <remote_servers><{NAME}>\n{shards}</{NAME}></remote_servers>\n"

    def _keeper(self) -> str:
        return (
            f"  <zookeeper><node><host>{HOST}</host><port>{self.zookeeper.port}</port></node>"
            "<session_timeout_ms>4000</session_timeout_ms></zookeeper>\n"
            "  <distributed_ddl><path>/clickhouse/task_queue/ddl</path></distributed_ddl>\n"
        )
