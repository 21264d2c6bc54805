"""Opens the engine that the settings name."""

from genmeter.config.load import ServerSettings
from genmeter.storage.engine.base import Engine
from genmeter.storage.engine.cluster import ClickHouse


def connect(settings: ServerSettings) -> Engine:
    """Return the engine that the settings name.

    Raises StartError where it cannot be opened.
    """
    if settings.clickhouse is None:
        # Importing it alone takes 135 MB, which a node over servers has no use for.
        from genmeter.storage.engine.embedded import Embedded  # noqa: PLC0415

        return Embedded(
            settings.data / "engine",
            memory_mb=settings.engine_memory_mb,
            threads=settings.engine_threads,
        )
    return ClickHouse(
        settings.clickhouse,
        password=settings.clickhouse_password,
        cluster=settings.clickhouse_cluster or "",
        quorum=settings.clickhouse_quorum,
        ca_file=settings.clickhouse_ca_file,
        timeout_s=settings.clickhouse_timeout_seconds,
        memory_mb=settings.engine_memory_mb,
        threads=settings.engine_threads,
    )
