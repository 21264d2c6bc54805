"""The routes of questions about ranges, end to end, over every engine."""

import csv
import hashlib
import io
import json
from typing import Any

import pyarrow.parquet
import pytest

from genmeter.clock import DAY_MS, iso
from tests.support import NOON_MS, Client, Running

HOUR = 3_600_000


def job(n: int, **fields: Any) -> dict[str, Any]:
    """A record ``n`` minutes before noon."""
    return {
        "bot": "google-flow",
        "config": "a@example.com",
        "endpoint": "post-videos",
        "code": 200,
        "msec": 1000 + n,
        "timestamp": iso(NOON_MS - n * 60_000),
        "jobid": f"job-{n}",
    } | fields


@pytest.fixture
def asked(client: Client) -> Client:
    """Somebody with some records."""
    client.record(
        job(1, model="veo", captchaProviders="CapSolver, 2Captcha,CapSolver", captchaRetry=3),
        job(2, code=429, model="veo", captchaProviders="CapSolver", captchaRetry=1),
        job(3, code=404, bot="kling", model='odd "one" \\ * , é'),
        job(70, code=596, bot="kling", config="b@example.com"),
        job(30 * 60, code=503, bot="luma", model="veo-3"),
    )
    client.record(job(70, code=201, bot="kling", config="b@example.com", msec=5))  # again
    return client


def query(client: Client, path: str = "query", **params: Any) -> dict[str, Any]:
    """An answer that is one."""
    response = client.http.get(f"/v2/account/stats/{path}", params=params)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_the_figures_of_a_day(asked: Client) -> None:
    answer = query(asked, metrics="jobs,success,client_errors,throttled,provider_errors,p50,last")
    assert answer["total"] == {
        "jobs": 4,
        "success": 2,
        "client_errors": 1,
        "throttled": 1,
        "provider_errors": 0,
        "p50": 1002,
        "last": "2026-02-13T11:59:00.000Z",
    }
    assert "groups" not in answer


def test_groups_buckets_and_the_rest(asked: Client) -> None:
    answer = query(
        asked, last="48h", group_by="bot,model", top=1, interval="1d", metrics="jobs,avg_msec"
    )
    assert answer["groups"] == [
        {"start": "2026-02-11T00:00:00.000Z", "bot": "google-flow", "model": "veo"}
        | {"jobs": 0, "avg_msec": None},
        {"start": "2026-02-11T00:00:00.000Z", "other": True, "bot": None, "model": None}
        | {"jobs": 0, "avg_msec": None},
        {"start": "2026-02-12T00:00:00.000Z", "other": True, "bot": None, "model": None}
        | {"jobs": 1, "avg_msec": 2800},
        {"start": "2026-02-12T00:00:00.000Z", "bot": "google-flow", "model": "veo"}
        | {"jobs": 0, "avg_msec": None},
        {"start": "2026-02-13T00:00:00.000Z", "bot": "google-flow", "model": "veo"}
        | {"jobs": 2, "avg_msec": 1002},
        {"start": "2026-02-13T00:00:00.000Z", "other": True, "bot": None, "model": None}
        | {"jobs": 2, "avg_msec": 504},
    ]


def test_captcha_providers_are_counted_apart(asked: Client) -> None:
    answer = query(asked, group_by="captchaProvider", metrics="jobs,captcha_attempts")
    assert answer["total"] == {"jobs": 4, "captcha_attempts": 4}
    assert answer["groups"] == [
        {"captchaProvider": "", "jobs": 2, "captcha_attempts": 0},
        {"captchaProvider": "CapSolver", "jobs": 2, "captcha_attempts": 3},
        {"captchaProvider": "2Captcha", "jobs": 1, "captcha_attempts": 1},
    ]


