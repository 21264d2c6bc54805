"""Schema versions, and what only several starts of a store can show."""

import subprocess
import sys
import time
from pathlib import Path
from unittest.mock import Mock

import httpx2

from genmeter.clock import day_start_ms
from genmeter.model.record import Row
from genmeter.storage.backup import snapshot
from genmeter.storage.engine.base import Layout
from genmeter.storage.sql import maintenance
from genmeter.storage.store import Store
from tests.support import Process, environment, genmeter, new_token


def post(server: Process, token: str, count: int) -> None:
    """Record jobs of now."""
    lines = "\n".join(
        f'{{"bot":"kling","config":"c","endpoint":"e","code":200,"msec":{n},"jobid":"j{n}",'
        f'"timestamp":{int(time.time() * 1000) - n * 86_400_000}}}'
        for n in range(count)
    )
    response = httpx2.post(
        f"{server.base_url}/v2/account/stats",
        content=lines,
        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/x-ndjson"},
    )
    assert response.json()["accepted"] == count


def total(server: Process, token: str) -> int:
    """How many records there are."""
    response = httpx2.get(
        f"{server.base_url}/v2/account/stats?bot=kling&limit=50000",
        headers={"Authorization": f"Bearer {token}"},
    )
    found: int = response.json()["total"]
    return found


def test_a_later_version_adds_a_column_without_losing_a_record_and_there_is_no_way_back(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    token = new_token(data, "acme")
    with Process(data) as server:
        post(server, token, 80)
        assert server.stop() == 0
    for _ in range(2):  # the second start finds the step done
        later = subprocess.run(
            [sys.executable, "-m", "tests.later_version", str(data)],
            capture_output=True,
            text=True,
            check=True,
            env=environment(),
        )
        assert later.stdout.splitlines() == ["80", "", "2"]
    back = genmeter("serve", "--data", str(data), "--port", "0")
    assert back.returncode == 2
    assert back.stdout == ""
    lines = [line for line in back.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    assert "schema version 2" in lines[0]


def test_records_and_tokens_outlive_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = new_token(data, "acme")
    for round_ in (1, 2):
        with Process(data) as server:
            if round_ == 1:
                post(server, token, 50)
            assert total(server, token) == 50
            assert server.stop() == 0


def test_a_copy_taken_while_it_runs_is_a_backup(tmp_path: Path) -> None:
    data, copy = tmp_path / "data", tmp_path / "copy"
    token = new_token(data, "acme")
    with Process(data) as server:
        post(server, token, 60)
        backup = genmeter("backup", str(copy), "--data", str(data))
        assert backup.returncode == 0, backup.stderr
        post(server, token, 80)
        with Process(copy) as restored:
            assert total(restored, token) == 60
            post(restored, token, 70)
        assert total(server, token) == 140


def test_a_copy_that_a_crash_left_goes_with_the_next_and_backups_inside_stay(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    with Process(data) as server:
        assert server.stop() == 0
    left = "import os, pathlib, sys; from genmeter.storage.backup import snapshot\n"
    left += "with snapshot(pathlib.Path(sys.argv[1])): os._exit(0)"
    subprocess.run([sys.executable, "-c", left, str(data)], check=True, env=environment())
    assert len(list(data.glob(".snapshot-*"))) == 1
    with snapshot(data) as copy:
        assert list(data.glob(".snapshot-*")) == [copy]
        for name in ("backup-1", "backup-2"):
            assert genmeter("backup", str(data / name), "--data", str(data)).returncode == 0
        assert copy.exists()
    assert sorted(path.name for path in data.iterdir() if path.is_dir()) == [
        "backup-1", "backup-2", "engine", "spool"
    ]  # fmt: skip


def test_every_month_of_an_insert_has_a_witness_on_other_replicas() -> None:
    engine = Mock(layout=Layout(cluster="main", database="genmeter"))
    store = Store(engine, retention_days=0, next_version=lambda _: 1)
    march, april = day_start_ms("2026-03-01"), day_start_ms("2026-04-01")
    rows = [
        Row(
            account="acme", bot="luma", neg_ms=-ms, jobid="j", config="c", endpoint="e",
            status="OK", func="", code=200, msec=1, model="", captcha_providers="",
            captcha_retry=None, tier="", sku="",
        )
        for ms in (march - 1, march, march + 1, april - 1, april)
    ]  # fmt: skip
    store.insert(rows, april)
    *_, replication_probes = engine.insert.call_args.args
    months = [rows[0], rows[3], rows[4]]  # of each month the last
    assert replication_probes == [maintenance.replication_probe(row) for row in months]
