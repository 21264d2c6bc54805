"""Questions about ranges -> SQL text. Pure; kept to what the oldest and the newest engine speak.

Whose records a statement reads is written by :func:`matching` alone, first of all its conditions;
for those who listen by :func:`arrivals`.
"""

from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from typing import Final

from genmeter.analysis import Analysis
from genmeter.figures import OTHER, Key
from genmeter.lines import COLUMNS, NUMBERS, Kind, columns
from genmeter.listing import Listing
from genmeter.metrics import HUNDREDTHS, percentile
from genmeter.selection import DIMENSIONS, Dimension, Filter, Selection
from genmeter.sql import TABLE, TIMESTAMP, json_text, of_account, quote

NAMES: Final = (
    "arrayFilter(x -> x != '', arrayMap(x -> replaceRegexpAll(x, '^ +| +$', ''), "
    "splitByChar(',', toString(captcha_providers))))"
)
"""The captcha providers of a record, blanks around each trimmed (C16)."""

RETRY: Final = "ifNull(toInt32(captcha_retry), -1)"

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


def matching(selection: Selection, oldest_ms: int) -> str:
    """The condition on a selection's records: whose they are, first of all (C23)."""
    terms = _whose(selection)
    terms.append(f"neg_ms <= {-max(selection.start_ms, oldest_ms):d}")
    terms.append(f"neg_ms > {-selection.end_ms:d}")
    terms += [_filter(filter_) for filter_ in selection.filters]
    if selection.min_msec is not None:
        terms.append(f"msec >= {selection.min_msec:d}")
    if selection.max_msec is not None:
        terms.append(f"msec <= {selection.max_msec:d}")
    return " AND ".join(terms)


def _whose(selection: Selection) -> list[str]:
    if selection.account is not None:
        return [of_account(selection.account)]
    return [_filter(filter_) for filter_ in selection.accounts]


def _filter(filter_: Filter) -> str:
    dimension = DIMENSIONS[filter_.dimension]
    exact = [p.value for p in filter_.patterns if p.kind == "exact"]
    prefixes = [p.value for p in filter_.patterns if p.kind == "prefix"]
    if dimension.kind == "provider":
        either = _of_providers(exact, prefixes)
    elif dimension.kind == "text":
        either = _of_text(dimension.column, exact, prefixes)
    else:
        column = RETRY if dimension.kind == "retry" else dimension.column
        numbers = ", ".join(str(int(value or -1)) for value in exact)
        either = [f"{column} IN ({numbers})"] if exact else []
        either += [
            f"{column} >= {int(p.value) * 100} AND {column} < {int(p.value) * 100 + 100}"
            for p in filter_.patterns
            if p.kind == "class"
        ]
    together = " OR ".join(either)
    if filter_.negated:
        return f"NOT ({together})"
    return f"({together})" if len(either) > 1 else together


def _of_text(column: str, exact: Sequence[str], prefixes: Iterable[str]) -> list[str]:
    either = [f"{column} IN ({', '.join(map(quote, exact))})"] if exact else []
    return either + [f"startsWith({column}, {quote(prefix)})" for prefix in prefixes]


def _of_providers(exact: Sequence[str], prefixes: Iterable[str]) -> list[str]:
    either = [f"empty({NAMES})"] if "" in exact else []
    named = ", ".join(quote(value) for value in exact if value)
    inside = [f"has([{named}], y)"] if named else []
    inside += [f"startsWith(y, {quote(prefix)})" for prefix in prefixes]
    if inside:
        either.append(f"arrayExists(y -> {' OR '.join(inside)}, {NAMES})")
    return either


def figures(
    analysis: Analysis,
    sums: Sequence[str],
    percentiles: Sequence[str],
    *,
    oldest_ms: int,
    most: int,
    keep: Sequence[Key] | None = None,
    grouped: bool = True,
) -> str:
    """The sums of each group, then the percentiles as one array; last, the same over all.

    Each line has a group's key first. ``keep`` are the groups that are told apart, every other goes
    with the rest. At most ``most`` groups come. Where not ``grouped``, only what is over all.
    """
    keys = _keys(analysis, keep) if grouped else []
    values = [_SUMS[name] for name in sums]
    if percentiles:
        levels = ", ".join(map(_level, percentiles))
        values.append(f"quantilesExact({levels})(msec)")
    needs = [*sums, *percentiles]
    source = _source(analysis, needs, oldest_ms, keys)
    names = [f"k{n}" for n in range(len(keys))]
    shown = [f"{key} AS {name}" for key, name in zip(keys, names, strict=True)] + values
    text = f"SELECT {', '.join(shown)} FROM {source}"
    if not keys:
        return text
    # By captcha provider a record is counted more than once: what is over all is asked for apart.
    totals = "" if splits(analysis) else " WITH TOTALS"
    return f"{text} GROUP BY {', '.join(names)}{totals} LIMIT {most:d}"


