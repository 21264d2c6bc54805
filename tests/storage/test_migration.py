"""Moving a data folder up to ClickHouse servers: all of it, once, and the folder as it was."""

import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from genmeter.auth.accounts import Accounts
from genmeter.clock import iso, month_ms
from genmeter.storage.migration import (
    PORTION_RECORDS,
    Difference,
    Known,
    Unit,
    batches,
    compare,
    plan,
)
from tests.moves import (
    ACCOUNTS,
    FOR_EVER,
    TIMES,
    UNITS,
    Source,
    Target,
    ask,
    records,
    state,
    summary,
    told,
)
from tests.servers.clickhouse import ClickHouse
from tests.servers.cluster import NAME, Cluster
from tests.servers.postgres import Postgres
from tests.servers.settings import PASSWORD, text_address
from tests.support import NOON_MS, Client, Process, environment, genmeter, job, new_token


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A folder with records that were replaced, whose server has ended."""
    data = tmp_path_factory.mktemp("migrate") / "data"
    token = new_token(data, "root", "admin")
    with Process(data, *FOR_EVER) as server:
        client = Client(server.base_url, token)
        with client.http:
            for account in ACCOUNTS:
                client.record(*records(account))
                client.record(*(one | {"msec": 7, "code": 429} for one in records(account)[::5]))
        answers = ask(server, token)
        assert server.stop() == 0
    assert sum(b'"summary"' in answer for answer in answers.values()) > 200
    return Source(data, token, answers)


@pytest.fixture
def source(original: Source, tmp_path: Path) -> Source:
    """A copy of that folder."""
    return original.copy(tmp_path / "data")


@pytest.fixture
def target(clickhouse: ClickHouse) -> Target:
    """A new database of one server."""
    database = clickhouse.database()
    return Target(
        [clickhouse],
        database,
        {
            "GENMETER_CLICKHOUSE": text_address([clickhouse.http_port], database),
            "GENMETER_CLICKHOUSE_PASSWORD": PASSWORD,
        },
    )


@pytest.fixture
def wide_target(shared_cluster: Cluster, postgres: Postgres) -> Target:
    """A new database of the cluster, and an empty PostgreSQL for accounts."""
    database = shared_cluster.database()
    ports = [server.http_port for server in shared_cluster.servers]
    return Target(
        [shared_cluster.shard(number)[0] for number in (1, 2)],
        database,
        {
            "GENMETER_CLICKHOUSE": text_address(ports, database),
            "GENMETER_CLICKHOUSE_PASSWORD": PASSWORD,
            "GENMETER_CLICKHOUSE_CLUSTER": NAME,
            **postgres.variables,
        },
    )


def test_all_answers_of_a_server_are_those_of_the_folder_which_stays_as_it_is(
    source: Source, target: Target
) -> None:
    before = state(source.data)
    done = target.migrate(source.data)
    assert done.returncode == 0, done.stderr
    stay, last = done.stdout.splitlines()
    assert stay == (
        f"the tokens stay in {source.data}; serve with --data {source.data}, "
        "or migrate with --accounts"
    )
    assert last == summary(UNITS, 0)
    changed = {name for name, was in state(source.data).items() if was != before.get(name)}
    assert changed <= {"accounts.sqlite3"}  # the versions that servers will give from there
    assert set(before) == set(state(source.data))
    with target.serve(source.data) as server:
        assert ask(server, source.token) == source.answers


def test_all_answers_of_a_cluster_are_those_of_the_folder_and_tokens_open_the_same(
    source: Source, wide_target: Target, tmp_path: Path, postgres: Postgres
) -> None:
    before = state(source.data)
    done = wide_target.migrate(source.data)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "1 tokens copied to PostgreSQL, 0 were there", summary(UNITS, 0)
    ]  # fmt: skip
    assert state(source.data) == before
    assert all(int(rows) for rows in wide_target.query("SELECT count() FROM records"))
    with wide_target.serve(tmp_path / "node") as server:
        assert ask(server, source.token) == source.answers
    # What was dropped by hand is sent again, and stored.
    wide_target.servers[0].query(
        "ALTER TABLE records DROP PARTITION 202512", database=wide_target.database
    )
    again = wide_target.migrate(source.data)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[0] == "0 tokens copied to PostgreSQL, 1 were there"
    with wide_target.serve(tmp_path / "node") as server:
        assert ask(server, source.token, bots=["luma"]).items() <= source.answers.items()


def test_running_it_again_sends_nothing(source: Source, target: Target) -> None:
    assert target.migrate(source.data).returncode == 0
    stored = target.rows()
    again = target.migrate(source.data)
    assert again.returncode == 0
    assert again.stdout.splitlines()[-1] == summary(0, UNITS)
    assert target.rows() == stored


def test_r6_what_was_corrected_at_the_target_stays_corrected(
    source: Source, target: Target
) -> None:
    assert target.migrate(source.data).returncode == 0
    one, other = records("acme")[:2]
    with target.serve(source.data) as server, Client(server.base_url, source.token).http as http:
        for record in (one | {"msec": 4321}, other | {"jobid": "only here"}):
            assert http.post("/v2/account/stats", json=record).status_code == 200
        corrected = ask(server, source.token, ["acme"])
    assert corrected.keys() <= source.answers.keys()
    assert not corrected.items() <= source.answers.items()
    stored = target.rows()
    again = target.migrate(source.data)
    assert again.returncode == 0, again.stderr
    assert again.stdout.splitlines()[-1] == summary(0, UNITS)
    assert target.rows() == stored
    with target.serve(source.data) as server:
        assert ask(server, source.token, ["acme"]) == corrected


def test_r6_versions_go_on_from_those_that_were_moved(source: Source, target: Target) -> None:
    assert target.migrate(source.data).returncode == 0
    newest = int(target.query("SELECT max(version) FROM records")[0])
    with closing(Accounts.in_folder(source.data)) as accounts:
        assert accounts.next_version(0) == newest + 1


def test_a_row_that_was_tampered_with_is_named_and_left_alone(
    source: Source, target: Target
) -> None:
    assert target.migrate(source.data).returncode == 0
    record = next(one for one in records("Zed") if one["bot"] == "kling")
    columns = [line.split("\t")[0] for line in target.query("DESCRIBE records")[0].splitlines()]
    changed = ["msec + 1" if name == "msec" else name for name in columns]
    target.query(
        f"INSERT INTO records SELECT {', '.join(changed)} FROM records FINAL "
        f"WHERE account = 'Zed' AND bot = 'kling' AND neg_ms = {-ms_of(record)}"
    )
    for _ in range(2):
        done = target.migrate(source.data)
        assert done.returncode == 1
        assert done.stdout.splitlines()[-1] == summary(0, UNITS - 1, 1)
        assert told(done) == [
            f"genmeter: Zed, {record['timestamp'][:7]}: 1 altered at the same version; "
            f"the first is kling, {record['timestamp']}, job {record['jobid']}"
        ]


def ms_of(record: dict[str, Any]) -> int:
    """When a record was, in milliseconds since 1970."""
    return next(ms for ms in TIMES if iso(ms) == record["timestamp"])


def test_rows_that_are_gone_at_the_target_are_brought_again(source: Source, target: Target) -> None:
    assert target.migrate(source.data).returncode == 0
    target.query("ALTER TABLE records DROP PARTITION 202601")
    done = target.migrate(source.data)
    assert done.returncode == 0
    assert done.stdout.splitlines()[-1] == summary(3, UNITS - 3)
    with target.serve(source.data) as server:
        assert ask(server, source.token, ["Zed"]).items() <= source.answers.items()


def test_a_folder_in_use_is_moved_and_once_more_for_what_came_meanwhile(
    source: Source, target: Target
) -> None:
    posted = 0
    stop = threading.Event()
    with Process(source.data, *FOR_EVER) as server:

        def post() -> None:
            nonlocal posted
            with Client(server.base_url, source.token).http as http:
                while not stop.is_set():
                    record = job(bot="luma", account="acme")
                    assert http.post("/v2/account/stats", json=record).status_code == 200
                    posted += 1

        poster = threading.Thread(target=post)
        poster.start()
        try:
            while posted < 20:
                time.sleep(0.01)
            first = target.migrate(source.data)
        finally:
            stop.set()
            poster.join()
        assert first.returncode == 0, first.stderr
        with Client(server.base_url, source.token).http as http:
            assert http.post("/v2/account/stats", json=job(account="new")).status_code == 200
        answers = ask(server, source.token, ["acme"])
        assert server.stop() == 0
    second = target.migrate(source.data)
    assert second.returncode == 0, second.stderr
    assert f"4 accounts: 2 months of accounts copied, {UNITS - 1} were there" in second.stdout
    with target.serve(source.data) as server:
        assert ask(server, source.token, ["acme"]) == answers
        with Client(server.base_url, source.token).http as http:
            new = http.get("/v2/account/stats?account=new&bot=google-flow&limit=5").json()
    assert new["total"] == 1


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A folder whose moving takes a while, month by month."""
    data = tmp_path_factory.mktemp("migrate") / "large"
    token = new_token(data, "root", "admin")
    with Process(data, *FOR_EVER) as server:
        client = Client(server.base_url, token)
        with client.http:
            for month in range(202501, 202513):
                for account in ACCOUNTS:
                    first_ms = month_ms(month)[0]
                    client.record(*(
                        job(first_ms + n * 1000, bot="kling", account=account)
                        for n in range(2000)
                    ))  # fmt: skip
        answers = ask(server, token, bots=["kling"])
        assert server.stop() == 0
    return Source(data, token, answers)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_one_that_was_cut_short_goes_on_where_it_stopped(
    large: Source, target: Target, how: signal.Signals
) -> None:
    before = state(large.data)
    process = subprocess.Popen(
        [sys.executable, "-m", "genmeter", "migrate", "--from", str(large.data)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment(GENMETER_DATA=str(large.data), **target.variables),
        # Who runs the tests in the background may have told its children to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while not target.rows():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(how)
    _, errors = process.communicate(timeout=60)
    arrived = target.rows()
    assert 0 < arrived < 12 * 3 * 2000
    left = list(large.data.glob(".snapshot-*"))
    if how is signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
        assert len(left) == 1
    else:
        assert process.returncode == 1
        assert errors.endswith("genmeter: interrupted; what has arrived stays, run it again\n")
        assert not left
    done = target.migrate(large.data)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last.startswith("72,000 records of 3 accounts: ")
    assert not last.startswith("72,000 records of 3 accounts: 36 months")
    assert set(state(large.data)) == set(before)
    assert target.query("SELECT count() FROM records FINAL") == ["72000\n"]
    with target.serve(large.data) as server:
        assert ask(server, large.token, bots=["kling"]) == large.answers


def test_tokens_go_to_another_folder_and_stay_revoked(
    source: Source, target: Target, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    with closing(Accounts.in_folder(source.data)) as accounts:
        text, made = accounts.create("acme", ("read",), now_ms=NOON_MS, expires_days=3)
    first = target.migrate(source.data, "--data", str(other))
    assert first.stdout.splitlines()[0] == f"2 tokens copied to {other}, 0 were there"
    with (
        closing(Accounts.in_folder(source.data)) as theirs,
        closing(Accounts.in_folder(other)) as ours,
    ):
        assert ours.tokens() == theirs.tokens()
        assert ours.find(text) == made
        assert ours.find(source.token) == theirs.find(source.token)
        theirs.revoke(made.id, now_ms=NOON_MS + 5)
        own, kept = ours.create("acme", ("read",), now_ms=NOON_MS)
    again = target.migrate(source.data, "--data", str(other))
    assert again.stdout.splitlines()[0] == f"0 tokens copied to {other}, 2 were there"
    with closing(Accounts.in_folder(other)) as ours:
        revoked = ours.find(text)
        assert revoked is not None
        assert revoked.revoked_ms == NOON_MS + 5
        assert ours.find(own) == kept


def test_a_folder_without_tokens_or_records_is_moved_as_it_is(
    target: Target, tmp_path: Path
) -> None:
    data, other = tmp_path / "data", tmp_path / "other"
    with Process(data) as server:
        assert server.stop() == 0
    (data / "accounts.sqlite3").unlink()
    done = target.migrate(data, "--data", str(other))
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f"there are no tokens in {data}",
        "0 records of 0 accounts: 0 months of accounts copied, 0 were there, 0 do not match",
    ]


def later(data: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """Run a genmeter of later on, whose records have one column more."""
    return subprocess.run(
        [sys.executable, "-m", "tests.later_version", str(data), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(GENMETER_DATA=str(data), **variables),
        check=False,
    )


def test_a_folder_of_an_earlier_version_is_moved_and_stays_of_that_version(
    source: Source, target: Target
) -> None:
    done = later(source.data, "migrate", "--from", str(source.data), **target.variables)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == summary(UNITS, 0)
    assert target.query("SELECT DISTINCT region FROM records") == ["\n"]
    with Process(source.data, *FOR_EVER) as server:
        assert ask(server, source.token, ["Zed"]).items() <= source.answers.items()


def test_a_folder_of_a_later_version_is_one_clear_line(source: Source, target: Target) -> None:
    assert later(source.data).returncode == 0
    done = target.migrate(source.data)
    assert done.returncode == 2
    assert len(told(done)) == 1
    assert "schema version 2" in told(done)[0]
    assert target.rows() == 0


@pytest.mark.parametrize(
    ("flags", "code", "line"),
    [
        (["--from", "nowhere"], 1, "nowhere is no data folder: there is no engine in it"),
        (["--clickhouse", "http://127.0.0.1:1/x"], 2, "the server 127.0.0.1:1 does not answer: "),
        (["--clickhouse-cluster", "other"], 2, "is not in a cluster named other"),
        (["--clickhouse", ""], 2, "--clickhouse must be http[s]://"),
    ],
)
def test_what_cannot_be_is_one_clear_line(
    source: Source, target: Target, flags: list[str], code: int, line: str
) -> None:
    done = target.migrate(source.data, *flags)
    assert done.returncode == code
    assert len(told(done)) == 1
    assert line in told(done)[0]
    assert done.stdout == ""
    assert not list(source.data.glob(".snapshot-*"))


def test_where_to_and_from_where_must_be_said() -> None:
    assert told(genmeter("migrate")) == [
        "genmeter: --from is required (GENMETER_FROM will do)",
        "genmeter: --clickhouse is required (GENMETER_CLICKHOUSE will do)",
    ]


def test_a_server_that_goes_away_stops_it_with_one_line(
    large: Source, target: Target, clickhouse: ClickHouse
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "genmeter", "migrate", "--from", str(large.data)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment(GENMETER_DATA=str(large.data), **target.variables),
    )
    try:
        while not target.rows():
            assert process.poll() is None
            time.sleep(0.01)
        clickhouse.kill()
        _, errors = process.communicate(timeout=60)
    finally:
        clickhouse.mend()
    assert process.returncode == 1
    assert errors.splitlines()[-1].startswith("genmeter: stopped: no server answers; ")
    assert errors.endswith("what has arrived stays, run it again\n")
    assert target.migrate(large.data).returncode == 0
    assert target.query("SELECT count() FROM records FINAL") == ["72000\n"]


def known(number: int, version: int = 5, content: bytes = b"c", bot: bytes = b"luma") -> Known:
    """A record as a comparison knows it."""
    return (bot, -number, b"j%d" % number), version, content


def test_what_is_missing_or_altered_is_counted_and_the_first_is_named() -> None:
    source = [known(9), known(7), known(5), known(3)]
    assert not compare(source, source)
    assert not compare(source, [known(9), known(8), known(7, 6, b"x"), *source[2:], known(1)])
    assert not compare([], source)
    assert compare(source, []).missing == 4
    assert compare(source, source[:-1]) == Difference(
        missing=1, first="luma, 1970-01-01T00:00:00.003Z, job j3"
    )
    assert compare(source, [known(9, 4), *source[1:]]).missing == 1
    assert compare(source, [known(9, 4, b"x"), *source[1:]]).altered == 0
    found = compare(source, [known(9), known(7, 5, b"x")])
    assert (found.missing, found.altered) == (2, 1)
    assert str(found) == (
        "2 missing and 1 altered at the same version; "
        "the first is luma, 1970-01-01T00:00:00.007Z, job j7"
    )
    assert compare([known(9, bot=b"kling"), known(7)], [known(7)]).missing == 1


def test_portions_hold_each_moment_of_each_unit_once() -> None:
    large = 3 * PORTION_RECORDS + 1
    units: list[tuple[Unit, int]] = [
        (("a", 202512), 5), (("b", 202512), large), (("c", 202512), 5), (("d", 202512), 6),
        (("a", 202601), PORTION_RECORDS), (("c", 202601), 1),
    ]  # fmt: skip
    portions = plan(units, lambda account: 1 if account == "d" else 0)
    assert [(p.month, p.shard, p.span.accounts) for p in portions] == [
        (202512, 0, ("a",)), *[(202512, 0, ("b",))] * 4, (202512, 0, ("c",)), (202512, 1, ("d",)),
        (202601, 0, ("a",)), (202601, 0, ("c",)),
    ]  # fmt: skip
    pieces = [p.span for p in portions if p.span.accounts == ("b",)]
    assert (pieces[0].start_ms, pieces[-1].end_ms) == month_ms(202512)
    assert [p.end_ms for p in pieces[:-1]] == [p.start_ms for p in pieces[1:]]
    assert sum(p.records for p in portions) == pytest.approx(sum(n for _, n in units), abs=4)


def test_portions_name_a_bounded_number_of_accounts() -> None:
    units = [((f"account{n}", 202512), 1) for n in range(2500)]
    portions = plan(units, lambda account: 0)
    assert [len(portion.span.accounts) for portion in portions] == [1000, 1000, 500]


@pytest.mark.parametrize("blocks", [[b"ab\nc", b"d\n", b"", b"e\nf\n"], [b"ab\ncd\ne\nf\n"]])
@pytest.mark.parametrize("size", [1, 4, 100])
def test_batches_are_whole_lines_and_all_of_them(blocks: list[bytes], size: int) -> None:
    got = list(batches(blocks, size))
    assert b"".join(got) == b"".join(blocks)
    assert all(batch.endswith(b"\n") for batch in got)
    assert len(got) <= 10 // size + 1
