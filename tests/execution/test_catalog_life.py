"""Whatever happens to a store, what there is to ask about is told as it is."""

import re
from itertools import count
from typing import ClassVar

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from genmeter.clock import DAY_MS, iso
from genmeter.execution.aggregator import Aggregator
from genmeter.execution.catalog import Catalog, Meta, QueryLimits
from genmeter.model.bots import ELEVEN
from genmeter.model.record import Row
from genmeter.query.selection import Filter, Pattern, Selection
from genmeter.storage.shards import Run, Shards
from genmeter.storage.store import Store
from tests.hooked import FIRST, NOW, TODAY, Hooked, checked, hooked, row
from tests.support import Running

KEPT_DAYS = 3
BOTH = (Filter(dimension="account", patterns=(Pattern("exact", "acme"), Pattern("exact", "beta"))),)
MOMENTS = (0, 6_999, 7_000, DAY_MS - 1)


def inventory(engine: Hooked, store: Store) -> Catalog:
    shards = Shards(engine, store.duplicates, memory_mb=1000)
    limits = QueryLimits(days=400, groups=1000, seconds=30)
    return Catalog(Aggregator(shards, most_groups=1000), shards, limits, 0, ELEVEN)


def meta(there: Catalog, store: Store, account: str | None, now_ms: int) -> Meta:
    """What there is of an account, or of both."""
    chosen = Selection(
        account=account, accounts=() if account else BOTH,
        start_ms=0, end_ms=now_ms + DAY_MS, timezone="UTC",
    )  # fmt: skip
    run = Run(now_ms=now_ms, oldest_ms=store.oldest_ms(now_ms), query_id="q1")
    return there.meta(chosen, run, store.state(account))


class Life(RuleBasedStateMachine):
    """The model is each record that there must be, with its model's name; and all names ever."""

    engine: ClassVar[Hooked]
    forever: ClassVar[bool]

    records = st.lists(
        st.tuples(
            st.integers(0, 4), st.sampled_from(MOMENTS), st.sampled_from(["acme", "beta"]),
            st.sampled_from("ab"), st.sampled_from(["x", "y", "z"]),
        ),
        min_size=1, max_size=3,
    )  # fmt: skip

    @initialize()
    def begin(self) -> None:
        self.engine.empty()
        self.now_ms = FIRST + DAY_MS + 7_000
        self.model: dict[tuple[str, str, int, str], Row] = {}
        self.named: set[str] = set()
        self.restart()

    @rule()
    def restart(self) -> None:
        self.store = Store(self.engine, retention_days=0 if self.forever else KEPT_DAYS)
        self.inventory = inventory(self.engine, self.store)
        self.named = {one.model for one in self.model.values()}

    @rule(records=records)
    def insert(self, records: list[tuple[int, int, str, str, str]]) -> None:
        rows = []
        for day, ms, account, jobid, model in records:
            at = min(FIRST + day * DAY_MS + ms, self.now_ms)
            rows.append(msgspec.structs.replace(row(at, account, jobid), model=model))
        self.store.insert(rows, self.now_ms)
        self.model |= {one.identity(): one for one in rows}
        self.named |= {one.model for one in rows}

    @rule(records=records, which=st.integers(0, 4))
    def insert_while_asking(
        self, records: list[tuple[int, int, str, str, str]], which: int
    ) -> None:
        statements = count()
        self.engine.before_fetch = lambda _: (
            self.insert(records) if next(statements) == which else None
        )
        self.meta(None)
        self.engine.before_fetch = lambda _: None

    @rule()
    def check(self) -> None:
        checked(self.store, self.now_ms)

    @rule()
    def merge(self) -> None:
        self.engine.merge()

    @rule()
    def a_night_goes_by(self) -> None:
        self.time_goes_by(DAY_MS)
        self.check()

    @rule(ms=st.sampled_from([1, 60_000, DAY_MS]))
    def time_goes_by(self, ms: int) -> None:
        if (self.now_ms + ms) // DAY_MS > self.now_ms // DAY_MS:
            self.named = {one.model for one in self.present(None)}
        self.now_ms = min(self.now_ms + ms, NOW)

    def present(self, account: str | None) -> list[Row]:
        oldest_ms = self.store.oldest_ms(self.now_ms)
        return [
            one for one in self.model.values()
            if account in (None, one.account) and -one.neg_ms >= oldest_ms
        ]  # fmt: skip

    def meta(self, account: str | None) -> Meta:
        return meta(self.inventory, self.store, account, self.now_ms)

    @invariant()
    def it_is_told_as_it_is(self) -> None:
        for account in ("acme", None):
            rows = self.present(account)
            found = self.meta(account)
            times = [-one.neg_ms for one in rows]
            assert found.records == len(rows)
            assert found.oldest == (iso(min(times)) if times else None)
            assert found.newest == (iso(max(times)) if times else None)
            models = set(found.dimensions["model"])
            assert {one.model for one in rows} <= models
            assert models <= self.named


@pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)
@pytest.mark.parametrize("forever", [True, False])
def test_whatever_happens_it_is_told_as_it_is(service: Running, forever: bool) -> None:
    limits = settings(
        max_examples=25, stateful_step_count=15, deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
    )  # fmt: skip
    Life.forever = forever
    with hooked(service) as Life.engine:
        run_state_machine_as_test(Life, settings=limits)


@pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)
def test_days_that_nothing_came_into_are_not_read_again(service: Running) -> None:
    statements: list[str] = []
    with hooked(service) as engine:
        store = Store(engine, retention_days=0)
        there = inventory(engine, store)
        store.insert([row(FIRST), row(NOW)], NOW)
        assert meta(there, store, "acme", NOW).records == 2  # before anything is checked
        checked(store)
        engine.before_fetch = statements.append
        for number, begins in ((3, 0), (4, TODAY)):
            statements.clear()
            store.insert([row(NOW - number)], NOW)
            assert meta(there, store, "acme", NOW).records == number
            assert statements
            oldest = [re.findall(r"neg_ms <= -?(\d+)", one) for one in statements]
            assert min(int(ms) for found in oldest for ms in found) == begins
