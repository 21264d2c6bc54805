"""Which format a client wants, and bodies that are counted and hashed."""

import csv
import hashlib
import io
import json

import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genmeter.errors import NotAcceptableError
from genmeter.formats import negotiation
from genmeter.formats.base import Checked, Table
from genmeter.formats.encoders import FORMATS, SPREADSHEET_CSV


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("", "json"),
        ("*/*", "json"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "json"),
        ("text/csv", "csv"),
        ("application/json;q=0.5, text/csv", "csv"),
        ("text/*", "csv"),
        ("application/x-ndjson, */*;q=0.1", "ndjson"),
        ("application/vnd.apache.parquet", "parquet"),
        ("APPLICATION/vnd.apache.arrow.stream ; q=1.0", "arrow"),
        ("application/json;q=x, text/csv;q=0.1", "csv"),
    ],
)
def test_the_format_a_client_likes_best(header: str, name: str) -> None:
    assert negotiation.accepted(header).name == name


@pytest.mark.parametrize("header", ["image/png", "application/json;q=0", "text/html"])
def test_a_client_that_takes_none_is_told_which_there_are(header: str) -> None:
    with pytest.raises(NotAcceptableError, match="text/csv"):
        negotiation.accepted(header)


LINES = {
    "json": [b',{"jobid":"a","code":1}\n', b',{"jobid":"b,","code":2}\n,{"jobid":"c","code":3}\n'],
    "csv": [b'"a",1\n', b'"b,",2\n"c",3\n'],
    "tsv": [b"a\t1\n", b"b,\t2\nc\t3\n"],
}


@pytest.mark.parametrize("name", list(FORMATS))
@pytest.mark.parametrize("some", [True, False])
def test_rows_in_every_format(name: str, some: bool) -> None:
    format_ = FORMATS[name]
    writer = Checked(format_.rows(["jobid", "code"], {"q": 1}))
    body = b"".join(writer.take(text) for text in (LINES[format_.line_format] if some else []))
    body += writer.end({"has_more": False})
    assert writer.sha256 == hashlib.sha256(body).hexdigest()
    assert writer.rows == (3 if some else 0)
    rows = [("a", 1), ("b,", 2), ("c", 3)] if some else []
    if name == "json":
        data = [{"jobid": jobid, "code": code} for jobid, code in rows]
        count = {"count": len(rows), "has_more": False}
        assert json.loads(body) == {"query": {"q": 1}, "data": data} | count
    elif name == "ndjson":
        read = [json.loads(line) for line in body.splitlines()]
        assert [(row["jobid"], row["code"]) for row in read] == rows
    elif name == "csv":
        assert body.decode() == "jobid,code\n" + "".join(
            f'"{jobid}",{code}\n' for jobid, code in rows
        )
    else:
        if name == "parquet":
            table = pyarrow.parquet.read_table(io.BytesIO(body))
            metadata = pyarrow.parquet.ParquetFile(io.BytesIO(body)).metadata.metadata
            assert metadata[b"genmeter.rows"] == str(len(rows)).encode()
        else:
            table = pa.ipc.open_stream(body).read_all()
        assert [(row["jobid"], row["code"]) for row in table.to_pylist()] == rows


CELLS = st.text("=+-@＝＋－＠a\",\\' é\U0001f600", max_size=6)  # noqa: RUF001  # wide signs


def harmless(text: str) -> str:
    """What a text becomes for a spreadsheet."""
    return f"'{text}" if text[:1] and text[0] in "=+-@＝＋－＠" else text  # noqa: RUF001


@given(st.lists(st.tuples(CELLS, st.integers(), CELLS, CELLS), max_size=4))
def test_csv_for_spreadsheets_runs_no_text_and_keeps_numbers(
    rows: list[tuple[str, int, str, str]],
) -> None:
    def line(row: tuple[str, int, str, str]) -> str:
        """A row as the engine writes it: each text between quotes, each number without."""
        cells = [v if isinstance(v, int) else '"{}"'.format(v.replace('"', '""')) for v in row]
        return ",".join(map(str, cells)) + "\n"

    wanted = [[harmless(a), str(n), harmless(b), harmless(c)] for a, n, b, c in rows]
    writer = SPREADSHEET_CSV.rows(["a", "n", "b", "c"], {})
    body = writer.take("".join(map(line, rows)).encode()) + writer.end({})
    assert list(csv.reader(io.StringIO(body.decode(), newline=""))) == [
        ["a", "n", "b", "c"],
        *wanted,
    ]
    types = {"a": str, "n": int, "b": str, "c": str}
    table = Table(
        document={}, rows=[dict(zip(types, row, strict=True)) for row in rows], types=types
    )
    told = list(csv.reader(io.StringIO(SPREADSHEET_CSV.table(table).decode(), newline="")))
    assert told == [["a", "n", "b", "c"], *wanted]
