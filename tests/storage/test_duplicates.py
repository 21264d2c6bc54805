"""What is known of records stored twice: never too much, and in the end enough."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count, pairwise
from unittest.mock import Mock

import pytest

from genmeter.clock import DAY_MS
from genmeter.errors import EngineError
from genmeter.storage import duplicates
from genmeter.storage.duplicates import MAX_RUNS, AssumeDuplicates
from genmeter.storage.engine.base import Layout
from genmeter.storage.sql import base as sql
from genmeter.storage.sql import maintenance
from genmeter.storage.store import Store
from tests.hooked import ACCOUNTS, END, FIRST, NOW, TODAY, Hooked, checked, hooked, row
from tests.support import Running

pytestmark = pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)

WAIT_S = 60.0


@pytest.fixture
def engine(service: Running) -> Iterator[Hooked]:
    """The service's, hooked."""
    with hooked(service) as engine:
        yield engine


@pytest.fixture
def store(engine: Hooked) -> Store:
    """An empty store."""
    return Store(engine, retention_days=0)


def is_settled(store: Store, start_ms: int, end_ms: int, account: str = "acme") -> bool:
    """Whether nothing of an account's time needs FINAL."""
    pieces = store.duplicates.plan(account.__eq__, start_ms, end_ms, NOW).pieces
    return all(piece.deduplicated for piece in pieces)


def test_an_empty_store_is_settled_up_to_today(store: Store) -> None:
    pieces = store.duplicates.plan("acme".__eq__, FIRST, END, NOW).pieces
    assert [(piece.start_ms, piece.end_ms, piece.deduplicated) for piece in pieces] == [
        (FIRST, TODAY, True), (TODAY, END, False)
    ]  # fmt: skip


def test_a_time_without_length_is_read_without_a_record(store: Store, engine: Hooked) -> None:
    store.insert([row(FIRST)], NOW)
    for start, end in ((FIRST, FIRST), (END, FIRST), (TODAY, TODAY)):
        pieces = store.duplicates.plan("acme".__eq__, start, end, NOW).pieces
        assert engine.number(sql.source(["neg_ms"], "account = 'acme'", pieces)) == 0


def test_only_the_days_and_accounts_of_an_insert_are_touched(store: Store) -> None:
    store.insert([row(FIRST + DAY_MS), row(FIRST + 2 * DAY_MS - 1, "beta")], NOW)
    for account in ("acme", "beta"):
        assert is_settled(store, FIRST, FIRST + DAY_MS, account)
        assert not is_settled(store, FIRST + DAY_MS, FIRST + DAY_MS + 1, account)
        assert not is_settled(store, FIRST + 2 * DAY_MS - 1, FIRST + 2 * DAY_MS, account)
        assert is_settled(store, FIRST + 2 * DAY_MS, TODAY, account)
    assert is_settled(store, FIRST, TODAY, "zeta")


def test_a_check_settles_what_is_there_once_and_leaves_what_is_there_twice(
    store: Store, engine: Hooked
) -> None:
    store.insert([row(FIRST), row(FIRST + DAY_MS), row(FIRST, "beta")], NOW)
    store.insert([row(FIRST + DAY_MS, msec=2)], NOW)
    checked(store)
    assert is_settled(store, FIRST, FIRST + DAY_MS)
    assert is_settled(store, FIRST, FIRST + DAY_MS, "beta")
    assert not is_settled(store, FIRST + DAY_MS, FIRST + 2 * DAY_MS)
    engine.merge()
    checked(store)
    assert is_settled(store, FIRST, TODAY)


def test_today_is_settled_when_it_is_over(store: Store) -> None:
    store.insert([row(NOW)], NOW)
    tomorrow = NOW + DAY_MS
    checked(store)
    assert not store.duplicates.plan("beta".__eq__, TODAY, END, tomorrow).pieces[0].deduplicated
    checked(store, tomorrow)
    assert store.duplicates.plan("beta".__eq__, TODAY, END, tomorrow).pieces[0].deduplicated


