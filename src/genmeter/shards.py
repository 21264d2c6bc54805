"""Statements to the shards that hold a selection's records, and their end before their time."""

import contextlib
from collections.abc import Generator, Iterator

from genmeter import sql
from genmeter.engine import Engine
from genmeter.errors import EngineLimitError, LimitError
from genmeter.selection import Selection


class Shards:
    """The shards of ``engine``. A question that needs more than ``memory_mb`` raises LimitError."""

    def __init__(self, engine: Engine, *, memory_mb: int) -> None:
        self._engine = engine
        self._memory_mb = memory_mb

    def of(self, selection: Selection) -> list[int]:
        """Where the records of a selection are: an account's are on one shard."""
        if selection.account is not None:
            return [self._engine.layout.shard(selection.account)]
        return [*range(len(self._engine.layout.weights))]

    def several(self, selection: Selection) -> bool:
        """Whether a selection's records may be on more than one shard."""
        return len(self.of(selection)) > 1

    def ask(self, selection: Selection, statement: str, mark: str) -> list[bytes]:
        """What each shard that has some of a selection's records answers."""
        with self._limits():
            marked = sql.marked(statement, mark)
            return [self._engine.fetch(marked, shard) for shard in self.of(selection)]

    def stream(self, shard: int, statement: str, mark: str) -> Generator[bytes, None, None]:
        """Lines of one shard, piece by piece."""
        with self._limits():
            yield from self._engine.stream(sql.marked(statement, mark), shard)

    def stop(self, mark: str) -> None:
        """End the statements with this mark, wherever they run."""
        for shard in range(len(self._engine.layout.weights)):
            self._engine.execute(sql.kill(mark), shard)

    @contextlib.contextmanager
    def _limits(self) -> Iterator[None]:
        try:
            yield
        except EngineLimitError as error:
            raise LimitError(
                f"the question needs more than the {self._memory_mb} MB or the time that the "
                "engine gives to one; ask for less time, fewer groups or no percentiles"
            ) from error
