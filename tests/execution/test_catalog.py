"""What there is to ask about, on every engine."""

import itertools
from collections.abc import Iterator
from typing import Any, Final

import pytest

from genmeter.model.bots import ELEVEN
from tests.asking import METRICS, NOW_MS, Maker
from tests.reference.question import Given
from tests.reference.records import Row, attempts, stored
from tests.support import NOON_MS, Client, Running, job
from tests.world import META, QUERY, ROWS, Answer

pytestmark = pytest.mark.engines("embedded", "server", "cluster")

KEYS: Final = (
    "account", "accounts", "bots", "fields", "dimensions", "metrics", "intervals", "formats",
    "limits",
    "retention_days", "oldest", "newest", "records",
)  # fmt: skip
_numbers = itertools.count(1)


@pytest.fixture
def clock(service: Running) -> Iterator[Any]:
    """The clock of the service, at the moment that the records are made for."""
    service.clock.ms = NOW_MS
    yield service.clock
    service.clock.ms = NOON_MS


def meta(client: Client, **params: str) -> Answer:
    """What there is."""
    response = client.http.get(META, params=params)
    assert response.status_code == 200, response.text
    answer: Answer = response.json()
    return answer


def present(rows: list[Row]) -> dict[str, list[Any]]:
    """The values that rows have."""
    found: dict[str, list[Any]] = {}
    for name in ("bot", "config", "endpoint", "status", "func", "code", "model", "tier", "sku"):
        found[name] = sorted({row[name] for row in rows} - {""})
    found["captchaProvider"] = sorted({name for row in rows for name in attempts(row)})
    retries = {row["captchaRetry"] for row in rows}
    found["captchaRetry"] = sorted(retries - {None})
    return found


def test_of_an_account_without_records(client: Client) -> None:
    answer = meta(client)
    assert list(answer) == [key for key in KEYS if key != "accounts"]
    assert answer["account"] == client.account
    assert answer["bots"] == list(ELEVEN.names)
    assert [field["key"] for field in answer["fields"]] == [
        "timestamp", "account", "bot", "jobid", "config", "endpoint", "status", "func", "code",
        "msec", "model", "captchaProviders", "captchaRetry", "tier", "sku",
    ]  # fmt: skip
    assert answer["fields"][11] == {
        "key": "captchaProviders", "label": "captcha provider", "dimension": "captchaProvider",
        "groups": True, "number": False,
    }  # fmt: skip
    grouped = {field["dimension"] for field in answer["fields"] if field["groups"]}
    assert grouped == set(answer["dimensions"]) | {"account"}
    assert answer["dimensions"] == present([])
    assert answer["intervals"] == ["auto", "1m", "5m", "15m", "1h", "1d", "1w", "1mo"]
    assert answer["formats"] == ["json", "ndjson", "csv", "parquet", "arrow"]
    assert answer["limits"] == {
        "days": 400, "groups": 10_000, "seconds": 30, "metrics": 30, "group_by": 3, "top": 1000,
        "limit": 50_000,
    }  # fmt: skip
    assert answer["retention_days"] == 92
    assert (answer["oldest"], answer["newest"], answer["records"]) == (None, None, 0)


def test_all_that_is_named_can_be_asked_for(client: Client) -> None:
    client.record(job(NOON_MS))
    answer = meta(client)
    names = [metric["name"] for metric in answer["metrics"]]
    assert set(METRICS) - set(names) <= {"p95", "p99", "p99.9", "p0.01", "p33.33"}
    assert all(metric["help"] for metric in answer["metrics"])

    def ask(path: str, **given: Any) -> int:
        return client.http.post(path, json=given).status_code

    assert ask(QUERY, metrics=names) == 200
    for interval in answer["intervals"]:
        assert ask(QUERY, interval=interval, last="5m") == 200
    for format_ in answer["formats"]:
        assert ask(ROWS, format=format_) == 200
    for bot in answer["bots"]:
        assert ask(QUERY, bot=bot) == 200
    limits = answer["limits"]
    dimensions = list(answer["dimensions"])
    for most, given in (
        (limits["days"], lambda n: {"last": f"{n}d"}),
        (limits["metrics"], lambda n: {"metrics": [f"p{i + 1}" for i in range(n)]}),
        (limits["group_by"], lambda n: {"group_by": dimensions[:n]}),
        (limits["top"], lambda n: {"group_by": "bot", "top": n}),
    ):
        assert ask(QUERY, **given(most)) == 200
        assert ask(QUERY, **given(most + 1)) == 400
    assert ask(ROWS, limit=limits["limit"]) == 200
    assert ask(ROWS, limit=limits["limit"] + 1) == 400


