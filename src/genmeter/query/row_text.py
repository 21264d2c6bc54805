"""The rows of a listing as lines of text, as the engine writes them. Pure."""

import csv
from typing import Final, Literal

import msgspec

from genmeter.clock import from_iso
from genmeter.model.fields import LISTED
from genmeter.query.listing import RowPosition
from genmeter.query.selection import Selection

LineFormat = Literal["json", "csv", "tsv"]
"""How a line is written: JSON with a comma before it, CSV, or values between tabs (R3 keeps
tabs out of texts)."""

COLUMNS: Final = {field.key: field.column for field in LISTED}
"""What a listed row has, in order, named as it is recorded (R2), and the columns that hold it."""

NUMBERS: Final = tuple(field.key for field in LISTED if field.is_number)
NULLABLE: Final = tuple(field.key for field in LISTED if field.nullable)


class _Row(msgspec.Struct):
    timestamp: str
    bot: str
    jobid: str
    account: str = ""


def columns(selection: Selection) -> tuple[str, ...]:
    """What a selection's rows have; ``account`` only where there may be several."""
    return tuple(name for name in COLUMNS if name != "account" or selection.account is None)


def position_of(line_format: LineFormat, line: bytes, selection: Selection) -> RowPosition:
    """Where the row of a line stands in the order."""
    if line_format == "json":
        row = msgspec.json.decode(line[1:], type=_Row)
    else:
        text = line.decode().rstrip("\n")
        cells = next(csv.reader([text])) if line_format == "csv" else text.split("\t")
        named = dict(zip(columns(selection), cells, strict=True))
        row = _Row(named["timestamp"], named["bot"], named["jobid"], named.get("account", ""))
    time = int(row.timestamp) if line_format == "tsv" else from_iso(row.timestamp)
    account = row.account if selection.account is None else selection.account
    return RowPosition(neg_ms=-time, jobid=row.jobid, bot=row.bot, account=account)
