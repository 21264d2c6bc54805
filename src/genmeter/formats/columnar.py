"""Rows and figures as Parquet files and Arrow streams, by pyarrow.

Imported only when somebody asks for one: the library takes 40 MB.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from genmeter.formats.base import ROWS_KEY
from genmeter.model.fields import BY_KEY
from genmeter.query.row_text import NUMBERS

_TEXT: Final = pa.string()
_WIDTHS: Final = {"UInt16": pa.uint16(), "Nullable(UInt16)": pa.uint16(), "UInt32": pa.uint32()}
_TYPES: Final = {int: pa.int64(), float: pa.float64(), str: _TEXT, bool: pa.bool_()}
_OFTEN_EQUAL: Final = pa.dictionary(pa.int32(), _TEXT)
_BLOCK: Final = 4 * 2**20
"""How much is parsed at a time, on one thread: the engine reads the next rows on the other."""
_TIME: Final = pa.timestamp("ms", tz="UTC")


class Rows:
    """Writes listed rows, which come as lines of values between tabs."""

    def __init__(self, name: str, columns: Sequence[str]) -> None:
        self._columns = columns
        self._schema = pa.schema([(column, _type(column)) for column in columns])
        self._out = io.BytesIO()
        self._rows = 0
        self._writer: Any
        if name == "parquet":
            self._writer = pyarrow.parquet.ParquetWriter(
                self._out,
                self._schema,
                compression="zstd",
                # Values that differ in every row gain nothing by a dictionary.
                use_dictionary=[c for c in columns if BY_KEY[c].repeats],
                # What readers skip row groups by; of texts it is slow to find.
                write_statistics=[c for c in columns if c in ("timestamp", *NUMBERS)],
            )
        else:
            self._writer = pa.ipc.new_stream(self._out, self._schema)

    def take(self, lines: bytes) -> bytes:
        """The bytes of a row group or record batches."""
        if lines:
            read = pyarrow.csv.read_csv(
                pa.BufferReader(lines),
                read_options=pyarrow.csv.ReadOptions(
                    column_names=self._columns, use_threads=False, block_size=_BLOCK
                ),
                parse_options=pyarrow.csv.ParseOptions(delimiter="\t", quote_char=False),
                convert_options=pyarrow.csv.ConvertOptions(
                    column_types={c: _read_as(c) for c in self._columns},
                    null_values=[""],
                    strings_can_be_null=False,
                ),
            )
            self._rows += read.num_rows
            self._writer.write_table(read.cast(self._schema))
        return self._taken()

    def end(self, tail: Mapping[str, Any]) -> bytes:
        """The bytes that end the file."""
        if hasattr(self._writer, "add_key_value_metadata"):
            self._writer.add_key_value_metadata({ROWS_KEY: str(self._rows).encode()})
        self._writer.close()
        return self._taken()

    def _taken(self) -> bytes:
        data = self._out.getvalue()
        self._out.seek(0)
        self._out.truncate()
        return data


def table(name: str, rows: Sequence[Mapping[str, Any]], types: Mapping[str, type]) -> bytes:
    """Rows of figures as a whole file or stream."""
    schema = pa.schema(
        [(column, _TYPES[type_]) for column, type_ in types.items()],
        metadata={ROWS_KEY: str(len(rows)).encode()},
    )
    made = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    out = io.BytesIO()
    if name == "parquet":
        pyarrow.parquet.write_table(made, out, compression="zstd")
    else:
        with pa.ipc.new_stream(out, schema) as stream:
            stream.write_table(made)
    return out.getvalue()


def _type(column: str) -> pa.DataType:
    if column == "timestamp":
        return _TIME
    return _WIDTHS[BY_KEY[column].column_type] if column in NUMBERS else _TEXT


def _read_as(column: str) -> pa.DataType:
    return pa.int64() if column == "timestamp" else _type(column)
