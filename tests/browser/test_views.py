"""Each view of the dashboard against known records, its figures compared with the API's."""

import csv
import io
import json
import re
from pathlib import Path

import pyarrow.parquet
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Opened, settled, show
from tests.browser.reading import NONE, cells, duration, fixed, panel, percent, query
from tests.support import NOON_MS, Client, Running, job

pytestmark = pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)


def test_overview_shows_the_figures_beside_the_period_before(opened: Opened, known: Client) -> None:
    page = opened(known, "/overview?last=24h")
    metrics = "jobs,success_rate,service_rate,p50,p95,throttled,captcha_attempts"
    answer = query(known, metrics=metrics, compare="previous")
    now, before = answer["total"], answer["previous"]["total"]
    assert (now["jobs"], before["jobs"]) == (80, 4)
    figures = [text.split("\n") for text in page.locator(".figure").all_inner_texts()]
    assert [(name, value) for name, value, *_ in figures] == [
        ("Jobs", "80"),
        ("Success rate", percent(now["success_rate"])),
        ("Service rate", percent(now["service_rate"])),
        ("Median", duration(now["p50"])),
        ("p95", duration(now["p95"])),
        ("Throttled", "7"),
        ("Captcha tries a job", fixed(now["captcha_attempts"] / 80, 2)),
    ]
    assert figures[0][2] == "▲ 20 times (4)"
    points = now["success_rate"] - before["success_rate"]
    assert figures[1][2] == f"▼ {fixed(points, 1)} points (100.0 %)"
    page.get_by_role("link", name="Throttled").click()
    settled(page)
    assert "code=429" in page.url
    expect(page.locator(".figure strong").first).to_have_text("7")


def test_overview_draws_outcomes_and_durations_with_a_table_of_each(
    opened: Opened, known: Client
) -> None:
    page = opened(known, "/overview?last=6h")
    metrics = "success,client_errors,throttled,provider_errors,p50,p95,p99"
    answer = query(known, last="6h", interval="auto", metrics=metrics)
    for title, names, show_value in (
        ("Jobs by outcome", ["success", "client_errors", "throttled", "provider_errors"], str),
        ("Durations", ["p50", "p95", "p99"], duration),
    ):
        box = panel(page, title)
        expect(box.locator("canvas")).to_be_visible()
        box.get_by_text("As a table").click()
        expect(box.locator("tbody tr").first).to_be_visible()
        rows = [list(row.values())[1:] for row in cells(box.locator("table"))]
        assert rows == [
            [NONE if group[name] is None else show_value(group[name]) for name in names]
            for group in answer["groups"]
        ]
        plot = box.locator(".u-over")
        plot.hover()
        expect(box.locator(".told")).to_contain_text("Success" if "Jobs" in title else "p50")
    before = page.url
    area = panel(page, "Jobs by outcome").locator(".u-over").bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + area["width"] * 0.5, area["y"] + 20)
    page.mouse.down()
    page.mouse.move(area["x"] + area["width"] * 0.8, area["y"] + 20, steps=3)
    page.mouse.up()
    settled(page)
    assert "from=2026-02-13T" in page.url
    page.go_back()
    assert page.url == before


def test_records_arrive_by_themselves(opened: Opened, service: Running, known: Client) -> None:
    page = opened(known, "/overview?last=24h&code=2xx")
    newest = panel(page, "Newest records").first
    expect(newest.locator(".state")).to_have_text("Live")
    first = newest.locator("tbody tr").first
    known.record(
        job(NOON_MS, config="not@example.com", code=500),
        job(NOON_MS, config="arrived@example.com", code=201, model="<b>new</b>"),
    )
    expect(first).to_contain_text("arrived@example.com")
    expect(first).to_contain_text("<b>new</b>")
    service.client().record(job(NOON_MS, config="another's@example.com"))
    known.record(job(NOON_MS + 1000, config="second@example.com"))
    expect(first).to_contain_text("second@example.com")
    expect(newest).not_to_contain_text("not@example.com")
    expect(newest).not_to_contain_text("another's@example.com")
    assert newest.locator("tbody tr").count() == 20


