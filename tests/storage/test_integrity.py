"""Nothing acknowledged goes missing without a word, whatever happens to the files."""

import os
import re
import shutil
import sqlite3
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from genmeter.clock import DAY_MS, day_start_ms
from genmeter.errors import StartError
from genmeter.model.record import Row
from genmeter.server.service import Service
from genmeter.storage.manifest import MANIFEST, Manifest
from tests.hooked import row
from tests.support import Client, Clock, Process, genmeter, job, new_token, settings

pytestmark = pytest.mark.own_engine

FIRST: Final = day_start_ms("2026-01-20")
NOW: Final = day_start_ms("2026-02-10")
ROWS: Final = 500
PARTS: Final = 3


def flip(file: Path) -> None:
    """Change a bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()  # a hard link elsewhere must keep what it has
    file.write_bytes(content)


def cut(file: Path) -> None:
    """Leave the first half."""
    content = file.read_bytes()
    file.unlink()
    file.write_bytes(content[: len(content) // 2])


def delete(file: Path) -> None:
    """Leave nothing."""
    file.unlink()


@contextmanager
def opened(data: Path, *, accept_loss: bool = False) -> Iterator[Service]:
    """A service without a web server."""
    with Service(settings(data, accept_loss=accept_loss), Clock(NOW)) as service:
        yield service


def rows(ms: int, count: int, name: str = "j") -> list[Row]:
    return [row(ms + n, jobid=f"{name}{n}") for n in range(count)]


def whole(service: Service) -> int:
    """How many records can be read to their last byte."""
    read = service.engine.fetch("SELECT count(), sum(cityHash64(*)) FROM records")
    return int(read.split()[0])


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a part in January and two in February, and one token."""
    data = tmp_path_factory.mktemp("stored") / "data"
    with opened(data) as service:
        service.accounts.create("acme", ["read", "write"], now_ms=NOW)
        service.store.insert(rows(FIRST, ROWS), NOW)
        for n in range(1, PARTS):
            service.store.insert(rows(NOW - n * DAY_MS, ROWS, f"p{n}-"), NOW)
    return data


@pytest.fixture
def copy(stored: Path, tmp_path: Path) -> Path:
    shutil.copytree(stored, tmp_path / "data", symlinks=True)
    return tmp_path / "data"


def part(data: Path, month: str = "202601") -> Path:
    """The one part of January."""
    (found,) = data.glob(f"engine/store/*/*/{month}_*")
    return found


MENDED: Final = {
    ("checksums.txt", flip), ("checksums.txt", cut), ("checksums.txt", delete),
    ("count.txt", flip), ("count.txt", cut), ("count.txt", delete),
    ("metadata_version.txt", cut),
    ("minmax_neg_ms.idx", flip), ("minmax_neg_ms.idx", cut), ("minmax_neg_ms.idx", delete),
    ("partition.dat", flip), ("partition.dat", cut), ("partition.dat", delete),
}  # fmt: skip
HARMLESS: Final = {
    ("columns_substreams.txt", flip),
    ("default_compression_codec.txt", flip), ("default_compression_codec.txt", cut),
    ("default_compression_codec.txt", delete),
    ("metadata_version.txt", flip), ("metadata_version.txt", delete),
}  # fmt: skip
READ_ONLY: Final = {("data.bin", flip)}
"""What only shows when it is read."""


def files(data: Path) -> list[str]:
    return sorted(file.name for file in part(data).iterdir())


def test_a_part_is_made_of_files_that_are_all_tried_here(stored: Path) -> None:
    known = {name for name, _ in MENDED | HARMLESS | READ_ONLY}
    assert known | {"columns.txt", "data.cmrk4", "primary.cidx", "serialization.json"} == set(
        files(stored)
    )


@pytest.mark.parametrize("how", [flip, cut, delete])
def test_every_damaged_file_of_a_part_is_mended_or_told_of(
    stored: Path, tmp_path: Path, how: Callable[[Path], None]
) -> None:
    for name in files(stored):
        case = (name, how)
        data = tmp_path / name
        shutil.copytree(stored, data, symlinks=True)
        how(part(data) / name)
        if case in MENDED | HARMLESS:
            with opened(data) as service:
                assert whole(service) == PARTS * ROWS, case
                assert service.store.count() == PARTS * ROWS, case
                service.store.check()
            with opened(data) as service:
                assert whole(service) == PARTS * ROWS, case
        elif case not in READ_ONLY:
            for _ in range(2):  # a second try does not make it forget
                with pytest.raises(StartError, match="2026-01: about 500 records") as told:
                    opened(data).__enter__()
                assert "\n" not in str(told.value)
                assert "--accept-loss" in str(told.value)
                assert "Exception" not in str(told.value)
            with opened(data, accept_loss=True) as service:
                assert whole(service) == (PARTS - 1) * ROWS, case
                service.store.check()
            with opened(data) as service:  # it is noted, and needs not be said again
                assert whole(service) == (PARTS - 1) * ROWS, case
        shutil.rmtree(data)


