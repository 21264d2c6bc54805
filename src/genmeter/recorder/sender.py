"""Posts records until the server has acknowledged or rejected every one.

Posting a record again is safe, because each has a timestamp and a job id (R6). So every failure
that may pass is retried, for as long as it takes.
"""

import encodings.idna  # noqa: F401  # see below
import gzip
import logging
import math
import os
import random
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final, Self

import httpcore2  # noqa: F401  # see below
import httpx2
import msgspec

from genmeter import __version__, clock
from genmeter.config import urls
from genmeter.recorder.dead_letters import DeadLetters

# A process may fork while another thread imports a module or initializes OpenSSL. Its child would
# have half a module, or wait for a lock of OpenSSL, for good. So what sending needs is imported
# here (httpx2 imports its other half late, sockets a codec), and a fork waits while a client is
# made.
_making = threading.Lock()
os.register_at_fork(
    before=_making.acquire, after_in_parent=_making.release, after_in_child=_making.release
)

log = logging.getLogger(__name__)

FIRST_WAIT_S: Final = 0.5
LONGEST_WAIT_S: Final = 60.0
"""Waits grow from the first to the longest, each drawn from 0 to that (full jitter), in seconds."""

LONGEST_ASKED_WAIT_S: Final = 600.0
"""The most that ``Retry-After`` is followed, in seconds."""

CONNECT_S: Final = 5.0
ANSWER_S: Final = 60.0


class StoppedError(Exception):
    """Sending was told to stop; what was not acknowledged has to be sent again."""


class Rejection(msgspec.Struct):
    """A record that the server did not store, by its place in the request."""

    index: int
    error: str


class Answer(msgspec.Struct):
    """What the server said to a request that it could read."""

    accepted: int
    rejected: list[Rejection]
    rejected_total: int


class _Refused(Exception):  # noqa: N818  # not a fault: the request has to be split
    """The server takes no part of a request as it is."""


def checked_url(url: str, token: str) -> str:
    """The address of a server without its last slash.

    Raises ValueError where the address or the token cannot be one.
    """
    try:
        checked = urls.service(url)
    except ValueError as error:
        raise ValueError(f"url must be {error}") from error
    if not urls.TOKEN.fullmatch(token):
        raise ValueError("a token is printable ASCII without blanks")
    return checked