def test_of_a_day_that_is_over_accounts_with_a_record_twice_stay_touched(store: Store) -> None:
    for account in ("acme", "beta", "acme"):
        store.insert([row(NOW, account)], NOW)
    tomorrow = NOW + DAY_MS
    checked(store, tomorrow)
    for account in ACCOUNTS:
        plan = store.duplicates.plan(account.__eq__, TODAY, END, tomorrow)
        assert plan.pieces[0].deduplicated is (account != "acme")


def test_a_restart_knows_nothing_until_it_has_checked(store: Store, engine: Hooked) -> None:
    store.insert([row(FIRST), row(TODAY - 1)], NOW)
    store.insert([row(TODAY - 1)], NOW)
    again = Store(engine, retention_days=0)
    for account in ("acme", "nobody"):
        assert not is_settled(again, FIRST, FIRST + 1, account)
    assert is_settled(again, FIRST - 40 * DAY_MS, FIRST - 39 * DAY_MS)  # a month without records
    again.insert([row(FIRST + DAY_MS)], NOW)
    checked(again)
    assert is_settled(again, FIRST, TODAY - DAY_MS)
    assert not is_settled(again, TODAY - DAY_MS, TODAY)
    assert is_settled(again, TODAY - DAY_MS, TODAY, "beta")


def test_what_nobody_asked_for_is_not_checked(store: Store, engine: Hooked) -> None:
    store.insert([row(FIRST), row(TODAY - 1)], NOW)
    again = Store(engine, retention_days=0)
    statements: list[str] = []
    engine.before_fetch = statements.append
    again.duplicates.check(NOW)
    assert statements == []
    again.duplicates.plan("acme".__eq__, TODAY - 1, TODAY, NOW)
    again.duplicates.check(NOW)
    assert len(statements) == 3  # of one month
    assert is_settled(again, TODAY - 1, TODAY)
    assert not is_settled(again, FIRST, FIRST + 1)


def test_what_was_twice_is_not_looked_at_again_while_nothing_changes(
    store: Store, engine: Hooked
) -> None:
    for _ in range(2):
        store.insert([row(FIRST)], NOW)
    checked(store)
    statements: list[str] = []
    engine.before_fetch = statements.append
    checked(store)
    assert statements == [maintenance.READ_PARTS]
    store.insert([row(FIRST + 1, "beta")], NOW)
    checked(store)
    assert len(statements) > 2


def test_a_month_rests_between_checks(
    store: Store, engine: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "REST", 10**9)
    store.insert([row(FIRST)], NOW)
    checked(store)
    store.insert([row(FIRST), row(TODAY - 1)], NOW)
    engine.merge()
    checked(store)
    assert not is_settled(store, FIRST, FIRST + 1)
    assert is_settled(store, TODAY - 1, TODAY)  # of another month


def test_days_are_touched_before_the_insert_and_a_plan_of_before_does_not_hold(
    store: Store, engine: Hooked
) -> None:
    seen: list[tuple[bool, bool]] = []
    whole = store.duplicates.plan("acme".__eq__, FIRST, TODAY, NOW)
    other = store.duplicates.plan("beta".__eq__, FIRST, TODAY, NOW)
    before = store.duplicates.plan("acme".__eq__, FIRST, FIRST + DAY_MS, NOW)
    engine.around_insert = lambda: seen.append(
        (is_settled(store, FIRST + DAY_MS, FIRST + 2 * DAY_MS), whole.holds())
    )
    store.insert([row(FIRST + DAY_MS)], NOW)
    assert seen == [(False, False)] * 2
    assert other.holds()
    assert before.holds()


def test_an_insert_that_fails_leaves_its_days_to_a_check(store: Store, engine: Hooked) -> None:
    def fail() -> None:
        raise EngineError("no")

    engine.around_insert = fail
    with pytest.raises(EngineError):
        store.insert([row(FIRST)], NOW)
    assert not is_settled(store, FIRST, TODAY)
    checked(store)
    assert is_settled(store, FIRST, TODAY)


