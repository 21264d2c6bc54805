"""Request bodies: read, decompressed and bounded (R1)."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from genmeter.api.bodies import LEAST_RATE, MAX_BODY_BYTES, Budget, decompress, is_lines, receive
from genmeter.errors import (
    BadRequestError,
    GenmeterError,
    QueueFullError,
    TooLargeError,
    TooSlowError,
    UnsupportedMediaError,
)

MIB: Final = 2**20
PACK: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": lambda plain: gzip.compress(plain, 1, mtime=0),
    "zstd": lambda plain: bytes(zstandard.ZstdCompressor(write_checksum=True).compress(plain)),
}
both = pytest.mark.parametrize("coding", ["gzip", "zstd"])


def refuses(body: bytes, coding: str) -> str:
    with pytest.raises(BadRequestError) as caught:
        decompress(body, coding)
    return str(caught.value)


def test_r1_the_limit_is_16_mib() -> None:
    assert MAX_BODY_BYTES == 16 * MIB


@pytest.mark.parametrize(
    ("content_type", "lines"),
    [
        ("application/json", False),
        ("application/json; charset=utf-8", False),
        ("Application/JSON ;charset=utf-8", False),
        ("application/x-ndjson", True),
        (" application/x-ndjson;x=y", True),
    ],
)
def test_r1_json_and_ndjson_are_taken(content_type: str, lines: bool) -> None:
    assert is_lines(content_type) is lines


@pytest.mark.parametrize("content_type", ["", ";", "text/plain", "application/jsonx", "x" * 9999])
def test_r1_other_types_are_refused_and_the_allowed_ones_named(content_type: str) -> None:
    with pytest.raises(UnsupportedMediaError) as caught:
        is_lines(content_type)
    assert caught.value.status == 415
    assert "it must be application/json or application/x-ndjson" in str(caught.value)
    assert len(str(caught.value)) < 200


class Stream:
    """Chunks of a body; ``left`` are those nobody asked for."""

    def __init__(self, *chunks: bytes) -> None:
        self.left = list(chunks)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self.left:
            yield self.left.pop(0)


def received(stream: Stream, declared: str | None = None, budget: Budget | None = None) -> bytes:
    with (budget or Budget()).claim("acme") as take:
        return asyncio.run(receive(aiter(stream), declared, take, seconds=20))


def test_r1_a_body_is_all_of_its_chunks() -> None:
    assert received(Stream(b"ab", b"", b"c")) == b"abc"
    assert received(Stream(b"ab", b"c"), "3") == b"abc"
    assert received(Stream()) == b""


def test_r1_a_body_of_the_limit_passes_and_one_byte_more_is_413() -> None:
    half = bytes(8 * MIB)
    assert len(received(Stream(half, half), str(16 * MIB))) == 16 * MIB
    rest = Stream(half, half, b"x", b"never asked for")
    with pytest.raises(TooLargeError) as caught:
        received(rest)
    assert caught.value.status == 413
    assert rest.left == [b"never asked for"]


@pytest.mark.parametrize("declared", [str(16 * MIB + 1), "9" * 30])
def test_r1_a_body_declared_too_long_is_refused_unread(declared: str) -> None:
    stream = Stream(b"x")
    with pytest.raises(TooLargeError):
        received(stream, declared)
    assert stream.left == [b"x"]


@pytest.mark.parametrize("declared", ["", "-1", "many", "0", "1", "1.5", "\xb2"])
def test_r1_only_what_comes_counts_not_what_was_declared(declared: str) -> None:
    assert received(Stream(b"abc"), declared) == b"abc"


def test_r1_bytes_are_claimed_before_they_are_kept() -> None:
    budget = Budget(5, 5)
    with pytest.raises(QueueFullError):
        received(Stream(b"abc", b"def"), budget=budget)
    assert received(Stream(b"ab", b"cde"), budget=budget) == b"abcde"


def test_r7_a_budget_has_its_bytes_back_after_each_claim() -> None:
    budget = Budget(10, 10)
    with budget.claim("acme") as first:
        first(4)
        with budget.claim("acme") as second:
            second(6)
            second(0)
            with pytest.raises(QueueFullError) as caught:
                first(1)
            assert (caught.value.status, caught.value.retry_after) == (503, 1)
        first(6)
        with budget.claim("acme") as third, pytest.raises(QueueFullError):
            third(1)
    failed = budget.claim("acme")
    failed.__enter__()(10)
    assert failed.__exit__(ValueError, None, None) is not True
    with budget.claim("acme") as last:
        last(10)


def test_one_account_never_holds_more_than_half_of_the_budget() -> None:
    budget = Budget(10)
    with budget.claim("acme") as mine, budget.claim("acme") as more:
        mine(3)
        more(2)
        with pytest.raises(QueueFullError, match="of this account"):
            more(1)
        with budget.claim("other") as theirs, budget.claim("third") as third:
            theirs(5)
            with pytest.raises(QueueFullError, match="too many large requests at one time"):
                third(1)
    with budget.claim("acme") as last:
        last(5)


def test_a_body_has_its_seconds_and_one_more_for_each_64_kib() -> None:
    async def trickle(*chunks: bytes) -> AsyncIterator[bytes]:
        for chunk in chunks:
            await asyncio.sleep(0.15)
            yield chunk

    async def read(*chunks: bytes, seconds: float) -> bytes:
        return await receive(trickle(*chunks), None, lambda _: None, seconds=seconds)

    assert asyncio.run(read(b"ab", b"c", seconds=5)) == b"abc"
    with pytest.raises(TooSlowError, match=r"it may take 0\.2 seconds") as caught:
        asyncio.run(read(b"ab", b"c", seconds=0.2))
    assert caught.value.status == 408
    large = bytes(2 * LEAST_RATE)
    assert asyncio.run(read(large, b"c", b"d", seconds=0.2)) == large + b"cd"


@pytest.mark.parametrize("coding", ["", "identity", "Identity", " identity "])
def test_r1_a_body_without_a_coding_is_left_as_it_is(coding: str) -> None:
    body = b"\x1f\x8b not gzip"
    assert decompress(body, coding) == body


@pytest.mark.parametrize(
    "coding", ["br", "deflate", "x-gzip", "gzip, gzip", "gzip,zstd", "*", "gzip;q=1", "x" * 9999]
)
def test_r1_other_codings_are_415_and_the_allowed_ones_named(coding: str) -> None:
    with pytest.raises(
        UnsupportedMediaError, match="must be one of identity, gzip, zstd"
    ) as caught:
        decompress(gzip.compress(b"{}"), coding)
    assert caught.value.status == 415
    assert len(str(caught.value)) < 200


@both
@given(parts=st.lists(st.binary(max_size=2000), min_size=1, max_size=8), times=st.integers(1, 300))
@settings(max_examples=60, deadline=None)
def test_r1_any_number_of_members_or_frames_is_one_body(
    coding: str, parts: list[bytes], times: int
) -> None:
    plain = [part * times for part in parts]
    body = b"".join(PACK[coding](part) for part in plain)
    assert decompress(body, coding) == b"".join(plain)
    assert decompress(body, f" {coding.upper()} ") == b"".join(plain)


def test_r1_zstd_frames_of_every_kind_are_read() -> None:
    plain = bytes(range(256)) * 2000
    whole = zstandard.ZstdCompressor(level=19, write_content_size=True).compress(plain)
    unsized = zstandard.ZstdCompressor(write_content_size=False, write_checksum=False).compress(
        plain
    )
    skipped = b"\x50\x2a\x4d\x18" + (300).to_bytes(4, "little") + bytes(300)
    assert decompress(whole + skipped + unsized + skipped, "zstd") == plain * 2


def test_r1_gzip_may_be_padded_with_zeros() -> None:
    assert decompress(gzip.compress(b"ab") + bytes(20) + gzip.compress(b"c"), "gzip") == b"abc"


@both
def test_r1_a_body_cut_off_anywhere_is_a_bad_request(coding: str) -> None:
    first, second = (PACK[coding](bytes(range(256)) * 3 + end) for end in (b"a", b"b"))
    body = first + second
    for length in range(1, len(body)):
        if length != len(first):
            assert refuses(body[:length], coding).startswith(f"the body is not valid {coding}: ")


@both
def test_r1_a_corrupt_body_is_a_bad_request(coding: str) -> None:
    body = PACK[coding](bytes(range(256)) * 3)
    checksum = 4 if coding == "zstd" else 8
    for place in [*range(2), *range(len(body) - checksum, len(body))]:
        refuses(body[:place] + bytes([body[place] ^ 0x55]) + body[place + 1 :], coding)
    for other in (
        body + b"x",
        b"{}",
        b"[" * 1000,
        PACK["zstd" if coding == "gzip" else "gzip"](b""),
    ):
        refuses(other, coding)


@both
@given(noise=st.binary(max_size=200), place=st.integers(0, 300), keep=st.booleans())
@settings(max_examples=300, deadline=None)
def test_r1_no_bytes_make_it_fail_otherwise(
    coding: str, noise: bytes, place: int, keep: bool
) -> None:
    body = PACK[coding](b"some text " * 30)
    body = body[:place] + noise + (body[place:] if keep else body[place + len(noise) :])
    try:
        plain = decompress(body, coding)
    except (BadRequestError, TooLargeError):
        return
    assert len(plain) <= MAX_BODY_BYTES


@both
@pytest.mark.parametrize("parts", [1, 16])
def test_r1_16_mib_pass_after_decompression_and_one_byte_more_is_413(
    coding: str, parts: int
) -> None:
    plain = bytes(range(256)) * (16 * MIB // 256 // parts)
    body = PACK[coding](plain) * parts
    assert decompress(body, coding) == plain * parts
    with pytest.raises(TooLargeError) as caught:
        decompress(body + PACK[coding](b"x"), coding)
    assert caught.value.status == 413
    if parts == 1:
        with pytest.raises(TooLargeError):
            decompress(PACK[coding](plain + b"x"), coding)


def bombs(coding: str) -> list[bytes]:
    """Bodies that stand for 256 MiB and more, in one piece and in many."""
    zeros = bytes(MIB)
    if coding == "gzip":
        packer = zlib.compressobj(1, wbits=31)
        one = b"".join(packer.compress(zeros) for _ in range(256)) + packer.flush()
    else:
        frame = zstandard.ZstdCompressor(level=1).compressobj()
        one = b"".join(frame.compress(zeros) for _ in range(1024)) + frame.flush()
    return [one, PACK[coding](zeros) * 256, PACK[coding](bytes(24 * MIB)) * 11]


@both
def test_r1_a_bomb_costs_no_more_than_a_few_bodies_of_the_limit(coding: str) -> None:
    for bomb in bombs(coding):
        tracemalloc.start()
        try:
            with pytest.raises(TooLargeError):
                decompress(bomb, coding)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak <= 3 * MAX_BODY_BYTES + len(bomb)


def test_r1_a_zstd_bomb_is_given_up_soon_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Counted:
        """A frame's decompressor that notes how much it makes."""

        def __init__(self, frame: Any) -> None:
            self.frame = frame

        def decompress(self, data: bytes) -> bytes:
            plain: bytes = self.frame.decompress(data)
            made.append(len(plain))
            return plain

        def __getattr__(self, name: str) -> Any:
            return getattr(self.frame, name)

    real = zstandard.ZstdDecompressor  # wrapped, not derived from: derived ones crash the collector

    class Decompressor:
        def __init__(self, **parameters: Any) -> None:
            self.context = real(**parameters)

        def decompressobj(self) -> Counted:
            return Counted(self.context.decompressobj())

    monkeypatch.setattr("genmeter.api.bodies.zstandard.ZstdDecompressor", Decompressor)
    for bomb in bombs("zstd"):
        made.clear()
        with pytest.raises(TooLargeError):
            decompress(bomb, "zstd")
        assert MAX_BODY_BYTES < sum(made) <= MAX_BODY_BYTES + 10 * MIB


