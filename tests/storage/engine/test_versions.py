"""Versions of records: strictly increasing over threads, connections and processes (R6)."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from tests.databases import Database

NOW = 1_770_978_600_000


def test_r6_a_version_is_of_the_clock_and_higher_than_all_before(database: Database) -> None:
    with closing(database.open()) as accounts:
        assert accounts.next_version(NOW) == NOW * 1000
        for clock in (NOW, NOW - 1, 0, -5):
            assert accounts.next_version(clock) > NOW * 1000
        assert accounts.next_version(0) == NOW * 1000 + 5
        assert accounts.next_version(NOW + 1) == (NOW + 1) * 1000
    with closing(database.open()) as later:
        assert later.next_version(NOW - 5) == (NOW + 1) * 1000 + 1


def test_r6_records_that_are_brought_in_raise_the_version(database: Database) -> None:
    with closing(database.open()) as accounts, closing(database.open()) as other:
        accounts.raise_version(NOW * 1000 + 7)
        assert other.next_version(NOW) == NOW * 1000 + 8
        other.raise_version(5)
        other.raise_version(NOW * 1000 + 8)
        assert accounts.next_version(NOW) == NOW * 1000 + 9
        accounts.raise_version(2**62)
        assert other.next_version(NOW) == 2**62 + 1


def test_r6_one_who_begins_after_another_has_its_version_gets_a_higher_one(
    database: Database,
) -> None:
    """Eight threads over two sets of connections, their clocks up to a minute apart."""
    highest, lock = 0, threading.Lock()
    with closing(database.open()) as one, closing(database.open()) as two:

        def take(number: int) -> list[int]:
            nonlocal highest
            taken = []
            for turn in range(25):
                with lock:
                    before = highest
                version = (one, two)[number % 2].next_version(NOW + number * 7_500 + turn)
                assert version > before
                with lock:
                    highest = max(highest, version)
                taken.append(version)
            return taken

        with ThreadPoolExecutor(8) as pool:
            taken = [version for versions in pool.map(take, range(8)) for version in versions]
    assert len(set(taken)) == len(taken) == 200


def test_r6_processes_take_versions_beside_each_other(database: Database) -> None:
    """Two that also make the tables, whoever comes first."""
    command = [sys.executable, "-m", "tests.databases", "200"]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=database.settings())
        for _ in range(2)
    ]
    taken = []
    for process in running:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        versions = [int(line) for line in output.split()]
        assert versions == sorted(versions)
        taken += versions
    assert sorted(taken) == list(range(1, 401))
