"""Rows slice by slice: what an engine that breaks off leaves is no row."""

import itertools

import msgspec
import pytest

from genmeter.clock import DAY_MS
from genmeter.errors import EngineError
from genmeter.execution.pages import Pager, _rows
from genmeter.query.listing import RowsQuery
from genmeter.query.row_text import LineFormat, position_of
from genmeter.query.selection import Filter, Pattern, Selection
from genmeter.storage.shards import Make, Run, Shards
from tests.support import NOON_MS, Running, job

LISTING = RowsQuery(
    selection=Selection(account="a", start_ms=0, end_ms=9, timezone="UTC"), cursor_key=b"k"
)


class Counted:
    """Shards whose questions are counted."""

    def __init__(self, shards: Shards) -> None:
        self._shards = shards
        self.statements = 0

    def ask(self, selection: Selection, run: Run, make: Make) -> list[bytes]:
        self.statements += 1
        return self._shards.ask(selection, run, make)

    def lines(self, selection: Selection, run: Run, make: Make) -> list[bytes]:
        self.statements += 1
        return self._shards.lines(selection, run, make)


ROWS: dict[LineFormat, bytes] = {
    "json": b',{"timestamp":"2026-02-13T10:30:00.000Z","bot":"kling","jobid":"j"}\n',
    "csv": b'"2026-02-13T10:30:00.000Z","kling","j","c","e","s","f",1,2,"m","",,"",""\n',
    "tsv": b"1770978600000\tkling\tj\tc\te\ts\tf\t1\t2\tm\t\t\t\t\n",
}


@pytest.mark.parametrize("line_format", list(ROWS))
def test_whole_rows_pass_and_blank_lines_go(line_format: LineFormat) -> None:
    row = ROWS[line_format]
    assert _rows(row + b"\n" + row + b"\n", line_format, LISTING) == row + row
    assert _rows(b"", line_format, LISTING) == b""


@pytest.mark.parametrize("line_format", list(ROWS))
@pytest.mark.parametrize(
    "end",
    [
        b"Code: 241. DB::Exception: Memory limit exceeded\n",
        b"Code: 241. DB::Exception: Memory limit,\nexceeded\n",
        b"\t\n",
    ],
)
def test_an_error_behind_rows_is_no_row(line_format: LineFormat, end: bytes) -> None:
    with pytest.raises(EngineError, match="broke off"):
        _rows(ROWS[line_format] + end, line_format, LISTING)


@pytest.mark.parametrize("line_format", list(ROWS))
def test_a_row_that_is_cut_is_no_row(line_format: LineFormat) -> None:
    for size in range(1, len(ROWS[line_format])):
        with pytest.raises(EngineError, match="broke off"):
            _rows(ROWS[line_format] + ROWS[line_format][:size], line_format, LISTING)


@pytest.mark.engines("embedded", "server", "cluster")
@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("account", ["one", "all"])
def test_a_whole_range_is_its_slices(service: Running, newest_first: bool, account: str) -> None:
    """Wherever it is cut: in the middle of a day, of a minute, of records of one millisecond."""
    first, second = service.client(), service.client()
    sent = [
        job(NOON_MS - ago, jobid=f"{n}", bot=bot, config=first.account)
        for ago in (0, 1, 59_000, 61_000, DAY_MS, 40 * DAY_MS)
        for n in range(4)
        for bot in ("kling", "luma")
    ]
    for client in (first, second):
        client.record(*sent, *sent[:5])
    selection = Selection(
        account=None if account == "all" else first.account,
        start_ms=NOON_MS - 60 * DAY_MS,
        end_ms=NOON_MS + DAY_MS,
        timezone="UTC",
        filters=(Filter(dimension="config", patterns=(Pattern("exact", first.account),)),),
    )
    listing = RowsQuery(cursor_key=b"k", selection=selection, newest_first=newest_first)
    run = Run(now_ms=NOON_MS, oldest_ms=0, query_id="slices")

    def rows(slice_rows: int) -> list[bytes]:
        lister = Pager(service.service.shards, slice_rows=slice_rows)
        return list(lister.rows(listing, "tsv", run))

    (whole,) = rows(1000)
    lines = whole.splitlines(keepends=True)
    assert len(lines) == len(sent) * (2 if account == "all" else 1)
    times = [int(line.split(b"\t")[0]) for line in lines]
    assert times == sorted(times, reverse=newest_first)
    for slice_rows in (3, 16):
        slices = rows(slice_rows)
        assert b"".join(slices) == whole
        assert max(text.count(b"\n") for text in slices) <= slice_rows


@pytest.mark.engines("embedded")
@pytest.mark.parametrize("newest_first", [True, False])
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_hold_the_rows_however_far_apart_these_are(
    service: Running, newest_first: bool, limit: int
) -> None:
    """What is taken for the end of a page from the one before it may be far too near or too far."""
    client = service.client()
    gaps = [0, 0, 1, 1, 50, 1, 0, DAY_MS, 1, 1, 0, 20 * DAY_MS, 1, 3_600_000, 1, 1, 1, 0, 0, 9]
    moments = [NOON_MS - 60_000 - ago for ago in itertools.accumulate(gaps)]
    client.record(*(job(ms, jobid=f"{n:02}") for n, ms in enumerate(moments)))
    client.record(*(job(ms, jobid=f"{n:02}") for n, ms in enumerate(moments[:9])))
    selection = Selection(
        account=client.account, start_ms=moments[-1], end_ms=NOON_MS, timezone="UTC"
    )
    lister = Pager(service.service.shards)
    listing = RowsQuery(
        cursor_key=b"k", selection=selection, newest_first=newest_first, limit=limit
    )
    found: list[bytes] = []
    while True:
        pages = lister.rows(listing, "tsv", Run(now_ms=NOON_MS, oldest_ms=0, query_id="pages"))
        try:
            while True:
                found += next(pages).splitlines(keepends=True)
        except StopIteration as end:
            after = end.value
        if after is None:
            break
        assert len(found) % limit == 0
        listing = msgspec.structs.replace(listing, after=after)
    assert sorted(found) == sorted({*found})
    assert len(found) == len(moments)
    places = [position_of("tsv", line, selection).ordinal for line in found]
    assert places == sorted(places, reverse=not newest_first)


@pytest.mark.engines("embedded")
def test_a_page_after_another_is_one_statement(service: Running) -> None:
    client = service.client()
    client.record(*(job(NOON_MS - n * 1000, jobid=f"{n:03}") for n in range(200)))
    shards = Counted(service.service.shards)
    lister = Pager(shards)  # type: ignore[arg-type]
    selection = Selection(
        account=client.account, start_ms=NOON_MS - 39_000, end_ms=NOON_MS + 1, timezone="UTC"
    )
    listing = RowsQuery(cursor_key=b"k", selection=selection, limit=10)
    for most in (2, 1, 1, 1):  # the last of them is where the range ends
        shards.statements = 0
        pages = lister.rows(listing, "tsv", Run(now_ms=NOON_MS, oldest_ms=0, query_id="pages"))
        try:
            while True:
                next(pages)
        except StopIteration as end:
            listing = msgspec.structs.replace(listing, after=end.value)
        assert shards.statements == most
    assert listing.after is None
