"""``python -m bench``: one run, one table."""

import argparse
import signal
import sys
from pathlib import Path

from bench import run
from bench.plan import FULL_RECORDS, Plan


def _plan() -> tuple[Plan, Path | None]:
    parser = argparse.ArgumentParser(prog="python -m bench", description=run.__doc__)
    parser.add_argument("--records", type=int, default=FULL_RECORDS, help="records in the stores")
    parser.add_argument("--accounts", type=int, default=200, help="accounts they belong to")
    parser.add_argument("--days", type=int, default=90, help="days they are spread over")
    parser.add_argument("--seed", type=int, default=1, help="of the sample traffic")
    parser.add_argument("--folder", type=Path, default=Path(".bench-data"), help="for the stores")
    parser.add_argument("--repeats", type=int, default=15, help="times a question is asked")
    parser.add_argument("--seconds", type=float, default=10.0, help="length of a load")
    parser.add_argument(
        "--stream-day",
        action=argparse.BooleanOptionalAction,
        help="stream a day of a million records; at full size this is done anyway",
    )
    parser.add_argument("--stream-records", type=int, default=1_000_000, help="size of that day")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    streamed = given.records >= FULL_RECORDS if given.stream_day is None else given.stream_day
    plan = Plan(
        records=given.records,
        accounts=given.accounts,
        days=given.days,
        seed=given.seed,
        folder=given.folder.resolve(),
        repeats=given.repeats,
        seconds=given.seconds,
        stream_records=given.stream_records if streamed else 0,
    )
    return plan, given.json


def main() -> int:
    """Run it; 1 where answers were wrong, 130 after Ctrl-C."""
    # Being ended is like Ctrl-C: everything that was started is stopped first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    plan, figures = _plan()
    try:
        report = run.run(plan)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    if figures is not None:
        report.write(figures)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
