"""Every format there is: one entry each in :data:`FORMATS`.

A new format is its two encoders, of rows and of tables, and an entry.
"""

import csv
import io
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from genmeter.formats.base import Format, RowsEncoder, Table


class _Document:
    """One JSON document with the rows in an array."""

    def __init__(self, columns: Sequence[str], query: Mapping[str, Any]) -> None:
        self._head = b'{"query":' + msgspec.json.encode(query) + b',"data":['
        self._first = True

    def take(self, lines: bytes) -> bytes:
        """Rows, each with a comma before it but the first."""
        if not self._first:
            return lines
        self._first = False
        return self._head + lines[1:]

    def end(self, tail: Mapping[str, Any]) -> bytes:
        """The end of the array, and what is said behind it."""
        head = self._head if self._first else b""
        return head + b"]," + msgspec.json.encode(tail)[1:]


class _Lines:
    """A JSON object a line."""

    def __init__(self, columns: Sequence[str], query: Mapping[str, Any]) -> None:
        """Lines have neither a header nor a query."""

    def take(self, lines: bytes) -> bytes:
        """Rows without the commas before them."""
        return lines[1:].replace(b"\n,", b"\n")

    def end(self, tail: Mapping[str, Any]) -> bytes:
        """Nothing: a line more would be taken for a row."""
        return b""


class _Csv:
    """Comma-separated values under a header."""

    def __init__(self, columns: Sequence[str], query: Mapping[str, Any]) -> None:
        self._head = ",".join(columns).encode() + b"\n"

    def take(self, lines: bytes) -> bytes:
        """Rows as they are."""
        head, self._head = self._head, b""
        return head + lines

    def end(self, tail: Mapping[str, Any]) -> bytes:
        """The header, where there was no row."""
        return self._head


_FORMULA: Final = "=+-@＝＋－＠"  # noqa: RUF001
"""What makes a spreadsheet run a text; the wide forms do so in some locales.

A tab or a line break at the beginning does, too, but no record holds one (R3).
"""

_FORMULA_CELL: Final = re.compile(
    b'(?:^|(?<=,))"(?=%b)' % b"|".join(re.escape(char.encode()) for char in _FORMULA),
    re.MULTILINE,
)
"""The quote that opens such a text: within a text a quote is doubled, so it never matches there."""


class _SpreadsheetCsv(_Csv):
    """CSV whose texts no spreadsheet runs."""

    def take(self, lines: bytes) -> bytes:
        """Rows with a ``'`` before each text that begins like a formula."""
        return super().take(_FORMULA_CELL.sub(b"\"'", lines))


def _spreadsheet_csv_table(table: Table) -> bytes:
    rows = [
        {
            name: f"'{value}"
            if isinstance(value, str) and value.startswith(tuple(_FORMULA))
            else value
            for name, value in row.items()
        }
        for row in table.rows
    ]
    return _csv_table(msgspec.structs.replace(table, rows=rows))


def _columnar_rows(
    name: str,
) -> Callable[[Sequence[str], Mapping[str, Any]], RowsEncoder]:
    def rows(columns: Sequence[str], query: Mapping[str, Any]) -> RowsEncoder:
        from genmeter.formats.columnar import Rows  # noqa: PLC0415  # pyarrow takes 40 MB

        return Rows(name, columns)

    return rows


def _columnar_table(name: str) -> Callable[[Table], bytes]:
    def encode(table: Table) -> bytes:
        from genmeter.formats.columnar import table as columnar_table  # noqa: PLC0415  # pyarrow takes 40 MB

        return columnar_table(name, table.rows, table.types)

    return encode


def _json_table(table: Table) -> bytes:
    return msgspec.json.encode(table.document)


def _ndjson_table(table: Table) -> bytes:
    return b"".join(
        msgspec.json.encode({name: row.get(name) for name in table.types}) + b"\n"
        for row in table.rows
    )


def _csv_table(table: Table) -> bytes:
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(table.types)
    out.writerows([_cell(row.get(name)) for name in table.types] for row in table.rows)
    return text.getvalue().encode()


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


FORMATS: Final = {
    format_.name: format_
    for format_ in (
        Format(
            name="json",
            media_type="application/json",
            line_format="json",
            rows=_Document,
            table=_json_table,
        ),
        Format(
            name="ndjson",
            media_type="application/x-ndjson",
            line_format="json",
            rows=_Lines,
            table=_ndjson_table,
        ),
        Format(
            name="csv",
            media_type="text/csv",
            line_format="csv",
            rows=_Csv,
            table=_csv_table,
        ),
        Format(
            name="parquet",
            media_type="application/vnd.apache.parquet",
            line_format="tsv",
            rows=_columnar_rows("parquet"),
            table=_columnar_table("parquet"),
        ),
        Format(
            name="arrow",
            media_type="application/vnd.apache.arrow.stream",
            line_format="tsv",
            rows=_columnar_rows("arrow"),
            table=_columnar_table("arrow"),
        ),
    )
}
"""All formats by name; the first is what a client gets that accepts anything."""

FORMULAS: Final = "formulas"
SPREADSHEET_CSV: Final = msgspec.structs.replace(
    FORMATS["csv"], rows=_SpreadsheetCsv, table=_spreadsheet_csv_table, escape=FORMULAS
)
"""CSV for people: exact CSV runs a text such as ``=HYPERLINK(...)`` when a spreadsheet opens it."""
