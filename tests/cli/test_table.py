"""Tables and plots: answers in, lines out."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from genmeter.cli import plot, table
from genmeter.cli.text import Look, caption, change, figure, label, moments, printable, width

QUERY = {
    "account": ["acme"],
    "bot": ["all"],
    "from": "2026-07-01T00:00:00.000+02:00",
    "to": "2026-07-03T00:00:00.000+02:00",
    "timezone": "Europe/Vienna",
}
EARLIER = {"from": "2026-06-29T00:00:00.000+02:00", "to": "2026-07-01T00:00:00.000+02:00"}
WIDE = Look()
NARROW = Look(columns=40)
ASCII = Look(unicode=False)


def answer(
    metrics: list[str],
    total: list[Any],
    groups: Sequence[Mapping[str, Any]] | None = None,
    **query: Any,
) -> dict[str, Any]:
    """An answer of the service, of the total's figures and groups."""
    made: dict[str, Any] = {"query": QUERY | {"metrics": metrics} | query}
    made["total"] = dict(zip(metrics, total, strict=True))
    return made | ({} if groups is None else {"groups": groups})


def day(n: int) -> str:
    """The beginning of a day in July."""
    return f"2026-07-{n:02}T00:00:00.000+02:00"


def drawn(text: str) -> list[str]:
    """Lines as they stand in a test, the first and the last being empty."""
    return [line.removeprefix("        ").rstrip() for line in text.split("\n")[1:-1]]


def test_one_group_alone_is_a_line_a_metric() -> None:
    given = answer(["jobs", "success_rate", "avg_msec", "p99"], [12345, 97.0, None, 0])
    assert list(table.metrics(given, WIDE)) == drawn("""
        acme, all bots, 2026-07-01 00:00 to 2026-07-03 00:00, Europe/Vienna

        jobs          12,345
        success_rate   97.0%
        avg_msec           -
        p99                0
    """)


def test_groups_have_a_head_and_a_total() -> None:
    groups: list[dict[str, Any]] = [
        {"model": "veo-3.1-fast", "captchaRetry": 2, "jobs": 1200, "provider_errors": 7, "p50": 9},
        {"model": "", "captchaRetry": None, "jobs": 3, "provider_errors": 0, "p50": None},
    ]
    given = answer(
        ["jobs", "provider_errors", "p50"], [1203, 7, 9], groups,
        group_by=["model", "captchaRetry"], **{"model!": ["x*"], "min_msec": 5},
    )  # fmt: skip
    assert list(table.metrics(given, ASCII)) == drawn("""
        acme, all bots, 2026-07-01 00:00 to 2026-07-03 00:00, Europe/Vienna, model!=x*, min_msec=5

                                           provider   p50
        model         captchaRetry   jobs    errors  msec
        ------------  ------------  -----  --------  ----
        veo-3.1-fast  2             1,200         7     9
        (empty)       (empty)           3         0     -
        ------------  ------------  -----  --------  ----
        total                       1,203         7     9
    """)


def test_changes_stand_beside_what_has_changed() -> None:
    groups: list[dict[str, Any]] = [
        {"start": day(1), "bot": "luma", "jobs": 30, "success_rate": 90.0},
        {"start": day(2), "bot": None, "other": True, "jobs": 5, "success_rate": 100},
        {"start": day(2), "bot": "luma", "jobs": 0, "success_rate": None},
    ]
    before = [
        {"start": EARLIER["from"], "bot": "luma", "jobs": 20, "success_rate": 95.5},
        {"start": "2026-06-30T00:00:00.000+02:00", "bot": "luma", "jobs": 8, "success_rate": 1},
    ]
    given = answer(
        ["jobs", "success_rate"], [35, 91.4], groups, group_by=["bot"], interval="1d", top=1
    )
    given["previous"] = EARLIER | {"total": {"jobs": 0, "success_rate": None}, "groups": before}
    assert list(table.metrics(given, WIDE)) == drawn("""
        acme, all bots, 2026-07-01 00:00 to 2026-07-03 00:00, Europe/Vienna
        compared with 2026-06-29 00:00 to 2026-07-01 00:00

                                             success
        start       bot       jobs   change     rate   change
        ──────────  ────────  ────  ───────  ───────  ───────
        2026-07-01  luma        30   +50.0%    90.0%  -5.5 pt
        2026-07-02  luma         0  -100.0%        -        -
        2026-07-02  (others)     5        -   100.0%        -
        ──────────  ────────  ────  ───────  ───────  ───────
        total                   35        -    91.4%        -
    """)


