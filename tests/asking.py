"""Records that are hard to count, and questions about them, for the tests of figures and rows."""

import random
from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from tests.reference import times
from tests.reference.question import FILTERS, Given, literal, period
from tests.reference.records import to_ms

NOW_MS: Final = to_ms("2026-04-12T12:00:30.500Z")
"""A moment that has changes of clocks of both halves of the world in the 92 days before it."""

HOUR: Final = 3_600_000
DAY: Final = 24 * HOUR

ZONES: Final = tuple(
    map(
        ZoneInfo,
        (
            "UTC",
            "Europe/Berlin",  # forward at 2026-03-29T02:00
            "America/New_York",  # forward at 2026-03-08T02:00
            "America/Havana",  # forward at 2026-03-08T00:00, so that there is no midnight
            "America/Santiago",  # back at 2026-04-05T00:00, to the day before
            "Australia/Lord_Howe",  # back by half an hour at 2026-04-05T02:00
            "Africa/Casablanca",  # back at 2026-02-15T03:00, forward at 2026-03-22T02:00
            "Asia/Kolkata",
            "Pacific/Apia",
            "Pacific/Chatham",
        ),
    )
)

BOTS: Final = ("google-flow", "kling", "luma", "midjourney")
CODES: Final = (0, 200, 201, 299, 301, 400, 403, 404, 429, 499, 500, 524, 596, 599, 700)
TEXTS: Final = {
    "config": (
        "ops@example.com", "größe@example.com", 'a"b\\c', "x, y", "*", "(empty)", "日本 🎬",
        "<script>alert(1)</script>", "Ops@example.com", "ops@example.com ",
    ),
    "endpoint": ("post-images", "post-videos", "get/x y?z=1&w=%41#+", "'; DROP TABLE records --"),
    "status": ("", "done", "OK", "Été", "{name:String}"),
    "func": ("", "v1-images", "v1'x\\", "v1-", "\\'"),
    "model": ("", "veo-3.1-fast", "veo-3.1", "veo-*", "(empty)", "a,b", "\\(empty)", "imagen"),
    "tier": ("", "PAYGATE_TIER_ONE", "(empty)", "PAYGATE_TIER_"),
    "sku": ("", "G1_TIER1", "G1_TIER2"),
    "jobid": ("j1", "j2", 'j"3', "j\\4", "(empty)", "é5", "j*", "J1", "j10", "j,1"),
    "captchaProviders": (
        "", "CapSolver", "CapSolver,2Captcha", " CapSolver , CapSolver,,2Captcha ", ",", " , ",
        "2Captcha,(empty)", "*,Cap*", "back\\slash, <b>,é", "2Captcha,2Captcha,2Captcha",
    ),
}  # fmt: skip
PROVIDERS: Final = ("CapSolver", "2Captcha", "(empty)", "*", "Cap*", "back\\slash", "<b>", "é")
RETRIES: Final = (None, 0, 1, 2, 3, 65_535)
SPENT: Final = (0, 1, 5, 5, 5, 10, 999, 1000, 1000, 1001, 12_345, 2**32 - 1)
METRICS: Final = (
    "jobs", "success", "client_errors", "throttled", "provider_errors", "success_rate",
    "service_rate", "avg_msec", "min_msec", "max_msec", "p50", "p95", "p99", "p99.9", "p0.01",
    "p33.33", "captcha_attempts", "avg_captcha_retry", "first", "last",
)  # fmt: skip
DIMENSIONS: Final = (
    "bot", "config", "endpoint", "status", "func", "code", "model", "tier", "sku",
    "captchaProvider", "captchaRetry",
)  # fmt: skip


