"""What the files in deploy/ say, as values."""

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML

from genmeter.config.load import ServerSettings, load, server_settings
from genmeter.server.run import DRAIN_S

ROOT: Final = Path(__file__).parent.parent.parent
DEPLOY: Final = ROOT / "deploy"

Instruction = tuple[str, str]
"""One of a Dockerfile: its name, and what follows."""


def yaml(path: Path) -> list[Any]:
    """The documents of a YAML file; a key given twice is an error."""
    return list(YAML(typ="safe", pure=True).load_all(path.read_text(encoding="utf-8")))


def variables(text: str) -> dict[str, str]:
    """The settings of genmeter in lines of NAME=VALUE, also those commented out."""
    return dict(re.findall(r"^#?(GENMETER_\w+)=(.*)$", text, re.MULTILINE))


def serve_settings(environment: Mapping[str, object], passwords: Path) -> ServerSettings:
    """What ``genmeter serve`` makes of an environment; SettingsError where it would not start.

    Files with passwords lie elsewhere where the environment is for; here they are made in the
    folder ``passwords``, each with its own path as the password.
    """
    given = {name: str(value) for name, value in environment.items()}
    for name, value in given.items():
        if name.endswith("_PASSWORD_FILE"):
            file = passwords / name
            file.write_text(f"{value}\n", encoding="utf-8")
            given[name] = str(file)
    return server_settings(load("serve", {}, given))


def stages(dockerfile: Path) -> list[list[Instruction]]:
    """The instructions of each stage of a Dockerfile, from its FROM on."""
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found: list[list[Instruction]] = []
    for line in text.replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        if name == "FROM":
            found.append([])
        if name:
            found[-1].append((name, rest.strip()))
    return found


def all_of(name: str, instructions: list[Instruction]) -> list[str]:
    """What follows each instruction of that name."""
    return [rest for given, rest in instructions if given == name]


def seconds_to_end(settings: ServerSettings) -> int:
    """How long a server may take to end: requests under way first, then what waits."""
    return DRAIN_S + settings.clickhouse_timeout_seconds


def tool(name: str) -> str:
    """A program that a package of the development group brings along."""
    return str(Path(sys.executable).parent / name)


def run(*command: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """A command's end, with what it printed; it must succeed."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, **options
    )
    assert done.returncode == 0, done.stdout
    return done
