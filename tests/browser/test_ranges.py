"""Ranges of one's own, to the minute, in zones whose clocks do odd things."""

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import Opened, settled, show
from tests.browser.known import ZONE
from tests.browser.reading import duration, percent, query
from tests.query.test_zones import ODD_DAYS
from tests.support import Client, Running, job

pytestmark = pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)

MINUTE = timedelta(minutes=1)


def choose(page: Page, begin: str, end: str) -> None:
    """Ask for a range by the form, as the clocks of the zone show it."""
    page.get_by_label("Range").select_option("custom")
    form = page.get_by_role("form", name="Other times")
    form.get_by_label("From").fill(begin)
    form.get_by_label("To", exact=True).fill(end)
    page.keyboard.press("Enter")


def test_a_range_from_one_minute_to_another(opened: Opened, known: Client) -> None:
    page = opened(known, "/records?last=24h")
    before = page.url
    begin, end = "2026-02-13T11:05", "2026-02-13T12:20"
    choose(page, begin, end)
    settled(page)
    assert "from=2026-02-13T10:05:00.000Z&to=2026-02-13T11:20:00.000Z" in page.url
    assert "last=" not in page.url
    found = query(known, **{"from": f"{begin}+01:00", "to": f"{end}+01:00", "metrics": "jobs"})
    jobs = found["total"]["jobs"]
    assert 0 < jobs < 80
    expect(page.locator(".panel > header")).to_contain_text(f"{jobs} match")
    words = "13 Feb 2026, 11:05 \N{EN DASH} 13 Feb 2026, 12:20"
    expect(page.get_by_label("Range").locator("option:checked")).to_have_text(words)
    expect(page.get_by_label("Range")).to_be_focused()

    # The same moments in another zone; what is not changed stays as it is.
    page.get_by_label("Time zone").select_option("UTC")
    settled(page)
    expect(page.locator(".panel > header")).to_contain_text(f"{jobs} match")
    page.get_by_label("Range").select_option("custom")
    form = page.get_by_role("form", name="Other times")
    expect(form.get_by_label("From")).to_have_value("2026-02-13T10:05")
    form.get_by_label("To", exact=True).fill("")
    form.get_by_role("button", name="Show").click()
    settled(page)
    assert "from=2026-02-13T10:05:00.000Z" in page.url
    assert "to=" not in page.url

    for _ in range(3):
        page.go_back()
        settled(page)
    assert page.url == before
    expect(page.get_by_label("Range")).to_have_value("24h")
    expect(page.locator(".panel > header")).to_contain_text("80 match")

    choose(page, "2026-02-12T00:00", "2026-02-13T00:00")  # whole days are those of any zone
    settled(page)
    assert "from=2026-02-12&to=2026-02-13" in page.url
    expect(page.locator(".panel > header")).to_contain_text("4 match")


def test_a_range_that_makes_no_sense_is_told_so(opened: Opened, known: Client) -> None:
    page = opened(known, "/records?last=24h")
    before = page.url
    told = page.get_by_role("form", name="Other times").get_by_role("alert")
    for begin, end, message, wrong in (
        ("2026-02-13T12:00", "2026-02-13T12:00", "From must be before To.", "To"),
        ("2026-02-13T12:00", "2026-02-12T00:00", "From must be before To.", "To"),
        ("", "2026-02-12T00:00", "Give the date and time to begin with.", "From"),
        (
            "2025-03-30T02:30",
            "2026-02-12T00:00",
            "Clocks in Europe/Berlin skip 30 Mar 2025, 02:30. Choose another time.",
            "From",
        ),
    ):
        choose(page, begin, end)
        expect(told).to_have_text(message)
        field = page.get_by_role("form", name="Other times").get_by_label(wrong, exact=True)
        expect(field).to_be_focused()
        expect(field).to_have_attribute("aria-invalid", "true")
        assert page.url == before
    page.keyboard.press("Escape")
    expect(told).to_be_hidden()
    expect(page.get_by_label("Range")).to_have_value("24h")
    expect(page.get_by_label("Range")).to_be_focused()
    # In an address, the answer says what is wrong.
    for range_, words in (
        ("from=2026-02-13&to=2026-02-12", "from must be before to"),
        ("from=yesterday", "from must be a date such as"),
        ("last=24h&timezone=Mars/Olympus", "timezone must be"),
        ("from=2026-02-12T00:00Z&timezone=Mars/Olympus", "timezone must be"),
    ):
        show(page, f"/records?{range_}")
        expect(page.locator(".panel").get_by_role("alert")).to_contain_text(words)


def test_an_hour_that_comes_twice_is_in_the_range_both_times(opened: Opened, known: Client) -> None:
    page = opened(known, "/records?last=24h")
    choose(page, "2025-10-26T02:30", "2025-10-26T02:30")
    settled(page)
    assert "from=2025-10-26T00:30:00.000Z&to=2025-10-26T01:30:00.000Z" in page.url


