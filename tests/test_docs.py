"""The documents against the code: settings, links, tests they name, and the README's session."""

import re
import shlex
import socket
import subprocess
import sys
from pathlib import Path

import click
import pytest

from bench import load, scale
from genmeter.cli import main
from genmeter.config.settings import SETTINGS
from genmeter.config.urls import Secret
from genmeter.storage.engine.cluster import ClickHouse
from genmeter.storage.store import Store
from tests.servers.cluster import NAME, Cluster
from tests.servers.settings import PASSWORD, USER, address
from tests.support import environment, program

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def text(name: str) -> str:
    """A document."""
    return (ROOT / name).read_text(encoding="utf-8")


def test_every_setting_is_in_the_operations_manual_with_its_default() -> None:
    rows = {
        (shown := re.findall(r"`(--[\w-]+|GENMETER_\w+)`", line))[0]: (line, shown)
        for line in text("docs/operations.md").splitlines()
        if line.startswith(("| `--", "| | `GENMETER_"))
    }
    assert set(rows) == {setting.label for setting in SETTINGS}
    for setting in SETTINGS:
        line, shown = rows[setting.label]
        assert (setting.flag in shown) != setting.secret
        assert setting.variable in shown
        if setting.default:
            assert f"`{setting.default}`" in line


def test_every_package_is_in_the_architecture_with_a_paragraph() -> None:
    content = text("docs/architecture.md")
    listing = content.split("src/genmeter/\n")[1].split("```")[0]
    source = ROOT / "src" / "genmeter"
    listed = set(re.findall(r"^  (\S+?)/? +\S", listing, re.MULTILINE))
    found = (path.name for path in source.iterdir() if path.is_dir() or path.suffix == ".py")
    assert listed == {name for name in found if not name.startswith("__")}
    for path in source.iterdir():
        if path.is_dir() and not path.name.startswith("__"):
            assert f"\n**{path.name}** " in content, path.name


def test_files_that_the_architecture_names_exist() -> None:
    source = ROOT / "src" / "genmeter"
    for name in re.findall(r"`((?:\w+/)+\w+\.\w+)`", text("docs/architecture.md")):
        if not name.startswith("tests/"):
            assert (source / name).exists(), name


def test_no_document_holds_a_placeholder() -> None:
    """A figure that somebody meant to fill in is not shipped."""
    hole = re.compile(r"\b[A-Z]+-(COST|FIGURE|NUMBER)\b|\bTBD\b|\bTODO\b|\bFIXME\b|lorem ipsum")
    for page in PAGES:
        assert not hole.search(page.read_text(encoding="utf-8")), page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert "://" not in target, "the documents need nobody else's pages"
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_tests_that_documents_name_exist(page: Path) -> None:
    content = page.read_text(encoding="utf-8")
    for path in re.findall(r"`(tests/[\w/.]+)`", content):
        assert (ROOT / path).exists(), path
    sources = "".join(file.read_text(encoding="utf-8") for file in ROOT.glob("tests/**/*.py"))
    for name in re.findall(r"`(test_\w+)…?`", content):
        assert f"def {name}" in sources, name


def test_every_threat_names_what_shows_that_it_is_stopped() -> None:
    threats = text("docs/security.md").split("## Threats")[1].split("## What is not covered")[0]
    rows = [line.split(" | ") for line in threats.splitlines() if line.startswith("| ")]
    named = [cells[-1] for cells in rows if cells[-1] != "Test |"]
    assert len(named) > 30
    for tests in named:
        assert re.search(r"`(tests/|test_)", tests) or tests == "none: the proxy is yours |", tests