def test_what_is_too_wide_goes_into_blocks_under_the_same_keys() -> None:
    groups = [{"config": "somebody.with.a.long.name@example.com", "jobs": 1, "success": 2,
               "throttled": 3, "p50": 4}]  # fmt: skip
    given = answer(["jobs", "success", "throttled", "p50"], [1, 2, 3, 4], groups,
                   group_by=["config"])  # fmt: skip
    assert list(table.metrics(given, NARROW))[2:] == drawn("""

        config                jobs  success
        ────────────────────  ────  ───────
        somebody.with.a.lon…     1        2
        ────────────────────  ────  ───────
        total                    1        2

                                          p50
        config                throttled  msec
        ────────────────────  ─────────  ────
        somebody.with.a.lon…          3     4
        ────────────────────  ─────────  ────
        total                         3     4
    """)[1:]  # fmt: skip
    wide = [line for line in table.metrics(given, WIDE) if "somebody" in line]
    assert wide == ["somebody.with.a.long.name@example.com     1        2          3     4"]


@pytest.mark.parametrize("columns", range(44, 140, 7))
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    look = Look(columns=columns)
    metrics = ["jobs", "success", "provider_errors", "p50", "first"]
    figures = {"jobs": 10**6, "success": 5, "provider_errors": 1, "p50": 10**5, "first": day(1)}
    groups = [{"start": day(n), "config": "größe-映像" * n, **figures} for n in range(1, 20)]
    given = answer(metrics, list(figures.values()), groups, group_by=["config"], interval="1d")
    assert max(map(width, list(table.metrics(given, look))[2:])) <= columns
    given["query"]["metrics"] = metrics[:-1]
    lines = list(plot.plotted(given, look))[2:]
    assert max(map(width, [line for line in lines if " more groups " not in line])) <= columns
    for group in groups:
        del group["start"]
    assert max(map(width, list(plot.plotted(given, look))[2:])) <= columns


def test_no_records_are_said_to_be_none() -> None:
    given = answer(["jobs"], [0], [], group_by=["bot"])
    assert list(table.metrics(given, WIDE))[2:] == ["no records"]
    assert list(plot.plotted(given, WIDE))[2:] == ["jobs", "no records"]
    page = {"query": QUERY, "data": [], "count": 0, "has_more": False, "next_cursor": None}
    assert list(table.records(page, WIDE))[2:] == ["no records"]


def test_records_show_what_people_look_for_first() -> None:
    row = {"timestamp": "2026-07-01T10:00:00.123+02:00", "bot": "luma", "jobid": "j1",
           "config": "ops@example.com", "endpoint": "videos", "status": "OK", "func": "",
           "code": 200, "msec": 5432, "model": "", "captchaProviders": "", "captchaRetry": None,
           "tier": "", "sku": ""}  # fmt: skip
    page = {"query": QUERY, "data": [row, row | {"msec": 1, "model": "ray-v3"}], "has_more": True}
    assert list(table.records(page, Look(columns=60)))[2:] == drawn("""
        timestamp                bot   code   msec  endpoint  model
        ───────────────────────  ────  ────  ─────  ────────  ──────
        2026-07-01 10:00:00.123  luma   200  5,432  videos    -
        2026-07-01 10:00:00.123  luma   200      1  videos    ray-v3

        2 records, there are more; --limit N shows more of them
        not shown for want of room: config, status, jobid
    """)
    head = list(table.records(page, WIDE))[2]
    assert head.split() == ["timestamp", "bot", "code", "msec", "endpoint", "model", "config",
                            "status", "jobid"]  # fmt: skip


def test_what_there_is_to_ask_about() -> None:
    meta = {
        "account": "acme", "bots": ["kling", "luma"], "intervals": ["1h", "1d"],
        "dimensions": {"model": ["", "ray-v3"], "code": [200, 429], "tier": []},
        "metrics": [{"name": "jobs", "help": "Records"}], "retention_days": 92, "records": 1234,
        "oldest": "2026-05-01T00:00:00.000Z", "newest": "2026-07-01T12:34:56.789Z",
    }  # fmt: skip
    lines = list(table.meta(meta, Look(columns=40)))
    assert lines == drawn("""
        account    acme
        records    1,234, 2026-05-01 00:00 to
                   2026-07-01 12:34
        kept for   92 days
        bots       kling, luma
        intervals  1h, 1d

        fields
        model      (empty), ray-v3
        code       200, 429
        tier       -

        metrics
        jobs       Records
    """)
    empty = meta | {"oldest": None, "newest": None, "records": 0, "retention_days": 0}
    assert list(table.meta(empty | {"account": None, "accounts": ["a", "b"]}, WIDE))[:3] == [
        "accounts   a, b", "records    0", "kept for   ever",
    ]  # fmt: skip


def days(values: Sequence[float | None]) -> list[dict[str, Any]]:
    """A group for each day of July."""
    return [{"start": day(n), "jobs": value} for n, value in enumerate(values, 1)]


