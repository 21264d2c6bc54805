"""Asks the engine for the rows of a query, slice by slice, in their order.

A slice is bounded in size, so is what the engine sorts for it; the next one begins after the last
row's place. So the thousandth page costs what the first does, and the whole range any number of
rows.
"""

from collections import Counter, deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Final, NamedTuple

import msgspec

from genmeter.clock import DAY_MS
from genmeter.errors import EngineError
from genmeter.query.listing import RowPosition, RowsQuery
from genmeter.query.row_text import LineFormat, position_of
from genmeter.storage.engine.base import table
from genmeter.storage.shards import Run, Shards
from genmeter.storage.slices import cuts
from genmeter.storage.sql import filters
from genmeter.storage.sql import rows as sql_rows

SLICE: Final = 200_000
"""How many rows of a long query are asked for at a time: what bounds the engine's memory."""

_REACHES_MS: Final = (8 * DAY_MS, 64 * DAY_MS, None)


_PAGE: Final = 1000
"""Up to how many rows a page is read without looking for its end first."""

_AMPLE: Final = 8
"""How many times the time is read that the rows of a page took on the page before."""

_NEAR_MS: Final = 3_600_000
"""No longer time is read so: rows that are far apart may be followed by very many."""

_KEPT: Final = 1000
"""Of how many listings it is remembered how close to each other their rows are."""

_STEP_MS: Final = 60_000
_STEPS: Final = 5000
"""How finely the records of a whole range are counted, to cut it into slices."""


class _Slice(NamedTuple):
    """Rows, the query that is left, if any, and whether more rows are known to come."""

    text: bytes
    left: RowsQuery | None
    cut: bool


