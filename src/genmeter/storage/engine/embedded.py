"""ClickHouse in the process, by chDB, over one folder.

What was found about it, and what follows here:

- Two statements at a time on one handle end in an empty answer without an error, so a statement
  has a handle to itself while it runs. One that is new takes a statement 0.3 ms more, so those
  whose statement came to its end wait for the next. The one that keeps the engine up serves all
  INSERTs, of which there is one at a time.
- ``INSERT … SELECT FROM input()`` with rows behind it stores nothing and says nothing; parsing
  straight into LowCardinality columns costs 12 µs a row; reading a file through plain types costs
  4 µs. So rows go through a scratch file beside the store.
- An INSERT makes one part a month as long as nothing splits it, hence the block limits below.
- A write that the system refuses is counted and otherwise ignored: see ``torn``.
"""

import contextlib
import fcntl
import logging
import os
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from genmeter.errors import EngineError, EngineLimitError, FolderBusyError, StartError
from genmeter.storage.engine.base import (
    DAMAGE_CODES,
    LIMIT_CODES,
    TABLE_SETTINGS,
    Layout,
    Server,
    error_code,
    settings_clause,
)
from genmeter.storage.engine.chdb import connect
from genmeter.storage.engine.torn import TornParts
from genmeter.storage.sql.base import TABLE

log = logging.getLogger(__name__)

_INDEX_BYTES: Final = 64 * 2**20
_LINES: Final = "TSVRaw"
_VALUES: Final = "RawBLOB"  # a sixth less work than lines: values are copied and nothing else
_COUNTING: Final = ", max_threads_min_free_memory_per_thread = 0, max_block_size = 65536"
"""By itself the engine uses a thread for each GB that is left, which is one here; and what is
counted gains a tenth by larger blocks. What is streamed is mostly copied and gains by neither."""

_PART_FOLDER: Final = re.compile(r"/(\d{6}_\d+_\d+_\d+(?:_\d+)?)(?![^/\s)'\"])", re.ASCII)
_NOT_IN_PATHS: Final = "?&%#*{}[]'\"\\"


