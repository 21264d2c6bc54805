"""Questions past a limit, and questions that nobody waits for any more."""

import time
from pathlib import Path

import httpx2
import pytest

from genmeter.errors import EngineError
from genmeter.query.selection import Selection
from genmeter.storage.shards import Run
from genmeter.storage.sql import aggregates, rows
from tests.support import Running, running

pytestmark = pytest.mark.own_engine

ENDLESS = "SELECT count() FROM system.numbers"
QUERY = "/v2/account/stats/query"


def under_way(service: Running) -> int:
    """How many endless statements the engine works on."""
    everywhere = Selection(account=None, start_ms=0, end_ms=1, timezone="UTC")
    run = Run(now_ms=0, oldest_ms=0, query_id="count")
    text = "SELECT count() FROM system.processes WHERE query LIKE '%system.numb%' AND query NOT "
    answers = service.service.shards.ask(everywhere, run, lambda _: f"{text} LIKE '%processes%'")
    return sum(map(int, answers))


def wait_for(service: Running, number: int) -> None:
    """Come back when so many endless statements run."""
    until = time.monotonic() + 20
    while under_way(service) != number:
        assert time.monotonic() < until, f"{under_way(service)} statements run, not {number}"
        time.sleep(0.05)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every question about figures and rows takes for ever."""
    monkeypatch.setattr(aggregates, "statement", lambda *_, **__: ENDLESS)
    monkeypatch.setattr(rows, "step_counts", lambda *_, **__: ENDLESS)


def test_a_question_that_was_ended_between_two_statements_begins_no_more(service: Running) -> None:
    shards = service.service.shards
    mine = Selection(account="a", start_ms=0, end_ms=1, timezone="UTC")
    run = Run(now_ms=0, oldest_ms=0, query_id="between")
    assert shards.ask(mine, run, lambda _: "SELECT 1") == [b"1\n"]
    shards.stop(run)
    with pytest.raises(EngineError, match="nobody waits"):
        shards.ask(mine, run, lambda _: "SELECT 1")


@pytest.mark.usefixtures("endless")
@pytest.mark.parametrize("resource", ["query", "rows"])
def test_a_question_ends_in_the_engine_when_its_client_goes(
    service: Running, resource: str
) -> None:
    client = service.client()
    with pytest.raises(httpx2.ReadTimeout):
        client.http.get(f"/v2/account/stats/{resource}", timeout=2)
    wait_for(service, 0)


@pytest.mark.usefixtures("endless")
def test_a_question_that_takes_too_long_is_ended_and_told_so(tmp_path: Path) -> None:
    with running(tmp_path / "data", query_seconds=1) as service:
        answer = service.client().http.get(QUERY)
        assert answer.status_code == 422
        assert "took longer than 1 seconds" in answer.json()["error"]
        wait_for(service, 0)


def test_a_question_that_needs_too_much_memory_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hungry = "SELECT length(groupArray(number)) FROM (SELECT number FROM numbers(300000000))"
    monkeypatch.setattr(aggregates, "statement", lambda *_, **__: hungry)
    with running(tmp_path / "data", engine_memory_mb=256) as service:
        answer = service.client().http.get(QUERY)
        assert answer.status_code == 422, answer.text
        assert "more than the 192 MB" in answer.json()["error"]


def test_more_groups_than_allowed_are_refused(tmp_path: Path) -> None:
    with running(tmp_path / "data", query_groups=10) as service:
        client = service.client()
        job = {"bot": "kling", "endpoint": "e", "code": 200, "msec": 1}
        client.record(*(job | {"config": f"c{n}"} for n in range(11)))
        for cut in ("group_by=config", "group_by=config&interval=1d", "interval=1h"):
            answer = client.http.get(f"{QUERY}?{cut}")
            assert answer.status_code == 422, answer.text
            assert "more than 10 " in answer.json()["error"]
        assert client.http.get(f"{QUERY}?group_by=config&top=5").status_code == 200
