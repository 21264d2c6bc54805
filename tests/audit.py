"""``make audit``: known vulnerabilities of what ``requirements.lock`` pins, and a list of it.

It fails where a vulnerability is known. What cannot be had, such as the service that knows them
without a network, is left out with a line that says so.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
LOCK: Final = ROOT / "requirements.lock"
BILL: Final = Path("dist/sbom.json")
PATIENCE_S: Final = 300


def main() -> int:
    """Do both; the exit code is 1 where something is wrong."""
    return max(vulnerabilities(), bill_of_materials(BILL))


def vulnerabilities() -> int:
    """Print what is known of each pinned package."""
    found = run("pip_audit", "--disable-pip", "--require-hashes", "--requirement", str(LOCK),
                "--format", "json", "--progress-spinner", "off")  # fmt: skip
    if found is None or not found.stdout.strip():
        why = (
            (found.stderr.strip().splitlines() or ["no reason given"])[-1] if found else "too slow"
        )
        print(f"vulnerabilities: skipped, the service that knows them cannot be reached: {why}")
        return 0
    code, text = judged(json.loads(found.stdout))
    print(text)
    return code


def judged(report: dict[str, Any]) -> tuple[int, str]:
    """The exit code for a report of pip-audit, and what to print."""
    looked_at = [one for one in report["dependencies"] if "skip_reason" not in one]
    unknown = len(report["dependencies"]) - len(looked_at)
    known = [
        f"  {one['name']} {one['version']}: {fault['id']}, "
        f"fixed in {', '.join(fault['fix_versions']) or 'no version yet'}"
        for one in looked_at
        for fault in one["vulns"]
    ]
    if known:
        return 1, "\n".join([f"vulnerabilities: {len(known)} known", *known])
    if not looked_at:
        return 0, f"vulnerabilities: skipped, the service knows none of the {unknown} packages"
    left_out = f"; {unknown} packages could not be looked up" if unknown else ""
    return 0, f"vulnerabilities: none known in {len(looked_at)} packages{left_out}"


def bill_of_materials(target: Path) -> int:
    """Write a CycloneDX bill of all pinned packages."""
    target.parent.mkdir(exist_ok=True)
    written = run("cyclonedx_py", "requirements", str(LOCK), "--output-reproducible",
                  "--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "application",
                  "--of", "JSON", "--output-file", str(target))  # fmt: skip
    if written is None or written.returncode:
        print(f"bill of materials: failed\n{written.stderr if written else ''}")
        return 1
    parts = len(json.loads(target.read_text(encoding="utf-8"))["components"])
    print(f"bill of materials: {parts} packages in {target}")
    return 0


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str] | None:
    """The end of a module's command; None where it takes too long."""
    try:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None


if __name__ == "__main__":
    raise SystemExit(main())
