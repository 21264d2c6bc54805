"""C19 to C23: the form of answers and errors, freshness, retention, tenants."""

import gzip
import http.client
import json
from typing import Any

import httpx2
import pytest
import zstandard

from genmeter.clock import DAY_MS, iso
from tests.support import NOON_MS, Client, Running, job

STATS = "/v2/account/stats"


def raw_get(client: Client, accept: str, params: str) -> tuple[http.client.HTTPMessage, bytes]:
    """A GET whose body nobody decodes on the way."""
    connection = http.client.HTTPConnection(client.base_url.removeprefix("http://"))
    headers = {"Authorization": f"Bearer {client.token}", "Accept-Encoding": accept}
    connection.request("GET", f"{STATS}?{params}", headers=headers)
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.headers, body


def test_c19_json_in_utf8(client: Client) -> None:
    client.record(job(config="größe@example.com"))
    response = client.ask(bot="google-flow")
    assert response.headers["content-type"] == "application/json"
    assert "größe@example.com".encode() in response.content


@pytest.mark.parametrize(
    ("accept", "coding"),
    [("gzip", "gzip"), ("zstd", "zstd"), ("gzip, deflate, br, zstd", "zstd"), ("identity", None),
     ("br", None), ("gzip;q=0", None)],
)  # fmt: skip
def test_c19_compressed_where_the_client_accepts_it(
    client: Client, accept: str, coding: str | None
) -> None:
    client.record(*(job(NOON_MS - n) for n in range(500)))
    plain = client.ask(bot="google-flow", limit=400).content
    headers, body = raw_get(client, accept, "bot=google-flow&limit=400")
    assert headers.get("content-encoding") == coding
    if coding == "gzip":
        assert len(body) < len(plain) / 4
        body = gzip.decompress(body)
    elif coding == "zstd":
        assert len(body) < len(plain) / 4
        body = zstandard.ZstdDecompressor().decompressobj().decompress(body)
    assert body == plain
    assert "Accept-Encoding" in headers["vary"]


def test_c19_browsers_may_call_from_any_origin(client: Client) -> None:
    origin = {"Origin": "https://app.example.com"}
    preflight = client.http.options(
        STATS,
        headers=origin
        | {
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, content-type, content-encoding",
        },
    )
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "authorization" in preflight.headers["access-control-allow-headers"].lower()
    for response in (
        client.http.get(STATS, params={"bot": "luma"}, headers=origin),
        client.http.get(STATS, params={"bot": "?"}, headers=origin),
        httpx2.get(client.base_url + STATS, headers=origin),
        client.send(b"[]", **origin),
        client.send(job(), **origin),
    ):
        assert response.headers["access-control-allow-origin"] == "*"
        assert "access-control-allow-credentials" not in response.headers


JSON = {"Content-Type": "application/json"}
ROUTES = ["/v2/account/stats", "/v2/account", "/healthz", "/readyz", "/openapi.json", "/docs", "/"]


def refusals(service: Running) -> list[tuple[str, int, httpx2.Response]]:
    """One request for each way a route can refuse, with the status it must have."""
    both, reader = service.client(), service.client(("read",))
    writer = service.client(("write",))
    bare = service.holder(None)
    found: list[tuple[str, int, httpx2.Response]] = []

    def case(name: str, status: int, response: httpx2.Response) -> None:
        found.append((name, status, response))

    for path in ROUTES[:2]:
        case(f"no token {path}", 401, bare.http.get(path))
    case("no token to record", 401, bare.http.post(STATS, content=b"[]", headers=JSON))
    case("no such bot", 400, both.ask(bot="x"))
    case("cannot read", 403, writer.ask(bot="kling"))
    case("cannot write", 403, reader.send([job()]))
    case("another account", 403, both.ask(bot="kling", account="other"))
    for path in ("/nope", "/v2", "/v2/account/", "/v2/account/stats/", "/v2/account/stats/x"):
        case(f"no route {path}", 404, both.http.get(path))
    for path in ROUTES:
        for method in ("PUT", "DELETE", "PATCH", "OPTIONS"):
            case(f"{method} {path}", 405, both.http.request(method, path))
        if path != "/v2/account/stats":
            case(f"POST {path}", 405, both.http.post(path))
    case("too large", 413, both.send(b"[" + b" " * (16 * 2**20) + b"]"))
    case("no content type", 415, both.http.post(STATS, content=b"[]"))
    case("another content type", 415, both.send(b"a=b", Content_Type="text/plain"))
    case("another coding", 415, both.send(b"[]", Content_Encoding="br"))
    case("not gzip", 400, both.send(b"[]", Content_Encoding="gzip"))
    case("not zstd", 400, both.send(b"[]", Content_Encoding="zstd"))
    case("not JSON", 400, both.send(b"{"))
    case("nothing", 400, both.send(b""))
    case("no records", 400, both.send(b"[]"))
    return found


def test_c20_every_refusal_of_every_route_has_one_shape(service: Running) -> None:
    for name, status, response in refusals(service):
        assert response.status_code == status, (name, response.text)
        body = response.json()
        assert list(body) == ["error"], name
        assert isinstance(body["error"], str), name
        assert len(body["error"]) > 10, name
        assert response.headers["content-type"] == "application/json", name
        assert len(response.headers["x-request-id"]) == 16, name
        for secret in ("Traceback", "SELECT", "DB::", "/genmeter", "site-packages", ".py"):
            assert secret not in response.text, name
        if status == 405:
            allowed = response.headers["allow"].split(", ")
            assert "GET" in allowed, name
            assert ("POST" in allowed) == (" /v2/account/stats" in name), name
            assert all(method in body["error"] for method in allowed), name
        if status == 401:
            assert response.headers["www-authenticate"] == "Bearer", name


