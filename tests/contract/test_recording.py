"""R1 to R7: recording over HTTP. Single records are judged in tests/ingest/test_decode.py."""

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest
import zstandard

from genmeter.clock import DAY_MS, iso
from genmeter.errors import EngineError
from genmeter.model.bots import ELEVEN
from genmeter.storage.engine.base import Engine
from tests.support import NOON_MS, TODAY, Client, Running, job

NDJSON = "application/x-ndjson"


def lines(jobs: list[dict[str, Any]]) -> bytes:
    """Records one a line."""
    return b"\n".join(json.dumps(one).encode() for one in jobs)


@pytest.mark.parametrize("coding", ["", "identity", "gzip", "zstd"])
def test_r1_an_object_an_array_and_lines_plain_and_compressed(client: Client, coding: str) -> None:
    def packed(body: bytes) -> bytes:
        if coding == "gzip":
            return gzip.compress(body)
        return zstandard.compress(body) if coding == "zstd" else body

    jobs = [job(NOON_MS + n) for n in range(6)]
    bodies = [
        (json.dumps(jobs[0]).encode(), "application/json"),
        (json.dumps(jobs[1:3]).encode(), "application/json; charset=utf-8"),
        (lines(jobs[3:5]) + b"\n", NDJSON),
        (b"\n\r\n" + lines(jobs[5:]) + b"\r\n\n", NDJSON),
    ]
    for body, media_type in bodies:
        headers = {"Content_Type": media_type} | ({"Content_Encoding": coding} if coding else {})
        response = client.send(packed(body), **headers)
        assert response.status_code == 200, response.text
    found = client.stats(bot="google-flow")["data"]
    assert [row["jobid"] for row in reversed(found)] == [one["jobid"] for one in jobs]


@pytest.mark.parametrize("coding", ["identity", "gzip", "zstd"])
def test_r1_sixteen_mib_pass_and_one_byte_more_does_not(client: Client, coding: str) -> None:
    record = json.dumps(job()).encode()
    for size, status in ((16 * 2**20, 200), (16 * 2**20 + 1, 413)):
        body = record + b" " * (size - len(record))
        if coding == "gzip":
            body = gzip.compress(body, 1)
        elif coding == "zstd":
            body = zstandard.compress(body, 1)
        response = client.send(body, Content_Encoding=coding)
        assert response.status_code == status, response.text
        if status == 413:
            assert "16 MiB" in response.json()["error"]


def test_r2_the_required_fields_are_enough(service: Running, client: Client) -> None:
    client.record({"bot": "kling", "config": "a", "endpoint": "e", "code": 201, "msec": 0})
    row = client.stats(bot="kling")["data"][0]
    assert row["timestamp"] == iso(service.clock())
    assert row["status"] == "Created"
    assert (row["func"], row["model"]) == ("", "")
    assert row["jobid"].endswith(f"-user:{client.account}-bot:kling")


@pytest.mark.parametrize("missing", ["bot", "config", "endpoint", "code", "msec"])
def test_r2_each_required_field_is_required(client: Client, missing: str) -> None:
    for value in ("absent", None, ""):
        record = job() | {missing: value}
        if value == "absent":
            del record[missing]
        response = client.send(record)
        assert response.status_code == 400
        assert f"{missing} is required" in response.json()["rejected"][0]["error"]


@pytest.mark.parametrize(
    ("code", "status"),
    [(0, "NetworkError"), (200, "OK"), (201, "Created"), (429, "Too Many Requests"),
     (503, "Service Unavailable"), (524, "A Timeout Occurred"), (596, "Account Error"),
     (999, "Unknown")],
)  # fmt: skip
def test_r2_status_defaults_to_the_reason_of_the_code(
    client: Client, code: int, status: str
) -> None:
    client.record(job(code=code))
    row = client.stats(bot="google-flow")["data"][0]
    assert (row["code"], row["status"]) == (code, status)


@pytest.mark.parametrize(
    "stamp",
    ["2026-02-13T12:00:00.123Z", "2026-02-13T13:00:00.123+01:00", "2026-02-13T06:30:00.123-05:30",
     "2026-02-13 12:00:00.123456789Z", NOON_MS + 123],
)  # fmt: skip
def test_r2_timestamps_with_an_offset_or_as_milliseconds(client: Client, stamp: str | int) -> None:
    client.record(job() | {"timestamp": stamp})
    assert client.stats(bot="google-flow")["data"][0]["timestamp"] == "2026-02-13T12:00:00.123Z"


def test_r2_all_fields_are_kept_for_every_bot_shown_or_not(
    service: Running, engine: Engine, client: Client
) -> None:
    everything = job(
        bot="runwayml", jobid="kept", model="m", captchaProviders="c", captchaRetry=3, tier="t",
        sku="s", func="f", status="x",
    )  # fmt: skip
    client.record(everything)
    assert "model" not in client.stats(bot="runwayml")["data"][0]
    store = service.service.store
    kept = engine.fetch(
        "SELECT model, captcha_providers, captcha_retry, tier, sku, func, status FROM records "
        f"WHERE account = '{client.account}'",
        store.shard(client.account),
    )
    assert kept == b"m\tc\t3\tt\ts\tf\tx\n"


