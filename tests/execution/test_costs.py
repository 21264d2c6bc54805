"""What is known of an account's queries before they run."""

import threading
from collections.abc import Iterator
from typing import cast

import pytest

from genmeter.clock import DAY_MS
from genmeter.errors import EngineError
from genmeter.execution.costs import CHEAP_DAYS, CHEAP_RECORDS, Costs
from genmeter.storage.shards import Shards
from tests.support import NOON_MS, Client, Running, job


class Known:
    """Shards that know how many records accounts have a day."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answered = threading.Semaphore(0)

    def records_a_day(self, account: str, now_ms: int) -> float:
        self.asked.append(account)
        try:
            if account == "old server":
                raise EngineError("there is no EXPLAIN ESTIMATE")
            return {"small": 100, "large": CHEAP_RECORDS}[account]
        finally:
            self.answered.release()


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def costs(known: Known) -> Iterator[Costs]:
    with Costs(cast(Shards, known), now_ms=lambda: NOON_MS, patience_s=7) as made:
        yield made


def cheap(costs: Costs, account: str | None, days: float, limit: int | None = None) -> bool:
    ticket = costs.ticket("asker", account, NOON_MS - int(days * DAY_MS), NOON_MS, limit)
    assert (ticket.account, ticket.patience_s) == ("asker", 7)
    return ticket.cheap


def test_until_an_account_is_known_the_time_asked_for_decides(costs: Costs, known: Known) -> None:
    assert cheap(costs, "small", CHEAP_DAYS)
    assert known.asked == []  # a small query is not worth an estimate
    assert not cheap(costs, "small", 90)
    known.answered.acquire()
    for _ in range(100):  # it is noted a moment after it was answered
        if cheap(costs, "small", 90):
            break
    assert cheap(costs, "small", 90)
    assert known.asked == ["small"]


def test_a_query_that_was_taken_for_cheap_and_was_slow_makes_its_account_known(
    costs: Costs, known: Known
) -> None:
    ticket = costs.ticket("asker", "large", NOON_MS - DAY_MS, NOON_MS)
    assert ticket.cheap
    ticket.slow()
    known.answered.acquire()
    costs.__exit__()  # what runs has ended then
    assert cheap(costs, "large", 1)
    assert not cheap(costs, "large", 1.1)


def test_pages_are_cheap_and_all_accounts_are_not(costs: Costs) -> None:
    assert cheap(costs, None, 90, limit=100)
    assert cheap(costs, "large", 90, limit=10_000)
    assert not cheap(costs, None, 1)
    assert not cheap(costs, None, 90, limit=50_000)


def test_without_estimates_the_time_decides(costs: Costs, known: Known) -> None:
    assert not cheap(costs, "old server", 90)
    known.answered.acquire()
    assert cheap(costs, "old server", 1)


@pytest.mark.engines("embedded", "newest")  # older servers have no estimates
def test_an_estimate_is_near_what_there_is(service: Running, client: Client) -> None:
    client.record(*[job(NOON_MS - n * 60_000) for n in range(600)])
    a_day = service.service.shards.records_a_day(client.account, NOON_MS)
    assert 600 / 90 <= a_day < 100_000
