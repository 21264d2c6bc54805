"""``genmeter demo``: the service with lifelike sample traffic in it."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Final

import click
import httpx2
import msgspec

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


class _Sample(msgspec.Struct, frozen=True):
    """Arguments of ``traffic``: the same ones make the same records."""

    records: int
    days: float
    end_ms: int
    seed: int


@click.command(short_help="Run the service with sample traffic in it.")
@settings_of("demo")
def command(**flags: str | None) -> None:
    """Run the service with sample traffic of all eleven bots, and print how to ask it.

    The same seed makes the same traffic, up to the minute it is started in. It comes in over
    POST like any other record. A folder that already holds records is served as it is; if an
    earlier demo was interrupted while it loaded them, the rest is loaded first.
    """
    values = load("demo", flags)
    settings = server_settings(values)
    logs.set_up(settings.log_level)

    def ready(service: Service, address: str, stop: Callable[[], None]) -> None:
        token, _ = service.accounts.create(
            _ACCOUNT, ("read", "write"), now_ms=now_ms(), name="made by the demo"
        )
        loading = settings.data / "demo-loading.json"
        try:
            if (sample := _interrupted(loading)) is not None:
                click.echo("an earlier demo was interrupted; its sample traffic is completed")
                _load(address, token, sample, again=True)
            elif there := service.store.count():
                click.echo(f"{settings.data} holds {there:,} records already; none are added")
            else:
                sample = _Sample(
                    records=values["records"],
                    days=values["days"],
                    end_ms=now_ms() // _MINUTE_MS * _MINUTE_MS,
                    seed=values["seed"],
                )
                _note(loading, sample)
                _load(address, token, sample)
            loading.unlink(missing_ok=True)
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


def _interrupted(loading: Path) -> _Sample | None:
    """Return the sample that an earlier demo began to load and did not finish."""
    try:
        return msgspec.json.decode(loading.read_bytes(), type=_Sample)
    except FileNotFoundError:
        return None


def _note(loading: Path, sample: _Sample) -> None:
    """Write down what is about to be loaded: entirely or not at all, whenever the demo ends."""
    new = loading.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(sample))
    new.replace(loading)


def _load(address: str, token: str, sample: _Sample, *, again: bool = False) -> None:
    """Send the sample over HTTP, a few posts at a time, and show the progress.

    If ``again``, some of it is stored already, which changes nothing (R6), and some may be past
    retention by now.
    """
    lines = traffic(accounts=(_ACCOUNT,), **msgspec.structs.asdict(sample))
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
        click.progressbar(length=sample.records, label="sample traffic") as bar,
    ):

        def post(chunk: list[bytes]) -> int:
            response = client.post("/v2/account/stats", content=b"\n".join(chunk))
            if not again or response.status_code != 400:  # all of them past retention
                response.raise_for_status()
            accepted = response.json()["accepted"]
            if accepted != len(chunk) and not again:
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
