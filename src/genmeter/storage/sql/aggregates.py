"""Figures of ranges -> SQL text: sums and percentiles of groups. Pure.

Like :mod:`genmeter.storage.sql.rows`, which says whose records they are of, it is kept to what the
oldest and the newest engine speak.
"""

from collections.abc import Iterable, Sequence
from typing import Final

from genmeter.query.aggregation import OTHER, AggregateQuery, Key
from genmeter.query.buckets import numbering
from genmeter.query.metrics import HUNDREDTHS, percentile
from genmeter.query.selection import Dimension
from genmeter.storage.sql import base as sql
from genmeter.storage.sql.base import TimeSlice, quote
from genmeter.storage.sql.filters import RETRY_TEXT, condition

_NAMES: Final = (
    "arrayFilter(x -> x != '', arrayMap(x -> replaceRegexpAll(x, '^ +| +$', ''), "
    "splitByChar(',', toString(captcha_providers))))"
)
"""The captcha providers of a record, blanks around each trimmed (C16)."""

_ATTEMPTS: Final = (
    "length(replaceRegexpAll(replaceRegexpAll(captcha_providers, ' *[^ ,][^,]*', 'N'), '[ ,]', ''))"
)
"""How many these are, by functions that the engine applies to each different text once: to count
the names themselves doubles what a query about all figures takes."""

_NUDGE: Final = 1e-13
"""Added to a percentile's level, so that level * jobs is never a hair below a whole number: far
more than a double's error and far less than a step between two places, up to a billion jobs."""

_SUMS: Final = {
    "jobs": "count()",
    "success": "countIf(code >= 200 AND code < 300)",
    "client_errors": "countIf(code >= 400 AND code < 500 AND code != 429)",
    "throttled": "countIf(code = 429)",
    "provider_errors": "countIf(code = 0 OR code >= 500 AND code < 600)",
    "msec": "sum(msec)",
    "min_msec": "min(msec)",
    "max_msec": "max(msec)",
    "captcha_attempts": "sum(attempts)",
    "retries": "sum(ifNull(captcha_retry, 0))",
    "with_retry": "count(captcha_retry)",
    "first": "-max(neg_ms)",
    "last": "-min(neg_ms)",
}
_AGAIN: Final = {"min_msec": "min", "max_msec": "max", "first": "min", "last": "max"}
"""What makes one sum of those of several groups; ``sum`` where nothing is named here."""

_READS: Final = {
    "jobs": (),
    "captcha_attempts": ("captcha_providers",),
    "msec": ("msec",),
    "min_msec": ("msec",),
    "max_msec": ("msec",),
    "retries": ("captcha_retry",),
    "with_retry": ("captcha_retry",),
    "first": ("neg_ms",),
    "last": ("neg_ms",),
}
"""The columns that sums read, ``code`` where none are named here."""


def statement(
    query: AggregateQuery,
    sums: Sequence[str],
    percentiles: Sequence[str],
    pieces: Sequence[TimeSlice],
    *,
    most: int,
    keep: Sequence[Key] | None = None,
    grouped: bool = True,
) -> str:
    """The sums of each group, then the percentiles as one array; last, the same over all.

    Each line has a group's key first, its bucket by number. ``keep`` are the groups that are told
    apart, every other goes with the rest. At most ``most`` groups come. Where not ``grouped``, only
    what is over all.
    """
    if grouped and splits(query):
        return _of_providers(query, sums, percentiles, pieces, most=most, keep=keep)
    values = [_SUMS[name] for name in sums]
    if percentiles:
        values.append(f"quantilesExact({_levels(percentiles)})(msec)")
    keys = _keys(query, keep) if grouped else []
    source = _source(query, [*sums, *percentiles], pieces, keys)
    text = f"SELECT {', '.join([*keys, *values])} FROM {source}"
    if not keys:
        return text
    return f"{text} GROUP BY {_aliases(keys)} WITH TOTALS LIMIT {most:d}"


def durations(
    query: AggregateQuery,
    pieces: Sequence[TimeSlice],
    *,
    most: int,
    keep: Sequence[Key] | None = None,
    grouped: bool = True,
) -> str:
    """How many jobs of each group took how many milliseconds: percentiles over several shards."""
    keys = _keys(query, keep) if grouped else []
    if grouped and splits(query):
        inner = _by_text(query, ["msec"], ["count() AS s0"], pieces, ["msec"])
        shown = ", ".join([*keys, "msec", "sum(s0)"])
        return f"SELECT {shown} FROM {inner} GROUP BY {_aliases(keys)}, msec LIMIT {most:d}"
    source = _source(query, ["msec"], pieces, keys)
    shown = ", ".join([*keys, "msec", "count()"])
    names = ", ".join([*([_aliases(keys)] if keys else []), "msec"])
    return f"SELECT {shown} FROM {source} GROUP BY {names} LIMIT {most:d}"


def splits(query: AggregateQuery) -> bool:
    """Whether a record may be in several groups."""
    return any(dimension.type == "provider" for dimension in query.group_by)