def test_r2_only_an_admin_records_for_another_account(service: Running, client: Client) -> None:
    other, admin = service.client(), service.client(("admin",))
    refused = client.send([job(account=other.account), job(account=client.account)])
    assert refused.json()["accepted"] == 1
    assert "only an admin token" in refused.json()["rejected"][0]["error"]
    assert other.stats(bot="google-flow")["total"] == 0
    admin.record(job(account=other.account), job())
    assert other.stats(bot="google-flow")["total"] == 1
    assert admin.stats(bot="google-flow")["total"] == 1


@pytest.mark.parametrize("field", ["config", "endpoint", "jobid", "func", "model", "status",
                                   "captchaProviders", "tier", "sku"])  # fmt: skip
def test_r3_texts_have_512_bytes_and_no_control_characters(client: Client, field: str) -> None:
    good = ["x" * 512, "é" * 256, "a b"]
    bad = ["x" * 513, "é" * 257, "a\x00b", "a\nb", "a\tb", "\x7f", "\x85"]
    response = client.send([job() | {field: text} for text in good + bad])
    body = response.json()
    assert body["accepted"] == len(good)
    assert [one["index"] for one in body["rejected"]] == list(range(3, 10))
    assert all(field in one["error"] for one in body["rejected"])


@pytest.mark.parametrize(
    ("offset_ms", "taken"),
    [(5 * 60_000, True), (5 * 60_000 + 1, False), (-92 * DAY_MS, True), (-92 * DAY_MS - 1, False)],
)
def test_r3_too_far_ahead_or_past_retention_is_refused(
    client: Client, offset_ms: int, taken: bool
) -> None:
    response = client.send(job(NOON_MS + offset_ms))
    assert response.json()["accepted"] == int(taken)
    assert response.status_code == (200 if taken else 400)
    if not taken:
        error = response.json()["rejected"][0]["error"]
        assert ("5 minutes" in error) or ("2025-11-13T12:00:00.000Z" in error)


def test_r3_an_unknown_field_is_refused_and_named(client: Client) -> None:
    response = client.send(job(colour="red"))
    assert response.status_code == 400
    assert '"colour"' in response.json()["rejected"][0]["error"]


def test_r4_each_record_stands_alone(client: Client) -> None:
    jobs: list[Any] = [job(NOON_MS + n, jobid=f"j{n}") for n in range(7)]
    jobs[1]["code"] = 1000
    jobs[3] = [1]
    jobs[5]["msec"] = -1
    response = client.send(jobs)
    assert response.status_code == 200
    body = response.json()
    assert list(body) == ["accepted", "rejected", "rejected_total"]
    assert (body["accepted"], body["rejected_total"]) == (4, 3)
    assert [one["index"] for one in body["rejected"]] == [1, 3, 5]
    assert "code must be an integer from 0 to 999" in body["rejected"][0]["error"]
    stored = [row["jobid"] for row in client.stats(bot="google-flow")["data"]]
    assert stored == ["j6", "j4", "j2", "j0"]


def test_r4_a_broken_line_costs_only_itself(client: Client) -> None:
    body = b"\n".join([lines([job()]), b'{"bot":', b"\xff\xfe", b"", b"null", lines([job()])])
    answer = client.send(body, Content_Type=NDJSON).json()
    assert answer["accepted"] == 2
    assert [one["index"] for one in answer["rejected"]] == [1, 2, 3]


def test_r4_400_with_the_same_body_if_none_was_accepted(client: Client) -> None:
    response = client.send([job(code=-1)] * 150)
    assert response.status_code == 400
    body = response.json()
    assert (body["accepted"], body["rejected_total"], len(body["rejected"])) == (0, 150, 100)


def test_r4_every_fault_of_a_record_is_named(client: Client) -> None:
    error = client.send({"bot": "x", "code": "200", "msec": 1.5, "tier": 7}).json()["rejected"][0]
    expected = ["config is required", "endpoint is required", "bot must be one of", "kling"]
    expected += ["code must be an integer", "msec must be an integer", "tier must be a text"]
    for text in expected:
        assert text in error["error"]


def test_r5_concurrent_requests_are_answered_when_their_records_are_visible(
    service: Running, client: Client
) -> None:
    def post_and_look(n: int) -> bool:
        one = service.client(account=client.account)
        mine = job(NOON_MS - n, jobid=f"mine{n}")
        one.record(mine)
        return any(row["jobid"] == f"mine{n}" for row in one.stats(bot="google-flow")["data"])

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(post_and_look, range(64)))
    assert client.stats(bot="google-flow")["total"] == 64


