"""What is said of the engine in the process alone."""

import pytest

from genmeter import sql
from genmeter.engine.embedded import Embedded
from genmeter.errors import EngineError, FolderBusyError
from tests.support import Running

pytestmark = pytest.mark.parametrize("shared_service", ["embedded"], indirect=True)


def test_rows_that_the_engine_does_not_take_are_never_acknowledged(service: Running) -> None:
    engine = service.service.store._engine
    with pytest.raises(EngineError, match="took 0 of 1 rows"):
        engine.insert(sql.TABLE, sql.COLUMNS, b"\n")


def test_records_are_synced_to_the_disk(service: Running) -> None:
    made = service.service.store._engine.fetch(f"SHOW CREATE TABLE {sql.TABLE}")
    for setting in ("fsync_after_insert = 1", "fsync_part_directory = 1",
                    "min_rows_to_fsync_after_merge = 1"):  # fmt: skip
        assert setting.encode() in made


def test_a_folder_in_use_is_refused_in_one_line(service: Running) -> None:
    folder = service.service.settings.data / "engine"
    with pytest.raises(FolderBusyError, match="in use by another process"):
        Embedded(folder, memory_mb=512, threads=1)
