"""The servers that tests start do what tests rely on."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest

from tests.servers.clickhouse import GENMETER, ClickHouse, QueryError
from tests.servers.cluster import Cluster
from tests.support import program

_REPLICATED = (
    "ENGINE = ReplicatedReplacingMergeTree('/{database}/{{shard}}/local', '{{replica}}', version) "
    "ORDER BY key"
)


def until(true: Callable[[], bool]) -> None:
    """Wait for what has no event."""
    give_up = time.monotonic() + 60
    while not true():
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.fixture
def database(cluster: Cluster) -> str:
    """A database with a replicated table ``local`` on each server and ``spread`` over all."""
    name = cluster.database()
    columns = "(key UInt32, version UInt32)"
    engine = _REPLICATED.format(database=name)
    for server in cluster.servers:
        server.query(f"CREATE TABLE local {columns} {engine}", database=name, user=GENMETER)
        server.query(
            f"CREATE TABLE spread {columns} ENGINE = Distributed(genmeter, {name}, local, key)",
            database=name,
            user=GENMETER,
        )
    return name


def keys(server: ClickHouse, database: str, table: str = "local") -> list[int]:
    """The keys that a server has."""
    answer = server.query(f"SELECT key FROM {table} ORDER BY key", database=database)
    return [int(line) for line in answer.split()]


def insert(server: ClickHouse, database: str, *new: int, table: str = "local") -> None:
    """Insert keys, on the shards when it returns."""
    values = ", ".join(f"({key}, 1)" for key in new)
    server.query(
        f"INSERT INTO {table} VALUES {values}",
        database=database,
        user=GENMETER,
        insert_distributed_sync=1,
    )


def test_a_row_inserted_on_one_replica_is_on_the_other(cluster: Cluster, database: str) -> None:
    one, other = cluster.shard(1)
    insert(one, database, 7)
    until(lambda: keys(other, database) == [7])
    assert [keys(server, database) for server in cluster.shard(2)] == [[], []]


def test_a_distributed_insert_reaches_the_shard_of_each_row(
    cluster: Cluster, database: str
) -> None:
    insert(cluster.servers[3], database, 1, 2, 3, 4, table="spread")
    for number, expected in ((1, [2, 4]), (2, [1, 3])):
        for server in cluster.shard(number):
            until(lambda s=server, e=expected: keys(s, database) == e)  # type: ignore[misc]
    assert keys(cluster.servers[0], database, "spread") == [1, 2, 3, 4]


def test_a_replica_that_was_killed_catches_up(cluster: Cluster, database: str) -> None:
    one, other = cluster.shard(2)
    other.kill()
    insert(one, database, 1)
    cluster.mend()
    until(lambda: keys(other, database) == [1])


def test_without_zookeeper_nothing_is_inserted_and_with_it_again(
    cluster: Cluster, database: str
) -> None:
    server = cluster.servers[0]
    cluster.zookeeper.stop()
    with pytest.raises(QueryError):
        insert(server, database, 1)
    assert keys(server, database) == []
    cluster.mend()
    insert(server, database, 1)
    assert keys(server, database) == [1]


def test_genmeter_may_use_its_databases_and_nothing_else(clickhouse: ClickHouse) -> None:
    database = clickhouse.database()
    clickhouse.query("CREATE TABLE t (n UInt8) ENGINE = Log", database=database, user=GENMETER)
    for user in (GENMETER, ("genmeter", "wrong"), ("default", "")):
        with pytest.raises(QueryError):
            clickhouse.query("CREATE TABLE default.t (n UInt8) ENGINE = Log", user=user)


def test_a_server_held_still_answers_nothing_until_it_goes_on(clickhouse: ClickHouse) -> None:
    clickhouse.pause()
    try:
        with pytest.raises(httpx2.ReadTimeout):
            httpx2.get(f"{clickhouse.http_url}/ping", timeout=0.2)
    finally:
        clickhouse.mend()
    assert clickhouse.query("SELECT 1") == "1\n"


_STARTS_ONE = """
import sys, time
from pathlib import Path
from tests.servers.clickhouse import ClickHouse
server = ClickHouse(Path(sys.argv[1]))
server.start()
print(server.http_url, flush=True)
time.sleep(600)
"""


def test_servers_end_with_the_process_that_started_them(tmp_path: Path) -> None:
    program("clickhouse-server")
    starter = subprocess.Popen(
        [sys.executable, "-c", _STARTS_ONE, tmp_path],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with starter:
        assert starter.stdout is not None
        url = starter.stdout.readline().strip()
        assert httpx2.get(f"{url}/ping").text == "Ok.\n"
        starter.kill()
    until(lambda: refuses(url))


def refuses(url: str) -> bool:
    """Whether nothing listens."""
    try:
        httpx2.get(f"{url}/ping", timeout=5)
    except httpx2.TransportError:
        return True
    return False