def test_r6_sending_again_replaces(client: Client) -> None:
    first = job(jobid="same", code=500, config="a@example.com")
    client.record(first, job(NOON_MS - 5, jobid="other"))
    client.record(first)
    answer = client.stats(bot="google-flow")
    assert (answer["total"], answer["summary"]["by_code"]) == (2, {"200": 1, "500": 1})
    client.record(first | {"code": 200, "config": "b@example.com", "msec": 77})
    answer = client.stats(bot="google-flow")
    assert (answer["total"], answer["summary"]["by_code"]) == (2, {"200": 2})
    assert answer["data"][0]["msec"] == 77
    assert client.stats(bot="google-flow", config="a@example.com")["total"] == 0
    assert client.stats(bot="google-flow", config="a@example.com", limit=10)["total"] == 0
    assert client.stats(bot="google-flow", config="b@example.com", limit=10)["total"] == 1


def test_r6_a_filter_never_brings_back_what_was_corrected(client: Client) -> None:
    jobs = [job(NOON_MS - n, jobid=f"j{n}", config="a@example.com") for n in range(3000)]
    client.record(*jobs)
    client.record(*(one | {"config": "b@example.com"} for one in jobs[::2]))
    for config in ("a@example.com", "b@example.com"):
        for params in ({"date": TODAY}, {"limit": 1499}, {"limit": 50_000}):
            answer = client.stats(bot="google-flow", config=config, **params)
            assert answer["total"] == min(1500, params.get("limit", 1500))
            assert answer["summary"]["by_config"] == {config: answer["total"]}


def test_r6_within_one_request_the_last_one_wins(client: Client) -> None:
    client.record(*(job(jobid="same", msec=n) for n in (3, 1, 2)))
    answer = client.stats(bot="google-flow")
    assert [row["msec"] for row in answer["data"]] == [2]


def test_r6_corrections_win_although_the_clock_was_set_back(
    service: Running, client: Client
) -> None:
    client.record(job(jobid="same", msec=1))
    service.clock.ms = NOON_MS - 60_000
    client.record(job(jobid="same", msec=2))
    service.clock.ms = NOON_MS
    assert [row["msec"] for row in client.stats(bot="google-flow")["data"]] == [2]


def test_r6_identity_is_account_bot_timestamp_and_jobid(service: Running, client: Client) -> None:
    base = job(jobid="same")
    different = [base | {"bot": bot} for bot in ELEVEN.names] + [base | {"timestamp": NOON_MS - 1}]
    different += [base | {"jobid": "Same"}]
    client.record(*different)
    other = service.client()
    other.record(base)
    assert sum(client.stats(bot=bot)["total"] for bot in ELEVEN.names) == len(ELEVEN.names) + 2
    assert other.stats(bot="google-flow")["total"] == 1


def test_r6_records_without_an_id_are_all_different(client: Client) -> None:
    one = {"bot": "luma", "config": "c", "endpoint": "e", "code": 200, "msec": 1}
    client.record(*[one] * 500)
    client.record(*[one] * 500)
    assert client.stats(bot="luma")["total"] == 1000


def test_r7_a_full_queue_is_503_and_stores_nothing_of_the_request(
    service: Running, client: Client, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = service.service.writer
    held, release = Event(), Event()
    insert = engine.insert

    def slow(*arguments: Any) -> None:
        held.set()
        release.wait(30)
        insert(*arguments)

    monkeypatch.setattr(engine, "insert", slow)
    for lane in writer._lanes:
        monkeypatch.setattr(lane, "_queue_rows", 10)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(client.send, [job(jobid="first")])
        assert held.wait(30)
        waiting = pool.submit(service.client(account=client.account).send, [job()] * 1)
        while not writer.waiting_rows:
            pass
        refused = service.client(account=client.account).send([job() for _ in range(10)])
        assert refused.status_code == 503
        assert int(refused.headers["retry-after"]) >= 1
        assert "nothing of this request was stored" in refused.json()["error"]
        release.set()
        assert first.result().status_code == waiting.result().status_code == 200
    assert client.stats(bot="google-flow")["total"] == 2


def test_a_failed_insert_fails_exactly_the_requests_in_it(
    engine: Engine,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    insert = engine.insert

    def failing(*arguments: Any) -> None:
        raise EngineError("Code: 243. No space left in /secret/path")

    client.record(job(jobid="before"))
    with monkeypatch.context() as patch:
        patch.setattr(engine, "insert", failing)
        response = client.send([job(jobid="lost")])
    assert response.status_code == 503
    assert response.headers["x-request-id"] in response.json()["error"]
    assert "secret" not in response.text
    assert "No space left" in caplog.text or any(
        "No space left" in str(vars(record)) for record in caplog.records
    )
    assert any(
        getattr(record, "request", None) == response.headers["x-request-id"]
        for record in caplog.records
    )
    assert engine.insert == insert
    client.record(job(jobid="after"))
    found = {row["jobid"] for row in client.stats(bot="google-flow")["data"]}
    assert found == {"before", "after"}
