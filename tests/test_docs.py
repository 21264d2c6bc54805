"""The documents against the code: settings, links, tests they name, and the README's session."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from genmeter.config import SETTINGS
from tests.support import environment, program

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


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


def test_every_module_is_in_the_picture_of_the_house() -> None:
    picture = text("docs/architecture.md").split("```")[1]
    source = ROOT / "src" / "genmeter"
    for path in source.iterdir():
        if path.name.startswith("__"):
            continue
        name = f"{path.name}/" if path.is_dir() else path.name
        assert re.search(rf"^  {re.escape(name)} ", picture, re.MULTILINE), name
    for name in re.findall(r"^  (\S+?)/? +\S", picture, re.MULTILINE):
        assert (source / name).exists(), name


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


def test_the_session_of_the_readme_runs_as_printed(tmp_path: Path) -> None:
    program("curl")
    session = text("README.md").split("## A number comes back")[1].split("```")[1]
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