def _edges() -> list[int]:
    """Moments at which local days begin and clocks change, in any zone."""
    found = set()
    days = [date(2026, 4, 12) - timedelta(days=back) for back in (0, 1, 2, 6, 7, 8, 11, 12, 42)]
    days += [date(2026, 3, 29), date(2026, 3, 30), date(2026, 3, 8), date(2026, 3, 9)]
    for zone in ZONES:
        found |= {times.midnight(day, zone) for day in days}
        for moment in range(NOW_MS // HOUR * HOUR - 80 * DAY, NOW_MS, HOUR // 2):
            before, after = (times.local(ms, zone).utcoffset() for ms in (moment - 1, moment))
            if before != after:
                found.add(moment)
    return sorted(ms for ms in found if ms <= NOW_MS)


EDGES: Final = _edges()


class Maker:
    """Makes records from a seed, the same each time."""

    def __init__(self, seed: int, accounts: Sequence[str]) -> None:
        self._random = random.Random(seed)
        self._accounts = accounts

    def records(self, count: int) -> list[dict[str, Any]]:
        """So many records, a sixth of them sent again with everything else changed."""
        made: list[dict[str, Any]] = []
        for _ in range(count):
            record = self._record()
            if made and self._random.random() < 1 / 6:
                earlier = self._random.choice(made)
                record |= {name: earlier[name] for name in ("account", "bot", "jobid", "timestamp")}
            made.append(record)
        return made

    def _record(self) -> dict[str, Any]:
        pick = self._random.choice
        record: dict[str, Any] = {name: pick(texts) for name, texts in TEXTS.items()}
        record |= {
            "account": pick(self._accounts),
            "bot": pick(BOTS),
            "timestamp": self._timestamp(),
            "code": pick((200, *CODES)),
            "msec": pick(SPENT),
            "captchaRetry": pick(RETRIES),
        }
        empty = [name for name, value in record.items() if value in ("", None)]
        for name in empty:  # is sent as it is, or not at all
            if self._random.random() < 0.5:
                del record[name]
        return record

    def _timestamp(self) -> int | str:
        ms = self._random.choice(
            [
                self._random.choice(EDGES) + self._random.choice((-1, 0, 0, 1)),
                NOW_MS - self._random.randrange(2 * DAY),
                NOW_MS - self._random.randrange(40) * 10_007,
                NOW_MS - self._random.randrange(80 * DAY),
            ]
        )
        ways: list[int | str] = [ms, times.iso(ms, self._random.choice(ZONES))]
        return self._random.choice(ways)


@st.composite
def questions(draw: st.DrawFn, accounts: Sequence[str]) -> Given:
    """Which records somebody asks for: of ``accounts`` where there are any, else of the token's."""
    given: Given = dict(draw(_ranges()))
    if len(accounts) > 0 and draw(st.booleans()):
        prefix = accounts[0].rpartition("-")[0] + "-*"
        names = st.sampled_from([*accounts, prefix, accounts[0][:-1] + "*", "nobody"])
        given["account"] = draw(_one_or_several(names))
        if draw(_one_in(4)):
            given["account!"] = draw(_one_or_several(st.sampled_from(accounts)))
    if draw(_one_in(3)):
        bots = st.sampled_from([*BOTS, "mureka"])
        given["bot"] = draw(_one_or_several(bots) | st.just("all"))
    if draw(_one_in(6)):
        given["bot!"] = draw(_one_or_several(st.sampled_from(BOTS)))
    if draw(st.booleans()):
        for field in draw(st.lists(st.sampled_from(FILTERS), min_size=1, max_size=2)):
            name = field + draw(st.sampled_from(["", "", "!"]))
            given[name] = draw(_one_or_several(_patterns(field)))
    for name in ("min_msec", "max_msec"):
        if draw(_one_in(10)):
            given[name] = draw(st.sampled_from(SPENT))
    for name in draw(st.lists(st.sampled_from(["model", "bot", "sku!", "max_msec"]), max_size=1)):
        given.setdefault(name, "")
    return given


@st.composite
def figure_questions(draw: st.DrawFn, accounts: Sequence[str]) -> Given:
    """What somebody asks ``/query`` for."""
    given = draw(questions(accounts))
    metrics = ["jobs"]
    if draw(st.booleans()):
        metrics = draw(st.lists(st.sampled_from(METRICS), min_size=1, max_size=8, unique=True))
        given["metrics"] = metrics
    dims = (*DIMENSIONS, "account") if accounts else DIMENSIONS
    group_by = draw(st.lists(st.sampled_from(dims), max_size=3, unique=True))
    if group_by:
        given["group_by"] = group_by if draw(st.booleans()) or len(group_by) > 1 else group_by[0]
        if draw(st.booleans()):
            given["top"] = draw(st.sampled_from([1, 2, 3, 7, 1000]))
    if draw(st.booleans()):
        given["interval"] = draw(st.sampled_from(_intervals(given, bool(group_by))))
    if draw(st.booleans()):
        given["compare"] = "previous"
    if (group_by or "interval" in given) and draw(st.booleans()):
        names = [*metrics, *group_by, *(["start"] if "interval" in given else [])]
        order = draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True))
        given["order"] = [draw(st.sampled_from(["", "-"])) + name for name in order]
    return given