class Embedded:
    """The engine in this process, its files in ``folder``.

    ``memory_mb`` bounds what all statements together may hold, ``threads`` what one may use;
    a statement that runs longer than ``seconds`` is ended with an error.
    Raises FolderBusyError where another process has the folder open.
    """

    layout = Layout(settings=settings_clause(TABLE_SETTINGS))

    def __init__(self, folder: Path, *, memory_mb: int, threads: int, seconds: int = 120) -> None:
        if odd := "".join(char for char in _NOT_IN_PATHS if char in str(folder)):
            raise StartError(
                f"the path of the data folder must not hold any of {odd}: "
                "the engine would read a pattern or an option in it"
            )
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._incoming = folder / "incoming.ndjson"
        self.damaged: set[str] = set()
        self.replaced: Callable[[str, Mapping[str, str]], None] = lambda torn, names: None
        self._inserting = threading.RLock()
        self._idle: deque[Any] = deque()
        memory = memory_mb * 2**20
        self._address = (
            f"{folder}?max_server_memory_usage={memory}"
            f"&mark_cache_size={_INDEX_BYTES}&primary_index_cache_size={_INDEX_BYTES}"
            f"&uncompressed_cache_size={memory // 8}"
        )
        self._read = (
            f" SETTINGS max_threads = {threads}, max_block_size = 16384, "
            # Only conditions on the sort key move, which equal records share: R6 stays true.
            "optimize_move_to_prewhere_if_final = 1, "
            # The bound of an answer and its rows read the same blocks, and so do the queries of a
            # view. By itself the engine leaves out scans of more than a million rows, which it
            # halves; larger ones than the cache neither gain by it nor lose.
            "use_uncompressed_cache = 1, merge_tree_max_rows_to_use_cache = 1000000000000, "
            "merge_tree_max_bytes_to_use_cache = 1000000000000000, "
            # Takes 1.4 of 10 ms from a small query; servers use their own choice, and the tests
            # ask both.
            "enable_analyzer = 0, "
            f"max_memory_usage = {memory * 3 // 4}, max_execution_time = {seconds}, "
            # Equal records are always of one month, so months need not be merged with each other.
            "do_not_merge_across_partitions_select_final = 1"
        )
        self._write = (
            " SETTINGS async_insert = 0, max_threads = 1, max_insert_threads = 1, "
            "input_format_parallel_parsing = 0, max_partitions_per_insert_block = 0, "
            "min_insert_block_size_rows = 2000000, min_insert_block_size_bytes = 4000000000"
        )
        self._lock = _lock(folder / "lock")
        try:
            with _unsaid():
                self._anchor: Any = connect(self._address)
        except RuntimeError as error:
            self._lock.close()
            log.debug("the engine cannot open its folder: %s", error)
            raise StartError(
                f"the records in {folder} cannot be opened, files in it are missing or damaged; "
                "restore a backup (--log-level debug shows the engine's own words)"
            ) from error
        self._fail_once()
        self._torn = TornParts(self._ask, TABLE, lock=self._inserting, replaced=self._forget_torn)

    def _fail_once(self) -> None:
        """Let the engine read its symbols, as it does at its first error.

        Where it cannot open their files then, because no more may be open, the process crashes.
        """
        with contextlib.suppress(EngineError):
            self._ask("SELECT throwIf(1)")

    def _forget_torn(self, torn: str, names: Mapping[str, str]) -> None:
        self.damaged.discard(torn)
        self.replaced(torn, names)

    def prepare(self, make: Callable[[Server], None]) -> None:
        """Call ``make`` for the one server there is: this."""
        make(self)
        # A table of an older version was made with fewer of them.
        settings = self.layout.settings.removeprefix(" SETTINGS ")
        self.execute(f"ALTER TABLE {TABLE} MODIFY SETTING {settings}")

    def execute(self, statement: str, shard: int = 0) -> None:
        """Run a statement that returns nothing."""
        self._ask(statement)
        self._torn.check()

    def fetch(self, statement: str, shard: int = 0) -> bytes:
        """The whole result of a short SELECT."""
        with self._handle() as handle:
            settings = self._read + _COUNTING
            result: bytes = handle.query(statement + settings, _LINES).bytes()
            return result

    def _ask(self, statement: str) -> str:
        """The lines that any statement returns."""
        with self._handle() as handle:
            return str(handle.query(statement, _LINES).bytes().decode())

    def stream(self, statement: str, shard: int = 0) -> Generator[bytes, None, None]:
        """The values of a SELECT of one text column, block by block."""
        with self._handle() as handle:
            result = handle.send_query(statement + self._read, _VALUES)
            ended = False
            try:
                while block := handle.streaming_fetch_result(result).bytes():
                    yield block
                ended = True
            finally:
                if not ended:
                    handle.streaming_cancel_query(result)

    def insert(
        self,
        table: str,
        columns: Mapping[str, str],
        rows: bytes,
        shard: int = 0,
        replication_probes: Sequence[str] = (),
    ) -> None:
        """Insert NDJSON rows: one part a month, on disk when it returns."""
        names = ", ".join(columns)
        plain = ", ".join(f"{name} {_plain(type_)}" for name, type_ in columns.items())
        with self._inserting, _our_errors():
            try:
                self._incoming.write_bytes(rows)
                result = self._anchor.query(
                    f"INSERT INTO {table} ({names}) SELECT {names} "
                    f"FROM file('{self._incoming}', 'JSONEachRow', '{plain}'){self._write}",
                    _LINES,
                )
                taken, sent = result.storage_rows_read(), rows.count(b"\n")
                if taken != sent:  # never seen since; it did happen on the way to this code
                    raise EngineError(f"the engine took {taken} of {sent} rows")
                self._torn.check()
            except OSError as error:
                raise EngineError(f"cannot write the rows beside the store: {error}") from error
            finally:
                self._incoming.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the store and let other processes open it."""
        self._torn.close()
        while self._idle:
            self._idle.pop().close()
        self._anchor.close()
        self._lock.close()

    @contextlib.contextmanager
    def _handle(self) -> Iterator[Any]:
        """A handle for one statement; its errors become ours."""
        with _our_errors(self.damaged):
            try:
                handle = self._idle.pop()
            except IndexError:
                handle = connect(self._address)
            try:
                yield handle
            except BaseException:
                handle.close()  # whatever state it is in
                raise
            self._idle.append(handle)


@contextlib.contextmanager
def _unsaid() -> Iterator[None]:
    """Keep from standard error what the engine writes there while it starts: it raises it, too."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123  # its number is what is wanted
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def _our_errors(damaged: set[str] | None = None) -> Iterator[None]:
    """Raise the engine's errors as ours, and note the part that could not be read in ``damaged``.

    An error names the part by its folder.
    """
    try:
        yield
    except RuntimeError as error:
        code = error_code(str(error))
        part = _PART_FOLDER.search(str(error))
        if damaged is not None and code in DAMAGE_CODES and part is not None:
            damaged.add(part[1])
        raise (EngineLimitError if code in LIMIT_CODES else EngineError)(str(error)) from error


def _lock(path: Path) -> IO[bytes]:
    """Hold ``path`` for this process; the kernel lets go of it however the process ends.

    The engine has a lock of its own, but its refusal does not say why.
    """
    file = path.open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.close()
        raise FolderBusyError(
            "the data folder is in use by another process; stop that one, or name another folder"
        ) from error
    return file


def _plain(type_: str) -> str:
    return type_.removeprefix("LowCardinality(").removesuffix(")") if "Low" in type_ else type_
