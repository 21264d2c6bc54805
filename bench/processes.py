"""Other processes: functions that run in one of their own, and servers."""

import contextlib
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

ROOT = Path(__file__).resolve().parent.parent
_START_S = 120.0
_STOP_S = 60.0


class ProcessError(Exception):
    """A process that did not do what it should, in one line."""


def aside(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """The result of ``function`` run by a new process, which has ended when this returns.

    The engine keeps threads and memory for as long as its process lives, and a load must not
    share an interpreter with anything; so neither runs in the process that measures.
    """
    spawning = multiprocessing.get_context("spawn")
    receiving, sending = spawning.Pipe(duplex=False)
    process = spawning.Process(target=_call, args=(sending, function, args, kwargs))
    process.start()
    sending.close()
    try:
        result: T = receiving.recv()
    except EOFError as error:
        raise ProcessError(f"{function.__name__} failed in its process; see above") from error
    except BaseException:
        process.terminate()
        raise
    finally:
        process.join()
    return result


def _call(
    sending: Connection,
    function: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then ends us
    try:
        sending.send(function(*args, **kwargs))
    except Exception:
        traceback.print_exc()


class Server:
    """A running server: its port on 127.0.0.1, its process, and its seconds until it was ready."""

    def __init__(self, process: "subprocess.Popen[str]", port: int, ready_s: float) -> None:
        self.port = port
        self.ready_s = ready_s
        self._process = process

    def cpu_s(self) -> float:
        """Seconds of processor time it has used so far."""
        return cpu_s(self._process.pid)

    def memory_mb(self, what: str) -> float:
        """Resident memory in MB (10^6 bytes): ``VmRSS`` now, or ``VmHWM`` at most so far."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == what:
                return int(value.split()[0]) * 1024 / 1e6
        raise ProcessError(f"the system does not tell {what}")

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None


@contextlib.contextmanager
def genmeter(data: Path, log: Path, variables: Mapping[str, str] | None = None) -> Iterator[Server]:
    """``genmeter serve`` over a data folder, on a free port; its log goes to a file."""
    command = [sys.executable, "-m", "genmeter", "serve", "--data", str(data), "--port", "0"]
    started = time.perf_counter()
    with _running(command, variables or {}, log) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        ready_s = time.perf_counter() - started
        address = next((word for word in line.split() if word.startswith("http://")), None)
        if address is None:
            raise ProcessError(f"genmeter serve did not start; its log is {log}")
        yield Server(process, int(address.rpartition(":")[2]), ready_s)


@contextlib.contextmanager
def baseline(url: str, log: Path) -> Iterator[Server]:
    """The peer under uvicorn, one worker, over the database at ``url``."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", "--factory", "bench.baseline:create_app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--loop", "uvloop"]
    command += ["--http", "httptools", "--workers", "1", "--no-access-log"]
    started = time.perf_counter()
    with _running(command, {"BENCH_DATABASE": url}, log) as process:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError as error:
                if process.poll() is not None or time.perf_counter() - started > _START_S:
                    raise ProcessError(f"the baseline did not start; its log is {log}") from error
                time.sleep(0.02)
        yield Server(process, port, time.perf_counter() - started)


def token(data: Path, account: str, scopes: str, variables: Mapping[str, str] | None = None) -> str:
    """A new token in a data folder, or where ``variables`` say, made by the command for it."""
    command = [sys.executable, "-m", "genmeter", "token", "create", "--data", str(data)]
    command += ["--account", account, "--scope", scopes]
    made = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT,
        env={**os.environ, **(variables or {})},
    )  # fmt: skip
    if made.returncode:
        raise ProcessError(f"genmeter token create failed: {made.stderr.strip()}")
    return made.stdout.strip()


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used so far, with those it has started."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(cpu_s(int(child)) for child in children)


@contextlib.contextmanager
def _running(
    command: Sequence[str], environment: Mapping[str, str], log: Path
) -> Iterator["subprocess.Popen[str]"]:
    with log.open("ab") as errors:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C is for us; we stop it in our own order
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()
