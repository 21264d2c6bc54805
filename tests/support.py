"""What tests share: a service on a real port with a clock that tests set, and its clients."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NoReturn

import httpx2
import pytest
import uvicorn

from genmeter.clock import DAY_MS, day_start_ms, iso
from genmeter.config.load import ServerSettings
from genmeter.server import run
from genmeter.server.service import Service

TODAY: Final = "2026-02-13"
NOON_MS: Final = day_start_ms(TODAY) + DAY_MS // 2
"""What the clock of the shared service shows unless a test sets it."""

_numbers = itertools.count(1)


class Clock:
    """A clock that stands where it was set."""

    def __init__(self, ms: int = NOON_MS) -> None:
        self.ms = ms

    def __call__(self) -> int:
        """The time, in milliseconds since 1970."""
        return self.ms


def settings(data: Path, **changes: Any) -> ServerSettings:
    """Settings of a service for tests, on a free port."""
    values: dict[str, Any] = {
        "host": "127.0.0.1",
        "port": 0,
        "data": data,
        "retention_days": 92,
        "queue_rows": 100_000,
        "readers": 4,
        "query_days": 400,
        "query_groups": 10_000,
        "query_seconds": 30,
        "engine_memory_mb": 1500,
        "engine_threads": 2,
        "stall_seconds": 60,
        "spool_mb": 4096,
        "request_records": 50_000,
        "body_seconds": 20,
        "head_seconds": 20,
        "idle_seconds": 75,
        "trusted_proxies": ("127.0.0.1/32", "::1/128"),
        "connections": 1_000,
        "connections_per_address": 250,
        "failed_tokens": 0,
        "token_posts": 0,
        "account_posts": 0,
        "token_records": 0,
        "account_records": 0,
        "token_queries": 0,
        "account_queries": 0,
        "account_queries_at_once": 32,
        "account_streams": 64,
        "log_level": "warning",
    }
    return ServerSettings(**(values | changes))


class Client:
    """Somebody with a token who talks to a server."""

    def __init__(self, base_url: str, token: str | None, account: str = "") -> None:
        self.base_url = base_url
        self.token = token
        self.account = account
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self.http = httpx2.Client(base_url=base_url, headers=headers, timeout=60)

    def ask(self, params: Any = None, **more: Any) -> httpx2.Response:
        """GET the statistics."""
        return self.http.get("/v2/account/stats", params=params or more)

    def stats(self, **params: Any) -> dict[str, Any]:
        """The answer to a question that has one."""
        response = self.ask(params)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def send(self, content: Any, **headers: str) -> httpx2.Response:
        """POST bytes or anything JSON can carry."""
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.http.post(
            "/v2/account/stats",
            content=body,
            headers={"Content-Type": "application/json"} | named,
        )

    def record(self, *records: Mapping[str, Any]) -> None:
        """POST records that must all be taken."""
        response = self.send(list(records))
        assert response.status_code == 200, response.text
        assert response.json()["accepted"] == len(records), response.text


class Running:
    """A service on a real port."""

    def __init__(self, service: Service, base_url: str, clock: Clock) -> None:
        self.service = service
        self.base_url = base_url
        self.clock = clock
        self._clients: list[Client] = []

    def client(self, scopes: Sequence[str] = ("read", "write"), account: str = "") -> Client:
        """Somebody with a new token, of an account of their own unless one is named."""
        account = account or f"account{next(_numbers)}"
        token, _ = self.service.accounts.create(account, scopes, now_ms=self.clock())
        return self.holder(token, account)

    def holder(self, token: str | None, account: str = "") -> Client:
        """Somebody who holds ``token``, or none."""
        client = Client(self.base_url, token, account)
        self._clients.append(client)
        return client

    def forget_clients(self) -> None:
        """Close the connections of all clients so far."""
        while self._clients:
            self._clients.pop().http.close()


@contextmanager
def running(data: Path, *, clock: Clock | None = None, **changes: Any) -> Iterator[Running]:
    """A service of this process, its server on a thread, its clock standing still.

    The engine has one folder a process at a time, so only one may be running.
    """
    clock = clock or Clock()
    chosen = settings(data, **changes)
    with run.listen(chosen.host, chosen.port) as listening, Service(chosen, clock) as service:
        web = uvicorn.Server(run.configure(service))
        thread = threading.Thread(target=web.run, kwargs={"sockets": [listening]})
        thread.start()
        current = Running(service, run.address(listening), clock)
        try:
            yield current
        finally:
            current.forget_clients()
            web.should_exit = True
            thread.join()


class Process:
    """``genmeter serve`` as a process of its own, with flags and variables of the environment."""

    def __init__(
        self, data: Path, *flags: str, port: int = 0, variables: Mapping[str, str] | None = None
    ) -> None:
        self.data = data
        self._errors = (data.parent / f"{data.name}-{next(_numbers)}.log").open("w+")
        command = [sys.executable, "-m", "genmeter", "serve", "--data", str(data)]
        self.process = subprocess.Popen(
            [*command, "--port", str(port), *flags],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment(**(variables or {})),
        )
        assert self.process.stdout is not None
        self.ready_line = self.process.stdout.readline()
        if "ready on" not in self.ready_line:
            self.kill()
            raise AssertionError(self.log())
        self.base_url = self.ready_line.split(" ready on ")[1].split()[0]

    def __enter__(self) -> "Process":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.stop()
        self._close()

    def stop(self) -> int:
        """End it as an operator would; returns the exit code."""
        self.process.terminate()
        return self.process.wait(60)

    def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        self.process.wait(60)
        self._close()

    def log(self) -> str:
        """All that it logged so far."""
        return Path(self._errors.name).read_text(encoding="utf-8")

    def _close(self) -> None:
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._errors.close()

    def resident_mb(self, what: str = "VmRSS") -> float:
        """Memory it holds, or held at the most (``VmHWM``), in MB."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(what + ":"))
        return int(line.split()[1]) / 1024


def environment(**more: str) -> dict[str, str]:
    """This process's environment without settings of genmeter."""
    plain = {key: value for key, value in os.environ.items() if not key.startswith("GENMETER_")}
    return plain | more


def genmeter(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "genmeter", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment(**more),
        check=False,
    )


def new_token(data: Path, account: str, scope: str = "read,write") -> str:
    """A token made on the command line."""
    made = genmeter("token", "create", "--account", account, "--scope", scope, "--data", str(data))
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def program(name: str) -> str:
    """The path of a program that a test talks through; see :func:`missing` where it is not."""
    # Servers are where only the administrator's PATH looks.
    places = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
    return shutil.which(name, path=places) or missing(name)


def missing(name: str) -> NoReturn:
    """Skip the test at home; in CI, where tests/install-system.sh installs things, fail it."""
    if os.environ.get("CI"):
        pytest.fail(f"{name} is not installed, and this is CI")
    pytest.skip(f"{name} is not installed")


def job(ms: int = NOON_MS, **fields: Any) -> dict[str, Any]:
    """A record of google-flow at a moment, with changes."""
    number = next(_numbers)
    return {
        "bot": "google-flow",
        "timestamp": iso(ms),
        "jobid": f"job-{number:06d}",
        "config": "ops@example.com",
        "endpoint": "post-images",
        "code": 200,
        "msec": 1000,
    } | fields
