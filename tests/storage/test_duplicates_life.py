"""Whatever happens to a store, what it takes for settled is there once."""

from itertools import count
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from genmeter.clock import DAY_MS
from genmeter.model.record import Row
from genmeter.storage import duplicates
from genmeter.storage.duplicates import Plan
from genmeter.storage.sql import base as sql
from genmeter.storage.sql import maintenance
from genmeter.storage.store import Store
from tests.hooked import ACCOUNTS, END, FIRST, NOW, OURS, Hooked, checked, hooked, row
from tests.support import Running


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
        plan = self.store.duplicates.plan(account.__eq__, FIRST, END, self.now_ms)
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
        duplicated_days = set()
        span = sql.Span(accounts=ACCOUNTS, start_ms=FIRST, end_ms=END)
        for line in self.engine.fetch(maintenance.duplicated_days(span)).decode().splitlines():
            account, day = line.split("\t")
            duplicated_days.add((account, int(day)))
        for account in ACCOUNTS:
            pieces = self.store.duplicates.plan(account.__eq__, FIRST, END, self.now_ms).pieces
            for piece in pieces:
                for number in range(piece.start_ms // DAY_MS, piece.end_ms // DAY_MS):
                    assert not (piece.deduplicated and (account, number) in duplicated_days)

    def teardown(self) -> None:
        """When all has come to rest everything gets settled."""
        if not hasattr(self, "store"):
            return
        self.now_ms = END
        self.merge()
        self.check()
        plan = self.store.duplicates.plan(lambda _: True, FIRST, END, self.now_ms)
        assert [piece.deduplicated for piece in plan.pieces] == [True]
        assert self.engine.number(sql.source(["neg_ms"], OURS, plan.pieces)) == len(self.model)


@pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)
@pytest.mark.parametrize("names", [10_000, 2])
def test_whatever_happens_what_is_settled_is_there_once(
    service: Running, monkeypatch: pytest.MonkeyPatch, names: int
) -> None:
    monkeypatch.setattr(duplicates, "MAX_NAMES", names)
    limits = settings(
        max_examples=12, stateful_step_count=15, deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    with hooked(service) as Life.engine:
        run_state_machine_as_test(Life, settings=limits)
