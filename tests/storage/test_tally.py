"""Rows as they are sent -> what is in them, whatever pieces they come in."""

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genmeter.clock import iso
from genmeter.errors import EngineError
from genmeter.storage.tally import Group, Tally

MORNING = 1_770_940_803_000

ROW = st.fixed_dictionaries(
    {
        "jobid": st.text(st.sampled_from('a"\\}{é '), max_size=4),
        "config": st.text(st.sampled_from('a"\\},:'), min_size=1, max_size=2),
        "endpoint": st.sampled_from(["post-images", "}"]),
        "status": st.sampled_from(["OK", ""]),
        "func": st.sampled_from(["f", "g"]),
        "code": st.sampled_from([0, 200, 429]),
        "msec": st.integers(0, 2**32 - 1),
        "model": st.sampled_from(["", "veo", None]),
        "captchaRetry": st.none() | st.integers(0, 3),
        "tier": st.sampled_from(["", "T"]),
    }
)


def text(number: int, row: dict[str, Any]) -> bytes:
    """A row as the engine writes it; without a model it is one of a bot that has none."""

    def inside(*keys: str) -> str:
        some = {key: row[key] for key in keys if row[key] is not None}
        return json.dumps(some, ensure_ascii=False, separators=(",", ":"))[1:-1]

    own = f',{{"timestamp":"{iso(MORNING - number)}",{inside("jobid")}'
    head = f",{inside('config', 'endpoint', 'status', 'func', 'code')}"
    tail = "" if row["model"] is None else f",{inside('model', 'captchaRetry', 'tier')}"
    return f'{own}\t{head},"msec":\t{row["msec"]}\t{tail}}}\t\n'.encode()


@given(
    st.lists(ROW, max_size=30),
    st.lists(st.integers(1, 300), max_size=20),
    st.sampled_from([b"", b"\n"]),
)
@settings(max_examples=200, deadline=None)
def test_rows_are_counted_and_passed_on_whatever_pieces_they_come_in(
    rows: list[dict[str, Any]], cuts: list[int], between: bytes
) -> None:
    whole = b"".join(text(n, row) + between for n, row in enumerate(rows))
    tally, passed, start = Tally(), b"", 0
    for cut in [*cuts, len(whole)]:
        passed += tally.take(whole[start : start + cut])
        start += cut
    tally.end()
    assert json.loads(b"[" + passed[1:] + b"]") == json.loads(b"[" + whole[1:] + b"]")
    assert tally.rows == len(rows)
    if not rows:
        return
    totals = tally.totals()
    found: Counter[Group] = Counter()
    for group, count in totals.groups:
        found[group] += count
    assert found == Counter(
        Group(
            config=row["config"], code=row["code"], endpoint=row["endpoint"], status=row["status"],
            model=row["model"] or "",
            captcha_retry=None if row["model"] is None else row["captchaRetry"],
            tier="" if row["model"] is None else row["tier"],
        )
        for row in rows
    )  # fmt: skip
    assert totals.msec == sum(row["msec"] for row in rows)
    assert (totals.latest, totals.earliest) == (iso(MORNING), iso(MORNING - len(rows) + 1))


def test_large_blocks_are_counted_to_the_last_row() -> None:
    row = {"jobid": "j" * 400, "config": "c" * 500, "endpoint": "e", "status": "s", "func": "f",
           "code": 200, "msec": 7, "model": "m" * 500, "captchaRetry": 1, "tier": ""}  # fmt: skip
    tally = Tally()
    block = b"".join(text(n, row) for n in range(1000))
    assert tally.take(block) == block
    assert (tally.rows, tally.totals().msec) == (1000, 7000)
    assert len(tally.totals().groups) == 1
    assert tally.totals().earliest == iso(MORNING - 999)


def test_a_row_longer_than_a_piece_is_counted() -> None:
    row = {"jobid": "j" * 100_000, "config": "c", "endpoint": "e", "status": "s", "func": "f",
           "code": 200, "msec": 7, "model": None}  # fmt: skip
    tally = Tally()
    tally.take(text(0, row) + text(1, row) + text(2, row))
    assert tally.rows == 3


ONE = text(0, {"jobid": "j", "config": "c", "endpoint": "e", "status": "s", "func": "f",
               "code": 200, "msec": 7, "model": None})  # fmt: skip
FAULT = b"Code: 241, e.displayText() = DB::Exception: Memory limit exceeded\n"


@pytest.mark.parametrize("at", range(1, len(ONE), 7))
def test_an_error_that_was_written_into_the_rows_is_noticed(at: int) -> None:
    tally = Tally()
    with pytest.raises(EngineError):  # noqa: PT012  # in one place or the other
        tally.take(ONE + ONE[:at] + FAULT)
        tally.end()
    tally = Tally()
    tally.take(ONE + ONE[:at])
    with pytest.raises(EngineError, match="broke off"):
        tally.end()


def test_an_error_between_rows_or_instead_of_them_is_noticed() -> None:
    for before in (b"", ONE):
        tally = Tally()
        tally.take(before + FAULT)
        with pytest.raises(EngineError, match="Memory limit exceeded"):
            tally.end()


def test_rows_of_another_shape_are_no_answer() -> None:
    for wrong in (b"x}\t\n", ONE.replace(b"7", b"seven"), ONE.replace(b"\t", b"", 1)):
        with pytest.raises(EngineError, match="returned a malformed row"):
            Tally().take(wrong)
