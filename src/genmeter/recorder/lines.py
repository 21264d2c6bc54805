"""NDJSON as it is being written: which lines of a block are whole. Pure."""

from typing import Any, Final

import msgspec

WINDOW_BYTES: Final = 2**20
"""How much of a file is read at once. A longer line is read in pieces, which the server rejects."""


class Batch(msgspec.Struct, frozen=True):
    """Lines to send; ``place`` is what the store that they are from needs to acknowledge them."""

    lines: list[bytes]
    place: Any = None


_decode_object: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def whole(block: bytes) -> int:
    """How many bytes of ``block`` are whole lines.

    A last line without its line feed is whole if it is a JSON object, since no prefix of an
    object is one. A block as long as the window with no line feed counts as one line.
    """
    end = block.rfind(b"\n") + 1
    if end == len(block) or is_object(block[end:]):
        return len(block)
    if not end and len(block) >= WINDOW_BYTES:
        return len(block)
    return end


def is_object(line: bytes) -> bool:
    """Whether ``line`` is a JSON object."""
    return members(line) is not None


def members(line: bytes) -> dict[str, msgspec.Raw] | None:
    """The members of a JSON object as they are written, None where ``line`` is none."""
    try:
        return _decode_object(line)
    except (ValueError, RecursionError):
        return None


def taken(block: bytes, most: int) -> tuple[list[tuple[int, bytes]], int]:
    """The first ``most`` whole lines of a block that are not blank, each with its offset.

    Also how many bytes these and the blank lines among them are.
    """
    end = whole(block)
    lines: list[tuple[int, bytes]] = []
    at = 0
    while at < end and len(lines) < most:
        feed = block.find(b"\n", at, end)
        stop = end if feed < 0 else feed
        line = block[at:stop]
        if line.strip():
            lines.append((at, line))
        at = stop + 1
    return lines, min(at, end)
