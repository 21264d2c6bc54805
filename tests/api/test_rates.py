"""Limits of clients: how fast they may send, how many queries at one time, and wrong tokens."""

import threading
import time
from collections.abc import Iterator
from fractions import Fraction

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genmeter.api import limits
from genmeter.api.limits import Held, RateLimit
from genmeter.auth.accounts import Token
from genmeter.storage.sql import aggregates
from tests.support import Client, Running, job, running

pytestmark = pytest.mark.own_engine

QUERY = "/v2/account/stats/query"
ENDLESS = "SELECT count() FROM system.numbers"

steps = st.lists(
    st.tuples(st.sampled_from("ab"), st.integers(0, 40), st.integers(1, 25)), max_size=40
)


@given(steps=steps, quota=st.integers(1, 30), seconds=st.integers(1, 20))
@settings(max_examples=300, deadline=None)
def test_a_bucket_gives_its_quota_and_the_rate_and_no_more(
    steps: list[tuple[str, int, int]], quota: int, seconds: int
) -> None:
    """Against exact fractions, in tenths of a second."""
    bucket = RateLimit("x", quota, seconds)
    level = {"a": Fraction(quota), "b": Fraction(quota)}
    now = 0
    for key, pause, units in steps:
        now += pause
        for one, left in level.items():
            level[one] = min(Fraction(quota), left + Fraction(pause * quota, 10 * seconds))
        assert bucket.level(key, now / 10) == pytest.approx(float(level[key]), abs=1e-6)
        wait = bucket.wait(key, now / 10)
        if level[key] >= 1:
            assert wait < 1e-6
        else:
            assert wait == pytest.approx(float((1 - level[key]) * seconds / quota), abs=1e-6)
            assert bucket.wait(key, now / 10 + wait + 1e-6) < 1e-6
        if wait < 1e-6:
            bucket.take(key, now / 10, units)
            level[key] -= units


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans()), max_size=60), st.integers(1, 5))
def test_no_more_places_are_held_than_there_are(steps: list[tuple[str, bool]], most: int) -> None:
    held = Held(most)
    taken = {"a": 0, "b": 0}
    for key, enters in steps:
        if enters:
            assert held.enter(key) is (taken[key] < most)
            taken[key] = min(most, taken[key] + 1)
        elif taken[key]:
            held.leave(key)
            taken[key] -= 1
    assert all(Held(0).enter("a") for _ in range(9))


def test_buckets_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_KEYS", 100)
    bucket = RateLimit("x", 5)
    for number in range(1000):
        bucket.take(str(number), 0.0)
    assert len(bucket._buckets) == 100
    assert bucket.level("999", 0.0) == 4
    assert bucket.level("0", 0.0) == 5