def test_a_check_leaves_an_insert_that_has_not_ended(store: Store, engine: Hooked) -> None:
    store.insert([row(FIRST)], NOW)
    engine.around_insert = lambda: checked(store)  # also before it can be seen
    store.insert([row(FIRST)], NOW)
    assert not is_settled(store, FIRST, FIRST + 1)


def test_a_check_leaves_a_day_that_ended_while_it_was_written(store: Store, engine: Hooked) -> None:
    tomorrow = NOW + DAY_MS
    store.insert([row(NOW)], NOW)
    engine.around_insert = lambda: checked(store, tomorrow)
    store.insert([row(NOW)], NOW)
    assert not store.duplicates.plan("acme".__eq__, TODAY, END, tomorrow).pieces[0].deduplicated


@pytest.mark.parametrize("which", range(3))
def test_a_check_leaves_what_was_inserted_while_it_ran(
    store: Store, engine: Hooked, which: int
) -> None:
    store.insert([row(FIRST), row(FIRST, "beta")], NOW)
    numbers = count()

    def insert(_: str) -> None:
        if next(numbers) == which:
            store.insert([row(FIRST)], NOW)

    store.duplicates.plan(lambda _: True, FIRST, END, NOW)
    engine.before_fetch = insert
    store.duplicates.check(NOW)
    assert next(numbers) > 2
    assert not is_settled(store, FIRST, FIRST + 1)
    assert is_settled(store, FIRST, FIRST + 1, "beta")


def test_a_plan_does_not_hold_when_what_was_touched_is_settled_again(
    store: Store, engine: Hooked
) -> None:
    plan = store.duplicates.plan("acme".__eq__, FIRST, TODAY, NOW)
    for _ in range(2):
        store.insert([row(FIRST)], NOW)
    engine.merge()
    checked(store)
    assert is_settled(store, FIRST, TODAY)
    assert not plan.holds()
    assert store.duplicates.plan("acme".__eq__, FIRST, TODAY, NOW).holds()


def test_a_check_that_is_stopped_settles_nothing(store: Store, engine: Hooked) -> None:
    store.insert([row(FIRST)], NOW)
    engine.before_fetch = lambda _: store.duplicates.stop()
    checked(store)
    assert not is_settled(store, FIRST, FIRST + 1)


def test_of_too_many_accounts_the_day_is_kept_instead(
    store: Store, engine: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "MAX_NAMES", 2)
    store.insert([row(FIRST, "acme"), row(FIRST, "beta")], NOW)
    assert is_settled(store, FIRST, TODAY, "zeta")
    store.insert([row(FIRST + DAY_MS, "acme")], NOW)
    assert not is_settled(store, FIRST + DAY_MS, FIRST + DAY_MS + 1, "zeta")
    assert is_settled(store, FIRST, FIRST + DAY_MS, "zeta")
    plan = store.duplicates.plan("zeta".__eq__, FIRST, FIRST + DAY_MS, NOW)
    store.insert([row(FIRST, "zeta")], NOW)
    assert not plan.holds()
    checked(store)
    for account in ACCOUNTS:
        assert is_settled(store, FIRST, TODAY, account)
    store.insert([row(FIRST, "acme"), row(FIRST, "beta")], NOW)  # there is room for names again
    assert is_settled(store, FIRST, TODAY, "zeta")


def test_checks_make_room_for_other_accounts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(duplicates, "MAX_NAMES", 2)
    for day in range(4):
        store.insert([row(FIRST + day * DAY_MS, "acme"), row(FIRST + day * DAY_MS, "beta")], NOW)
        assert is_settled(store, FIRST, TODAY, "zeta")
        checked(store)
        assert is_settled(store, FIRST, TODAY)


