"""Range queries: figures, rows, and what there is to ask about.

They are asked over HTTP of the service, and as SQL of PostgreSQL alone in turn
(:mod:`bench.statements`), so the ratios are those to a database without any service.
"""

import contextlib
import io
import json
import shutil
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from bench import processes
from bench.client import Client, Reply
from bench.peer import Peer
from bench.plan import Plan
from bench.report import Line, Report, spread
from bench.statements import Place, Rows, Statements
from genmeter.clock import DAY_MS, utc_date

_PATH = "/v2/account/stats/"
_WARM_UP = 2
_SETTLE_S = 60.0
_QUIET_S = 20.0
_TIMES_THERE = 5
_EXPORT_ROWS = 1_000_000
_PAGE = 100
_PAGES = 1000

_PERCENTILES = {"metrics": "jobs,p50,p95,p99"}


@dataclass(frozen=True)
class _Asked:
    """Whose records are asked about, of which whole days, and how many they are."""

    account: str
    start_ms: int
    end_ms: int
    jobs: int

    def path(self, what: str, **parameters: str) -> str:
        """The address of a query about them."""
        times = {"from": utc_date(self.start_ms), "to": utc_date(self.end_ms)}
        return f"{_PATH}{what}?{urlencode({'account': self.account, **times, **parameters})}"


@dataclass(frozen=True)
class _Sides:
    """Both sides, and where it is written down. The peer's is None where it is not there."""

    plan: Plan
    report: Report
    client: Client
    sql: Statements | None

    def get(self, path: str, headers: Mapping[str, str] | None = None, status: int = 200) -> Reply:
        """An answer of genmeter that is as it should be."""
        reply = self.client.get(path, headers)
        if reply.status != status:
            raise processes.ProcessError(f"genmeter answered {reply.status} to {path}")
        return reply

    def add(
        self,
        what: str,
        key: str,
        ours: Sequence[float],
        theirs: Sequence[float],
        target_ms: float | None = None,
    ) -> None:
        """A line of seconds, with how many times as long the peer takes."""
        middle = statistics.median(ours)
        self.report.add(
            Line(
                what,
                spread(ours),
                f"PostgreSQL {spread(theirs)}" if theirs else "",
                _times(statistics.median(theirs) / middle) if theirs else "",
                f"< {target_ms:,.0f} ms" if target_ms else "",
                middle * 1000 < target_ms if target_ms else None,
            ),
            **{f"{key}_s": {"genmeter": ours, "postgresql": theirs}},
        )


def _times(ratio: float) -> str:
    return f"{ratio:.1f} x" if ratio >= 1 else f"{ratio:.2f} x"


def measure(plan: Plan, peer: Peer | None, end_ms: int, report: Report) -> None:
    """All of it, over the filled stores of ``plan``, whose traffic ends at ``end_ms``."""
    with contextlib.ExitStack() as stack:
        store = stack.enter_context(_copied(plan))
        token = processes.token(store, plan.names()[0], "admin")
        server = stack.enter_context(processes.genmeter(store, plan.folder / "genmeter.log"))
        client = Client(server.port, token)
        stack.callback(client.close)
        sql = None
        if peer is not None:
            sql = Statements(peer.databases, plan.name)
            stack.callback(sql.close)
        sides = _Sides(plan, report, client, sql)
        asked = _largest(sides, end_ms)
        _settle(sides, asked)
        _meta(sides, asked)
        _figures(sides, asked)
        _everybody(sides, asked)
        _unchanged(sides, asked)
        _pages(sides, asked)
        _export(sides, asked)
        _meta_of_more(sides, asked)
        report.add(
            Line("most memory in these questions", f"{server.memory_mb('VmHWM'):.0f} MB"),
            questions_most_mb=server.memory_mb("VmHWM"),
        )


@contextlib.contextmanager
def _copied(plan: Plan) -> Iterator[Path]:
    """The filled store once more, as something is inserted here, and the next run is to find it
    as it was.
    """
    copy = plan.folder / "asked"
    shutil.rmtree(copy, ignore_errors=True)
    try:
        yield shutil.copytree(plan.store, copy, symlinks=True)
    finally:
        shutil.rmtree(copy)


