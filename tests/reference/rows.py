"""Rows and a question -> the answer of ``/v2/account/stats/rows``, without its ``query``."""

from functools import cmp_to_key
from typing import Any, Final
from zoneinfo import ZoneInfo

from tests.reference import times
from tests.reference.question import Asked
from tests.reference.records import Row

_UTC: Final = ZoneInfo("UTC")
_FIELDS: Final = (
    "bot", "jobid", "config", "endpoint", "status", "func", "code", "msec", "model",
    "captchaProviders", "captchaRetry", "tier", "sku",
)  # fmt: skip


def answer(stored: list[Row], asked: Asked) -> dict[str, Any]:
    """``data`` and ``count`` of the whole range."""
    newest = sorted(asked.rows(stored), key=cmp_to_key(_newest_first))
    if asked.given.get("order") == "oldest":
        newest.reverse()
    data = [shown(row, asked) for row in newest]
    return {"data": data, "count": len(data)}


def shown(row: Row, asked: Asked) -> dict[str, Any]:
    """A row as the answer has it, its time as it is recorded: UTC whatever the zone."""
    line: dict[str, Any] = {"timestamp": times.iso(row["ms"], _UTC)}
    if asked.several_accounts():
        line["account"] = row["account"]
    return line | {name: row[name] for name in _FIELDS}


def _newest_first(one: Row, other: Row) -> int:
    """By time and job id, both descending; then by bot and account, ascending."""
    for field, sign in (("ms", -1), ("jobid", -1), ("bot", 1), ("account", 1)):
        if one[field] != other[field]:
            return sign if one[field] > other[field] else -sign
    return 0
