"""C1 to C6: the token and the parameters."""

from typing import Any

import httpx2
import pytest

from genmeter.clock import DAY_MS, day_start_ms
from genmeter.model.bots import ELEVEN
from tests.support import NOON_MS, TODAY, Client, Running, job

STATS = "/v2/account/stats"


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Basic dXNlcjpwYXNz",
        "user:demo-0123",
        "Bearer user:nobody-0123",
        "Bearer two words",
        "Bearer " + "x" * 5000,
    ],
)
@pytest.mark.parametrize("query", ["", "?bot=nope&limit=x", "?bot=kling"])
def test_c1_no_valid_token_is_401_before_any_parameter(
    service: Running, header: str | None, query: str
) -> None:
    headers = {} if header is None else {"Authorization": header}
    response = httpx2.get(service.base_url + STATS + query, headers=headers)
    assert response.status_code == 401
    assert response.json() == {"error": "Unauthorized"}


def test_c1_two_authorization_headers_are_malformed(client: Client) -> None:
    both = [("Authorization", f"Bearer {client.token}")] * 2
    response = httpx2.get(f"{client.base_url}{STATS}?bot=kling", headers=both)
    assert response.status_code == 401


def test_c1_expired_and_revoked_tokens_are_unknown(service: Running) -> None:
    accounts = service.service.accounts
    now = service.clock()
    expired, _ = accounts.create("late", ["read"], now_ms=now - 2 * DAY_MS, expires_days=1)
    revoked, kept = accounts.create("gone", ["read"], now_ms=now)
    accounts.revoke(kept.id, now_ms=now)
    for token in (expired, revoked):
        response = service.holder(token).ask(bot="kling")
        assert response.status_code == 401
        assert response.json() == {"error": "Unauthorized"}


def test_c1_the_scheme_is_case_insensitive(client: Client) -> None:
    headers = {"Authorization": f"bearer {client.token}"}
    assert httpx2.get(f"{client.base_url}{STATS}?bot=luma", headers=headers).status_code == 200


@pytest.mark.parametrize("bot", ELEVEN.names)
def test_c2_each_of_the_eleven_bots_answers(client: Client, bot: str) -> None:
    assert client.stats(bot=bot)["bot"] == bot


@pytest.mark.parametrize("params", [{}, {"bot": ""}, {"bot": "Kling"}, {"bot": "flowmusic"}])
def test_c2_any_other_bot_is_400_and_names_those_allowed(
    client: Client, params: dict[str, str]
) -> None:
    response = client.ask(params)
    assert response.status_code == 400
    assert all(bot in response.json()["error"] for bot in ELEVEN.names)


def test_c3_a_date_is_a_utc_day_without_the_next_ones_first_millisecond(client: Client) -> None:
    start = day_start_ms("2026-02-10")
    moments = [start - 1, start, start + 1, start + DAY_MS - 1, start + DAY_MS]
    client.record(*(job(ms, jobid=f"j{n}") for n, ms in enumerate(moments)))
    answer = client.stats(bot="google-flow", date="2026-02-10")
    assert answer["date"] == "2026-02-10"
    assert [row["jobid"] for row in answer["data"]] == ["j3", "j2", "j1"]
    assert answer["data"][0]["timestamp"] == "2026-02-10T23:59:59.999Z"
    assert answer["data"][2]["timestamp"] == "2026-02-10T00:00:00.000Z"


def test_c3_without_date_and_limit_it_is_today_in_utc(service: Running, client: Client) -> None:
    midnight = day_start_ms(TODAY)
    client.record(job(midnight - 1, jobid="yesterday"), job(midnight, jobid="today"))
    service.clock.ms = midnight
    answer = client.stats(bot="google-flow")
    assert (answer["date"], [row["jobid"] for row in answer["data"]]) == (TODAY, ["today"])
    service.clock.ms = midnight - 1
    answer = client.stats(bot="google-flow")
    assert answer["date"] == "2026-02-12"
    assert [row["jobid"] for row in answer["data"]] == ["yesterday"]


@pytest.mark.parametrize(
    "date",
    ["2026-02-30", "2025-02-29", "2026-13-01", "2026-2-3", "20260213", "today", "2026-02-13T00",
     "0000-01-01", " 2026-02-13", "\uff12026-02-13", "2026-02-13 "],
)  # fmt: skip
def test_c3_anything_but_a_calendar_day_is_400(client: Client, date: str) -> None:
    response = client.ask(bot="kling", date=date)
    assert response.status_code == 400
    assert "YYYY-MM-DD" in response.json()["error"]


@pytest.mark.parametrize("date", ["2024-02-29", "9999-12-31", "0001-01-01", "2030-01-01"])
def test_c3_a_day_without_records_is_an_empty_answer(client: Client, date: str) -> None:
    assert client.stats(bot="kling", date=date)["total"] == 0


