"""A load of many accounts on a running server: records posted at a rate, queries asked beside.

    python -m bench.load --url http://127.0.0.1:8000 --token TOKEN --rate 5000 --read-rate 20

The token is an admin's. Accounts are drawn by Zipf's law, always the same with one seed; half of
the queries ask for today, half for an account's last 1,000. How long a request took is counted
from when it was planned, so nothing a server does makes the load wait for it. Loopback only.
"""

import argparse
import dataclasses
import ipaddress
import itertools
import signal
import sys
import time
from collections.abc import Callable, Iterator
from enum import Enum
from urllib.parse import urlsplit

from bench import sending
from bench.population import Population
from bench.report import at, short
from bench.sending import Load, Outcome
from genmeter.clock import now_ms

_MADE_AHEAD = 1_000_000
"""Records that are made before a load begins, at the most: 350 MB."""

_BOT = "google-flow"  # every account uses it
_MOST_SECONDS = 3600.0


class Shape(Enum):
    """How records are put into a body."""

    LINES = "application/x-ndjson"
    ARRAY = "application/json"


@dataclasses.dataclass(frozen=True)
class Target:
    """The server under load: where it is, and an admin's token."""

    host: str
    port: int
    token: str


def posts(
    population: Population, token: str, *, records: int, shape: Shape = Shape.LINES, ahead: int
) -> Iterator[bytes]:
    """Requests without end, each with ``records`` new records of now.

    As many as hold ``ahead`` records are made at once, the others when they are asked for.
    """
    clock = iter(now_ms, None)
    lines = population.records(clock)

    def one() -> bytes:
        some = list(itertools.islice(lines, records))
        if shape is Shape.LINES:
            body = b"\n".join(some)
        else:
            body = some[0] if records == 1 else b"[" + b",".join(some) + b"]"
        head = (
            f"POST /v2/account/stats HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {token}\r\nContent-Type: {shape.value}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    made = [one() for _ in range(-(-ahead // records))]
    return itertools.chain(made, iter(one, None))


def questions(population: Population, token: str) -> Iterator[bytes]:
    """Requests without end that ask about accounts, the large ones more often."""
    what = itertools.cycle(["", "&limit=1000"])
    for number, more in zip(population.draws(), what, strict=False):
        yield (
            f"GET /v2/account/stats?bot={_BOT}&account={population.name(number)}{more} HTTP/1.1\r\n"
            f"Host: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n"
        ).encode()


@dataclasses.dataclass(frozen=True)
class Measured:
    """What came of a load: of the posts, of the queries, and what making it cost."""

    posts: Outcome
    questions: Outcome | None
    own_cpu_s: float


def run(
    target: Target,
    posting: Load,
    asking: Load | None = None,
    *,
    records: int,
    accounts: int = 100_000,
    zipf: float = 1.1,
    seed: int = 1,
    shape: Shape = Shape.LINES,
) -> Measured:
    """Put a load on a server. Raises OSError where it cannot be reached."""
    population = Population(accounts, zipf, seed)
    whole_s = posting.seconds + sending.WARM_UP_S
    ahead = int(posting.rate * records * whole_s) or _MADE_AHEAD
    loads = [
        (posting, posts(population, target.token, records=records, shape=shape,
                        ahead=min(ahead, _MADE_AHEAD)))
    ]  # fmt: skip
    if asking is not None:
        loads.append((asking, questions(Population(accounts, zipf, seed + 1), target.token)))
    began = time.process_time()
    outcomes = sending.run((target.host, target.port), loads)
    own_cpu_s = time.process_time() - began
    return Measured(outcomes[0], outcomes[1] if asking else None, own_cpu_s)


def loopback(url: str) -> tuple[str, int]:
    """The host and port of a server of this machine.

    Raises ValueError for any other: a load is no present for somebody else's server.
    """
    parts = urlsplit(url)
    if parts.scheme != "http" or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError(f"{url} is not of the form http://HOST:PORT")
    host = "127.0.0.1" if parts.hostname == "localhost" else parts.hostname
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = False
    if not here:
        raise ValueError(f"{parts.hostname} is not this machine; a load goes to loopback only")
    return host, parts.port or 80


def main(arguments: list[str] | None = None) -> int:
    """Run it; 1 where a request failed, 130 after Ctrl-C."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    given = parser().parse_args(arguments)
    host, port = given.url
    posting = Load(given.clients, given.seconds, given.rate / given.batch)
    asking = Load(given.clients, given.seconds, given.read_rate) if given.read_rate else None
    print(
        f"{given.accounts:,} accounts, Zipf {given.zipf:g}, seed {given.seed}; "
        f"{given.batch:,} records a post, {given.clients} clients",
        flush=True,
    )
    try:
        measured = run(
            Target(host, port, given.token), posting, asking,
            records=given.batch, accounts=given.accounts, zipf=given.zipf, seed=given.seed,
        )  # fmt: skip
    except OSError as error:
        print(f"{host}:{port} does not answer: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    for line in lines(measured, given.rate):
        print(line)
    outcomes = [measured.posts, *filter(None, [measured.questions])]
    return 1 if any(outcome.failed or outcome.rejected for outcome in outcomes) else 0


def lines(measured: Measured, rate: float) -> Iterator[str]:
    """What is printed at the end."""
    posted, asked = measured.posts, measured.questions
    planned = f" of {rate:,.0f} planned" if rate else ""
    yield f"records  {posted.in_time / posted.seconds:,.0f} a second{planned}"
    yield f"         {posted.accepted:,} acknowledged in all, {posted.rejected:,} rejected"
    yield f"posts    {_waits(posted)}"
    yield f"         {_statuses(posted)}"
    if asked is not None:
        yield f"reads    {_waits(asked)}"
        yield f"         {_statuses(asked)}"
    share = measured.own_cpu_s / (posted.seconds + sending.WARM_UP_S)
    yield f"load     {measured.own_cpu_s:.2f} s of processor time to make it, {share:.0%} of one"


def _waits(outcome: Outcome) -> str:
    waits = sorted(outcome.waits_ms)
    shown = ", ".join(
        f"{name} {short(at(waits, part))}"
        for name, part in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("slowest", 1.0))
    )
    return f"{shown} ms; {len(waits) / outcome.seconds:,.1f} a second"


def _statuses(outcome: Outcome) -> str:
    names = {0: "no answer", -1: "not sent"}
    counted = ", ".join(
        f"{names.get(status, status)}: {number:,}"
        for status, number in sorted(outcome.statuses.items(), key=lambda pair: -pair[1])
    )
    return f"{counted}; first fault: {outcome.failure}" if outcome.failure else counted


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    made = argparse.ArgumentParser(
        prog="python -m bench.load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--url", type=_url, required=True, help="http://HOST:PORT on loopback")
    made.add_argument("--token", required=True, help="an admin's")
    made.add_argument("--accounts", type=_number(1, 10**6), default=100_000)
    made.add_argument("--zipf", type=_real(0, 5), default=1.1, help="the law's exponent")
    made.add_argument("--seed", type=_number(0, 2**31), default=1)
    made.add_argument(
        "--rate", type=_real(0, 10**7), default=5000.0,
        help="records a second; 0 sends back to back",
    )  # fmt: skip
    made.add_argument("--batch", type=_number(1, 20_000), default=500, help="records a post")
    made.add_argument(
        "--clients", type=_number(1, 1000), default=4,
        help="connections that post, and as many that ask",
    )  # fmt: skip
    made.add_argument("--seconds", type=_real(0.1, _MOST_SECONDS), default=30.0)
    made.add_argument("--read-rate", type=_real(0, 10**5), default=0.0, help="questions a second")
    return made


def _url(text: str) -> tuple[str, int]:
    try:
        return loopback(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _real(least: float, most: float) -> Callable[[str], float]:
    def read(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"from {least:g} to {most:g}")
        return value

    return read


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"from {least} to {most}")
        return value

    return read


if __name__ == "__main__":
    sys.exit(main())
