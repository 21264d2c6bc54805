"""Periodic work: it starts at once, comes again, survives failures and ends when told."""

import logging
import threading

import pytest

from genmeter.server.tasks import Task, Tasks

LONG_S = 3600.0
WAIT_S = 30.0


def test_a_task_runs_at_the_start_and_again() -> None:
    third = threading.Event()
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        if len(runs) >= 3:
            third.set()

    with Tasks([Task("work", 0.001, work)]):
        assert third.wait(WAIT_S)
    count = len(runs)
    assert count >= 3
    assert not [thread for thread in threading.enumerate() if thread.name == "task work"]
    assert len(runs) == count


def test_a_task_does_not_run_again_before_its_time() -> None:
    ran = threading.Event()
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        ran.set()

    with Tasks([Task("work", LONG_S, work)]):
        assert ran.wait(WAIT_S)
    assert runs == [1]  # and leaving did not wait for the hour


def test_a_failing_task_is_logged_and_runs_again(caplog: pytest.LogCaptureFixture) -> None:
    again = threading.Event()
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        if len(runs) <= 2:
            raise ValueError(f"failure {len(runs)}")
        again.set()

    with (
        caplog.at_level(logging.ERROR, "genmeter.server.tasks"),
        Tasks([Task("work", 0.001, work)]),
    ):
        assert again.wait(WAIT_S)
    errors = [record for record in caplog.records if record.name == "genmeter.server.tasks"]
    assert [record.levelname for record in errors] == ["ERROR", "ERROR"]
    for number, record in enumerate(errors, 1):
        assert vars(record)["task"] == "work"
        assert record.exc_info is not None
        assert str(record.exc_info[1]) == f"failure {number}"


def test_each_task_has_a_thread_of_its_own() -> None:
    names: dict[str, str] = {}
    together = threading.Barrier(3)

    def work(name: str) -> None:
        together.wait(WAIT_S)  # broken unless all run at the same time
        names[name] = threading.current_thread().name

    with Tasks([Task("a", LONG_S, lambda: work("a")), Task("b", LONG_S, lambda: work("b"))]):
        together.wait(WAIT_S)
    assert names == {"a": "task a", "b": "task b"}


def test_leaving_waits_for_what_runs() -> None:
    started, leaving, release = threading.Event(), threading.Event(), threading.Event()
    order: list[str] = []

    def work() -> None:
        started.set()
        release.wait(WAIT_S)
        order.append("work ended")

    def use() -> None:
        with Tasks([Task("work", 0.0, work)]):
            started.wait(WAIT_S)
            leaving.set()
        order.append("left")

    using = threading.Thread(target=use)
    using.start()
    assert leaving.wait(WAIT_S)
    using.join(0.05)  # it would be gone by now if it did not wait
    assert using.is_alive()
    assert order == []
    release.set()
    using.join(WAIT_S)
    assert order[-1] == "left"
    assert order.count("work ended") >= 1


def test_no_tasks_are_fine() -> None:
    before = threading.active_count()
    with Tasks([]):
        assert threading.active_count() == before
