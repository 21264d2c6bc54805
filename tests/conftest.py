"""The shared service: one engine for the whole run, an account of its own for each test."""

from collections.abc import Iterator

import pytest

from tests.support import NOON_MS, Client, Running, running

pytest_plugins = ["tests.servers.fixtures"]


@pytest.fixture(scope="session")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service of this process; retention is 92 days, the clock stands at noon of TODAY."""
    with running(tmp_path_factory.mktemp("shared") / "data") as service:
        yield service


@pytest.fixture
def service(shared_service: Running) -> Iterator[Running]:
    """The shared service, its clock set back afterwards."""
    yield shared_service
    shared_service.forget_clients()
    shared_service.clock.ms = NOON_MS


@pytest.fixture
def client(service: Running) -> Client:
    """Somebody who may read and record for an account that nobody else uses."""
    return service.client()


@pytest.fixture
def admin(service: Running) -> Client:
    """Somebody who may do everything."""
    return service.client(("admin",))


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--kills N``: how often the crash test kills the server; more is better, by hand."""
    parser.addoption("--kills", type=int, default=3)