def test_accounts_have_the_one_that_is_failing_now_on_top(opened: Opened, known: Client) -> None:
    page = opened(known, "/accounts?last=24h")
    rows = cells(page.locator("table"))
    answer = query(known, group_by="config", metrics="jobs,success_rate,p95,throttled")
    by_config = {group["config"]: group for group in answer["groups"]}
    assert [row["Account (config)"] for row in rows] == [
        "burning@example.com",
        "k1",
        "steady@example.com",
    ]
    for row in rows:
        group = by_config[row["Account (config)"]]
        assert row["Jobs"] == str(group["jobs"])
        assert row["Success"] == percent(group["success_rate"])
        assert row["p95"] == duration(group["p95"])
        assert row["Throttled"] == str(group["throttled"])
    assert rows[0]["Now"] == "▲ 7 failed in a row"
    assert rows[0]["403/429 run"] == "7 \N{MULTIPLICATION SIGN} 429 since 13 Feb, 12:16"
    assert rows[1]["Now"] == "✓ works"
    assert (rows[2]["Now"], rows[2]["403/429 run"]) == ("1 failed", NONE)
    show(page, "/accounts?last=24h&code=4xx")  # how they do now is not a matter of what is shown
    filtered = {row["Account (config)"]: row["Now"] for row in cells(page.locator("table"))}
    assert filtered["steady@example.com"] == "1 failed"
    show(page, "/accounts?last=24h")
    expect(page.locator(".spark")).to_have_count(3)
    assert page.locator(".spark path.bad").count() > 0
    page.get_by_role("link", name="steady@example.com").click()
    settled(page)
    assert "config=steady@example.com" in page.url.replace("%40", "@")
    assert len(cells(page.locator("table"))) == 1


@pytest.mark.parametrize(
    ("view", "dimension"),
    [
        ("models", "model"),
        ("endpoints", "endpoint"),
        ("tiers", "tier"),
        ("skus", "sku"),
        ("codes", "code"),
        ("captcha", "captchaProvider"),
    ],
)
def test_the_same_cut_another_way(opened: Opened, known: Client, view: str, dimension: str) -> None:
    page = opened(known, f"/{view}?last=24h")
    rows = cells(page.locator("#main table").first)
    metrics = "jobs,success_rate,service_rate,p50,p95,throttled,client_errors,provider_errors"
    answer = query(known, group_by=dimension, metrics=metrics)
    total = answer["total"]["jobs"]
    expected = [
        {
            "Jobs": str(group["jobs"]),
            "Share": percent(group["jobs"] / total * 100),
            "Success": percent(group["success_rate"]),
            "Service": NONE if group["service_rate"] is None else percent(group["service_rate"]),
            "p50": duration(group["p50"]),
            "p95": duration(group["p95"]),
            "Throttled": str(group["throttled"]),
            "Client errors": str(group["client_errors"]),
            "Provider errors": str(group["provider_errors"]),
        }
        for group in answer["groups"]
    ]
    assert [{key: row[key] for key in expected[0]} for row in rows] == expected
    names = [str(group[dimension]) or "(empty)" for group in answer["groups"]]
    assert [next(iter(row.values())) for row in rows] == names
    # A click on a figure leaves what it counts.
    page.locator("#main table").first.locator("tbody tr").nth(1).locator("td a").first.click()
    settled(page)
    narrowed = cells(page.locator("#main table").first)
    assert narrowed[0]["Jobs"] == expected[1]["Jobs"]


