"""``genmeter demo``: the service with lifelike sample traffic in it."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any, Final

import click
import httpx2

from genmeter.cli.options import settings_of
from genmeter.clock import now_ms, utc_date
from genmeter.config.load import load, server_settings
from genmeter.sample_traffic import traffic
from genmeter.server import logs
from genmeter.server import run as server
from genmeter.server.service import Service

_ACCOUNT: Final = "demo"
_POST_RECORDS: Final = 4_000
_POSTS_AT_A_TIME: Final = 3
_MINUTE_MS: Final = 60_000


@click.command(short_help="Run the service with sample traffic in it.")
@settings_of("demo")
def command(**flags: str | None) -> None:
    """Run the service with sample traffic of all eleven bots, and print how to ask it.

    The same seed makes the same traffic, up to the minute it is started in. It comes in over
    POST like any other record. A folder that already holds records is served as it is.
    """
    values = load("demo", flags)
    settings = server_settings(values)
    logs.set_up(settings.log_level)

    def ready(service: Service, address: str, stop: Callable[[], None]) -> None:
        token, _ = service.accounts.create(
            _ACCOUNT, ("read", "write"), now_ms=now_ms(), name="made by the demo"
        )
        there = service.store.count()
        try:
            if there:
                click.echo(f"{settings.data} holds {there:,} records already; none are added")
            else:
                _load(address, token, values)
        except httpx2.HTTPError as error:
            click.echo(f"genmeter: the sample traffic was not loaded: {error}", err=True)
            stop()
            return
        today = utc_date(now_ms())
        question = f"{address}/v2/account/stats?bot=google-flow"
        click.echo(
            f"\ngenmeter is ready on {address}\n\n"
            f"  look      {address}/#token={token}\n"
            f"  token     {token}\n"
            f"  routes    {address}/docs\n"
            f"  today     curl -H 'Authorization: Bearer {token}' '{question}&date={today}'\n"
            f"  last 3    curl -H 'Authorization: Bearer {token}' '{question}&limit=3'\n\n"
            "Ctrl-C ends it."
        )

    server.run(settings, ready)


def _load(address: str, token: str, values: dict[str, Any]) -> None:
    """Send the traffic over HTTP, a few posts at a time, and show how far it is."""
    lines = traffic(
        accounts=(_ACCOUNT,),
        records=values["records"],
        days=values["days"],
        end_ms=now_ms() // _MINUTE_MS * _MINUTE_MS,
        seed=values["seed"],
    )
    with (
        httpx2.Client(
            base_url=address,
            timeout=60,
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/x-ndjson",
            },
        ) as client,
        ThreadPoolExecutor(_POSTS_AT_A_TIME) as pool,
        click.progressbar(length=values["records"], label="sample traffic") as bar,
    ):

        def post(chunk: list[bytes]) -> int:
            response = client.post("/v2/account/stats", content=b"\n".join(chunk))
            response.raise_for_status()
            accepted = response.json()["accepted"]
            if accepted != len(chunk):
                raise httpx2.HTTPError(f"{len(chunk) - accepted} records were rejected")
            return len(chunk)

        for done in _in_turn(post, _chunks(lines, _POST_RECORDS), pool):
            bar.update(done)


def _chunks(lines: Iterable[bytes], size: int) -> Iterator[list[bytes]]:
    lines = iter(lines)
    while chunk := list(itertools.islice(lines, size)):
        yield chunk


def _in_turn(
    function: Callable[[list[bytes]], int], chunks: Iterator[list[bytes]], pool: ThreadPoolExecutor
) -> Iterator[int]:
    """Results as they come, only as many chunks in hand as the pool has threads."""
    running: set[Future[int]] = set()
    for chunk in chunks:
        running.add(pool.submit(function, chunk))
        if len(running) >= _POSTS_AT_A_TIME:
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
    yield from (future.result() for future in running)
