"""What is known of records stored twice: never too much, and in the end enough."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count, pairwise
from typing import ClassVar
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from genmeter import settled, sql
from genmeter.clock import DAY_MS, day_start_ms
from genmeter.engine import Engine
from genmeter.errors import EngineError
from genmeter.records import Row
from genmeter.settled import MAX_RUNS, Plan, Unknown
from genmeter.sql import Layout
from genmeter.store import Store
from tests.support import Running

pytestmark = pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)

TODAY = day_start_ms("2031-03-03")  # no other test's records are of these months
MONTHS = (203102, 203103)
FIRST = TODAY - 5 * DAY_MS  # in the month before
NOW = TODAY + 7_000
END = TODAY + DAY_MS
ACCOUNTS = ("acme", "beta", "zeta")
OURS = "account IN ('acme', 'beta', 'zeta')"
WAIT_S = 60.0


def row(ms: int, account: str = "acme", jobid: str = "j", msec: int = 1) -> Row:
    return Row(
        account=account, bot="luma", neg_ms=-ms, jobid=jobid, config="c", endpoint="e",
        status="OK", func="", code=200, msec=msec, model="", captcha_providers="",
        captcha_retry=None, tier="", sku="",
    )  # fmt: skip


class Hooked:
    """An engine with something to be done before it answers, or before and after an insert."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.layout = engine.layout
        self.prepare, self.stream = self._engine.prepare, self._engine.stream
        self.execute, self.close = self._engine.execute, self._engine.close
        self.before_fetch: Callable[[str], object] = lambda _: None
        self.around_insert: Callable[[], object] = lambda: None

    def fetch(self, statement: str, shard: int = 0) -> bytes:
        self.before_fetch(statement)
        return self._engine.fetch(statement, shard)

    def insert(
        self,
        table: str,
        columns: Mapping[str, str],
        rows: bytes,
        shard: int = 0,
        witnesses: Sequence[str] = (),
    ) -> None:
        self.around_insert()
        self._engine.insert(table, columns, rows, shard, witnesses)
        self.around_insert()

    def empty(self) -> None:
        """Forget all that a test of these did."""
        self.before_fetch = lambda _: None
        self.around_insert = lambda: None
        for month in MONTHS:
            self.execute(sql.drop_month(month))

    def merge(self) -> None:
        """Make one part of all in each month."""
        self.execute(f"SYSTEM START MERGES {sql.TABLE}")
        for month in MONTHS:
            self.execute(f"OPTIMIZE TABLE {sql.TABLE} PARTITION {month} FINAL")
        self.execute(sql.STOP_MERGES)

    def number(self, source: str) -> int:
        """How many rows there are to read."""
        return int(self._engine.fetch(f"SELECT count() FROM {source}"))


@pytest.fixture
def engine(service: Running, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hooked]:
    """The service's, without records of these months; nothing merges by itself, no check rests."""
    monkeypatch.setattr(settled, "REST", 0)
    engine = Hooked(service.service.store._engine)
    engine.execute(sql.STOP_MERGES)
    yield engine
    engine.empty()
    engine.execute(f"SYSTEM START MERGES {sql.TABLE}")


@pytest.fixture
def store(engine: Hooked) -> Store:
    """An empty store."""
    return Store(engine, retention_days=0)


def is_settled(store: Store, start_ms: int, end_ms: int, account: str = "acme") -> bool:
    """Whether nothing of an account's time needs FINAL."""
    pieces = store.settled.plan(account.__eq__, start_ms, end_ms, NOW).pieces
    return all(piece.settled for piece in pieces)


def checked(store: Store, now_ms: int = NOW) -> None:
    """Have all checked that somebody could ask for."""
    store.settled.plan(lambda _: True, FIRST, now_ms, now_ms)
    store.settled.check(now_ms)


def test_an_empty_store_is_settled_up_to_today(store: Store) -> None:
    pieces = store.settled.plan("acme".__eq__, FIRST, END, NOW).pieces
    assert [(piece.start_ms, piece.end_ms, piece.settled) for piece in pieces] == [
        (FIRST, TODAY, True), (TODAY, END, False)
    ]  # fmt: skip


