"""``genmeter query`` as people run it: in a pipe, in a terminal, against a real service."""

import contextlib
import csv
import fcntl
import io
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any

import pyarrow.parquet
import pytest

from tests.asked import Asked, asked_service, records
from tests.servers.faulty import BrokenOff, ErrorInside, FaultyProxy
from tests.servers.process import free_port
from tests.support import environment, genmeter

DAYS = ("--from", "2026-02-10", "--to", "2026-02-12")
CAPTION = "acme, all bots, 2026-02-10 00:00 to 2026-02-12 00:00, UTC"


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    with asked_service(tmp_path_factory.mktemp("query")) as service:
        yield service


def run(asked: Asked, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command with its standard output in a pipe."""
    return genmeter("query", *words, **(asked.variables | variables))


def lines(asked: Asked, *words: str, **variables: str) -> list[str]:
    """What the command prints when all is well."""
    done = run(asked, *words, **variables)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout.splitlines()


def told(done: subprocess.CompletedProcess[str], code: int) -> list[str]:
    """What the command says is wrong: lines for people on standard error, and nothing else."""
    assert (done.returncode, done.stdout) == (code, ""), done
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()


def screen(asked: Asked, *words: str, columns: int = 80, **variables: str) -> str:
    """What the command shows in a terminal of so many columns."""
    mine, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    plain = {k: v for k, v in environment().items() if k not in ("COLUMNS", "LINES", "NO_COLOR")}
    with subprocess.Popen(
        [sys.executable, "-m", "genmeter", "query", *words],
        stdin=theirs, stdout=theirs, stderr=theirs,
        env=plain | asked.variables | {"TERM": "xterm"} | variables,
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        try:
            while block := os.read(mine, 65536):
                shown += block
        except OSError:
            pass  # all ends of the terminal are closed
        finally:
            os.close(mine)
        assert process.wait(60) == 0, shown
    return shown.decode().replace("\r\n", "\n")


def test_the_total_alone(asked: Asked) -> None:
    assert lines(asked, *DAYS) == [
        CAPTION,
        "",
        "jobs                  7",
        "success               4",
        "client_errors         1",
        "throttled             1",
        "provider_errors       1",
        "success_rate      57.1%",
        "service_rate      66.7%",
        "avg_msec         15,229",
        "p50               3,000",
        "p95              90,000",
        "p99              90,000",
    ]


def test_a_table_of_groups(asked: Asked) -> None:
    found = lines(
        asked, *DAYS, "--group-by", "model", "--metrics", "jobs,success_rate", "--metrics", "p50"
    )
    assert found == [
        CAPTION,
        "",
        "                    success     p50",
        "model         jobs     rate    msec",
        "────────────  ────  ───────  ──────",
        "imagen-4         3    66.7%   5,000",
        "veo-3.1-fast     3    66.7%   1,000",
        "(empty)          1     0.0%  90,000",
        "────────────  ────  ───────  ──────",
        "total            7    57.1%   3,000",
    ]


def test_a_table_over_time_in_a_zone_with_the_period_before(asked: Asked) -> None:
    found = lines(
        asked, "--from", "2026-02-11", "--to", "2026-02-12", "--timezone", "Europe/Vienna",
        "--interval", "1d", "--metrics", "jobs", "--compare", "previous", "--top", "1",
        "--group-by", "bot",
    )  # fmt: skip
    assert found == [
        "acme, all bots, 2026-02-11 00:00 to 2026-02-12 00:00, Europe/Vienna",
        "compared with 2026-02-10 00:00 to 2026-02-11 00:00",
        "",
        "start       bot          jobs  change",
        "──────────  ───────────  ────  ──────",
        "2026-02-11  google-flow     1  -80.0%",
        "2026-02-11  (others)        1       -",
        "──────────  ───────────  ────  ──────",
        "total                       2  -60.0%",
    ]


@pytest.mark.parametrize(
    ("words", "jobs"),
    [
        (["--bot", "google-flow"], 6),
        (["--bot", "kling,google-flow"], 7),
        (["--not-bot", "kling"], 6),
        (["--model", "imagen-4", "--model", "(empty)"], 4),
        (["--not-model", "imagen-4,(empty)"], 3),
        (["--code", "4xx", "--not-code", "429"], 1),
        (["--config", r"a\,b"], 1),
        (["--config", "a,b"], 0),
        (["--config", "größe*"], 2),
        (["--min-msec", "1000", "--max-msec", "5000"], 3),
        (["--captcha-provider", "(empty)", "--captchaRetry", "(empty)"], 7),
        (["--not-captcha-retry", "(empty)"], 0),
        (["--jobid", "job-1", "--endpoint", "videos", "--not-func", "x", "--tier", "(empty)"], 1),
        (["--account", "acme"], 7),
    ],
)
def test_filters_are_options(asked: Asked, words: list[str], jobs: int) -> None:
    answer = json.loads(run(asked, *DAYS, "--metrics", "jobs", "--json", *words).stdout)
    assert answer["total"] == {"jobs": jobs}


def test_order_is_the_server_s(asked: Asked) -> None:
    found = lines(asked, *DAYS, "--group-by", "model", "--metrics", "jobs", "--order", "jobs,model")
    assert [line.split()[0] for line in found[4:7]] == ["(empty)", "imagen-4", "veo-3.1-fast"]
    rows = csv.DictReader(lines(asked, *DAYS, "--rows", "--csv", "--order", "oldest"))
    assert [row["jobid"] for row in rows] == [row["jobid"] for row in records()]


def test_csv_for_a_spreadsheet_is_asked_for(asked: Asked) -> None:
    exact = lines(asked, *DAYS, "--rows", "--csv")
    assert lines(asked, *DAYS, "--rows", "--csv", "--escape", "formulas") == exact
    done = run(asked, *DAYS, "--rows", "--json", "--escape", "formulas")
    assert "escape=formulas needs format=csv" in done.stderr


def test_records_as_a_table(asked: Asked) -> None:
    found = lines(asked, *DAYS, "--rows", "--bot", "kling")
    assert found == [
        CAPTION.replace("all bots", "kling"),
        "",
        "timestamp                bot    code    msec  endpoint  config  status         jobid",
        "───────────────────────  ─────  ────  ──────  ────────  ──────  ─────────────  ─────",
        "2026-02-10 23:00:00.000  kling   596  90,000  videos    a,b     Account Error  job-5",
        "",
        "1 record",
    ]


def test_pages_of_records(asked: Asked) -> None:
    first = lines(asked, *DAYS, "--rows", "--limit", "5")
    assert first[-2] == "5 records, there are more; --limit N shows more of them"
    option, cursor = first[-1].removeprefix("the next ones: ").split()
    second = lines(asked, *DAYS, "--rows", "--limit", "5", option, cursor)
    assert [line.split()[-1] for line in second[4:6]] == ["job-1", "job-0"]
    assert second[-1] == "2 records"


def test_json_and_csv_are_the_server_s_own(asked: Asked) -> None:
    words = (*DAYS, "--group-by", "code", "--metrics", "jobs", "--order", "code")
    answer = json.loads("\n".join(lines(asked, *words, "--json")))
    assert answer["groups"][0] == {"code": 200, "jobs": 4}
    assert lines(asked, *words, "--csv") == ["code,jobs", "200,4", "403,1", "429,1", "596,1"]
    rows = json.loads("\n".join(lines(asked, *DAYS, "--rows", "--json")))
    assert rows["count"] == len(rows["data"]) == 7
    assert len(lines(asked, *DAYS, "--rows", "--csv")) == 8


def test_files_in_each_format(asked: Asked, tmp_path: Path) -> None:
    for ending in ("json", "ndjson", "csv", "parquet", "arrow"):
        path = tmp_path / f"rows.{ending}"
        (said,) = lines(asked, *DAYS, "--rows", "-o", str(path))
        assert said == f"{path} holds 7 records, {path.stat().st_size:,} bytes"
    assert pyarrow.parquet.read_table(tmp_path / "rows.parquet").num_rows == 7
    text = (tmp_path / "rows.csv").read_text()
    assert [row["jobid"] for row in csv.DictReader(io.StringIO(text))][-1] == "job-0"
    (said,) = lines(asked, *DAYS, "--output", str(tmp_path / "figures.csv"))
    assert said.startswith(f"{tmp_path}/figures.csv holds 1 line, ")


def test_what_there_is_to_ask_about(asked: Asked) -> None:
    found = lines(asked, "--list")
    assert found[0].split() == ["account", "acme"]
    assert found[1].split() == ["records", "7,", "2026-02-10", "00:00", "to", "2026-02-11", "00:00"]
    told = {line.split()[0]: line.split()[1:] for line in found if line}
    assert told["model"] == ["imagen-4,", "veo-3.1-fast"]
    assert told["fields"] == told["metrics"] == []
    assert told["provider_errors"]
    meta = json.loads("\n".join(lines(asked, "--list", "--json")))
    assert meta["records"] == 7


def test_a_terminal_has_bold_heads_and_its_width(asked: Asked) -> None:
    words = (*DAYS, "--group-by", "config,bot")
    shown = screen(asked, *words, columns=70)
    plain = shown.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert plain != shown
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) <= 70
    blocks = plain.count("total ")
    assert plain.count("ops@example.com") == plain.count("größe@example.com") == blocks > 1
    assert len(plain.splitlines()) > len(lines(asked, *words))
    for variables in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        assert screen(asked, *words, columns=70, **variables) == plain
    wide = screen(asked, *words, columns=200, NO_COLOR="1")
    assert wide.splitlines() == lines(asked, *words)
    narrow = screen(asked, *DAYS, "--rows", columns=60, NO_COLOR="1")
    assert max(map(len, narrow.splitlines()[:-1])) <= 60
    assert "not shown for want of room: model, config" in narrow


def test_a_plot_over_time(asked: Asked) -> None:
    shown = screen(
        asked, "--from", "2026-02-10", "--to", "2026-02-11", "--interval", "1h", "--plot",
        columns=60, NO_COLOR="1",
    )  # fmt: skip
    assert shown.splitlines() == [
        CAPTION.replace("02-12", "02-11"),
        "",
        "jobs",
        "2 │  ██",
        "  │  ██",
        "  │  ██",
        "  │  ██",
        "  │████                      ████                ██",
        "  │████                      ████                ██",
        "  │████                      ████                ██",
        "  │████                      ████                ██",
        "0 └" + "─" * 48,
        "   00:00       06:00       12:00       18:00",
    ]


def test_an_automatic_interval_is_one_that_fits(asked: Asked) -> None:
    words = ("--from", "2026-02-10", "--to", "2026-02-11", "--interval", "auto", "--plot")
    shown = screen(asked, *words, columns=60, NO_COLOR="1")
    assert "mean of" not in shown
    assert shown.splitlines()[-2] == "0 └" + "─" * 48  # by hours
    wide = screen(asked, *words, columns=140, NO_COLOR="1")
    assert wide.splitlines()[-2] == "0 └" + "─" * 96  # by quarters of them
    named = screen(asked, *words[:-3], "--interval", "15m", "--plot", columns=60, NO_COLOR="1")
    assert named.splitlines()[-1] == "each column is the mean of 2 intervals of 15m"


def test_bars_in_a_pipe_without_unicode(asked: Asked) -> None:
    words = (*DAYS, "--group-by", "bot", "--plot")
    assert lines(asked, *words)[3:] == [
        "google-flow  " + "█" * 65 + " 6",
        "kling        " + "█" * 10 + "▉ 1",
    ]
    plain = run(asked, *words, PYTHONIOENCODING="ascii").stdout.splitlines()
    assert plain[3:] == ["google-flow  " + "#" * 65 + " 6", "kling        " + "#" * 11 + " 1"]
    table = lines(asked, *DAYS, "--group-by", "config", "--metrics", "jobs",
                  PYTHONIOENCODING="ascii")  # fmt: skip
    assert table[3] == "-----------------  ----"
    assert "gr??e@example.com     2" in table


def test_the_server_says_no_in_one_line(asked: Asked) -> None:
    assert told(run(asked, "--interval", "2h", "--last", "3x", "--top", "3"), 1) == [
        "genmeter: last must be a number and one of m, h, d, w, such as 90m, 24h, 7d or 4w, "
        'not "3x"; interval must be auto, 1m, 5m, 15m, 1h, 1d, 1w, 1mo, not "2h"; '
        "top needs group_by",
    ]  # fmt: skip
    (line,) = told(run(asked, "--account", "other"), 1)
    assert line.startswith("genmeter: account: only a token with the admin scope")
    (line,) = told(run(asked, *DAYS, "--json", GENMETER_TOKEN="user:acme-0"), 1)
    assert line == "genmeter: Unauthorized: the server does not know the token, or it has ended"
    (line,) = told(run(asked, "--url", f"{asked.url}/nowhere"), 1)
    assert "there is no /nowhere/v2/account/stats/query here" in line


def test_nobody_answers(asked: Asked) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    (line,) = told(run(asked, GENMETER_URL=url), 1)
    assert line.startswith(f"genmeter: {url} does not answer: ")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--json", "--csv"], "--json and --csv exclude each other"),
        (["--plot", "-o", "a.csv"], "--plot and --output exclude each other"),
        (["-o", "a.txt"], "ends in .json, .ndjson, .csv, .parquet, .arrow, not a.txt"),
        (["--plot", "--rows"], "--plot draws figures"),
        (["--plot", "--metrics", "jobs,last,first"], "draws numbers, not first and last"),
        (["--list", "--csv"], "--list goes with"),
        (["--list", "--last", "7d"], "--list goes with"),
        (["--last"], "requires an argument"),
        (["--modle", "x"], "--model"),
        (["extra"], "unexpected extra argument"),
    ],
)
def test_wrong_usage_asks_nobody(words: list[str], said: str) -> None:
    done = genmeter("query", *words, GENMETER_TOKEN="t", GENMETER_URL="http://127.0.0.1:1")
    assert said in told(done, 2)[-1]


def test_settings_are_all_looked_at_first(tmp_path: Path) -> None:
    assert told(genmeter("query"), 2) == ["genmeter: GENMETER_TOKEN or --token-file is required"]
    done = genmeter("query", "--url", "http://u:hunter2@a", "--token-file", str(tmp_path / "none"))
    assert len(told(done, 2)) == 2
    assert "hunter2" not in done.stderr
    assert "No such option" in genmeter("query", "--token", "t").stderr


def test_the_token_may_be_in_a_file(asked: Asked, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(asked.token + "\n")
    done = genmeter("query", "--url", asked.url, "--token-file", str(tmp_path / "token"), *DAYS)
    assert done.stdout.startswith(CAPTION)
    assert asked.token not in done.stdout + done.stderr


def test_a_file_is_whole_or_not_there(asked: Asked, tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    with FaultyProxy(asked.port) as proxy:
        for fault in (BrokenOff(after=300), ErrorInside(after=300)):
            proxy.fault = fault
            (line,) = told(run(asked, *DAYS, "--rows", "-o", str(path), GENMETER_URL=proxy.url), 1)
            assert line.startswith("genmeter: the answer ")
            assert not list(tmp_path.iterdir())
            done = run(asked, *DAYS, "--rows", "--csv", GENMETER_URL=proxy.url)
            assert done.returncode == 1
            assert "the answer " in done.stderr
    (line,) = told(run(asked, *DAYS, "-o", str(tmp_path / "none" / "a.csv")), 1)
    assert line == f"genmeter: cannot write {tmp_path}/none/a.csv: No such file or directory"
    (tmp_path / "full.csv").mkdir()
    (line,) = told(run(asked, *DAYS, "-o", str(tmp_path / "full.csv")), 1)
    assert "is there and is no file" in line


@pytest.mark.parametrize("output", [[], ["--csv"], ["--json"]])
def test_who_reads_may_stop(asked: Asked, output: list[str]) -> None:
    asked.record([records()[0] | {"jobid": f"x{n}", "bot": "luma"} for n in range(5000)])
    command = [sys.executable, "-m", "genmeter", "query", *DAYS, "--rows", "--limit", "5000"]
    with subprocess.Popen(
        [*command, "--bot", "luma", *output],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(**asked.variables),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(10)
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 141


class Silent(BaseHTTPRequestHandler):
    """Begins an answer and says nothing more, as the handler of a server that is stuck."""

    began: Event
    end: Event

    def do_GET(self) -> None:
        """Half an answer."""
        self.send_response(200)
        for name, value in (("Genmeter-Rows", "9"), ("Genmeter-SHA256", "0" * 64)):
            self.send_header(name, value)
        self.send_header("Content-Length", "1000000")
        self.end_headers()
        self.wfile.write(b"a" * 300_000)
        self.began.set()
        self.end.wait(60)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_it_quietly_and_leaves_nothing(
    tmp_path: Path, number: signal.Signals
) -> None:
    class Here(Silent):
        began, end = Event(), Event()

    with ThreadingHTTPServer(("127.0.0.1", 0), Here) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        folder = tmp_path / "folder"
        folder.mkdir()
        variables = {
            "GENMETER_URL": f"http://127.0.0.1:{server.server_port}",
            "GENMETER_TOKEN": "t",
        }
        with subprocess.Popen(
            [sys.executable, "-m", "genmeter", "query", "-o", str(folder / "a.csv")],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(**variables),
            # Who runs the tests in the background may have told its children to ignore it.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        ) as process:  # fmt: skip
            assert Here.began.wait(60)
            while not list(folder.iterdir()):
                assert process.poll() is None
            process.send_signal(number)
            assert process.communicate(timeout=60) == (b"", b"")
        assert process.returncode == 130
        assert list(folder.iterdir()) == []
        Here.end.set()
        server.shutdown()
        thread.join()


def test_it_needs_nothing_of_the_server(asked: Asked) -> None:
    hidden = (
        "import sys\n"
        "for name in ('chdb', 'starlette', 'uvicorn', 'sqlalchemy', 'psycopg', 'pyarrow',\n"
        "             'pandas', 'zstandard', 'starlette_compress', 'httptools'):\n"
        "    sys.modules[name] = None\n"
        "from genmeter.cli import main\n"
        "main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden, "query", *DAYS, "--group-by", "bot", "--plot"],
        capture_output=True, text=True, timeout=60, env=environment(**asked.variables), check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(CAPTION)


def test_the_help_names_every_field_and_option(asked: Asked) -> None:
    shown = genmeter("query", "--help").stdout
    for name in ("config", "endpoint", "status", "func", "code", "model", "tier", "sku",
                 "captcha-provider", "jobid", "--not-FIELD", "GENMETER_TOKEN", "GENMETER_URL",
                 "--timezone", "--group-by", "--compare", "--plot", "--list"):  # fmt: skip
        assert name in shown, name
    meta = json.loads(run(asked, "--list", "--json").stdout)
    assert "auto, 1m, 5m, 15m, 1h, 1d, 1w or 1mo" in " ".join(shown.split())
    assert meta["intervals"] == ["auto", "1m", "5m", "15m", "1h", "1d", "1w", "1mo"]
    assert meta["formats"] == ["json", "ndjson", "csv", "parquet", "arrow"]


def test_the_session_of_the_manual_runs_as_printed(tmp_path: Path) -> None:
    manual = (Path(__file__).parent.parent.parent / "docs" / "query.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", manual, re.MULTILINE | re.DOTALL)
    rows = next(text for kind, text in blocks if kind == "ndjson")
    sessions = [text for kind, text in blocks if kind == "console"]
    assert len(sessions) >= 7
    code = next(text for kind, text in blocks if kind == "python")
    with asked_service(tmp_path, [json.loads(line) for line in rows.splitlines()]) as asked:
        for session in sessions:
            command, _, printed = session.removeprefix("$ ").partition("\n")
            program, *words = shlex.split(command)
            assert program == "genmeter"
            done = subprocess.run(
                [sys.executable, "-m", "genmeter", *words],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60,
                cwd=tmp_path, env=environment(**asked.variables), check=False,
            )  # fmt: skip
            assert done.stdout == printed, command
        names: dict[str, Any] = {"token": asked.token}
        with contextlib.chdir(tmp_path):
            exec(code.replace("http://127.0.0.1:8000", asked.url), names)
    assert names["answer"]["total"]["jobs"] == 6
    assert names["failed"] == ["j5", "j2", "j1"]
    assert pyarrow.parquet.read_table(tmp_path / "february.parquet").num_rows == 6
