"""A server as a process that tests start, stop, kill and hold still."""

import contextlib
import os
import random
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO, Self

HOST = "127.0.0.1"
_PATIENCE_S = 60.0


def free_port() -> int:
    """A port that nothing listens on.

    It is below those that the kernel gives to connections (32768 and up), so that it is still free
    when a server is started on it again.
    """
    while True:
        port = random.randrange(10_000, 32_000)
        with socket.socket() as listening, contextlib.suppress(OSError):
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind((HOST, port))
            return port


class ServerProcess(ABC):
    """A server and its folder; stopped or killed, it can be started again on the same data.

    The process ends with the thread that started it (``setpriv --pdeathsig``), so start it from
    the main thread: then it outlives no test run, however that ends.
    """

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None

    @abstractmethod
    def command(self) -> Sequence[str | Path]:
        """The program and its arguments."""

    @abstractmethod
    def answers(self) -> bool:
        """Whether it is ready for work."""

    @property
    def pid(self) -> int:
        """The id of the process, which must have been started."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and not ended, by us or by itself."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start it and do not wait."""
        assert self._process is None, f"{self.name} is running"
        with self._output("ab") as output:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", *self.command()],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,  # an interrupt from the keyboard is for the tests alone
            )

    def wait(self) -> None:
        """Wait until it answers; AssertionError with its output where it does not."""
        assert self._process is not None, f"{self.name} was not started"
        give_up = time.monotonic() + _PATIENCE_S
        while not self.answers():
            ended = self._process.poll()
            assert ended is None, f"{self.name} ended with {ended}:\n{self.output()}"
            assert time.monotonic() < give_up, f"{self.name} does not answer:\n{self.output()}"
            time.sleep(0.05)

    def start(self) -> None:
        """Start it and wait until it answers."""
        self.launch()
        self.wait()

    def stop(self) -> None:
        """End it as an operator would; nothing happens where it does not run."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a crash would; nothing happens where it does not run."""
        self._end(signal.SIGKILL)

    def pause(self) -> None:
        """Hold it still: connections stay open and nothing is answered."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after :meth:`pause`."""
        os.kill(self.pid, signal.SIGCONT)

    def mend(self) -> None:
        """Whatever was done to it, it runs afterwards and answers."""
        if self.running:
            self.resume()
            self.wait()
        else:
            self.kill()
            self.start()

    def output(self) -> str:
        """The last of what it wrote to its standard output and error."""
        with self._output("rb") as output:
            return output.read()[-4000:].decode(errors="replace")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        if self.running:
            self._process.send_signal(how)
            self._process.send_signal(signal.SIGCONT)  # one that is held still ends too
            self._process.wait(_PATIENCE_S)
        self._process = None

    def _output(self, mode: str) -> IO[bytes]:
        return (self.folder / "output.log").open(mode)


def start_all(servers: Iterable[ServerProcess]) -> None:
    """Start servers beside one another and wait until all answer."""
    servers = list(servers)
    for server in servers:
        server.launch()
    for server in servers:
        server.wait()
