"""The service held against its OpenAPI description by generated requests, and every status of it.

schemathesis makes the requests from the description: valid ones, and ones with something wrong.
"""

import contextlib
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Final

import httpx2
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import Case, GenerationMode
from schemathesis.specs.openapi import checks as described

from genmeter.api import openapi
from genmeter.model.bots import ELEVEN
from genmeter.server.protocol import MAX_HEAD_BYTES
from genmeter.storage.shards import Shards
from tests.server.raw import connected, head, response
from tests.support import Client, Running, job, running

pytestmark = pytest.mark.own_engine

DOCUMENT: Final = openapi.document(ELEVEN, most_records=50_000)
OPERATIONS: Final = {
    operation["operationId"]: (method, path, operation)
    for path, methods in DOCUMENT["paths"].items()
    for method, operation in methods.items()
}
EXAMPLES: Final = 10

CHECKS: Final = [
    schemathesis.checks.not_a_server_error,
    described.status_code_conformance,
    described.content_type_conformance,
    described.response_headers_conformance,
    described.response_schema_conformance,
]

UNSAYABLE: Final = re.compile(
    r"""
    # Several parameters together.
    from\ must\ be\ before\ to | to\ needs\ from | the\ range\ may\ be\ at\ most
    | last\ may\ not\ be\ combined | (top|order|cursor)\ needs | escape=formulas\ needs
    | order\ must\ be\ one\ of | interval=\w+\ divides
    # A comma, which separates values in an address, also in 00:00:00,5.
    | (from|to)\ is\ given\ \d\ values
    # Days that are in no calendar, zones that are in no database, places nobody gave out.
    | (from|to)\ must\ be\ a\ date | timezone\ must\ be\ an\ IANA | timestamp\ (is|must)
    | cursor\ must\ be\ the\ next_cursor | there\ is\ no\ token | Last-Event-ID\ must\ be
    # 5.0, which JSON Schema has for an integer; texts of digits; bytes of UTF-8.
    | not\ a\ fraction | not\ \\"[0-9]+\.0 | captchaRetry!?\ must\ be\ from\ 0 | bytes\ of\ UTF-8
    | name\ must\ be\ at\ most\ 200\ printable
    # A coding that the body does not have.
    | the\ body\ is\ not\ valid\ (gzip|zstd)
    """,
    re.VERBOSE,
)
"""Why a request is refused that the description allows: what JSON Schema cannot say."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with some records, and limits that are soon reached."""
    with running(
        tmp_path_factory.mktemp("described") / "data",
        head_seconds=1,
        engine_memory_mb=256,
        connections=40,
        connections_per_address=20,
    ) as service:
        service.client(account="acme").record(*(job() for _ in range(5)))
        yield service


def answer(session: requests.Session, case: Case[Any], base_url: str) -> requests.Response:
    """The response to a request; of a stream, what comes first."""
    sent = case.as_transport_kwargs(base_url=base_url)
    sent["headers"] = dict(sent["headers"]) | dict(session.headers)
    response = session.request(**sent, stream=True, timeout=30)
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        response._content = next(response.iter_content(None))
        response.close()
    else:
        assert response.content is not None
    return response


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        (name, mode)
        for name, (_, _, operation) in OPERATIONS.items()
        for mode in GenerationMode
        # Nothing can be wrong with a request that says nothing.
        if mode == GenerationMode.POSITIVE or operation.get("security") != []
    ],
)
def test_any_request_is_answered_as_described(
    own: Running, name: str, mode: GenerationMode
) -> None:
    api = schemathesis.openapi.from_dict(DOCUMENT)
    operation = api.find_operation_by_id(name)
    token = own.client(("admin",), account="acme").token
    answered: defaultdict[int, int] = defaultdict(int)

    with requests.Session() as session:
        session.headers.update({"Authorization": f"Bearer {token}"})

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def ask(case: Case[Any]) -> None:
            got = answer(session, case, own.base_url)
            answered[got.status_code] += 1
            case.validate_response(got, checks=CHECKS)
            if mode == GenerationMode.POSITIVE and got.status_code in (400, 404, 422):
                assert UNSAYABLE.search(got.text), got.text

        ask()
    assert answered


