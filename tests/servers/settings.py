"""Settings of a genmeter that runs on the servers of tests."""

from collections.abc import Sequence
from typing import Any

from genmeter.config.urls import ClickHouseUrl, Secret, clickhouse
from tests.servers.clickhouse import GENMETER, ClickHouse
from tests.servers.cluster import NAME, Cluster
from tests.servers.postgres import Postgres
from tests.servers.process import HOST

USER, PASSWORD = GENMETER


def address(ports: Sequence[int], database: str) -> ClickHouseUrl:
    """The address of the servers that answer at HTTP ``ports``."""
    return clickhouse(text_address(ports, database))


def text_address(ports: Sequence[int], database: str) -> str:
    """The same as an operator writes it."""
    hosts = ",".join(f"{HOST}:{port}" for port in ports)
    return f"http://{USER}@{hosts}/{database}"


def on_server(server: ClickHouse) -> dict[str, Any]:
    """Records in a new database of one server."""
    return {
        "clickhouse": address([server.http_port], server.database()),
        "clickhouse_password": Secret(PASSWORD),
    }


def on_cluster(cluster: Cluster) -> dict[str, Any]:
    """Records in a new database of a cluster, all of whose servers are named."""
    ports = [server.http_port for server in cluster.servers]
    return {
        "clickhouse": address(ports, cluster.database()),
        "clickhouse_password": Secret(PASSWORD),
        "clickhouse_cluster": NAME,
    }


def on_postgres(server: Postgres) -> dict[str, Any]:
    """Tokens in PostgreSQL."""
    return {"accounts": server.url(), "accounts_password": server.secret}
