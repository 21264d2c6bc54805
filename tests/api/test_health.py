"""Health, readiness, and what the log says."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from genmeter.errors import EngineError
from genmeter.execution.spool import Spool
from tests.support import Process, Running, job, new_token


def get(service: Running, path: str) -> httpx2.Response:
    """A GET by nobody in particular."""
    return httpx2.get(service.base_url + path)


def test_a_healthy_service_says_so_to_everybody(service: Running) -> None:
    for path, status in (("/healthz", "ok"), ("/readyz", "ready")):
        response = get(service, path)
        assert (response.status_code, response.json()) == (200, {"status": status})


def test_it_is_not_ready_when_the_engine_fails(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any) -> bytes:
        raise EngineError("Code: 999. secret")

    monkeypatch.setattr(service.service.engine, "fetch", failing)
    response = get(service, "/readyz")
    assert response.status_code == 503
    assert response.headers["x-request-id"] in response.json()["error"]
    assert "secret" not in response.text
    assert get(service, "/healthz").status_code == 200


def test_it_is_not_ready_when_the_writer_is_stuck(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service.service.writer, "stuck_s", lambda: 9.9)
    assert get(service, "/readyz").status_code == 200
    monkeypatch.setattr(service.service.writer, "stuck_s", lambda: 12.0)
    response = get(service, "/readyz")
    assert response.status_code == 503
    assert response.json() == {"error": "the writer has been stuck for 12 seconds"}


@pytest.mark.parametrize("rows_first", [False, True])
def test_an_engine_that_fails_is_503_with_an_id_that_the_log_has(
    service: Running,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    rows_first: bool,
) -> None:
    client = service.client()
    client.record(job())

    def failing(*_: Any) -> Any:
        if rows_first:
            yield b',{"timestamp":"x"}\n'
        raise EngineError("Code: 241. MEMORY_LIMIT_EXCEEDED secret")

    monkeypatch.setattr(service.service.engine, "stream", failing)
    response = client.ask(bot="google-flow")
    assert response.status_code == 503
    assert "retry-after" in response.headers
    assert "secret" not in response.text
    request_id = response.headers["x-request-id"]
    assert request_id in response.json()["error"]
    lines = [vars(r) for r in caplog.records if vars(r).get("request") == request_id]
    assert any("MEMORY_LIMIT" in str(line.get("detail")) for line in lines)


def test_an_answer_that_fails_at_its_end_is_503(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = service.client()
    client.record(job())
    stream = service.service.engine.stream

    def failing(*arguments: Any) -> Any:
        yield from stream(*arguments)
        raise EngineError("Code: 241. too late")

    monkeypatch.setattr(service.service.engine, "stream", failing)
    assert client.ask(bot="google-flow").status_code == 503


def test_an_answer_with_an_error_in_its_text_is_503(
    service: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client = service.client()
    client.record(job())
    stream = service.service.engine.stream

    def cut(*arguments: Any) -> Any:
        for block in stream(*arguments):
            yield block[: len(block) // 2]
        yield b"Code: 241, e.displayText() = DB::Exception: secret\n"

    monkeypatch.setattr(service.service.engine, "stream", cut)
    response = client.ask(bot="google-flow")
    assert response.status_code == 503
    assert "secret" not in response.text
    assert "secret" in caplog.text or any("secret" in str(vars(r)) for r in caplog.records)


def test_an_answer_whose_rows_cannot_be_kept_is_broken_off(
    service: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = service.client()
    client.record(job())

    async def failing(_: Spool) -> bytes:
        raise OSError("no space left")

    monkeypatch.setattr(Spool, "read", failing)
    with pytest.raises(httpx2.RemoteProtocolError):
        client.ask(bot="google-flow")


@pytest.mark.parametrize("path", ["/v2/account/stats", "/v2/account/stats/rows"])
def test_a_full_disk_under_a_response_is_503_and_in_the_log(
    service: Running,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    path: str,
) -> None:
    client = service.client()
    client.record(job())
    monkeypatch.setattr("genmeter.execution.spool.MEMORY_BYTES", 0)
    monkeypatch.setattr(
        "genmeter.execution.spool.tempfile.TemporaryFile",
        lambda **_: Path("/dev/full").open("r+b", buffering=0),  # noqa: SIM115  # the spool closes it
    )
    response = client.http.get(path, params={"bot": "google-flow"})
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert response.json()["error"].startswith("the server's disk has no room")
    assert any("No space left" in str(vars(line)) for line in caplog.records)


def test_the_log_has_a_line_for_each_request_and_never_a_token(tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = new_token(data, "acme")
    with Process(data, "--log-level", "debug") as server:
        headers = {"Authorization": f"Bearer {token}"}
        url = f"{server.base_url}/v2/account/stats"
        asked = httpx2.get(f"{url}?bot=luma&token={token}", headers=headers)
        httpx2.get(f"{url}?bot=x", headers=headers)
        httpx2.get(f"{url}/{token}", headers=headers)
        httpx2.get(url, headers={"Authorization": f"Bearer {token}x"})
        httpx2.post(url, headers=headers, content=token, timeout=10)
        assert server.stop() == 0
        text = server.log()
    assert token not in text
    assert token.split("-")[1] not in text
    lines = [json.loads(line) for line in text.splitlines()]
    requests = [line for line in lines if line["message"] == "request"]
    assert [line["status"] for line in requests] == [200, 400, 404, 401, 415]
    first = requests[0]
    assert first["request"] == asked.headers["x-request-id"]
    assert (first["account"], first["route"], first["method"]) == (
        "acme",
        "/v2/account/stats",
        "GET",
    )
    assert first["ms"] > 0
    assert first["level"] == "info"
    assert requests[3]["account"] is None