class Reached:
    """Which statuses of which operations some request got."""

    def __init__(self, service: Running) -> None:
        self.service = service
        self.statuses: defaultdict[str, set[str]] = defaultdict(set)

    def ask(self, name: str, who: Client, **more: Any) -> httpx2.Response:
        """One request; ``more`` replaces what a plain one has."""
        method, path, _ = OPERATIONS[name]
        sent = dict(PLAIN.get(name, {})) | more
        path = sent.pop("path", path).replace("{id}", "0")
        with who.http.stream(method, path, **sent) as received:
            if not received.headers.get("content-type", "").startswith("text/event-stream"):
                received.read()
        self.note(name, received.status_code)
        return received

    def note(self, name: str, status: int) -> None:
        """Count a status."""
        self.statuses[name].add(str(status))

    def of_all(self, status: int, who: Client, **more: Any) -> None:
        """Ask each operation that has the status for it."""
        for name in having(status):
            response = self.ask(name, who, **more)
            assert response.status_code == status, (name, response.status_code)

    def of_raw(self, status: int, begin: Callable[[str, str], bytes]) -> None:
        """Send each operation that has the status what ``begin`` makes of its method and path."""
        with contextlib.ExitStack() as stack:
            opened = []
            for name in having(status):
                method, path, _ = OPERATIONS[name]
                connection = stack.enter_context(connected(self.service.base_url, OTHER_ADDRESS))
                with contextlib.suppress(ConnectionError):
                    connection.sendall(begin(method.upper(), path))
                opened.append((name, connection))
            for name, connection in opened:
                found, _, body = response(connection)
                assert (found, list(body)) == (status, ["error"]), name
                self.note(name, found)


def having(status: int) -> list[str]:
    """The operations whose description has a status."""
    return [
        name
        for name, (_, _, operation) in OPERATIONS.items()
        if str(status) in operation["responses"]
    ]


PLAIN: Final[dict[str, dict[str, Any]]] = {
    "getAccountStats": {"params": {"bot": "kling"}},
    "postAccountStats": {"json": [job()]},
    "postQuery": {"json": {}},
    "postRows": {"json": {}},
    "postTokens": {"json": {"account": "acme", "scopes": ["read"]}},
}
"""What a plain request has."""

FAULTS: Final[dict[str, dict[str, Any]]] = {
    "postAccountStats": {"json": {}},
    "postQuery": {"json": {"last": "x"}},
    "postRows": {"json": {"last": "x"}},
    "postTokens": {"json": {}},
    "getLive": {"params": {"bot": "x"}},
}

UNREACHED: Final = {"500": "a fault that nobody foresaw: tests/contract/test_service.py makes one"}
"""Statuses that no request can bring about, and why."""

JSON: Final = {"Content-Type": "application/json"}
HUNGRY: Final = "SELECT length(groupArray(number)) FROM (SELECT number FROM numbers(300000000))"
OTHER_ADDRESS: Final = "127.0.0.2"


def test_every_status_of_every_operation_is_reached(
    own: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = Reached(own)
    admin, reader, writer = (
        own.client([scope], account="acme") for scope in ("admin", "read", "write")
    )
    for name in OPERATIONS:
        reached.ask(name, admin)
    made = admin.http.post("/v2/tokens", **PLAIN["postTokens"]).json()
    reached.ask("deleteToken", admin, path=f"/v2/tokens/{made['id']}")
    for name in having(304):
        tag = reached.ask(name, admin).headers["etag"]
        assert reached.ask(name, admin, headers={"If-None-Match": tag}).status_code == 304
    for name in having(400):
        wrong = FAULTS.get(name, {"params": {"last": "x"}})
        assert reached.ask(name, admin, **wrong).status_code == 400, name
    for name in having(403):
        barred = reader if name == "postAccountStats" or "Token" in name else writer
        assert reached.ask(name, barred).status_code == 403, name
    reached.of_all(401, own.holder(None))
    reached.of_all(404, admin)
    reached.of_all(406, admin, headers={"Accept": "image/png"})
    too_long = b" " * (16 * 2**20 + 1)
    reached.of_all(413, admin, json=None, content=too_long, headers=JSON)
    reached.of_all(415, admin, headers=JSON | {"Content-Encoding": "br"})
    reached.ask("postAccountStats", admin)  # so that no response of before still holds
    with monkeypatch.context() as patched:
        ask, lines = Shards.ask, Shards.lines
        patched.setattr(Shards, "ask", lambda s, of, run, _: ask(s, of, run, lambda _: HUNGRY))
        patched.setattr(Shards, "lines", lambda s, of, run, _: lines(s, of, run, lambda _: HUNGRY))
        reached.of_all(422, admin)

    own.forget_clients()
    filler = b"a" * MAX_HEAD_BYTES
    reached.of_raw(408, lambda method, path: f"{method} {path} ".encode())
    reached.of_raw(414, lambda method, _: f"{method} /".encode() + filler)
    reached.of_raw(431, lambda method, path: f"{method} {path} HTTP/1.1\r\nx: ".encode() + filler)
    with contextlib.ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(connected(own.base_url, OTHER_ADDRESS))
        reached.of_raw(429, head)
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            upload = head("POST", "/v2/tokens", admin.token, Content_Length=9)
            stack.enter_context(connected(own.base_url)).sendall(upload)
        time.sleep(0.3)
        reached.of_raw(503, head)

    missing = {
        name: sorted(set(operation["responses"]) - reached.statuses[name] - set(UNREACHED))
        for name, (_, _, operation) in OPERATIONS.items()
    }
    assert not {name: statuses for name, statuses in missing.items() if statuses}
    for name, (_, _, operation) in OPERATIONS.items():
        assert reached.statuses[name] <= set(operation["responses"])
