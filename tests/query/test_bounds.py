"""How many groups and days a question may be about, at the very edge."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.query.test_faults import BOTH, faults, refusal
from tests.reference.question import Given
from tests.servers.clickhouse import ClickHouse
from tests.servers.settings import on_server
from tests.support import NOON_MS, Running, job, running
from tests.world import QUERY

pytestmark = pytest.mark.own_engine


@pytest.fixture(scope="module")
def small(clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service whose answers are small and about a short time."""
    changes: dict[str, Any] = on_server(clickhouse) | {"query_groups": 24, "query_days": 3}
    folder: Path = tmp_path_factory.mktemp("small") / "data"
    with running(folder, **changes) as service:
        yield service


def test_no_more_groups_than_there_may_be(small: Running) -> None:
    client = small.client()
    client.record(*(job(NOON_MS - n, model=f"m{n % 25}", sku=f"s{n % 2}") for n in range(50)))

    def ask(**given: Any) -> httpx2.Response:
        return client.http.get(QUERY, params=given)

    fits: list[Given] = [
        {}, {"group_by": "sku"}, {"group_by": "model", "top": 23},
        {"interval": "1h", "last": "23h"},
        {"interval": "auto", "last": "10m"},
        {"group_by": "sku", "interval": "1h", "last": "11h"},
    ]  # fmt: skip
    too_many: list[Given] = [
        {"group_by": "model"}, {"group_by": "model", "top": 24}, {"group_by": "model,sku"},
        {"interval": "1m"}, {"interval": "1h", "last": "25h"}, {"interval": "auto", "last": "2h"},
        {"group_by": "sku", "interval": "1h", "last": "12h"},
    ]  # fmt: skip
    for given in fits:
        response = ask(**given)
        assert response.status_code == 200, (given, response.text)
        assert len(response.json().get("groups", [])) <= 24
    for given in too_many:
        fault = refusal(ask(**given), 422)
        assert "24" in fault, given
        assert refusal(client.http.post(QUERY, json=given | _listed(given)), 422) == fault


def _listed(given: Given) -> Given:
    """``group_by`` as a document has it."""
    return {"group_by": given["group_by"].split(",")} if "group_by" in given else {}


def test_no_more_days_than_there_may_be(small: Running) -> None:
    client = small.client()
    for path in BOTH:
        assert client.http.get(path, params={"last": "3d"}).status_code == 200
        for given in ({"last": "4d"}, {"from": "2026-02-09", "to": "2026-02-13"}):
            assert "3 days" in faults(client.http.get(path, params=given))[0]
