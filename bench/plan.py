"""What a run measures, and where it keeps what it can use again."""

from dataclasses import dataclass
from pathlib import Path

FULL_RECORDS = 10_000_000
LIMIT = 50_000
"""The most records one query may ask for, which is what the largest one here does."""

DAY_ROWS = 3_000
"""About how many rows the measured day has."""


@dataclass(frozen=True)
class Plan:
    """The choices of one run.

    The stores hold ``records`` records of ``accounts`` accounts over ``days`` days. Reads are
    repeated ``repeats`` times, loads last ``seconds``. ``stream_records`` is the size of the day
    that is streamed, 0 for none.
    """

    records: int
    accounts: int
    days: int
    seed: int
    folder: Path
    repeats: int
    seconds: float
    stream_records: int

    @property
    def name(self) -> str:
        """What sets these stores apart from others."""
        return f"r{self.records}_a{self.accounts}_d{self.days}_s{self.seed}"

    @property
    def store(self) -> Path:
        """The folder of genmeter's store, as ``--data`` takes it, and of the note beside it."""
        return self.folder / self.name

    @property
    def cluster(self) -> Path:
        """The folder of the peer's databases."""
        return self.folder / "postgres"

    def names(self) -> list[str]:
        """The accounts, the largest first."""
        return [f"acme-{number:03d}" for number in range(self.accounts)]