def durations(
    analysis: Analysis,
    *,
    oldest_ms: int,
    most: int,
    keep: Sequence[Key] | None = None,
    grouped: bool = True,
) -> str:
    """How many jobs of each group took how many milliseconds: percentiles over several shards."""
    keys = [*(_keys(analysis, keep) if grouped else []), "msec"]
    source = _source(analysis, ["msec"], oldest_ms, keys[:-1])
    names = [f"k{n}" for n in range(len(keys))]
    shown = ", ".join(f"{key} AS {name}" for key, name in zip(keys, names, strict=True))
    return f"SELECT {shown}, count() FROM {source} GROUP BY {', '.join(names)} LIMIT {most:d}"


def splits(analysis: Analysis) -> bool:
    """Whether a record may be in several groups."""
    return any(dimension.kind == "provider" for dimension in analysis.group_by)


def _level(name: str) -> str:
    return repr((percentile(name) or 0) / HUNDREDTHS + _NUDGE)


def _keys(analysis: Analysis, keep: Sequence[Key] | None) -> list[str]:
    """Expressions for a group's bucket and dimensions."""
    keys = []
    if analysis.edges:
        keys.append(_bucket(analysis.edges))
    told = [_dimension(dimension) for dimension in analysis.group_by]
    if keep is not None:
        texts = [f"toString({text})" for text in told]
        kept = _one_of(texts, keep)
        told = [f"if({kept}, {text}, {quote(OTHER)})" for text in texts]
    return keys + told


def _bucket(edges: Sequence[int]) -> str:
    """Where the bucket of a record begins: arithmetic as long as buckets are equally long.

    Few are not: those in which clocks change, and months.
    """
    runs: list[tuple[int, int, int]] = []  # begin, end, and length of the buckets between
    for begin, end in pairwise(edges):
        if runs and end - begin == runs[-1][2]:
            runs[-1] = (runs[-1][0], end, end - begin)
        else:
            runs.append((begin, end, end - begin))
    terms = []
    for begin, end, length in runs:
        value = f"toInt64({begin:d})"
        if end - begin > length:
            value += f" + intDiv(-neg_ms - {begin:d}, {length:d}) * {length:d}"
        terms.append(f"-neg_ms < {end:d}, {value}")
    last = f"toInt64({edges[-1]:d})"
    return f"multiIf({', '.join([*terms, last])})" if terms else last


def _dimension(dimension: Dimension) -> str:
    if dimension.kind == "provider":
        return "provider"
    if dimension.kind == "retry":
        return "ifNull(toString(captcha_retry), '')"
    return dimension.column


def _one_of(texts: Sequence[str], keep: Sequence[Key]) -> str:
    rows = [", ".join(quote("" if v is None else str(v)) for v in key) for key in keep]
    if not rows:
        return "0"
    if len(texts) == 1:
        return f"{texts[0]} IN ({', '.join(rows)})"
    return f"({', '.join(texts)}) IN ({', '.join(f'({row})' for row in rows)})"


def _source(analysis: Analysis, needs: Iterable[str], oldest_ms: int, keys: Sequence[str]) -> str:
    """Where figures are counted: the records, or what was worked out of each."""
    where = matching(analysis.selection, oldest_ms)
    split = splits(analysis) and bool(keys)
    attempts = "captcha_attempts" in needs
    if not split and not attempts:
        return f"{TABLE} FINAL WHERE {where}"
    columns = {c for name in needs for c in _READS.get(name, ("code",)) if percentile(name) is None}
    columns |= {"msec" for name in needs if percentile(name) is not None}
    columns |= {d.column for d in analysis.group_by if d.kind != "provider"} if keys else set()
    columns |= {"neg_ms"} if analysis.edges and keys else set()
    shown = sorted(columns - {"captcha_providers"})
    shown.append(f"{NAMES} AS names")
    if not split:
        shown.append("length(names) AS attempts")
    else:
        shown.append("arrayJoin(if(empty(names), [''], arrayDistinct(names))) AS provider")
        shown.append("countEqual(names, provider) AS attempts")
    return f"(SELECT {', '.join(shown)} FROM {TABLE} FINAL WHERE {where})"


def nth(listing: Listing, *, skip: int, oldest_ms: int, reach_ms: int | None) -> str:
    """The ``neg_ms`` of the record after the first ``skip`` of a listing, or nothing.

    It counts records that were sent again more than once. ``reach_ms`` bounds how far it looks.
    """
    chosen = listing.selection
    where = matching(chosen, oldest_ms) + _after(listing)
    direction = "" if listing.newest_first else " DESC"
    if reach_ms is not None:
        edge = -listing.after.neg_ms if listing.after else None
        if listing.newest_first:
            begin = chosen.end_ms if edge is None else edge
            where += f" AND neg_ms <= {-(begin - reach_ms):d}"
        else:
            begin = max(chosen.start_ms, oldest_ms) if edge is None else edge
            where += f" AND neg_ms >= {-(begin + reach_ms):d}"
    order = f"ORDER BY neg_ms{direction} LIMIT 1 OFFSET {skip:d}"
    return f"SELECT neg_ms FROM {TABLE} WHERE {where} {order}"