@pytest.mark.parametrize(
    "limit", ["0", "50001", "-1", "1.0", "1e3", "ten", " 5", "+5", "0x10", "٣", "99999999999999"]
)
def test_c4_a_limit_out_of_bounds_is_400_and_never_cut(client: Client, limit: str) -> None:
    response = client.ask(bot="kling", limit=limit)
    assert response.status_code == 400
    assert "integer from 1 to 50000" in response.json()["error"]


def test_c4_limit_is_the_last_records_over_all_days(client: Client) -> None:
    client.record(*(job(NOON_MS - n * DAY_MS, jobid=f"j{n}") for n in range(20)))
    answer = client.stats(bot="google-flow", limit=15)
    assert answer["limit"] == 15
    assert [row["jobid"] for row in answer["data"]] == [f"j{n}" for n in range(15)]
    assert answer["total"] == 15
    assert "date" not in answer
    assert client.stats(bot="google-flow", limit=50_000)["total"] == 20


@pytest.mark.parametrize("date", ["2026-02-01", "garbage", "2026-99-99"])
def test_c4_with_limit_a_date_is_not_even_checked(client: Client, date: str) -> None:
    client.record(job(jobid="only"))
    answer = client.stats(bot="google-flow", limit=5, date=date)
    assert [row["jobid"] for row in answer["data"]] == ["only"]
    assert "date" not in answer
    twice = [("bot", "google-flow"), ("limit", "5"), ("date", "x"), ("date", "y")]
    assert client.ask(twice).status_code == 200


def test_c4_records_sent_again_do_not_shorten_the_answer(client: Client) -> None:
    jobs = [job(NOON_MS - n, jobid=f"j{n:04d}") for n in range(300)]
    for _ in range(4):
        client.record(*jobs)
    answer = client.stats(bot="google-flow", limit=200)
    assert [row["jobid"] for row in answer["data"]] == [f"j{n:04d}" for n in range(200)]
    assert sum(answer["summary"]["by_code"].values()) == 200


CONFIGS = [
    "plus+tag@example.com",
    "US:someone@example.com",
    "with some spaces",
    "größe@example.com",
    "日本語チャンネル",
    "100% & more=? #x",
    "quote\"back\\slash'",
    "1234567890123456789",
]


@pytest.mark.parametrize("config", CONFIGS)
def test_c5_config_is_an_exact_match_and_echoed(client: Client, config: str) -> None:
    client.record(*(job(config=one) for one in [*CONFIGS, config.upper() + "x"]))
    answer = client.stats(bot="google-flow", config=config)
    assert answer["config"] == config
    assert [row["config"] for row in answer["data"]] == [config]
    assert answer["summary"]["by_config"] == {config: 1}


def test_c5_config_is_case_sensitive_and_applied_before_limit(client: Client) -> None:
    client.record(
        *(job(NOON_MS - n, jobid=f"a{n}", config="a@example.com") for n in range(3)),
        *(job(NOON_MS + 1000 + n, config="A@example.com") for n in range(50)),
    )
    answer = client.stats(bot="google-flow", config="a@example.com", limit=2)
    assert [row["jobid"] for row in answer["data"]] == ["a0", "a1"]
    assert list(answer) == ["bot", "limit", "config", "total", "summary", "data"]


def test_c6_an_empty_parameter_counts_as_not_given(client: Client) -> None:
    client.record(job(config="b@example.com"))
    answer = client.stats(bot="google-flow", date="", limit="", config="")
    assert answer["date"] == TODAY
    assert "config" not in answer
    assert answer["total"] == 1


def test_c6_empty_ones_beside_a_given_one_do_not_count(client: Client) -> None:
    empties = [("bot", ""), ("bot", "luma"), ("limit", ""), ("limit", ""), ("config", "")]
    assert client.ask(empties).json() == {"bot": "luma", "date": TODAY, "total": 0, "data": []}


@pytest.mark.parametrize("name", ["bot", "date", "limit", "config"])
def test_c6_a_parameter_given_twice_is_400(client: Client, name: str) -> None:
    good: dict[str, str] = {"bot": "kling", name: "kling"}
    good |= {"date": {"date": TODAY}, "limit": {"limit": "5"}}.get(name, {})
    params: list[tuple[str, Any]] = [*good.items(), (name, good[name])]
    response = client.ask(params)
    assert response.status_code == 400
    assert f"{name} is given 2 times" in response.json()["error"]


def test_c6_unknown_parameters_are_ignored(client: Client) -> None:
    response = client.ask([("bot", "luma"), ("colour", "red"), ("colour", "blue"), ("Bot", "x")])
    assert response.status_code == 200


def test_every_fault_is_in_one_message(client: Client) -> None:
    error = client.ask([("bot", "nope"), ("limit", "0"), ("config", "a"), ("config", "b")])
    message = error.json()["error"]
    assert error.status_code == 400
    assert all(word in message for word in ("bot is not known", "limit must", "config is given 2"))
