"""The servers that tests share: each starts with the first test that asks for it."""

from collections.abc import Iterator

import pytest

from tests.servers.clickhouse import ClickHouse
from tests.servers.cluster import Cluster


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """One server that stands alone, far from UTC."""
    with ClickHouse(tmp_path_factory.mktemp("clickhouse"), timezone="America/St_Johns") as server:
        yield server


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster for the whole run."""
    with Cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def cluster(shared_cluster: Cluster) -> Iterator[Cluster]:
    """The shared cluster, whole again afterwards: tests may stop and kill what they like."""
    yield shared_cluster
    shared_cluster.mend()