def test_a_time_without_length_is_read_without_a_record(store: Store, engine: Hooked) -> None:
    store.insert([row(FIRST)], NOW)
    for start, end in ((FIRST, FIRST), (END, FIRST), (TODAY, TODAY)):
        pieces = store.settled.plan("acme".__eq__, start, end, NOW).pieces
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
    assert not store.settled.plan("beta".__eq__, TODAY, END, tomorrow).pieces[0].settled
    checked(store, tomorrow)
    assert store.settled.plan("beta".__eq__, TODAY, END, tomorrow).pieces[0].settled


def test_of_a_day_that_is_over_accounts_with_a_record_twice_stay_touched(store: Store) -> None:
    for account in ("acme", "beta", "acme"):
        store.insert([row(NOW, account)], NOW)
    tomorrow = NOW + DAY_MS
    checked(store, tomorrow)
    for account in ACCOUNTS:
        plan = store.settled.plan(account.__eq__, TODAY, END, tomorrow)
        assert plan.pieces[0].settled is (account != "acme")


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
    again.settled.check(NOW)
    assert statements == []
    again.settled.plan("acme".__eq__, TODAY - 1, TODAY, NOW)
    again.settled.check(NOW)
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
    assert statements == [sql.READ_PARTS]
    store.insert([row(FIRST + 1, "beta")], NOW)
    checked(store)
    assert len(statements) > 2


def test_a_month_rests_between_checks(
    store: Store, engine: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settled, "REST", 10**9)
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
    whole = store.settled.plan("acme".__eq__, FIRST, TODAY, NOW)
    other = store.settled.plan("beta".__eq__, FIRST, TODAY, NOW)
    before = store.settled.plan("acme".__eq__, FIRST, FIRST + DAY_MS, NOW)
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
    assert not store.settled.plan("acme".__eq__, TODAY, END, tomorrow).pieces[0].settled


@pytest.mark.parametrize("which", range(3))
def test_a_check_leaves_what_was_inserted_while_it_ran(
    store: Store, engine: Hooked, which: int
) -> None:
    store.insert([row(FIRST), row(FIRST, "beta")], NOW)
    numbers = count()

    def insert(_: str) -> None:
        if next(numbers) == which:
            store.insert([row(FIRST)], NOW)

    store.settled.plan(lambda _: True, FIRST, END, NOW)
    engine.before_fetch = insert
    store.settled.check(NOW)
    assert next(numbers) > 2
    assert not is_settled(store, FIRST, FIRST + 1)
    assert is_settled(store, FIRST, FIRST + 1, "beta")


def test_a_plan_does_not_hold_when_what_was_touched_is_settled_again(
    store: Store, engine: Hooked
) -> None:
    plan = store.settled.plan("acme".__eq__, FIRST, TODAY, NOW)
    for _ in range(2):
        store.insert([row(FIRST)], NOW)
    engine.merge()
    checked(store)
    assert is_settled(store, FIRST, TODAY)
    assert not plan.holds()
    assert store.settled.plan("acme".__eq__, FIRST, TODAY, NOW).holds()


def test_a_check_that_is_stopped_settles_nothing(store: Store, engine: Hooked) -> None:
    store.insert([row(FIRST)], NOW)
    engine.before_fetch = lambda _: store.settled.stop()
    checked(store)
    assert not is_settled(store, FIRST, FIRST + 1)


