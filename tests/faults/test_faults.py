"""What a client was told is stored survives what happens to a server (R5, R6), each a short time.

For long, with other seeds: ``make torture``.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import scenarios
from tests.faults.shim import Shim, supported
from tests.faults.trial import Trial, told
from tests.support import missing

SECONDS = 0.4
"""How long each fault lasts, about."""

pytestmark = pytest.mark.skipif(not supported(), reason="needs Linux")


def check(trial: Trial, scenario: Callable[[Trial], None]) -> None:
    """Run a scenario; it must find nothing, and something must have been acknowledged."""
    scenario(trial)
    assert not trial.ledger.findings, told(trial.ledger.findings)
    assert trial.ledger.answers["200"]


@pytest.mark.parametrize(
    "scenario",
    [
        scenarios.killed,
        scenarios.stopped,
        scenarios.few_descriptors,
        scenarios.little_memory,
        scenarios.cut_connections,
    ],
)
def test_nothing_acknowledged_is_lost(tmp_path: Path, scenario: Callable[[Trial], None]) -> None:
    check(Trial(tmp_path, seed=1, seconds=SECONDS), scenario)


def test_clock_jumps(tmp_path: Path) -> None:
    if not any(path.exists() for path in scenarios.FAKETIME):
        missing("faketime")
    check(Trial(tmp_path, seed=1, seconds=SECONDS), scenarios.clock_jumps)


@pytest.mark.parametrize(
    "scenario",
    [
        scenarios.disk_full,
        scenarios.disk_read_only,
        scenarios.disk_fails,
        scenarios.nth_call_fails,
        scenarios.dies_at_nth_call,
    ],
)
def test_calls_on_files_fail(tmp_path: Path, scenario: Callable[[Trial], None]) -> None:
    shim = Shim(tmp_path / "data", tmp_path / "shim")
    check(Trial(tmp_path, seed=1, seconds=SECONDS, shim=shim), scenario)


def test_power_is_cut(tmp_path: Path) -> None:
    check(Trial(tmp_path, seed=1, seconds=SECONDS), scenarios.power_cut)
