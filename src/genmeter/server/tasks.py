"""Periodic work as a table: what, how often, which function."""

import logging
import threading
from collections.abc import Callable, Sequence

import msgspec

log = logging.getLogger(__name__)


class Task(msgspec.Struct, frozen=True):
    """Work to be done when the service starts and every ``seconds`` after."""

    name: str
    seconds: float
    function: Callable[[], object]


class Tasks:
    """Runs each task on a thread of its own; one that fails is logged and tried again next time.

    Use as a context manager; leaving it waits for what runs.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(task,), name=f"task {task.name}")
            for task in tasks
        ]

    def __enter__(self) -> "Tasks":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, task: Task) -> None:
        while True:
            try:
                task.function()
            except Exception:
                log.exception("a periodic task failed", extra={"task": task.name})
            if self._stop.wait(task.seconds):
                return
