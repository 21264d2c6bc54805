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
    service: Running, client: Client, description: dict[str, Any]
) -> None:
    sent = description["paths"]["/v2/account/stats"]["post"]["requestBody"]["content"]
    several = sent["application/json"]["schema"]["oneOf"][1]
    most = service.service.settings.request_records
    assert (several["minItems"], several["maxItems"]) == (1, most)
    schema = description["components"]["schemas"]["Record"]
    assert set(schema["required"]) == {"bot", "config", "endpoint", "code", "msec"}
    validator = jsonschema.Draft202012Validator(schema)
    good = job(model="m", captchaRetry=1, timestamp=NOON_MS)
    edges: list[dict[str, Any]] = [
        {}, {"code": 0}, {"code": 999}, {"msec": 0}, {"msec": 2**32 - 1}, {"captchaRetry": 65_535},
        {"captchaRetry": None}, {"tier": "x" * 512}, {"tier": ""}, {"tier": None}, {"account": ""},
        {"account": client.account}, {"timestamp": None}, {"timestamp": "2026-02-13t11:00z"},
        {"timestamp": "2026-02-13 12:00:00,123456+01"},
    ]  # fmt: skip
    for changes in edges:
        assert validator.is_valid(good | changes), changes
        assert client.send(good | changes).status_code == 200, changes
    bad = [good | changes for changes in (
        {"code": 1000}, {"code": -1}, {"code": None}, {"bot": "x"}, {"bot": ""}, {"colour": 1},
        {"config": ""}, {"config": None}, {"msec": "1"}, {"msec": 2**32}, {"msec": 1.5},
        {"tier": "x" * 513}, {"tier": 1}, {"func": "a\tb"}, {"model": "a\x7f"}, {"jobid": "a\x9f"},
        {"captchaRetry": 65_536}, {"captchaRetry": -1}, {"captchaRetry": "1"},
        {"timestamp": "2026-02-13"}, {"timestamp": "2026-02-13T11:00"}, {"timestamp": -1},
        {"timestamp": ""}, {"timestamp": "2026-02-13T11:00Z "}, {"account": "-a"},
        {"account": "a" * 65}, {"account": "a/b"}, {"account": 1},
    )]  # fmt: skip
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


Q, R = ("query",), ("rows",)
BOTH = ("query", "rows")
INSIDE: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (BOTH, {"bot": "all"}), (BOTH, {"bot": ["kling", "luma"]}), (BOTH, {"bot!": ["kling"]}),
    (BOTH, {"last": "9w"}), (BOTH, {"last": "1m"}), (BOTH, {"from": "2026-02-13"}),
    (BOTH, {"from": 1770900000000}), (BOTH, {"from": "2026-02-12T00:00Z", "to": "2026-02-13"}),
    (BOTH, {"timezone": "Etc/GMT+12"}), (BOTH, {"timezone": "America/Port-au-Prince"}),
    (BOTH, {"code": ["0", "999", "4xx", "5XX"]}), (BOTH, {"code": 404}), (BOTH, {"code": [1, 2]}),
    (BOTH, {"captchaRetry": ["0", "65535", "(empty)"]}), (BOTH, {"captchaRetry": 65_535}),
    (BOTH, {"model": ["v" * 200]}), (BOTH, {"model": [f"m{n}" for n in range(200)]}),
    (BOTH, {"min_msec": 0, "max_msec": 9_999_999_999}), (BOTH, {"format": "json"}),
    (BOTH, {"format": "csv", "escape": "formulas"}),
    (Q, {"metrics": ["jobs", "p0.01", "p99.99", "p5", "last"]}),
    (Q, {"metrics": [f"p{n}" for n in range(1, 31)]}),
    (Q, {"group_by": ["bot", "model", "code"], "top": 1}), (Q, {"group_by": "bot", "top": 1000}),
    (Q, {"interval": "auto", "order": ["start", "-jobs"]}), (Q, {"compare": "previous"}),
    (R, {"limit": 1}), (R, {"limit": 50_000}), (R, {"order": "oldest"}),
]  # fmt: skip
OUTSIDE: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (BOTH, {"bot": "x"}), (BOTH, {"bot": ["all", "kling"]}), (BOTH, {"bot!": ["all"]}),
    (BOTH, {"last": "0d"}), (BOTH, {"last": "1y"}), (BOTH, {"last": "12345678m"}),
    (BOTH, {"last": "1.5d"}), (BOTH, {"from": "2026-2-13"}), (BOTH, {"from": "2026-02-13T00:00"}),
    (BOTH, {"from": -1}), (BOTH, {"from": 10**15}), (BOTH, {"to": "now", "from": "2026-02-13"}),
    (BOTH, {"timezone": "Middle Earth"}), (BOTH, {"timezone": "x" * 65}),
    (BOTH, {"code": ["1000"]}), (BOTH, {"code": ["xx"]}), (BOTH, {"code": [1000]}),
    (BOTH, {"captchaRetry": ["65536"]}), (BOTH, {"captchaRetry": [-1]}),
    (BOTH, {"captchaRetry": ["00065535"]}), (BOTH, {"model": [f"m{n}" for n in range(201)]}),
    (BOTH, {"min_msec": -1}), (BOTH, {"max_msec": 10**10}), (BOTH, {"format": "xml"}),
    (BOTH, {"escape": "all", "format": "csv"}),
    (Q, {"metrics": ["p0"]}), (Q, {"metrics": ["p00.00"]}), (Q, {"metrics": ["p100"]}),
    (Q, {"metrics": ["p1.001"]}), (Q, {"metrics": ["average"]}),
    (Q, {"metrics": [f"p{n}" for n in range(1, 32)]}),
    (Q, {"group_by": ["bot", "model", "code", "tier"]}), (Q, {"group_by": ["jobid"]}),
    (Q, {"group_by": "bot", "top": 0}), (Q, {"group_by": "bot", "top": 1001}),
    (Q, {"interval": "2h"}), (Q, {"order": ["up"], "interval": "1h"}), (Q, {"compare": "next"}),
    (R, {"limit": 0}), (R, {"limit": 50_001}), (R, {"limit": 1.5}), (R, {"order": "up"}),
    (R, {"limit": 1, "cursor": "a.b"}), (R, {"limit": 1, "cursor": "x" * 4097}),
]  # fmt: skip


