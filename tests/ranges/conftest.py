"""A world of records to ask about, on every engine but the newest."""

from collections.abc import Iterator

import pytest

from tests.support import Running
from tests.world import ACCOUNTS, Asker, World, world


@pytest.fixture(scope="package")
def asked(shared_service: Running) -> Iterator[World]:
    """The shared service with many records of three accounts."""
    with world(shared_service, seed=1, count=400) as made:
        yield made


@pytest.fixture(scope="package")
def admin(asked: World) -> Asker:
    """Who may ask about every account."""
    return asked.asker(ACCOUNTS[0], "admin")


@pytest.fixture(scope="package")
def reader(asked: World) -> Asker:
    """Who may ask about their own."""
    return asked.asker(ACCOUNTS[1], "read")
