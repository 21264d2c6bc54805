"""Request bodies: read, decompressed and bounded on the way in (R1)."""

import contextlib
import gzip
import io
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

import zstandard

from genmeter.errors import (
    BadRequestError,
    QueueFullError,
    TooLargeError,
    UnsupportedMediaError,
)

MAX_BODY_BYTES: Final = 16 * 2**20
MEDIA_TYPES: Final = ("application/json", "application/x-ndjson")
CODINGS: Final = ("identity", "gzip", "zstd")

_MAX_ZSTD_WINDOW: Final = 8 * 2**20
# A zstd block of four bytes can stand for 128 KiB: this much input makes 8 MiB at the most.
_ZSTD_STEP: Final = 256


class Budget:
    """Bounds the bytes of all bodies that are in hand at one time."""

    def __init__(self, most: int = 4 * MAX_BODY_BYTES) -> None:
        self._most = most
        self._used = 0

    @contextlib.contextmanager
    def claim(self) -> Iterator[Callable[[int], None]]:
        """A function that takes so many more bytes, all given back at the end.

        It raises QueueFullError where there is no room for them.
        """
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if self._used + size > self._most:
                raise QueueFullError("too many large requests at one time; send it again later")
            self._used += size
            taken += size

        try:
            yield take
        finally:
            self._used -= taken


def is_lines(content_type: str) -> bool:
    """Whether a body of this type has a record a line; UnsupportedMediaError for other types."""
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type not in MEDIA_TYPES:
        given = f'"{media_type[:60]}"' if media_type else "missing"
        raise UnsupportedMediaError(
            f"Content-Type is {given}; it must be {' or '.join(MEDIA_TYPES)}"
        )
    return media_type == MEDIA_TYPES[1]


async def receive(
    stream: AsyncIterator[bytes], declared: str | None, take: Callable[[int], None]
) -> bytes:
    """The body as it was sent, claimed by ``take``. ``declared`` is its Content-Length."""
    if (
        declared is not None
        and declared.isascii()
        and declared.isdigit()
        and int(declared) > MAX_BODY_BYTES
    ):
        raise _too_large()
    chunks = []
    size = 0
    async for chunk in stream:
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise _too_large()
        take(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)


def decompress(body: bytes, coding: str) -> bytes:
    """The body without its content coding, no memory spent on more than may come out of it."""
    coding = coding.strip().lower() or "identity"
    if coding == "identity":
        return body
    try:
        if coding == "gzip":
            with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
                plain = file.read(MAX_BODY_BYTES + 1)
        elif coding == "zstd":
            plain = _unzstd(body)
        else:
            raise UnsupportedMediaError(
                f'Content-Encoding is "{coding[:60]}"; it must be one of {", ".join(CODINGS)}'
            )
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise BadRequestError(f"the body is not valid {coding}: {error}") from error
    if len(plain) > MAX_BODY_BYTES:
        raise _too_large()
    return plain


def _unzstd(body: bytes) -> bytes:
    """All frames of ``body``, stopping soon after the limit."""
    context = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW)
    frame = context.decompressobj()
    plain = bytearray()
    rest = memoryview(body)
    while rest:
        step, rest = rest[:_ZSTD_STEP], rest[_ZSTD_STEP:]
        plain += frame.decompress(step)
        if len(plain) > MAX_BODY_BYTES:
            raise _too_large()
        if frame.eof:
            rest = memoryview(body)[len(body) - len(rest) - len(frame.unused_data) :]
            if rest:
                frame = context.decompressobj()
    else:
        if not frame.eof:
            raise EOFError("it ends in the middle of a frame")
    return bytes(plain)


def _too_large() -> TooLargeError:
    return TooLargeError(
        f"the body is over {MAX_BODY_BYTES} bytes (16 MiB) after decompression; "
        "send it in several requests"
    )
