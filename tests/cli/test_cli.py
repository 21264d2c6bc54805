"""The command line, run as a user runs it."""

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import pytest

from genmeter.config.settings import SETTINGS
from tests.support import Process, environment, genmeter, new_token


def told(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines for people on standard error, without the log's."""
    return [line for line in done.stderr.splitlines() if not line.startswith("{")]


def test_the_help_is_the_manual() -> None:
    shown = genmeter("--help").stdout
    for setting in SETTINGS:
        assert setting.variable in shown, setting.name
        assert bool(re.search(rf"{setting.flag}\s", shown)) != setting.secret, setting.name
    for command in ("serve", "demo", "token", "query", "ship", "backup", "migrate"):
        assert re.search(rf"^  {command} ", shown, re.MULTILINE), command
        help_ = genmeter(command, "--help")
        assert help_.returncode == 0
        assert help_.stderr == ""


def test_the_version() -> None:
    assert re.fullmatch(r"genmeter, version \d+\.\d+\.\d+\n", genmeter("--version").stdout)


def test_ready_is_one_line_and_the_end_is_orderly(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        data = tmp_path / f"data{number}"
        with Process(data) as server:
            assert re.fullmatch(
                rf"genmeter is ready on http://127\.0\.0\.1:\d+ with 0 records in {data}\n",
                server.ready_line,
            )
            server.process.send_signal(number)
            assert server.process.wait(30) == 0
            assert server.process.stdout is not None
            assert server.process.stdout.read() == ""


def test_what_is_under_way_at_the_end_is_stored_and_answered(tmp_path: Path) -> None:
    data = tmp_path / "data"
    token = new_token(data, "acme")
    answers: list[int] = []
    with Process(data) as server:

        def post(n: int) -> None:
            with httpx2.Client(timeout=30, headers={"Authorization": f"Bearer {token}"}) as client:
                for k in range(1000):
                    record = {"bot": "luma", "config": "c", "endpoint": "e", "code": 200,
                              "msec": 1, "jobid": f"{n}-{k}"}  # fmt: skip
                    try:
                        url = f"{server.base_url}/v2/account/stats"
                        response = client.post(url, json=record)
                    except httpx2.TransportError:
                        return
                    if response.status_code == 200:
                        answers.append(1)

        threads = [threading.Thread(target=post, args=(n,)) for n in range(16)]
        for thread in threads:
            thread.start()
        time.sleep(1)
        assert server.stop() == 0
        for thread in threads:
            thread.join()
    with Process(data) as server:
        url = f"{server.base_url}/v2/account/stats?bot=luma&limit=50000"
        found = httpx2.get(url, headers={"Authorization": f"Bearer {token}"}).json()["total"]
    assert found >= len(answers) > 0


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = genmeter("serve", "--port", port, "--data", str(tmp_path / "data"))
    assert done.returncode == 2
    assert told(done) == [
        f"genmeter: cannot listen on 127.0.0.1, port {port}: Address already in use; "
        "stop what uses it, or name another with --port"
    ]
    assert done.stdout == ""


def test_a_folder_in_use_is_one_clear_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Process(data):
        done = genmeter("serve", "--port", "0", "--data", str(data))
    assert done.returncode == 2
    assert told(done) == [
        "genmeter: the data folder is in use by another process; "
        "stop that one, or name another folder"
    ]


def test_a_folder_that_cannot_be_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    done = genmeter("serve", "--port", "0", "--data", str(tmp_path / "file" / "data"))
    assert done.returncode == 2
    assert len(told(done)) == 1
    assert "Not a directory" in told(done)[0]


def test_a_folder_whose_name_the_engine_would_misread_is_one_clear_line(tmp_path: Path) -> None:
    for name in ("a{1,2}b", "a*b", "a'b", "a?b", "a[b", "a\\b"):
        done = genmeter("serve", "--port", "0", "--data", str(tmp_path / name))
        assert done.returncode == 2, name
        assert len(told(done)) == 1
        assert "must not hold any of" in told(done)[0]


def test_a_folder_with_blanks_and_letters_of_any_kind_works(tmp_path: Path) -> None:
    data = tmp_path / "my dätä (1), $x;日本"
    token = new_token(data, "acme")
    with Process(data) as server:
        url = f"{server.base_url}/v2/account/stats?bot=luma"
        headers = {"Authorization": f"Bearer {token}"}
        record = {"bot": "luma", "config": "c", "endpoint": "e", "code": 200, "msec": 1}
        assert httpx2.post(url, json=record, headers=headers).status_code == 200
        assert httpx2.get(url, headers=headers).json()["total"] == 1


def test_all_bad_settings_are_reported_together(tmp_path: Path) -> None:
    done = genmeter(
        "serve", "--port", "eighty", "--retention-days", "-1", "--data", str(tmp_path / "d"),
        GENMETER_READERS="0", GENMETER_LOG_LEVEL="loud",
    )  # fmt: skip
    assert done.returncode == 2
    lines = told(done)
    assert len(lines) == 4
    for start in ("--port must be an integer from 0 to 65535", "--retention-days must be",
                  "GENMETER_READERS must be an integer from 1 to 64",
                  "GENMETER_LOG_LEVEL must be one of debug"):  # fmt: skip
        assert any(line.startswith(f"genmeter: {start}") for line in lines), start
    assert not (tmp_path / "d").exists()


def test_the_environment_sets_what_flags_do_not(tmp_path: Path) -> None:
    made = genmeter("token", "create", GENMETER_ACCOUNT="env", GENMETER_SCOPE="read",
                    GENMETER_DATA=str(tmp_path / "data"))  # fmt: skip
    assert made.stdout.startswith("user:env-")
    listed = genmeter("token", "list", "--data", str(tmp_path / "data"), GENMETER_DATA="/nowhere")
    assert "env" in listed.stdout


def ask(server: Process, token: str) -> int:
    """The status that a token gets."""
    return httpx2.get(
        f"{server.base_url}/v2/account/stats?bot=luma",
        headers={"Authorization": f"Bearer {token}"},
    ).status_code


def within_a_second(server: Process, token: str, status: int) -> bool:
    """Whether a token gets ``status`` before a second is over."""
    end = time.monotonic() + 1
    while time.monotonic() < end:
        if ask(server, token) == status:
            return True
        time.sleep(0.02)
    return False


def test_tokens_are_made_listed_and_revoked_while_the_server_runs(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with Process(data, "--log-level", "debug") as server:
        made = genmeter(
            "token", "create", "--account", "acme", "--scope", "read,write",
            "--name", "night shift", "--expires", "30", "--data", str(data),
        )  # fmt: skip
        token = made.stdout.strip()
        assert made.stdout == token + "\n"
        assert re.fullmatch(r"user:acme-[0-9a-f]{48}", token)
        assert within_a_second(server, token, 200)
        listed = genmeter("token", "list", "--data", str(data)).stdout.splitlines()
        assert listed[0].split() == [
            "ID", "ACCOUNT", "SCOPES", "STATE", "CREATED", "EXPIRES", "NAME",
        ]  # fmt: skip
        row = listed[1].split(maxsplit=6)
        assert (row[1], row[2], row[3], row[6]) == ("acme", "read,write", "valid", "night shift")
        assert token not in "".join(listed)
        revoked = genmeter("token", "revoke", row[0], "--data", str(data))
        assert revoked.returncode == 0
        assert within_a_second(server, token, 401)
        assert "revoked" in genmeter("token", "list", "--data", str(data)).stdout
        again = genmeter("token", "revoke", row[0], "--data", str(data))
        assert again.returncode == 1
        assert len(told(again)) == 1
        secret = token.split("-")[1]
        assert secret not in server.log()
    for file in data.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("arguments", "faults"),
    [
        ([], ["--account is required", "--scope is required"]),
        (["--account", "a b", "--scope", "read"], ["account must be 1 to 64 letters"]),
        (["--account", "a", "--scope", "own", "--expires", "0"],
         ["--scope must be one or more of read, write, admin", "--expires must be a number"]),
    ],
)  # fmt: skip
def test_a_token_that_cannot_be_made_says_why(
    tmp_path: Path, arguments: list[str], faults: list[str]
) -> None:
    done = genmeter("token", "create", *arguments, "--data", str(tmp_path / "data"))
    assert done.returncode != 0
    assert done.stdout == ""
    assert len(told(done)) == len(faults)
    assert all(fault in done.stderr for fault in faults)


def test_the_demo_loads_the_same_lifelike_traffic_and_its_curl_lines_work(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "genmeter", "demo", "--data", str(tmp_path / "data"), "--port", "0",
         "--records", "20000", "--days", "30"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(),
    ) as demo:  # fmt: skip
        assert demo.stdout is not None
        shown = ""
        while "Ctrl-C ends it." not in shown:
            line = demo.stdout.readline()
            assert line, demo.stderr.read() if demo.stderr else ""
            shown += line
        commands = re.findall(r"(curl .*)$", shown, re.MULTILINE)
        assert len(commands) == 2
        address = re.search(r"ready on (\S+)", shown)
        token = re.search(r"token +(\S+)", shown)
        assert address
        assert token
        total = 0
        for bot in ("google-flow", "kling", "midjourney", "luma", "ltxstudio"):
            answer = httpx2.get(
                f"{address[1]}/v2/account/stats?bot={bot}&limit=50000",
                headers={"Authorization": f"Bearer {token[1]}"},
                timeout=60,
            ).json()
            assert answer["total"] > 0, bot
            total += answer["total"]
        assert 10_000 < total < 20_000
        for command in commands:
            done = subprocess.run(
                command, shell=True, capture_output=True, text=True, check=True, timeout=60
            )
            assert json.loads(done.stdout)["bot"] == "google-flow"
        demo.send_signal(signal.SIGINT)
        assert demo.wait(30) == 0


def test_without_the_server_parts_the_command_says_what_to_install() -> None:
    hidden = "import sys\nfor name in ('chdb', 'starlette', 'uvicorn', 'sqlalchemy'):\n"
    hidden += "    sys.modules[name] = None\nfrom genmeter.cli import main\nmain()"

    def light(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", hidden, *arguments],
            capture_output=True, text=True, timeout=60, env=environment(), check=False,
        )  # fmt: skip

    assert light("--version").returncode == 0
    serve = light("serve")
    assert serve.returncode == 1
    assert "pip install 'genmeter[server]'" in serve.stderr
    assert "Traceback" not in serve.stderr


def test_a_server_holds_nothing_in_memory_that_nobody_asked_for() -> None:
    code = "import sys, genmeter.server.run, genmeter.storage.engine.embedded; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"chdb", "pyarrow", "numpy"} & set(ran.stdout.split())


def test_a_backup_says_what_is_wrong(tmp_path: Path) -> None:
    none = genmeter("backup", str(tmp_path / "copy"), "--data", str(tmp_path / "nothing"))
    assert (none.returncode, len(told(none))) == (1, 1)
    assert "is no data folder" in none.stderr
    new_token(tmp_path / "data", "a")
    with Process(tmp_path / "data"):
        taken = genmeter("backup", str(tmp_path), "--data", str(tmp_path / "data"))
    assert (taken.returncode, len(told(taken))) == (1, 1)
    assert "exists; name a folder that does not" in taken.stderr
    assert not list((tmp_path / "data").glob(".snapshot-*"))
