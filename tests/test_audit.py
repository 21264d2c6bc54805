"""What ``make audit`` makes of reports, and the bill of materials that it writes."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests import audit

CLEAN: dict[str, Any] = {"name": "a", "version": "1", "vulns": []}
UNKNOWN: dict[str, Any] = {"name": "b", "skip_reason": "not found"}
FAULTY: dict[str, Any] = {
    "name": "c",
    "version": "2",
    "vulns": [{"id": "X-1", "fix_versions": ["3", "2.1"]}, {"id": "X-2", "fix_versions": []}],
}


@pytest.mark.parametrize(
    ("packages", "code", "text"),
    [
        ([CLEAN], 0, "vulnerabilities: none known in 1 packages"),
        (
            [CLEAN, UNKNOWN],
            0,
            "vulnerabilities: none known in 1 packages; 1 packages could not be looked up",
        ),
        (
            [UNKNOWN, UNKNOWN],
            0,
            "vulnerabilities: skipped, the service knows none of the 2 packages",
        ),
        (
            [CLEAN, FAULTY, UNKNOWN],
            1,
            "vulnerabilities: 2 known\n  c 2: X-1, fixed in 3, 2.1\n"
            "  c 2: X-2, fixed in no version yet",
        ),
    ],
)
def test_a_known_vulnerability_fails_and_missing_data_is_told(
    packages: list[dict[str, Any]], code: int, text: str
) -> None:
    assert audit.judged({"dependencies": packages}) == (code, text)


def test_the_bill_of_materials_has_every_pinned_package(tmp_path: Path) -> None:
    target = tmp_path / "new" / "sbom.json"
    assert audit.bill_of_materials(target) == 0
    bill = json.loads(target.read_text(encoding="utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    pinned = re.findall(r"^([\w.-]+)==(\S+)", audit.LOCK.read_text(encoding="utf-8"), re.MULTILINE)
    assert {(one["name"], one["version"]) for one in bill["components"]} >= set(pinned)
