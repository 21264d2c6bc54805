"""The dashboard in a real browser: signing in, the frame, and what holds for every view."""

import gzip
import re

import httpx2
import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import Opened, settled, show
from tests.support import Client, Running, job

pytestmark = pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)

VIEWS = ["overview", "accounts", "models", "endpoints", "tiers", "skus", "codes", "captcha",
         "records", "try", "admin"]  # fmt: skip
MOST_BYTES = 500_000


def kept(page: Page) -> str:
    """The token that the page keeps, wherever a page can keep one."""
    found: str = page.evaluate(
        "() => JSON.stringify([{...sessionStorage}, {...localStorage}, document.cookie])"
    )
    return found


def test_signing_in_with_a_token(opened: Opened, known: Client) -> None:
    page = opened(None)
    page.get_by_label("Token").fill("nobody's")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_contain_text("does not know this token")
    page.get_by_label("Token").fill(f" {known.token} ")
    page.keyboard.press("Enter")
    expect(page.get_by_role("navigation", name="Views")).to_be_visible()
    assert kept(page) == f'[{{"genmeter.token":"{known.token}"}},{{}},""]'
    page.reload()
    expect(page.get_by_role("navigation", name="Views")).to_be_visible()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Token")).to_be_focused()
    assert kept(page) == '[{},{},""]'


def test_a_link_signs_in_and_its_token_is_gone_from_the_address(
    opened: Opened, known: Client
) -> None:
    page = opened(known)
    settled(page)
    assert known.token is not None
    assert known.token not in page.url
    page.go_back()
    assert known.token not in page.url


def test_a_token_that_is_revoked_in_mid_session_leads_back_to_the_door(
    opened: Opened, service: Running
) -> None:
    text, token = service.service.accounts.create("brief", ("read",), now_ms=service.clock())
    page = opened(service.holder(text), "/records?last=24h")
    service.service.accounts.revoke(token.id, now_ms=service.clock())
    service.service.tokens._asked.clear()  # an answer is remembered for half a second
    page.get_by_role("link", name="Models").click()
    expect(page.get_by_role("alert")).to_contain_text("You were signed out")
    assert kept(page) == '[{},{},""]'


def test_the_address_holds_the_view_and_the_back_button_works(
    opened: Opened, known: Client
) -> None:
    page = opened(known, "/overview?last=24h")
    assert "timezone=Europe/Berlin" in page.url
    page.get_by_label("Range").select_option("7d")
    page.get_by_label("Bot").select_option("kling")
    page.get_by_label("Time zone").select_option("UTC")
    settled(page)
    assert re.search(r"#/overview\?.*last=7d", page.url)
    assert "bot=kling" in page.url
    assert "timezone=UTC" in page.url
    shared = page.url
    page.go_back()
    page.go_back()
    expect(page.get_by_label("Bot")).to_have_value("")
    expect(page.get_by_label("Range")).to_have_value("7d")
    page.goto(shared)
    expect(page.get_by_label("Bot")).to_have_value("kling")
    expect(page.get_by_label("Time zone")).to_have_value("UTC")


def test_filters_are_added_and_removed(opened: Opened, known: Client) -> None:
    page = opened(known, "/records?last=24h")
    page.get_by_text("Filter", exact=True).click()
    page.get_by_label("Field").select_option("code")
    page.get_by_label("Value").fill("429")
    page.get_by_role("button", name="Add", exact=True).click()
    settled(page)
    expect(page.locator(".filters")).to_contain_text("code is 429")
    expect(page.locator(".records tbody tr")).to_have_count(7)
    page.get_by_role("button", name="Remove the filter code is 429").click()
    settled(page)
    assert "code=" not in page.url
    expect(page.locator(".records tbody tr")).to_have_count(80)