def test_columns_over_time() -> None:
    given = answer(["jobs"], [77], days([0, 4, 8, None, 32, 33]), interval="1d")
    assert list(plot.plotted(given, Look(columns=38)))[2:] == drawn("""
        jobs
        33 │                    ▆▆▆▆ ████
           │                    ████ ████
           │                    ████ ████
           │                    ████ ████
           │                    ████ ████
           │                    ████ ████
           │          ████      ████ ████
           │     ████ ████      ████ ████
         0 └───────────────     ──────────
                 07-02     07-04     07-06
    """)
    plain = list(plot.plotted(given, Look(columns=38, unicode=False)))[3:]
    assert plain[0] == "33 |                    :::: ####"
    assert plain[-2] == " 0 +---------------     ----------"


def test_groups_over_time_are_pictures_on_one_scale_the_largest_first() -> None:
    groups = [
        {"start": day(n), "model": model, "success_rate": value}
        for model, values in (("a", [50, None]), ("b", [99.9, 0.1]))
        for n, value in enumerate(values, 1)
    ]
    others = {"start": day(1), "model": None, "other": True, "success_rate": 100.0}
    given = answer(
        ["success_rate"], [77.0], [others, *groups], interval="1d", group_by=["model"], top=2
    )
    before = {"start": EARLIER["from"], "model": "b", "success_rate": 75.0}
    given["previous"] = EARLIER | {"total": {"success_rate": 75.0}, "groups": [before]}
    assert list(plot.plotted(given, Look(columns=28)))[3:] == drawn("""
        success_rate
                b
        100.0% │█████████
               │█████████
               │█████████
               │█████████
               │█████████ ▁▁▁▁▁▁▁▁▁
          0.0% └────────────────────
                b, before
        100.0% │
               │▆▆▆▆▆▆▆▆▆
               │█████████
               │█████████
               │█████████
          0.0% └──────────
                a
        100.0% │
               │
               │▄▄▄▄▄▄▄▄▄
               │█████████
               │█████████
          0.0% └──────────
                (others)
        100.0% │█████████
               │█████████
               │█████████
               │█████████
               │█████████
          0.0% └──────────
                07-01     07-02
    """)


def test_more_groups_than_can_be_looked_at_are_named_as_missing() -> None:
    groups = [{"start": day(1), "config": f"c{n:02}", "jobs": n + 1} for n in range(20)]
    given = answer(["jobs"], [210], groups, interval="1d", group_by=["config"])
    lines = list(plot.plotted(given, WIDE))
    assert [line.strip() for line in lines if line.strip()[:1] == "c" and "comp" not in line] == [
        f"c{n:02}" for n in range(19, 7, -1)
    ]
    assert lines[-1] == "8 more groups are not drawn; --top 11 makes one of the rest"


def test_more_columns_than_there_are_become_means() -> None:
    values = [float(n % 4) if n < 80 else None for n in range(120)]
    starts = [f"2026-07-01T{n // 60:02}:{n % 60:02}:00.000Z" for n in range(120)]
    groups = [{"start": start, "jobs": v} for start, v in zip(starts, values, strict=True)]
    lines = list(plot.plotted(answer(["jobs"], [120], groups, interval="1m"), Look(columns=38)))
    assert lines[-1] == "each column is the mean of 4 intervals of 1m"
    assert lines[3] == "1.5 │" + "█" * 20
    assert lines[-3] == "  0 └" + "─" * 20
    assert lines[-2].split() == ["00:00", "00:30", "01:00", "01:30"]