def rows(
    listing: Listing, kind: Kind, *, oldest_ms: int, most: int, bound: int | None = None
) -> str:
    """Records in their order, each as a line; ``bound`` is a ``neg_ms`` they do not go past."""
    where = matching(listing.selection, oldest_ms) + _after(listing)
    if bound is not None:
        where += f" AND neg_ms {'<=' if listing.newest_first else '>='} {bound:d}"
    up, down = ("", " DESC") if listing.newest_first else (" DESC", "")
    # The last key never decides. It makes the engine write the line before it sorts, and so move
    # one text instead of fifteen columns, which takes five times as long.
    order = f"neg_ms{up}, jobid{down}, concat(bot, '\\x01', account){up}, line"
    line = _line(kind, columns(listing.selection))
    return f"SELECT {line} AS line FROM {TABLE} FINAL WHERE {where} ORDER BY {order} LIMIT {most:d}"


def _after(listing: Listing) -> str:
    """What is true of rows past the place a page begins after."""
    place = listing.after
    if place is None:
        return ""
    less, more = ("<", ">") if listing.newest_first else (">", "<")
    return (
        f" AND neg_ms {more}= {place.neg_ms:d} AND (neg_ms {more} {place.neg_ms:d}"
        f" OR jobid {less} {quote(place.jobid)} OR jobid = {quote(place.jobid)}"
        f" AND (bot {more} {quote(place.bot)} OR bot = {quote(place.bot)}"
        f" AND account {more} {quote(place.account)}))"
    )


def _line(kind: Kind, names: Sequence[str]) -> str:
    """An expression that writes a row as a line of ``json``, ``csv`` or ``tsv``."""
    parts = []
    for name in names:
        column = COLUMNS[name]
        key = f'"{name}":' if kind == "json" else ""
        if name in NUMBERS:
            none = "null" if kind == "json" else ""
            value = f"toString({column})"
            if name == "captchaRetry":
                value = f"ifNull({value}, '{none}')"
            parts.append(f"{quote(key)}, {value}" if key else value)
        elif name == "timestamp" and kind == "tsv":
            parts.append("toString(-neg_ms)")
        elif kind == "tsv":
            parts.append(column)
        else:
            text = TIMESTAMP if name == "timestamp" else _quotable(kind, column)
            opening = key + '"'
            parts.append(f"""{quote(opening)}, {text}, '"'""")
    comma = quote("\t" if kind == "tsv" else ",")
    begin, end = ("',{', ", "'}\\x0a'") if kind == "json" else ("", "'\\x0a'")
    return f"concat({begin}{f', {comma}, '.join(parts)}, {end})"


def _quotable(kind: Kind, column: str) -> str:
    if kind == "json":
        return json_text(column)
    return f"""replaceAll({column}, '"', '""')"""


def arrivals(
    accounts: Collection[str] | None,
    *,
    oldest_ms: int,
    after: tuple[int, int],
    version: int,
    limit: int,
) -> str:
    """The next records in the order of their versions: version, number, account, bot and JSON.

    ``after`` is the version and number of the one before, ``version`` the last to look at. The
    number tells the records of one version apart, and is the same whenever they are read.
    """
    number = (
        "reinterpretAsUInt64(substring(MD5(concat("
        "account, '\\t', bot, '\\t', toString(neg_ms), '\\t', jobid)), 1, 8))"
    )
    terms = [f"neg_ms <= {-oldest_ms:d}", f"version >= {after[0]:d}", f"version <= {version:d}"]
    terms.append(f"(version > {after[0]:d} OR {number} > {after[1]:d})")
    if accounts is not None:
        terms.insert(0, f"account IN ({', '.join(map(quote, sorted(accounts)))})")
    columns = f"version, {number} AS number, account, bot, {_line('json', tuple(COLUMNS))} AS line"
    return (
        f"SELECT {columns} FROM {TABLE} WHERE {' AND '.join(terms)} "
        f"ORDER BY version, number LIMIT {limit:d}"
    )


def extent(selection: Selection, *, oldest_ms: int) -> str:
    """How many records there are, when the earliest and the latest was."""
    where = matching(selection, oldest_ms)
    return f"SELECT count(), -max(neg_ms), -min(neg_ms) FROM {TABLE} FINAL WHERE {where}"


def version(selection: Selection, *, oldest_ms: int) -> str:
    """The highest version among a selection's records."""
    return f"SELECT max(version) FROM {TABLE} WHERE {matching(selection, oldest_ms)}"


def values(
    selection: Selection, dimension: Dimension, *, oldest_ms: int, after_version: int, most: int
) -> str:
    """Values that a dimension has in records past a version."""
    column = dimension.column
    if dimension.kind == "retry":
        column = f"ifNull(toString({column}), '')"
    where = matching(selection, oldest_ms)
    if after_version:
        where += f" AND version > {after_version:d}"
    return f"SELECT {column} AS v FROM {TABLE} FINAL WHERE {where} GROUP BY v LIMIT {most:d}"
