"""Runs the application on a socket until it is told to stop."""

import asyncio
import contextlib
import gc
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Final

import uvicorn

from genmeter.config.load import ServerSettings
from genmeter.errors import StartError
from genmeter.server.app import create_app
from genmeter.server.connections import ConnectionLimits, Connections
from genmeter.server.protocol import protocol_class
from genmeter.server.service import Service

SWITCH_S: Final = 0.001
"""How long a thread may keep others from running Python, in seconds. A small query changes threads
some times, and waits that long each time while a heavy one computes; by itself it is 5 ms."""

DRAIN_S: Final = 30
"""How long requests under way may take to end after the service was told to stop, in seconds."""


class _Server(uvicorn.Server):
    """Leaves signals to us: uvicorn raises them again at its end, and the exit code is not 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; StartError in one line where the address cannot be had."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, proto)
    except OSError as error:
        raise StartError(f"cannot listen on {host}: {error.strerror or error}") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise StartError(
            f"cannot listen on {host}, port {port}: {error.strerror}; "
            "stop what uses it, or name another with --port"
        ) from error
    return listening


def address(listening: socket.socket) -> str:
    """The base URL that reaches a listening socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def configure(service: Service) -> uvicorn.Config:
    """How the web server runs an opened service."""
    settings = service.settings
    limits = ConnectionLimits(
        most=settings.connections,
        per_address=settings.connections_per_address,
        proxies=settings.trusted_proxies,
        head_seconds=settings.head_seconds,
        stall_seconds=settings.stall_seconds,
    )
    return uvicorn.Config(
        create_app(service),
        http=protocol_class(Connections(limits)),
        ws="none",  # its protocol would take the connection over, and the limits with it
        access_log=False,
        log_config=None,
        server_header=False,
        forwarded_allow_ips=list(settings.trusted_proxies),
        lifespan="off",  # the service opens and closes its parts
        timeout_graceful_shutdown=DRAIN_S,
        timeout_keep_alive=settings.idle_seconds,
    )


def allow_files() -> None:
    """Let the process open as many files as it may, for connections and the engine's tables.

    The usual soft limit of 1,024 protects programs that use ``select``; this one does not.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):  # macOS has a lower limit than it says
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run(
    settings: ServerSettings, ready: Callable[[Service, str, Callable[[], None]], None]
) -> None:
    """Serve until SIGTERM or Ctrl-C, then finish requests, store queued records, and close.

    ``ready(service, address, stop)`` is called once the service answers, on a thread of its own;
    ``stop`` ends the service. Raises StartError where it cannot run as set.
    """
    allow_files()
    sys.setswitchinterval(SWITCH_S)
    with listen(settings.host, settings.port) as listening, Service(settings) as service:
        config = configure(service)
        server = _Server(config)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            runner.run(_serve(server, listening, service, ready))


async def _serve(
    server: _Server,
    listening: socket.socket,
    service: Service,
    ready: Callable[[Service, str, Callable[[], None]], None],
) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        server.force_exit = server.should_exit  # the second time is in earnest
        server.should_exit = True
        service.feed.close()  # else they would go on until they are cut off

    def stop_soon() -> None:
        loop.call_soon_threadsafe(stop)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    # uvicorn has no event to wait for
    while not server.started and not serving.done():  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    if server.started:
        # What has been loaded by now stays. A full collection would look at all of it each time,
        # and nothing is answered meanwhile: 150 ms without this, 10 ms with it.
        gc.collect()
        gc.freeze()
        await asyncio.to_thread(ready, service, address(listening), stop_soon)
    await serving
