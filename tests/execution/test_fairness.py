"""No account keeps another waiting: asserted by counting, not by timing."""

import asyncio
import functools
import threading
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genmeter.errors import BusyError
from genmeter.execution.fairness import CHEAP_IN_A_ROW, FairQueue, Job, Ticket
from genmeter.execution.pool import QueryPool


def job(account: str, cheap: bool = True) -> Job:
    return Job(account, cheap, lambda: None)


def taken(queue: FairQueue) -> list[Job]:
    """All that run now."""
    return list(iter(queue.take, None))


@pytest.mark.parametrize("slots", [2, 3, 4, 8])
@pytest.mark.parametrize("cheap", [True, False])
def test_one_account_never_holds_all_slots(slots: int, cheap: bool) -> None:
    queue = FairQueue(slots)
    for _ in range(100):
        queue.add(job("greedy", cheap))
    assert 1 <= len(taken(queue)) < slots
    queue.add(job("other"))
    assert [one.account for one in taken(queue)] == ["other"]


@pytest.mark.parametrize("slots", [2, 4, 8])
def test_heavy_queries_of_many_accounts_leave_a_slot_to_cheap_ones(slots: int) -> None:
    queue = FairQueue(slots)
    for number in range(50):
        queue.add(job(f"account{number}", cheap=False))
    assert len(taken(queue)) == slots - 1
    queue.add(job("small"))
    assert [one.account for one in taken(queue)] == ["small"]


def test_a_cheap_query_goes_before_all_heavy_ones_that_wait() -> None:
    queue = FairQueue(2)
    heavy = [job("greedy", cheap=False) for _ in range(128)]
    for one in heavy:
        queue.add(one)
    running = taken(queue)
    cheap = job("greedy")
    queue.add(cheap)
    queue.done(running[0], 10)
    assert queue.take() is cheap


def test_heavy_queries_are_not_starved_by_cheap_ones() -> None:
    queue = FairQueue(2)
    queue.add(job("slow", cheap=False))
    for number in range(100):
        queue.add(job(f"account{number}"))
    order = []
    while (one := queue.take()) is not None:
        order.append(one.cheap)
        queue.done(one, 0.001)
    assert order.index(False) <= CHEAP_IN_A_ROW


def test_of_two_accounts_the_one_goes_first_that_was_given_less_time() -> None:
    queue = FairQueue(2)
    for _ in range(30):
        queue.add(job("much", cheap=False))
        queue.add(job("little", cheap=False))
    served: Counter[str] = Counter()
    for _ in range(30):
        one = queue.take()
        assert one is not None
        served[one.account] += 1
        queue.done(one, 3.0 if one.account == "much" else 1.0)
    assert served == {"much": 7, "little": 23} or served == {"much": 8, "little": 22}


def test_who_comes_back_after_a_pause_has_saved_nothing_up() -> None:
    queue = FairQueue(2)
    for _ in range(10):
        queue.add(job("steady", cheap=False))
    for _ in range(5):
        one = queue.take()
        assert one is not None
        queue.done(one, 100.0)
    for _ in range(10):
        queue.add(job("back", cheap=False))
    order = []
    for _ in range(6):
        one = queue.take()
        assert one is not None
        order.append(one.account)
        queue.done(one, 1.0)
    assert Counter(order) == {"steady": 3, "back": 3}


@given(
    slots=st.integers(1, 6),
    steps=st.lists(
        st.tuples(
            st.sampled_from(["add", "take", "done", "remove"]), st.integers(0, 5), st.booleans()
        ),
        max_size=60,
    ),
)
def test_jobs_run_once_and_bounds_hold_whatever_happens(
    slots: int, steps: list[tuple[str, int, bool]]
) -> None:
    queue = FairQueue(slots)
    waiting: list[Job] = []
    running: list[Job] = []
    for step, number, cheap in steps:
        if step == "add":
            waiting.append(job(f"account{number}", cheap))
            queue.add(waiting[-1])
        elif step == "take" and (one := queue.take()):
            waiting.remove(one)
            running.append(one)
        elif step == "done" and running:
            queue.done(running.pop(number % len(running)), 1.0)
        elif step == "remove" and waiting:
            queue.remove(waiting.pop(number % len(waiting)))
        assert len(queue) == len(waiting)
        assert len(running) <= slots
        of = Counter(one.account for one in running)
        assert max(of.values(), default=0) <= max(1, slots - 1)
        assert sum(not one.cheap for one in running) <= max(1, slots - 1)
    for one in running:
        queue.done(one, 1.0)
    while (one := queue.take()) is not None:  # nothing is forgotten
        waiting.remove(one)
        queue.done(one, 1.0)
    assert waiting == []


def on_a_loop(
    test: Callable[[QueryPool], Coroutine[Any, Any, None]],
) -> Callable[[QueryPool], None]:
    """A test that runs a coroutine to its end."""

    @functools.wraps(test)
    def run(pool: QueryPool) -> None:
        asyncio.run(test(pool))

    return run


@pytest.fixture
def pool(tmp_path: Path) -> Iterator[QueryPool]:
    with QueryPool(threads=4, folder=tmp_path, spool_bytes=2**30) as made:
        yield made


def ticket(account: str, *, cheap: bool = True, patience_s: float = 30) -> Ticket:
    return Ticket(account=account, cheap=cheap, patience_s=patience_s)


@on_a_loop
async def test_a_small_query_ends_while_128_heavy_ones_of_another_account_go_on(
    pool: QueryPool,
) -> None:
    free = threading.Event()
    heavy = [
        asyncio.ensure_future(pool.run(free.wait, ticket("greedy", cheap=False)))
        for _ in range(128)
    ]
    try:
        async with asyncio.timeout(10):
            assert await pool.run(lambda: "small", ticket("other")) == "small"
            assert await pool.run(lambda: "own", ticket("greedy")) == "own"
        assert not any(one.done() for one in heavy)
    finally:
        free.set()
        assert await asyncio.gather(*heavy) == [True] * 128


@on_a_loop
async def test_a_query_that_waits_too_long_is_told_so_and_never_begins(pool: QueryPool) -> None:
    free = threading.Event()
    heavy = [
        asyncio.ensure_future(pool.run(free.wait, ticket("greedy", cheap=False))) for _ in range(5)
    ]
    await asyncio.sleep(0)  # they queue
    begun = []
    with pytest.raises(BusyError, match=r"waited 0\.1 seconds"):
        await pool.run(lambda: begun.append(1), ticket("greedy", cheap=False, patience_s=0.1))
    free.set()
    await asyncio.gather(*heavy)
    assert await pool.run(lambda: "next", ticket("greedy", cheap=False)) == "next"
    assert begun == []


@on_a_loop
async def test_an_error_is_raised_where_it_is_waited_for(pool: QueryPool) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await pool.run(fail, ticket("acme"))
    assert await pool.run(lambda: 1, ticket("acme")) == 1
