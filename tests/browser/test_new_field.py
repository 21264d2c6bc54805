"""A twelfth bot and a new optional text field, added in ``model/`` alone, through every door.

The source is copied and its tables changed; a store of today's version is then opened by it.
"""

import csv
import io
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet
from playwright.sync_api import Browser, expect

import genmeter as package
from tests.browser.conftest import settled
from tests.support import Process, environment, new_token

BOT_ENTRY = '        "luma": _MODEL,\n'
FIELD_ENTRY = '    Field(\n        key="sku",\n'
ADDED_BOT = '        "flowmusic": ("model", "region"),\n'
ADDED_FIELD = """    Field(
        key="region",
        column="region",
        dimension="region",
        per_bot=True,
        label="region",
        help="Data centre that ran the job",
        since=2,
    ),
"""


def later_source(folder: Path) -> Path:
    """A copy of the source whose tables have the bot and the field; returns its import path."""
    source = Path(package.__file__).parent
    copy = folder / "later"
    shutil.copytree(source, copy / "genmeter", ignore=shutil.ignore_patterns("__pycache__"))
    for name, before, added in (
        ("bots.py", BOT_ENTRY, BOT_ENTRY + ADDED_BOT),
        ("fields.py", FIELD_ENTRY, ADDED_FIELD + FIELD_ENTRY),
    ):
        path = copy / "genmeter" / "model" / name
        text = path.read_text(encoding="utf-8")
        assert text.count(before) == 1
        path.write_text(text.replace(before, added), encoding="utf-8")
    return copy


def jobs(now_ms: int) -> list[dict[str, Any]]:
    """Two jobs of the new bot in a region, and one without."""
    base = {"bot": "flowmusic", "config": "ops@example.com", "endpoint": "post-music",
            "code": 200, "msec": 5000, "model": "m-1"}  # fmt: skip
    return [
        base | {"jobid": "1", "timestamp": now_ms - 1000, "region": "eu-west"},
        base | {"jobid": "2", "timestamp": now_ms - 2000, "region": "us-east"},
        base | {"jobid": "3", "timestamp": now_ms - 3000},
    ]


def test_a_bot_and_a_field_are_a_change_of_the_model_alone(
    browser: Browser, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    token = new_token(data, "acme")
    headers = {"Authorization": f"Bearer {token}"}
    now_ms = time.time_ns() // 1_000_000
    with Process(data) as today:
        with httpx2.Client(base_url=today.base_url, headers=headers) as http:
            old = {"bot": "kling", "config": "c@example.com", "endpoint": "post-videos",
                   "code": 200, "msec": 1, "jobid": "0", "timestamp": now_ms - 4000}  # fmt: skip
            assert http.post("/v2/account/stats", json=old).json()["accepted"] == 1
            unknown = http.post("/v2/account/stats", json=jobs(now_ms))
            assert unknown.status_code == 400
            assert "bot must be one of" in unknown.json()["rejected"][0]["error"]
        assert today.stop() == 0
    variables = {"PYTHONPATH": str(later_source(tmp_path))}
    with Process(data, variables=variables) as later:
        with httpx2.Client(base_url=later.base_url, headers=headers) as http:
            assert http.post("/v2/account/stats", json=jobs(now_ms)).json()["accepted"] == 3
            the_contract(http)
            range_queries(http)
            descriptions(http)
        on_the_command_line(later.base_url, token, variables)
        in_the_page(browser, later.base_url, token)


def the_contract(http: httpx2.Client) -> None:
    """``GET /v2/account/stats`` shows the field for the bot that lists it, and for no other."""
    answer = http.get("/v2/account/stats", params={"bot": "flowmusic", "limit": 9}).json()
    assert [row.get("region") for row in answer["data"]] == ["eu-west", "us-east", ""]
    assert list(answer["data"][0])[-2:] == ["model", "region"]
    assert answer["summary"]["by_model"] == {"m-1": 3}
    kling = http.get("/v2/account/stats", params={"bot": "kling", "limit": 9}).json()
    assert kling["total"] == 1
    assert "region" not in kling["data"][0]


def range_queries(http: httpx2.Client) -> None:
    """The field filters, groups and is exported; the record of before has none."""
    path = "/v2/account/stats/query"
    found = http.get(path, params={"last": "1h", "region": "eu-*", "metrics": "jobs"}).json()
    assert found["total"]["jobs"] == 1
    by = {"last": "1h", "group_by": "region", "metrics": "jobs", "order": "region"}
    groups = http.get(path, params=by).json()["groups"]
    assert {group["region"]: group["jobs"] for group in groups} == {
        "": 2, "eu-west": 1, "us-east": 1,
    }  # fmt: skip
    rows = "/v2/account/stats/rows"
    exported = http.get(rows, params={"last": "1h", "format": "csv"}).text
    regions = ["eu-west", "us-east", "", ""]
    assert [row["region"] for row in csv.DictReader(io.StringIO(exported))] == regions
    body = http.get(rows, params={"last": "1h", "format": "parquet"}).content
    assert pa.parquet.read_table(pa.BufferReader(body)).column("region").to_pylist() == regions


def descriptions(http: httpx2.Client) -> None:
    """``meta`` and OpenAPI name the bot and the field."""
    meta = http.get("/v2/account/stats/meta").json()
    assert meta["bots"][-1] == "flowmusic"
    assert {"key": "region", "label": "region", "dimension": "region", "groups": True,
            "number": False} in meta["fields"]  # fmt: skip
    assert meta["dimensions"]["region"] == ["eu-west", "us-east"]
    described = http.get("/openapi.json").json()
    schemas = described["components"]["schemas"]
    for name in ("Record", "Row", "ListedRow", "Group"):
        assert "region" in schemas[name]["properties"], name
    assert "flowmusic" in schemas["Record"]["properties"]["bot"]["enum"]
    query = described["paths"]["/v2/account/stats/query"]["get"]["parameters"]
    assert {"region", "region!"} <= {parameter["name"] for parameter in query}


def on_the_command_line(base_url: str, token: str, variables: dict[str, str]) -> None:
    """``genmeter query`` has an option for the field and shows it."""
    words = ("query", "--rows", "--last", "1h", "--region", "us-east", "--url", base_url)
    done = subprocess.run(
        [sys.executable, "-m", "genmeter", *words],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment(**variables, GENMETER_TOKEN=token),
        check=True,
    )
    assert "us-east" in done.stdout
    assert "1 record" in done.stdout


def in_the_page(browser: Browser, base_url: str, token: str) -> None:
    """The page's table of records has a column for the field, and filters by it."""
    context = browser.new_context(viewport={"width": 1440, "height": 900})
    page = context.new_page()
    page.goto(f"{base_url}/#token={token}")
    page.get_by_role("navigation", name="Views").get_by_role("link", name="Records").click()
    settled(page)
    expect(page.get_by_role("columnheader", name="Region")).to_be_visible()
    page.get_by_role("cell", name="eu-west").get_by_role("link").click()
    settled(page)
    expect(page.locator(".records tbody tr")).to_have_count(1)
    expect(page.get_by_role("list", name="Filters")).to_contain_text("region is eu-west")
    context.close()