@pytest.mark.usefixtures("clock")
def test_the_values_are_those_of_the_records(service: Running) -> None:
    name = f"meta{next(_numbers)}"
    accounts = [f"{name}-a", f"{name}-b", f"{name}-c"]
    admin = service.client(("admin",), accounts[0])
    reader = service.client(("read",), accounts[1])
    records = Maker(7, accounts).records(120)
    for record in records:
        record["jobid"] += f"-{next(_numbers)}"  # nothing is sent again
    for start in range(0, 120, 40):
        admin.record(*records[start : start + 40])
        rows = stored(records[: start + 40])
        for asker, params, whose in (
            (reader, {}, accounts[1:2]),
            (admin, {}, accounts[:1]),
            (admin, {"account": accounts[2]}, accounts[2:]),
            (admin, {"account": f"{name}-*"}, accounts),
            (admin, {"account": f"{accounts[0]},{accounts[2]}"}, [accounts[0], accounts[2]]),
        ):
            mine = [row for row in rows if row["account"] in whose]
            answer = meta(asker, **params)
            assert answer["dimensions"] == present(mine), params
            assert answer["records"] == len(mine)
            rank = {"from": NOW_MS - 91 * 86_400_000, "metrics": ["jobs", "first", "last"]}
            total = asker.http.post(QUERY, json=rank | params_of(params)).json()["total"]
            assert (answer["records"], answer["oldest"], answer["newest"]) == tuple(total.values())
            if len(whose) == 1:
                assert answer["account"] == whose[0]
                assert "accounts" not in answer
            else:
                assert answer["accounts"] == whose


def params_of(params: dict[str, str]) -> Given:
    """The same parameters in a document."""
    return {name: value.split(",") for name, value in params.items()}


def test_what_was_sent_again_is_one_record(client: Client) -> None:
    record = job(NOON_MS - 5)
    client.record(record)
    client.record(record | {"model": "m", "code": 500})
    answer = meta(client)
    assert answer["records"] == 1
    assert answer["oldest"] == answer["newest"] == "2026-02-13T11:59:59.995Z"
    assert "m" in answer["dimensions"]["model"]
    assert 500 in answer["dimensions"]["code"]


def test_at_most_a_thousand_values(client: Client) -> None:
    client.record(*(job(NOON_MS - n, model=f"m{n:04}") for n in range(1003)))
    answer = meta(client)
    assert answer["records"] == 1003
    models = answer["dimensions"]["model"]
    assert len(models) == 1000
    assert models == sorted(models)
    assert set(models) <= {f"m{n:04}" for n in range(1003)}


def test_records_past_retention_are_not_there(service: Running, client: Client) -> None:
    edge = NOON_MS - 92 * 86_400_000
    client.record(job(edge, model="old"), job(edge + 10, model="new"))
    assert meta(client)["records"] == 2
    service.clock.ms += 1
    answer = meta(client)
    assert answer["records"] == 1
    assert answer["oldest"] == answer["newest"] == "2025-11-13T12:00:00.010Z"


def test_c23_nobody_sees_what_others_have(service: Running, client: Client) -> None:
    other = service.client()
    other.record(job(NOON_MS, model="secret", config="secret"))
    client.record(job(NOON_MS, model="mine"))
    answer = client.http.get(META)
    assert "secret" not in answer.text
    assert answer.json()["dimensions"]["model"] == ["mine"]
    for account in (other.account, "*", f"{other.account},{client.account}"):
        assert client.http.get(META, params={"account": account}).status_code == 403