def test_c20_a_fault_nobody_foresaw_is_a_plain_500(
    service: Running, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> int:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr(type(service.service.store), "oldest_ms", broken)
    response = client.send([job()])
    assert response.status_code == 500
    assert list(response.json()) == ["error"]
    assert response.headers["x-request-id"] in response.json()["error"]
    assert "secret" not in response.text


def test_c21_what_was_answered_200_is_in_the_very_next_answer(client: Client) -> None:
    for n in range(1, 31):
        client.record(job(NOON_MS + n))
        assert client.stats(bot="google-flow")["total"] == n
        assert client.stats(bot="google-flow", limit=50_000)["total"] == n


def test_c22_past_retention_is_in_no_answer_at_once(service: Running, client: Client) -> None:
    retention = 92 * DAY_MS
    client.record(job(NOON_MS - retention, jobid="old"), job(NOON_MS, jobid="new"))
    day = iso(NOON_MS - retention)[:10]
    assert client.stats(bot="google-flow", date=day)["total"] == 1
    assert client.stats(bot="google-flow", limit=9)["total"] == 2
    service.clock.ms = NOON_MS + 1
    assert client.stats(bot="google-flow", date=day)["total"] == 0
    answer = client.stats(bot="google-flow", limit=9)
    assert [row["jobid"] for row in answer["data"]] == ["new"]
    assert answer["summary"]["by_code"] == {"200": 1}


def test_c22_past_retention_is_off_the_disk_within_a_month(
    service: Running, client: Client
) -> None:
    store = service.service.store
    service.clock.ms = april = NOON_MS - 310 * DAY_MS  # 2025-04-09
    client.record(job(april, jobid="april"), job(april + 25 * DAY_MS - 26 * DAY_MS, jobid="eighth"))
    service.clock.ms = april + (92 + 20) * DAY_MS  # the 29th of April is past retention now
    assert store.expire(service.clock()) == []
    assert client.stats(bot="google-flow", limit=9)["total"] == 0
    service.clock.ms = april + (92 + 31) * DAY_MS
    assert store.expire(service.clock()) == [202504]
    assert store.expire(service.clock()) == []
    service.clock.ms = april  # even a clock set back finds nothing: it is gone
    assert client.stats(bot="google-flow", limit=9)["total"] == 0


@pytest.mark.engines("embedded", "server", "cluster")  # hundreds of questions
def test_c23_no_parameter_gets_around_the_account(service: Running) -> None:
    victim, thief = service.client(), service.client()
    victim.record(job(config="secret@example.com", jobid="secret"))
    thief.record(job(config="mine@example.com", jobid="mine"))
    hostile = [
        victim.account,
        f"{thief.account}' OR account = '{victim.account}",
        "' OR 1=1 --",
        "x') OR ('1'='1",
        "\\' OR 1=1 --",
        "\\",
        "*",
        "%",
        "\x00' OR 1=1 --",
        "secret@example.com",
        "{account:String}",
        "1 UNION ALL SELECT 1",
    ]
    names = ["account", "account_id", "user", "config", "date", "limit", "bot", "tenant", "ACCOUNT",
             "account[]", "token", "x-account"]  # fmt: skip
    for name in names:
        for value in hostile:
            base = {"bot": "google-flow", "limit": "50000"}
            for params in (
                base | {name: value},
                [*base.items(), (name, thief.account), (name, value)],
            ):
                response = thief.ask(params)
                assert response.status_code in {200, 400, 403}, (name, value, response.text)
                assert "secret" not in json.dumps(response.json().get("data", [])), (name, value)
                for row in response.json().get("data", ()):
                    assert row["jobid"] == "mine"
    for header in ("X-Account", "X-Forwarded-User", "Account", "Cookie"):
        response = thief.http.get(
            STATS, params={"bot": "google-flow"}, headers={header: victim.account}
        )
        assert [row["jobid"] for row in response.json()["data"]] == ["mine"]


def test_c23_naming_its_own_account_is_no_offence(client: Client) -> None:
    client.record(job())
    assert client.stats(bot="google-flow", account=client.account)["total"] == 1


def test_an_admin_reads_any_account_by_name(service: Running, client: Client) -> None:
    client.record(job(jobid="theirs"))
    admin = service.client(("admin",))
    assert admin.stats(bot="google-flow")["total"] == 0
    answer = admin.stats(bot="google-flow", account=client.account)
    assert [row["jobid"] for row in answer["data"]] == ["theirs"]
    assert list(answer) == ["bot", "date", "total", "summary", "data"]


@pytest.mark.parametrize(
    ("scopes", "read", "write"),
    [(["read"], 200, 403), (["write"], 403, 200), (["read", "write"], 200, 200),
     (["admin"], 200, 200)],
)  # fmt: skip
def test_a_scope_is_what_it_says(
    service: Running, scopes: list[str], read: int, write: int
) -> None:
    client = service.client(scopes)
    assert client.send([job()]).status_code == write
    assert client.ask(bot="google-flow").status_code == read
    account = client.http.get("/v2/account")
    assert account.status_code == 200
    assert account.json()["scopes"] == scopes


def test_the_account_route_describes_the_token(service: Running) -> None:
    token, kept = service.service.accounts.create(
        "acme", ["read"], now_ms=NOON_MS, name="for the dashboard"
    )
    response = service.holder(token).http.get("/v2/account")
    assert response.text == (
        f'{{"id":"{kept.id}","name":"for the dashboard",'
        '"created":"2026-02-13T12:00:00.000Z","scopes":["read"]}'
    )
