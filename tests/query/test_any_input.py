"""Any input of a parser gives a result or one of the service's errors, never another exception.

Records and content codings: ``tests/ingest/test_decode.py``, ``tests/api/test_bodies.py``.
"""

import json
import re
import zlib
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from genmeter.errors import GenmeterError, StartError
from genmeter.execution.feed import parse_event_id
from genmeter.query import aggregation, listing, selection, stats
from genmeter.query.parameters import Parameters
from genmeter.query.selection import DIMENSIONS, Asking
from genmeter.storage.manifest import Manifest
from tests.support import NOON_MS

MOST_ERROR_CHARS: Final = 100_000
"""An error may repeat 200 values of a parameter, each with what is allowed, and no more."""

ASKING: Final = [
    Asking(account="acme", any_account=admin, now_ms=NOON_MS, most_days=400, cursor_key=b"k" * 32)
    for admin in (False, True)
]

NAMES: Final = st.sampled_from([
    *DIMENSIONS, *(name + "!" for name in DIMENSIONS), "from", "to", "last", "timezone", "limit",
    "min_msec", "max_msec", "metrics", "group_by", "interval", "order", "top", "compare", "cursor",
    "date", "format", "", "?", "\0",
])  # fmt: skip

# Texts that some parser takes, and those next to them.
NEAR: Final = st.sampled_from([
    "all", "kling", "2026-02-12", "2026-02-30", "0000-01-01", "9999-12-31", "2026-02-12T00:00Z",
    "2026-02-12T24:00:00+99:99", "1,5", "24h", "9999999w", "Europe/Berlin", "../UTC", "2xx", "999",
    "p99.99", "p0", "-jobs", "start", "1mo", "auto", "previous", "newest", "(empty)", "\\", "*",
    "٣", "1_000", "+1", " 1", "1e5", "NaN", "9" * 5000, "a" * 5000, ",", "team-*", "\ud800",
])  # fmt: skip
TEXTS: Final = st.one_of(
    NEAR, st.text(max_size=20), st.text("0123456789-:TZ+.mhdw*\\,", max_size=30)
)
SCALARS: Final = st.one_of(TEXTS, st.integers(), st.floats(), st.booleans(), st.none())
VALUES: Final = st.one_of(SCALARS, st.lists(SCALARS, max_size=4), st.dictionaries(TEXTS, SCALARS))

Parser = Callable[[Parameters, Asking], Any]


def aggregate(given_: Parameters, asking: Asking) -> dict[str, object]:
    """What ``/query`` does with parameters before it asks the engine."""
    wanted = aggregation.parse(given_, asking, most_groups=1000)
    given_.end()
    assert len(wanted.edges) <= 1000 + 2
    if wanted.previous:
        assert len(wanted.of_previous().edges) <= 1000 * 2
    return wanted.echo()


def rows(given_: Parameters, asking: Asking) -> dict[str, object]:
    """What ``/rows`` does."""
    wanted = listing.parse(given_, asking)
    given_.end()
    return wanted.echo()


def meta(given_: Parameters, asking: Asking) -> dict[str, object]:
    """What ``/meta`` does."""
    chosen = selection.everything(given_, asking)
    given_.end()
    return chosen.echo()


def told(error: GenmeterError) -> None:
    """An error is one that a client may read, and of bounded length."""
    assert 400 <= error.status < 500
    assert 0 < len(str(error)) < MOST_ERROR_CHARS


@pytest.mark.parametrize("parser", [aggregate, rows, meta])
@given(pairs=st.lists(st.tuples(st.one_of(NAMES, TEXTS), TEXTS), max_size=6))
@settings(max_examples=300, deadline=None)
def test_any_address_is_a_query_or_a_refusal(parser: Parser, pairs: list[tuple[str, str]]) -> None:
    for asking in ASKING:
        try:
            shown = parser(Parameters.of_address(pairs), asking)
        except GenmeterError as error:
            told(error)
        else:
            # A token sees its own account, whatever it sends (C23).
            assert asking.any_account or shown["account"] == ["acme"]


@pytest.mark.parametrize("parser", [aggregate, rows, meta])
@given(document=st.dictionaries(st.one_of(NAMES, TEXTS), VALUES, max_size=5))
@settings(max_examples=300, deadline=None)
@example(document={"limit": 10**4000})
@example(document={"last": [1e308, -0.0]})
def test_any_document_is_a_query_or_a_refusal(parser: Parser, document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    for asking in ASKING:
        try:
            shown = parser(Parameters.of_json(body), asking)
        except GenmeterError as error:
            told(error)
        else:
            assert asking.any_account or shown["account"] == ["acme"]


@given(body=st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_parameters_or_a_refusal(body: bytes) -> None:
    for content in (body, b'{"' + body + b'":1}', b'{"bot":' + body + b"}"):
        try:
            Parameters.of_json(content)
        except GenmeterError as error:
            told(error)


@given(pairs=st.lists(st.tuples(NAMES, TEXTS), max_size=6), admin=st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_address_is_a_query_of_the_contract_or_a_refusal(
    pairs: list[tuple[str, str]], admin: bool
) -> None:
    try:
        query = stats.parse(pairs, account="acme", any_account=admin, now_ms=NOON_MS)
    except GenmeterError as error:
        told(error)
    else:
        assert admin or query.account == "acme"
        assert (query.date is None) != (query.limit is None)


@given(text=st.one_of(st.text(), st.from_regex(r"[0-9]{1,30}-[0-9]{1,30}", fullmatch=True)))
@settings(max_examples=300, deadline=None)
@example("9" * 5000 + "-0")
@example("18446744073709551616-0")
@example("٣-٣")
def test_any_event_id_is_a_place_or_a_refusal(text: str) -> None:
    try:
        place = parse_event_id(text)
    except GenmeterError as error:
        told(error)
    else:
        assert 0 <= min(place) <= max(place) < 2**64


def checked(text: bytes) -> bytes:
    """A line of a manifest whose checksum is right."""
    return b"%08x %b" % (zlib.crc32(text), text)


SCALAR: Final = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.text(max_size=5)
)
JSON: Final = st.one_of(SCALAR, st.lists(SCALAR, max_size=5), st.dictionaries(st.just("a"), SCALAR))
EVENT: Final = st.tuples(
    st.sampled_from(["part", "dropped", "damaged", "clock", "?"]),
    st.one_of(st.sampled_from(["202602_1_1_0", "202602_1_1_0\n", "202602_٣_3_0"]), JSON),
    JSON,
)
LINES: Final = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.binary(max_size=20).map(checked),
        JSON.map(msgspec.json.encode).map(checked),
        EVENT.map(msgspec.json.encode).map(checked),
    ),
    max_size=5,
)


@given(lines=LINES, anew=st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_manifest_is_read_or_one_clear_line(
    tmp_path_factory: pytest.TempPathFactory, lines: Sequence[bytes], anew: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "manifest"
    path.write_bytes(b"\n".join(lines))
    try:
        manifest = Manifest.opened(path, anew=anew)
    except StartError as error:
        assert not anew
        told_in_one_line = re.fullmatch(r".* is damaged in line \d+, .*", str(error))
        assert told_in_one_line
    else:
        assert all(part.place and part.rows >= 0 for part in manifest.parts.values())