def test_of_too_many_accounts_the_day_is_kept_instead(
    store: Store, engine: Hooked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settled, "MAX_NAMES", 2)
    store.insert([row(FIRST, "acme"), row(FIRST, "beta")], NOW)
    assert is_settled(store, FIRST, TODAY, "zeta")
    store.insert([row(FIRST + DAY_MS, "acme")], NOW)
    assert not is_settled(store, FIRST + DAY_MS, FIRST + DAY_MS + 1, "zeta")
    assert is_settled(store, FIRST, FIRST + DAY_MS, "zeta")
    plan = store.settled.plan("zeta".__eq__, FIRST, FIRST + DAY_MS, NOW)
    store.insert([row(FIRST, "zeta")], NOW)
    assert not plan.holds()
    checked(store)
    for account in ACCOUNTS:
        assert is_settled(store, FIRST, TODAY, account)
    store.insert([row(FIRST, "acme"), row(FIRST, "beta")], NOW)  # there is room for names again
    assert is_settled(store, FIRST, TODAY, "zeta")


def test_checks_make_room_for_other_accounts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settled, "MAX_NAMES", 2)
    for day in range(4):
        store.insert([row(FIRST + day * DAY_MS, "acme"), row(FIRST + day * DAY_MS, "beta")], NOW)
        assert is_settled(store, FIRST, TODAY, "zeta")
        checked(store)
        assert is_settled(store, FIRST, TODAY)


def test_more_accounts_than_one_statement_names_are_checked_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settled, "_NAMED", 2)
    monkeypatch.setattr(settled, "PORTION_RECORDS", 2)
    jobs = [row(FIRST + n, account, str(n)) for account in ACCOUNTS for n in range(5)]
    store.insert(jobs, NOW)
    store.insert([row(FIRST + 4, "beta", "4")], NOW)
    checked(store)
    assert [is_settled(store, FIRST, TODAY, account) for account in ACCOUNTS] == [True, False, True]