def test_data_is_never_markup(opened: Opened, service: Running) -> None:
    evil = "<script>document.title='owned'</script><img src=x onerror=alert(1)>"
    client = service.client(("read", "write", "admin"))
    client.record(job(config=evil, model=evil, endpoint=evil, tier=evil, sku=evil, func=evil,
                      status=evil, captchaProviders=evil, jobid=evil))  # fmt: skip
    page = opened(client)
    for view in VIEWS:
        show(page, f"/{view}?last=24h")
        if view not in ("codes", "try", "admin"):
            expect(page.locator("#main")).to_contain_text("<script>document.title=")
        assert page.locator("#app script, #app img").count() == 0
        assert "owned" not in page.title()
    show(page, "/records?last=24h")
    page.locator(".records tbody th button").click()
    expect(page.get_by_role("dialog")).to_contain_text(evil)
    assert page.locator("dialog script, dialog img").count() == 0


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1280, "dark"), (3840, "light")])
def test_every_view_fits_and_names_what_can_be_used(
    opened: Opened, service: Running, known: Client, width: int, scheme: str
) -> None:
    admin = service.client(("admin",), known.account)
    page = opened(admin, width=width, color_scheme=scheme)
    for view in VIEWS:
        show(page, f"/{view}?last=24h")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, view
        current = page.locator("nav.views [aria-current]").bounding_box()
        assert current is not None
        assert 0 <= current["x"] <= width - current["width"], view
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("a, button, input, select, summary, [role=img]")]
              .filter((one) => one.checkVisibility())
              .filter((one) => !(one.textContent.trim() || one.getAttribute("aria-label")
                || one.labels?.length))
              .map((one) => one.outerHTML)"""
        )
        assert nameless == [], view


def test_everything_is_reached_by_keyboard(opened: Opened, known: Client) -> None:
    page = opened(known, "/overview?last=24h")
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.get_by_label("Range").focus()
    page.keyboard.press("ArrowDown")
    settled(page)
    assert "last=7d" in page.url
    expect(page.get_by_label("Range")).to_be_focused()
    page.get_by_role("link", name="Models").focus()
    page.keyboard.press("Enter")
    settled(page)
    assert "#/models" in page.url
    expect(page.get_by_role("link", name="Models")).to_be_focused()
    cells = page.get_by_role("grid").locator("[tabindex='0']")
    expect(cells).to_have_count(1)
    cells.focus()
    first = page.evaluate("document.activeElement.dataset.start")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.dataset.start") > first
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    settled(page)
    assert "from=" in page.url
    assert "last=" not in page.url


def test_a_change_cancels_what_was_asked_and_shows_so_at_once(
    opened: Opened, known: Client
) -> None:
    page = opened(known, "/records?last=24h")
    held: list[Route] = []
    page.route("**/stats/rows*last=7d*", lambda route: held.append(route))
    page.get_by_label("Range").select_option("7d")
    expect(page.locator(".skeleton")).to_be_visible()
    expect(page.locator(".records")).to_have_count(0)
    with page.expect_event("requestfailed", lambda request: "last=7d" in request.url):
        page.get_by_label("Range").select_option("30d")
    expect(page.locator(".records tbody tr")).to_have_count(84)


def test_a_chart_that_cannot_be_drawn_says_so(browser: Browser, known: Client) -> None:
    broken = "export default class { constructor() { throw new Error('no canvas'); } }"
    context = browser.new_context()
    page = context.new_page()
    page.route(
        "**/uPlot.esm.js",
        lambda route: route.fulfill(content_type="text/javascript", body=broken),
    )
    page.goto(f"{known.base_url}/#token={known.token}")
    told = page.get_by_role("region", name="Durations").get_by_role("alert")
    expect(told).to_have_text("The page failed: no canvas")
    page.get_by_role("link", name="Models").click()
    settled(page)
    context.close()


def test_views_that_were_left_are_forgotten(opened: Opened, known: Client) -> None:
    page = opened(known, "/overview?last=24h")
    measures = page.context.new_cdp_session(page)
    measures.send("Performance.enable")

    def nodes() -> int:
        measures.send("HeapProfiler.collectGarbage")
        found = measures.send("Performance.getMetrics")["metrics"]
        return int(next(one["value"] for one in found if one["name"] == "Nodes"))

    held = []
    for _ in range(5):
        for view in ("overview", "models", "records", "accounts"):
            show(page, f"/{view}?last=24h")
        held.append(nodes())
    # What one of the last views had may still be there, not what each of them had.
    assert held[-1] < held[0] * 2, held


def test_where_the_server_is_away_it_says_so_and_tries_again(opened: Opened, known: Client) -> None:
    page = opened(known, "/records?last=24h")
    page.context.set_offline(True)
    page.get_by_role("link", name="Codes").click()
    alert = page.get_by_role("alert").first
    expect(alert).to_contain_text("The server does not answer")
    page.context.set_offline(False)
    alert.get_by_role("button", name="Try again").click()
    expect(page.locator("#main table").first).to_contain_text("429")


def test_where_there_is_nothing_it_says_what_to_do(opened: Opened, client: Client) -> None:
    page = opened(client)
    for view in VIEWS[:-2]:
        show(page, f"/{view}?last=24h")
        expect(page.locator("#main")).to_contain_text("No records")
    show(page, "/records?last=2000d")
    expect(page.get_by_role("alert")).to_contain_text("400")
    expect(page.get_by_role("button", name="Try again")).to_be_visible()
    show(page, "/nowhere")
    expect(page.locator("#main")).to_contain_text("There is no such view")


def test_it_is_light(service: Running) -> None:
    page = httpx2.get(service.base_url + "/")
    files = set(re.findall(r'(?:href|src)="(/assets/[^"]+)"', page.text))
    assert {name.rsplit("/", 1)[1] for name in files} >= {"main.js", "uPlot.esm.js", "style.css"}
    size = 0
    for file in files:
        response = httpx2.get(service.base_url + file, headers={"Accept-Encoding": "gzip"})
        assert response.status_code == 200
        size += int(response.headers.get("content-length") or len(gzip.compress(response.content)))
        assert "immutable" in response.headers["cache-control"]
    assert 20_000 < size < MOST_BYTES
    again = httpx2.get(page.url, headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    old = httpx2.get(service.base_url + "/assets/0123456789abcdef/main.js")
    assert old.status_code == 404


def test_the_policy_lets_nothing_else_in(service: Running) -> None:
    policy = httpx2.get(service.base_url + "/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "://" not in policy
    assert "require-trusted-types-for 'script'" in policy