@pytest.mark.parametrize(
    ("interval", "starts", "columns", "said"),
    [
        ("1h", [f"2026-07-0{d}T{h:02}:00:00.000Z" for d in (1, 2) for h in range(24)], 60,
         ["07-01", "07-02"]),
        ("15m", [f"2026-07-01T{n // 4:02}:{n % 4 * 15:02}:00.000Z" for n in range(5, 40)], 60,
         ["02:00", "04:00", "06:00", "08:00"]),
        ("1d", [day(n) for n in range(1, 32)], 60, ["07-06", "07-13", "07-20", "07-27"]),
        ("1w", [day(n) for n in (6, 13, 20, 27)], 30, ["07-06", "07-20"]),
        ("1mo", [f"2026-{n:02}-01T00:00:00.000Z" for n in range(1, 13)], 60,
         ["2026-01", "2026-04", "2026-07", "2026-10"]),
        ("1mo", ["2026-02-01T00:00:00.000Z"], 60, ["2026-02"]),
        ("1m", ["2026-07-01T00:01:00.000Z"], 60, ["00:01"]),
    ],
)  # fmt: skip
def test_round_times_are_written_under_columns(
    interval: str, starts: list[str], columns: int, said: list[str]
) -> None:
    groups = [{"start": start, "jobs": 1} for start in starts]
    given = answer(["jobs"], [len(starts)], groups, interval=interval)
    lines = list(plot.plotted(given, Look(columns=columns)))
    assert lines[-1].split() == said
    for text in said:
        place = lines[-1].index(text) - 3
        each = (len(lines[-2]) - 3) // len(starts)
        assert place % each == 0
        assert text in starts[place // each].replace("T", " ")


def test_bars_without_an_interval() -> None:
    groups = [
        {"model": "veo-3.1-fast", "jobs": 1000, "p50": None},
        {"model": "x", "jobs": 501, "p50": 3},
        {"model": "", "jobs": 0, "p50": 1},
    ]
    given = answer(["jobs", "p50"], [1501, 2], groups, group_by=["model"])
    assert list(plot.plotted(given, Look(columns=50)))[2:] == drawn("""
        jobs
        veo-3.1-fast  ██████████████████████████████ 1,000
        x             ███████████████ 501
        (empty)       0

        p50
        veo-3.1-fast  -
        x             ██████████████████████████████████ 3
        (empty)       ███████████▍ 1
    """)
    given["previous"] = EARLIER | {
        "total": {"jobs": 50, "p50": 1},
        "groups": [{"model": "x", "jobs": 1200, "p50": 1}],
    }
    assert list(plot.plotted(given, Look(columns=50, unicode=False)))[3:10] == drawn("""
        jobs
        veo-3.1-fast  #################### 1,000  -
              before  -
        x             ########## 501  -58.2%
              before  ======================== 1,200
        (empty)       0  -
              before  -
    """)
    del given["groups"], given["query"]["group_by"], given["previous"]["groups"]
    given["query"]["metrics"] = ["jobs"]
    assert list(plot.plotted(given, Look(columns=40)))[4:] == [
        "total   █████████████████ 1,501  +2,902%", "before  ░ 50",
    ]  # fmt: skip


def test_figures_of_every_kind_are_written_for_people() -> None:
    assert figure("jobs", 1234567) == "1,234,567"
    assert figure("success_rate", 100) == "100.0%"
    assert figure("avg_captcha_retry", 2) == "2.0"
    assert figure("first", "2026-07-01T10:20:30.123Z") == "2026-07-01 10:20"
    assert figure("p99.9", None) == "-"
    assert change("jobs", 3, 2) == "+50.0%"
    assert change("jobs", 3000, 2) == "+149,900%"
    assert change("success_rate", 90.0, 95) == "-5.0 pt"
    assert [change("jobs", 1, 0), change("jobs", None, 3), change("first", "a", "b")] == ["-"] * 3
    assert [label("code", 0), label("model", "", other=True)] == ["0", "(others)"]


def test_an_hour_that_comes_twice_has_its_offset() -> None:
    twice = ["2026-10-25T02:00:00.000+02:00", "2026-10-25T02:00:00.000+01:00"]
    assert moments(twice, "1h") == ["2026-10-25 02:00+02:00", "2026-10-25 02:00+01:00"]
    assert moments(twice[:1], "1h") == ["2026-10-25 02:00"]
    assert moments(["2026-03-29T00:00:00.000+01:00", day(1)], "1d") == ["2026-03-29", "2026-07-01"]
    assert moments([day(1)], "1mo") == ["2026-07"]
    groups = [{"start": start, "jobs": jobs} for start, jobs in zip(twice, (1, 2), strict=True)]
    given = answer(["jobs"], [3], groups, interval="1h")
    given["previous"] = EARLIER | {
        "total": {"jobs": 3},
        "groups": [{"start": f"2026-10-24T0{n}:00:00.000+02:00", "jobs": n} for n in (1, 2)],
    }
    rows = [line.split() for line in table.metrics(given, WIDE) if line.startswith("2026")]
    assert [row[2:] for row in rows] == [["1", "+0.0%"], ["2", "+0.0%"]]


def test_nothing_moves_the_cursor() -> None:
    assert printable("a\x1b[2Jb\u202e\x9b") == "a?[2Jb??"
    groups = [{"config": "a\x1b]0;b\x07", "jobs": 1}]
    given = answer(["jobs"], [1], groups, group_by=["config"], config=["\x1b[2J*"])
    for look in (WIDE, NARROW):
        assert all(line.isprintable() for line in table.metrics(given, look))
        assert all(line.isprintable() for line in plot.plotted(given, look))
    assert caption(QUERY | {"account": ["*"]}).startswith("all accounts, all bots, 2026")
    assert caption(QUERY | {"bot": ["kling", "luma"]}).startswith("acme, kling,luma, 2026")
