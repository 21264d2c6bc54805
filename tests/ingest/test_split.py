"""A body taken apart as any JSON reader would, whatever lies at the borders of its windows."""

import contextlib
import itertools
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genmeter.errors import BadRequestError, TooLargeError
from genmeter.ingest import split
from genmeter.ingest.decode import Admission, decode

NOW = 1_770_978_600_000
ADMISSION = Admission(account="acme", any_account=False, now_ms=NOW, oldest_ms=0, most=50)

values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('},{[]"\\:a é\n', max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text('},"\\a', max_size=4), inner, max_size=4)
    ),
    max_leaves=8,
)


def parts(body: bytes) -> list[Any]:
    return [msgspec.json.decode(part) for part in split.document(body)]


@pytest.fixture(autouse=True, scope="module")
def small_windows() -> Any:
    """Windows of some bytes, so that each body has many borders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(split, "WINDOW_BYTES", 24)
        yield


@given(found=st.lists(values, max_size=12), indent=st.sampled_from([None, 0, 1]))
@settings(max_examples=400, deadline=None)
def test_an_array_is_its_elements(found: list[Any], indent: int | None) -> None:
    compact = (",", ":") if indent is None else None
    body = json.dumps(found, indent=indent, separators=compact).encode()
    assert parts(body) == found
    assert parts(b" \n" + body + b" \t") == found


@given(
    found=st.lists(values, min_size=1, max_size=8),
    place=st.integers(0, 10**6),
    new=st.sampled_from([b"", b",", b"]", b"}", b"{", b'"', b"\\", b"[", b"x", b" "]),
    cut=st.booleans(),
)
@settings(max_examples=800, deadline=None)
def test_what_is_not_json_is_refused_and_nothing_else(
    found: list[Any], place: int, new: bytes, cut: bool
) -> None:
    body = json.dumps(found).encode()
    place %= len(body) + 1
    body = body[:place] + new + (b"" if cut else body[place + (place % 2) :])
    expected: Any = None
    with contextlib.suppress(msgspec.DecodeError):
        expected = [msgspec.json.decode(body)]
    if expected is None:
        with pytest.raises(BadRequestError, match=r"not JSON: .*(byte \d|truncated)"):
            parts(body)
    else:
        assert parts(body) == (expected[0] if body.lstrip()[:1] == b"[" else expected)


@pytest.mark.parametrize("deep", [b"[" * 5000 + b"]" * 5000, b'{"a":' * 5000 + b"1" + b"}" * 5000])
def test_r4_one_element_of_any_depth_is_one_rejection(deep: bytes) -> None:
    good = json.dumps({"bot": "luma", "config": "c", "endpoint": "e", "code": 1, "msec": 2})
    body = b"[" + b",".join([good.encode(), deep, good.encode()]) + b"]"
    lines = body[1:-1].replace(b"," + deep + b",", b"\n" + deep + b"\n")
    for sent, as_lines in ((body, False), (lines, True)):
        found = decode(sent, lines=as_lines, admission=ADMISSION, new_jobid=lambda *_: "id")
        assert len(found.rows) == 2
        (rejection,) = found.rejected
        assert rejection.index == 1
        assert "nested too deeply" in rejection.error


@pytest.mark.parametrize("element", [b"1", b"{}", b"[]", b'"},{"', b'{"bot":"luma"}', b"[[],[]]"])
def test_no_more_records_are_read_than_may_be_sent(
    element: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = itertools.count()
    original = split.document
    monkeypatch.setattr(
        split, "document", lambda body: ((next(made), e)[1] for e in original(body))
    )
    for number, lines in itertools.product((49, 50, 51, 99_999), (False, True)):
        elements = [element] * number
        body = b"\n\n".join(elements) if lines else b"[" + b",".join(elements) + b"]"
        if number <= 50:
            found = decode(body, lines=lines, admission=ADMISSION, new_jobid=lambda *_: "id")
            assert found.rejected_total == number
        else:
            with pytest.raises(TooLargeError, match="more than 50 records") as caught:
                decode(body, lines=lines, admission=ADMISSION, new_jobid=lambda *_: "id")
            assert caught.value.status == 413
    assert next(made) == 49 + 50 + 51 + 51


def test_blank_lines_are_no_records() -> None:
    assert list(split.lines(b"\n \n1\n\r\n2 \n\n")) == [b"1\n", b"2 \n"]
