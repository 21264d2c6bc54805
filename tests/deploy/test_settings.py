"""Whatever deploys genmeter, and the page about it, use settings and commands that there are."""

import re
from pathlib import Path

import pytest

from genmeter.config.load import of_command
from genmeter.config.settings import SETTINGS
from tests.deploy.files import DEPLOY, ROOT

PAGE = ROOT / "docs" / "deploy.md"
FILES = sorted(
    path for path in [*DEPLOY.rglob("*"), PAGE] if path.is_file() and path.parent.name != "secrets"
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_setting_is_one(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"\bGENMETER_[A-Z_]+\b", text)) <= {s.variable for s in SETTINGS}
    flags = {setting.flag for setting in SETTINGS}
    assert set(re.findall(r"(?<!\w)--(?:clickhouse|accounts)[a-z-]*", text)) <= flags


def test_commands_of_the_page_take_the_flags_they_are_given() -> None:
    pattern = r"genmeter (token create|serve|backup)((?: --[a-z]+ \S+)+)"
    commands = re.findall(pattern, PAGE.read_text(encoding="utf-8"))
    assert len(commands) >= 4
    for command, rest in commands:
        assert set(re.findall(r"--[a-z-]+", rest)) <= {s.flag for s in of_command(command)}
