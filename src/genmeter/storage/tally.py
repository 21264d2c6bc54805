"""Rows as they are sent -> how many there are of each group. Pure; no row becomes an object.

The summary of an answer stands before its rows and is counted from them: the same text, so the two
cannot disagree, whatever is stored or replaced meanwhile and however many servers are asked. What
rows of a group share stands between marks (:data:`genmeter.storage.sql.stats.MARK`); each distinct
text of it is decoded once.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

import msgspec

from genmeter.errors import EngineError
from genmeter.storage.sql.stats import MARK, ROW_END


class Group(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    rename={"captcha_providers": "captchaProviders", "captcha_retry": "captchaRetry"},
):
    """What rows of a group have in common, as the rows spell it in JSON.

    Fields that the bot does not show are ``""``.
    """

    config: str
    code: int
    endpoint: str
    status: str
    model: str = ""
    captcha_providers: str = ""
    captcha_retry: int | None = None
    tier: str = ""
    sku: str = ""


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The rows of an answer: how many there are of each group, and what is not told by groups.

    ``msec`` is the sum over all rows; ``earliest`` and ``latest`` are timestamps.
    """

    groups: Sequence[tuple[Group, int]]
    msec: int
    earliest: str
    latest: str


_MARK: Final = MARK.encode()
_END: Final = ROW_END.encode()
_CHUNK: Final = 64 * 2**10
_STAMP: Final = slice(len(',{"timestamp":"'), len(',{"timestamp":"2026-02-13T10:30:00.000Z'))


_decode: Final = msgspec.json.Decoder(Group).decode


class Tally:
    """Counts the rows of one answer while they pass, newest first."""

    def __init__(self) -> None:
        self.rows = 0
        self._groups: Counter[tuple[bytes, bytes]] = Counter()
        self._msec = 0
        self._newest = self._oldest = b""
        self._rest = b""

    def take(self, text: bytes) -> bytes:
        """The whole rows that ``text`` completes; the beginning of another is kept for later.

        Raises EngineError where it is not rows.
        """
        if self._rest:
            text = self._rest + text
        end = text.rfind(_END) + len(_END)
        if end < len(_END):
            self._rest = text
            return b""
        self._rest = text[end:]
        if self._rest:
            text = text[:end]
        start = 0
        while start < end:
            stop = end
            if end - start > _CHUNK:
                # Small pieces stay in the processor's cache; a row longer than one is taken whole.
                stop = text.rfind(_END, start, start + _CHUNK) + len(_END)
                if stop < start + len(_END):
                    stop = text.find(_END, start) + len(_END)
            self._count(text[start:stop])
            start = stop
        return text

    def end(self) -> None:
        """Raise EngineError where the last row is not whole: the answer was cut off."""
        if rest := self._rest.strip():
            raise EngineError(f"an answer broke off at: {rest[-500:].decode(errors='replace')}")

    def totals(self) -> Totals:
        """What was counted, once there is a row."""
        return Totals(
            groups=[
                (_decode(b"{" + head[1:] + b"0" + tail), count)
                for (head, tail), count in self._groups.items()
            ],
            msec=self._msec,
            earliest=self._oldest[_STAMP].decode(),
            latest=self._newest[_STAMP].decode(),
        )

    def _count(self, rows: bytes) -> None:
        pieces = rows.split(_MARK)
        own, head, msec, tail = pieces[::4], pieces[1::4], pieces[2::4], pieces[3::4]
        try:
            self._msec += sum(map(int, msec))
            self._groups.update(zip(head, tail, strict=True))
        except ValueError as error:
            raise EngineError(f"the engine returned a malformed row: {error}") from error
        self.rows += len(msec)
        self._oldest = own[-2].lstrip()
        self._newest = self._newest or own[0].lstrip()
