"""The tables that hold records, and the steps from each schema version to the next."""

import logging
from typing import Final

import msgspec

from genmeter.errors import EngineError, NewerSchemaError, StartError
from genmeter.model.fields import FIELDS
from genmeter.storage.engine.base import Engine, Layout, Server
from genmeter.storage.sql.base import COLUMNS, TABLE, quote

log = logging.getLogger(__name__)

PARTITION: Final = "toYYYYMM(toDate(intDiv(-neg_ms, 1000), 'UTC'))"
"""The UTC month of a record: the unit that retention drops."""


SHARDING_KEY: Final = "reinterpretAsUInt32(substring(MD5(account), 1, 4))"


ALL: Final = "records_all"
"""In a cluster the records of all shards, for people: the service asks the shards themselves."""


class Step(msgspec.Struct, frozen=True):
    """A statement that changes the schema, and a query that is not 0 where it has been run.

    Without the query it can be run again. Old servers have no ``IF NOT EXISTS`` for columns,
    and replicas give each other what one of them was told.
    """

    statement: str
    done: str = ""


def migrations(layout: Layout) -> tuple[tuple[Step, ...], ...]:
    """The steps that lead a server from each schema version to the next, from none on.

    A start that was cut short is finished by the next one.
    """
    first = [field.column for field in FIELDS if field.since == 1]
    columns = ", ".join(f"{name} {COLUMNS[name]}" for name in [*first, "version"])
    create = (
        f"CREATE TABLE IF NOT EXISTS {TABLE} ({columns}) "
        f"ENGINE = {layout.engine} "
        f"PARTITION BY {PARTITION} ORDER BY (account, bot, neg_ms, jobid){layout.settings}"
    )
    steps: list[tuple[Step, ...]] = [(Step(create),)]
    if layout.cluster:
        create_all = (
            f"CREATE TABLE IF NOT EXISTS {ALL} AS {TABLE} ENGINE = "
            f"Distributed({layout.cluster}, {layout.database}, {TABLE}, {SHARDING_KEY})"
        )
        steps = [(Step(create), Step(create_all))]
    tables = (TABLE, ALL) if layout.cluster else (TABLE,)
    for version in range(2, max(field.since for field in FIELDS) + 1):
        added = [field for field in FIELDS if field.since == version]
        steps.append(
            tuple(add_column(table, f.column, f.column_type) for table in tables for f in added)
        )
    return tuple(steps)


def add_column(table: str, name: str, type_: str) -> Step:
    """A column more; older rows have its type's default, an empty text or null."""
    return Step(
        f"ALTER TABLE {table} ADD COLUMN {name} {type_}",
        "SELECT count() FROM system.columns WHERE database = currentDatabase() "
        f"AND table = {quote(table)} AND name = {quote(name)}",
    )


CREATE_VERSIONS: Final = (
    "CREATE TABLE IF NOT EXISTS schema_versions (version UInt32) "
    "ENGINE = MergeTree ORDER BY version"
)


CREATE_WEIGHTS: Final = (
    "CREATE TABLE IF NOT EXISTS shard_weights (weights String) ENGINE = MergeTree ORDER BY weights"
)


READ_WEIGHTS: Final = "SELECT weights FROM shard_weights"
READ_VERSION: Final = "SELECT max(version) FROM schema_versions"


READ_LAST_WRITE: Final = (
    # Read once: kept in the cache it would be a hundred megabytes that nobody asks for again.
    f"SELECT * FROM (SELECT max(version) FROM {TABLE} SETTINGS use_uncompressed_cache = 0)"
)


READ_COUNT: Final = f"SELECT count() FROM {TABLE}"


READ_MONTHS: Final = (
    "SELECT DISTINCT partition FROM system.parts "
    f"WHERE database = currentDatabase() AND table = '{TABLE}' AND active ORDER BY partition"
)


READ_STATE: Final = (
    "SELECT partition, max(max_block_number) FROM system.parts "
    f"WHERE database = currentDatabase() AND table = '{TABLE}' AND active "
    "GROUP BY partition ORDER BY partition"
)
"""What changes with every insert, and with every month that goes; merges leave it as it is."""


def write_version(version: int) -> str:
    """Note that the schema has reached ``version``."""
    return f"INSERT INTO schema_versions VALUES ({version:d})"


def write_weights(weights: tuple[int, ...]) -> str:
    """Note the shards by which records are laid out."""
    return f"INSERT INTO shard_weights VALUES ({quote(weights_text(weights))})"


def weights_text(weights: tuple[int, ...]) -> str:
    """The weights of shards as they are noted."""
    return ",".join(f"{weight:d}" for weight in weights)


def drop_month(month: int) -> str:
    """Remove the records of the UTC month ``YYYYMM``."""
    return f"ALTER TABLE {TABLE} DROP PARTITION {month:d}"


def prepare(engine: Engine) -> None:
    """Bring the schema in ``engine`` to this version's. Raises NewerSchemaError."""
    engine.prepare(_migrate)


def _migrate(server: Server) -> None:
    """Bring the schema on a server to this version's, step by step, noting each."""
    server.execute(CREATE_VERSIONS)
    found = int(server.fetch(READ_VERSION))
    steps = migrations(server.layout)
    if found > len(steps):
        raise NewerSchemaError(
            f"the store has schema version {found}, this genmeter knows up to {len(steps)}; "
            "install a later genmeter, or name another store"
        )
    for version, group in enumerate(steps[found:], found + 1):
        for step in group:
            _take(server, step)
        server.execute(write_version(version))
        log.info("schema is at version %d", version)
    if server.layout.cluster:
        _check_weights(server)


def _take(server: Server, step: Step) -> None:
    """Run a step, unless it was taken before, or another node takes it at the same time."""

    def done() -> bool:
        return bool(step.done) and int(server.fetch(step.done)) > 0

    if done():
        return
    try:
        server.execute(step.statement)
    except EngineError:
        if not done():
            raise


def _check_weights(server: Server) -> None:
    """Note the cluster's shards, or refuse others than those by which records were laid out."""
    weights = server.layout.weights
    server.execute(CREATE_WEIGHTS)
    noted = server.fetch(READ_WEIGHTS).decode().split()
    if not noted:
        server.execute(write_weights(weights))
    elif set(noted) != {weights_text(weights)}:
        raise StartError(
            f"the records were laid out on shards of the weights {noted[0]}, and the cluster has "
            f"{weights_text(weights)} now; move them into a new database (docs/scale.md)"
        )