def test_a_plan_has_few_pieces_that_cover_its_time(store: Store) -> None:
    start = TODAY - 25 * DAY_MS
    for day in (1, 3, 4, 7, 11, 14, 20):
        store.insert([row(start + day * DAY_MS)], NOW)
    pieces = store.settled.plan("acme".__eq__, start + 5, END, NOW).pieces
    assert pieces[0].start_ms == start + 5
    assert pieces[-1].end_ms == END
    assert all(one.end_ms == other.start_ms for one, other in pairwise(pieces))
    assert all(one.settled != other.settled for one, other in pairwise(pieces))
    days = [((p.start_ms - start) // DAY_MS, (p.end_ms - start) // DAY_MS) for p in pieces]
    unsettled = [day for day, piece in zip(days, pieces, strict=True) if not piece.settled]
    assert unsettled == [(1, 15), (20, 21), (25, 26)]
    assert len(unsettled) == MAX_RUNS


def test_where_others_write_nothing_is_settled(service: Running) -> None:
    store = Store(
        Mock(layout=Layout(cluster="main", database="genmeter")),
        retention_days=0,
        next_version=lambda _: 1,
    )
    assert isinstance(store.settled, Unknown)
    plan = store.settled.plan("acme".__eq__, FIRST, END, NOW)
    store.insert([row(FIRST)], NOW)
    store.settled.check(NOW)
    store.settled.stop()
    assert plan.pieces == (sql.Piece(start_ms=FIRST, end_ms=END, settled=False),)
    assert plan.holds()


def test_a_service_checks_what_was_asked_for(service: Running) -> None:
    now_ms, store = service.clock(), service.service.store
    store.insert([row(now_ms - DAY_MS, "settled")], now_ms)

    def pieces() -> tuple[sql.Piece, ...]:
        start_ms = now_ms // DAY_MS * DAY_MS - DAY_MS
        return store.settled.plan("settled".__eq__, start_ms, start_ms + DAY_MS, now_ms).pieces

    assert not pieces()[0].settled
    give_up = time.monotonic() + WAIT_S
    while not pieces()[0].settled:
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
        plan = store.settled.plan("acme".__eq__, FIRST, TODAY, NOW)
        found = engine.number(sql.source(["neg_ms"], "account = 'acme'", plan.pieces))
        holds = plan.holds()
        planned[any(piece.settled for piece in plan.pieces), holds] += 1
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


class Life(RuleBasedStateMachine):
    """Whatever happens to a store, what it takes for settled is there once.

    The model is the records as they must be found; what is stored twice is asked of the engine.
    """

    engine: ClassVar[Hooked]

    records = st.lists(
        st.builds(
            lambda day, ms, account, jobid: row(FIRST + day * DAY_MS + ms, account, jobid),
            st.integers(0, 4), st.integers(0, 1), st.sampled_from(ACCOUNTS), st.sampled_from("ab"),
        ),
        min_size=1, max_size=4,
    )  # fmt: skip

    @initialize()
    def begin(self) -> None:
        self.engine.empty()
        self.now_ms = NOW - 2 * DAY_MS
        self.model: set[tuple[str, str, int, str]] = set()
        self.under_way: list[tuple[str, Plan]] = []
        self.msec = count(1)
        self.restart()

    @rule()
    def restart(self) -> None:
        self.store = Store(self.engine, retention_days=0)
        self.under_way.clear()

    @rule(rows=records)
    def insert(self, rows: list[Row]) -> None:
        self.store.insert(rows, self.now_ms)
        self.model.update(one.identity() for one in rows)

    @rule(rows=records, which=st.integers(0, 3))
    def insert_while_checking(self, rows: list[Row], which: int) -> None:
        statements = count()
        self.engine.before_fetch = lambda _: (
            self.insert(rows) if next(statements) == which else None
        )
        self.check()
        self.engine.before_fetch = lambda _: None

    @rule(rows=records, when=st.integers(0, 1))
    def check_while_inserting(self, rows: list[Row], when: int) -> None:
        sides = count()
        self.engine.around_insert = lambda: self.check() if next(sides) == when else None
        self.insert(rows)
        self.engine.around_insert = lambda: None

    @rule()
    def check(self) -> None:
        checked(self.store, self.now_ms)

    @rule()
    def merge(self) -> None:
        self.engine.merge()

    @rule()
    def a_day_goes_by(self) -> None:
        self.now_ms += DAY_MS

    @rule(account=st.sampled_from(ACCOUNTS))
    def plan(self, account: str) -> None:
        plan = self.store.settled.plan(account.__eq__, FIRST, END, self.now_ms)
        self.under_way.append((account, plan))

    @precondition(lambda self: self.under_way)
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        account, plan = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        found = self.engine.number(sql.source(["neg_ms"], f"account = '{account}'", plan.pieces))
        if plan.holds():
            assert found == sum(whose == account for whose, *_ in self.model)

    @invariant()
    def what_is_settled_is_there_once(self) -> None:
        doubled = set()
        span = sql.Span(accounts=ACCOUNTS, start_ms=FIRST, end_ms=END)
        for line in self.engine.fetch(sql.doubled(span)).decode().splitlines():
            account, day = line.split("\t")
            doubled.add((account, int(day)))
        for account in ACCOUNTS:
            pieces = self.store.settled.plan(account.__eq__, FIRST, END, self.now_ms).pieces
            for piece in pieces:
                for number in range(piece.start_ms // DAY_MS, piece.end_ms // DAY_MS):
                    assert not (piece.settled and (account, number) in doubled)

    def teardown(self) -> None:
        """When all has come to rest everything gets settled."""
        if not hasattr(self, "store"):
            return
        self.now_ms = END
        self.merge()
        self.check()
        plan = self.store.settled.plan(lambda _: True, FIRST, END, self.now_ms)
        assert [piece.settled for piece in plan.pieces] == [True]
        assert self.engine.number(sql.source(["neg_ms"], OURS, plan.pieces)) == len(self.model)


@pytest.mark.parametrize("names", [10_000, 2])
def test_whatever_happens_what_is_settled_is_there_once(
    engine: Hooked, monkeypatch: pytest.MonkeyPatch, names: int
) -> None:
    monkeypatch.setattr(settled, "MAX_NAMES", names)
    Life.engine = engine
    limits = hypothesis_settings(
        max_examples=12, stateful_step_count=15, deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    run_state_machine_as_test(Life, settings=limits)