def test_a_part_that_is_gone_is_told_of(copy: Path) -> None:
    shutil.rmtree(part(copy))
    with pytest.raises(StartError, match=r"2026-01: about 500 records .* is missing"):
        opened(copy).__enter__()


def test_all_parts_gone_are_told_of_by_month(copy: Path) -> None:
    shutil.rmtree(copy / "engine")
    (copy / "engine").mkdir()
    with pytest.raises(StartError, match=r"2026-01: about 500 .*2026-02: about 1,000 records"):
        opened(copy).__enter__()


def test_damage_that_only_reading_finds_is_told_by_readyz_and_at_the_next_start(
    copy: Path,
) -> None:
    token = new_token(copy, "reader", "admin")
    flip(part(copy) / "data.bin")
    with Process(copy, "--retention-days", "0") as server:
        client = Client(server.base_url, token)
        assert client.http.get("/readyz").status_code == 200
        asked = client.http.get(
            "/v2/account/stats/rows",
            params={"account": "acme", "from": "2026-01-01", "to": "2026-02-01"},
        )
        assert asked.status_code == 503
        assert "Checksum" not in asked.text
        ready = client.http.get("/readyz")
        assert ready.status_code == 503
        assert "2026-01" in ready.json()["error"]
        assert "cannot be read" in ready.json()["error"]
        client.http.close()
        assert server.stop() == 0
        assert "Checksum doesn't match" in server.log()
    again = genmeter("serve", "--data", str(copy), "--port", "0", "--retention-days", "0")
    assert again.returncode == 2
    assert re.fullmatch(r"genmeter: [^\n]*2026-01: about 500 records[^\n]*\n", again.stderr)
    with Process(copy, "--retention-days", "0", "--accept-loss") as server:
        assert "with 1,000 records" in server.ready_line
        assert "records are lost" in server.log()
    with Process(copy, "--retention-days", "0") as server:
        assert "with 1,000 records" in server.ready_line


