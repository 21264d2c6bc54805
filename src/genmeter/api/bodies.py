"""Request bodies: read, decompressed and bounded on the way in (R1).

Every route reads its body through one :class:`Bodies`, so all bodies share one budget, and none
larger than ``INLINE_BYTES`` is decompressed on the event loop.
"""

import asyncio
import contextlib
import functools
import gzip
import io
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

import zstandard
from starlette.requests import Request

from genmeter.errors import (
    BadRequestError,
    QueueFullError,
    TooLargeError,
    TooSlowError,
    UnsupportedMediaError,
)

MAX_BODY_BYTES: Final = 16 * 2**20
MEDIA_TYPES: Final = ("application/json", "application/x-ndjson")
CODINGS: Final = ("identity", "gzip", "zstd")

INLINE_BYTES: Final = 64 * 2**10
"""A body up to this size is worked on at once; a larger one on a thread, so that other requests go
on meanwhile."""

LEAST_RATE: Final = 64 * 2**10
"""Bytes a second that a long body must keep up with."""

MAX_QUERY_BYTES: Final = 64 * 2**10
"""Most bytes of a body that holds no records: a query, or a token to create."""

INLINE_QUERY_BYTES: Final = 4 * 2**10
"""A query up to this size is parsed at once; 64 KiB can take 10 ms."""

_MAX_ZSTD_WINDOW: Final = 8 * 2**20
# A zstd block of four bytes can stand for 128 KiB: this much input makes 8 MiB at the most.
_ZSTD_STEP: Final = 256
_ZSTD_INLINE_STEP: Final = 16

P = ParamSpec("P")
T = TypeVar("T")

_THREADS: Final = ThreadPoolExecutor(2, "bodies")
"""Theirs alone, so that no query keeps records waiting."""


class Budget:
    """Bounds the bytes of all bodies that are in hand at one time, and those of one account."""

    def __init__(self, most: int = 4 * MAX_BODY_BYTES, most_of_one: int | None = None) -> None:
        self._most = most
        self._most_of_one = most // 2 if most_of_one is None else most_of_one
        self._used = 0
        self._used_by: dict[str, int] = {}

    @contextlib.contextmanager
    def claim(self, account: str) -> Iterator[Callable[[int], None]]:
        """A function that takes so many more bytes for ``account``, all given back at the end.

        It raises QueueFullError where there is no room for them.
        """
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            used = self._used_by.get(account, 0) + size
            if self._used + size > self._most:
                raise QueueFullError("too many large requests at one time; send it again later")
            if used > self._most_of_one:
                raise QueueFullError(
                    "too many large requests of this account at one time; send it again later"
                )
            self._used += size
            self._used_by[account] = used
            taken += size

        try:
            yield take
        finally:
            self._used -= taken
            left = self._used_by.get(account, 0) - taken
            if left:
                self._used_by[account] = left
            else:
                self._used_by.pop(account, None)


class Bodies:
    """Reads the bodies of all routes within one budget.

    A body may take ``seconds``, and one more for each ``LEAST_RATE`` bytes of it.
    """

    def __init__(self, seconds: float = 20) -> None:
        self._budget = Budget()
        self._seconds = seconds

    @contextlib.asynccontextmanager
    async def read(
        self, request: Request, account: str, most: int = MAX_BODY_BYTES
    ) -> AsyncIterator[bytes]:
        """The plain body of ``request``, at most ``most`` bytes; claimed until the block ends.

        Raises TooLargeError, TooSlowError, QueueFullError where no room is left for it,
        BadRequestError or UnsupportedMediaError where its content coding cannot be undone.
        """
        with self._budget.claim(account) as take:
            declared = request.headers.get("content-length")
            body = await receive(request.stream(), declared, take, most, seconds=self._seconds)
            plain = await _plain(body, request.headers.get("content-encoding", ""), most)
            take(max(0, len(plain) - len(body)))
            del body
            yield plain