def test_the_page_and_the_service_know_the_same_clocks(opened: Opened, known: Client) -> None:
    page = opened(known)
    for name, text in ODD_DAYS:
        zone, day = ZoneInfo(name), date.fromisoformat(text)
        wanted: dict[str, list[int]] = {}
        for number in range(-120, 26 * 60, 15):
            shown = datetime(day.year, day.month, day.day) + number * MINUTE
            both = {shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
            wanted[shown.isoformat()[:16]] = sorted(
                int(moment.timestamp() * 1000)
                for moment in both
                if moment.astimezone(zone).replace(tzinfo=None) == shown
            )
        found, begin = page.evaluate(
            """async ([texts, zone, day]) => {
              const page = document.querySelector("script[type=module]").src;
              const { moments, momentOf } = await import(page.replace("main.js", "parts/zones.js"));
              return [texts.map((text) => moments(text, zone)), momentOf(day, zone)];
            }""",
            [list(wanted), name, text],
        )
        assert dict(zip(wanted, found, strict=True)) == wanted, name
        midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
        assert begin == int(midnight.timestamp() * 1000), name


def test_the_heat_map_holds_both_hours_where_clocks_are_set_back(
    opened: Opened, service: Running
) -> None:
    service.clock.ms = int(datetime(2026, 4, 6, tzinfo=UTC).timestamp() * 1000)
    client = service.client()
    first = int(datetime(2026, 4, 4, 15, 30, tzinfo=UTC).timestamp() * 1000)
    client.record(
        *(job(first + n, code=code, msec=1000 * n + 1) for n, code in enumerate((200, 200, 429))),
        *(job(first + 3_600_000 + n, code=500, msec=9000 + n) for n in range(2)),
        *(job(first + n * 3_600_000, msec=70) for n in (-1, 2, 2)),
    )
    range_ = {"from": "2026-04-04", "to": "2026-04-06", "timezone": "Australia/Sydney"}
    page = opened(client)
    both = {"from": "2026-04-04T15:00Z", "to": "2026-04-04T17:00Z"}
    for metric, written in (
        ("jobs", str),
        ("success_rate", percent),
        ("p95", duration),
        ("throttled", str),
        ("provider_errors", str),
    ):
        address = "&".join(f"{name}={value}" for name, value in range_.items())
        show(page, f"/models?{address}&heat={metric}")
        value = query(client, **both, metrics=metric)["total"][metric]
        twice = page.locator("td.again")
        expect(twice).to_have_count(1)
        expect(twice).to_have_accessible_name(f"{written(value)}, clocks set back")
        twice.hover()
        told = page.locator(".told", has_text="clocks set back")
        expect(told).to_have_text(
            re.compile(f"5 Apr 2026, 02:00, clocks set back, 2 h in all: .* {written(value)}")
        )
        hours = query(client, **range_, interval="1h", metrics=metric)["groups"]
        other = {
            hour["start"]: written(hour[metric])
            for hour in hours
            if hour[metric] is not None and not hour["start"].startswith("2026-04-05T02")
        }
        shown = {
            cell.get_attribute("data-start"): cell.get_attribute("aria-label")
            for cell in page.locator("[data-start]:not(.again)").all()
        }
        assert shown == other, metric
    assert query(client, **both, metrics="success_rate")["total"] == {"success_rate": 40.0}
    twice.press("Enter")
    settled(page)
    assert "from=2026-04-04T15:00:00.000Z&to=2026-04-04T17:00:00.000Z" in page.url


def test_the_heat_map_says_why_an_hour_is_not_there(opened: Opened, service: Running) -> None:
    service.clock.ms = int(datetime(2026, 3, 30, tzinfo=UTC).timestamp() * 1000)
    client = service.client()
    client.record(job(service.clock.ms - 82_800_000))  # at 3 o'clock
    page = opened(client, f"/models?from=2026-03-28T12:00Z&to=2026-03-30&timezone={ZONE}")
    rows = page.locator(".heat tbody tr")
    [sunday, saturday] = [
        [cell.get_attribute("aria-label") for cell in row.locator("td").all()] for row in rows.all()
    ]
    assert sunday == ["0", "0", "clocks skip this hour"] + [
        "1" if n == 3 else "0" for n in range(3, 24)
    ]
    assert saturday == ["not in the range"] * 13 + ["0"] * 11


def test_the_first_and_the_last_hour_hold_no_more_than_the_range(
    opened: Opened, known: Client
) -> None:
    page = opened(known, f"/models?from=2026-02-13T11:20Z&to=2026-02-13T11:40Z&timezone={ZONE}")
    jobs = query(known, **{"from": "2026-02-13T11:20Z", "to": "2026-02-13T11:40Z"})["total"]["jobs"]
    cell = page.locator("[data-start]")
    expect(cell).to_have_accessible_name(str(jobs))
    cell.click()
    settled(page)
    assert "from=2026-02-13T11:20:00.000Z&to=2026-02-13T11:40:00.000Z" in page.url
