"""The shared service: one engine for the whole run, an account of its own for each test."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from genmeter.storage.engine.base import Engine
from tests.databases import Database, InFolder, OnServer
from tests.servers.newest import DATABASE, Newest
from tests.servers.postgres import Postgres
from tests.servers.settings import address, on_cluster, on_postgres, on_server
from tests.support import NOON_MS, Client, Running, running

pytest_plugins = ["tests.servers.fixtures"]
pytest.register_assert_rewrite("tests.world")

ENGINES = ("embedded", "server", "newest", "cluster")


@pytest.fixture(scope="session", params=ENGINES)
def shared_service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A service of this process; retention is 92 days, the clock stands at noon of TODAY.

    Once over the engine in the process; once over a ClickHouse server, once over the newest one,
    and once over a cluster with the accounts in PostgreSQL: every test that asks or records over
    HTTP holds for all of them.
    """
    with contextlib.ExitStack() as stack:
        changes: dict[str, Any] = {}
        if request.param == "server":
            changes = on_server(request.getfixturevalue("clickhouse"))
        elif request.param == "newest":
            server = stack.enter_context(Newest(tmp_path_factory.mktemp("newest")))
            changes = {"clickhouse": address([server.http_port], DATABASE)}
        elif request.param == "cluster":
            changes = on_cluster(request.getfixturevalue("shared_cluster"))
            postgres = stack.enter_context(Postgres())
            postgres.clear()
            changes |= on_postgres(postgres)
        data = tmp_path_factory.mktemp("shared") / "data"
        yield stack.enter_context(running(data, **changes))


@pytest.fixture
def service(shared_service: Running) -> Iterator[Running]:
    """The shared service, its clock set back afterwards."""
    yield shared_service
    shared_service.forget_clients()
    shared_service.clock.ms = NOON_MS


@pytest.fixture
def engine(service: Running) -> Engine:
    """The engine of the shared service, for tests that make it fail or look behind it."""
    return service.service.engine


@pytest.fixture
def client(service: Running) -> Client:
    """Somebody who may read and record for an account that nobody else uses."""
    return service.client()


@pytest.fixture
def admin(service: Running) -> Client:
    """Somebody who may do everything."""
    return service.client(("admin",))


@pytest.fixture(scope="session")
def shared_postgres() -> Iterator[Postgres]:
    """A PostgreSQL for the whole run."""
    with Postgres() as server:
        yield server


@pytest.fixture
def postgres(shared_postgres: Postgres) -> Iterator[Postgres]:
    """The shared PostgreSQL, empty, running again afterwards: tests may do to it what they like."""
    shared_postgres.clear()
    yield shared_postgres
    shared_postgres.mend()


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty database for accounts, of each kind in turn."""
    if request.param == "sqlite":
        return InFolder(tmp_path / "some" / "data")
    return OnServer(request.getfixturevalue("postgres"))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what a module's ``engines`` mark does not name, and say what comes first.

    The newest engine stands behind a small front made for tests, which is slow: what asks each
    kind of statement runs over it, what asks very many of a kind does not.

    A process has one engine, which is the shared service's as soon as there is one. So tests with
    an engine of their own come before all with that, and then what takes longest.
    """

    def order(item: pytest.Item) -> int:
        shared = "shared_service" in getattr(item, "fixturenames", ())
        return 1 if shared else 2 if item.get_closest_marker("own_engine") is None else 0

    def runs(item: pytest.Item) -> bool:
        mark = item.get_closest_marker("engines")
        params = getattr(item, "callspec", None)
        engine = params.params.get("shared_service") if params else None
        return mark is None or engine is None or engine in mark.args

    left_out = [item for item in items if not runs(item)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = sorted(filter(runs, items), key=order)


class ByServers(LoadScopeScheduling):  # type: ignore[misc]
    """Gives tests to processes: all of an engine to one of them, which starts its servers once."""

    def _split_scope(self, nodeid: str) -> str:
        path, _, name = nodeid.partition("::")
        told = name.partition("[")[2].rstrip("]").split("-")
        return next((engine for engine in ENGINES if engine in told), path)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServers:
    """How ``make test`` shares tests among processes."""
    return ByServers(config, log)


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--kills N``: how often the crash test kills the server; more is better, by hand."""
    parser.addoption("--kills", type=int, default=3)
