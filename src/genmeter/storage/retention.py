"""The clock by which records are dropped: one that is not believed at first sight.

A clock that is wrong for a moment must not cost records. So time is counted on from what was noted
last, and believed to have passed as the process has seen it pass. The clock of the machine may be
later, after a pause or because it is wrong; what was counted follows it slowly, so that an operator
who reads the log has days to set the clock right.
"""

import logging
from collections.abc import Callable
from typing import Final

from genmeter.clock import iso

log = logging.getLogger(__name__)

HOUR_MS: Final = 3_600_000
FOLLOW: Final = 24
"""How many hours the trusted time may gain in an hour, after the first."""

_JUMP_MS: Final = 60_000


class TrustedClock:
    """The time since 1970 in milliseconds that at least has passed, as far as can be known.

    ``noted_ms`` is a time that was right once: of the last note, or of the newest record; None
    where there is neither. ``now_ms`` is the machine's clock, ``elapsed_s`` one that is never set.
    """

    def __init__(
        self, noted_ms: int | None, now_ms: Callable[[], int], elapsed_s: Callable[[], float]
    ) -> None:
        self._now_ms = now_ms
        self._elapsed_s = elapsed_s
        self._started_s = elapsed_s()
        now = now_ms()
        self._from_ms = now if noted_ms is None else min(noted_ms, now)
        self._offset_ms = now
        if noted_ms is not None and noted_ms > now + _JUMP_MS:
            log.warning("the clock is behind the last note", extra={"noted_ms": noted_ms})
        if self._from_ms < now - 24 * HOUR_MS:
            log.warning(
                "the clock is more than a day after the last note; records are dropped as late as "
                "if the time between had not passed, at first",
                extra={"noted": iso(self._from_ms), "clock": iso(now)},
            )

    @property
    def settled(self) -> bool:
        """Whether the first hour is over, in which nothing is dropped."""
        return self._uptime_ms() >= HOUR_MS

    def __call__(self) -> int:
        """The trusted time; never after the machine's."""
        now, uptime = self._now_ms(), self._uptime_ms()
        jumped = now - uptime - self._offset_ms
        if abs(jumped) > _JUMP_MS:
            log.warning("the clock was set", extra={"by_seconds": jumped // 1000})
            self._offset_ms = now - uptime
        gained = FOLLOW * max(0, uptime - HOUR_MS)
        return min(now, self._from_ms + uptime + gained)

    def _uptime_ms(self) -> int:
        return int((self._elapsed_s() - self._started_s) * 1000)
