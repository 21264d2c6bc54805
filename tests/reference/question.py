"""A question as it is posted -> what it means."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.reference import times
from tests.reference.records import Row, attempts, to_ms

BOTS: Final = (
    "midjourney", "google-flow", "dreamina", "kling", "runwayml", "pixverse",
    "minimax", "mureka", "tempolor", "ltxstudio", "luma",
)  # fmt: skip
DEFAULT_METRICS: Final = (
    "jobs", "success", "client_errors", "throttled", "provider_errors", "success_rate",
    "service_rate", "avg_msec", "p50", "p95", "p99",
)  # fmt: skip
FILTERS: Final = (
    "config", "endpoint", "status", "func", "code", "model", "tier", "sku",
    "captchaProvider", "captchaRetry", "jobid",
)  # fmt: skip
_UNITS: Final = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_MINUTE: Final = 60_000

Given = dict[str, Any]
"""The JSON object of a POST."""


@dataclass(frozen=True)
class Asked:
    """What a question means. Times are milliseconds since 1970."""

    given: Given
    account: str
    start: int
    end: int
    zone: ZoneInfo
    metrics: list[str]
    group_by: list[str]
    interval: str | None
    order: list[str]
    top: int | None
    compare: bool

    def rows(self, rows: list[Row]) -> list[Row]:
        """Those that are asked for, of the period itself."""
        return self.within(rows, self.start, self.end)

    def within(self, rows: list[Row], start: int, end: int) -> list[Row]:
        """Those that are asked for, of another period."""
        return [row for row in rows if start <= row["ms"] < end and self._holds(row)]

    def several_accounts(self) -> bool:
        """Whether the answer may be about more than one."""
        accounts = values(self.given.get("account"))
        without = values(self.given.get("account!"))
        return bool(without) or len(set(accounts)) > 1 or any(meaning(name)[1] for name in accounts)

    def _holds(self, row: Row) -> bool:
        given = self.given
        accounts = values(given.get("account")) or [literal(self.account)]
        if not any(matches(pattern, row["account"]) for pattern in accounts):
            return False
        if any(matches(pattern, row["account"]) for pattern in values(given.get("account!"))):
            return False
        bots = values(given.get("bot")) or ["all"]
        if row["bot"] not in bots and "all" not in bots:
            return False
        if row["bot"] in values(given.get("bot!")):
            return False
        for field in FILTERS:
            wanted, unwanted = values(given.get(field)), values(given.get(field + "!"))
            if wanted and not any(has(row, field, pattern) for pattern in wanted):
                return False
            if any(has(row, field, pattern) for pattern in unwanted):
                return False
        if any(row["msec"] < int(least) for least in values(given.get("min_msec"))):
            return False
        return not any(row["msec"] > int(most) for most in values(given.get("max_msec")))


def understand(given: Given, *, account: str, now: int) -> Asked:
    """What ``given`` means to a token of ``account`` at the moment ``now``."""
    zone = ZoneInfo(given.get("timezone") or "UTC")
    start, end = period(given, zone, now)
    metrics = values(given.get("metrics")) or list(DEFAULT_METRICS)
    interval = given.get("interval") or None
    if interval == "auto":
        interval = times.automatic(start, end, zone)
    default = [f"-{metrics[0]}"]
    if interval:
        default.insert(0, "start")
    return Asked(
        given=given,
        account=account,
        start=start,
        end=end,
        zone=zone,
        metrics=metrics,
        group_by=values(given.get("group_by")),
        interval=interval,
        order=values(given.get("order")) or default,
        top=int(given["top"]) if given.get("top") else None,
        compare=bool(given.get("compare")),
    )


def values(given: Any) -> list[str]:
    """A parameter's values as texts; one that is empty is none."""
    several = given if isinstance(given, list) else [given]
    return [str(value) for value in several if value not in (None, "")]


def period(given: Given, zone: ZoneInfo, now: int) -> tuple[int, int]:
    """The bounds of the records asked for."""
    minute_end = (now // _MINUTE + 1) * _MINUTE
    bounds = [moment(value, zone) for name in ("from", "to") for value in values(given.get(name))]
    if bounds:
        return bounds[0], bounds[1] if len(bounds) == 2 else minute_end
    last = given.get("last") or "24h"
    return minute_end - int(last[:-1]) * _UNITS[last[-1]] * 1000, minute_end


def moment(given: str, zone: ZoneInfo) -> int:
    """A date, an instant, or milliseconds."""
    if given.isdecimal():
        return int(given)
    if len(given) == len("2026-02-13"):
        return times.midnight(date.fromisoformat(given), zone)
    return to_ms(given)


def has(row: Row, field: str, pattern: str) -> bool:
    """Whether a field of a row is what a pattern says."""
    if field == "captchaProvider":
        names = attempts(row)
        return not names if pattern == "(empty)" else any(matches(pattern, n) for n in names)
    if field == "captchaRetry":
        retries = row["captchaRetry"]
        return retries is None if pattern == "(empty)" else retries == int(pattern)
    if field == "code":
        if pattern.endswith("xx"):
            return bool(row["code"] // 100 == int(pattern[0]))
        return bool(row["code"] == int(pattern))
    return matches(pattern, row[field])


def matches(pattern: str, text: str) -> bool:
    """Whether a text is what a pattern says."""
    if pattern == "(empty)":
        return text == ""
    plain, prefix = meaning(pattern)
    return text.startswith(plain) if prefix else text == plain


def meaning(pattern: str) -> tuple[str, bool]:
    """The plain text of a pattern, and whether it is only the begin of what matches."""
    plain, rest = "", pattern
    while rest:
        if rest == "*":
            return plain, True
        if rest[0] == "\\":
            rest = rest[1:]
        plain += rest[0]
        rest = rest[1:]
    return plain, False


def literal(text: str) -> str:
    """The pattern that matches this text alone."""
    escaped = text.replace("\\", "\\\\").replace("*", "\\*")
    return "\\" + escaped if escaped == "(empty)" else escaped
