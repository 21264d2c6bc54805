"""The seam to the engine: what every engine must do, on each there is."""

import json
from collections.abc import Iterable, Iterator

import pytest

from genmeter.errors import EngineError
from genmeter.storage import schema
from genmeter.storage.engine import base
from genmeter.storage.engine.base import Engine
from genmeter.storage.sql import base as sql
from tests.support import Running

LINE = "concat(toString(number), '\\n')"
COLUMNS = {"n": "Int64", "text": "LowCardinality(String)", "maybe": "Nullable(UInt16)"}


@pytest.fixture
def engine(service: Running) -> Iterator[Engine]:
    """The engine, with an empty table ``seam`` that has a partition for each hundred."""
    engine: Engine = service.service.engine
    columns = ", ".join(f"{name} {type_}" for name, type_ in COLUMNS.items())
    engine.execute("DROP TABLE IF EXISTS seam")
    engine.execute(
        f"CREATE TABLE seam ({columns}) ENGINE = MergeTree PARTITION BY intDiv(n, 100) ORDER BY n"
        + engine.layout.settings
    )
    yield engine
    engine.execute("DROP TABLE seam")


def lines(blocks: Iterable[bytes]) -> list[bytes]:
    """The values of a stream; there may be empty lines between them."""
    return [line for line in b"".join(blocks).split(b"\n") if line]


def rows(*numbers: int, text: str = "t") -> bytes:
    """NDJSON for the table."""
    return b"".join(
        json.dumps({"n": n, "text": text, "maybe": n % 2 or None}).encode() + b"\n" for n in numbers
    )


def test_what_is_inserted_is_visible_at_once(engine: Engine) -> None:
    for n in range(20):
        engine.insert("seam", COLUMNS, rows(n))
        assert engine.fetch("SELECT count() FROM seam") == b"%d\n" % (n + 1)
    assert engine.fetch(
        "SELECT ifNull(toString(maybe), 'none') FROM seam WHERE n < 2 ORDER BY n"
    ) == (b"none\n1\n")


def test_any_text_survives(engine: Engine) -> None:
    text = "é\\\"'/日本 #{}\u2028"
    engine.insert("seam", COLUMNS, rows(1, text=text))
    assert lines(engine.stream("SELECT concat(text, '\\n') AS line FROM seam")) == [text.encode()]


def test_an_insert_is_one_part_a_month(engine: Engine) -> None:
    engine.execute("SYSTEM STOP MERGES seam")
    engine.insert("seam", COLUMNS, b"".join(rows(n % 300) for n in range(60_000)))
    parts = engine.fetch("SELECT partition, rows FROM system.parts WHERE table = 'seam' AND active")
    assert sorted(parts.split()) == sorted(b"0 20000 1 20000 2 20000".split())


def test_a_broken_insert_stores_nothing_and_is_ours(engine: Engine) -> None:
    with pytest.raises(EngineError):
        engine.insert("seam", COLUMNS, rows(1) + b'{"n": "not a number"}\n')
    assert engine.fetch("SELECT count() FROM seam") == b"0\n"
    engine.insert("seam", COLUMNS, rows(2))
    assert engine.fetch("SELECT n FROM seam") == b"2\n"


@pytest.mark.parametrize("statement", ["SELECT nothing_known", "SELEC 1", "SELECT * FROM nowhere"])
def test_errors_of_the_engine_are_ours(engine: Engine, statement: str) -> None:
    with pytest.raises(EngineError, match="Code"):
        engine.fetch(statement)
    with pytest.raises(EngineError, match="Code"):
        engine.execute(statement)
    with pytest.raises(EngineError, match="Code"):
        list(engine.stream(statement))


def test_a_stream_comes_piece_by_piece(engine: Engine) -> None:
    blocks = list(engine.stream(f"SELECT {LINE} AS line FROM numbers(1000000)"))
    assert len(blocks) > 3
    assert lines(blocks) == [b"%d" % n for n in range(1_000_000)]


def test_a_stream_that_fails_on_its_way_does_not_look_whole(engine: Engine) -> None:
    """An engine raises; a server may write the error behind what it has sent already."""
    stream = engine.stream(
        "SELECT concat(toString(throwIf(number = 900000)), '\\n') AS line FROM numbers(1000000)"
    )
    got = b""
    try:
        for block in stream:
            got += block
    except EngineError as error:
        assert any(word in str(error) for word in ("throwIf", "broke off"))  # noqa: PT017
    else:
        assert b"throwIf" in got.splitlines()[-1]


def test_a_stream_can_be_left_early_and_others_go_on_beside_it(engine: Engine) -> None:
    endless = engine.stream(f"SELECT {LINE} AS line FROM system.numbers")
    other = engine.stream(f"SELECT {LINE} AS line FROM numbers(20000)")
    assert next(endless).startswith(b"0\n")
    first = next(other)
    assert engine.fetch("SELECT 7") == b"7\n"
    assert next(endless)
    endless.close()
    assert len(lines([first, *other])) == 20_000


def test_a_stream_is_of_one_moment(engine: Engine) -> None:
    engine.insert("seam", COLUMNS, b"".join(rows(n) for n in range(30_000)))
    stream = engine.stream("SELECT concat(toString(n), '\\n') AS line FROM seam")
    first = next(stream)
    engine.insert("seam", COLUMNS, rows(*range(30_000, 30_500)))
    assert len(b"".join([first, *stream]).split()) == 30_000


def test_memory_is_bounded(engine: Engine) -> None:
    with pytest.raises(EngineError, match=r"(?i)memory limit"):
        engine.fetch("SELECT length(groupArray(toString(number))) FROM numbers(200000000)")
    assert engine.fetch("SELECT 1") == b"1\n"


def test_r6_shards_are_found_as_the_servers_find_them(engine: Engine) -> None:
    for name in ("acme", "é", "a" * 64, ""):
        key = schema.SHARDING_KEY.replace("account", f"toString({sql.quote(name)})")
        slot = int(engine.fetch(f"SELECT {key} % 7"))
        assert base.Layout(weights=(1,) * 7).shard(name) == slot
