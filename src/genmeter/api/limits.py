"""How much each client may ask of the service: rates, and queries at one time.

A rate is a token bucket: it holds ``WINDOW_S`` seconds' worth, fills up at the rate, and gives
while there is anything in it. So a client may send a burst, and one request may take more than is
left, for which the next ones wait. Buckets are pure: the time is a parameter, in seconds.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from starlette.requests import Request

from genmeter.api.middleware import EXTRA_HEADERS
from genmeter.auth.accounts import Token
from genmeter.config.load import ServerSettings
from genmeter.errors import TooManyError

WINDOW_S: Final = 10
MOST_KEYS: Final = 10_000


class RateLimit:
    """Buckets by key, each of ``quota`` units that come back within ``seconds``.

    A quota of 0 is no limit. At most ``MOST_KEYS`` buckets are kept; those used least recently are
    forgotten first, and so full again.
    """

    def __init__(self, name: str, quota: float, seconds: float = WINDOW_S) -> None:
        self.name = name
        self.quota = quota
        self.seconds = seconds
        self._buckets: dict[str, tuple[float, float]] = {}

    def level(self, key: str, now: float) -> float:
        """How many units are left; below 0 after a request that took more than there were."""
        level, since = self._buckets.get(key, (self.quota, now))
        return min(self.quota, level + max(0.0, now - since) * self.quota / self.seconds)

    def wait(self, key: str, now: float) -> float:
        """Seconds until there is a unit again; 0 if there is one."""
        if not self.quota:
            return 0.0
        return max(0.0, (min(1.0, self.quota) - self.level(key, now)) * self.seconds / self.quota)

    def take(self, key: str, now: float, units: float = 1) -> None:
        """Take units, whether or not there are so many."""
        if not self.quota:
            return
        level = self.level(key, now) - units
        self._buckets.pop(key, None)
        if len(self._buckets) >= MOST_KEYS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[key] = (level, now)

    def policy(self) -> str:
        """The limit, as ``RateLimit-Policy`` has it."""
        return f'"{self.name}";q={math.floor(self.quota)};w={math.ceil(self.seconds)}'

    def state(self, key: str, now: float) -> str:
        """What is left, as ``RateLimit`` has it, and in how many seconds all will be."""
        level = self.level(key, now)
        full = math.ceil((self.quota - level) * self.seconds / self.quota)
        return f'"{self.name}";r={max(0, math.floor(level))};t={full}'


class Held:
    """Places of each key, of which ``most`` may be taken at one time; 0 for no limit."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._taken: dict[str, int] = {}

    def enter(self, key: str) -> bool:
        """Take a place, if there is one."""
        taken = self._taken.get(key, 0)
        if 0 < self.most <= taken:
            return False
        self._taken[key] = taken + 1
        return True

    def leave(self, key: str) -> None:
        """Give it back."""
        taken = self._taken.pop(key) - 1
        if taken:
            self._taken[key] = taken


class Limits:
    """The limits of a service. Each method raises TooManyError where a client is past one."""

    def __init__(
        self, settings: ServerSettings, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._failures = RateLimit("failed-tokens", settings.failed_tokens, 60)
        self._held = Held(settings.account_queries_at_once)
        self._streams = Held(settings.account_streams)
        self._posts = _both("posts", settings.token_posts, settings.account_posts)
        self._records = _both("records", settings.token_records, settings.account_records)
        self._queries = _both("queries", settings.token_queries, settings.account_queries)

    def post(self, request: Request, token: Token) -> None:
        """Count a post; its records are counted when they are known."""
        self._count(request, token, self._posts, self._records)

    def records(self, request: Request, token: Token, number: int) -> None:
        """Count the records of a post. They are taken even if they are more than were left."""
        now = self._clock()
        for limit, key in _keys(self._records, token):
            limit.take(key, now, number)
        self._tell(request, token, [*self._posts, *self._records])

    def query(self, request: Request, token: Token) -> None:
        """Count a query."""
        self._count(request, token, self._queries)

    @contextmanager
    def running(self, account: str) -> Iterator[None]:
        """Hold one of the account's places while a query waits and runs."""
        if not self._held.enter(account):
            raise TooManyError(
                f"{self._held.most} queries of this account wait or run, the most at one time; "
                "send it again when one has been answered",
                1,
            )
        try:
            yield
        finally:
            self._held.leave(account)

    @contextmanager
    def following(self, account: str) -> Iterator[None]:
        """Hold one of the account's places while a live stream goes on."""
        if not self._streams.enter(account):
            raise TooManyError(
                f"{self._streams.most} live streams of this account are open, the most at one "
                "time; close one first",
                10,
            )
        try:
            yield
        finally:
            self._streams.leave(account)

    def may_try(self, address: str, known: Callable[[], bool]) -> None:
        """Refuse a token that is not ``known`` where its address has sent too many wrong ones."""
        wait = self._failures.wait(address, self._clock())
        if wait and not known():
            raise TooManyError(
                "too many wrong tokens came from your address; only tokens that were valid before "
                "are accepted for now",
                math.ceil(wait),
            )

    def failed(self, address: str) -> None:
        """Count a wrong token."""
        self._failures.take(address, self._clock())

    def _count(
        self,
        request: Request,
        token: Token,
        taken: Sequence[RateLimit],
        only_looked_at: Sequence[RateLimit] = (),
    ) -> None:
        limits = [*taken, *only_looked_at]
        if not limits:
            return
        now = self._clock()
        waits = [(limit.wait(key, now), limit) for limit, key in _keys(limits, token)]
        wait, limit = max(waits, key=lambda found: found[0])
        if not wait:
            for one, key in _keys(taken, token):
                one.take(key, now)
        self._tell(request, token, limits)
        if wait:
            whose, what = limit.name.split("-")
            raise TooManyError(
                f"this {whose} has sent too many {what}; {limit.quota / limit.seconds:g} a second "
                "are allowed",
                math.ceil(wait),
            )

    def _tell(self, request: Request, token: Token, limits: list[RateLimit]) -> None:
        """Put what is left in the headers of the response."""
        now = self._clock()
        if limits:
            states = ", ".join(limit.state(key, now) for limit, key in _keys(limits, token))
            policies = ", ".join(limit.policy() for limit in limits)
            request.scope[EXTRA_HEADERS] = [
                (b"ratelimit", states.encode()),
                (b"ratelimit-policy", policies.encode()),
            ]


def _both(what: str, of_token: int, of_account: int) -> tuple[RateLimit, ...]:
    """The limits of a token and of an account that are set, of so many units a second."""
    found = {f"token-{what}": of_token, f"account-{what}": of_account}
    return tuple(RateLimit(name, rate * WINDOW_S) for name, rate in found.items() if rate)


def _keys(limits: Sequence[RateLimit], token: Token) -> Iterator[tuple[RateLimit, str]]:
    """Each limit with the bucket that it has for a token."""
    for limit in limits:
        yield limit, token.id if limit.name.startswith("token-") else token.account
