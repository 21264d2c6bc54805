"""The package as others install it: built, put into empty environments, used from there.

The environments have neither node nor a compiler on their path. On each later Python that is found,
the light client is imported and the tests of pure modules run.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import environment

ROOT = Path(__file__).parent.parent
UV = Path(sys.executable).parent / "uv"
LATER = ("3.12", "3.13")
PURE = (
    "tests/model/test_bots.py", "tests/test_clock.py", "tests/query/test_metrics.py",
    "tests/query/test_parameters.py", "tests/query/test_buckets.py", "tests/query/test_stats.py",
    "tests/ingest/test_decode.py", "tests/storage/sql/test_stats.py",
    "tests/execution/test_summary.py",
)  # fmt: skip


def run(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """A command to its end, with nothing on its path but what every system has."""
    plain = environment(PATH=os.defpath) | variables
    done = subprocess.run(
        list(map(str, words)), cwd="/", capture_output=True, text=True, timeout=250, env=plain,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


def found(version: str) -> str | None:
    """An interpreter of a version that runs: on the path, or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    on_path = shutil.which(f"python{version}")
    for python in (on_path, *map(str, sorted(pyenv.glob(f"{version}*/bin/python{version}")))):
        if (
            python
            and subprocess.run([python, "-V"], capture_output=True, check=False).returncode == 0
        ):
            return python
    return None


def constraints(folder: Path) -> Path:
    """The versions of the lock file, without hashes: what is installed is what is tested."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line.rstrip(" \\") for line in lines if line[:1].isalnum()]
    file = folder / "constraints.txt"
    file.write_text("\n".join(pins), encoding="utf-8")
    return file


def installed(folder: Path, python: str, *what: str) -> Path:
    """A new environment with packages in it; returns its folder of programs."""
    run(UV, "venv", "--quiet", "--python", python, folder)
    binaries = folder / "bin"
    run(UV, "pip", "install", "--quiet", "--only-binary", ":all:", "--python", binaries / "python",
        "-c", constraints(folder), *what)  # fmt: skip
    return binaries


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from the sources of an sdist."""
    folder = tmp_path_factory.mktemp("dist")
    program = Path(sys.executable)
    built = subprocess.run(
        [program, "-m", "hatchling", "build", "-d", folder], cwd=ROOT, check=True, text=True,
        capture_output=True,
    )  # fmt: skip
    assert len(list(folder.glob("*.tar.gz"))) == 1, built.stdout
    (found,) = folder.glob("*.whl")
    return found


def test_the_light_client_needs_nothing_of_the_server(wheel: Path, tmp_path: Path) -> None:
    binaries = installed(tmp_path / "light", sys.executable, str(wheel))
    listed = run(UV, "pip", "list", "--python", binaries / "python").stdout
    for heavy in ("chdb", "starlette", "sqlalchemy", "pyarrow", "uvicorn"):
        assert heavy not in listed
    code = "from genmeter.client import *; Client('http://127.0.0.1:1', 'user:a').close()"
    code += "; from genmeter.recorder import *; Recorder('http://127.0.0.1:1', 'user:a').close()"
    run(binaries / "python", "-W", "error", "-c", code)
    assert "--group-by" in run(binaries / "genmeter", "query", "--help").stdout
    assert "--follow" in run(binaries / "genmeter", "ship", "--help").stdout
    refused = subprocess.run(
        [binaries / "genmeter", "serve"], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 1
    assert "pip install 'genmeter[server]'" in refused.stderr


def test_the_demo_runs_from_the_wheel(wheel: Path, tmp_path: Path) -> None:
    binaries = installed(tmp_path / "server", sys.executable, f"{wheel}[server]")
    words = ["demo", "--records", "1000", "--port", "0", "--data", str(tmp_path / "data")]
    with subprocess.Popen(
        [binaries / "genmeter", *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        env=environment(PATH=os.defpath),
    ) as demo:  # fmt: skip
        assert demo.stdout is not None
        try:
            lines = iter(demo.stdout.readline, "")
            assert any("ready on http://127.0.0.1:" in line for line in lines)
        finally:
            demo.terminate()
        assert demo.wait(60) == 0


@pytest.mark.parametrize("version", LATER)
def test_a_later_python_imports_it_and_passes_the_pure_tests(
    wheel: Path, tmp_path: Path, version: str
) -> None:
    python = found(version)
    if python is None:
        pytest.skip(f"Python {version} is not installed")
    tools = ("pytest", "pytest-timeout", "hypothesis", "httpx2")
    binaries = installed(tmp_path / version, python, str(wheel), *tools)
    run(
        binaries / "python", "-m", "pytest", "-q", "--noconftest", "-p", "no:cacheprovider",
        "--rootdir", ROOT, "-c", ROOT / "pyproject.toml", *(ROOT / name for name in PURE),
        PYTHONPATH=str(ROOT), HYPOTHESIS_STORAGE_DIRECTORY=str(tmp_path / "hypothesis"),
    )  # fmt: skip
