"""Records of very many accounts, their sizes by Zipf's law, that look like those of the samples.

``genmeter.sample_traffic`` gives each account a character that costs it 20 KB and a quarter of a
millisecond: fine for hundreds, not for 100,000. Here a small cast is made by it, and every account
lives like one of the cast, with configs and job ids of its own.
"""

import random
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, count, cycle
from typing import NamedTuple

from genmeter.sample_traffic import traffic

_CAST = 64
_LINES = 400 * _CAST
_CAST_END_MS = 1_760_000_000_000
_DRAWS = 4096

_UUID = rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_VARIES = re.compile(rb"(%b)|[0-9a-f]{8,}" % _UUID)
_OWNER = re.compile(rb'"account":"([^"]*)"')
_CONFIG = re.compile(rb'"config":"([^"]*)"')
_JOBID = re.compile(rb'"jobid":"([^"]*)"')
_TIMESTAMP = re.compile(rb'"timestamp":\d+')
_BOT = re.compile(rb'"bot":"([^"]*)"')
_MIX = 0x9E3779B97F4A7C15F39CC0605CEDC9  # of 2**120, odd: its multiples do not repeat
_CLOCK_DIGITS = 13

_Fresh = Callable[[int, int], bytes]
"""What is new in a job id, made from the record's time and number."""


class _Habit(NamedTuple):
    """A line of the cast as a template, and how what varies in its job id is made."""

    template: bytes
    fresh: _Fresh


class Population:
    """``accounts`` accounts; number N has 1/(N+1)**``zipf`` of the traffic of number 0.

    The same arguments make the same records. Names sort by size, the largest first.
    """

    def __init__(self, accounts: int, zipf: float, seed: int) -> None:
        self.accounts = accounts
        self._random = random.Random(seed)
        self._sizes = list(accumulate((n + 1) ** -zipf for n in range(accounts)))
        self._numbers = count(self._random.randrange(10**9))
        self._habits = _habits(seed)
        self._rings = [cycle(lines) for lines in self._habits]

    @staticmethod
    def name(number: int) -> str:
        """The name of an account."""
        return f"acme-{number:06d}"

    def draws(self) -> Iterator[int]:
        """Numbers of accounts without end, each as often as its size has it."""
        everybody = range(self.accounts)
        while True:
            yield from self._random.choices(everybody, cum_weights=self._sizes, k=_DRAWS)

    def records(self, times_ms: Iterable[int]) -> Iterator[bytes]:
        """A record for each of some times, as a JSON line without its end."""
        for number, time_ms in zip(self.draws(), times_ms, strict=False):
            habit = next(self._rings[number % _CAST])
            yield self._record(habit, number, self.name(number), time_ms)

    def of_one(self, account: str, bot: str, times_ms: Iterable[int]) -> Iterator[bytes]:
        """The same of one account and bot, beside all others."""
        habits = cycle([h for h in self._habits[0] if _found(_BOT, h.template) == bot.encode()])
        for habit, time_ms in zip(habits, times_ms, strict=False):
            yield self._record(habit, self.accounts, account, time_ms)

    def _record(self, habit: _Habit, number: int, account: str, time_ms: int) -> bytes:
        fresh = habit.fresh(time_ms, next(self._numbers))
        return habit.template % {
            b"time": time_ms,
            b"account": account.encode(),
            b"number": number,
            b"fresh": fresh,
        }


def _habits(seed: int) -> Sequence[Sequence[_Habit]]:
    """What each of the cast does, in the order of time."""
    names = [f"cast-{number}" for number in range(_CAST)]
    habits: list[list[_Habit]] = [[] for _ in names]
    for line in traffic(accounts=names, records=_LINES, days=1, end_ms=_CAST_END_MS, seed=seed):
        habits[int(_found(_OWNER, line).removeprefix(b"cast-"))].append(_habit(line))
    if not all(habits):
        raise RuntimeError("somebody of the cast has no records; make more lines")
    return habits


def _habit(line: bytes) -> _Habit:
    config, jobid = _found(_CONFIG, line), _found(_JOBID, line)
    line = line.replace(b"%", b"%%")
    # A config may look like what varies in a job id, and be part of it.
    bare, own = jobid.replace(config, b"\0"), b"%%(number)d.%b" % config
    varies = _VARIES.search(bare)
    if varies is None:
        raise RuntimeError(f"nothing varies in the job id {jobid.decode()}")
    start, end = varies.span()
    id_template = (bare[:start] + b"%(fresh)b" + bare[end:]).replace(b"\0", own)
    line = line.replace(b'"jobid":"' + jobid, b'"jobid":"' + id_template)
    line = line.replace(b'"config":"' + config, b'"config":"' + own)
    line = _OWNER.sub(b'"account":"%(account)b"', line)
    line = _TIMESTAMP.sub(b'"timestamp":%(time)d', line)
    return _Habit(line, _uuid if varies[1] else _like(varies[0]))


def _uuid(_: int, number: int) -> bytes:
    bits = f"{number * _MIX % (1 << 120):030x}"
    text = f"{bits[:8]}-{bits[8:12]}-4{bits[12:15]}-b{bits[15:18]}-{bits[18:]}"
    return text.encode()


def _like(text: bytes) -> _Fresh:
    """What is as long as ``text``: hexadecimal, or digits, with the time first if they are many."""
    width = len(text)
    if not text.isdigit():
        return lambda _, number: b"%0*x" % (width, number * _MIX % (1 << 4 * width))
    if width > _CLOCK_DIGITS:
        rest = width - _CLOCK_DIGITS
        return lambda time_ms, number: b"%d%0*d" % (time_ms, rest, number * _MIX % 10**rest)
    return lambda _, number: b"%0*d" % (width, number * 618_033 % 10**width)


def _found(pattern: re.Pattern[bytes], line: bytes) -> bytes:
    found = pattern.search(line)
    if found is None:
        raise RuntimeError(f"{pattern.pattern!r} is not in {line!r}")
    return found[1]
