"""The Compose file without Docker: its servers and its nodes as processes, by its own settings."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from genmeter.clock import now_ms
from tests.deploy.files import DEPLOY, yaml
from tests.deploy.parts import USER, clickhouses, postgresql
from tests.servers.process import HOST
from tests.support import Client, Process, genmeter, job


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a node in the Compose file, with the addresses of here."""
    folder = tmp_path_factory.mktemp("together")
    (compose,) = yaml(DEPLOY / "compose.yaml")
    given = {name: str(value) for name, value in compose["services"]["api1"]["environment"].items()}
    password = folder / "password"
    password.write_text(f"{USER[1]}\n")
    with clickhouses(folder) as servers, postgresql(folder) as postgres:
        places = {name: f"{HOST}:{server.http_port}" for name, server in servers.items()}
        places["postgres"] = f"{HOST}:{postgres.port}"
        for name, value in given.items():
            for host, place in places.items():
                value = re.sub(rf"(?<=[@,]){host}(?=[,/])", place, value)
            given[name] = str(password) if name.endswith("_PASSWORD_FILE") else value
        yield given


def test_what_one_node_was_sent_is_in_the_answers_of_the_other(
    settings: dict[str, str], tmp_path: Path
) -> None:
    made = genmeter("token", "create", "--account=acme", "--scope=read,write", **settings)
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    with (
        Process(tmp_path / "data1", variables=settings) as first,
        Process(tmp_path / "data2", variables=settings) as second,
        client(first, token) as one,
        client(second, token) as other,
    ):
        one.record(job(now_ms()), job(now_ms()))
        assert other.stats(bot="google-flow", limit=10)["total"] == 2
        other.record(job(now_ms()))
        assert one.stats(bot="google-flow", limit=10)["total"] == 3
        assert first.stop() == 0
        assert other.stats(bot="google-flow", limit=10)["total"] == 3


@contextmanager
def client(node: Process, token: str) -> Iterator[Client]:
    """Somebody who talks to a node."""
    talking = Client(node.base_url, token)
    with talking.http:
        yield talking
