"""Known records, in the three hours before the clock of the tests."""

from typing import Any

from genmeter.clock import iso
from tests.support import NOON_MS, job

ZONE = "Europe/Berlin"
HOUR_MS = 3_600_000


def jobs() -> list[dict[str, Any]]:
    """One config that works, one that is being throttled now, one of another bot."""
    found = []
    for number in range(60):
        at = NOON_MS - HOUR_MS * 3 + number * 170_000
        failed = number % 10 == 9
        found.append(
            job(
                at,
                config="steady@example.com",
                code=400 if failed else 200,
                msec=1000 + number * 10,
                model="imagen-4",
                captchaProviders="CapSolver,2Captcha" if number % 2 else "CapSolver",
                captchaRetry=1,
                tier="PAYGATE_TIER_ONE",
                sku="G1_TIER1",
            )
        )
    for number in range(12):
        at = NOON_MS - HOUR_MS + number * 200_000
        found.append(
            job(
                at,
                config="burning@example.com",
                endpoint="post-videos",
                code=201 if number < 5 else 429,
                msec=40_000 + number,
                model="veo-3.1-fast",
                tier="PAYGATE_TIER_TWO",
            )
        )
    for number in range(8):
        at = NOON_MS - HOUR_MS * 2 + number * 60_000
        code = 503 if number == 3 else 200
        found.append(job(at, bot="kling", config="k1", endpoint="videos", code=code, msec=90_000))
    # And the period before, so that there is something to compare with.
    found += [job(NOON_MS - HOUR_MS * 30 + number, code=200, msec=500) for number in range(4)]
    return found


def stamp(ms: int) -> str:
    """A moment as the API writes it."""
    return iso(ms)
