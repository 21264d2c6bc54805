"""An engine that other things happen around, for what is known of records stored twice."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from genmeter.clock import DAY_MS, day_start_ms
from genmeter.model.record import Row
from genmeter.storage import duplicates, schema
from genmeter.storage.engine.base import Engine
from genmeter.storage.sql import base as sql
from genmeter.storage.sql import maintenance
from genmeter.storage.store import Store
from tests.support import Running

TODAY = day_start_ms("2031-03-03")  # no other test's records are of these months
MONTHS = (203102, 203103)
FIRST = TODAY - 5 * DAY_MS  # in the month before
NOW = TODAY + 7_000
END = TODAY + DAY_MS
ACCOUNTS = ("acme", "beta", "zeta")
OURS = "account IN ('acme', 'beta', 'zeta')"


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
        self.layout, self.damaged = engine.layout, engine.damaged
        self.replaced = engine.replaced
        self.prepare, self.stream = self._engine.prepare, self._engine.stream
        self.execute, self.close = self._engine.execute, self._engine.close
        self.before_fetch: Callable[[str], object] = lambda _: None
        self.around_insert: Callable[[], object] = lambda: None

    def fetch(self, statement: str, shard: int = 0) -> bytes:
        self.before_fetch(statement)
        return self._engine.fetch(statement, shard)

    def insert(self, *given: Any, **named: Any) -> None:
        self.around_insert()
        self._engine.insert(*given, **named)
        self.around_insert()

    def empty(self) -> None:
        """Forget all that a test of these did."""
        self.before_fetch = lambda _: None
        self.around_insert = lambda: None
        for month in MONTHS:
            self.execute(schema.drop_month(month))

    def merge(self) -> None:
        """Make one part of all in each month."""
        self.execute(f"SYSTEM START MERGES {sql.TABLE}")
        for month in MONTHS:
            self.execute(f"OPTIMIZE TABLE {sql.TABLE} PARTITION {month} FINAL")
        self.execute(maintenance.STOP_MERGES)

    def number(self, source: str) -> int:
        """How many rows there are to read."""
        return int(self._engine.fetch(f"SELECT count() FROM {source}"))


@contextlib.contextmanager
def hooked(service: Running) -> Iterator[Hooked]:
    """The service's, without records of these months; nothing merges by itself, no check rests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(duplicates, "REST", 0)
        engine = Hooked(service.service.engine)
        engine.execute(maintenance.STOP_MERGES)
        yield engine
        engine.empty()
        engine.execute(f"SYSTEM START MERGES {sql.TABLE}")


def checked(store: Store, now_ms: int = NOW) -> None:
    """Have all checked that somebody could ask for."""
    store.duplicates.plan(lambda _: True, FIRST, now_ms, now_ms)
    store.duplicates.check(now_ms)
