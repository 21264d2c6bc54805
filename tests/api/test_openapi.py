"""The OpenAPI description against the live answers, and the page made of it."""

import re
from typing import Any

import httpx2
import jsonschema
import pytest

from genmeter.model.bots import ELEVEN
from tests.support import NOON_MS, Client, Running, job


@pytest.fixture
def description(service: Running) -> dict[str, Any]:
    """What the server says of itself."""
    response = httpx2.get(f"{service.base_url}/openapi.json")
    assert response.headers["content-type"] == "application/json"
    document: dict[str, Any] = response.json()
    return document


def check(description: dict[str, Any], path: str, response: httpx2.Response) -> None:
    """Hold an answer against what the description promises for its route and status."""
    method = response.request.method.lower()
    promised = description["paths"][path][method]["responses"]
    status = str(response.status_code)
    assert status in promised, (method, path, status)
    schema = promised[status]["content"]["application/json"]["schema"]
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}
    whole["components"] = description["components"]
    jsonschema.Draft202012Validator(whole).validate(response.json())


def test_it_is_openapi_3_1_and_every_reference_leads_somewhere(
    description: dict[str, Any],
) -> None:
    assert description["openapi"] == "3.1.0"
    schemas = description["components"]["schemas"]
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
    for name in re.findall(r"#/components/schemas/(\w+)", str(description)):
        assert name in schemas
    ids = [op["operationId"] for path in description["paths"].values() for op in path.values()]
    assert len(ids) == len(set(ids))


def test_every_route_for_programs_is_described(
    service: Running, description: dict[str, Any]
) -> None:
    listed = httpx2.get(f"{service.base_url}/nothing").json()["error"].split("there are ")[1]
    pages = {"/", "/assets/{version}/{name:path}", "/docs", "/docs.css", "/openapi.json"}
    assert set(listed.split(", ")) - pages == set(description["paths"])


@pytest.mark.parametrize("bot", ELEVEN.names)
def test_answers_are_as_described(client: Client, description: dict[str, Any], bot: str) -> None:
    path = "/v2/account/stats"
    check(description, path, client.ask(bot=bot))
    full = {"model": "m", "captchaProviders": "CapSolver", "captchaRetry": 3, "tier": "t"}
    check(description, path, client.send([job(bot=bot), job(NOON_MS - 1, bot=bot) | full]))
    check(description, path, client.ask(bot=bot))
    check(description, path, client.ask(bot=bot, limit=1, config="ops@example.com"))


def test_refusals_are_as_described(service: Running, description: dict[str, Any]) -> None:
    client, reader, writer = (
        service.client(scopes) for scopes in (("read", "write"), ("read",), ("write",))
    )
    path = "/v2/account/stats"
    check(description, path, service.holder(None).ask(bot="kling"))
    check(description, path, writer.ask(bot="kling"))
    check(description, path, client.ask(bot="?"))
    check(description, path, reader.send([job()]))
    check(description, path, client.send([job(code=-1)]))
    check(description, path, client.send([job(code=-1), job()]))
    check(description, path, client.send(b"{"))
    check(description, path, client.send(b"{}", Content_Type="text/plain"))
    check(description, path, client.send(b" " * (16 * 2**20 + 1)))
    check(description, "/v2/account", client.http.get("/v2/account"))
    check(description, "/v2/account", service.holder(None).http.get("/v2/account"))
    for health in ("/healthz", "/readyz"):
        check(description, health, client.http.get(health))


@pytest.mark.engines("embedded")  # the shapes are made of no engine
@pytest.mark.parametrize("method", ["get", "post"])
def test_answers_about_ranges_are_as_described(
    client: Client, admin: Client, description: dict[str, Any], method: str
) -> None:
    client.record(job(), job(NOON_MS - 1, captchaRetry=2, captchaProviders="a,b"))

    def ask(who: Client, path: str, **params: Any) -> None:
        if method == "post":
            check(description, path, who.http.post(path, json=params))
        else:
            check(description, path, who.http.get(path, params=params))

    query, rows = "/v2/account/stats/query", "/v2/account/stats/rows"
    ask(client, query)
    every = [metric["name"] for metric in client.http.get(f"{query[:-5]}meta").json()["metrics"]]
    ask(client, query, metrics=",".join(every) if method == "get" else every, group_by="config")
    more = {"interval": "1h", "top": 1, "group_by": "captchaRetry", "timezone": "Asia/Kolkata"}
    ask(client, query, last="3h", compare="previous", **more)
    ask(client, query, metrics="no")
    ask(client, query, account="other")
    ask(client, query, interval="1m", last="300d")
    ask(client, rows)
    ask(client, rows, limit=1)
    ask(admin, rows, account="*")
    ask(admin, query, account="*", group_by="account")
    if method == "get":
        meta = "/v2/account/stats/meta"
        check(description, meta, client.http.get(meta))
        check(description, meta, admin.http.get(meta, params={"account": "*"}))
        check(description, meta, client.http.get(meta, params={"x": "1"}))
        refused = client.http.get(query, headers={"Accept": "image/png"})
        check(description, query, refused)


def test_the_parameters_of_ranges_are_those_that_are_known(
    client: Client, description: dict[str, Any]
) -> None:
    for path in ("query", "rows", "meta"):
        operation = description["paths"][f"/v2/account/stats/{path}"]["get"]
        described = {parameter["name"] for parameter in operation["parameters"]}
        refused = client.http.get(f"/v2/account/stats/{path}", params={"?": "1"})
        known = refused.json()["error"].rpartition(": there are ")[2].split(", ")
        assert described == set(known)


def test_the_record_that_is_described_is_the_one_that_is_taken(
    client: Client, description: dict[str, Any]
) -> None:
    schema = description["components"]["schemas"]["Record"]
    assert set(schema["required"]) == {"bot", "config", "endpoint", "code", "msec"}
    validator = jsonschema.Draft202012Validator(schema)
    good = job(model="m", captchaRetry=1, timestamp=NOON_MS)
    bad = [good | {"code": 1000}, good | {"bot": "x"}, good | {"colour": 1}, good | {"config": ""},
           good | {"msec": "1"}, good | {"tier": "x" * 513}]  # fmt: skip
    assert validator.is_valid(good)
    assert client.send(good).status_code == 200
    for record in bad:
        assert not validator.is_valid(record), record
        assert client.send(record).status_code == 400, record


def test_the_page_shows_it_all_and_calls_nobody(
    service: Running, description: dict[str, Any]
) -> None:
    page = httpx2.get(f"{service.base_url}/docs")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in page.headers["content-security-policy"]
    for path, methods in description["paths"].items():
        for method, operation in methods.items():
            assert f"<b>{method.upper()}</b> <code>{path}</code>" in page.text
            assert operation["summary"] in page.text.replace("&#x27;", "'")
    for name in description["components"]["schemas"]:
        assert f'id="{name}"' in page.text
    for link in re.findall(r'(?:href|src)="([^"]*)"', page.text):
        assert link.startswith(("#", "/")), link
        if link.startswith("#"):
            assert f'id="{link[1:]}"' in page.text
        else:
            assert httpx2.get(service.base_url + link).status_code == 200
    assert not re.search(r"https?://", page.text)
