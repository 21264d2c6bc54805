"""What is said of the engine in the process alone."""

import pytest

from genmeter.errors import EngineError, FolderBusyError
from genmeter.storage.engine.embedded import Embedded
from genmeter.storage.sql import base as sql
from tests.support import Running

pytestmark = pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)


def test_rows_that_the_engine_does_not_take_are_never_acknowledged(service: Running) -> None:
    engine = service.service.engine
    with pytest.raises(EngineError, match="took 0 of 1 rows"):
        engine.insert(sql.TABLE, sql.COLUMNS, b"\n")


def test_records_are_synced_to_the_disk(service: Running) -> None:
    made = service.service.engine.fetch(f"SHOW CREATE TABLE {sql.TABLE}")
    for setting in ("fsync_after_insert = 1", "fsync_part_directory = 1",
                    "min_rows_to_fsync_after_merge = 1"):  # fmt: skip
        assert setting.encode() in made


def test_a_table_of_an_older_version_gets_the_settings_of_today(service: Running) -> None:
    engine = service.service.engine
    for setting in ("merge_selector_base", "old_parts_lifetime"):
        engine.execute(f"ALTER TABLE {sql.TABLE} RESET SETTING {setting}")
    engine.prepare(lambda _: None)
    made = engine.fetch(f"SHOW CREATE TABLE {sql.TABLE}")
    assert b"merge_selector_base = 10" in made
    assert b"old_parts_lifetime = 60" in made


def test_a_folder_in_use_is_refused_in_one_line(service: Running) -> None:
    folder = service.service.settings.data / "engine"
    with pytest.raises(FolderBusyError, match="in use by another process"):
        Embedded(folder, memory_mb=512, threads=1)
