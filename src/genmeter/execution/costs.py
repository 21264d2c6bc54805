"""Whether a query is cheap: by about how many records it reads.

An account's records a day are estimated from the engine's index, on a thread that no query waits
for, and remembered for a while. Until then the length of the time that is asked for decides. An
estimate costs as much as a small query, so there is one only where a long time is asked for, or
where a query that was taken for cheap was slow.
"""

import contextlib
import functools
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from genmeter.clock import DAY_MS
from genmeter.errors import EngineError
from genmeter.execution.fairness import Ticket
from genmeter.storage.shards import Shards

CHEAP_RECORDS: Final = 100_000
"""What an engine reads and a response is made of in some tens of milliseconds."""

CHEAP_DAYS: Final = 2
"""As long as nothing is known of an account, queries up to this long are cheap."""

_MOST_DAYS: Final = 92
_KEPT_S: Final = 600.0
_MOST: Final = 10_000


class Costs:
    """Estimates for the accounts of ``shards``; ``now_ms`` is the service's clock.

    A query may wait for ``patience_s`` seconds. Use as a context manager.
    """

    def __init__(self, shards: Shards, *, now_ms: Callable[[], int], patience_s: float) -> None:
        self._shards = shards
        self._now_ms = now_ms
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._known: dict[str, tuple[float, float | None]] = {}
        self._thread = ThreadPoolExecutor(1, "costs")

    def __enter__(self) -> "Costs":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown(cancel_futures=True)

    def ticket(
        self, asker: str, account: str | None, start_ms: int, end_ms: int, limit: int | None = None
    ) -> Ticket:
        """What ``asker``, an account, queues with for records of an account, or (None) of all."""
        return Ticket(
            account=asker,
            cheap=self.cheap(account, start_ms, end_ms, limit),
            patience_s=self._patience_s,
            slow=functools.partial(self._look_soon, account),
        )

    def cheap(
        self, account: str | None, start_ms: int, end_ms: int, limit: int | None = None
    ) -> bool:
        """Whether records of a time are few, of an account or (None) of all.

        ``limit`` is how many of them are asked for at the most.
        """
        if limit is not None and limit <= CHEAP_RECORDS // 10:
            return True
        if account is None:
            return False
        days = min(_MOST_DAYS, max(0.0, (end_ms - start_ms) / DAY_MS))
        with self._lock:
            until, a_day = self._known.get(account, (0.0, None))
        if days > CHEAP_DAYS and time.monotonic() >= until:
            self._look_soon(account)
        if a_day is None:
            return days <= CHEAP_DAYS
        return min(a_day * days, limit or math.inf) <= CHEAP_RECORDS

    def _look_soon(self, account: str | None) -> None:
        """Estimate an account's records a day, unless that was done a while ago."""
        now = time.monotonic()
        with self._lock:
            until, a_day = self._known.get(account or "", (0.0, None))
            if account is None or now < until:
                return
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[account] = (now + _KEPT_S, a_day)
        with contextlib.suppress(RuntimeError):  # the service ends
            self._thread.submit(self._look, account)

    def _look(self, account: str) -> None:
        try:
            a_day = self._shards.records_a_day(account, self._now_ms())
        except EngineError:  # an old server has no estimates
            return
        with self._lock:
            self._known[account] = (time.monotonic() + _KEPT_S, a_day)
