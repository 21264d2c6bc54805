"""The README's pictures of the dashboard, made from the demo: ``make screenshots``."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, sync_playwright

from tests.browser.conftest import FLAGS, settled, show
from tests.browser.known import ZONE
from tests.support import environment, program

PICTURES: Final = {
    "overview.png": ("/overview?last=7d", "light"),
    "accounts.png": ("/accounts?last=6h", "dark"),
}
FOLDER: Final = Path(__file__).parent.parent.parent / "docs"


def main() -> None:
    """Start the demo in a folder of its own, and take every picture."""
    with tempfile.TemporaryDirectory() as data:
        demo = subprocess.Popen(
            [sys.executable, "-m", "genmeter", "demo", "--data", f"{data}/data", "--port", "0"],
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        try:
            assert demo.stdout is not None
            link = next(line.split()[1] for line in demo.stdout if line.startswith("  look"))
            take(link)
        finally:
            demo.terminate()
            demo.wait(60)


def take(link: str) -> None:
    """Take the pictures of a service that ``link`` signs in to."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=FLAGS)
        for name, (view, scheme) in PICTURES.items():
            page: Page = browser.new_page(
                viewport={"width": 1280, "height": 760},
                color_scheme="dark" if scheme == "dark" else "light",
                timezone_id=ZONE,
                locale="en-GB",
            )
            page.goto(link)
            show(page, view)
            settled(page)
            page.wait_for_timeout(500)  # the charts take the width that they are given
            page.screenshot(path=FOLDER / name)
        browser.close()


if __name__ == "__main__":
    main()
