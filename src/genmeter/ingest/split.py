"""A body -> its records, one after the other. Pure.

Nothing is made of records that nobody has asked for yet, so who counts them can stop in time:
16 MiB can hold 8 million values, which would take 500 MB as a list.
"""

import io
import re
from collections.abc import Generator, Iterable, Iterator
from typing import Final, NoReturn

import msgspec

from genmeter.errors import BadRequestError, TooLargeError

WINDOW_BYTES: Final = 64 * 2**10
"""How much of an array is decoded at once."""

MAX_TOKENS: Final = 1_000_000
"""Most texts and brackets of a body that are looked at one by one, half a second's work."""

_decode_array: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_any: Final = msgspec.json.Decoder(msgspec.Raw).decode
_AFTER_OBJECT: Final = re.compile(rb"}\s+,")
# Possessive: neither memory nor time is spent on another reading.
_TEXT: Final = rb'"(?:[^"\\]++|\\.)*+"?'
_OUTSIDE: Final = re.compile(_TEXT + rb"|[\[\]{},]", re.DOTALL)
_INSIDE: Final = re.compile(_TEXT + rb"|[\[\]{}]", re.DOTALL)


def lines(body: bytes) -> Iterator[bytes]:
    """The records of an NDJSON body; blank lines are none."""
    return (line for line in io.BytesIO(body) if not line.isspace())


def document(body: bytes) -> Iterable[bytes | msgspec.Raw]:
    """The elements of a JSON array, or the one value that the body is.

    Raises BadRequestError where the body is not JSON, in a long one after its first elements.
    """
    start = len(body) - len(body.lstrip())
    try:
        if body[start : start + 1] != b"[":
            return (_decode_any(body),)
        if len(body) <= WINDOW_BYTES:
            return _decode_array(body)
    except ValueError as error:
        raise _not_json(error) from error
    except RecursionError as error:
        if body[start : start + 1] != b"[":
            raise _not_json(error) from error
    return _Array(body, start + 1).elements()


class _Array:
    """The elements of an array whose first may be at the offset ``first``.

    They are decoded in windows that end where an element does. Most elements are objects without
    others in them, so the last ``},`` of a window most likely ends one. If it does, what lies
    before it decodes; inside a text or an object it cannot.
    """

    def __init__(self, body: bytes, first: int) -> None:
        self._body = body
        self._first = first
        self._tokens_left = MAX_TOKENS

    def elements(self) -> Iterator[bytes | msgspec.Raw]:
        """Each element, as it was sent."""
        body = self._body
        start: int | None = self._first
        while start is not None and len(body) - start > WINDOW_BYTES:
            found = None
            if comma := self._last_comma(start):
                found = self._decoded(body[start:comma] + b"]")
            if found is None:
                start = yield from self._scan(start)
            else:
                yield from found
                start = comma + 1
        if start is None:
            return
        found = self._decoded(body[start:])
        if found is None:
            yield from self._scan(start)
        elif found or start == self._first:
            yield from found
        else:
            _refuse(body)  # a comma before the end

    def _last_comma(self, start: int) -> int:
        """Where the last comma behind an object is in the window from ``start``; 0 for nowhere."""
        end = start + WINDOW_BYTES
        brace = self._body.rfind(b"},", start, end)
        if brace >= 0:
            return brace + 1
        return max(
            (found.end() - 1 for found in _AFTER_OBJECT.finditer(self._body, start, end)), default=0
        )

    def _decoded(self, elements: bytes) -> list[msgspec.Raw] | None:
        try:
            return _decode_array(b"[" + elements)
        except (ValueError, RecursionError):
            return None

    def _scan(self, start: int) -> Generator[bytes, None, int | None]:
        """The elements of about one window, however they look; returns where the next one begins.

        None where there is none. Slower, but right for every text and any depth.
        """
        body = self._body
        depth = 0
        begin = at = start
        while found := (_INSIDE if depth else _OUTSIDE).search(body, at):
            at = found.end()
            token = found[0]
            self._tokens_left -= 1
            if self._tokens_left < 0:
                raise TooLargeError(
                    "the body holds too many nested values; a record is an object of texts and "
                    "numbers"
                )
            if token[0] == ord('"'):
                continue
            if token in b"[{":
                depth += 1
            elif token == b",":
                yield _checked(body, body[begin : at - 1])
                if at - start > WINDOW_BYTES:
                    return at
                begin = at
            elif depth:
                depth -= 1
            elif token == b"]" and not body[at:].strip():
                last = body[begin : at - 1]
                if last.strip() or begin > self._first:
                    yield _checked(body, last)
                return None
            else:
                break
        _refuse(body)


def _checked(body: bytes, element: bytes) -> bytes:
    try:
        _decode_any(element)
    except RecursionError:
        pass  # whether it is JSON is of no interest: no record is so deep
    except ValueError:
        _refuse(body)
    return element


def _refuse(body: bytes) -> NoReturn:
    """Raise BadRequestError with the place of the first fault in all of the body."""
    try:
        _decode_any(body)
    except (ValueError, RecursionError) as error:
        raise _not_json(error) from error
    raise AssertionError("the body is JSON after all")


def _not_json(error: Exception) -> BadRequestError:
    return BadRequestError(
        f"the body is not JSON: {error}; send an object, an array of objects, "
        "or one object a line as application/x-ndjson"
    )