class Pager:
    """Lists rows of what is on ``shards``."""

    def __init__(self, shards: Shards, *, slice_rows: int = SLICE) -> None:
        self._shards = shards
        self._slice_rows = slice_rows
        self._apart: dict[str, float] = {}  # milliseconds from row to row, where last read

    def rows(
        self, query: RowsQuery, line_format: LineFormat, run: Run
    ) -> Generator[bytes, None, RowPosition | None]:
        """Whole lines of ``line_format``; returns the place to resume after, None at the end."""
        if query.limit is None:
            yield from self._all(query, line_format, run)
            return None
        rest, last = query.limit, None
        left: RowsQuery | None = query
        bound = self._near(query, rest)
        while left is not None:
            if bound is None:
                bound = self._bound(left, rest, run)
            text, left, cut = self._slice(left, line_format, rest, bound, run)
            bound = None
            if text:
                self._note(query, line_format, text)
            if not rest:  # only to see whether there is more
                if cut:
                    return last
            elif text:
                last = _last(line_format, text, query)
                rest -= text.count(b"\n")
                yield text
                if not rest and cut:
                    return last
        return None

    def _all(
        self, query: RowsQuery, line_format: LineFormat, run: Run
    ) -> Generator[bytes, None, None]:
        """The whole range. A slice is read while the one before it is worked on."""
        bounds = self._bounds(query, run)
        with ThreadPoolExecutor(1, "lister") as ahead:

            def read(left: RowsQuery) -> Future[_Slice]:
                bound = bounds[0] if bounds else None
                return ahead.submit(self._slice, left, line_format, self._slice_rows, bound, run)

            left: RowsQuery | None = query
            coming = read(query)
            while left is not None:
                text, left, cut = coming.result()
                if bounds and not cut:
                    bounds.popleft()
                if left is not None:
                    coming = read(left)
                if text:
                    yield text

    def _slice(
        self, query: RowsQuery, line_format: LineFormat, wanted: int, bound: int | None, run: Run
    ) -> _Slice:
        """The next rows, at most ``wanted``, up to a ``neg_ms`` where one is given."""
        make = partial(sql_rows.rows, query, line_format, most=wanted + 1)
        read = self._shards.lines(sql_rows.part(query, bound), run, make)
        texts = [_rows(text, line_format, query) for text in read]
        text = texts[0] if len(texts) == 1 else _merged(query, line_format, texts)
        if (beyond := text.count(b"\n") - wanted) > 0:
            text = _without_last(text, beyond)
            after = _last(line_format, text, query) if text else query.after
            return _Slice(text, msgspec.structs.replace(query, after=after), True)
        return _Slice(text, None if bound is None else _beyond(query, bound), False)

    def _bounds(self, query: RowsQuery, run: Run) -> deque[int]:
        """Where to cut the whole range, each a ``neg_ms``: slices then need no limit.

        One scan tells them all; to find each by itself would take half as long as its rows.
        """
        length_ms = query.selection.end_ms - query.selection.start_ms
        step_ms = max(_STEP_MS, length_ms // _STEPS)
        make = partial(sql_rows.step_counts, query, step_ms=step_ms)
        counts: Counter[int] = Counter()
        for answer in self._shards.ask(sql_rows.part(query, None), run, make):
            for step, count in table(answer):
                counts[int(step) * step_ms] += int(count)
        in_order = sorted(counts.items(), reverse=query.newest_first)
        moments = cuts(in_order, step_ms, self._slice_rows, backwards=query.newest_first)
        return deque(-moment if query.newest_first else 1 - moment for moment in moments)

    def _near(self, query: RowsQuery, wanted: int) -> int | None:
        """A ``neg_ms`` that the next rows will hardly go past, where the page before is known.

        Wherever it is nothing is lost: past it the rest is looked for. To find the very place takes
        5 of 12 ms.
        """
        apart = self._apart.get(filters.condition(query.selection))
        if apart is None or query.after is None or wanted > _PAGE:
            return None
        reach_ms = int(apart * wanted * _AMPLE) + 1
        if reach_ms > _NEAR_MS:
            return None
        if query.newest_first:
            return min(query.after.neg_ms + reach_ms, -query.selection.start_ms)
        return max(query.after.neg_ms - reach_ms, 1 - query.selection.end_ms)

    def _note(self, query: RowsQuery, line_format: LineFormat, text: bytes) -> None:
        """Remember how close to each other some rows are."""
        steps = text.count(b"\n") - 1
        if not steps:
            return
        first = position_of(line_format, text[: text.find(b"\n") + 1], query.selection)
        span_ms = abs(_last(line_format, text, query).neg_ms - first.neg_ms)
        if len(self._apart) >= _KEPT:
            self._apart.clear()
        self._apart[filters.condition(query.selection)] = span_ms / steps

    def _bound(self, query: RowsQuery, wanted: int, run: Run) -> int | None:
        """A ``neg_ms`` that the next ``wanted`` rows do not go past, or None.

        The engine merges equal records while it reads, and sorts: what it need not read saves most
        of the time. A twentieth is added for records that were sent twice.
        """
        skip = wanted + wanted // 20
        for reach_ms in _REACHES_MS:
            make = partial(sql_rows.nth, query, skip=skip, reach_ms=reach_ms)
            answers = self._shards.ask(sql_rows.part(query, None), run, make)
            found = [int(text) for text in answers if text.strip()]
            if found:
                # Of several shards' bounds the nearest holds for all.
                return min(found) if query.newest_first else max(found)
        return None


def _last(line_format: LineFormat, text: bytes, query: RowsQuery) -> RowPosition:
    """The place of the last of some rows."""
    return position_of(line_format, text[text.rfind(b"\n", 0, -1) + 1 :], query.selection)


def _rows(text: bytes, line_format: LineFormat, query: RowsQuery) -> bytes:
    """Rows without the blank lines that some engines put between them.

    Raises EngineError where the last is none: an engine that fails in the middle of an answer may
    write its error behind what it has sent.
    """
    second = text.find(b"\n") + 1
    if text[second : second + 1] == b"\n":  # behind one row, so behind each
        text = text.replace(b"\n\n", b"\n")
    if text:
        try:
            _last(line_format, text, query)
        except ValueError as error:
            shown = text[-500:].decode(errors="replace")
            raise EngineError(f"an answer broke off at: {shown}") from error
        if not text.endswith(b"\n"):
            raise EngineError("an answer broke off in its last row")
    return text


def _without_last(text: bytes, rows: int) -> bytes:
    """All but the last rows: no list of those that stay."""
    end = len(text)
    for _ in range(rows):
        end = text.rfind(b"\n", 0, end - 1) + 1
    return text[:end]


def _merged(query: RowsQuery, line_format: LineFormat, texts: list[bytes]) -> bytes:
    """The rows of several shards as one list in order."""
    lines = [line for text in texts for line in text.splitlines(keepends=True)]
    lines.sort(
        key=lambda line: position_of(line_format, line, query.selection).ordinal,
        reverse=not query.newest_first,
    )
    return b"".join(lines)


def _beyond(query: RowsQuery, bound: int) -> RowsQuery | None:
    """The query without what lies up to ``bound``, None where that is all of its time."""
    if query.newest_first:
        rest = msgspec.structs.replace(query.selection, end_ms=-bound)
    else:
        rest = msgspec.structs.replace(query.selection, start_ms=-bound + 1)
    if rest.start_ms >= rest.end_ms:
        return None
    return msgspec.structs.replace(query, selection=rest, after=None)