def test_the_headers_are_those_of_the_draft() -> None:
    bucket = RateLimit("account-queries", 1000, 10)
    bucket.take("a", 0.0, 250)
    assert bucket.policy() == '"account-queries";q=1000;w=10'
    assert bucket.state("a", 0.0) == '"account-queries";r=750;t=3'
    bucket.take("a", 0.0, 2000)
    assert bucket.state("a", 0.0) == '"account-queries";r=0;t=23'


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service with limits of all kinds, that fill up in ten seconds."""
    data = tmp_path_factory.mktemp("rates") / "data"
    with running(
        data,
        token_posts=1,
        account_records=10,
        account_queries=1,
        account_queries_at_once=2,
        account_streams=2,
        failed_tokens=5,
        query_seconds=3,
    ) as service:
        yield service


def refused(response: httpx2.Response, said: str) -> int:
    """The seconds to wait that a refusal names."""
    assert response.status_code == 429, response.text
    assert said in response.json()["error"]
    seconds = int(response.headers["retry-after"])
    assert seconds >= 1
    return seconds


def second_token(service: Running, client: Client) -> Client:
    return service.client(account=client.account)


def test_posts_of_a_token_are_limited_and_others_are_not(limited: Running) -> None:
    client = limited.client()
    answers = [client.send([job()]) for _ in range(10)]
    assert {answer.status_code for answer in answers} == {200}
    policy = '"token-posts";q=10;w=10, "account-records";q=100;w=10'
    assert answers[0].headers["ratelimit-policy"] == policy
    assert answers[0].headers["ratelimit"].startswith('"token-posts";r=9;t=1, "account-records"')
    late = client.send([job()])
    while late.status_code == 200:  # a slow machine had time to fill the bucket up
        late = client.send([job()])
    assert refused(late, "this token has sent too many posts; 1 a second are allowed") == 1
    assert '"token-posts";r=0' in late.headers["ratelimit"]
    second_token(limited, client).record(job())


def test_records_of_an_account_are_limited_and_those_sent_are_taken(limited: Running) -> None:
    client = limited.client()
    client.record(*(job() for _ in range(400)))
    other_token = second_token(limited, client)
    for sender in (client, other_token):
        said = "this account has sent too many records; 10 a second are allowed"
        assert 20 <= refused(sender.send([job()]), said) <= 31
    assert client.stats(bot="google-flow", limit=1000)["total"] == 400
    limited.client().record(job())


@pytest.mark.parametrize("path", [QUERY, "/v2/account/stats/rows", "/v2/account/stats?bot=luma"])
def test_queries_of_an_account_are_limited(limited: Running, path: str) -> None:
    client = limited.client()
    both = (client, second_token(limited, client))
    statuses = [both[number % 2].http.get(path).status_code for number in range(40)]
    assert statuses[:10] == [200] * 10
    assert 429 in statuses
    last = client.http.get(path)
    while last.status_code == 200:
        last = client.http.get(path)
    refused(last, "this account has sent too many queries; 1 a second are allowed")
    assert last.headers["ratelimit-policy"] == '"account-queries";q=10;w=10'
    assert client.http.get("/v2/account").status_code == 200
    assert limited.client().http.get(path).status_code == 200


def test_an_account_has_so_many_queries_at_one_time(
    limited: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, other = limited.client(), limited.client()
    begun = threading.Semaphore(0)

    def endless(*_: object, **__: object) -> str:
        begun.release()
        return ENDLESS

    monkeypatch.setattr(aggregates, "statement", endless)
    found: list[int] = []
    clients = [second_token(limited, client) for _ in range(2)]
    threads = [
        threading.Thread(target=lambda c=one: found.append(c.http.get(QUERY).status_code))
        for one in clients
    ]
    for thread in threads:
        thread.start()
    assert all(begun.acquire(timeout=20) for _ in threads)
    for path in (QUERY, "/v2/account/stats/rows", "/v2/account/stats?bot=luma"):
        refused(client.http.get(path), "2 queries of this account wait or run")
    assert other.http.get("/v2/account/stats?bot=luma").status_code == 200
    for thread in threads:
        thread.join()
    assert found == [422, 422]
    monkeypatch.undo()
    assert client.http.get(QUERY).status_code == 200


def test_wrong_tokens_of_an_address_are_slowed_down_and_known_ones_are_not(
    limited: Running,
) -> None:
    known, new = limited.client(), limited.client()

    def ask(token: str | None, address: str) -> httpx2.Response:
        headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}
        return limited.holder(None).http.get("/v2/account", headers=headers)

    assert ask(known.token, "192.0.2.1").status_code == 200
    asked: list[str] = []
    find = limited.service.accounts.find

    def noted(text: str) -> Token | None:
        asked.append(text)
        return find(text)

    limited.service.tokens._find = noted
    try:
        statuses = [ask(f"wrong{number}", "192.0.2.1").status_code for number in range(30)]
        assert statuses[:5] == [401] * 5
        assert set(statuses[5:]) <= {401, 429}
        assert statuses.count(429) >= 15
        assert len(asked) == statuses.count(401)  # a refused one costs the database nothing
    finally:
        limited.service.tokens._find = find
    last = ask("wrong", "192.0.2.1")
    while last.status_code == 401:
        last = ask("wrong", "192.0.2.1")
    assert refused(last, "too many wrong tokens") <= 12
    assert ask(known.token, "192.0.2.1").status_code == 200
    assert ask(new.token, "192.0.2.2").status_code == 200
    assert ask(new.token, "192.0.2.1").status_code == 200


def test_a_revoked_token_is_known_no_more(limited: Running) -> None:
    client = limited.client()
    tokens = limited.service.tokens
    assert client.http.get("/v2/account").status_code == 200
    assert client.token is not None
    assert tokens.known(client.token)
    (mine,) = [t for t in limited.service.accounts.tokens() if t.account == client.account]
    limited.service.accounts.revoke(mine.id, now_ms=limited.clock())
    time.sleep(0.6)
    assert client.http.get("/v2/account").status_code == 401
    assert not tokens.known(client.token)


def test_live_streams_of_an_account_are_limited(limited: Running) -> None:
    client = limited.client()
    live = "/v2/account/stats/live"
    with client.http.stream("GET", live) as one, client.http.stream("GET", live) as two:
        assert (one.status_code, two.status_code) == (200, 200)
        refused(client.http.get(live), "2 live streams of this account are open")
        with limited.client().http.stream("GET", live) as other:
            assert other.status_code == 200
