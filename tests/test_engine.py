"""The seam to the engine: what every engine must do, on the one there is."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from genmeter import sql
from genmeter.engine import Engine
from genmeter.errors import EngineError, FolderBusyError
from tests.support import Running, settings

LINE = "concat(toString(number), '\\n')"
COLUMNS = {"n": "Int64", "text": "LowCardinality(String)", "maybe": "Nullable(UInt16)"}


@pytest.fixture
def engine(service: Running) -> Iterator[Engine]:
    """The engine, with an empty table ``seam`` that has a partition for each hundred."""
    engine: Engine = service.service.store._engine
    columns = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
    engine.execute("DROP TABLE IF EXISTS seam")
    engine.execute(
        f"CREATE TABLE seam ({columns}) ENGINE = MergeTree PARTITION BY intDiv(n, 100) ORDER BY n"
        + engine.layout.settings
    )
    yield engine
    engine.execute("DROP TABLE seam")


def rows(*numbers: int, text: str = "t") -> bytes:
    """NDJSON for the table."""
    return b"".join(
        json.dumps({"n": n, "text": text, "maybe": n % 2 or None}).encode() + b"\n" for n in numbers
    )


def test_what_is_inserted_is_visible_at_once(engine: Engine) -> None:
    for n in range(20):
        engine.insert("seam", COLUMNS, rows(n))
        assert engine.fetch("SELECT count() FROM seam") == b"%d\n" % (n + 1)
    assert engine.fetch("SELECT maybe FROM seam WHERE n < 2 ORDER BY n") == b"\\N\n1\n"


def test_any_text_survives(engine: Engine) -> None:
    text = "é\\\"'/日本 #{}\u2028"
    engine.insert("seam", COLUMNS, rows(1, text=text))
    assert (
        b"".join(engine.stream("SELECT concat(text, '\\n') AS line FROM seam"))
        == text.encode() + b"\n"
    )


def test_an_insert_is_one_part_a_month(engine: Engine) -> None:
    engine.execute("SYSTEM STOP MERGES seam")
    engine.insert("seam", COLUMNS, b"".join(rows(n % 300) for n in range(60_000)))
    parts = engine.fetch("SELECT partition, rows FROM system.parts WHERE table = 'seam' AND active")
    assert sorted(parts.split()) == sorted(b"0 20000 1 20000 2 20000".split())


def test_rows_that_the_engine_does_not_take_are_never_acknowledged(engine: Engine) -> None:
    with pytest.raises(EngineError, match="took 0 of 1 rows"):
        engine.insert("seam", COLUMNS, b"\n")


def test_a_broken_insert_stores_nothing_and_is_ours(engine: Engine) -> None:
    with pytest.raises(EngineError):
        engine.insert("seam", COLUMNS, rows(1) + b'{"n": "not a number"}\n')
    assert engine.fetch("SELECT count() FROM seam") == b"0\n"


@pytest.mark.parametrize("statement", ["SELECT nothing_known", "SELEC 1", "SELECT * FROM nowhere"])
def test_errors_of_the_engine_are_ours(engine: Engine, statement: str) -> None:
    with pytest.raises(EngineError, match="Code"):
        engine.fetch(statement)
    with pytest.raises(EngineError, match="Code"):
        engine.execute(statement)
    with pytest.raises(EngineError, match="Code"):
        list(engine.stream(statement))


def test_a_stream_comes_in_blocks_of_whole_lines(engine: Engine) -> None:
    blocks = list(engine.stream(f"SELECT {LINE} AS line FROM numbers(100000)"))
    assert len(blocks) > 3
    assert all(block.endswith(b"\n") for block in blocks)
    assert sum(block.count(b"\n") for block in blocks) == 100_000


def test_a_stream_that_fails_on_its_way_raises(engine: Engine) -> None:
    statement = (
        "SELECT concat(toString(throwIf(number = 90000)), '\\n') AS line FROM numbers(100000)"
    )
    stream = engine.stream(statement)
    assert next(stream)
    with pytest.raises(EngineError, match="throwIf"):
        list(stream)


def test_a_stream_can_be_left_early_and_others_go_on_beside_it(engine: Engine) -> None:
    endless = engine.stream(f"SELECT {LINE} AS line FROM system.numbers")
    other = engine.stream(f"SELECT {LINE} AS line FROM numbers(20000)")
    assert next(endless).startswith(b"0\n1\n")
    assert next(other).startswith(b"0\n1\n")
    assert engine.fetch("SELECT 7") == b"7\n"
    assert next(endless)
    endless.close()
    assert sum(block.count(b"\n") for block in other) > 0


def test_a_stream_is_of_one_moment(engine: Engine) -> None:
    engine.insert("seam", COLUMNS, b"".join(rows(n) for n in range(30_000)))
    stream = engine.stream("SELECT concat(toString(n), '\\n') AS line FROM seam")
    first = next(stream)
    engine.insert("seam", COLUMNS, rows(*range(30_000, 30_500)))
    assert len(b"".join([first, *stream]).split()) == 30_000


def test_memory_is_bounded(engine: Engine) -> None:
    with pytest.raises(EngineError, match="memory limit"):
        engine.fetch("SELECT length(groupArray(toString(number))) FROM numbers(200000000)")
    assert engine.fetch("SELECT 1") == b"1\n"


def test_records_are_synced_to_the_disk(engine: Engine) -> None:
    made = engine.fetch(f"SHOW CREATE TABLE {sql.TABLE}")
    for setting in ("fsync_after_insert = 1", "fsync_part_directory = 1",
                    "min_rows_to_fsync_after_merge = 1"):  # fmt: skip
        assert setting.encode() in made


def test_a_folder_in_use_is_refused_in_one_line(service: Running) -> None:
    engine: Any = type(service.service.store._engine)
    folder = settings(service.service.settings.data).data / "engine"
    with pytest.raises(FolderBusyError, match="in use by another process"):
        engine(folder, memory_mb=512, threads=1)
