"""A real browser, one for all tests here, on a service with known records in it.

A page that logs an error, breaks its content security policy or talks to another server fails the
test that it was opened for.
"""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tests.browser.known import ZONE, jobs
from tests.support import Client, Running, program

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
"""What lets it start as root, and keeps it from talking to its maker."""

Opened = Callable[..., Page]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """Debian's Chromium."""
    path = program("chromium")
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=path, args=FLAGS)


@pytest.fixture
def known(service: Running) -> Client:
    """Somebody whose account has the known records."""
    client = service.client()
    client.record(*jobs())
    return client


@pytest.fixture
def opened(browser: Browser, service: Running) -> Iterator[Opened]:
    """Opens the page: ``opened(client, "/records?last=7d", width=360, color_scheme="dark")``."""
    contexts = []
    faults: list[str] = []
    ours = [service.base_url, "blob:"]

    def told(message: ConsoleMessage) -> None:
        # That a request was refused is what some tests are about.
        if message.type == "error" and "Failed to load resource" not in message.text:
            faults.append(message.text)

    def open_page(
        client: Client | None, view: str = "", *, width: int = 1280, **options: Any
    ) -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            timezone_id=ZONE,
            locale="en-GB",
            accept_downloads=True,
            **options,
        )
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.on("console", told)
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on(
            "request",
            lambda request: (
                faults.append(request.url) if not request.url.startswith(tuple(ours)) else None
            ),
        )
        if client is None:
            page.goto(service.base_url + "/")
        else:
            ours.append(client.base_url)
            page.goto(f"{client.base_url}/#token={client.token}")
            page.wait_for_selector("#main")
        if view:
            show(page, view)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not faults, faults


def show(page: Page, view: str) -> None:
    """Go to a view by its address, and wait until it is all there."""
    page.evaluate("view => { location.hash = view }", view)
    settled(page)


def settled(page: Page) -> None:
    """Wait until nothing waits for an answer."""
    expect(page.locator("#main")).to_be_visible()
    expect(page.locator(".skeleton")).to_have_count(0)