def _largest(sides: _Sides, end_ms: int) -> _Asked:
    """The account with the most records, over as many whole days as there is traffic."""
    end_ms = (end_ms // DAY_MS + 1) * DAY_MS
    start_ms = end_ms - sides.plan.days * DAY_MS
    everybody = _Asked("*", start_ms, end_ms, 0)
    groups = _groups(sides.get(everybody.path("query", metrics="jobs", group_by="account")))
    return _Asked(groups[0]["account"], start_ms, end_ms, groups[0]["jobs"])


def _by_day(asked: _Asked) -> str:
    return asked.path("query", interval="1d", **_PERCENTILES)


def _settle(sides: _Sides, asked: _Asked) -> None:
    """Ask until answers get no faster.

    A service that has been asked looks for what it can read faster, for as long as it takes; an
    answer that is clearly faster than all before may be followed by others.
    """
    print("questions: until answers get no faster", flush=True)
    path = _by_day(asked)
    began = changed = time.monotonic()
    least = sides.get(path).total_s
    while time.monotonic() < min(changed + _QUIET_S, began + _SETTLE_S):
        time.sleep(0.5)
        if (took := sides.get(path).total_s) < 0.9 * least:
            least, changed = took, time.monotonic()


def _in_turn(
    sides: _Sides, ours: Callable[[], Reply], theirs: Callable[[Statements], object], times: int
) -> tuple[list[float], list[float]]:
    """Seconds of both sides, one asked after the other, so that a busy machine slows both alike."""
    found: tuple[list[float], list[float]] = ([], [])
    for number in range(_WARM_UP + times):
        our_s, their_s = ours().total_s, 0.0
        if sides.sql is not None:
            theirs(sides.sql)
            their_s = sides.sql.seconds
        if number >= _WARM_UP:
            found[0].append(our_s)
            if sides.sql is not None:
                found[1].append(their_s)
    return found


def _figures(sides: _Sides, asked: _Asked) -> None:
    """The percentiles of each day, and of each model and day."""
    span = (asked.account, asked.start_ms, asked.end_ms)
    name = f"{sides.plan.days} days of {asked.account} ({asked.jobs:,} jobs)"
    path = _by_day(asked)
    print(f"questions: {path}", flush=True)
    if sides.sql is not None:
        _compare(sides, path, sides.sql.by_day(*span, exact=True), "jobs and percentiles by day")
    times = _in_turn(
        sides, lambda: sides.get(path), lambda sql: sql.by_day(*span), sides.plan.repeats
    )
    sides.add(f"{name} by day: jobs, p50, p95, p99", "by_day", *times, 150)
    path_ = asked.path("query", interval="1d", group_by="model", **_PERCENTILES)
    print(f"questions: {path_}", flush=True)
    if sides.sql is not None:
        _compare(
            sides,
            path_,
            sides.sql.by_model(*span, exact=True),
            "jobs and percentiles by model and day",
        )
    times = _in_turn(
        sides, lambda: sides.get(path_), lambda sql: sql.by_model(*span), sides.plan.repeats
    )
    sides.add("  the same by model and day", "by_model", *times, 250)


def _everybody(sides: _Sides, asked: _Asked) -> None:
    """All accounts' success by day."""
    everybody = _Asked("*", asked.start_ms, asked.end_ms, 0)
    path = everybody.path("query", interval="1d", metrics="jobs,success_rate")
    print(f"questions: {path}", flush=True)
    span = (asked.start_ms, asked.end_ms)
    if sides.sql is not None:
        _compare(sides, path, sides.sql.success_by_day(*span), "jobs and success rates by day")
    times = _in_turn(
        sides, lambda: sides.get(path), lambda sql: sql.success_by_day(*span), sides.plan.repeats
    )
    name = f"all accounts by day ({sides.plan.records:,} jobs): jobs, success rate"
    sides.add(name, "everybody", *times, 1000)


def _compare(sides: _Sides, path: str, theirs: Rows, what: str) -> None:
    """Check that genmeter gives the peer's groups; its own empty ones are beside them."""
    ours = []
    for group in _groups(sides.get(path)):
        if group["jobs"]:
            start, *values = group.values()
            ours.append((start[:10], *values))
    sides.report.check(
        len(ours) > 0 and sorted(ours) == sorted(theirs),
        f"both give equal {what}, {len(ours):,} groups",
    )


def _groups(reply: Reply) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(reply.body)["groups"]
    return found


def _meta(sides: _Sides, asked: _Asked) -> None:
    """What there is to ask about: at first, and then with nothing new."""
    path = f"{_PATH}meta?account={asked.account}"
    print(f"questions: {path}", flush=True)
    first = sides.get(path)
    ours_s, theirs = [first.total_s], list[float]()
    if sides.sql is not None:
        there = sides.sql.there(asked.account)
        ours = json.loads(first.body)
        sides.report.check(
            (ours["records"], ours["oldest"], ours["newest"])
            == (there.records, there.oldest, there.newest),
            f"both have {there.records:,} records of {asked.account}, from the same time on",
        )
        renamed = {"captchaProvider": "captcha_providers", "captchaRetry": "captcha_retry"}
        same = all(
            set(values) == there.values.get(renamed.get(name, name), set())
            for name, values in ours["dimensions"].items()
        )
        sides.report.check(same, "both name the same values")
        for _ in range(_TIMES_THERE):
            sides.sql.there(asked.account)
            theirs.append(sides.sql.seconds)
    again = [sides.get(path).total_s for _ in range(_WARM_UP + sides.plan.repeats)][_WARM_UP:]
    sides.add(f"what there is of {asked.account}, first asked", "meta_first", ours_s, theirs)
    sides.add("  the same again, nothing new", "meta", again, [], 50)


def _meta_of_more(sides: _Sides, asked: _Asked) -> None:
    """What there is to ask about after each of some inserts, as a form finds it in use.

    They are of a record that is there, as it is.
    """
    path = f"{_PATH}meta?account={asked.account}"
    print(f"questions: {path} after inserts", flush=True)
    rows = json.loads(sides.get(f"{_PATH}rows?account={asked.account}&limit=1").body)["data"]
    record = json.dumps(rows[0] | {"account": asked.account}).encode()
    took = []
    for _ in range(_WARM_UP + sides.plan.repeats):
        reply = sides.client.post("/v2/account/stats", record)
        if reply.status != 200:
            raise processes.ProcessError(f"genmeter answered {reply.status} to a record")
        took.append(sides.get(path).total_s)
    sides.add("what there is, after an insert", "meta_of_more", took[_WARM_UP:], [], 50)


def _unchanged(sides: _Sides, asked: _Asked) -> None:
    """A query whose answer the client has."""
    path = _by_day(asked)
    tag = sides.get(path).header("etag") or ""
    known = {"If-None-Match": tag}
    print(f"questions: {path} with If-None-Match", flush=True)
    ours = [
        sides.get(path, known, status=304).total_s
        for _ in range(_WARM_UP + 10 * sides.plan.repeats)
    ]
    sides.add("304 for figures that the client has", "unchanged", ours[_WARM_UP:], [], 3)


def _pages(sides: _Sides, asked: _Asked) -> None:
    """A page of rows, and one far down: it must cost no more."""
    last_page = min(_PAGES, asked.jobs // _PAGE)
    first = asked.path("rows", limit=str(_PAGE))
    print(f"questions: {first}, {last_page:,} pages", flush=True)
    path, seen, end = first, set[Place](), ("", "", "")
    for _ in range(last_page - 1):
        reply = sides.get(path)
        places = [_place(row) for row in _data(reply)]
        seen.update(places)
        end = places[-1]
        path = first + "&" + urlencode({"cursor": reply.header("genmeter-next-cursor") or ""})
    reply = sides.get(path)
    rows = (last_page - 1) * _PAGE
    sides.report.check(
        len(seen) == rows and not seen.intersection(map(_place, _data(reply))),
        f"{last_page:,} pages have no row twice",
    )
    near = _Page("page 1", first, (asked.account, asked.start_ms, asked.end_ms, _PAGE, None))
    far = _Page(f"page {last_page:,}", path, (*near.span[:-1], end))
    for page in (near, far):
        if sides.sql is not None:
            ours = [tuple(row.values()) for row in _data(sides.get(page.path))]
            same = len(ours) == _PAGE and ours == sides.sql.page(*page.span)
            sides.report.check(same, f"both give the same {page.name}")
    # Both pages in turn, too: what counts is what one costs beside the other.
    for _ in range(_WARM_UP):
        near.ask(sides)
        far.ask(sides)
    near.forget()
    far.forget()
    for _ in range(4 * sides.plan.repeats):
        near.ask(sides)
        far.ask(sides)
    _report_pages(sides, near, far)


@dataclass
class _Page:
    """A page: its address, what the peer needs for it, and the seconds of both sides."""

    name: str
    path: str
    span: tuple[str, int, int, int, Place | None]
    ours: list[float] = field(default_factory=list)
    theirs: list[float] = field(default_factory=list)

    def ask(self, sides: _Sides) -> None:
        """Ask both once."""
        self.ours.append(sides.get(self.path).total_s)
        if sides.sql is not None:
            sides.sql.page(*self.span)
            self.theirs.append(sides.sql.seconds)

    def forget(self) -> None:
        """That was to warm up."""
        self.ours.clear()
        self.theirs.clear()


def _report_pages(sides: _Sides, near: _Page, far: _Page) -> None:
    sides.add(f"page 1 of {_PAGE} rows", "first_page", near.ours, near.theirs, 30)
    sides.add(far.name, "last_page", far.ours, far.theirs)
    ours = statistics.median(far.ours) / statistics.median(near.ours)
    theirs = statistics.median(far.theirs) / statistics.median(near.theirs) if far.theirs else 0.0
    sides.report.add(
        Line(
            "  beside page 1",
            f"{ours:.2f} x",
            f"PostgreSQL {theirs:.2f} x" if theirs else "",
            target="<= 1.2 x",
            met=ours <= 1.2,
        ),
        last_page_to_first=ours,
    )


def _data(reply: Reply) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(reply.body)["data"]
    return found


def _place(row: Mapping[str, Any]) -> Place:
    return row["timestamp"], row["jobid"], row["bot"]


def _export(sides: _Sides, asked: _Asked) -> None:
    """A million rows as a file."""
    days = [
        (datetime.fromisoformat(group["start"]), group["jobs"])
        for group in _groups(sides.get(_by_day(asked)))
    ]
    rows, start_ms = 0, asked.start_ms
    for day, jobs in reversed(days):
        rows += jobs
        start_ms = int(day.timestamp() * 1000)
        if rows >= _EXPORT_ROWS:
            break
    of = _Asked(asked.account, start_ms, asked.end_ms, rows)
    span = (of.account, of.start_ms, of.end_ms)
    path = of.path("rows", format="parquet")
    print(f"questions: {path}, {rows:,} rows", flush=True)
    body = sides.get(path).body
    table = pyarrow.parquet.read_table(io.BytesIO(body))
    sides.report.check(table.num_rows == rows, f"the file has {table.num_rows:,} rows")
    if sides.sql is not None:
        same = table.equals(_of_csv(sides.sql.copy(*span), table.schema))
        sides.report.check(same, "both export the same rows in the same order")
    del table
    times = _in_turn(
        sides,
        lambda: sides.get(path),
        lambda sql: sql.copy(*span),
        max(3, sides.plan.repeats // 3),
    )
    ours, theirs = (rows / statistics.median(side) if side else 0.0 for side in times)
    sides.report.add(
        Line(
            f"export of {rows:,} rows, Parquet ({len(body) / 1e6:,.0f} MB)",
            f"{ours:,.0f} rows/s",
            f"PostgreSQL, COPY as CSV {theirs:,.0f}/s" if theirs else "",
            _times(ours / theirs) if theirs else "",
            ">= 500,000/s",
            ours >= 500_000,
        ),
        export_rows=rows,
        export_s={"genmeter": times[0], "postgresql": times[1]},
    )


def _of_csv(text: bytes, schema: pa.Schema) -> pa.Table:
    """The peer's export as what the service's file holds."""
    return pyarrow.csv.read_csv(
        io.BytesIO(text),
        read_options=pyarrow.csv.ReadOptions(column_names=schema.names),
        convert_options=pyarrow.csv.ConvertOptions(column_types=schema, null_values=[""]),
    ).replace_schema_metadata(schema.metadata)
