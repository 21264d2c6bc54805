"""Parameters of ``GET /v2/account/stats`` -> one query, naming every fault. Pure.

Rules C2 to C6 and C23 of the contract live here. What comes out has been checked, and always
carries the account it is about: nothing after this module asks without one.
"""

import re
from collections.abc import Iterable
from typing import Final

import msgspec

from genmeter.clock import DAY_MS, day_start_ms, utc_date
from genmeter.errors import BadRequestError, ForbiddenError
from genmeter.model.bots import ELEVEN, Bots

MAX_LIMIT: Final = 50_000
"""The most records one ``limit`` may ask for (C4)."""

_KNOWN: Final = ("bot", "date", "limit", "config", "account")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DIGITS: Final = re.compile(r"[0-9]{1,9}")


class StatsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """One query about one account and one bot.

    Exactly one of ``date`` (a UTC day, ``YYYY-MM-DD``) and ``limit`` (the last N records) is set.
    """

    account: str
    bot: str
    date: str | None = None
    limit: int | None = None
    config: str | None = None

    def day_ms(self) -> tuple[int, int] | None:
        """The first millisecond of the day asked for and of the day after it (C3)."""
        if self.date is None:
            return None
        start = day_start_ms(self.date)
        return start, start + DAY_MS


def parse(
    params: Iterable[tuple[str, str]],
    *,
    account: str,
    any_account: bool,
    now_ms: int,
    bots: Bots = ELEVEN,
) -> StatsQuery:
    """The query that ``params`` (decoded name and value pairs, in any order) ask.

    ``account`` is the token's own; ``any_account`` says that the token may name another one.
    Raises BadRequestError with every fault in one message, or ForbiddenError where the only
    thing wrong is another account's name.
    """
    faults: list[str] = []
    given = _given(params)
    one = {name: values[0] for name, values in given.items()}
    if "limit" in given:
        given.pop("date", None)  # ignored altogether, not even checked (C4)
    faults += [
        f"{name} is given {len(values)} times; give it once"
        for name, values in given.items()
        if len(values) > 1
    ]
    bot = one.get("bot")
    if bot is None:
        faults.append(f"bot is required; it is one of {', '.join(bots.names)}")
    elif bot not in bots:
        faults.append(f"bot is not known: {_quoted(bot)}; it is one of {', '.join(bots.names)}")
    limit = _limit(one.get("limit"), faults)
    day = None
    if "limit" not in given:
        day = _date(one.get("date"), faults) or utc_date(now_ms)
    other = one.get("account", account)
    if faults or bot is None:
        raise BadRequestError(*faults)
    if other != account and not any_account:
        raise ForbiddenError("account: only a token with the admin scope may read another account")
    return StatsQuery(account=other, bot=bot, date=day, limit=limit, config=one.get("config"))


def _given(params: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """The parameters that count: known ones with a value (C6)."""
    given: dict[str, list[str]] = {}
    for name, value in params:
        if name in _KNOWN and value:
            given.setdefault(name, []).append(value)
    return given


def _limit(text: str | None, faults: list[str]) -> int | None:
    if not text:
        return None
    if _DIGITS.fullmatch(text) and 1 <= int(text) <= MAX_LIMIT:
        return int(text)
    faults.append(f"limit must be an integer from 1 to {MAX_LIMIT}, not {_quoted(text)}")
    return None


def _date(text: str | None, faults: list[str]) -> str | None:
    if not text:
        return None
    if not _DATE.fullmatch(text):
        faults.append(f"date must be a UTC day as YYYY-MM-DD, not {_quoted(text)}")
        return None
    try:
        day_start_ms(text)
    except ValueError:
        faults.append(f"date must be a day of the calendar as YYYY-MM-DD; there is no {text}")
        return None
    return text


def _quoted(text: str, most: int = 60) -> str:
    shown = text if len(text) <= most else text[:most] + "…"
    return f'"{shown}"'
