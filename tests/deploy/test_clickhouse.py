"""The ClickHouse configuration: a real cluster runs by it, of the oldest servers there are.

They know neither ``<clickhouse>`` as the root (it was ``<yandex>``) nor grants; those are read by
the newest engine there is.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from xml.etree import ElementTree

import pytest

from tests.deploy.parts import CONFIG, REPLICAS, USER, Configured, clickhouses
from tests.servers.clickhouse import QueryError
from tests.support import environment


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Configured]]:
    """Both servers, by name."""
    with clickhouses(tmp_path_factory.mktemp("configured")) as found:
        yield found


def test_replicas_of_one_shard_have_the_same_records(servers: dict[str, Configured]) -> None:
    for server in servers.values():
        server.query(
            "CREATE TABLE genmeter.pairs (n UInt32) ENGINE = "
            "ReplicatedMergeTree('/tables/{shard}/pairs', '{replica}') ORDER BY n",
            user=USER,
        )
    first, second = servers.values()
    first.query("INSERT INTO genmeter.pairs VALUES (1), (2)", user=USER)
    give_up = time.monotonic() + 30
    while second.query("SELECT count() FROM genmeter.pairs", user=USER) != "2\n":
        assert time.monotonic() < give_up, second.log()
        time.sleep(0.05)


def test_each_knows_the_cluster_and_its_own_place_in_it(servers: dict[str, Configured]) -> None:
    for server in servers.values():
        # To servers so old a replica is local where its shard is.
        clusters = server.query(
            "SELECT cluster, shard_num, host_name, is_local FROM system.clusters "
            "ORDER BY replica_num",
            user=USER,
        )
        assert clusters.splitlines() == [f"genmeter\t1\t{host}\t1" for host in REPLICAS.values()]


def test_nobody_else_gets_in(servers: dict[str, Configured]) -> None:
    for server in servers.values():
        for user in (("default", ""), (USER[0], ""), (USER[0], USER[1] + "x")):
            with pytest.raises(QueryError):
                server.query("SELECT 1", user=user)


def test_the_password_is_in_no_file_of_the_server() -> None:
    for name in ("server.xml", "users.xml"):
        for element in ElementTree.parse(CONFIG / name).iter("password"):
            assert element.attrib == {
                "from_env": "CLICKHOUSE_PASSWORD",
                "hide_in_preprocessed": "true",
            }
            assert element.text is None


def test_the_newest_engine_understands_the_grants() -> None:
    """It is asked to give them to a role that is not there, and says just that."""
    grants = [query.text for query in ElementTree.parse(CONFIG / "users.xml").iter("query")]
    assert grants
    script = (
        "import sys, chdb\n"
        "for grant in sys.argv[1:]:\n"
        "    try:\n"
        "        chdb.query(grant + ' TO nobody')\n"
        "    except RuntimeError as error:\n"
        "        print(str(error)[:str(error).index(' DB::')], flush=True)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, grants)],
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    assert done.stdout.splitlines() == ["Code: 511."] * len(grants), done.stdout  # UNKNOWN_ROLE


def test_keeper_is_where_the_servers_look_for_it() -> None:
    keeper = ElementTree.parse(CONFIG / "keeper.xml")
    servers = ElementTree.parse(CONFIG / "server.xml")
    (node,) = servers.findall("zookeeper/node")
    (member,) = keeper.findall("keeper_server/raft_configuration/server")
    assert node.findtext("port") == keeper.findtext("keeper_server/tcp_port")
    assert node.findtext("host") == member.findtext("hostname")
    assert member.findtext("id") == keeper.findtext("keeper_server/server_id")
