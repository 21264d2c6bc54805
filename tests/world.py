"""A service with records in it that are hard to count, and those who ask about them."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import httpx2

from tests.asking import NOW_MS, Maker, as_get
from tests.reference import figures, rows
from tests.reference.question import Given, understand
from tests.reference.records import Row, stored
from tests.support import NOON_MS, Client, Running

QUERY: Final = "/v2/account/stats/query"
ROWS: Final = "/v2/account/stats/rows"
META: Final = "/v2/account/stats/meta"
ACCOUNTS: Final = ("asks-east", "asks-west", "asks-north")
"""Nobody else has accounts that begin like these."""

Answer = dict[str, Any]


class Asker(Client):
    """Somebody who asks for figures and rows, in every way there is."""

    _ways = itertools.cycle(("repeated", "posted", "asked again"))

    def get(self, path: str, given: Given | None = None, **headers: str) -> httpx2.Response:
        """A question as an address, its values separated by commas."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.get(path, params=as_get(given or {}, commas=True), headers=named)

    def post(self, path: str, given: Given) -> httpx2.Response:
        """A question as a document."""
        return self.http.post(path, json=given)

    def answer(self, path: str, given: Given) -> Answer:
        """The one answer there is, however the question is put: each time in two of the ways."""
        response = self.get(path, given)
        assert response.status_code == 200, (given, response.text)
        answer: Answer = response.json()
        way = next(self._ways)
        if way == "repeated":
            other = self.http.get(path, params=as_get(given, commas=False))
        elif way == "posted" or "cursor" in given:  # a page's place is no part of the question
            other = self.post(path, given)
        else:
            other = self.post(path, answer["query"])
        assert other.status_code == 200, (given, way, other.text)
        assert other.content == response.content, (given, way)
        return answer


class World:
    """Records of several accounts in one service, as they were sent and as they must count."""

    def __init__(self, service: Running) -> None:
        self.service = service
        self.records: list[dict[str, Any]] = []
        self._askers: list[Asker] = []

    def asker(self, account: str, *scopes: str) -> Asker:
        """Somebody with a new token."""
        accounts = self.service.service.accounts
        token, _ = accounts.create(account, scopes, now_ms=self.service.clock())
        asker = Asker(self.service.base_url, token, account)
        self._askers.append(asker)
        return asker

    def send(self, sender: Client, records: Sequence[Mapping[str, Any]], at_once: int = 97) -> None:
        """Record them in order, so many in a request."""
        for start in range(0, len(records), at_once):
            sender.record(*records[start : start + at_once])
        self.records += map(dict, records)

    def rows(self) -> list[Row]:
        """What is stored of all that was sent."""
        return stored(self.records)

    def close(self) -> None:
        """Close all connections."""
        while self._askers:
            self._askers.pop().http.close()

    def check_figures(self, asker: Asker, given: Given) -> Answer:
        """An answer of ``/query``, which must be the reference's."""
        asked = understand(given, account=asker.account, now=self.service.clock())
        answer = asker.answer(QUERY, given)
        told = {name: value for name, value in answer.items() if name != "query"}
        assert told == figures.answer(self.rows(), asked)
        return answer

    def check_rows(self, asker: Asker, given: Given) -> Answer:
        """An answer of ``/rows``, which must be the reference's."""
        asked = understand(given, account=asker.account, now=self.service.clock())
        answer = asker.answer(ROWS, given)
        expected = rows.answer(self.rows(), asked)
        assert {name: answer[name] for name in expected} == expected
        assert (answer["has_more"], answer["next_cursor"]) == (False, None), given
        return answer


@contextmanager
def world(service: Running, seed: int, count: int) -> Iterator[World]:
    """So many records of ``ACCOUNTS``, at a moment with changes of clocks before it."""
    service.clock.ms = NOW_MS
    made = World(service)
    try:
        if count:
            made.send(made.asker(ACCOUNTS[0], "admin"), Maker(seed, ACCOUNTS).records(count))
        yield made
    finally:
        made.close()
        service.clock.ms = NOON_MS
