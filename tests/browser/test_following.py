"""The newest records, followed over breaks: none is missed, none is shown twice."""

import signal
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from genmeter.clock import now_ms
from tests.browser.conftest import Opened, settled
from tests.browser.reading import panel
from tests.support import NOON_MS, Client, Process, Running, job, new_token

pytestmark = pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)

LIVE = "**/stats/live*"
LONGEST_PAUSE_MS = 15_000


def newest(page: Page) -> Locator:
    """The panel of the newest records."""
    return panel(page, "Newest records")


def shown(page: Page) -> list[str]:
    """The configs of the newest records, from the top."""
    return newest(page).locator("tbody tr td:nth-child(5)").all_inner_texts()


def state(page: Page) -> Locator:
    """What the panel says of the stream."""
    return newest(page).locator(".state")


def test_following_goes_on_after_the_server_was_away(opened: Opened, tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = new_token(data, "acme")
    with Process(data) as server:
        client = Client(server.base_url, token, "acme")
        client.record(job(now_ms() - 5000, config="first"))
        page = opened(client)
        page.clock.install()
        page.reload()
        settled(page)
        expect(state(page)).to_have_text("Live")
        client.record(job(now_ms(), config="second"))
        expect(newest(page)).to_contain_text("second")
        server.stop()
        expect(state(page)).to_have_text("Connecting again …")
        page.clock.fast_forward(LONGEST_PAUSE_MS)  # it tries again, in vain
        port = int(server.base_url.rsplit(":", 1)[1])
        page.context.set_offline(True)
        client.http.close()
    with Process(data, port=port) as server:
        client = Client(server.base_url, token, "acme")
        client.record(job(now_ms(), config="while away"), job(now_ms() - 9000, config="late"))
        assert "while away" not in shown(page)
        page.context.set_offline(False)
        page.clock.fast_forward(LONGEST_PAUSE_MS)
        expect(state(page)).to_have_text("Live", timeout=LONGEST_PAUSE_MS)
        expect(newest(page)).to_contain_text("while away")
        client.record(job(now_ms(), config="third"))
        expect(newest(page)).to_contain_text("third")
        assert sorted(shown(page)) == ["first", "late", "second", "third", "while away"]

        # A server that hangs says nothing; the page does not wait for it for ever.
        server.process.send_signal(signal.SIGSTOP)
        try:
            page.clock.fast_forward(46_000)
            expect(state(page)).to_have_text("Connecting again …")
        finally:
            server.process.send_signal(signal.SIGCONT)
        expect(state(page)).to_have_text("Live", timeout=LONGEST_PAUSE_MS)
        client.record(job(now_ms(), config="fourth"))
        expect(newest(page)).to_contain_text("fourth")
        assert len(shown(page)) == 6
        client.http.close()


def test_what_is_asked_for_again_is_not_shown_twice(
    opened: Opened, service: Running, client: Client
) -> None:
    corrected = job(NOON_MS - 2000, config="before")
    client.record(corrected)
    page = opened(client)
    page.clock.install()
    page.reload()
    settled(page)
    expect(state(page)).to_have_text("Live")
    client.record(job(NOON_MS - 1000, config="arrived"), corrected | {"config": "after"})
    expect(newest(page)).to_contain_text("after")
    assert sorted(shown(page)) == ["after", "arrived"]
    with page.expect_response("**/stats/rows*"):
        page.clock.fast_forward(61_000)  # a minute later all figures are asked for again
    expect(newest(page).locator("tbody tr").first).to_contain_text("arrived")
    assert shown(page) == ["arrived", "after"]
    # A day later these are no longer among the newest of the range.
    service.clock.ms += 25 * 3_600_000
    with page.expect_response("**/stats/rows*"):
        page.clock.fast_forward(61_000)
    expect(newest(page)).to_contain_text("No records yet")


def test_nothing_falls_between_the_first_records_and_the_stream(
    opened: Opened, client: Client
) -> None:
    client.record(job(NOON_MS - 1000, config="before"))
    page = opened(client, "/records?last=24h")
    held: list[Route] = []
    page.route(LIVE, lambda route: held.append(route))
    with page.expect_request(LIVE):
        page.evaluate("() => { location.hash = '/overview?last=24h' }")
    expect(page.locator(".figure").first).to_be_visible()
    expect(page.locator("canvas")).to_have_count(2)
    client.record(job(NOON_MS, config="between"))
    held[0].continue_()
    expect(state(page)).to_have_text("Live")
    expect(newest(page)).to_contain_text("between")
    assert sorted(shown(page)) == ["before", "between"]
