"""Rows slice by slice: what an engine that breaks off leaves is no row."""

import pytest

from genmeter.errors import EngineError
from genmeter.lines import Kind
from genmeter.lister import _rows
from genmeter.listing import Listing
from genmeter.selection import Selection

LISTING = Listing(selection=Selection(account="a", start_ms=0, end_ms=9, timezone="UTC"))
ROWS: dict[Kind, bytes] = {
    "json": b',{"timestamp":"2026-02-13T10:30:00.000Z","bot":"kling","jobid":"j"}\n',
    "csv": b'"2026-02-13T10:30:00.000Z","kling","j","c","e","s","f",1,2,"m","",,"",""\n',
    "tsv": b"1770978600000\tkling\tj\tc\te\ts\tf\t1\t2\tm\t\t\t\t\n",
}


@pytest.mark.parametrize("kind", list(ROWS))
def test_whole_rows_pass_and_blank_lines_go(kind: Kind) -> None:
    row = ROWS[kind]
    assert _rows(row + b"\n" + row + b"\n", kind, LISTING) == row + row
    assert _rows(b"", kind, LISTING) == b""


@pytest.mark.parametrize("kind", list(ROWS))
@pytest.mark.parametrize(
    "end",
    [
        b"Code: 241. DB::Exception: Memory limit exceeded\n",
        b"Code: 241. DB::Exception: Memory limit,\nexceeded\n",
        b"\t\n",
    ],
)
def test_an_error_behind_rows_is_no_row(kind: Kind, end: bytes) -> None:
    with pytest.raises(EngineError, match="broke off"):
        _rows(ROWS[kind] + end, kind, LISTING)


@pytest.mark.parametrize("kind", list(ROWS))
def test_a_row_that_is_cut_is_no_row(kind: Kind) -> None:
    for size in range(1, len(ROWS[kind])):
        with pytest.raises(EngineError, match="broke off"):
            _rows(ROWS[kind] + ROWS[kind][:size], kind, LISTING)
