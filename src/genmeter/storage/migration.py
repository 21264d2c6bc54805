"""The records of one engine on their way to another: what differs is sent, then compared.

The unit is the month of an account. Both engines sum up what they hold of it, from the same text
of every record and its version. Where the sums are equal nothing is to be done, which makes a
migration that was cut short go on where it stopped, and one that is run again find what is new.

The target may be in use. It then holds more than the source, or records that were corrected, and
other sums: so where sums differ, each record of the source must be there in its version or in a
higher one. Records keep their versions, and of equal ones one stays (R6): sending some twice, or
after they were corrected, changes no answer.
"""

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from typing import Final

import msgspec

from genmeter.clock import iso, month_ms
from genmeter.errors import EngineError
from genmeter.storage import schema
from genmeter.storage.engine.base import Engine, table
from genmeter.storage.schema import prepare
from genmeter.storage.slices import portions
from genmeter.storage.sql import base as sql
from genmeter.storage.sql import maintenance

PORTION_RECORDS: Final = 200_000
"""About how many records are compared and sent together: seconds of work for either engine."""

_BATCH_BYTES: Final = 32 * 2**20  # some 100,000 records

Unit = tuple[str, int]
"""An account, and a UTC month as ``YYYYMM``."""

Known = tuple[tuple[bytes, int, bytes], int, bytes]
"""What a record is known by in its account, its version, and a sum over all there is in it."""


class Portion(msgspec.Struct, frozen=True, kw_only=True):
    """A month, or a piece of one, of some accounts of one shard; ``records`` is the most of it."""

    month: int
    shard: int
    span: sql.Span
    records: int


class Difference(msgspec.Struct, kw_only=True):
    """What a target lacks of a source's records.

    ``missing`` are not there, or only in an earlier version; ``altered`` are there in the same
    version with another content, which nothing but a fault explains. ``first`` names the first.
    """

    missing: int = 0
    altered: int = 0
    first: str = ""

    def __bool__(self) -> bool:
        return bool(self.missing or self.altered)

    def __str__(self) -> str:
        counts = {"missing": self.missing, "altered at the same version": self.altered}
        told = " and ".join(f"{count:,} {what}" for what, count in counts.items() if count)
        return f"{told}; the first is {self.first}"

    def add(self, other: "Difference") -> None:
        """Count those of another piece of the same month in."""
        self.missing += other.missing
        self.altered += other.altered
        self.first = self.first or other.first


class Migration:
    """All records of ``source``, to be brought to ``target``; the source is only read.

    Before it runs, all versions that are given out for the target from now on must be above
    ``last_version``. ``records`` is about how many there are to go through.
    Raises EngineError, from every method, where one of the two fails.
    """

    def __init__(self, source: Engine, target: Engine) -> None:
        for engine in (source, target):
            prepare(engine)
        source.execute(maintenance.STOP_MERGES)
        self.last_version = int(source.fetch(schema.READ_LAST_WRITE))
        self._source, self._target = source, target
        self._portions = plan(_units(source), target.layout.shard)
        self.records = sum(portion.records for portion in self._portions)
        self.found: dict[Unit, int] = defaultdict(int)
        self.sent: set[Unit] = set()
        self.wrong: dict[Unit, Difference] = defaultdict(Difference)

    def run(self) -> Iterator[int]:
        """Do it piece by piece; says of each how many of ``records`` it was.

        Afterwards ``found`` has the number of records in each unit of the source, ``sent`` has the
        units that were sent, ``wrong`` what is not right in the target all the same.
        """
        for portion in self._portions:
            self._move(portion)
            yield portion.records

    def _move(self, portion: Portion) -> None:
        shard, month = portion.shard, portion.month
        mine = _fingerprints(self._source, portion.span, 0)
        theirs = _fingerprints(self._target, portion.span, shard)
        lacking = []
        for account, (count, digest) in mine.items():
            unit = account, month
            self.found[unit] += count
            if theirs.get(account) == (count, digest):
                continue
            if account in theirs:
                difference = self._difference(account, portion)
                if difference.altered:  # it must be looked at, and would be gone if it were sent
                    self.wrong[unit].add(difference)
                    continue
                if not difference:
                    continue
            lacking.append(account)
        if not lacking:
            return
        span = msgspec.structs.replace(portion.span, accounts=tuple(lacking))
        for batch in batches(self._source.stream(maintenance.whole_rows(span)), _BATCH_BYTES):
            self._target.insert(sql.TABLE, sql.COLUMNS, batch, shard)
        theirs = _fingerprints(self._target, span, shard)
        for account in lacking:
            self.sent.add((account, month))
            if theirs.get(account) == mine[account]:
                continue
            if difference := self._difference(account, portion):
                self.wrong[account, month].add(difference)

    def _difference(self, account: str, portion: Portion) -> Difference:
        """What the target lacks of an account in a portion, record by record."""
        span = msgspec.structs.replace(portion.span, accounts=(account,))
        statement = maintenance.identities(span)
        with (
            closing(_identities(self._source.stream(statement))) as mine,
            closing(_identities(self._target.stream(statement, portion.shard))) as theirs,
        ):
            return compare(mine, theirs)