def test_the_session_of_the_readme_runs_as_printed(tmp_path: Path) -> None:
    program("curl")
    session = text("README.md").split("## Record and query your first jobs")[1].split("```")[1]
    commands = [c for c in re.split(r"^\$ ", session, flags=re.MULTILINE) if c.strip()]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script, expected = ["set -e"], []
    for command in commands:
        lines = command.strip("\n").split("\n")
        shown = [line for line in lines if line.startswith(("genmeter is", '{"accepted', '"succ'))]
        expected += shown
        run = "\n".join(line for line in lines if line not in shown)
        if run.startswith("pip "):
            continue
        script.append(run)
        if run.startswith("genmeter serve"):
            script.append("until curl -s localhost:8000/healthz >/dev/null; do sleep 0.1; done")
    script.append("kill %1; wait %1")
    done = subprocess.run(
        ["bash", "-m", "-c", "\n".join(script).replace("8000", port)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=environment(
            GENMETER_PORT=port,
            PATH=f"{Path(sys.executable).parent}:{environment()['PATH']}",
        ),
    )
    assert done.returncode == 0, done.stderr
    assert len(expected) == 3
    for line in expected:
        assert line.replace("8000", port) in done.stdout, done.stdout


def blocks(name: str, language: str) -> list[str]:
    """The blocks of code of a document that are marked with a language."""
    fenced = re.findall(r"^ *```(\w*)\n(.*?)^ *```$", text(name), re.MULTILINE | re.DOTALL)
    return [content for marked, content in fenced if marked == language]


def test_the_commands_of_the_scale_page_can_be_run() -> None:
    lines = "".join(blocks("docs/scale.md", "")).replace("\\\n", "").splitlines()
    parsers = {"bench.load": load.parser(), "bench.scale": scale.parser()}
    run = set()
    for program_, *words in filter(None, map(shlex.split, lines)):
        if program_ == "python":
            _, name, *words = words
            parsers[name].parse_args(words)
        else:
            assert program_ == "genmeter"
            name = program_
            command: click.Command = main
            while isinstance(command, click.Group):
                name, *words = words
                found = command.get_command(click.Context(command), name)
                assert found is not None, name
                command = found
            command.make_context(name, words)
        run.add(name)
    assert run >= {"bench.load", "bench.scale", "serve"}


def test_the_queries_of_the_scale_page_run_on_the_oldest_servers(cluster: Cluster) -> None:
    database, server = cluster.database(), cluster.servers[0]
    engine = ClickHouse(
        address([server.http_port for server in cluster.servers], database),
        password=Secret(PASSWORD),
        cluster=NAME,
    )
    Store(engine, retention_days=92)
    engine.close()
    watching = blocks("docs/scale.md", "sql")[0]  # the others: tests/storage/test_shards.py
    for query in filter(str.strip, watching.split(";")):
        server.query(query, database=database, user=(USER, PASSWORD))


def test_the_arithmetic_of_the_scale_page_is_right() -> None:
    table = re.search(r"^\| A second \|.*?\n\n", text("docs/scale.md"), re.MULTILINE | re.DOTALL)
    assert table
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table[0].split("\n")
        if line
    ]
    rates = [int(cell.replace(",", "")) for cell in head[1:]]
    cells = {row[0]: row[1:] for row in rows}
    for column, rate in enumerate(rates):
        records = rate * 86_400 * 90
        assert cells["Records in 90 days"][column] == f"{records / 1e9:,.1f} billion"
        for what, each in (("Disk at 20 bytes", 20), ("Disk at 40 bytes", 40)):
            assert cells[what][column] == f"{records * each / 1e12:,.2f} TB"
        shards = [int(number) for number in re.findall(r"\d+", cells["Shards"][column])]
        to_have = [
            float(size)
            for size in re.findall(r"([\d.]+) TB", cells["Disk to have, each replica"][column])
        ]
        whole = records * 20 / 1e12 * 121 / 90 / 0.8
        assert to_have == [round(whole / number, 2) for number in shards]


def test_what_the_scale_page_finds_in_logs_is_said_somewhere() -> None:
    table = text("docs/scale.md").split("| In the log | Means |")[1].split("\n\n")[0]
    said = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    source = "".join(path.read_text(encoding="utf-8") for path in ROOT.glob("src/**/*.py"))
    assert said
    for line in said:
        assert line in source, line