def test_what_was_acknowledged_before_a_crash_is_known_of(tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = new_token(data, "acme")
    with Process(data, "--retention-days", "0") as server:
        client = Client(server.base_url, token)
        client.record(*[job() for _ in range(7)])
        client.http.close()
        server.kill()
    shutil.rmtree(part(data, "202602"))
    told = genmeter("serve", "--data", str(data), "--port", "0", "--retention-days", "0")
    assert told.returncode == 2
    assert "2026-02: about 7 records" in told.stderr


def test_a_file_that_goes_while_the_service_runs_is_noticed(copy: Path) -> None:
    with opened(copy) as service:
        looking = service.store._integrity
        assert looking is not None
        looking.look(NOW)
        service.store.check()
        (part(copy) / "columns.txt").unlink()
        looking.look(NOW)
        assert "2026-01: about 500 records" in looking.problem


def test_merges_inserts_and_dropped_months_are_no_damage(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with opened(data) as service:
        service.accounts.create("acme", ["read"], now_ms=NOW)
        store, looking = service.store, service.store._integrity
        assert looking is not None
        for n in range(20):
            store.insert(rows(FIRST, 3, f"m{n}") + rows(NOW - DAY_MS, 2, f"m{n}"), NOW)
            if n == 10:
                service.engine.execute("OPTIMIZE TABLE records FINAL")
                looking.look(NOW)
        service.engine.execute("OPTIMIZE TABLE records FINAL")
    with opened(data) as service:
        assert service.store.count() == 100
        assert service.store.expire(NOW + 100 * DAY_MS) == [202601]
        service.store.check()
    with opened(data) as service:
        assert service.store.count() == 40
        service.store.insert(rows(FIRST, 3), NOW)
    with opened(data) as service:
        assert service.store.count() == 43


def test_a_look_between_an_insert_and_its_note_takes_nothing_for_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    with opened(data) as service:
        service.accounts.create("acme", ["read"], now_ms=NOW)
        looking = service.store._integrity
        assert looking is not None
        note = looking.inserted

        def inserted(months: Collection[int]) -> None:
            looking.look(NOW)
            note(months)

        monkeypatch.setattr(looking, "inserted", inserted)
        for n in range(3):
            service.store.insert(rows(FIRST, 3, f"m{n}") + rows(NOW - DAY_MS, 2, f"m{n}"), NOW)
        assert len(Manifest.opened(data / MANIFEST).parts) == 6
    with opened(data) as service:
        assert service.store.count() == 15


def test_an_older_store_is_taken_as_it_is_unless_the_engine_set_something_aside(
    copy: Path,
) -> None:
    (copy / MANIFEST).unlink()
    with opened(copy) as service:
        assert service.store.count() == PARTS * ROWS
    (copy / MANIFEST).unlink()
    cut(part(copy) / "data.bin")
    with pytest.raises(StartError, match="2026-01: about 500 records"):
        opened(copy).__enter__()


@pytest.mark.parametrize("where", ["middle", "end"])
def test_a_damaged_manifest_is_told_of_and_a_torn_end_is_not(copy: Path, where: str) -> None:
    path = copy / MANIFEST
    lines = path.read_bytes().split(b"\n")
    if where == "middle":
        lines[1] = lines[1][:-3]
        path.write_bytes(b"\n".join(lines))
        with pytest.raises(StartError, match="is damaged in line 2"):
            opened(copy).__enter__()
        with opened(copy, accept_loss=True) as service:
            assert service.store.count() == PARTS * ROWS
    else:
        path.write_bytes(path.read_bytes() + b'0badf00d ["part","20260')
        with opened(copy) as service:
            assert service.store.count() == PARTS * ROWS
            service.store.insert(rows(NOW, 1), NOW)
    with opened(copy):
        assert all(Manifest.opened(path).parts)


def test_an_insert_that_cannot_be_noted_is_not_acknowledged(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with opened(copy) as service:
        with monkeypatch.context() as broken:
            broken.setattr(os, "fdatasync", full)
            with pytest.raises(Exception, match="cannot note what was inserted"):
                service.store.insert(rows(NOW, 4, "n"), NOW)
        service.store.insert(rows(NOW, 4, "n"), NOW)
        assert len(Manifest.opened(copy / MANIFEST).parts) >= PARTS + 1
    with opened(copy) as service:
        assert service.engine.fetch("SELECT count() FROM records FINAL").strip() == b"1504"


@pytest.mark.parametrize("how", ["missing", "empty", "of something else"])
def test_records_without_accounts_are_no_service_that_knows_nobody(copy: Path, how: str) -> None:
    for file in copy.glob("accounts.sqlite3*"):
        file.unlink()
    if how == "empty":
        (copy / "accounts.sqlite3").touch()
    elif how == "of something else":
        with sqlite3.connect(copy / "accounts.sqlite3") as database:
            database.execute("CREATE TABLE other (x)")
        database.close()
    told = genmeter("serve", "--data", str(copy), "--port", "0")
    assert told.returncode == 2
    assert "accounts.sqlite3 is missing or empty" in told.stderr
    assert told.stderr.count("\n") == 1
    listed = genmeter("token", "list", "--data", str(copy))
    assert "accounts.sqlite3 is missing or empty" in listed.stderr
    with Process(copy, "--accept-loss", "--retention-days", "0") as server:
        assert "with 1,500 records" in server.ready_line
    assert new_token(copy, "acme")


def test_a_start_with_a_wrong_clock_drops_nothing(copy: Path) -> None:
    elapsed = Elapsed()
    wrong = Clock(NOW + 200 * DAY_MS)
    for _ in range(2):  # what the first one noted must not help the second
        with Service(settings(copy), wrong, elapsed) as service:
            assert service.expire() == []
            elapsed.s += 3_700
            assert service.expire() == []
            assert service.store.count() == PARTS * ROWS
    # The clock is right, and all that time has passed: it is followed, a day in an hour.
    with Service(settings(copy), wrong, elapsed) as service:
        elapsed.s += 150 * 3_600
        assert service.expire() == [202601, 202602]


@pytest.mark.parametrize(
    "name", ["format_version.txt", "records.sql", "schema_versions.sql", "no records.sql"]
)
def test_a_start_that_fails_on_damage_says_so_in_one_line_of_ours(copy: Path, name: str) -> None:
    file = next(copy.glob(f"engine/store/*/*/{name.removeprefix('no ')}"))
    (delete if name.startswith("no ") else cut)(file)
    told = genmeter("serve", "--data", str(copy), "--port", "0")
    assert told.returncode == 2
    assert re.fullmatch(
        r"genmeter: the records in \S+ cannot be (opened|read), files in it are missing or damaged;"
        r" restore a backup \(--log-level debug shows the engine's own words\)\n",
        told.stderr,
    )


class Elapsed:
    """A clock that is never set, and goes on as a test says."""

    s = 0.0

    def __call__(self) -> float:
        return self.s
