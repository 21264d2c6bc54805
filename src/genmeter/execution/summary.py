"""Groups of equal rows -> the ``summary`` of an answer. Pure; rules C11 to C18.

The rows are first reduced to groups: how often each combination of values occurs. Every ``by_*``,
every rate and mean is folded here from that small result, in integers, so that rounding is the
contract's and not a float's.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Annotated, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from genmeter.clock import from_iso
from genmeter.model.bots import ELEVEN, Bots
from genmeter.query.metrics import half_up, permille
from genmeter.storage.tally import Group, Totals

EMPTY: Final = "(empty)"
"""The key of rows without a tier or sku (C17)."""

Counts = dict[str, int]


class Lookup(msgspec.Struct, kw_only=True):
    """What people call each tier and sku of the answer (C17)."""

    tiers: dict[str, str]
    skus: dict[str, str]


class Summary(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Totals of an answer, its keys in the contract's order (C11)."""

    from_: Annotated[str, Meta(description="Earliest timestamp of the answer")] = msgspec.field(
        name="from"
    )
    to: Annotated[str, Meta(description="Latest timestamp of the answer")]
    time_span: Annotated[str, Meta(description="to - from, in its two largest units")]
    by_config: Annotated[Counts, Meta(description="Rows for each config, most first")]
    by_code: Annotated[Counts, Meta(description="Rows for each HTTP status, ascending")]
    by_endpoint: Annotated[Counts, Meta(description="Rows for each endpoint, most first")]
    by_status: Annotated[Counts, Meta(description="Rows for each status, most first")]
    success_rate: Annotated[
        str, Meta(description="2xx rows / all rows", pattern=r"^[0-9]{1,3}\.[0-9]%$")
    ]
    avg_msec: Annotated[int, Meta(description="Mean duration of all rows, milliseconds")]
    by_model: Annotated[
        Counts | UnsetType, Meta(description="Rows for each model; rows without one left out")
    ] = UNSET
    by_captcha_provider: Annotated[
        Counts | UnsetType, Meta(description="How often each provider was tried")
    ] = UNSET
    avg_captcha_retry: Annotated[
        int | float | UnsetType,
        Meta(description="Mean of captchaRetry over the rows that have one, one decimal"),
    ] = UNSET
    by_tier: Annotated[
        Counts | UnsetType, Meta(description='Rows for each tier; "(empty)" without')
    ] = UNSET
    by_sku: Annotated[
        Counts | UnsetType, Meta(description='Rows for each sku; "(empty)" without')
    ] = UNSET
    lookup: Annotated[
        Lookup | UnsetType, Meta(description="Label of each tier and sku present")
    ] = UNSET


def summarize(bot: str, totals: Totals, bots: Bots = ELEVEN) -> Summary:
    """The summary of an answer of at least one row."""
    groups = totals.groups
    rows = sum(count for _, count in groups)
    codes: Counter[int] = Counter()
    for group, count in groups:
        codes[group.code] += count
    summary = Summary(
        from_=totals.earliest,
        to=totals.latest,
        time_span=time_span(from_iso(totals.latest) - from_iso(totals.earliest)),
        by_config=_most_first(_count(groups, "config")),
        by_code={str(code): codes[code] for code in sorted(codes)},
        by_endpoint=_most_first(_count(groups, "endpoint")),
        by_status=_most_first(_count(groups, "status")),
        success_rate=percent(sum(n for code, n in codes.items() if 200 <= code <= 299), rows),
        avg_msec=half_up(totals.msec, rows),
    )
    if bots.shows(bot, "model"):
        models = _count(groups, "model")
        models.pop("", None)
        summary.by_model = _most_first(models)
    if bots.shows(bot, "captchaProviders"):
        summary.by_captcha_provider = _attempts(groups)
    if bots.shows(bot, "captchaRetry"):
        summary.avg_captcha_retry = _mean_retry(groups)
    tiers = _most_first(_count(groups, "tier", EMPTY)) if bots.shows(bot, "tier") else UNSET
    skus = _most_first(_count(groups, "sku", EMPTY)) if bots.shows(bot, "sku") else UNSET
    summary.by_tier, summary.by_sku = tiers, skus
    if tiers is not UNSET or skus is not UNSET:
        summary.lookup = Lookup(
            tiers=_labels(tiers or (), bots.tiers), skus=_labels(skus or (), bots.skus)
        )
    return summary


def _attempts(groups: Iterable[tuple[Group, int]]) -> Counts:
    """How often each captcha provider was tried (C16)."""
    providers: Counter[str] = Counter()
    for group, count in groups:
        for name in group.captcha_providers.split(","):
            if name.strip(" "):
                providers[name.strip(" ")] += count
    return _most_first(providers)


def _mean_retry(groups: Iterable[tuple[Group, int]]) -> int | float | UnsetType:
    """The mean of captchaRetry over the rows that have one, with one decimal."""
    with_retry = retries = 0
    for group, count in groups:
        if group.captcha_retry is not None:
            with_retry += count
            retries += count * group.captcha_retry
    if not with_retry:
        return UNSET
    tenths = half_up(10 * retries, with_retry)
    return tenths // 10 if tenths % 10 == 0 else tenths / 10


def _count(groups: Iterable[tuple[Group, int]], field: str, empty: str = "") -> Counter[str]:
    counts: Counter[str] = Counter()
    for group, count in groups:
        value = getattr(group, field)
        counts[empty if value == "" else value] += count
    return counts


def _most_first(counts: Mapping[str, int]) -> Counts:
    """By count descending, then key ascending (C14)."""
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _labels(keys: Iterable[str], labels: Mapping[str, str]) -> dict[str, str]:
    return {key: labels.get(key, key) for key in keys}


def percent(part: int, whole: int) -> str:
    """``part / whole`` with one decimal, half up: ``"56.0%"`` (C12)."""
    tenths = permille(part, whole)
    return f"{tenths // 10}.{tenths % 10}%"


def time_span(ms: int) -> str:
    """A duration in words, floored, in its two largest units (C18)."""
    minutes = ms // 60_000
    if not minutes:
        return _amount(ms // 1000, "second")
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    pair = ((days, "day"), (hours, "hour")) if days else ((hours, "hour"), (minutes, "minute"))
    return " ".join(_amount(number, unit) for number, unit in pair if number)


def _amount(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"
