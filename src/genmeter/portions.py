"""Many accounts' records of some time -> portions that an engine goes through in seconds. Pure."""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from genmeter.sql import Span

_PORTION_ACCOUNTS: Final = 1000


def portions(
    counts: Iterable[tuple[str, int]], start_ms: int, end_ms: int, most: int
) -> Iterator[tuple[Span, int]]:
    """Spans that have each moment of each account once, with about how many records are in them.

    ``counts`` has the accounts and how many records each has from ``start_ms`` up to and without
    ``end_ms``. Small accounts go together, up to ``most`` records; a large one is cut into equal
    times.
    """
    together: list[str] = []
    records = 0
    for account, count in counts:
        if together and (records + count > most or len(together) == _PORTION_ACCOUNTS):
            yield from _cut(tuple(together), start_ms, end_ms, records, most)
            together, records = [], 0
        together.append(account)
        records += count
    if together:
        yield from _cut(tuple(together), start_ms, end_ms, records, most)


def _cut(
    accounts: tuple[str, ...], start_ms: int, end_ms: int, records: int, most: int
) -> Iterator[tuple[Span, int]]:
    """One span, or pieces of its time where it would be too large."""
    pieces = math.ceil(records / most) or 1
    edges = [start_ms + (end_ms - start_ms) * n // pieces for n in range(pieces + 1)]
    for start, end in pairwise(edges):
        yield Span(accounts=accounts, start_ms=start, end_ms=end), records // pieces
