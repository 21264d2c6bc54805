"""Responses that depend on a token say so to caches; those for everybody do not."""

import pytest

from tests.support import NOON_MS, Client, Running, job

pytestmark = pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)

STATS = "/v2/account/stats"
PRIVATE = (
    "/v2/account", f"{STATS}?bot=google-flow", f"{STATS}/query", f"{STATS}/rows",
    f"{STATS}/rows?format=csv", f"{STATS}/meta",
)  # fmt: skip


def named(value: str) -> list[str]:
    """The names in a list of headers."""
    return sorted(name.strip().lower() for name in value.split(","))


@pytest.mark.parametrize("path", PRIVATE)
@pytest.mark.parametrize("coding", ["identity", "gzip"])
def test_what_depends_on_a_token_is_private(client: Client, path: str, coding: str) -> None:
    client.record(*(job(NOON_MS - n) for n in range(100)))
    for headers, status in (
        ({}, 200),
        ({"Origin": "https://app.example.com"}, 200),
        ({"Authorization": "Bearer wrong"}, 401),
    ):
        response = client.http.get(path, headers={"Accept-Encoding": coding} | headers)
        assert response.status_code == status
        assert response.headers["cache-control"] == "private, no-cache"
        vary = named(response.headers["vary"])
        assert "authorization" in vary
        assert len(vary) == len(set(vary))
        if status == 200:
            assert ("accept" in vary) == ("/query" in path or "/rows" in path)
            if "content-encoding" in response.headers:
                assert "accept-encoding" in vary


def test_a_response_that_is_unchanged_is_private_too(client: Client) -> None:
    for path in (f"{STATS}/query", f"{STATS}/rows", f"{STATS}/meta"):
        found = client.http.get(path)
        known = {"If-None-Match": found.headers["etag"]}
        again = client.http.get(path, headers=known)
        assert again.status_code == 304
        assert ("accept" in named(again.headers["vary"])) == (
            "accept" in named(found.headers["vary"])
        )
        assert again.headers["cache-control"] == "private, no-cache"


def test_errors_and_posts_are_private(client: Client) -> None:
    for response in (
        client.http.get(f"{STATS}/query?nothing=1"),
        client.send([job()]),
        client.send([job()], Origin="https://app.example.com"),
        client.send(b"no JSON"),
        client.http.post(f"{STATS}/query", json={}),
    ):
        assert response.headers["cache-control"] == "private, no-cache"
        assert "authorization" in named(response.headers["vary"])


def test_what_is_secret_or_a_stream_is_not_stored_at_all(admin: Client) -> None:
    made = admin.http.post("/v2/tokens", json={"account": "kept", "scopes": ["read"]})
    assert made.status_code == 201
    with admin.http.stream("GET", f"{STATS}/live") as live:
        for response in (made, live):
            assert response.headers["cache-control"] == "no-store"
            assert "authorization" in named(response.headers["vary"])


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/healthz", "/readyz", "/v2/nothing"]
)
def test_what_is_for_everybody_is_not_private(service: Running, path: str) -> None:
    for client in (service.holder(None), service.client()):
        response = client.http.get(path)
        assert response.status_code == (404 if path == "/v2/nothing" else 200)
        assert "private" not in response.headers.get("cache-control", "")
        assert "authorization" not in named(response.headers.get("vary", ""))
