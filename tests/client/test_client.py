"""The client against a real service, and against ways to it that fail."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta, timezone
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genmeter.client import FORMATS, LONGEST, Body, Client, Format, format_of
from genmeter.client import _escaped as escaped
from genmeter.clock import day_start_ms
from genmeter.errors import (
    BadRequestError,
    BrokenAnswerError,
    ForbiddenError,
    GenmeterError,
    LimitError,
    NoAnswerError,
    UnauthorizedError,
    UnavailableError,
)
from genmeter.query.parameters import split
from tests.asked import DAY, RANGE, Asked, asked_service, records
from tests.servers.faulty import BrokenOff, ErrorInside, FaultyProxy, LostAnswer
from tests.servers.process import free_port
from tests.support import environment


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with asked_service(tmp_path_factory.mktemp("client")) as service:
        yield service


@pytest.fixture
def client(asked: Asked) -> Iterator[Client]:
    with asked.client() as client:
        yield client


@pytest.fixture
def faulty(asked: Asked) -> Iterator[FaultyProxy]:
    with FaultyProxy(asked.port) as proxy:
        yield proxy


def names(rows: list[dict[str, Any]]) -> list[str]:
    """Which records these are."""
    return [row["jobid"] for row in rows]


def test_figures(client: Client) -> None:
    answer = client.query(RANGE, metrics=["jobs", "success_rate", "p50"], group_by="model")
    assert answer["total"] == {"jobs": 7, "success_rate": 57.1, "p50": 3000}
    assert answer["groups"] == [
        {"model": "imagen-4", "jobs": 3, "success_rate": 66.7, "p50": 5000},
        {"model": "veo-3.1-fast", "jobs": 3, "success_rate": 66.7, "p50": 1000},
        {"model": "", "jobs": 1, "success_rate": 0, "p50": 90000},
    ]
    assert client.query(answer["query"]) == answer


def test_parameters_are_named_as_python_can(client: Client) -> None:
    def jobs(**more: Any) -> Any:
        answer = client.query(from_=DAY, to="2026-02-12", metrics="jobs", **more)
        return answer["total"]["jobs"]

    assert jobs() == 7
    assert jobs(model="imagen-4") == 3
    assert jobs(not_model=["imagen-4", "veo-*"]) == 1
    assert jobs(not_model=None, model=()) == 7
    assert jobs(min_msec=3000, max_msec=7000) == 3
    assert jobs(code=[200, 429]) == 5
    assert jobs(code=("2xx",), bot={"kling", "google-flow"}) == 4


def test_a_comma_in_a_value_is_a_comma(client: Client) -> None:
    for config in ("a,b", r"a\,b"):
        answer = client.query(RANGE, metrics="jobs", config=config)
        assert answer["total"]["jobs"] == 1, config
    assert client.query(RANGE, metrics="jobs", config="a*")["total"]["jobs"] == 1
    assert client.query(RANGE, metrics="jobs", config=["a", "b"])["total"]["jobs"] == 0


def test_times_are_dates_or_moments(client: Client) -> None:
    def jobs(start: object, end: object) -> Any:
        return client.query(from_=start, to=end, metrics="jobs")["total"]["jobs"]

    assert jobs(date(2026, 2, 10), date(2026, 2, 11)) == 6
    assert jobs(datetime(2026, 2, 10, 13, tzinfo=UTC), date(2026, 2, 11)) == 3
    vienna = timezone(timedelta(hours=1))
    assert jobs(datetime(2026, 2, 10, 14, tzinfo=vienna), day_start_ms("2026-02-11")) == 3
    with pytest.raises(ValueError, match="from needs a moment with an offset"):
        client.query(from_=datetime(2026, 2, 10))
    for wrong in (True, {"a": 1}, b"x"):
        with pytest.raises(TypeError, match="model cannot be"):
            client.query(model=wrong)


def test_a_long_question_is_posted(client: Client) -> None:
    many = [f"a-model-that-nobody-uses-{number:04d},x" for number in range(150)]
    assert sum(map(len, many)) < LONGEST
    assert client.query(RANGE, model=[*many, "imagen-4"], metrics="jobs")["total"]["jobs"] == 3
    longer = [f"{text}-{'y' * 30}" for text in many]
    assert client.query(RANGE, model=[*longer, "imagen-4"], metrics="jobs")["total"]["jobs"] == 3
    assert len(list(client.rows(RANGE, model=[*longer, "imagen-4"]))) == 3


def test_records_come_one_by_one_and_can_be_posted_again(client: Client, asked: Asked) -> None:
    rows = list(client.rows(RANGE))
    assert names(rows) == [record["jobid"] for record in reversed(records())]
    assert rows[-1] | records()[0] == rows[-1]
    assert names(list(client.rows(RANGE, limit=2))) == ["job-6", "job-5"]
    assert list(client.rows(RANGE, model="none")) == []
    asked.record(rows)
    assert list(client.rows(RANGE)) == rows


def test_pages(client: Client) -> None:
    found: list[str] = []
    cursor = None
    while True:
        page = client.page(RANGE, order="oldest", limit=3, cursor=cursor)
        found += names(page["data"])
        cursor = page["next_cursor"]
        assert page["has_more"] == (cursor is not None)
        if cursor is None:
            break
    assert found == [record["jobid"] for record in records()]


def test_what_there_is_to_ask_about(client: Client) -> None:
    meta = client.meta()
    assert meta["account"] == "acme"
    assert meta["records"] == 7
    assert meta["dimensions"]["model"] == ["imagen-4", "veo-3.1-fast"]
    with pytest.raises(ForbiddenError):
        client.meta(account="other")


READ: dict[str, Callable[[bytes], list[dict[str, Any]]]] = {
    "json": lambda body: json.loads(body)["data"],
    "ndjson": lambda body: list(map(json.loads, body.splitlines())),
    "csv": lambda body: list(csv.DictReader(io.StringIO(body.decode()))),
    "parquet": lambda body: pa.parquet.read_table(pa.BufferReader(body)).to_pylist(),
    "arrow": lambda body: pa.ipc.open_stream(body).read_all().to_pylist(),
}


@pytest.mark.parametrize("format_", FORMATS)
def test_an_export_is_what_was_sent(client: Client, tmp_path: Path, format_: Format) -> None:
    path = tmp_path / f"rows.{format_.upper()}"
    path.write_text("the one of yesterday")
    saved = client.export(path, "rows", None, RANGE)
    body = path.read_bytes()
    assert (saved.rows, saved.size, saved.sha256) == (7, len(body), sha256(body).hexdigest())
    rows = READ[format_](body)
    assert names(rows) == names(list(client.rows(RANGE)))
    assert [int(row["msec"]) for row in rows] == [row["msec"] for row in client.rows(RANGE)]
    assert list(tmp_path.iterdir()) == [path]
    file = io.BytesIO()
    client.export(file, "rows", format_, RANGE)
    assert READ[format_](file.getvalue()) == rows


def test_figures_are_exported_too(client: Client, tmp_path: Path) -> None:
    saved = client.export(
        tmp_path / "q.csv", "query", None, RANGE, group_by="model", metrics="jobs"
    )
    assert saved.rows == 3
    lines = (tmp_path / "q.csv").read_text().splitlines()
    assert lines == ["model,jobs", "imagen-4,3", "veo-3.1-fast,3", ",1"]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (BrokenOff(after=0), "cut off"),
        (BrokenOff(after=150), "cut off"),
        (ErrorInside(after=0), "not what was sent"),
        (ErrorInside(after=150), "not what was sent"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BrokenOff) else str(value)[:7],
)
def test_an_export_that_went_wrong_leaves_nothing_behind(
    asked: Asked, faulty: FaultyProxy, tmp_path: Path, format_: Format, fault: Any, said: str
) -> None:
    faulty.fault = fault
    kept = tmp_path / f"kept.{format_}"
    kept.write_text("the one of yesterday")
    with asked.client(faulty.url) as client:
        for path in (kept, tmp_path / f"new.{format_}"):
            with pytest.raises(BrokenAnswerError, match=said):
                client.export(path, "rows", None, RANGE)
        with pytest.raises(BrokenAnswerError, match=said):
            client.query(RANGE, group_by="config")
        faulty.fault = None
        client.export(tmp_path / "well.json", "rows", None, RANGE)
    assert kept.read_text() == "the one of yesterday"
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"kept.{format_}", "well.json"]
    assert faulty.struck == 3


def test_records_that_break_off_are_no_end(asked: Asked, faulty: FaultyProxy) -> None:
    faulty.fault = BrokenOff(after=700)
    found: list[dict[str, Any]] = []
    with asked.client(faulty.url) as client, pytest.raises(BrokenAnswerError, match="cut off"):
        found.extend(client.rows(RANGE))
    assert found == []  # extend takes nothing of what broke off
    faulty.fault = ErrorInside(after=0)
    with asked.client(faulty.url) as client, pytest.raises(BrokenAnswerError):
        list(client.rows(RANGE))


def test_the_service_says_no(client: Client, asked: Asked) -> None:
    with pytest.raises(BadRequestError, match=r"bot .*; .*model2") as refused:
        client.query(bot="none", model2="x")
    assert refused.value.status == 400
    with pytest.raises(ForbiddenError, match="admin"):
        client.query(account="other")
    with Client(asked.url, "user:acme-0") as stranger, pytest.raises(UnauthorizedError):
        stranger.query()
    with asked.client(asked.url + "/nowhere") as lost, pytest.raises(GenmeterError) as missing:
        lost.query()
    assert missing.value.status == 404
    assert "/nowhere" in str(missing.value)


def test_nobody_is_there(asked: Asked, faulty: FaultyProxy) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with asked.client(url) as client, pytest.raises(NoAnswerError, match=f"{url} does not answer"):
        client.query()
    faulty.fault = LostAnswer()
    with asked.client(faulty.url) as client, pytest.raises(NoAnswerError, match="does not answer"):
        client.query()


@pytest.mark.parametrize(
    ("url", "token"),
    [("127.0.0.1:8000", "t"), ("http://u:p@a", "t"), ("http://a", ""), ("http://a", "t\n")],
)
def test_what_is_no_address_and_no_token_is_refused(url: str, token: str) -> None:
    with pytest.raises(ValueError, match=r"url must be|a token is"):
        Client(url, token)


def body(
    content: bytes, format_: Format = "ndjson", headers: Mapping[str, str] | None = None
) -> Body:
    """An answer as the client gets it; an empty header is not there."""
    said = {"Genmeter-Rows": "2", "Genmeter-SHA256": sha256(content).hexdigest()}
    said |= headers or {}
    kept = {name: value for name, value in said.items() if value}
    return Body(httpx2.Response(200, headers=kept, content=content), format_)


def test_rows_are_counted_where_lines_are_rows() -> None:
    assert b"".join(body(b"{}\n{}\n")) == b"{}\n{}\n"
    assert b"".join(body(b"a,b\n1,2\n3,4\n", "csv")) == b"a,b\n1,2\n3,4\n"
    assert b"".join(body(b"anything", "parquet")) == b"anything"
    with pytest.raises(BrokenAnswerError, match="3 rows of 2"):
        list(body(b"{}\n{}\n{}\n"))
    with pytest.raises(BrokenAnswerError, match="1 rows of 2"):
        list(body(b"a,b\n1,2\n", "csv"))
    with pytest.raises(BrokenAnswerError, match="another checksum"):
        list(body(b"{}\n{}\n", headers={"Genmeter-SHA256": "0" * 64}))


@pytest.mark.parametrize("missing", ["Genmeter-Rows", "Genmeter-SHA256"])
def test_an_answer_that_cannot_be_compared_is_refused(missing: str) -> None:
    with pytest.raises(BrokenAnswerError, match="does not say what it holds"):
        body(b"<html>", headers={missing: ""})


def test_a_target_that_is_no_file_is_left_alone(client: Client, tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    for path in (tmp_path / "folder.csv", tmp_path / "none" / "a.csv"):
        with pytest.raises(OSError, match=path.name):
            client.export(path, "rows", None, RANGE)
    with pytest.raises(ValueError, match=r"ends in \.json, \.ndjson"):
        client.export(tmp_path / "a.txt", "rows")
    with pytest.raises(ValueError, match="needs a format"):
        client.export(io.BytesIO(), "rows")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.csv"]
    link = tmp_path / "link.csv"
    link.symlink_to(tmp_path / "target.csv")
    client.export(link, "rows", None, RANGE)
    assert link.is_symlink()
    assert len((tmp_path / "target.csv").read_text().splitlines()) == 8


def test_the_ending_of_a_name_is_its_format() -> None:
    assert [format_of(Path(f"/a.b/x.{name}")) for name in FORMATS] == list(FORMATS)
    assert format_of(Path("X.Parquet")) == "parquet"


def meant(text: str) -> str:
    """A value without the backslashes that take a meaning."""
    chars = iter(text)
    return "".join(next(chars, "") if char == "\\" else char for char in chars)


@given(st.text(alphabet=r"ab,*\(", min_size=1))
def test_a_value_in_an_address_is_one_value_and_means_the_same(value: str) -> None:
    (found,) = split(escaped(value))
    assert meant(found) == meant(value)


def test_the_client_needs_nothing_of_the_server(asked: Asked) -> None:
    code = (
        "import sys\n"
        "allowed = set(sys.stdlib_module_names) | set(sys.argv[3].split())\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] not in allowed: raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "from genmeter.client import Client\n"
        "with Client(sys.argv[1], sys.argv[2]) as client:\n"
        "    print(len(list(client.rows(from_='2026-02-10', to='2026-02-12'))))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, asked.url, asked.token, LIGHT],
        capture_output=True, text=True, timeout=60, env=environment(), check=False,
    )  # fmt: skip
    assert (done.stdout, done.returncode) == ("7\n", 0), done.stderr


LIGHT = (
    "genmeter click httpx2 msgspec httpcore2 h11 anyio idna truststore typing_extensions certifi"
)
"""The packages of a light install, with what these need themselves."""


def test_a_service_that_is_busy_says_when_to_come_back() -> None:
    answer = httpx2.Response(503, json={"error": "full"}, headers={"Retry-After": "7"})
    with Client("http://a", "t") as client:
        error = client._refusal(answer)
        assert isinstance(error, UnavailableError)
        assert (str(error), error.retry_after) == ("full", 7)
        other = client._refusal(httpx2.Response(502, content=b"<html>"))
        assert (str(other), other.status) == ("http://a answered 502 Bad Gateway", 502)
        odd = client._refusal(httpx2.Response(422, json={"error": "too many groups"}))
        assert isinstance(odd, LimitError)
        assert str(odd) == "too many groups"
