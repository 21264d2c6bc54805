"""Many records of some time -> portions that an engine goes through in seconds. Pure."""

import math
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final

from genmeter.storage.sql.base import Span

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


def cuts(
    counts: Iterable[tuple[int, int]], step_ms: int, most: int, *, backwards: bool
) -> Iterator[int]:
    """The moments to cut a time at, so that there are about ``most`` records between two.

    ``counts`` has the beginnings of steps of ``step_ms``, in their order or ``backwards``, with how
    many records each has. A step with too many is cut into equal times.
    """
    held = 0
    for start, count in counts:
        near, far = (start + step_ms, start) if backwards else (start, start + step_ms)
        if held and held + count > most:
            yield near
            held = 0
        pieces = math.ceil(count / most)
        yield from (near + (far - near) * n // pieces for n in range(1, pieces))
        held += count // pieces


def _cut(
    accounts: tuple[str, ...], start_ms: int, end_ms: int, records: int, most: int
) -> Iterator[tuple[Span, int]]:
    """One span, or pieces of its time where it would be too large."""
    pieces = math.ceil(records / most) or 1
    edges = [start_ms + (end_ms - start_ms) * n // pieces for n in range(pieces + 1)]
    for start, end in pairwise(edges):
        yield Span(accounts=accounts, start_ms=start, end_ms=end), records // pieces
