"""What a client asks with: names and their values, from an address or a JSON object. Pure.

A query with several faults is told all of them at once, so reading a parameter never raises:
what is wrong is noted, and :meth:`Parameters.end` raises when everything has been read.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

import msgspec

from genmeter.errors import BadRequestError

T = TypeVar("T")

MAX_VALUES: Final = 200
"""How many values one parameter may have."""

_ESCAPE: Final = "\\"
_SHOWN: Final = 60


class Parameters:
    """The values of each parameter, those left out that are empty (as C6 has it)."""

    def __init__(self, values: dict[str, list[str]], faults: Iterable[str] = ()) -> None:
        self._values = values
        self._known: list[str] = []
        self.faults = list(faults)

    @classmethod
    def of_address(cls, pairs: Iterable[tuple[str, str]]) -> "Parameters":
        """From decoded names and values; a comma separates values unless a ``\\`` is before it."""
        values: dict[str, list[str]] = {}
        for name, text in pairs:
            values.setdefault(name, []).extend(filter(None, split(text)))
        return cls({name: found for name, found in values.items() if found})

    @classmethod
    def of_json(cls, body: bytes) -> "Parameters":
        """From an object whose values are texts, numbers, or arrays of them.

        Raises BadRequestError where the body is no JSON object.
        """
        try:
            document = msgspec.json.decode(body)
        except (ValueError, RecursionError) as error:
            raise BadRequestError(f"the body is not JSON: {error}; send one object") from error
        if not isinstance(document, dict):
            raise BadRequestError("the body must be a JSON object of parameters and their values")
        values: dict[str, list[str]] = {}
        faults = []
        for name, value in document.items():
            given = value if isinstance(value, list) else [value]
            texts = [_text(one) for one in given if one is not None and one != ""]
            if None in texts:
                faults.append(f"{name} must be a text, a number, or an array of them")
            elif texts:
                values[name] = [text for text in texts if text is not None]
        return cls(values, faults)

    def all(self, name: str) -> list[str]:
        """All values of ``name``, each once, in their order."""
        self._known.append(name)
        values = list(dict.fromkeys(self._values.get(name, ())))
        if len(values) > MAX_VALUES:
            self.faults.append(f"{name} has {len(values)} values, at most {MAX_VALUES} are allowed")
            return []
        return values

    def one(self, name: str) -> str | None:
        """The one value of ``name``, or None."""
        self._known.append(name)
        values = self._values.get(name, [])
        if len(values) > 1:
            self.faults.append(f"{name} is given {len(values)} values, give it one")
            return None
        return values[0] if values else None

    def read(self, name: str, read: Callable[[str], T]) -> T | None:
        """The value of ``name`` as ``read`` has it, which raises ValueError saying what it may be.

        None where there is none, or a fault was noted.
        """
        text = self.one(name)
        if text is None:
            return None
        try:
            return read(text)
        except ValueError as error:
            self.faults.append(f"{name} must be {error}, not {quoted(text)}")
            return None

    def end(self) -> None:
        """Raise BadRequestError with all faults, unknown parameters among them."""
        unknown = [name for name in self._values if name not in self._known]
        if unknown:
            named = ", ".join(quoted(name) for name in unknown[:5])
            more = f" and {len(unknown) - 5} more" if unknown[5:] else ""
            known = ", ".join(dict.fromkeys(self._known))
            self.faults.append(f"unknown parameter {named}{more}: there are {known}")
        if self.faults:
            raise BadRequestError(*self.faults)


def split(text: str) -> Iterator[str]:
    """The values between commas; one after a ``\\`` separates none. Escapes stay as they are."""
    value = ""
    chars = iter(text)
    for char in chars:
        if char == ",":
            yield value
            value = ""
        elif char == _ESCAPE:
            value += char + next(chars, "")
        else:
            value += char
    yield value


def quoted(text: str) -> str:
    """``text`` for a message, cut where it is long."""
    return f'"{text if len(text) <= _SHOWN else text[:_SHOWN] + "…"}"'


def _text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return None
