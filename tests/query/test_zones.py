"""Figures of days on which clocks did odd things, in a service that keeps records for ever."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import pytest

from tests.asking import DAY, NOW_MS
from tests.reference import times
from tests.servers.clickhouse import ClickHouse
from tests.servers.settings import on_server
from tests.support import running
from tests.world import World, world

ODD_DAYS: Final = (
    ("Europe/Berlin", "2025-10-26"),  # of 25 hours
    ("America/Sao_Paulo", "2018-11-04"),  # begins at one o'clock
    ("America/Sao_Paulo", "2018-02-17"),  # ends an hour late
    ("America/Santiago", "2025-09-07"),
    ("Australia/Lord_Howe", "2025-10-05"),  # of 23 hours and a half
    ("Pacific/Apia", "2011-12-29"),  # the day before the one that never was
    ("Pacific/Kwajalein", "1993-08-20"),
    ("America/St_Johns", "2006-10-28"),  # changes at a minute past midnight
    ("Asia/Pyongyang", "2018-05-04"),  # of 23 hours and a half
    ("Asia/Kathmandu", "1985-12-31"),  # a quarter of an hour is left out
    ("Africa/Cairo", "2023-04-28"),
    ("Antarctica/Troll", "2025-03-30"),  # by two hours
)


@pytest.fixture(scope="module")
def kept(clickhouse: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A service with records at every edge of the odd days."""
    folder = tmp_path_factory.mktemp("zones") / "data"
    with (
        running(folder, **on_server(clickhouse) | {"retention_days": 0}) as service,
        world(service, seed=0, count=0) as made,
    ):
        moments = set()
        for name, text in ODD_DAYS:
            zone, day = ZoneInfo(name), date.fromisoformat(text)
            edges = [times.midnight(day + timedelta(days=n), zone) for n in (-1, 0, 1, 2)]
            edges += range(edges[1] - 2 * 3_600_000, edges[2] + 3 * 3_600_000, 1_800_000)
            moments |= {edge + n for edge in edges for n in (-1, 0)}
        records = [
            {"account": "zones", "bot": "luma", "timestamp": moment, "jobid": "j", "config": "c",
             "endpoint": "e", "code": (200, 500)[n % 2], "msec": n}
            for n, moment in enumerate(sorted(moments))
        ]  # fmt: skip
        made.send(made.asker("zones", "write"), records, at_once=1000)
        yield made


@pytest.mark.parametrize(("zone", "text"), ODD_DAYS)
def test_figures_of_an_odd_day(kept: World, zone: str, text: str) -> None:
    asker = kept.asker("zones", "read")
    day = date.fromisoformat(text)

    def days(before: int, after: int) -> dict[str, str]:
        start, end = day - timedelta(days=before), day + timedelta(days=1 + after)
        return {"timezone": zone, "from": start.isoformat(), "to": end.isoformat()}

    metrics = {"metrics": ["jobs", "success_rate", "p50", "first", "last"]}
    for interval in ("15m", "1h", "1d", "1w", "1mo", "auto"):
        for span in (days(0, 0), days(1, 1)):
            question = span | metrics | {"interval": interval, "compare": "previous"}
            assert kept.check_figures(asker, question)["total"]["jobs"] > 0
    month = {"timezone": zone, "from": f"{text[:7]}-01", "to": f"{text[:7]}-28"}
    kept.check_figures(asker, month | metrics | {"interval": "1d", "compare": "previous"})
    kept.check_rows(asker, days(0, 0))


def test_a_whole_year_of_weeks_and_months(kept: World) -> None:
    asker = kept.asker("zones", "read")
    for zone in ("Europe/Berlin", "Pacific/Apia", "America/Sao_Paulo"):
        for year in (2011, 2018, 2025):
            year_of = {"timezone": zone, "from": f"{year}-01-01", "to": f"{year + 1}-01-01"}
            for interval in ("1w", "1mo", "auto"):
                question = year_of | {"interval": interval, "compare": "previous"}
                kept.check_figures(asker, question)
    far = {"from": NOW_MS - 399 * DAY, "to": NOW_MS, "group_by": "code", "interval": "1mo"}
    kept.check_figures(asker, far)
