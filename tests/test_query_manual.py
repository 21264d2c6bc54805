"""docs/query.md: every answer in it is what the service says."""

import itertools
import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from genmeter.auth.accounts import Accounts
from tests.support import Client, running

pytestmark = pytest.mark.own_engine

MANUAL: Final = Path(__file__).parent.parent / "docs" / "query.md"
BLOCKS: Final = re.findall(r"^```(\w+)\n(.*?)^```$", MANUAL.read_text(), re.MULTILINE | re.DOTALL)
EXAMPLES: Final = [
    (request.removeprefix("GET ").strip(), kind, answer)
    for (asked, request), (kind, answer) in itertools.pairwise(BLOCKS)
    if asked == "http"
]


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Somebody of an account with the manual's records."""
    data = tmp_path_factory.mktemp("manual") / "data"
    Accounts.in_folder(data).close()
    with closing(sqlite3.connect(data / "accounts.sqlite3")) as connection:
        connection.execute("UPDATE signing_keys SET key = ?", ("0" * 64,))  # that of the manual
        connection.commit()
    with running(data) as service:
        client = service.client(account="acme")
        records = next(block for kind, block in BLOCKS if kind == "ndjson")
        answer = client.send(records.encode(), Content_Type="application/x-ndjson")
        assert answer.json()["accepted"] == 6
        yield client


@pytest.mark.parametrize(("path", "kind", "answer"), EXAMPLES)
def test_an_answer_is_as_printed(reader: Client, path: str, kind: str, answer: str) -> None:
    response = reader.http.get(path)
    if kind == "json":
        assert response.json() == json.loads(answer)
    else:
        assert response.text == answer


def test_there_are_examples_of_every_kind() -> None:
    assert len(EXAMPLES) >= 9
    assert {kind for _, kind, _ in EXAMPLES} == {"json", "csv", "ndjson"}
