"""Rows and a question -> the answer of ``/v2/account/stats/query``, without its ``query``."""

from fractions import Fraction
from math import floor
from typing import Any

from tests.reference import times
from tests.reference.question import Asked
from tests.reference.records import Row, attempts, to_ms

Key = tuple[Any, ...]
"""The values of a group's dimensions, in the order of ``group_by``."""

Member = tuple[Row, int]
"""A row of a group, with the captcha attempts that count there."""

Line = dict[str, Any]
OTHER = ("other",)
"""Stands for the key of all groups that are not among the first."""


def answer(stored: list[Row], asked: Asked) -> dict[str, Any]:
    """``total``, ``groups`` and ``previous``, each where the question has it."""
    kept = first_groups(asked.rows(stored), asked)
    current = figures(stored, asked, asked.start, asked.end, kept)
    if asked.compare:
        begin = times.previous(asked.start, asked.end, asked.zone)
        bounds = {"from": times.iso(begin, asked.zone), "to": times.iso(asked.start, asked.zone)}
        current["previous"] = bounds | figures(stored, asked, begin, asked.start, kept)
    return current


def figures(
    stored: list[Row], asked: Asked, start: int, end: int, kept: set[Key] | None
) -> dict[str, Any]:
    """``total`` and ``groups`` of one period."""
    rows = asked.within(stored, start, end)
    found: dict[str, Any] = {
        "total": measured([(row, len(attempts(row))) for row in rows], asked),
    }
    if asked.group_by or asked.interval:
        found["groups"] = lines(rows, asked, start, end, kept)
    return found


def lines(rows: list[Row], asked: Asked, start: int, end: int, kept: set[Key] | None) -> list[Line]:
    """The lines of ``groups``, in order. Where ``kept`` is given, the rest are one group."""
    groups: dict[Key, list[Member]] = {}
    for key, members in grouped(rows, asked).items():
        place = key if kept is None or key in kept else OTHER
        groups.setdefault(place, []).extend(members)
    made: list[Line] = []
    for key, members in groups.items():
        if not asked.interval:
            made.append(named(key, asked) | measured(members, asked))
            continue
        for begin, after in times.buckets(asked.interval, start, end, asked.zone):
            inside = [(row, tried) for row, tried in members if begin <= row["ms"] < after]
            at = {"start": times.iso(begin, asked.zone)}
            made.append(at | named(key, asked) | measured(inside, asked))
    return in_order(made, asked, asked.order)


def grouped(rows: list[Row], asked: Asked) -> dict[Key, list[Member]]:
    """The rows of each group; one with several captcha providers is in several."""
    groups: dict[Key, list[Member]] = {}
    if not asked.group_by:
        groups[()] = []  # there, whether it has rows or not
    by_provider = "captchaProvider" in asked.group_by
    for row in rows:
        tried = attempts(row)
        for provider in (set(tried) or {""}) if by_provider else {""}:
            values = row | {"captchaProvider": provider}
            key = tuple(values[name] for name in asked.group_by)
            count = tried.count(provider) if by_provider else len(tried)
            groups.setdefault(key, []).append((row, count))
    return groups


def first_groups(rows: list[Row], asked: Asked) -> set[Key] | None:
    """The groups that ``top`` keeps; None where it is not asked for."""
    if asked.top is None:
        return None
    by_metric = [name for name in asked.order if name.removeprefix("-") in asked.metrics]
    order = (by_metric or [f"-{asked.metrics[0]}"])[:1]
    whole = [
        named(key, asked) | measured(members, asked)
        for key, members in grouped(rows, asked).items()
    ]
    best = in_order(whole, asked, order)[: asked.top]
    return {tuple(line[name] for name in asked.group_by) for line in best}


def named(key: Key, asked: Asked) -> Line:
    """A group's dimensions as its line shows them."""
    if key == OTHER:
        return dict.fromkeys(asked.group_by) | {"other": True}
    return dict(zip(asked.group_by, key, strict=True))


def in_order(made: list[Line], asked: Asked, order: list[str]) -> list[Line]:
    """The lines in an order: null is last, ties are by start and by dimensions.

    The line of the others has no dimensions at all, and comes behind those that are null.
    """
    ties = ["start"] if made and "start" in made[0] else []
    for name in reversed([*order, *ties, *asked.group_by]):
        field = name.removeprefix("-")
        there = [line for line in made if line[field] is not None]
        nothing = [line for line in made if line[field] is None]
        there.sort(key=lambda line: _rank(field, line[field]), reverse=name.startswith("-"))
        if field in asked.group_by:
            nothing.sort(key=lambda line: "other" in line)
        made = there + nothing
    return made


def _rank(field: str, value: Any) -> Any:
    return to_ms(value) if field in ("start", "first", "last") else value


def measured(members: list[Member], asked: Asked) -> Line:
    """The metrics of some rows."""
    return {metric: measure(metric, members, asked) for metric in asked.metrics}


def measure(metric: str, members: list[Member], asked: Asked) -> Any:
    """One metric of some rows."""
    rows = [row for row, _ in members]
    codes = [row["code"] for row in rows]
    success = [code for code in codes if 200 <= code <= 299]
    client_errors = [code for code in codes if 400 <= code <= 499 and code != 429]
    match metric:
        case "jobs":
            return len(rows)
        case "success":
            return len(success)
        case "client_errors":
            return len(client_errors)
        case "throttled":
            return codes.count(429)
        case "provider_errors":
            return len([code for code in codes if code == 0 or 500 <= code <= 599])
        case "captcha_attempts":
            return sum(tried for _, tried in members)
        case "success_rate":
            return tenths(100 * len(success), len(rows))
        case "service_rate":
            return tenths(100 * len(success), len(rows) - len(client_errors))
    if not rows:
        return None
    spent = sorted(row["msec"] for row in rows)
    match metric:
        case "avg_msec":
            return half_up(Fraction(sum(spent), len(spent)))
        case "min_msec":
            return spent[0]
        case "max_msec":
            return spent[-1]
        case "avg_captcha_retry":
            retries = [row["captchaRetry"] for row in rows if row["captchaRetry"] is not None]
            return tenths(sum(retries), len(retries))
        case "first":
            return times.iso(min(row["ms"] for row in rows), asked.zone)
        case "last":
            return times.iso(max(row["ms"] for row in rows), asked.zone)
    return spent[floor(Fraction(metric.removeprefix("p")) / 100 * len(spent))]


def tenths(part: int, whole: int) -> float | None:
    """A quotient with one decimal, half up; None where there is nothing to divide by."""
    return float(Fraction(half_up(Fraction(10 * part, whole)), 10)) if whole else None


def half_up(value: Fraction) -> int:
    """A number that is not negative, rounded half up."""
    return floor(value + Fraction(1, 2))
