"""Runs of failures and refusals on the accounts view, compared with the records themselves."""

import re
from typing import Any

import pytest
from playwright.sync_api import Request, expect

from tests.browser.conftest import Opened, settled, show
from tests.browser.known import HOUR_MS
from tests.browser.reading import NONE, cells
from tests.support import NOON_MS, Client, Running, job

pytestmark = pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)

NEWEST = 2050
"""More records than the page looks at one by one."""


def went(config: str, hours_ago: int, *codes: int) -> list[dict[str, Any]]:
    """Jobs of a config, a second apart, the first so many hours ago."""
    begin = NOON_MS - hours_ago * HOUR_MS
    return [job(begin + n * 1000, config=config, code=code) for n, code in enumerate(codes)]


def together(config: str, hours_ago: int, *codes: int) -> list[dict[str, Any]]:
    """Jobs of a config in one and the same millisecond."""
    moment = NOON_MS - hours_ago * HOUR_MS
    return [job(moment, config=config, code=code) for code in codes]


HISTORY = [
    *went("long", 1, 200, *[429] * NEWEST),
    *went("older", 9, 429, 201, *[429] * 12, *[403] * 5),
    *went("mixed", 9, 200, 503, *[429] * 4),
    *went("refused", 9, *[403] * 6),
    *went("broken", 9, 200, 429, 500, 502),
    *went("fine", 9, 429, 429, 200),
    *together("tied", 9, 429, 200, 429),
    *went("after", 9, 429, 503),
    *together("after", 8, 429, 200),
    *went("after", 7, 403),
]


def run(config: str, *, refused: bool) -> list[dict[str, Any]]:
    """The jobs later than the last that went otherwise."""
    mine = [one for one in HISTORY if one["config"] == config]
    fits = {403, 429} if refused else set(range(300, 1000))
    end = max((one["timestamp"] for one in mine if one["code"] not in fits), default="")
    return [one for one in mine if one["timestamp"] > end]


def test_runs_are_exact_over_the_whole_range(opened: Opened, client: Client) -> None:
    client.record(*HISTORY)
    page = opened(client, "/accounts?last=24h&timezone=UTC")
    rows = {row["Account (config)"]: row for row in cells(page.locator("table"))}
    assert list(rows)[:5] == ["long", "older", "refused", "mixed", "broken"]
    for config, row in rows.items():
        failures, refusals = run(config, refused=False), run(config, refused=True)
        failed = f"{len(failures):,}"
        words = "\N{CHECK MARK} works" if not failures else f"{failed} failed"
        if len(failures) >= 3:
            words = f"\N{BLACK UP-POINTING TRIANGLE} {failed} failed in a row"
        assert row["Now"] == words, config
        if not refusals:
            assert row["403/429 run"] == NONE, config
            continue
        codes = {one["code"] for one in refusals}
        code = next(iter(codes)) if len(codes) == 1 else "403/429"
        first = min(one["timestamp"] for one in refusals)[11:16]
        count = f"{len(refusals):,} \N{MULTIPLICATION SIGN} {code}"
        assert row["403/429 run"] == f"{count} since 13 Feb, {first}", config
    assert rows["older"]["403/429 run"].startswith("17 \N{MULTIPLICATION SIGN} 403/429")
    assert rows["tied"]["Now"] == "\N{CHECK MARK} works"

    page.get_by_role("link", name=re.compile("^17 .* since")).click()
    settled(page)
    expect(page.locator(".panel > header")).to_contain_text("17 match")

    show(page, "/accounts?last=24h&timezone=UTC&code=2xx")  # of those alone nobody fails
    filtered = {row["Account (config)"]: row for row in cells(page.locator("table"))}
    assert set(filtered) == set(rows) - {"refused"}
    for config, row in filtered.items():
        assert row["403/429 run"] == rows[config]["403/429 run"]


def test_configs_of_one_name_are_told_apart_by_their_accounts(
    opened: Opened, service: Running
) -> None:
    clients = [service.client(), service.client()]
    clients[0].record(*went("same", 9, 200, 429, 429, 403))
    clients[1].record(*went("same", 9, 429, 200), *went("fine", 1, *[200] * NEWEST))
    page = opened(service.client(("admin",)))
    names = ",".join(client.account for client in clients)
    show(page, f"/accounts?last=24h&account={names}")
    found = {
        (row["Account"], row["Account (config)"]): row["403/429 run"].split(" since")[0]
        for row in cells(page.locator("table"))
    }
    assert found == {
        (clients[0].account, "same"): "3 \N{MULTIPLICATION SIGN} 403/429",
        (clients[1].account, "same"): NONE,
        (clients[1].account, "fine"): NONE,
    }
    # Three of four failed, and one of two: so high are these parts of bars of 24.
    expect(page.locator(".spark")).to_have_count(3)
    failed = [part.get_attribute("d") or "" for part in page.locator(".spark .bad").all()]
    assert [re.findall(r"v([\d.]+)", bars) for bars in failed] == [["18.00"], ["12.00"]]


def test_what_is_not_asked_about_says_that_it_is_the_least(opened: Opened, client: Client) -> None:
    many = [went(f"failing{n:02}", 9, 200, *[429] * (n + 1)) for n in range(45)]
    client.record(*[one for group in many for one in group], *went("fine", 1, *[200] * NEWEST))
    page = opened(client, "/records?last=24h")
    questions: list[str] = []

    def asked(request: Request) -> None:
        if "/stats/query" in request.url:
            questions.append(request.url)

    page.on("request", asked)
    show(page, "/accounts?last=24h")
    runs = {row["Account (config)"]: row["403/429 run"] for row in cells(page.locator("table"))}
    for n in range(45):
        known = f"{n + 1} \N{MULTIPLICATION SIGN} 429 since"
        least = "\N{GREATER-THAN OR EQUAL TO} 1 \N{MULTIPLICATION SIGN} 403/429"
        assert runs[f"failing{n:02}"].startswith(known if n >= 5 else least)
    assert sum("config=failing" in url for url in questions) == 40
