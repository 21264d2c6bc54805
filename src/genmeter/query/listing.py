"""Parameters of ``/v2/account/stats/rows`` -> which records to list, and where to go on. Pure.

A page ends with a cursor: the place of its last row in the order, which no other row ever has. The
next page begins after that place, so nothing is repeated or skipped while records arrive. A cursor
also fixes the range, so it is signed: a changed one could reach further than a query may.
"""

import base64
import hashlib
import hmac
from typing import Final

import msgspec

from genmeter.query import selection
from genmeter.query.parameters import Parameters
from genmeter.query.selection import Asking, Selection
from genmeter.query.stats import MAX_LIMIT

NEWEST: Final = "newest"
OLDEST: Final = "oldest"
MAX_CURSOR: Final = 4096
_SIGNATURE_BYTES: Final = 16


class RowPosition(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """Where a row stands in the order: newest first, then by jobid descending, bot, account."""

    neg_ms: int
    jobid: str
    bot: str
    account: str

    @property
    def ordinal(self) -> tuple[int, tuple[int, ...], bytes, bytes]:
        """What sorts places as the engine does: texts by their bytes."""
        # A text that another begins with comes after it when descending: hence the 1 at the end.
        descending = (*(-byte for byte in self.jobid.encode()), 1)
        return self.neg_ms, descending, self.bot.encode(), self.account.encode()


class RowsQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Records of a selection in order, ``limit`` of them or all, those past ``after``.

    ``cursor_key`` signs the cursors.
    """

    selection: Selection
    cursor_key: bytes
    newest_first: bool = True
    limit: int | None = None
    after: RowPosition | None = None

    def echo(self) -> dict[str, object]:
        """The listing as parameters: asked again, they are this very listing."""
        shown = self.selection.echo()
        shown["order"] = NEWEST if self.newest_first else OLDEST
        if self.limit is not None:
            shown["limit"] = self.limit
        return shown

    def cursor(self, last: RowPosition) -> str:
        """A text that the listing goes on from, past ``last``."""
        chosen = self.selection
        content = msgspec.json.encode(_Cursor(self._digest(), chosen.start_ms, chosen.end_ms, last))
        return base64.urlsafe_b64encode(self._signature(content) + content).decode().rstrip("=")

    def resume(self, text: str) -> "RowsQuery":
        """The listing from a cursor on. Raises ValueError where it is not one of this listing."""
        foreign = ValueError("the next_cursor of a page with the same other parameters")
        try:
            if len(text) > MAX_CURSOR:
                raise foreign
            padded = text.encode("ascii") + b"=" * (-len(text) % 4)
            signed = base64.b64decode(padded, altchars=b"-_", validate=True)
            signature, content = signed[:_SIGNATURE_BYTES], signed[_SIGNATURE_BYTES:]
            if not hmac.compare_digest(signature, self._signature(content)):
                raise foreign
            cursor = msgspec.json.decode(content, type=_Cursor)
        except ValueError as error:
            raise foreign from error
        if cursor.digest != self._digest():
            raise foreign
        chosen = msgspec.structs.replace(
            self.selection, start_ms=cursor.start_ms, end_ms=cursor.end_ms
        )
        return msgspec.structs.replace(self, selection=chosen, after=cursor.last)

    def _signature(self, content: bytes) -> bytes:
        return hmac.digest(self.cursor_key, content, "sha256")[:_SIGNATURE_BYTES]

    def _digest(self) -> str:
        """What sets this listing apart from others; neither its range nor its page's size does."""
        shown = self.echo()
        for name in ("from", "to", "limit"):
            shown.pop(name, None)
        return hashlib.blake2b(msgspec.json.encode(shown), digest_size=9).hexdigest()


class _Cursor(msgspec.Struct, frozen=True, array_like=True):
    digest: str
    start_ms: int
    end_ms: int
    last: RowPosition


def parse(given: Parameters, asking: Asking) -> RowsQuery:
    """The listing that ``given`` asks for; faults are noted in it.

    Where faults were noted, what comes out stands for nothing. Raises ForbiddenError as
    :func:`genmeter.query.selection.parse` does.
    """
    chosen = selection.parse(given, asking)
    order = given.read("order", _order) or NEWEST
    limit = given.read("limit", _limit)
    listing = RowsQuery(
        selection=chosen,
        cursor_key=asking.cursor_key,
        newest_first=order == NEWEST,
        limit=limit,
    )
    if limit is None and given.one("cursor"):
        given.faults.append("cursor needs limit")
    elif not given.faults:
        listing = given.read("cursor", listing.resume) or listing
    return listing


def _order(text: str) -> str:
    if text not in (NEWEST, OLDEST):
        raise ValueError(f"{NEWEST} or {OLDEST}")
    return text


def _limit(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 9 and 1 <= int(text) <= MAX_LIMIT:
        return int(text)
    raise ValueError(f"an integer from 1 to {MAX_LIMIT}")
