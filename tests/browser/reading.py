"""What the page shows, read back, and how it writes what the API says."""

from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from playwright.sync_api import Locator, Page

from tests.browser.known import ZONE
from tests.support import Client

NONE = "\N{EN DASH}"


def query(client: Client, **params: Any) -> dict[str, Any]:
    """Figures from the API itself, of the last 24 hours unless a range is given."""
    params = {"timezone": ZONE} | ({} if "from" in params else {"last": "24h"}) | params
    response = client.http.get("/v2/account/stats/query", params=params)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def cells(table: Locator) -> list[dict[str, str]]:
    """A table as dictionaries by its headings."""
    heads = [text.rstrip(" ↓↑") for text in table.locator("thead th").all_inner_texts()]
    return [
        dict(zip(heads, row.locator("th, td").all_inner_texts(), strict=True))
        for row in table.locator("tbody tr").all()
    ]


def panel(page: Page, name: str) -> Locator:
    """A panel by its title."""
    return page.get_by_role("region", name=name, exact=True).first


def fixed(value: float, places: int) -> str:
    """A number with so many decimals, half up as browsers round."""
    return str(Decimal(str(value)).quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))


def percent(value: float) -> str:
    """A rate as the page writes it for a British reader."""
    return f"{fixed(value, 1)} %"


def duration(ms: int) -> str:
    """Milliseconds as the page writes them for a British reader."""
    if ms < 1000:
        return f"{ms} ms"
    if ms < 100_000:
        text = f"{ms / 1000:.2f}" if ms < 10_000 else f"{ms / 1000:.1f}"
        return f"{text.rstrip('0').rstrip('.')} s"
    return f"{ms / 60_000:.1f}".rstrip("0").rstrip(".") + " min"
