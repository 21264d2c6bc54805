"""Where SQL runs: the one seam to the engine.

Above this package nobody knows an engine's driver, its handles or its errors. An engine has the
six members of :class:`Engine`; whatever goes wrong in it is raised as an
:class:`~genmeter.errors.EngineError`.
"""

from collections.abc import Generator, Mapping
from typing import Protocol


class Engine(Protocol):
    """What an engine does. Every method may be called from any thread."""

    table_settings: str
    """The clause, with a leading space, that makes a table of records durable and compact."""

    def execute(self, statement: str) -> None:
        """Run a statement that returns nothing."""

    def fetch(self, statement: str) -> bytes:
        """The whole result of a short SELECT, as lines of tab-separated values."""

    def stream(self, statement: str) -> Generator[bytes, None, None]:
        """The values of a SELECT of one text column, as they are, block by block.

        Every value ends with a line end of its own, and there may be empty lines between them.
        What is inserted after the first block is not in the others. Closing the iterator ends
        the statement.
        """

    def insert(self, table: str, columns: Mapping[str, str], rows: bytes) -> None:
        """Insert NDJSON ``rows``, each with a line end; they are then on disk and visible.

        ``columns`` maps names to types. The rows of one month become visible together or, after
        a failure, not at all.
        """

    def close(self) -> None:
        """Give everything back. No method may run or be called afterwards."""
