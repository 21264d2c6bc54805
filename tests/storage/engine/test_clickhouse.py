"""A ClickHouse server that fails on the way: what broke is noticed, and never passed on as data."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from genmeter.config import urls
from genmeter.config.urls import Secret
from genmeter.errors import StartError
from tests.servers.clickhouse import ClickHouse
from tests.servers.faulty import BrokenOff, ErrorInside, Fault, FaultyProxy, Late, LostAnswer
from tests.servers.settings import PASSWORD, USER, address
from tests.servers.tls import Authority
from tests.support import NOON_MS, Client, Running, job, running

ROWS = 3_000
ASK = {"bot": "google-flow", "limit": 50_000}


@pytest.fixture
def proxy(clickhouse: ClickHouse) -> Iterator[FaultyProxy]:
    """A way to the server that can fail."""
    with FaultyProxy(clickhouse.http_port) as proxy:
        yield proxy


@pytest.fixture
def other(clickhouse: ClickHouse) -> Iterator[FaultyProxy]:
    """Another way to it."""
    with FaultyProxy(clickhouse.http_port) as proxy:
        yield proxy


@contextmanager
def through(folder: Path, ports: list[int], database: str, **changes: Any) -> Iterator[Running]:
    """A service that reaches its server through ``ports``."""
    with running(
        folder / "data",
        clickhouse=address(ports, database),
        clickhouse_password=Secret(PASSWORD),
        **changes,
    ) as service:
        yield service


def fill(client: Client) -> None:
    """Some 1 MB of rows, all of which an answer must have."""
    client.record(*(job(NOON_MS - n, jobid=f"j{n}") for n in range(ROWS)))


def well_again(client: Client) -> None:
    """Wait until the service has found that the server answers."""
    give_up = time.monotonic() + 30
    while client.ask(**ASK).status_code != 200:
        assert time.monotonic() < give_up
        time.sleep(0.05)


@pytest.mark.parametrize(
    "fault",
    [
        ErrorInside("ORDER BY neg_ms, jobid", after=0),
        ErrorInside("ORDER BY neg_ms, jobid", after=100_003),
        ErrorInside("ORDER BY neg_ms, jobid", after=10**9),
        BrokenOff("ORDER BY neg_ms, jobid", after=0),
        BrokenOff("ORDER BY neg_ms, jobid", after=100_003),
        BrokenOff("ORDER BY neg_ms, jobid", after=10**9),
    ],
    ids=lambda fault: f"{type(fault).__name__}-{fault.after}",
)
def test_an_answer_that_breaks_in_its_body_is_503_and_never_data(
    clickhouse: ClickHouse, proxy: FaultyProxy, tmp_path: Path, fault: Fault
) -> None:
    with through(tmp_path, [proxy.port], clickhouse.database()) as service:
        client = service.client()
        fill(client)
        fault.times = 1
        proxy.fault = fault
        broken = client.ask(**ASK)
        assert proxy.struck == 1
        assert broken.status_code == 503
        assert set(broken.json()) == {"error"}
        assert "DB::Exception" not in broken.text
        well_again(client)
        assert client.stats(**ASK)["total"] == ROWS


def test_a_slow_server_is_given_up_in_time_and_used_again(
    clickhouse: ClickHouse, proxy: FaultyProxy, tmp_path: Path
) -> None:
    with through(
        tmp_path, [proxy.port], clickhouse.database(), clickhouse_timeout_seconds=1
    ) as service:
        client = service.client()
        client.record(job(jobid="before"))
        proxy.fault = Late(seconds=30)
        assert client.ask(**ASK).status_code == 503
        assert client.send([job(jobid="late")]).status_code == 503
        assert service.holder(None).http.get("/readyz").status_code == 503
        proxy.fault = None
        well_again(client)
        client.record(job(jobid="late"))
        ids = {row["jobid"] for row in client.stats(**ASK)["data"]}
        assert ids == {"before", "late"}
        assert client.stats(**ASK)["total"] == 2  # though the server may have stored it twice


def test_a_server_that_is_away_is_passed_over_and_used_again_later(
    clickhouse: ClickHouse, proxy: FaultyProxy, other: FaultyProxy, tmp_path: Path
) -> None:
    with through(tmp_path, [proxy.port, other.port], clickhouse.database()) as service:
        client = service.client()
        client.record(job())
        proxy.refuse()
        client.record(job())
        assert client.stats(**ASK)["total"] == 2
        passed = proxy.passed
        proxy.accept()
        give_up = time.monotonic() + 30
        while proxy.passed < passed + 10:
            assert client.stats(**ASK)["total"] == 2
            assert time.monotonic() < give_up
        other.refuse()
        client.record(job())
        assert client.stats(**ASK)["total"] == 3


def test_r6_records_whose_acknowledgement_was_lost_on_the_way_are_counted_once(
    clickhouse: ClickHouse, proxy: FaultyProxy, other: FaultyProxy, tmp_path: Path
) -> None:
    with through(tmp_path, [proxy.port, other.port], clickhouse.database()) as service:
        client = service.client()
        proxy.fault = LostAnswer("INSERT INTO records", times=1)
        client.record(job(), job())
        assert proxy.struck == 1
        assert client.stats(**ASK)["total"] == 2


def test_the_server_can_be_reached_by_tls_and_must_be_who_it_says(
    clickhouse: ClickHouse, tmp_path: Path
) -> None:
    authority = Authority(tmp_path / "tls")
    stranger = Authority(tmp_path / "stranger")
    database = clickhouse.database()
    with FaultyProxy(clickhouse.http_port, authority.issue("127.0.0.1")) as tls:
        changes: dict[str, Any] = {
            "clickhouse": clickhouse_url(tls.port, database),
            "clickhouse_password": Secret(PASSWORD),
        }
        with running(
            tmp_path / "data", clickhouse_ca_file=authority.certificate, **changes
        ) as service:
            client = service.client()
            client.record(job())
            assert client.stats(**ASK)["total"] == 1
        for ca_file in (None, stranger.certificate):
            with (
                pytest.raises(StartError, match="CERTIFICATE_VERIFY_FAILED"),
                running(tmp_path / "data", clickhouse_ca_file=ca_file, **changes),
            ):
                pass
    changes["clickhouse"] = clickhouse_url(clickhouse.http_port, database)
    with pytest.raises(StartError, match="does not answer"), running(tmp_path / "data", **changes):
        pass


def clickhouse_url(port: int, database: str) -> Any:
    """An address by TLS."""
    return urls.clickhouse(f"https://{USER}@127.0.0.1:{port}/{database}")


def test_a_user_without_the_rights_is_told_in_one_line(
    clickhouse: ClickHouse, tmp_path: Path
) -> None:
    for changes, fault in (
        ({"clickhouse_password": Secret("wrong-one")}, "(?i)password"),
        ({"clickhouse": address([clickhouse.http_port], "system_of_others")}, "system_of_others"),
    ):
        settings: dict[str, Any] = {
            "clickhouse": address([clickhouse.http_port], "genmeter_99"),
            "clickhouse_password": Secret(PASSWORD),
        }
        with (
            pytest.raises(StartError, match=fault) as refused,
            running(tmp_path / "data", **settings | changes),
        ):
            pass
        assert "\n" not in str(refused.value)
        assert "wrong-one" not in str(refused.value)
