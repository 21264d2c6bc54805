"""The Dockerfile without Docker: linted, its install steps run in a folder, its commands run."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.deploy.files import DEPLOY, ROOT, all_of, run, stages, tool
from tests.support import environment, program

DOCKERFILE = DEPLOY / "Dockerfile"
BUILD, FINAL = stages(DOCKERFILE)
INSTALLED = "/opt/genmeter"
DATA = "/var/lib/genmeter"


def exec_form(name: str) -> list[str]:
    """A command of the image that is run as it is, by no shell."""
    (found,) = all_of(name, FINAL)
    command: list[str] = json.loads(found[found.index("[") :])
    return command


def copied() -> list[str]:
    """What the build takes out of the repository."""
    return [source for rest in all_of("COPY", BUILD) for source in rest.split()[:-1]]


def test_hadolint_finds_nothing() -> None:
    run(tool("hadolint"), DOCKERFILE)


def test_the_build_sees_what_it_copies_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    first, *others = [line for line in lines if not line.startswith("#")]
    assert first == "*"
    seen = [line.removeprefix("!") for line in others if line.startswith("!")]
    assert sorted(seen) == sorted(copied())
    assert all((ROOT / name).exists() for name in seen)


def test_a_node_is_nobody_special_and_has_one_folder() -> None:
    (user,) = all_of("USER", FINAL)
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)  # numbers, and not root's
    owner, group = user.split(":")
    (made,) = all_of("RUN", FINAL)
    assert f"--owner {owner} --group {group} " in made
    assert made.endswith(f" {DATA}")
    assert all_of("VOLUME", FINAL) == [DATA]
    assert variables()["GENMETER_DATA"] == variables()["TMPDIR"] == DATA
    # Others reach a container at its own address.
    assert variables()["GENMETER_HOST"] == "0.0.0.0"


def variables() -> dict[str, str]:
    """The environment that the image gives its commands."""
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(all_of("ENV", FINAL))))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder that stands for the image's ``/opt/genmeter``, made by the steps of the build."""
    folder = tmp_path_factory.mktemp("image")
    source, target = folder / "src", folder / "genmeter"
    source.mkdir()
    run(sys.executable, "-m", "venv", folder / "python")
    with_python = environment(PATH=f"{folder}/python/bin:{os.environ['PATH']}")
    for name, rest in BUILD:
        if name == "COPY":
            for path in rest.split()[:-1]:
                _copy(ROOT / path, source / path)
        elif name == "RUN":
            step = re.sub(r"--mount=\S+ ", "", rest).replace(INSTALLED, str(target))
            run("sh", "-ec", step, cwd=source, env=with_python)
    yield target
    shutil.rmtree(folder)  # half a gigabyte


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def test_the_build_installs_the_server_as_locked_and_nothing_for_tests(installed: Path) -> None:
    pins = re.findall(r"^(\S+==\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    found = run(tool("uv"), "pip", "freeze", "--python", installed).stdout.splitlines()
    others = {line for line in found if not line.startswith(("Using ", "genmeter @ "))}
    assert others < set(pins)
    names = {line.partition("==")[0] for line in others}
    assert {"chdb-core-lite", "psycopg", "sqlalchemy", "uvicorn"} <= names
    assert not {"pip", "pytest", "uv"} & names


READ_ONLY = 'mount --bind "$1" "$1" && mount -o remount,bind,ro / && shift && exec "$@"'
"""Shell: make everything read-only but the folder ``$1``, and run the rest as a command."""


@pytest.mark.parametrize("read_only", [False, True], ids=["as it is", "read-only"])
def test_its_commands_serve_tell_how_it_is_and_end_in_order(
    installed: Path, tmp_path: Path, *, read_only: bool
) -> None:
    given = environment(
        PATH=f"{installed}/bin:{os.environ['PATH']}",
        TMPDIR=str(tmp_path),
        GENMETER_DATA=str(tmp_path),
        GENMETER_HOST="127.0.0.1",
        GENMETER_PORT="0",
    )
    given.pop("PYTHONPATH", None)
    command = exec_form("ENTRYPOINT") + exec_form("CMD")
    if read_only:
        if os.geteuid() != 0:
            pytest.skip("only root may make a file system read-only")
        confined = [program("unshare"), "--mount", "sh", "-ec", READ_ONLY, "sh", str(tmp_path)]
        command = [*confined, *command]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=given
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            base_url = line.split(" ready on ")[1].split()[0]
            assert httpx2.get(f"{base_url}/openapi.json").status_code == 200
            assert "/main.js" in httpx2.get(base_url + "/").text  # else it is not built
            assert told(base_url, given) == 0
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
    assert told(base_url, given) == 1


def told(base_url: str, given: dict[str, str]) -> int:
    """What the image's own check says of a server: 0 where it is well."""
    (port,) = all_of("EXPOSE", FINAL)
    check = [
        part.replace(f"http://127.0.0.1:{port}/", f"{base_url}/")
        for part in exec_form("HEALTHCHECK")
    ]
    assert any(base_url in part for part in check)
    return subprocess.run(check, env=given, stderr=subprocess.DEVNULL, check=False).returncode