def _of_providers(
    query: AggregateQuery,
    sums: Sequence[str],
    percentiles: Sequence[str],
    pieces: Sequence[TimeSlice],
    *,
    most: int,
    keep: Sequence[Key] | None,
) -> str:
    """Figures by captcha provider, where a record is in the group of each that it names.

    Records that name the same are counted together first, and their sums then split: there are far
    fewer. What is over all is asked for apart, as it has each record once.
    """
    inner = ["count() AS jobs"]
    values = []
    for number, name in enumerate(sums):
        if name == "captcha_attempts":
            values.append("sum(attempts * jobs)")
            continue
        inner.append(f"{_SUMS[name]} AS s{number}")
        values.append(f"{_AGAIN.get(name, 'sum')}(s{number})")
    if percentiles:
        levels = _levels(percentiles)
        inner.append(f"quantilesExactState({levels})(msec) AS took")
        values.append(f"quantilesExactMerge({levels})(took)")
    keys = _keys(query, keep)
    source = _by_text(query, [*sums, *percentiles], inner, pieces)
    shown = ", ".join([*keys, *values])
    return f"SELECT {shown} FROM {source} GROUP BY {_aliases(keys)} LIMIT {most:d}"


def _by_text(
    query: AggregateQuery,
    needs: Iterable[str],
    values: Sequence[str],
    pieces: Sequence[TimeSlice],
    more: Sequence[str] = (),
) -> str:
    """Values of the records that name the same captcha providers, once for each of these."""
    keys = sorted({"captcha_providers", *more, *(d.column for d in query.group_by)})
    columns = _columns(needs) | {*keys}
    shown = list(keys)
    if query.edges:
        columns.add("neg_ms")
        keys.append("bucket")
        shown.append(f"{_bucket(query)} AS bucket")
    source = sql.source(sorted(columns), condition(query.selection), pieces)
    grouped = f"SELECT {', '.join([*shown, *values])} FROM {source} GROUP BY {', '.join(keys)}"
    return (
        f"(SELECT *, {_NAMES} AS names, "
        "arrayJoin(if(empty(names), [''], arrayDistinct(names))) AS provider, "
        f"countEqual(names, provider) AS attempts FROM ({grouped}))"
    )


def _levels(percentiles: Iterable[str]) -> str:
    return ", ".join(repr((percentile(name) or 0) / HUNDREDTHS + _NUDGE) for name in percentiles)


def _keys(query: AggregateQuery, keep: Sequence[Key] | None) -> list[str]:
    """Expressions for a group's bucket and dimensions, named ``k0`` and so on."""
    keys = []
    if query.edges:
        keys.append("bucket" if splits(query) else _bucket(query))
    told = [_dimension(dimension) for dimension in query.group_by]
    if keep is not None:
        texts = [f"toString({text})" for text in told]
        kept = _one_of(texts, keep)
        told = [f"if({kept}, {text}, {quote(OTHER)})" for text in texts]
    return [f"{key} AS k{number}" for number, key in enumerate([*keys, *told])]


def _aliases(keys: Sequence[str]) -> str:
    return ", ".join(f"k{number}" for number in range(len(keys)))


def _bucket(query: AggregateQuery) -> str:
    """The number of a record's bucket, in as few steps of arithmetic as may be.

    Small numbers are what the engine groups by fastest.
    """
    edges = query.edges
    length, shifts = numbering(edges, query.selection.end_ms)
    moved = "".join(
        f" {'+' if by_ms > 0 else '-'} {abs(by_ms):d} * (neg_ms <= {-at_ms:d})"
        for at_ms, by_ms in shifts
    )
    size = 16 if len(edges) < 2**16 else 32
    return f"toUInt{size}(intDiv(-neg_ms - {edges[0]:d}{moved}, {length:d}))"


def _dimension(dimension: Dimension) -> str:
    if dimension.type == "provider":
        return "provider"
    return RETRY_TEXT if dimension.type == "retry" else dimension.column


def _one_of(texts: Sequence[str], keep: Sequence[Key]) -> str:
    rows = [", ".join(quote("" if v is None else str(v)) for v in key) for key in keep]
    if not rows:
        return "0"
    if len(texts) == 1:
        return f"{texts[0]} IN ({', '.join(rows)})"
    return f"({', '.join(texts)}) IN ({', '.join(f'({row})' for row in rows)})"


def _source(
    query: AggregateQuery, needs: Sequence[str], pieces: Sequence[TimeSlice], keys: Sequence[str]
) -> str:
    """Where figures are counted: the records, or what was worked out of each."""
    columns = _columns(needs)
    columns |= {d.column for d in query.group_by} if keys else set()
    columns |= {"neg_ms"} if (query.edges and keys) or not columns else set()
    source = sql.source(sorted(columns), condition(query.selection), pieces)
    if "captcha_attempts" not in needs:
        return source
    shown = sorted(columns - {"captcha_providers"})
    return f"(SELECT {', '.join([*shown, f'{_ATTEMPTS} AS attempts'])} FROM {source})"


def _columns(needs: Iterable[str]) -> set[str]:
    """The columns that sums and percentiles are made of."""
    columns = set[str]()
    for name in needs:
        columns |= {"msec"} if percentile(name) is not None else {*_READS.get(name, ("code",))}
    return columns
