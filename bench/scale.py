"""The figures behind docs/scale.md: ``python -m bench.scale record``, ``ask`` and ``versions``.

``record`` measures what a store takes and what that costs, ``ask`` whether the cost of one
account's query stays the same while the store grows tenfold, ``versions`` how many INSERTs a
second PostgreSQL can tell apart. Everything is on loopback and in a folder that is removed at the
end.
"""

import argparse
import contextlib
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from bench import shard, sizes, versions
from bench.machine import two_over_one
from bench.postgres import PostgresError
from bench.sending import Load
from bench.stores import Kind


def parser() -> argparse.ArgumentParser:
    """What the command takes."""
    made = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    made.add_argument("--folder", type=Path, help="where to make the stores; the system's for /tmp")
    commands = made.add_subparsers(dest="command", required=True)
    record = commands.add_parser("record", help="posts back to back, into a new store")
    ask = commands.add_parser("ask", help="one account's questions to stores of three sizes")
    for each in (record, ask):
        each.add_argument(
            "--store", choices=get_args(Kind), action="append", help="may be given several times"
        )
    record.add_argument("--batch", type=int, default=500, help="records a post")
    record.add_argument("--clients", type=int, default=4, help="that post, of every node")
    record.add_argument("--nodes", type=int, default=1, help="API nodes; embedded has one")
    record.add_argument("--seconds", type=float, default=20.0, help="of a round")
    record.add_argument("--rounds", type=int, default=3)
    taken = commands.add_parser("versions", help="taken from PostgreSQL by some nodes at once")
    taken.add_argument("--nodes", type=int, action="append", help="may be given several times")
    taken.add_argument("--seconds", type=float, default=5.0)
    ask.add_argument("--records", type=int, default=10_000_000, help="of the largest store")
    ask.add_argument("--accounts", type=int, default=100_000)
    ask.add_argument("--merged", action="store_true", help="merge each month to one part first")
    ask.add_argument("--zipf", type=float, default=1.1, help="the law's exponent")
    return made


def main() -> int:
    """Run it; 1 where something was not as it should be, 130 after Ctrl-C."""
    # Being ended is like Ctrl-C: everything that was started is stopped first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    made = parser()
    given = made.parse_args()
    if given.command == "record" and given.nodes > 1 and "embedded" in _kinds(given):
        made.error("the engine in the process has one node; name another --store")
    before = two_over_one()
    try:
        found = list(_measure(given))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except PostgresError as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"\n{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}, {os.cpu_count()} "
        f"processors, on which two threads did {before:.1f} times the work of one before and "
        f"{two_over_one():.1f} times after"
    )
    for text, _ in found:
        print(f"\n{text}")
    faults = [fault for _, some in found for fault in some]
    for fault in faults:
        print(f"WRONG: {fault}")
    return 1 if faults else 0


def _measure(given: argparse.Namespace) -> Iterator[tuple[str, list[str]]]:
    """The tables of all that was asked for, each with what went wrong."""
    if given.command == "versions":
        for nodes in given.nodes or [1, 2, 4]:
            with _folder(given) as folder:
                yield versions.measure(folder, nodes=nodes, seconds=given.seconds), []
        return
    for kind in _kinds(given):
        print(f"{kind}:", flush=True)
        with _folder(given) as folder:
            if given.command == "record":
                recorded = shard.measure(
                    kind, folder, nodes=given.nodes, batch=given.batch, rounds=given.rounds,
                    posting=Load(given.clients, given.seconds),
                )  # fmt: skip
                yield shard.table(recorded), shard.faults(recorded)
            else:
                found = sizes.measure(
                    kind, folder, records=given.records, accounts=given.accounts,
                    zipf=given.zipf, merged=given.merged,
                )  # fmt: skip
                yield sizes.table(kind, found), sizes.faults(found)


def _kinds(given: argparse.Namespace) -> list[Kind]:
    return given.store or ["embedded"]


@contextlib.contextmanager
def _folder(given: argparse.Namespace) -> Iterator[Path]:
    """A folder that is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="genmeter-scale-", dir=given.folder) as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL has a user of its own
        yield folder


if __name__ == "__main__":
    sys.exit(main())
