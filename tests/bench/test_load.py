"""The load generator: whom it plays, where it may go, and that it counts what a server did."""

import itertools
import json
import re
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bench.fill import decode
from bench.population import Population
from bench.sending import Load

from bench import load, sending
from genmeter.clock import now_ms
from genmeter.model.bots import ELEVEN
from tests.support import NOON_MS, Client, Process, environment, new_token

ROOT = Path(__file__).parent.parent.parent


def lines(population: Population, number: int) -> list[bytes]:
    """Records of so many milliseconds, one in each."""
    return list(population.records(range(NOON_MS, NOON_MS + number)))


@pytest.mark.parametrize("zipf", [0.0, 1.0, 1.5])
def test_accounts_are_drawn_by_zipfs_law(zipf: float) -> None:
    accounts, draws = 50, 200_000
    counts = Counter(itertools.islice(Population(accounts, zipf, 1).draws(), draws))
    whole = sum((n + 1) ** -zipf for n in range(accounts))
    for number in range(accounts):
        expected = draws * (number + 1) ** -zipf / whole
        assert abs(counts[number] - expected) < 5 * expected**0.5, number
    assert counts.total() == draws


def test_one_seed_makes_the_same_records_and_another_one_others() -> None:
    first = lines(Population(100, 1.1, 1), 300)
    assert first == lines(Population(100, 1.1, 1), 300)
    assert first != lines(Population(100, 1.1, 2), 300)


def test_no_record_repeats_another_and_the_service_takes_them_all() -> None:
    population = Population(100_000, 1.1, 1)
    same_moment = itertools.repeat(NOON_MS, 2000)
    body = b"\n".join([*lines(population, 5000), *population.records(same_moment)])
    rows = decode(body, "nobody", NOON_MS + 10_000)
    assert len({row.identity() for row in rows}) == 7000
    assert {row.bot for row in rows} == set(ELEVEN.names)


def test_an_account_has_configs_and_a_name_of_its_own() -> None:
    records = [json.loads(line) for line in lines(Population(100, 0.0, 1), 3000)]
    owners: dict[str, set[str]] = {}
    for record in records:
        owners.setdefault(record["config"], set()).add(record["account"])
    assert all(len(accounts) == 1 for accounts in owners.values())
    assert len({record["account"] for record in records}) == 100
    assert all("cast-" not in line.decode() for line in lines(Population(100, 0.0, 1), 300))


def test_the_reference_account_is_the_same_beside_any_others() -> None:
    of_one = Population(1, 0.0, 1).of_one("reference", "google-flow", range(NOON_MS, NOON_MS + 50))
    rows = decode(b"\n".join(of_one), "nobody", NOON_MS + 1000)
    assert {(row.account, row.bot) for row in rows} == {("reference", "google-flow")}
    assert len({row.identity() for row in rows}) == 50


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8000", ("127.0.0.1", 8000)),
        ("http://localhost:8000/", ("127.0.0.1", 8000)),
        ("http://127.1.2.3", ("127.1.2.3", 80)),
        ("http://[::1]:9", ("::1", 9)),
    ],
)
def test_a_load_goes_to_this_machine(url: str, address: tuple[str, int]) -> None:
    assert load.loopback(url) == address


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com:8000",
        "http://192.0.2.1:8000",
        "http://0.0.0.0:8000",
        "http://127.0.0.1.example.com:8000",
        "http://localhost.example.com",
        "http://user@example.com",
        "http://127.0.0.1@example.com",
        "https://127.0.0.1:8000",
        "http://127.0.0.1:8000/elsewhere",
        "127.0.0.1:8000",
    ],
)
def test_a_load_goes_nowhere_else(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        load.main(["--url", url, "--token", "t"])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "is not this machine; a load goes to loopback only" in said or "of the form" in said


def test_what_it_reports_is_what_the_server_holds(tmp_path: Path) -> None:
    accounts = 5
    token = new_token(tmp_path / "data", "operator", "admin")
    with Process(tmp_path / "data", "--log-level", "warning") as server:
        done = subprocess.run(
            [
                sys.executable, "-m", "bench.load", "--url", server.base_url, "--token", token,
                "--accounts", str(accounts), "--rate", "2000", "--batch", "100",
                "--seconds", "2", "--read-rate", "10",
            ],
            capture_output=True, text=True, timeout=120, check=False, cwd=ROOT, env=environment(),
        )  # fmt: skip
        acknowledged = re.search(r"([\d,]+) acknowledged in all, 0 rejected", done.stdout)
        assert acknowledged, done.stdout + done.stderr
        client = Client(server.base_url, token)
        held = sum(
            client.stats(bot=bot, account=Population.name(number), limit=50_000)["total"]
            for bot in ELEVEN.names
            for number in range(accounts)
        )
        client.http.close()
    assert held == int(acknowledged[1].replace(",", "")) > 0
    answers = [int(number) for number in re.findall(r"\b200: (\d+)", done.stdout)]
    assert held == answers[0] * 100
    assert answers[1] > 0


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """A server that gives each connection these answers and closes it; without any it is silent."""
    over = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.05)

        def serve(connection: socket.socket) -> None:
            with connection:
                for answer in answers:
                    if not connection.recv(65536):
                        return
                    connection.sendall(answer)
                if not answers:
                    over.wait()

        def accept() -> None:
            while not over.is_set():
                try:
                    connection, _ = listening.accept()
                except TimeoutError:
                    continue
                connection.settimeout(None)
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield listening.getsockname()[1]
        finally:
            over.set()
            for thread in threads:
                thread.join()


def get(port: int, how: Load) -> sending.Outcome:
    """What came of a load of short requests."""
    requests = itertools.repeat(b"GET / HTTP/1.1\r\n\r\n")
    [outcome] = sending.run(("127.0.0.1", port), [(how, requests)])
    return outcome


def test_a_silent_server_is_charged_for_all_that_was_planned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sending, "WARM_UP_S", 0.5)
    monkeypatch.setattr(sending, "GRACE_S", 0.2)
    with answering() as port:
        outcome = get(port, Load(clients=2, seconds=0.5, rate=20))
    assert outcome.statuses == {0: 2, -1: 18}
    assert len(outcome.waits_ms) == 10
    assert outcome.failed == 20
    assert "no answer" in outcome.failure


def test_it_connects_again_and_counts_answers_by_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "WARM_UP_S", 0.1)
    head = b"HTTP/1.1 %d X\r\n"
    posted = b'{"accepted":7,"rejected":[],"rejected_total":1}'
    good = head % 200 + b"Content-Length: %d\r\n\r\n" % len(posted) + posted
    full = head % 503 + b"Content-Length: 4\r\n\r\nfull"
    chunked = head % 200 + b"Transfer-Encoding: chunked\r\n\r\n4\r\n0\r\n\r\r\n0\r\n\r\n"
    with answering(good, full, chunked) as port:
        outcome = get(port, Load(clients=1, seconds=2, rate=10))
    assert outcome.statuses[200] > outcome.statuses[503] > 1
    assert outcome.accepted == 7 * outcome.rejected > 0
    assert outcome.failure.startswith("503 full")


def test_records_are_of_now() -> None:
    before = now_ms()
    request = next(load.posts(Population(10, 1.0, 1), "t", records=3, ahead=3))
    head, _, body = request.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert all(before <= json.loads(line)["timestamp"] <= now_ms() for line in body.split(b"\n"))
