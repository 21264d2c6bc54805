"""What a format is, and bodies that are counted and hashed while they are made.

So whoever stores a body can tell a whole one from one that was cut off.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

import msgspec

from genmeter.query.row_text import LineFormat

ROWS_KEY: Final = b"genmeter.rows"
"""Where the schema of a Parquet file or an Arrow stream says how many rows there should be."""


class RowsEncoder(Protocol):
    """Encodes rows as a body: what ``take`` and ``end`` return, one after the other."""

    def take(self, lines: bytes) -> bytes:
        """The next bytes, of whole lines."""

    def end(self, tail: Mapping[str, Any]) -> bytes:
        """The last bytes. ``tail`` is what a JSON document says behind its rows."""


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a response: as one JSON document, and as the rows of a table.

    ``types`` has the table's columns in order; a row may lack some of them.
    """

    document: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    types: Mapping[str, type]


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """A format: its name, which is the ending of its files, its media type and its encoders.

    ``line_format`` is how the engine writes the lines that ``rows(columns, query)`` encodes.
    ``escape`` names what the format escapes beyond its own rules.
    """

    name: str
    media_type: str
    line_format: LineFormat
    rows: Callable[[Sequence[str], Mapping[str, Any]], RowsEncoder]
    table: Callable[[Table], bytes]
    escape: str = ""

    @property
    def packed(self) -> bool:
        """Whether a file of it is compressed as it is."""
        return self.line_format == "tsv"


class Checked:
    """An encoder whose bytes are hashed, and whose rows are counted."""

    def __init__(self, writer: RowsEncoder) -> None:
        self._writer = writer
        self._hash = hashlib.sha256()
        self.rows = 0

    def take(self, lines: bytes) -> bytes:
        """The next bytes."""
        self.rows += lines.count(b"\n")
        data = self._writer.take(lines)
        self._hash.update(data)
        return data

    def end(self, tail: Mapping[str, Any]) -> bytes:
        """The last bytes."""
        data = self._writer.end({"count": self.rows, **tail})
        self._hash.update(data)
        return data

    @property
    def sha256(self) -> str:
        """The hash of all bytes so far."""
        return self._hash.hexdigest()


def checksum(body: bytes) -> str:
    """The hash that a client can check a body with."""
    return hashlib.sha256(body).hexdigest()
