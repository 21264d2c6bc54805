"""Whose query runs next: a queue in which no account can keep the others waiting. Pure.

Three rules, for a number of slots:

- Queries of one account hold all slots but one at the most, a quarter with heavy ones; heavy
  queries of all accounts together hold all but one. So whoever comes finds a slot that soon gets
  free, and processors.
- Cheap queries go before heavy ones; after some in a row a heavy one that waits goes first.
- Of several accounts the one goes first that has been given the least time so far. An account that
  comes back after a pause counts as one that had as much as the least of those there.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

SLOW_S: Final = 0.25

CHEAP_IN_A_ROW: Final = 16
"""After so many cheap queries a heavy one that waits goes first."""


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """Who a query is for and what it costs: ``cheap`` ones do not wait behind others.

    It may wait for ``patience_s`` seconds. ``slow`` is called where one that was cheap held its
    slot for more than ``SLOW_S``.
    """

    account: str
    cheap: bool = True
    patience_s: float = 30.0
    slow: Callable[[], object] = lambda: None


class Job(msgspec.Struct, eq=False):
    """A query that waits or runs: whose, whether it is cheap, and what to do."""

    account: str
    cheap: bool
    work: Callable[[], None]


class FairQueue:
    """Jobs that wait for one of ``slots``, and those that hold one. Not for several threads."""

    def __init__(self, slots: int) -> None:
        self._most = max(1, slots - 1)  # of one account, and of heavy jobs
        # Each heavy query keeps several threads of the engine busy, and so all processors.
        self._most_heavy = max(1, slots // 4)  # of one account
        self._slots = slots
        self._waiting: dict[bool, dict[str, deque[Job]]] = {True: {}, False: {}}
        self._running: dict[str, list[Job]] = {}
        self._given: dict[str, float] = {}
        self._cheap_in_a_row = 0

    def __len__(self) -> int:
        """How many jobs wait."""
        return sum(len(jobs) for waiting in self._waiting.values() for jobs in waiting.values())

    def add(self, job: Job) -> None:
        """Let a job wait its turn."""
        if job.account not in self._given:
            self._given[job.account] = min(self._given.values(), default=0.0)
        self._waiting[job.cheap].setdefault(job.account, deque()).append(job)

    def remove(self, job: Job) -> None:
        """Let a job wait no longer; nothing happens where it does not wait."""
        jobs = self._waiting[job.cheap].get(job.account, deque())
        if job in jobs:
            jobs.remove(job)
            self._tidy(job)

    def take(self) -> Job | None:
        """The job that a slot goes to now, None where none may run."""
        if sum(map(len, self._running.values())) >= self._slots:
            return None
        order = (True, False)
        if self._cheap_in_a_row >= CHEAP_IN_A_ROW:
            order = (False, True)
        for cheap in order:
            if (job := self._next(cheap)) is not None:
                self._cheap_in_a_row = self._cheap_in_a_row + 1 if cheap else 0
                return job
        return None

    def done(self, job: Job, seconds: float) -> None:
        """Give back a job's slot, which it held for some time."""
        self._running[job.account].remove(job)
        self._given[job.account] += seconds
        self._tidy(job)

    def _next(self, cheap: bool) -> Job | None:
        waiting = self._waiting[cheap]
        heavy = sum(not job.cheap for jobs in self._running.values() for job in jobs)
        if not cheap and self._slots > 1 and heavy >= self._most:
            return None
        allowed = [account for account in waiting if self._may_run(account, cheap)]
        if not allowed:
            return None
        account = min(allowed, key=lambda one: (self._given[one], len(self._running.get(one, ()))))
        job = waiting[account].popleft()
        if not waiting[account]:
            del waiting[account]
        self._running.setdefault(account, []).append(job)
        return job

    def _may_run(self, account: str, cheap: bool) -> bool:
        mine = self._running.get(account, [])
        heavy = sum(not job.cheap for job in mine)
        return len(mine) < self._most and (cheap or heavy < self._most_heavy)

    def _tidy(self, job: Job) -> None:
        """Forget an account that has nothing here any more."""
        for waiting in self._waiting.values():
            if not waiting.get(job.account, True):
                del waiting[job.account]
        if not self._running.get(job.account, True):
            del self._running[job.account]
        if job.account not in self._running and not any(
            job.account in waiting for waiting in self._waiting.values()
        ):
            del self._given[job.account]
