"""The peer's side of range queries: SQL by hand on the baseline's table, and no service.

What is measured is the statement until its last row has reached the client: nothing is written as
JSON, nothing goes over HTTP, so what the service adds is on genmeter's side alone.

- ``percentile_disc`` is the nearest rank, by cumulated share. The service's place is
  floor(p * jobs), counted from 0; the two differ where p * jobs is whole. ``percentile_disc`` is
  timed, and what is compared is counted by the service's rule.
- What there is to ask about is one scan by grouping sets.
- A page begins after the last row of the one before (keyset). The primary key has the bot before
  the time, so the newest of each bot are taken from it, and the newest of these are the page.
"""

import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from bench.baseline import Bot
from bench.postgres import Databases

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_SPAN = "timestamp >= %(start)s AND timestamp < %(end)s"
_ITS = f"account = %(account)s AND {_SPAN}"
_DAY = "to_char(date_trunc('day', timestamp, 'UTC'), 'YYYY-MM-DD')"
_LEVELS = (0.5, 0.95, 0.99)
_NEAREST = f"percentile_disc(ARRAY{[*_LEVELS]}) WITHIN GROUP (ORDER BY msec)"
_EXACT = ", ".join(
    f"(array_agg(msec ORDER BY msec))[1 + floor({level} * count(*))::int]" for level in _LEVELS
)
_DIMENSIONS = (
    "bot", "config", "endpoint", "status", "func", "code",
    "model", "captcha_providers", "captcha_retry", "tier", "sku",
)  # fmt: skip
_COLUMNS = (
    "timestamp, bot, jobid, config, endpoint, status, func, code, msec, model, "
    "captcha_providers, captcha_retry, tier, sku"
)
_ORDER = "timestamp DESC, jobid DESC, bot"

Rows = list[tuple[Any, ...]]
Place = tuple[str, str, str]
"""Timestamp, jobid and bot of a row."""


@dataclass(frozen=True)
class There:
    """What an account has: how many records, when the first and last were, values by dimension."""

    records: int
    oldest: str
    newest: str
    values: dict[str, set[int | str]]


class Statements:
    """One connection to the baseline's database. Times are milliseconds since 1970."""

    def __init__(self, databases: Databases, database: str) -> None:
        self._connection = databases.connect(database)
        self._connection.execute("SET TimeZone = 'UTC'")
        self.seconds = 0.0
        """How long the last statement took, to its last row."""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def by_day(self, account: str, start_ms: int, end_ms: int, *, exact: bool = False) -> Rows:
        """Day, jobs and percentiles: as an array, or ``exact`` ones by the service's rule."""
        figures = f"count(*), {_EXACT if exact else _NEAREST}"
        return self._span(
            f"SELECT {_DAY} AS day, {figures} FROM jobs WHERE {_ITS} GROUP BY day ORDER BY day",
            account, start_ms, end_ms,
        )  # fmt: skip

    def by_model(self, account: str, start_ms: int, end_ms: int, *, exact: bool = False) -> Rows:
        """Day, model, jobs and percentiles, as of :meth:`by_day`."""
        figures = f"count(*), {_EXACT if exact else _NEAREST}"
        return self._span(
            f"SELECT {_DAY} AS day, model, {figures} FROM jobs WHERE {_ITS} "
            "GROUP BY day, model ORDER BY day, model",
            account, start_ms, end_ms,
        )  # fmt: skip

    def success_by_day(self, start_ms: int, end_ms: int) -> Rows:
        """Day, jobs and success rate of all accounts; a numeric is rounded half up (C12)."""
        return self._span(
            f"SELECT {_DAY} AS day, count(*), round(100.0 * "
            "count(*) FILTER (WHERE code >= 200 AND code < 300) / count(*), 1)::float8 "
            f"FROM jobs WHERE {_SPAN} GROUP BY day ORDER BY day",
            "", start_ms, end_ms,
        )  # fmt: skip

    def there(self, account: str) -> There:
        """What there is to ask about."""
        names = ", ".join(_DIMENSIONS)
        sets = ", ".join(f"({name})" for name in _DIMENSIONS)
        rows = self._timed(
            f"SELECT {names}, grouping({names}), count(*), min(timestamp), max(timestamp) "
            f"FROM jobs WHERE account = %(account)s GROUP BY GROUPING SETS ((), {sets})",
            {"account": account},
        )
        found: defaultdict[str, set[int | str]] = defaultdict(set)
        whole: tuple[Any, ...] = (0, _EPOCH, _EPOCH)
        for row in rows:
            of = row[len(_DIMENSIONS)]
            if of == 2 ** len(_DIMENSIONS) - 1:  # a bit is set for what was not grouped by
                whole = row[-3:]
                continue
            for name, value in zip(_DIMENSIONS, row, strict=False):
                if name == "captcha_providers" and value:
                    found[name] |= {part.strip(" ") for part in value.split(",")} - {""}
                elif value not in (None, ""):
                    found[name].add(value)
        records, oldest, newest = whole
        return There(records, _iso(oldest), _iso(newest), dict(found))

    def page(
        self, account: str, start_ms: int, end_ms: int, limit: int, after: Place | None
    ) -> Rows:
        """The newest records, those past ``after``, as the service shows their values."""
        past = ""
        given = self._of(account, start_ms, end_ms) | {"bots": [*get_args(Bot)], "limit": limit}
        if after is not None:
            past = (
                " AND (timestamp, jobid) <= (%(at)s, %(jobid)s)"
                " AND (timestamp <> %(at)s OR jobid <> %(jobid)s OR each.bot > %(bot)s)"
            )
            given |= dict(zip(("at", "jobid", "bot"), after, strict=True))
            given["at"] = datetime.fromisoformat(after[0])
        rows = self._timed(
            "SELECT newest.* FROM unnest(%(bots)s::text[]) AS each(bot), "
            f"LATERAL (SELECT {_COLUMNS} FROM jobs WHERE {_ITS} AND bot = each.bot{past}"
            " ORDER BY timestamp DESC, jobid DESC LIMIT %(limit)s) AS newest"
            f" ORDER BY {_ORDER} LIMIT %(limit)s",
            given,
        )
        return [(_iso(row[0]), *row[1:]) for row in rows]

    def copy(self, account: str, start_ms: int, end_ms: int) -> bytes:
        """All records of the time, newest first, as CSV."""
        statement = f"COPY (SELECT {_COLUMNS} FROM jobs WHERE {_ITS} ORDER BY {_ORDER})"
        given = self._of(account, start_ms, end_ms)
        started = time.perf_counter()
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f"{statement} TO STDOUT (FORMAT csv)".encode(), given) as copy,
        ):
            body = b"".join(copy)
        self.seconds = time.perf_counter() - started
        return body

    def _span(self, statement: str, account: str, start_ms: int, end_ms: int) -> Rows:
        return self._timed(statement, self._of(account, start_ms, end_ms), prepare=False)

    def _of(self, account: str, start_ms: int, end_ms: int) -> dict[str, Any]:
        start, end = (_EPOCH + timedelta(milliseconds=ms) for ms in (start_ms, end_ms))
        return {"account": account, "start": start, "end": end}

    def _timed(
        self, statement: str, given: Mapping[str, Any], *, prepare: bool | None = None
    ) -> Rows:
        """All rows. A plan made for any time is a bad one for a long time: then not prepared."""
        started = time.perf_counter()
        rows = self._connection.execute(statement.encode(), given, prepare=prepare).fetchall()
        self.seconds = time.perf_counter() - started
        return rows


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
