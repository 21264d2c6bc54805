"""The proxy's faults are what it says they are."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.servers.clickhouse import ADMIN, ClickHouse
from tests.servers.faulty import (
    ERROR_TEXT,
    BrokenOff,
    ErrorInside,
    FaultyProxy,
    Late,
    LostAnswer,
)
from tests.servers.process import HOST
from tests.servers.tls import Authority

ROWS = "SELECT number FROM system.numbers LIMIT 100000"
LAST = b"99999\n"


@pytest.fixture
def proxy(clickhouse: ClickHouse) -> Iterator[FaultyProxy]:
    """A proxy before the server that stands alone."""
    with FaultyProxy(clickhouse.http_port) as proxy:
        yield proxy


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    """A client that keeps its connections."""
    with httpx2.Client(auth=ADMIN, timeout=30) as client:
        yield client


def ask(http: httpx2.Client, proxy: FaultyProxy, sql: str = ROWS) -> httpx2.Response:
    """The answer by way of the proxy."""
    return http.post(proxy.url, content=sql)


def test_everything_passes_as_it_is(
    clickhouse: ClickHouse, proxy: FaultyProxy, http: httpx2.Client
) -> None:
    before = proxy.passed
    straight = clickhouse.query(ROWS)
    assert ask(http, proxy).text == straight
    assert http.post(proxy.url, content=iter([ROWS.encode()])).text == straight
    refused = ask(http, proxy, "SELECT nothing")
    assert refused.status_code == 404
    assert refused.text.startswith("Code: 47")
    assert http.get(f"{proxy.url}/ping").text == "Ok.\n"
    assert proxy.passed == before + 4


def test_a_body_is_broken_off_where_it_was_told(proxy: FaultyProxy, http: httpx2.Client) -> None:
    proxy.fault = BrokenOff(after=70_001, times=1)
    blocks: list[bytes] = []
    with http.stream("POST", proxy.url, content=ROWS) as response:
        assert response.status_code == 200
        with pytest.raises(httpx2.RemoteProtocolError):
            blocks.extend(response.iter_raw())
    assert len(b"".join(blocks)) == 70_001
    assert ask(http, proxy).content.endswith(LAST), "it happens once"


def test_an_error_in_a_body_that_ends_properly(proxy: FaultyProxy, http: httpx2.Client) -> None:
    proxy.fault = ErrorInside(after=70_001, times=1)
    response = ask(http, proxy)
    assert response.status_code == 200
    assert response.content[70_001:] == ERROR_TEXT.encode()
    assert response.content[70_000:70_001] != b"\n", "in the middle of a line"
    proxy.fault = ErrorInside(after=10**9, times=1)
    assert ask(http, proxy).content.endswith(LAST + ERROR_TEXT.encode())


def test_a_fault_is_for_the_statements_it_names(proxy: FaultyProxy, http: httpx2.Client) -> None:
    struck = proxy.struck
    proxy.fault = ErrorInside(statement="system.numbers")
    assert ask(http, proxy, "SELECT 1").text == "1\n"
    for _ in range(2):
        assert ask(http, proxy).text == ERROR_TEXT
        assert http.post(proxy.url, params={"query": ROWS}).text == ERROR_TEXT
    proxy.fault = None
    assert ask(http, proxy).content.endswith(LAST)
    assert proxy.struck == struck + 4


def test_a_late_answer_is_whole(proxy: FaultyProxy, http: httpx2.Client) -> None:
    proxy.fault = Late(seconds=1, times=2)
    with pytest.raises(httpx2.ReadTimeout):
        http.post(proxy.url, content=ROWS, timeout=0.2)
    assert ask(http, proxy).content.endswith(LAST)


def test_what_was_told_is_done_where_the_answer_is_lost(
    clickhouse: ClickHouse, proxy: FaultyProxy, http: httpx2.Client
) -> None:
    table = f"{clickhouse.database()}.t"
    clickhouse.query(f"CREATE TABLE {table} (n UInt8) ENGINE = Log")
    proxy.fault = LostAnswer(statement="INSERT", times=1)
    with pytest.raises(httpx2.RemoteProtocolError):
        ask(http, proxy, f"INSERT INTO {table} VALUES (7)")
    assert clickhouse.query(f"SELECT n FROM {table}") == "7\n"


def test_nothing_listens_until_it_accepts_again(
    clickhouse: ClickHouse, http: httpx2.Client
) -> None:
    with FaultyProxy(clickhouse.http_port) as proxy:
        assert ask(http, proxy, "SELECT 1").text == "1\n"
        proxy.refuse()
        with pytest.raises((httpx2.ConnectError, httpx2.RemoteProtocolError, httpx2.ReadError)):
            ask(http, proxy, "SELECT 1")
        with pytest.raises(httpx2.ConnectError):
            ask(http, proxy, "SELECT 1")
        proxy.accept()
        assert ask(http, proxy, "SELECT 1").text == "1\n"


def test_requests_in_hand_end_when_it_refuses(clickhouse: ClickHouse, http: httpx2.Client) -> None:
    with FaultyProxy(clickhouse.http_port) as proxy:
        with http.stream("POST", proxy.url, content="SELECT * FROM system.numbers") as response:
            blocks = response.iter_raw()
            next(blocks)
            proxy.refuse()
            with pytest.raises(httpx2.TransportError):
                list(blocks)
        proxy.accept()


def test_tls_is_for_those_who_know_the_authority(
    clickhouse: ClickHouse, tmp_path: Path, http: httpx2.Client
) -> None:
    authority = Authority(tmp_path)
    trusting = ssl.create_default_context(cafile=authority.certificate)
    with FaultyProxy(clickhouse.http_port, authority.issue(HOST)) as proxy:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            ask(http, proxy)
        with httpx2.Client(auth=ADMIN, verify=trusting) as client:
            assert ask(client, proxy).content.endswith(LAST)
            by_name = proxy.url.replace(HOST, "localhost")
            with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                client.post(by_name, content=ROWS)
            proxy.fault = BrokenOff(after=70_001)
            with pytest.raises(httpx2.TransportError):
                ask(client, proxy)


def test_a_server_that_is_down_is_seen_as_such(tmp_path: Path, http: httpx2.Client) -> None:
    gone = ClickHouse(tmp_path)
    with FaultyProxy(gone.http_port) as proxy, pytest.raises(httpx2.RemoteProtocolError):
        ask(http, proxy)
