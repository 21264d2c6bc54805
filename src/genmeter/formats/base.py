"""The formats of answers: which one a client wants, and bytes made of lines or of figures.

Every body is counted and hashed while it is made, so that whoever stores it can tell a whole one
from one that was cut off.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any, Final, Protocol

import msgspec

from genmeter.errors import NotAcceptableError
from genmeter.query.row_text import Kind


class Format(msgspec.Struct, frozen=True, kw_only=True):
    """A format: its name, which is the ending of its files, and its media type."""

    name: str
    media_type: str
    kind: Kind

    @property
    def packed(self) -> bool:
        """Whether a file of it is compressed as it is."""
        return self.kind == "tsv"


FORMATS: Final = {
    format_.name: format_
    for format_ in (
        Format(name="json", media_type="application/json", kind="json"),
        Format(name="ndjson", media_type="application/x-ndjson", kind="json"),
        Format(name="csv", media_type="text/csv", kind="csv"),
        Format(name="parquet", media_type="application/vnd.apache.parquet", kind="tsv"),
        Format(name="arrow", media_type="application/vnd.apache.arrow.stream", kind="tsv"),
    )
}

ROWS_KEY: Final = b"genmeter.rows"
"""Where the schema of a Parquet file or an Arrow stream says how many rows there should be."""


def named(text: str) -> Format:
    """The format of that name. Raises ValueError saying which there are."""
    if text not in FORMATS:
        raise ValueError(f"one of {', '.join(FORMATS)}")
    return FORMATS[text]


def accepted(header: str) -> Format:
    """The format that an ``Accept`` header likes best, JSON where it takes anything.

    Raises NotAcceptableError where it takes none.
    """
    weights: dict[str, float] = {}
    for item in header.split(","):
        media_type, *parameters = (part.strip().lower() for part in item.split(";"))
        weights[media_type] = _weight(parameters)
    if not header.strip():
        return FORMATS["json"]

    def weight(format_: Format) -> float:
        of_group = format_.media_type.partition("/")[0] + "/*"
        for media_type in (format_.media_type, of_group, "*/*"):
            if media_type in weights:
                return weights[media_type]
        return 0.0

    best = max(FORMATS.values(), key=weight)  # of equals the first
    if weight(best) <= 0:
        offered = ", ".join(format_.media_type for format_ in FORMATS.values())
        raise NotAcceptableError(f"Accept takes none of the formats there are: {offered}")
    return best


def _weight(parameters: Iterable[str]) -> float:
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip() == "q":
            try:
                return min(max(float(value), 0.0), 1.0)
            except ValueError:
                return 0.0
    return 1.0


class Writer(Protocol):
    """Makes a body: what ``take`` and ``end`` give, one after the other."""

    def take(self, lines: bytes) -> bytes:
        """The next bytes, of whole lines."""

    def end(self, tail: Mapping[str, Any]) -> bytes:
        """The last bytes. ``tail`` is what a JSON document says behind its rows."""


class Checked:
    """A writer whose bytes are hashed, and whose rows are counted."""

    def __init__(self, writer: Writer) -> None:
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


def writer(format_: Format, columns: Sequence[str], query: Mapping[str, Any]) -> Checked:
    """What writes rows of ``columns`` in a format; a JSON document tells the query first."""
    made: Writer
    if format_.name == "json":
        made = _Document(query)
    elif format_.name == "ndjson":
        made = _Lines()
    elif format_.name == "csv":
        made = _Csv(columns)
    else:
        made = import_module("genmeter.formats.columnar").Rows(format_.name, columns)
    return Checked(made)


class _Document:
    """One JSON document with the rows in an array."""

    def __init__(self, query: Mapping[str, Any]) -> None:
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

    def take(self, lines: bytes) -> bytes:
        """Rows without the commas before them."""
        return lines[1:].replace(b"\n,", b"\n")

    def end(self, tail: Mapping[str, Any]) -> bytes:
        """Nothing: a line more would be taken for a row."""
        return b""


class _Csv:
    """Comma-separated values under a header."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._head = ",".join(columns).encode() + b"\n"

    def take(self, lines: bytes) -> bytes:
        """Rows as they are."""
        head, self._head = self._head, b""
        return head + lines

    def end(self, tail: Mapping[str, Any]) -> bytes:
        """The header, where there was no row."""
        return self._head


def table(format_: Format, rows: Sequence[Mapping[str, Any]], types: Mapping[str, type]) -> bytes:
    """Rows of figures as a whole body of a flat format. ``types`` has all columns in order."""
    if format_.name == "ndjson":
        return b"".join(
            msgspec.json.encode({name: row.get(name) for name in types}) + b"\n" for row in rows
        )
    if format_.name == "csv":
        text = io.StringIO()
        out = csv.writer(text, lineterminator="\n")
        out.writerow(types)
        out.writerows([_cell(row.get(name)) for name in types] for row in rows)
        return text.getvalue().encode()
    made: bytes = import_module("genmeter.formats.columnar").table(format_.name, rows, types)
    return made


def _cell(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value


def checksum(body: bytes) -> str:
    """The hash that a client can check a body with."""
    return hashlib.sha256(body).hexdigest()
