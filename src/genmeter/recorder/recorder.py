"""The recorder: records of the jobs that a gateway runs, kept on disk until the server has them."""

import atexit
import itertools
import logging
import multiprocessing
import multiprocessing.util
import os
import secrets
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace, TracebackType
from typing import Any, Final, Self

import msgspec

from genmeter import clock
from genmeter.ingest import decode
from genmeter.recorder.dead_letters import DeadLetters
from genmeter.recorder.memory import Memory
from genmeter.recorder.sender import Sender, StoppedError, checked_url
from genmeter.recorder.spool import WHEN_FULL, Spool, WhenFull

log = logging.getLogger(__name__)

ADOPT_S: Final = 5.0
"""How often files of dead processes are looked for, in seconds."""

CLOSING_WAIT_S: Final = 0.5
"""Longest pause between attempts while a recorder is being closed, in seconds."""

BATCH_RECORDS: Final = 5000
"""Most records in a request; it has at most 1 MiB before compression as well."""

_encode: Final = msgspec.json.Encoder().encode


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the records of one process since its first.

    ``recorded`` were taken by :meth:`Recorder.record`. ``sent`` counts every posting of a record,
    retries too. ``acknowledged`` are stored by the server, ``rejected`` are dead letters.
    ``dropped`` are lost, by reason: ``full``, ``disk``, ``closed``, ``error``. ``waiting`` are not
    acknowledged yet, the oldest of them for at most ``oldest_s`` seconds. All but ``recorded`` and
    ``dropped`` include records of dead processes that this one took over.
    """

    recorded: int
    sent: int
    acknowledged: int
    rejected: int
    dropped: Mapping[str, int]
    waiting: int
    oldest_s: float


class Recorder:
    """Records jobs and sends them to the server at ``url`` in the background.

    With ``spool``, a folder, a record is in a file before :meth:`record` returns, and is sent by
    this or a later process, whatever crashes. Several processes may share the folder, if they have
    the same server and token. Without it records wait in memory and end with the process.

    ``max_mb`` bounds what waits; ``when_full`` is ``"drop_oldest"``, ``"drop_newest"`` or
    ``"block"``, which waits up to ``block_s`` seconds. ``fsync_s`` is how much a power cut may
    lose, ``flush_s`` how long a record waits for others to be sent with, ``exit_s`` how long the
    exit of the process may wait for the server, all in seconds.

    Raises ValueError where an argument cannot be used, OSError where the folder cannot.
    """

    def __init__(
        self,
        url: str,
        token: str,
        spool: str | os.PathLike[str] | None = None,
        *,
        max_mb: float = 1024,
        when_full: WhenFull = "drop_oldest",
        block_s: float = 1.0,
        fsync_s: float = 1.0,
        flush_s: float = 1.0,
        exit_s: float = 5.0,
    ) -> None:
        self._url = checked_url(url, token)
        self._token = token
        if when_full not in WHEN_FULL:
            raise ValueError(f"when_full must be one of {', '.join(WHEN_FULL)}, got {when_full!r}")
        for name, value in (("max_mb", max_mb), ("fsync_s", fsync_s), ("flush_s", flush_s)):
            if value <= 0:
                raise ValueError(f"{name} must be more than 0, got {value}")
        self._folder = None if spool is None else Path(spool).absolute()
        if self._folder:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._max_bytes = int(max_mb * 2**20)
        self._when_full: WhenFull = when_full
        self._block_s = block_s
        self._fsync_s = fsync_s
        self._flush_s = flush_s
        self._exit_s = exit_s
        self._closed = False
        self._renew()
        _recorders.add(self)
        atexit.register(self._close_at_exit)

    def record(self, **fields: Any) -> None:
        """Record a job, with the fields of ``POST /v2/account/stats``.

        Adds ``timestamp``, now, and a unique ``jobid`` where they are missing. Never raises: what
        the service would not store is kept as a dead letter, and what is lost is counted.
        """
        try:
            now_ms = time.time_ns() // 1_000_000
            if fields.get("timestamp") is None:
                fields["timestamp"] = now_ms
            if not fields.get("jobid"):
                fields["jobid"] = f"{self._jobids}-{next(self._numbers):x}"
            life = None if self._closed else self._life or self._begin()
            if life is None:
                if not self._drop("closed"):
                    log.error("a record is lost: the recorder is closed")
                return
            try:
                line = _encode(fields)
            except Exception as error:
                life.dead_letters.put(repr(fields).encode(errors="replace"), f"not JSON: {error}")
                return
            if reason := decode.fault(line, _admission(now_ms)):
                life.dead_letters.put(line, reason)
            else:
                life.append(line + b"\n")
        except Exception:
            if not self._drop("error"):
                log.exception("a record is lost")

    def job(self, **fields: Any) -> "Job":
        """Time a job and record it at the end of the ``with`` block."""
        return Job(self, fields)

    def stats(self) -> Stats:
        """What became of the records of this process so far."""
        life = self._life
        dropped = dict(self._dropped)
        if life is None:
            return Stats(
                recorded=0, sent=0, acknowledged=0, rejected=0, dropped=dropped, waiting=0,
                oldest_s=0.0,
            )  # fmt: skip
        return Stats(
            recorded=life.store.recorded,
            sent=life.sender.sent,
            acknowledged=life.acknowledged,
            rejected=life.dead_letters.count,
            dropped=dropped | life.store.dropped,
            waiting=life.store.waiting,
            oldest_s=life.store.oldest_s,
        )

    def close(self, timeout: float = 5.0) -> None:
        """Send what waits, for at most ``timeout`` seconds. What is in the spool stays there.

        Further records are dropped and counted.
        """
        self._close(timeout, patient=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _renew(self) -> None:
        """Start as a process without records."""
        self._lock = threading.RLock()  # a signal handler may record, too
        self._life: _Life | None = None
        self._dropped = dict.fromkeys(("closed", "error"), 0)
        self._jobids = secrets.token_hex(8)
        self._numbers = itertools.count()

    def _begin(self) -> "_Life | None":
        """Open this process's file and start its threads; None after :meth:`close`."""
        with self._lock:
            if self._closed:
                return None
            if self._life is None:
                store: Spool | Memory
                bounds: dict[str, Any] = {
                    "max_bytes": self._max_bytes,
                    "when_full": self._when_full,
                    "block_s": self._block_s,
                }
                store = Spool(self._folder, **bounds) if self._folder else Memory(**bounds)
                dead_letters = DeadLetters(self._folder, clock.now_ms)
                if multiprocessing.parent_process() is not None:
                    # Processes of multiprocessing leave without atexit.
                    multiprocessing.util.Finalize(None, self._close_at_exit, exitpriority=0)
                self._life = _Life(
                    self._url, self._token, store, dead_letters, self._fsync_s, self._flush_s
                )
            return self._life

    def _drop(self, reason: str) -> int:
        """Count a lost record; returns how many were lost before for this reason."""
        with self._lock:
            before = self._dropped[reason]
            self._dropped[reason] = before + 1
        return before

    def _close(self, timeout: float, *, patient: bool) -> None:
        with self._lock:
            self._closed = True
            life = self._life
        if life is not None:
            life.close(timeout, patient=patient)
        atexit.unregister(self._close_at_exit)

    def _close_at_exit(self) -> None:
        # The next process sends what is in the spool, so no exit waits for a server that is away.
        self._close(self._exit_s, patient=self._folder is None)

    def _forked(self) -> None:
        """In the child: leave the parent's file and threads alone, and begin anew when needed."""
        life = self._life
        self._renew()
        if life is not None:
            _left_to_parents.append(life)
            life.store.abandon()


