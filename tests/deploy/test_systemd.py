"""The systemd unit: read by systemd itself, and its command run as it stands there."""

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from genmeter.config.load import ServerSettings
from genmeter.config.settings import SETTINGS
from tests.deploy.files import DEPLOY, run, seconds_to_end, serve_settings, tool, variables
from tests.support import environment, program

UNIT = DEPLOY / "genmeter.service"
EXAMPLE = DEPLOY / "genmeter.env.example"
EXPOSURE = 15
"""Tenths of a point, from 0 for what can touch nothing to 100 for what may do everything."""


def values(key: str) -> list[str]:
    """What the unit gives a key, each time that it is given."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


def value(key: str) -> str:
    """What the unit gives a key that is there once."""
    (found,) = values(key)
    return found


def test_systemd_understands_all_of_it(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    shutil.copy(UNIT, unit)
    command = value("ExecStart").split()[0]
    unit.write_text(unit.read_text().replace(command, sys.executable))  # it must be there
    done = run(program("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no", unit)
    assert done.stdout == ""


def test_systemd_finds_little_that_it_could_touch() -> None:
    run(
        program("systemd-analyze"), "security", "--no-pager", "--offline=yes",
        f"--threshold={EXPOSURE}", UNIT,
    )  # fmt: skip


def test_its_command_serves_and_ends_in_time(tmp_path: Path) -> None:
    name, setting = value("Environment").split("=")
    assert setting == f"%S/{value('StateDirectory')}"
    command = value("ExecStart").split()
    assert Path(command[0]).name == "genmeter"
    given = {name: setting.replace("%S", str(tmp_path)), "GENMETER_PORT": "0"}
    with subprocess.Popen(
        [tool("genmeter"), *command[1:]],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment(**given),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            assert line.strip().endswith(f" records in {tmp_path}/{value('StateDirectory')}")
            base_url = line.split(" ready on ")[1].split()[0]
            assert httpx2.get(f"{base_url}/readyz").status_code == 200
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(float(value("TimeoutStopSec"))) == 0


def test_it_has_the_time_to_end_in_order(tmp_path: Path) -> None:
    assert int(value("TimeoutStopSec")) > seconds_to_end(serve_settings(example(), tmp_path))


def test_the_example_has_every_default_as_it_is() -> None:
    defaults = {setting.variable: setting.default for setting in SETTINGS}
    embedded = {k: v for k, v in example().items() if "CLICKHOUSE" not in k and "ACCOUNTS" not in k}
    assert embedded
    assert embedded == {name: defaults[name] for name in embedded}


def test_the_example_leads_to_clickhouse_and_postgresql(tmp_path: Path) -> None:
    settings = serve_settings(example(), tmp_path)
    assert settings.clickhouse is not None
    assert settings.clickhouse.secure
    assert settings.accounts is not None
    assert settings.clickhouse_password is not None
    assert settings.accounts_password is not None


def test_nothing_of_the_example_is_set_before_somebody_chooses(tmp_path: Path) -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert all(not line or line.startswith("#") for line in lines)
    assert serve_settings({}, tmp_path) == ServerSettings(
        **{s.name: s.read(s.default) for s in SETTINGS if s.default and "serve" in s.commands}
    )


@pytest.mark.parametrize("which", ["clickhouse", "accounts"])
def test_a_password_is_where_systemd_puts_it(which: str) -> None:
    credentials = dict(text.split(":") for text in values("LoadCredential"))
    file = example()[f"GENMETER_{which.upper()}_PASSWORD_FILE"]
    assert file == f"/run/credentials/{UNIT.name}/{which}-password"
    stored = credentials[f"{which}-password"]
    assert f"/etc/credstore/{stored}" in EXAMPLE.read_text(encoding="utf-8")


def example() -> dict[str, str]:
    """The settings that the example has, commented out as they are."""
    return variables(EXAMPLE.read_text(encoding="utf-8"))