@st.composite
def row_questions(draw: st.DrawFn, accounts: Sequence[str]) -> Given:
    """What somebody asks ``/rows`` for."""
    given = draw(questions(accounts))
    order = draw(st.sampled_from([None, "newest", "oldest"]))
    return given if order is None else given | {"order": order}


def _intervals(given: Given, grouped: bool) -> list[str]:
    """The intervals that do not make too many buckets of a range."""
    zone = ZoneInfo(given.get("timezone") or "UTC")
    start, end = period(given, zone, NOW_MS)
    most = 60 if grouped else 800
    steps = {"1m": 60_000, "5m": 300_000, "15m": 900_000, "1h": HOUR, "1d": DAY, "1w": 7 * DAY}
    fit = [name for name, step in steps.items() if (end - start) // step <= most]
    if grouped and (end - start) > 3 * DAY:
        return [*fit, "1mo"]
    return [*fit, "1mo", "auto"]


@st.composite
def _ranges(draw: st.DrawFn) -> Given:
    zone = draw(st.sampled_from(ZONES))
    given: Given = {} if zone.key == "UTC" and draw(st.booleans()) else {"timezone": zone.key}
    kind = draw(st.sampled_from(["default", "last", "days", "months", "moments", "from"]))
    if kind == "last":
        given["last"] = draw(st.sampled_from(["5m", "90m", "24h", "36h", "7d", "30d", "4w", "80d"]))
    elif kind == "days":
        day = date(2026, 4, 12) - timedelta(days=draw(st.integers(0, 45)))
        length = timedelta(days=draw(st.sampled_from([1, 1, 2, 3, 7, 14])))
        given |= {"from": day.isoformat(), "to": (day + length).isoformat()}
    elif kind == "months":
        first, months = draw(st.sampled_from([(4, 1), (3, 1), (3, 2), (2, 2), (2, 1)]))
        given |= {"from": f"2026-{first:02}-01", "to": f"2026-{first + months:02}-01"}
    elif kind == "moments":
        two = st.lists(st.sampled_from(EDGES), min_size=2, max_size=2, unique=True)
        start, end = sorted(draw(two))
        given |= {"from": draw(_spelt(start)), "to": draw(_spelt(end))}
    elif kind == "from":
        given["from"] = draw(_spelt(draw(st.sampled_from(EDGES)) + 1))
    return given


def _spelt(ms: int) -> st.SearchStrategy[int | str]:
    """A moment in one of the ways there are to write it."""
    return st.sampled_from([ms, str(ms), *(times.iso(ms, zone) for zone in ZONES)])


def _patterns(field: str) -> st.SearchStrategy[Any]:
    if field == "code":
        return st.sampled_from(CODES) | st.sampled_from(["2xx", "4xx", "5xx", "7xx", "429"])
    if field == "captchaRetry":
        return st.sampled_from([0, 1, "2", 65_535, 9, "(empty)"])
    texts = st.sampled_from(PROVIDERS if field == "captchaProvider" else TEXTS[field])
    whole = texts.filter(bool).map(literal)
    begin = st.tuples(texts, st.integers(0, 4)).map(lambda cut: literal(cut[0][: cut[1]]) + "*")
    return whole | begin | st.just("(empty)")


def _one_in(count: int) -> st.SearchStrategy[bool]:
    return st.integers(1, count).map(lambda number: number == count)


def _one_or_several(one: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return one | st.lists(one, min_size=1, max_size=3)


def as_get(given: Given, commas: bool) -> list[tuple[str, Any]]:
    """The same question as a query string: several values by commas, or the name repeated."""
    pairs: list[tuple[str, Any]] = []
    for name, value in given.items():
        several = [_escaped(str(one)) for one in (value if isinstance(value, list) else [value])]
        pairs += [(name, ",".join(several))] if commas else [(name, one) for one in several]
    return pairs


def _escaped(pattern: str) -> str:
    """A pattern whose commas are meant."""
    plain, rest = "", pattern
    while rest:
        size = 2 if rest[0] == "\\" else 1
        plain += rest[:size] if rest[0] != "," else "\\,"
        rest = rest[size:]
    return plain


def few(count: int) -> settings:
    """So many examples, the same in every run."""
    return settings(
        max_examples=count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
