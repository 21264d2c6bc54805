"""Who asks: tokens are looked up on threads of their own and remembered for half a second.

A database that does not answer holds no request up for more than some seconds, and no other work
of the service at all.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final

from genmeter.auth.accounts import Token, hash_of
from genmeter.errors import AccountsError

_THREADS: Final = 4
_MOST: Final = 10_000

WAIT_S: Final = 5.0
"""A request waits no longer than this for the accounts database."""


class Tokens:
    """Asks ``find`` who holds a token, and remembers the answer for ``seconds``.

    They count from when the query began, and those who ask meanwhile share it. So half a second
    keeps the promise that a new, revoked or expired token takes effect within one: nobody gets an
    answer that is older. That there was no answer is remembered alike; what was known before is
    never used in its place. For one event loop. Use as a context manager.
    """

    def __init__(
        self,
        find: Callable[[str], Token | None],
        *,
        seconds: float = 0.5,
        wait_s: float = WAIT_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._seconds = seconds
        self._wait_s = wait_s
        self._clock = clock
        self._asked: dict[str, tuple[float, asyncio.Future[Token | None]]] = {}
        self._known: set[str] = set()
        self._threads = ThreadPoolExecutor(_THREADS, "tokens")

    def __enter__(self) -> "Tokens":
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    async def find(self, text: str) -> Token | None:
        """The token whose text this is, in force or not; AccountsError where nobody can say."""
        key = hash_of(text)
        until, asking = self._asked.get(key, (0.0, None))
        if asking is None or self._clock() >= until:
            asking = self._ask(key, text)
        if not asking.done():
            await asyncio.wait((asking,), timeout=self._wait_s)
        if not asking.done():
            asking.cancel()  # one that has not begun never will; others that wait have waited, too
        if asking.cancelled():
            raise AccountsError("the accounts database does not answer in time")
        token = asking.result()
        if token is not None:
            self._known.add(key)
        return token

    def known(self, text: str) -> bool:
        """Whether this is a token that was found before and has not been forgotten."""
        return hash_of(text) in self._known

    def forget(self, text: str) -> None:
        """A token is not valid any more."""
        self._known.discard(hash_of(text))

    async def check(self) -> None:
        """Look up a token that there is not; AccountsError where nobody can say so."""
        await self.find("")

    def _ask(self, key: str, text: str) -> asyncio.Future[Token | None]:
        self._asked.pop(key, None)
        if len(self._asked) >= _MOST:  # a flood of wrong tokens must not fill the memory
            del self._asked[next(iter(self._asked))]
        asking = asyncio.get_running_loop().run_in_executor(self._threads, self._find, text)
        asking.add_done_callback(_seen)
        self._asked[key] = (self._clock() + self._seconds, asking)
        return asking


def _seen(asked: asyncio.Future[Token | None]) -> None:
    """Mark an error as seen: everybody who asked may have gone by then."""
    if not asked.cancelled():
        asked.exception()