class Job(SimpleNamespace):
    """A job that is running: set its fields as attributes.

    Without a ``code`` it is 200, or 0 where the block ends by an exception, which passes on.
    """

    def __init__(self, recorder: Recorder, fields: Mapping[str, Any]) -> None:
        super().__init__(**fields)
        self.__dict__["_recorder"] = recorder

    def __enter__(self) -> Self:
        self.__dict__["_start"] = time.perf_counter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        fields = dict(vars(self))
        recorder, start = fields.pop("_recorder"), fields.pop("_start")
        fields.setdefault("msec", round((time.perf_counter() - start) * 1000))
        fields.setdefault("code", 200 if kind is None else 0)
        recorder.record(**fields)


class _Life:
    """The part of a recorder that belongs to one process: its store and its threads."""

    def __init__(
        self,
        url: str,
        token: str,
        store: Spool | Memory,
        dead_letters: DeadLetters,
        fsync_s: float,
        flush_s: float,
    ) -> None:
        self.store = store
        self.dead_letters = dead_letters
        self.acknowledged = 0
        self._fsync_s = fsync_s
        self._flush_s = flush_s
        self._said = ""
        self._patient = True
        self._closing = threading.Event()
        self._stopped = threading.Event()
        self._sent = threading.Event()
        self.sender = Sender(url, token, dead_letters, wait=self._wait)
        self._unsent = 0
        self._full = threading.Event()
        for work in (self._send, self._tend):
            threading.Thread(target=work, name=f"genmeter-{work.__name__}", daemon=True).start()

    def append(self, line: bytes) -> None:
        """Keep a record, unless there is no room for it."""
        if self.store.append(line):
            self._unsent += 1
            if self._unsent == BATCH_RECORDS:
                self._full.set()

    def close(self, timeout: float, *, patient: bool) -> None:
        """Send what waits and end the threads, or leave that to them after ``timeout`` seconds.

        Retry where the server does not take it, if ``patient``.
        """
        self._patient = patient
        self._closing.set()
        self._full.set()
        self._sent.wait(timeout)
        self._stopped.set()
        if not self._sent.is_set() and not self.store.durable and self.store.waiting:
            log.error("%d records are lost: the server did not take them", self.store.waiting)

    def _wait(self, seconds: float) -> bool:
        """Pause between attempts; True where there is to be no other."""
        if self._closing.is_set():
            return not self._patient or self._stopped.wait(min(seconds, CLOSING_WAIT_S))
        self._closing.wait(seconds)
        return self._stopped.is_set()

    def _send(self) -> None:
        try:
            with self.sender:
                self._send_until_closed()
            self.store.tend()
            self.store.release()
        except Exception:
            log.exception("records are not sent any more; what is in the spool stays there")
        finally:
            self._sent.set()

    def _send_until_closed(self) -> None:
        adopt_at = time.monotonic()
        while True:
            closing = self._closing.is_set()
            try:
                if time.monotonic() >= adopt_at:
                    self.store.adopt()
                    adopt_at = time.monotonic() + ADOPT_S
                self._unsent = 0
                while not self._stopped.is_set() and (batch := self.store.read(BATCH_RECORDS)):
                    self.acknowledged += self.sender.deliver(batch.lines)
                    self.store.acknowledge(batch)
            except StoppedError:
                pass
            except Exception as error:
                if str(error) != self._said:  # it may last
                    log.exception("records wait")
                self._said = str(error)
            if closing:
                break
            self._full.wait(self._flush_s)
            self._full.clear()

    def _tend(self) -> None:
        while not self._closing.wait(self._fsync_s):
            self.store.tend()


def _admission(now_ms: int) -> decode.Admission:
    """The service's rules as far as they hold for every account, server and token."""
    return decode.Admission(account="", any_account=True, now_ms=now_ms, oldest_ms=0, bots=None)


_left_to_parents: Final[list[_Life]] = []
"""What processes before a fork use: kept, since closing their connections is not the child's."""

_recorders: Final[weakref.WeakSet[Recorder]] = weakref.WeakSet()


def _after_fork() -> None:
    for recorder in list(_recorders):
        recorder._forked()


os.register_at_fork(after_in_child=_after_fork)
