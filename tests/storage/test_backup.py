"""A backup is checked when it is made, and before it is used."""

import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from genmeter.storage.backup import SUMS
from tests.storage.test_integrity import flip, opened, rows
from tests.support import Process, genmeter, new_token

pytestmark = pytest.mark.own_engine

NOW = 1_770_681_600_000


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    with opened(folder) as service:
        service.accounts.create("acme", ["read"], now_ms=NOW)
        service.store.insert(rows(NOW, 50), NOW)
    return folder


@pytest.fixture
def backup(data: Path, tmp_path: Path) -> Path:
    target = tmp_path / "backup"
    made = genmeter("backup", str(target), "--data", str(data))
    assert made.returncode == 0, made.stderr
    return target


def test_its_checksums_are_those_that_sha256sum_reads(backup: Path) -> None:
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", SUMS],
        cwd=backup, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (checked.returncode, checked.stderr) == (0, "")
    named = {line.split("  ", 1)[1] for line in (backup / SUMS).read_text().splitlines()}
    there = {
        str(path.relative_to(backup))
        for path in backup.rglob("*")
        if path.is_file() and path.name != SUMS and "schema_versions/" not in str(path)
    }
    assert {name for name in there if "data/default" not in name} <= named


def test_folders_are_for_nobody_else_of_the_machine(data: Path, backup: Path) -> None:
    for folder in (data, data / "engine", backup, backup / "engine"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


def test_it_is_checked_once_before_it_is_served(backup: Path) -> None:
    with Process(backup, "--retention-days", "0") as server:
        assert "with 50 records" in server.ready_line
        assert "all its files are what was copied" in server.log()
    assert not (backup / SUMS).exists()
    with Process(backup, "--retention-days", "0") as server:
        assert "with 50 records" in server.ready_line


@pytest.mark.parametrize("name", ["data.bin", "accounts.sqlite3", "manifest", "gone"])
def test_one_that_was_altered_is_not_served(backup: Path, name: str) -> None:
    if name == "gone":
        shutil.rmtree(next(backup.glob("engine/store/*/*/2026*")))
    else:
        flip(next(file for file in sorted(backup.rglob(name)) if file.is_file()))
    for command in (["serve", "--port", "0"], ["token", "list"]):
        told = genmeter(*command, "--data", str(backup))
        assert told.returncode == 2
        assert f"{backup} is a damaged backup: " in told.stderr
        assert ("is missing" if name == "gone" else f"{name} was altered") in told.stderr
        assert told.stderr.count("\n") == 1


def test_tokens_may_be_made_in_it_before_it_is_served(backup: Path) -> None:
    assert new_token(backup, "acme")
    with Process(backup, "--retention-days", "0") as server:
        assert "with 50 records" in server.ready_line


def test_one_that_would_lack_records_is_not_made(data: Path, tmp_path: Path) -> None:
    shutil.rmtree(next(data.glob("engine/store/*/*/2026*")))
    told = genmeter("backup", str(tmp_path / "backup"), "--data", str(data))
    assert told.returncode == 1
    assert "acknowledged records are missing: 202602_1_1_1" in told.stderr
    assert not (tmp_path / "backup").exists()