class Sender:
    """Sends to one server. Use as a context manager.

    ``wait(seconds)`` returns after a pause, at once and True when sending is to stop. ``chance()``
    is a number from 0 to 1 and ``now_ms`` the time; ``sent`` counts records posted, retries too.
    """

    def __init__(
        self,
        url: str,
        token: str,
        dead_letters: DeadLetters,
        *,
        wait: Callable[[float], bool],
        chance: Callable[[], float] = random.random,
        now_ms: Callable[[], int] = clock.now_ms,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._url = checked_url(url, token)
        self._dead_letters = dead_letters
        self._wait = wait
        self._chance = chance
        self._now_ms = now_ms
        self._failures = 0
        self._said = ""
        self.sent = 0
        self._token = token
        self._timeout = httpx2.Timeout(answer_s, connect=CONNECT_S)

    def __enter__(self) -> Self:
        # Not before: this takes 20 ms, and the thread that makes a sender may be serving requests.
        with _making:
            self._http = httpx2.Client(
                headers={
                    "Authorization": f"Bearer {self._token}",
                    "User-Agent": f"genmeter/{__version__}",
                    "Content-Type": "application/x-ndjson",
                    "Content-Encoding": "gzip",
                },
                timeout=self._timeout,
            )
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def deliver(self, lines: Sequence[bytes]) -> int:
        """Return how many of ``lines`` were stored, once all others are among the dead letters.

        Raises StoppedError where it is told to stop before.
        """
        stored = 0
        parts = [list(lines)] if lines else []
        while parts:
            part = parts.pop()
            try:
                answer = self._answer(part)
            except _Refused as refusal:
                if len(part) == 1:
                    self._dead_letters.put(part[0], str(refusal))
                else:
                    half = len(part) // 2
                    parts += [part[half:], part[:half]]
                continue
            reasons = {rejection.index: rejection.error for rejection in answer.rejected}
            for index, reason in reasons.items():
                self._dead_letters.put(part[index], reason)
            if answer.rejected_total > len(reasons):
                # The server names the first 100 only; the others show when these are gone.
                parts.append([line for i, line in enumerate(part) if i not in reasons])
            else:
                stored += answer.accepted
        return stored

    def _answer(self, lines: Sequence[bytes]) -> Answer:
        """The server's answer to a request, however often it has to be sent."""
        body = gzip.compress(b"\n".join(lines), 1, mtime=0)
        while True:
            asked_s = None
            try:
                self.sent += len(lines)
                response = self._http.post(f"{self._url}/v2/account/stats", content=body)
            except httpx2.HTTPError as error:
                problem = f"{self._url} does not answer: {str(error) or type(error).__name__}"
            else:
                if answer := _answer_of(response, len(lines)):
                    self._recovered()
                    return answer
                message = _message(response)
                if response.status_code == 413 or (response.status_code == 400 and message):
                    raise _Refused(message or "the server takes no request of this size")
                message = message or "not an answer of genmeter"
                problem = f"{self._url} answered {response.status_code}: {message}"
                if response.status_code in (401, 403):
                    asked_s = LONGEST_WAIT_S
                else:
                    asked_s = self._retry_after_s(response.headers.get("Retry-After", ""))
            self._say(problem)
            if self._wait(self._pause_s(asked_s)):
                raise StoppedError(problem)

    def _pause_s(self, asked_s: float | None) -> float:
        ceiling = min(LONGEST_WAIT_S, math.ldexp(FIRST_WAIT_S, min(self._failures, 16)))
        self._failures += 1
        if asked_s is not None:
            # Spread over a little more than was asked for, lest all come back at one moment.
            return asked_s + self._chance() * FIRST_WAIT_S
        return self._chance() * ceiling

    def _retry_after_s(self, text: str) -> float | None:
        """Seconds that the header asks to wait; None where it does not, or cannot be read."""
        if text.isascii() and text.isdecimal():
            seconds = float(text[:9])
        else:
            try:
                moment: datetime = parsedate_to_datetime(text)
            except ValueError:
                return None
            if moment.tzinfo is None:
                moment = moment.replace(tzinfo=UTC)
            now = datetime.fromtimestamp(self._now_ms() / 1000, UTC)
            seconds = (moment - now).total_seconds()
        return min(max(0.0, seconds), LONGEST_ASKED_WAIT_S)

    def _say(self, problem: str) -> None:
        """Log a problem, but not again while it lasts."""
        if problem != self._said:
            log.warning("records wait: %s", problem)
        self._said = problem

    def _recovered(self) -> None:
        if self._said:
            log.warning("records are sent again")
        self._said = ""
        self._failures = 0


def _answer_of(response: httpx2.Response, records: int) -> Answer | None:
    """What the server says of so many records; None where it says nothing of each."""
    if response.status_code not in (200, 400):
        return None
    try:
        answer = msgspec.json.decode(response.content, type=Answer)
    except msgspec.MsgspecError:
        return None
    # Else something other than genmeter is there, whose word is no acknowledgement.
    fits = answer.accepted + answer.rejected_total == records
    named = all(0 <= rejection.index < records for rejection in answer.rejected)
    progress = bool(answer.rejected) or not answer.rejected_total
    return answer if fits and named and progress else None


def _message(response: httpx2.Response) -> str:
    """The error that genmeter answered with; empty where the answer is not genmeter's."""
    try:
        return msgspec.json.decode(response.content, type=dict[str, str])["error"]
    except (msgspec.MsgspecError, KeyError):
        return ""