def test_a_click_on_a_value_shows_only_that_value(opened: Opened, known: Client) -> None:
    page = opened(known, "/records?last=24h&code=4xx")
    expect(page.locator(".records tbody tr")).to_have_count(13)
    page.get_by_role("link", name="429", exact=True).first.click()
    settled(page)
    expect(page.locator(".filters li")).to_have_text(["code is 429\N{MULTIPLICATION SIGN}"])
    expect(page.locator(".records tbody tr")).to_have_count(7)
    show(page, "/accounts?last=24h&config=s*,b*")
    page.get_by_role("link", name="burning@example.com").click()
    settled(page)
    assert len(cells(page.locator("table"))) == 1


def test_the_heat_map_has_each_hour_of_each_day(opened: Opened, known: Client) -> None:
    page = opened(known, "/models?last=24h&heat=throttled")
    answer = query(known, interval="1h", metrics="throttled")
    shown = {
        cell.get_attribute("data-start"): cell.get_attribute("aria-label")
        for cell in page.locator("[data-start]").all()
    }
    assert shown == {group["start"]: str(group["throttled"]) for group in answer["groups"]}
    page.get_by_label("Figure by the hour").select_option("success_rate")
    settled(page)
    assert "heat=success_rate" in page.url
    rates = query(known, interval="1h", metrics="success_rate")
    with_jobs = [g for g in rates["groups"] if g["success_rate"] is not None]
    assert page.locator("[data-start]").count() == len(with_jobs)


def test_records_hold_still_while_more_arrive(opened: Opened, known: Client) -> None:
    many = [job(NOON_MS - 7_200_000 - number, config="many@example.com") for number in range(150)]
    known.record(*many)
    page = opened(known, "/records?last=24h&config=many@example.com")
    expect(page.locator(".panel > header")).to_contain_text("150 match")
    first = page.locator(".records tbody tr")
    assert first.count() == 100
    known.record(*(job(NOON_MS, config="many@example.com") for _ in range(5)))
    page.get_by_role("link", name="Next page").click()
    expect(first).to_have_count(50)
    settled(page)
    page.get_by_role("link", name="First page").click()
    settled(page)
    expect(first).to_have_count(100)
    expect(page.locator(".panel > header")).to_contain_text("155 match")
    page.get_by_role("link", name="Oldest first").click()
    settled(page)
    first.first.locator("button").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(many[-1]["jobid"])
    assert many[-1]["jobid"] in page.url
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(page).not_to_have_url(re.compile(re.escape(many[-1]["jobid"])))


def test_exports_are_exactly_what_is_shown(
    opened: Opened, service: Running, known: Client, tmp_path: Path
) -> None:
    page = opened(known, "/records?last=24h&code=4xx&order=oldest")
    params = {"last": "24h", "code": "4xx", "order": "oldest"}
    wanted = known.http.get("/v2/account/stats/rows", params=params).json()["data"]
    assert len(wanted) == 13
    service.clock.ms += 3_600_000  # what comes later is not shown
    known.record(job(NOON_MS + 1_800_000, code=404))
    found: dict[str, list[str]] = {}
    for name in ("CSV", "Parquet", "NDJSON"):
        with page.expect_download() as saving:
            page.get_by_role("button", name=name, exact=True).click()
        path = tmp_path / saving.value.suggested_filename
        assert path.suffix == f".{name.lower()}"
        saving.value.save_as(path)
        if name == "Parquet":
            found[name] = pyarrow.parquet.read_table(path)["jobid"].to_pylist()
        elif name == "CSV":
            found[name] = [row["jobid"] for row in csv.DictReader(io.StringIO(path.read_text()))]
        else:
            found[name] = [json.loads(line)["jobid"] for line in path.read_text().splitlines()]
    assert found == {name: [row["jobid"] for row in wanted] for name in found}