def test_more_accounts_than_one_statement_names_are_checked_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(duplicates, "_NAMED", 2)
    monkeypatch.setattr(duplicates, "PORTION_RECORDS", 2)
    jobs = [row(FIRST + n, account, str(n)) for account in ACCOUNTS for n in range(5)]
    store.insert(jobs, NOW)
    store.insert([row(FIRST + 4, "beta", "4")], NOW)
    checked(store)
    assert [is_settled(store, FIRST, TODAY, account) for account in ACCOUNTS] == [True, False, True]


def test_a_plan_has_few_pieces_that_cover_its_time(store: Store) -> None:
    start = TODAY - 25 * DAY_MS
    for day in (1, 3, 4, 7, 11, 14, 20):
        store.insert([row(start + day * DAY_MS)], NOW)
    pieces = store.duplicates.plan("acme".__eq__, start + 5, END, NOW).pieces
    assert pieces[0].start_ms == start + 5
    assert pieces[-1].end_ms == END
    assert all(one.end_ms == other.start_ms for one, other in pairwise(pieces))
    assert all(one.deduplicated != other.deduplicated for one, other in pairwise(pieces))
    days = [((p.start_ms - start) // DAY_MS, (p.end_ms - start) // DAY_MS) for p in pieces]
    unsettled = [day for day, piece in zip(days, pieces, strict=True) if not piece.deduplicated]
    assert unsettled == [(1, 15), (20, 21), (25, 26)]
    assert len(unsettled) == MAX_RUNS


def test_where_others_write_nothing_is_settled(service: Running) -> None:
    store = Store(
        Mock(layout=Layout(cluster="main", database="genmeter")),
        retention_days=0,
        next_version=lambda _: 1,
    )
    assert isinstance(store.duplicates, AssumeDuplicates)
    plan = store.duplicates.plan("acme".__eq__, FIRST, END, NOW)
    store.insert([row(FIRST)], NOW)
    store.duplicates.check(NOW)
    store.duplicates.stop()
    assert plan.pieces == (sql.TimeSlice(start_ms=FIRST, end_ms=END, deduplicated=False),)
    assert plan.holds()


def test_a_service_checks_what_was_asked_for(service: Running) -> None:
    now_ms, store = service.clock(), service.service.store
    store.insert([row(now_ms - DAY_MS, "settled")], now_ms)

    def pieces() -> tuple[sql.TimeSlice, ...]:
        start_ms = now_ms // DAY_MS * DAY_MS - DAY_MS
        return store.duplicates.plan("settled".__eq__, start_ms, start_ms + DAY_MS, now_ms).pieces

    assert not pieces()[0].deduplicated
    give_up = time.monotonic() + WAIT_S
    while not pieces()[0].deduplicated:
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_readers_writers_and_checks_at_the_same_time_never_count_a_record_twice(
    store: Store, engine: Hooked
) -> None:
    """A few records are sent again and again; whoever asks must always find so many."""
    days, jobs = 3, 5
    rows = [row(FIRST + day * DAY_MS, jobid=f"{n}") for day in range(days) for n in range(jobs)]
    store.insert(rows, NOW)
    expected = len(rows)
    done = threading.Event()
    faults: list[object] = []
    planned: Counter[tuple[bool, bool]] = Counter()

    def until_done(work: Callable[[], object]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not done.is_set():
                    work()
            except BaseException as error:
                faults.append(error)
                raise

        return run

    def ask() -> None:
        plan = store.duplicates.plan("acme".__eq__, FIRST, TODAY, NOW)
        found = engine.number(sql.source(["neg_ms"], "account = 'acme'", plan.pieces))
        holds = plan.holds()
        planned[any(piece.deduplicated for piece in plan.pieces), holds] += 1
        if holds and found != expected:
            faults.append((found, plan))

    threads = [
        threading.Thread(target=until_done(work))
        for work in (ask, ask, lambda: checked(store), engine.merge)
    ]
    for thread in threads:
        thread.start()
    for n in range(60):
        store.insert([rows[n % expected]], NOW)
        done.wait(0.01 * (n % 7))
    done.set()
    for thread in threads:
        thread.join()
    assert faults == []
    assert planned[True, True]