@pytest.mark.parametrize(
    ("filters", "jobs"),
    [
        ({"code": "4xx,201"}, 3),
        ({"code!": "4xx"}, 2),
        ({"model": "odd*"}, 1),
        ({"model": 'odd "one" \\\\ * \\, é'}, 1),
        ({"model": "(empty)"}, 1),
        ({"model!": "(empty),veo"}, 1),
        ({"captchaProvider": "2Captcha"}, 1),
        ({"captchaProvider!": "2Cap*"}, 3),
        ({"captchaProvider": "(empty)"}, 2),
        ({"captchaRetry": "3,(empty)"}, 3),
        ({"captchaRetry!": "3"}, 3),
        ({"bot": "kling,luma"}, 2),
        ({"bot!": "kling"}, 2),
        ({"min_msec": 1001, "max_msec": 1002}, 2),
        ({"jobid": "job-7*"}, 1),
    ],
)
def test_filters(asked: Client, filters: dict[str, Any], jobs: int) -> None:
    assert query(asked, **filters)["total"]["jobs"] == jobs
    assert query(asked, "rows", **filters)["count"] == jobs


def test_the_query_of_an_answer_asked_again_gives_the_same(asked: Client) -> None:
    answer = query(asked, last="48h", group_by="model", compare="previous", interval="auto", top=2)
    again = asked.http.post("/v2/account/stats/query", json=answer["query"])
    assert again.json() == answer


def test_pages_neither_repeat_nor_skip(asked: Client) -> None:
    for order in ("newest", "oldest"):
        whole = query(asked, "rows", last="48h", order=order)
        rows: list[Any] = []
        page = query(asked, "rows", last="48h", order=order, limit=2)
        rows += page["data"]
        asked.record(job(0, jobid=f"late-{order}"))
        while page["next_cursor"]:
            page = query(
                asked, "rows", last="48h", order=order, limit=2, cursor=page["next_cursor"]
            )
            rows += page["data"]
        assert [row for row in rows if not row["jobid"].startswith("late")] == [
            row for row in whole["data"] if not row["jobid"].startswith("late")
        ]
        assert page["has_more"] is False


def test_every_format_has_the_same_rows(asked: Client) -> None:
    whole = query(asked, "rows", last="48h")["data"]

    def body(name: str) -> bytes:
        params = {"last": "48h", "format": name}
        response = asked.http.get("/v2/account/stats/rows", params=params)
        assert response.headers["genmeter-rows"] == "5"
        return response.content

    assert [json.loads(line) for line in body("ndjson").splitlines()] == whole
    of_csv = list(csv.DictReader(io.StringIO(body("csv").decode())))
    texts = [{k: "" if v is None else str(v) for k, v in row.items()} for row in whole]
    assert of_csv == texts
    table = pyarrow.parquet.read_table(io.BytesIO(body("parquet")))
    assert table.column("jobid").to_pylist() == [row["jobid"] for row in whole]
    assert table.column("captchaRetry").to_pylist() == [row["captchaRetry"] for row in whole]


def test_an_admin_asks_about_all_accounts(service: Running) -> None:
    mark = f"only-{service.client().account}@example.com"
    for n in range(8):
        service.client().record(job(n, config=mark), job(n + 10, config=mark, msec=n))
    admin = service.client(("admin",))
    answer = query(admin, account="*", config=mark, metrics="jobs,p50,max_msec,first")
    assert answer["total"] == {
        "jobs": 16,
        "p50": 1000,
        "max_msec": 1007,
        "first": iso(NOON_MS - 17 * 60_000),
    }
    by_account = query(admin, account="*", config=mark, group_by="account", metrics="jobs,p50")
    assert len(by_account["groups"]) == 8
    asked = {"interval": "1d", "group_by": "captchaProvider", "metrics": "jobs,p50"}
    by_provider = query(admin, account="*", config=mark, last="1d", **asked)
    assert by_provider["total"] == {"jobs": 16, "p50": 1000}
    whole = query(admin, "rows", account="*", config=mark)["data"]
    assert [row["timestamp"] for row in whole] == sorted(
        (row["timestamp"] for row in whole), reverse=True
    )
    assert len(whole) == 16
    page = query(admin, "rows", account="*", config=mark, limit=5)
    rows = page["data"]
    while page["next_cursor"]:
        page = query(admin, "rows", account="*", config=mark, limit=5, cursor=page["next_cursor"])
        rows += page["data"]
    assert rows == whole