def test_r1_a_gzip_bomb_is_given_up_soon_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Counted(gzip.GzipFile):
        def read(self, size: int | None = -1) -> bytes:
            plain = super().read(size)
            made.append(len(plain))
            return plain

    monkeypatch.setattr("genmeter.api.bodies.gzip.GzipFile", Counted)
    for bomb in bombs("gzip"):
        made.clear()
        with pytest.raises(TooLargeError):
            decompress(bomb, "gzip")
        assert MAX_BODY_BYTES < sum(made) <= MAX_BODY_BYTES + 10 * MIB


def test_r1_a_zstd_window_over_8_mib_is_refused() -> None:
    """RFC 9659 forbids it; it would cost its size before the first byte."""
    parameters = zstandard.ZstdCompressionParameters(window_log=24, enable_ldm=False)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    refuses(frame.compress(b"x" * 100) + frame.flush(), "zstd")
    parameters = zstandard.ZstdCompressionParameters(window_log=23)
    frame = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert decompress(frame.compress(b"x" * 100) + frame.flush(), "zstd") == b"x" * 100


def test_every_refusal_is_an_error_of_the_service() -> None:
    for kind in (BadRequestError, TooLargeError, UnsupportedMediaError, QueueFullError):
        assert issubclass(kind, GenmeterError)