def test_a_csv_export_has_nothing_that_a_spreadsheet_runs(
    opened: Opened, client: Client, tmp_path: Path
) -> None:
    client.record(job(NOON_MS - 1, config="=1+1"))
    page = opened(client, "/records?last=24h")
    with page.expect_download() as saving:
        page.get_by_role("button", name="CSV", exact=True).click()
    saving.value.save_as(tmp_path / "saved.csv")
    (row,) = csv.DictReader(io.StringIO((tmp_path / "saved.csv").read_text()))
    assert row["config"] == "'=1+1"


def test_try_it_asks_the_question_of_the_contract(
    opened: Opened, service: Running, known: Client
) -> None:
    page = opened(known, "/try")
    page.get_by_label("Bot").select_option("google-flow")
    page.get_by_label("Limit").fill("7")
    page.get_by_label("Config").fill("burning@example.com")
    code = page.locator("pre")
    question = "bot=google-flow&limit=7&config=burning%40example.com"
    expect(code).to_contain_text(f"{service.base_url}/v2/account/stats?{question}")
    page.get_by_role("tab", name="JavaScript").click()
    expect(code).to_contain_text('config: "burning@example.com"')
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Python")).to_be_focused()
    expect(code).to_contain_text("requests.get(")
    assert known.token is not None
    assert known.token not in code.inner_text()
    page.get_by_role("button", name="Send").click()
    facts = page.locator(".facts")
    expect(facts).to_contain_text("200 OK")
    stats = known.ask(bot="google-flow", limit=7, config="burning@example.com")
    expect(facts).to_contain_text(f"{len(stats.content) / 1000:.1f} kB")
    tree = page.get_by_role("group", name="The answer as JSON")
    expect(tree).to_contain_text(f'"success_rate": "{stats.json()["summary"]["success_rate"]}"')
    by_code = tree.locator("summary", has_text='"by_code"')
    expect(tree.get_by_text('"429": 7')).to_have_count(0)
    by_code.click()
    expect(tree.locator(".leaf", has_text='"429": 7')).to_be_visible()
    by_code.click()
    expect(tree.locator(".leaf", has_text='"429": 7')).to_be_hidden()
    page.get_by_label("Token").fill("wrong")
    page.get_by_role("button", name="Send").click()
    expect(facts).to_contain_text("401")
    expect(tree).to_contain_text('"error": "Unauthorized"')
    expect(page.get_by_role("navigation", name="Views")).to_be_visible()


def test_an_admin_sees_any_account_and_makes_and_revokes_tokens(
    opened: Opened, service: Running, known: Client
) -> None:
    admin = service.client(("admin",))
    page = opened(admin, "/admin")
    page.get_by_label("Account").first.select_option(known.account)
    settled(page)
    page.get_by_role("link", name="See the overview").click()
    settled(page)
    expect(page.locator(".figure strong").first).to_have_text("80")
    show(page, "/accounts?last=24h&account=*")
    expect(page.locator("tbody")).to_contain_text(known.account)
    show(page, "/admin")
    form = page.get_by_role("form", name="New token")
    form.get_by_role("textbox", name="Account").fill("n o")
    form.get_by_role("button", name="Create").click()
    expect(form.get_by_role("alert")).to_contain_text("account must be")
    form.get_by_role("textbox", name="Account").fill("made-here")
    form.get_by_label("Days until it expires").fill("3")
    form.get_by_role("button", name="Create").click()
    text = form.locator(".token").inner_text()
    assert service.holder(text).http.get("/v2/account").json()["scopes"] == ["read"]
    row = page.locator("tr", has_text="made-here")
    expect(row).to_contain_text("valid")
    row.get_by_role("button").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    expect(row).to_contain_text("revoked")
    service.service.tokens._asked.clear()  # an answer is remembered for half a second
    assert service.holder(text).http.get("/v2/account").status_code == 401


def test_who_is_no_admin_finds_no_administration(opened: Opened, known: Client) -> None:
    page = opened(known, "/admin")
    expect(page.get_by_role("link", name="Admin")).to_have_count(0)
    expect(page.locator("#main")).to_contain_text("Sign in with one that has the scope admin")