def plan(units: Iterable[tuple[Unit, int]], shard_of: Callable[[str], int]) -> list[Portion]:
    """Portions of about the same size, month after month, from units and their sizes.

    Small units of one shard and month go together; a large one is cut into equal times.
    """
    groups: dict[tuple[int, int], list[tuple[str, int]]] = defaultdict(list)
    for (account, month), count in units:
        groups[month, shard_of(account)].append((account, count))
    return [
        Portion(month=month, shard=shard, span=span, records=records)
        for (month, shard), accounts in sorted(groups.items())
        for span, records in portions(accounts, *month_ms(month), PORTION_RECORDS)
    ]


def compare(source: Iterable[Known], target: Iterable[Known]) -> Difference:
    """What ``target`` lacks of ``source``; both are in the order of their keys."""
    difference = Difference()
    others = iter(target)
    other = next(others, None)
    for key, version, content in source:
        while other is not None and other[0] < key:
            other = next(others, None)
        if other is None or other[0] != key or other[1] < version:
            difference.missing += 1
        elif other[1] == version and other[2] != content:
            difference.altered += 1
        else:
            continue
        if not difference.first:
            bot, neg_ms, jobid = key
            difference.first = f"{bot.decode()}, {iso(-neg_ms)}, job {jobid.decode()}"
    return difference


def batches(blocks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The same text in pieces of whole lines, each of about ``size`` bytes or a little more."""
    pieces: list[bytes] = []
    length = 0
    for block in blocks:
        pieces.append(block)
        length += len(block)
        end = block.rfind(b"\n") + 1
        if length >= size and end:
            pieces[-1] = block[:end]
            yield b"".join(pieces)
            pieces = [block[end:]]
            length = len(pieces[0])
    if rest := b"".join(pieces):
        yield rest


def _units(engine: Engine) -> list[tuple[Unit, int]]:
    """How many records there are of each unit, those sent again more than once."""
    return [
        ((account, int(month)), int(count))
        for month, account, count in table(engine.fetch(maintenance.READ_UNITS))
    ]


def _fingerprints(engine: Engine, span: sql.Span, shard: int) -> dict[str, tuple[int, str]]:
    """For each account the number of its records, and a sum over them."""
    answer = engine.fetch(maintenance.fingerprints(span), shard)
    return {account: (int(count), digest) for account, count, digest in table(answer)}


def _identities(blocks: Generator[bytes, None, None]) -> Generator[Known, None, None]:
    """The records of a stream of lines. Raises EngineError where it is something else."""
    with closing(blocks):
        for batch in batches(blocks, 1):
            for line in filter(None, batch.split(b"\n")):
                try:
                    bot, neg_ms, jobid, version, content = line.split(b"\t")
                    known = (bot, int(neg_ms), jobid), int(version), content
                except ValueError as error:
                    text = line[-500:].decode(errors="replace")
                    raise EngineError(f"records broke off at: {text}") from error
                yield known