async def _plain(body: bytes, coding: str, most: int) -> bytes:
    """The body without its content coding, on a thread where that makes much of it."""
    if len(body) <= INLINE_BYTES:
        try:
            return decompress(body, coding, min(most, INLINE_BYTES))
        except TooLargeError:
            if most <= INLINE_BYTES:
                raise
    return await _on_a_thread(decompress, body, coding, most)


async def aside(long: bool, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of ``function``, on a thread if it takes ``long``."""
    if long:
        return await _on_a_thread(function, *args, **kwargs)
    return function(*args, **kwargs)


async def _on_a_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    loop = asyncio.get_running_loop()
    return await loop.run_in_executor(_THREADS, functools.partial(function, *args, **kwargs))


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
    stream: AsyncIterator[bytes],
    declared: str | None,
    take: Callable[[int], None],
    most: int = MAX_BODY_BYTES,
    *,
    seconds: float,
) -> bytes:
    """The body as it was sent, claimed by ``take``. ``declared`` is its Content-Length.

    Raises TooSlowError where it takes ``seconds`` and one more for each ``LEAST_RATE`` bytes.
    """
    if declared is not None and declared.isascii() and declared.isdigit() and int(declared) > most:
        raise _too_large(most)
    chunks = []
    size = 0
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(seconds) as limit:
            async for chunk in stream:
                size += len(chunk)
                if size > most:
                    raise _too_large(most)
                take(len(chunk))
                chunks.append(chunk)
                if size > LEAST_RATE:
                    limit.reschedule(began + seconds + size / LEAST_RATE)
    except TimeoutError as error:
        raise TooSlowError(
            f"the body is too slow; it may take {seconds:g} seconds, and one more for each "
            f"{LEAST_RATE} bytes"
        ) from error
    return b"".join(chunks)


def decompress(body: bytes, coding: str, most: int = MAX_BODY_BYTES) -> bytes:
    """The body without its content coding, no memory spent on more than may come out of it."""
    coding = coding.strip().lower() or "identity"
    if coding == "identity":
        if len(body) > most:
            raise _too_large(most)
        return body
    try:
        if coding == "gzip":
            with gzip.GzipFile(fileobj=io.BytesIO(body)) as file:
                plain = file.read(most + 1)
        elif coding == "zstd":
            plain = _unzstd(body, most)
        else:
            raise UnsupportedMediaError(
                f'Content-Encoding is "{coding[:60]}"; it must be one of {", ".join(CODINGS)}'
            )
    except (OSError, EOFError, zlib.error, zstandard.ZstdError) as error:
        raise BadRequestError(f"the body is not valid {coding}: {error}") from error
    if len(plain) > most:
        raise _too_large(most)
    return plain


def _unzstd(body: bytes, most: int) -> bytes:
    """All frames of ``body``, stopping soon after the limit."""
    context = zstandard.ZstdDecompressor(max_window_size=_MAX_ZSTD_WINDOW)
    frame = context.decompressobj()
    plain = bytearray()
    rest = memoryview(body)
    size = _ZSTD_STEP if most > INLINE_BYTES else _ZSTD_INLINE_STEP
    while rest:
        step, rest = rest[:size], rest[size:]
        plain += frame.decompress(step)
        if len(plain) > most:
            raise _too_large(most)
        if frame.eof:
            rest = memoryview(body)[len(body) - len(rest) - len(frame.unused_data) :]
            if rest:
                frame = context.decompressobj()
    else:
        if not frame.eof:
            raise EOFError("it ends in the middle of a frame")
    return bytes(plain)


def _too_large(most: int) -> TooLargeError:
    if most == MAX_BODY_BYTES:
        return TooLargeError(
            f"the body is over {MAX_BODY_BYTES} bytes (16 MiB) after decompression; "
            "send it in several requests"
        )
    return TooLargeError(f"the body is over {most} bytes after decompression")
