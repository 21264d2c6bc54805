"""Rows page by page, on every engine: nothing twice, nothing left out."""

import itertools
from collections.abc import Iterator
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.asking import DAY, NOW_MS, few, row_questions
from tests.reference.question import Given
from tests.world import ACCOUNTS, ROWS, Answer, Asker, World

pytestmark = pytest.mark.engines("embedded", "server", "cluster")

ALL_TIME: Final[Given] = {"from": NOW_MS - 90 * DAY, "to": NOW_MS + DAY}
_numbers = itertools.count(1)


def pages(asker: Asker, given: Given, limit: int) -> Iterator[Answer]:
    """Page after page, to the end; the last is one without a cursor."""
    page: Answer = asker.get(ROWS, given | {"limit": limit}).json()
    while True:
        assert page["count"] == len(page["data"]) <= limit
        assert page["has_more"] == (page["next_cursor"] is not None)
        yield page
        if not page["has_more"]:
            return
        assert page["count"] == limit
        page = asker.get(ROWS, given | {"limit": limit, "cursor": page["next_cursor"]}).json()


@few(4)
@given(question=row_questions(ACCOUNTS), limit=st.integers(30, 60))
def test_pages_are_the_whole_in_pieces(
    asked: World, admin: Asker, question: Given, limit: int
) -> None:
    whole = asked.check_rows(admin, question)["data"]
    found = [row for page in pages(admin, question, limit) for row in page["data"]]
    assert found == whole
    first = admin.answer(ROWS, question | {"limit": limit})
    if first["has_more"]:
        again = {"limit": limit, "cursor": first["next_cursor"]}
        assert admin.answer(ROWS, question | again)["data"] == whole[limit : 2 * limit]


@pytest.mark.parametrize(
    ("order", "limits"), [("newest", (1, 5)), ("oldest", (3, 7))], ids=["newest", "oldest"]
)
def test_small_pages_of_equal_times_while_records_arrive(
    asked: World, order: str, limits: tuple[int, ...]
) -> None:
    """What was there before is neither repeated nor left out; what comes may be in it or not."""
    name = f"pages{next(_numbers)}"
    asker = asked.asker(name, "admin")
    common = {"config": "c", "endpoint": "e", "code": 200, "msec": 1}
    before = [
        common | {"account": account, "bot": bot, "timestamp": NOW_MS - n // 3, "jobid": jobid}
        for n, jobid in enumerate(("j", "j1", "é", "J"))
        for bot in ("luma", "kling")
        for account in (name, f"{name}b")
    ]
    asked.send(asker, before)
    question: Given = {"account": f"{name}*", "order": order, "last": "5m"}
    there = asked.check_rows(asker, question)["data"]
    assert len(there) == len(before)
    for limit in limits:
        found: list[dict[str, Any]] = []
        for number, page in enumerate(pages(asker, question, limit)):
            found += page["data"]
            if number < 3:
                asked.send(asker, [
                    common | {"account": name, "bot": bot, "jobid": f"n{next(_numbers)}"}
                    | {"timestamp": NOW_MS - late, "endpoint": "new"}
                    for bot in ("luma", "kling") for late in (-1000, 1, 60_000)
                ])  # fmt: skip
            asked.service.clock.ms += 60_000  # the range stays the first page's
        asked.service.clock.ms = NOW_MS
        old = [row for row in found if row["endpoint"] != "new"]
        assert old == there
        assert len({(r["timestamp"], r["account"], r["bot"], r["jobid"]) for r in found}) == len(
            found
        )


def test_links_lead_from_page_to_page(reader: Asker) -> None:
    whole = reader.answer(ROWS, ALL_TIME)["data"]
    for format_ in ("json", "csv"):
        response = reader.get(ROWS, ALL_TIME | {"limit": 77, "format": format_})
        found = 0
        while True:
            assert response.status_code == 200, response.text
            found += int(response.headers["Genmeter-Rows"])
            if "next" not in response.links:
                assert "Genmeter-Next-Cursor" not in response.headers
                break
            assert response.headers["Genmeter-Next-Cursor"] in response.links["next"]["url"]
            response = reader.http.get(response.links["next"]["url"])
        assert found == len(whole)


def test_rows_can_be_recorded_elsewhere(asked: World, admin: Asker) -> None:
    name = f"copy{next(_numbers)}"
    other = asked.asker(name, "read", "write")
    rows = admin.answer(ROWS, ALL_TIME)["data"]
    other.record(*rows)
    assert other.answer(ROWS, ALL_TIME)["data"] == rows
    lines = admin.get(ROWS, ALL_TIME | {"format": "ndjson"}).content
    sent = other.send(lines, Content_Type="application/x-ndjson")
    assert sent.json()["accepted"] == len(rows)
    assert other.answer(ROWS, ALL_TIME)["data"] == rows
    of_all = admin.answer(ROWS, ALL_TIME | {"account": "asks-*"})["data"]
    admin.record(*of_all)
    assert admin.answer(ROWS, ALL_TIME | {"account": "asks-*"})["data"] == of_all