def test_what_there_is(asked: Client) -> None:
    found = query(asked, "meta")
    assert found["records"] == 5
    assert found["newest"] == "2026-02-13T11:59:00.000Z"
    assert found["dimensions"]["captchaProvider"] == ["2Captcha", "CapSolver"]
    assert found["dimensions"]["code"] == [200, 201, 404, 429, 503]
    asked.record(job(5, config="new@example.com"))
    found = query(asked, "meta")
    assert "new@example.com" in found["dimensions"]["config"]
    assert found["records"] == 6


def test_what_there_is_without_what_is_past_retention(service: Running, asked: Client) -> None:
    edge = NOON_MS - 92 * DAY_MS
    asked.record(job(0, timestamp=iso(edge), jobid="old"))
    for _ in range(2):
        found = query(asked, "meta")
        assert (found["records"], found["oldest"]) == (6, iso(edge))
    service.clock.ms = NOON_MS + 1
    found = query(asked, "meta")
    assert (found["records"], found["oldest"]) == (5, iso(NOON_MS - 30 * HOUR))


def test_an_unchanged_answer_is_not_sent_again(asked: Client) -> None:
    for path in ("query", "rows?limit=3", "meta"):
        response = asked.http.get(f"/v2/account/stats/{path}")
        known = {"If-None-Match": response.headers["etag"]}
        again = asked.http.get(f"/v2/account/stats/{path}", headers=known)
        assert (again.status_code, again.content) == (304, b"")
        asked.record(job(6, jobid=f"more-{path}"))
        assert asked.http.get(f"/v2/account/stats/{path}", headers=known).status_code == 200


def test_a_period_before_that_passes_retention_changes_the_etag(
    service: Running, client: Client
) -> None:
    edge = NOON_MS - 92 * DAY_MS
    client.record(job(0, timestamp=iso(edge), jobid="old"))
    params = {"from": iso(edge + HOUR), "to": iso(edge + 3 * HOUR), "compare": "previous"}
    before = client.http.get("/v2/account/stats/query", params=params)
    assert before.json()["previous"]["total"]["jobs"] == 1
    service.clock.ms = NOON_MS + 1
    known = {"If-None-Match": before.headers["etag"]}
    after = client.http.get("/v2/account/stats/query", params=params, headers=known)
    assert after.status_code == 200
    assert after.json()["previous"]["total"]["jobs"] == 0


def test_csv_is_exact_unless_it_is_for_a_spreadsheet(client: Client) -> None:
    formula = '=HYPERLINK("http://a.example","x")'
    client.record(job(1, config=formula, model="-1", func='a,"=b'), job(2, config="plain"))

    def rows(path: str, **params: str) -> tuple[list[dict[str, str]], str]:
        params = {"format": "csv", **params}
        response = client.http.get(f"/v2/account/stats/{path}", params=params)
        assert response.status_code == 200, response.text
        assert hashlib.sha256(response.content).hexdigest() == response.headers["genmeter-sha256"]
        return list(csv.DictReader(io.StringIO(response.text))), response.headers["etag"]

    exact, tag = rows("rows")
    assert [row["config"] for row in exact] == [formula, "plain"]
    escaped, other_tag = rows("rows", escape="formulas")
    assert escaped == [exact[0] | {"config": f"'{formula}", "model": "'-1"}, exact[1]]
    assert tag != other_tag
    exact, tag = rows("query", group_by="config", order="-config")
    assert [row["config"] for row in exact] == ["plain", formula]
    escaped, other_tag = rows("query", group_by="config", order="-config", escape="formulas")
    assert [row["config"] for row in escaped] == ["plain", f"'{formula}"]
    assert tag != other_tag
