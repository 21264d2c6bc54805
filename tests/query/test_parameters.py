"""Parameters from addresses and JSON, their patterns, and all faults together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genmeter.errors import BadRequestError
from genmeter.query.parameters import Parameters, split
from genmeter.query.selection import Pattern, _spelled, unescaped

TEXTS = st.text(st.sampled_from("ab,*\\()empty é"), max_size=12)


def test_values_are_repeated_or_between_commas_and_empty_ones_are_none() -> None:
    given_ = Parameters.of_address([("a", "1,2"), ("a", "3"), ("a", ""), ("b", ""), ("a", "1")])
    assert given_.all("a") == ["1", "2", "3"]
    assert given_.one("b") is None
    given_.end()


def test_json_has_texts_numbers_and_arrays_and_commas_separate_nothing() -> None:
    given_ = Parameters.of_json(b'{"a":["x,y",2],"b":3,"c":null,"d":[]}')
    assert given_.all("a") == ["x,y", "2"]
    assert given_.one("b") == "3"
    assert given_.all("c") + given_.all("d") == []
    given_.end()


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"a"', b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequestError, match="JSON"):
        Parameters.of_json(body)


def test_all_faults_are_told_together() -> None:
    given_ = Parameters.of_json(b'{"a":{},"b":[1,2],"c":"x","z":1,"d":true}')
    given_.all("a")
    given_.one("b")
    given_.read("c", int)
    given_.all("d")
    with pytest.raises(BadRequestError) as caught:
        given_.end()
    faults = list(caught.value.faults)
    assert [fault.split()[0] for fault in faults[:4]] == ["a", "d", "b", "c"]
    assert faults[4].startswith('unknown parameter "z"')


def test_values_have_a_limit() -> None:
    given_ = Parameters.of_address([("a", ",".join(map(str, range(201))))])
    given_.all("a")
    with pytest.raises(BadRequestError, match="201 values, at most 200"):
        given_.end()


@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_a_backslash_keeps_a_comma(texts: list[str]) -> None:
    escaped = [text.replace("\\", "\\\\").replace(",", "\\,") for text in texts]
    assert [*split(",".join(escaped))] == escaped


@given(TEXTS, st.sampled_from(["exact", "prefix"]))
def test_what_is_spelled_is_read_again(text: str, kind: str) -> None:
    pattern = Pattern("exact", text) if kind == "exact" else Pattern("prefix", text)
    assert unescaped(_spelled(pattern)) == pattern