def as_parameter(value: Any, schema: dict[str, Any]) -> Any:
    """A value as a client of the description reads it from an address."""
    kinds = {one.get("type") for one in schema.get("anyOf", [schema])}
    return value if isinstance(value, list) or kinds != {"array"} else [value]


@pytest.mark.engines("embedded")
def test_what_a_query_may_say_is_what_the_description_says(
    client: Client, description: dict[str, Any]
) -> None:
    for cases, allowed in ((INSIDE, True), (OUTSIDE, False)):
        for resources, given in cases:
            for resource in resources:
                path = f"/v2/account/stats/{resource}"
                schema = description["components"]["schemas"][f"{resource.title()}Parameters"]
                validator = jsonschema.Draft202012Validator(schema)
                assert validator.is_valid(given) is allowed, given
                posted = client.http.post(path, json=given)
                assert posted.status_code == (200 if allowed else 400), (given, posted.text)
                described = {
                    parameter["name"]: parameter["schema"]
                    for parameter in description["paths"][path]["get"]["parameters"]
                }
                valid = all(
                    jsonschema.Draft202012Validator(described[name]).is_valid(
                        as_parameter(value, described[name])
                    )
                    for name, value in given.items()
                )
                assert valid is allowed, given
                params = {
                    name: ",".join(map(str, value)) if isinstance(value, list) else value
                    for name, value in given.items()
                }
                got = client.http.get(path, params=params)
                assert got.status_code == posted.status_code, (given, got.text)


@pytest.mark.engines("embedded")
def test_a_query_that_was_understood_may_be_posted_as_described(
    client: Client, description: dict[str, Any]
) -> None:
    schemas = description["components"]["schemas"]
    given = {"last": "3h", "code": ["4xx", "200"], "captchaRetry": ["(empty)", "3"], "min_msec": 1}
    for resource, more in (("query", {"group_by": "bot", "top": 3}), ("rows", {"limit": 3})):
        answer = client.http.post(f"/v2/account/stats/{resource}", json=given | more).json()
        schema = schemas[f"{resource.title()}Parameters"]
        jsonschema.Draft202012Validator(schema).validate(answer["query"])
        unknown = answer["query"] | {"colour": "red"}
        assert not jsonschema.Draft202012Validator(schema).is_valid(unknown)


def test_a_token_that_is_described_is_one_that_can_be_made(
    admin: Client, description: dict[str, Any]
) -> None:
    validator = jsonschema.Draft202012Validator(description["components"]["schemas"]["TokenWanted"])
    good = {"account": "acme", "scopes": ["read"]}
    accepted: list[dict[str, Any]] = [
        {}, {"account": "a" * 64}, {"account": "a.b_c@d+e-f"}, {"name": "n" * 200}, {"name": ""},
        {"scopes": ["read", "write", "admin"]}, {"expires_days": 36_500}, {"expires_days": 0.01},
        {"expires_days": None}, {"name": "Größe"},
    ]  # fmt: skip
    for changes in accepted:
        assert validator.is_valid(good | changes), changes
        assert admin.http.post("/v2/tokens", json=good | changes).status_code == 201, changes
    refused: list[dict[str, Any]] = [
        {"account": ""}, {"account": "a" * 65}, {"account": "@a"}, {"account": "a b"},
        {"scopes": []}, {"scopes": ["all"]}, {"scopes": "read"}, {"name": "n" * 201},
        {"name": "a\nb"}, {"name": "a\u200bb"}, {"name": None}, {"expires_days": 0},
        {"expires_days": 36_501}, {"expires_days": "1"}, {"colour": "red"},
    ]  # fmt: skip
    for changes in refused:
        assert not validator.is_valid(good | changes), changes
        assert admin.http.post("/v2/tokens", json=good | changes).status_code == 400, changes


@pytest.mark.engines("embedded")
def test_what_a_follower_may_say_is_what_the_description_says(
    admin: Client, description: dict[str, Any]
) -> None:
    path = "/v2/account/stats/live"
    described = {
        parameter["name"]: jsonschema.Draft202012Validator(parameter["schema"])
        for parameter in description["paths"][path]["get"]["parameters"]
    }
    for name, value, allowed in (
        ("bot", "all", True), ("bot", "kling,luma", True), ("bot", "x", False),
        ("account", "*", True), ("account", "a" * 64, True), ("account", "a" * 65, False),
        ("account", "a*", False), ("Last-Event-ID", "1-2", True), ("Last-Event-ID", "1", False),
        ("Last-Event-ID", "1" * 21 + "-1", False),
    ):  # fmt: skip
        told = value.split(",") if name == "bot" else value
        assert described[name].is_valid(told) is allowed, value
        sent = {"headers": {name: value}} if name[0] == "L" else {"params": {name: value}}
        status = admin.http.head(path, **sent).status_code  # type: ignore[arg-type]
        assert status == (200 if allowed else 400), value
