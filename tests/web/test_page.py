"""The dashboard's page as the server gives it, and its colours; tests/browser/ looks at it."""

import re
from itertools import product
from pathlib import Path

import httpx2
import pytest

from genmeter.web import page
from tests.support import Running

STATIC = Path(page.__file__).parent / "static"
AA = 4.5


def colours(scheme: str) -> dict[str, str]:
    """The named colours of a scheme."""
    blocks = re.findall(r":root \{(.*?)\}", (STATIC / "style.css").read_text(), re.DOTALL)
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[scheme == "dark"]))


def luminance(colour: str) -> float:
    """How bright a colour is, as WCAG 2 reckons."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_every_ground_it_is_on(scheme: str) -> None:
    named = colours(scheme)
    on = [*product(("text", "dim", "accent", "good", "worse"), ("ground", "panel", "sunk")),
          ("accent", "tint"), ("text", "tint"), ("text", "bad-tint"), ("worse", "bad-tint"),
          ("on-accent", "accent"), ("line2", "panel"), ("line3", "panel")]  # fmt: skip
    too_near = {
        pair: round(contrast(*(named[name] for name in pair)), 2)
        for pair in on
        if contrast(*(named[name] for name in pair)) < AA
    }
    assert too_near == {}
    for mark in ("edge", "success", "throttled", "provider_errors", "client_errors"):
        least = contrast(named[mark], named["panel"])
        assert least >= (3 if mark in ("edge", "provider_errors") else 2.5), (mark, least)


def test_nothing_of_the_page_is_inline_or_elsewhere() -> None:
    for path in filter(Path.is_file, STATIC.rglob("*")):
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) < 500, path.name
        addresses = set(re.findall(r"https?://[\w./]+", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, path.name
        assert "innerHTML" not in text, path.name
        assert not re.search(r"\bon\w+=\"|style=\"|<style", text), path.name


def test_without_its_chart_library_the_page_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "static").symlink_to(STATIC)
    monkeypatch.setattr(page, "_HERE", tmp_path)
    assert [route.path for route in page.routes()] == ["/", "/assets/{version}/{name:path}"]


def test_files_are_served_as_what_they_are(service: Running) -> None:
    index = httpx2.get(service.base_url + "/")
    assert index.headers["content-type"].startswith("text/html")
    assert index.headers["cache-control"] == "no-cache"
    for name, kind in (("main.js", "text/javascript"), ("style.css", "text/css"),
                       ("icon.svg", "image/svg+xml")):  # fmt: skip
        found = re.search(rf'"(/assets/\w+/{name})"', index.text)
        assert found is not None
        response = httpx2.get(service.base_url + found[1])
        assert response.headers["content-type"].startswith(kind)
        assert response.headers["x-content-type-options"] == "nosniff"
