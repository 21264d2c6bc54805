"""Where SQL runs: the one seam to the engine.

Above this package nobody knows an engine's driver, its handles or its errors. An engine has the
members of :class:`Engine`; whatever goes wrong in it is raised as an
:class:`~genmeter.errors.EngineError`.

An engine keeps records on one shard or several; the records of one account are on one of them.
"""

import hashlib
import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from genmeter.storage.sql.base import TABLE

TABLE_SETTINGS: Final = {
    # Durability: an acknowledged insert is on disk, and so is what a merge makes of it before
    # its sources go. That is what lets the sources go after a minute instead of eight.
    "fsync_after_insert": "1",
    "fsync_part_directory": "1",
    "min_rows_to_fsync_after_merge": "1",
    "min_compressed_bytes_to_fsync_after_merge": "1",
    "old_parts_lifetime": "60",
    # Size: 18-19 bytes a record instead of 35 with the engine's own choice.
    "default_compression_codec": "'ZSTD(1)'",
    # Reads: one account's day is a few thousand rows; with 8,192 rows a mark and 1 MB a block
    # most of what was read and decompressed for it was somebody else's.
    "index_granularity": "1024",
    "min_compress_block_size": "16384",
    "max_compress_block_size": "65536",
    # Merges: with 10 instead of 5 a record is written anew half as often, or a third as often where
    # inserts are small, and there are no more parts to read.
    "merge_selector_base": "10",
    # No statistics of columns, half a megabyte a part: all conditions are on the sort key.
    "auto_statistics_types": "''",
}
"""What a table of records is made with, as far as the engine at hand knows it."""


LIMIT_CODES: Final = frozenset({
    159,  # TIMEOUT_EXCEEDED
    241,  # MEMORY_LIMIT_EXCEEDED
})  # fmt: skip
"""Errors of a statement that needs more than one may have."""


DAMAGE_CODES: Final = frozenset({
    9,  # SIZES_OF_COLUMNS_DOESNT_MATCH
    32,  # ATTEMPT_TO_READ_AFTER_EOF
    33,  # CANNOT_READ_ALL_DATA
    40,  # CHECKSUM_DOESNT_MATCH
    107,  # FILE_DOESNT_EXIST
    226,  # NO_FILE_IN_DATA_PART
    228,  # BAD_SIZE_OF_FILE_IN_DATA_PART
    246,  # CORRUPTED_DATA
    271,  # CANNOT_DECOMPRESS
    432,  # UNKNOWN_CODEC
})  # fmt: skip
"""Errors of a statement that read a damaged file."""


def error_code(text: str) -> int:
    """ClickHouse's number of an error by its text; 0 where it names none."""
    number = text.removeprefix("Code: ").partition(",")[0].partition(".")[0]
    return int(number) if number.isdecimal() else 0


def settings_clause(settings: Mapping[str, str]) -> str:
    """A clause for the end of a statement."""
    return " SETTINGS " + ", ".join(f"{name} = {value}" for name, value in settings.items())


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """How a server keeps tables of records.

    ``settings`` is a clause, with a leading space, that makes them durable and compact as far as
    the server can. In a ``cluster`` a table is replicated, and the records of an account are on
    one of several shards, which ``weights`` tells the sizes of; ``database`` is where tables are.
    """

    settings: str = ""
    cluster: str = ""
    database: str = ""
    weights: tuple[int, ...] = (1,)

    def shard(self, account: str) -> int:
        """The shard of an account's records, from 0: identity (R6) stays on one of them.

        What ``SHARDING_KEY`` is to the servers, and their way from it to a shard.
        """
        digest = hashlib.md5(account.encode(), usedforsecurity=False).digest()
        slot = int.from_bytes(digest[:4], "little") % sum(self.weights)
        for number, end in enumerate(itertools.accumulate(self.weights)):
            if slot < end:
                return number
        raise AssertionError  # a slot is below the sum of all weights

    @property
    def engine(self) -> str:
        """The engine of the table of records."""
        if not self.cluster:
            return "ReplacingMergeTree(version)"
        path = f"/clickhouse/tables/{{shard}}/{self.database}/{TABLE}"
        return f"ReplicatedReplacingMergeTree('{path}', '{{replica}}', version)"


def table(answer: bytes) -> Iterator[list[str]]:
    """The rows of an answer as lists of texts: the one reader of tab-separated values.

    Texts hold neither tabs nor line ends (R3), so nothing has to be unescaped. Empty lines are
    left out.
    """
    for line in answer.split(b"\n"):
        if line:
            yield line.decode().split("\t")


class Server(Protocol):
    """One server of an engine, or the engine in the process: what its schema is made through."""

    layout: Layout

    def execute(self, statement: str) -> None:
        """Run a statement that returns nothing."""

    def fetch(self, statement: str) -> bytes:
        """The whole result of a short SELECT, as lines of tab-separated values."""


class Engine(Protocol):
    """What an engine does. Every method may be called from any thread."""

    layout: Layout
    damaged: set[str]
    """The parts that a statement could not read, as far as they are in this process's folder."""
    replaced: Callable[[str, Mapping[str, str]], None]
    """To be set: called with a part that a failed write tore and that was removed, and with the
    parts that it had replaced, by their names, each with the name it has now."""

    def prepare(self, make: Callable[[Server], None]) -> None:
        """Call ``make`` for every server, now, or before it is used for the first time.

        Raises what ``make`` raises, and EngineError where no server can be reached.
        """

    def execute(self, statement: str, shard: int = 0) -> None:
        """Run a statement that returns nothing."""

    def fetch(self, statement: str, shard: int = 0) -> bytes:
        """The whole result of a short SELECT, as lines of tab-separated values."""

    def stream(self, statement: str, shard: int = 0) -> Generator[bytes, None, None]:
        """The values of a SELECT of one text column, as they are, block by block.

        Every value ends with a line end of its own, and there may be empty lines between them.
        What is inserted after the first block is not in the others. Closing the iterator ends
        the statement.
        """

    def insert(
        self,
        table: str,
        columns: Mapping[str, str],
        rows: bytes,
        shard: int = 0,
        replication_probes: Sequence[str] = (),
    ) -> None:
        """Insert NDJSON ``rows``, each with a line end; they are then on disk and visible.

        ``columns`` maps names to types. The rows of one month become visible together or, after
        a failure, not at all. ``replication_probes`` are SELECTs that return 0 where the rows are
        missing: an engine with replicas waits until every healthy replica has the rows.
        """

    def close(self) -> None:
        """Give everything back. No method may run or be called afterwards."""
