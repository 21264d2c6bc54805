"""A cluster whose parts fail: nothing acknowledged is lost, nothing counted twice, no wrong number.

Two shards of two replicas; the first replica of a shard is the one that is used while it is well.
"""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from genmeter.errors import NewerSchemaError, StartError
from genmeter.storage import schema
from genmeter.storage.engine.base import Layout
from genmeter.storage.engine.clickhouse import RefusedError
from genmeter.storage.engine.cluster import State
from tests.later_version import later
from tests.servers.cluster import NAME, Cluster
from tests.servers.settings import address, on_cluster
from tests.support import NOON_MS, Client, Running, job, running

LAYOUT = Layout(weights=(1, 1))
PATIENCE_S = 60.0


def account_on(shard: int, prefix: str = "a") -> str:
    """The name of an account whose records are on a shard; the first shard is 1."""
    return next(name for n in range(100) if LAYOUT.shard(name := f"{prefix}{n}") == shard - 1)


def soon(holds: Callable[[], bool], what: str) -> None:
    """Wait until something holds."""
    give_up = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up, f"not in time: {what}"
        time.sleep(0.1)


@contextmanager
def service_on(cluster: Cluster, folder: Path, **changes: Any) -> Iterator[Running]:
    """A service with its records in a new database of the cluster."""
    with running(folder / "data", **(on_cluster(cluster) | changes)) as service:
        settled(service)
        yield service


def settled(service: Running) -> None:
    """Wait until every server is known to be well."""
    members = service.service.engine._members  # type: ignore[attr-defined]
    soon(lambda: all(m.state.name == "HEALTHY" for m in members), "all servers are well")


def total(client: Client, **params: Any) -> int:
    """How many records an account has."""
    found: int = client.stats(bot="google-flow", limit=50_000, **params)["total"]
    return found


class Poster:
    """A client that records job after job and reads in between; sends again what got 503."""

    def __init__(self, service: Running, account: str, stop: threading.Event) -> None:
        self.client = service.client(account=account)
        self.acknowledged: set[str] = set()
        self.refused = 0
        self.failure: BaseException | None = None
        self._stop = stop
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            number = 0
            while not self._stop.is_set():
                number += 1
                self._post(job(NOON_MS - number, jobid=f"j{number}"))
                answer = self.client.ask(bot="google-flow", limit=50_000)
                assert answer.status_code in (200, 503), answer.text
                if answer.status_code == 200:
                    ids = [row["jobid"] for row in answer.json()["data"]]
                    assert len(set(ids)) == len(ids), "counted twice"
                    assert set(ids) == self.acknowledged, "not what was acknowledged"
        except BaseException as error:
            self.failure = error

    def _post(self, record: dict[str, Any]) -> None:
        give_up = time.monotonic() + PATIENCE_S
        while time.monotonic() < give_up:
            response = self.client.send([record])
            if response.status_code == 200:
                self.acknowledged.add(record["jobid"])
                return
            assert response.status_code == 503, response.text
            self.refused += 1
            time.sleep(0.05)
        raise AssertionError("nothing is taken any more")


def test_a_replica_is_killed_while_32_clients_post_and_read(
    cluster: Cluster, tmp_path: Path
) -> None:
    stop = threading.Event()
    with service_on(cluster, tmp_path, readers=8) as service:
        posters = [Poster(service, account_on(1 + n % 2, f"p{n}x"), stop) for n in range(32)]
        for poster in posters:
            poster.thread.start()

        def after(count: int) -> Callable[[], bool]:
            return lambda: all(
                len(poster.acknowledged) >= count or poster.failure for poster in posters
            )

        try:
            soon(after(3), "all clients have recorded something")
            cluster.shard(1)[0].kill()
            at_the_kill = [len(poster.acknowledged) for poster in posters]
            soon(after(max(at_the_kill) + 3), "clients of both shards go on")
        finally:
            stop.set()
            for poster in posters:
                poster.thread.join()
        assert [poster.failure for poster in posters if poster.failure] == []
        cluster.mend()
        for poster in posters:
            data = poster.client.stats(bot="google-flow", limit=50_000)["data"]
            ids = [row["jobid"] for row in data]
            assert len(ids) == len(set(ids)), "counted twice"
            assert set(ids) >= poster.acknowledged


def test_what_a_lost_replica_alone_had_is_given_to_another(
    cluster: Cluster, tmp_path: Path
) -> None:
    first, second = cluster.shard(1)
    changes = on_cluster(cluster)
    table = f"{changes['clickhouse'].database}.records"
    with running(tmp_path / "data", **changes) as service, ThreadPoolExecutor(1) as pool:
        settled(service)
        client = service.client(account=account_on(1))
        client.record(job(jobid="before"))
        second.query(f"SYSTEM STOP FETCHES {table}")
        try:
            sent = pool.submit(client.send, [job(jobid="j")])
            soon(lambda: first.query(f"SELECT count() FROM {table}") == "2\n", "the first has it")
            first.kill()
            assert sent.result().status_code == 200
            assert total(client) == 2
        finally:
            second.query(f"SYSTEM START FETCHES {table}")


def test_a_shard_that_is_down_fails_plainly_and_the_other_goes_on(
    cluster: Cluster, tmp_path: Path
) -> None:
    with service_on(cluster, tmp_path) as service:
        here, there = service.client(account=account_on(1)), service.client(account=account_on(2))
        admin = service.client(("admin",))
        first, second = job(jobid="first"), job(jobid="second")
        for client in (here, there):
            client.record(first)
        for server in cluster.shard(2):
            server.kill()
        for _ in range(3):
            refused = there.send([second])
            assert refused.status_code == 503
            assert refused.headers["content-type"] == "application/json"
            assert "send them again" in refused.json()["error"]
            unread = there.ask(bot="google-flow")
            assert unread.status_code == 503
            assert set(unread.json()) == {"error"}
            here.record(second)
            assert total(here) == 2
        both = [job(jobid="both", account=client.account) for client in (here, there)]
        assert admin.send(both).status_code == 503
        assert service.holder(None).http.get("/readyz").status_code == 200
        cluster.mend()
        soon(lambda: there.ask(bot="google-flow").status_code == 200, "the shard is read again")
        assert total(there) == 1
        there.record(second)
        assert admin.send(both).status_code == 200
        assert (total(here), total(there)) == (3, 3)


def test_without_zookeeper_nothing_is_taken_and_all_is_read_until_it_is_back(
    cluster: Cluster, tmp_path: Path
) -> None:
    with service_on(cluster, tmp_path, clickhouse_timeout_seconds=5) as service:
        client = service.client()
        client.record(job(jobid="before"))
        cluster.zookeeper.stop()
        sent = {"before"}
        lost = job(jobid="lost")
        soon(lambda: client.send([lost]).status_code == 503, "a record is refused")
        answer = client.stats(bot="google-flow")
        assert {row["jobid"] for row in answer["data"]} >= sent
        assert client.send([lost]).status_code == 503
        cluster.zookeeper.start()
        soon(lambda: client.send([lost]).status_code == 200, "records are taken again")
        client.record(job(jobid="after"))
        ids = [row["jobid"] for row in client.stats(bot="google-flow")["data"]]
        assert sorted(ids) == ["after", "before", "lost"]


def test_a_replica_that_comes_back_is_used_when_it_has_caught_up(
    cluster: Cluster, tmp_path: Path
) -> None:
    first, second = cluster.shard(1)
    with service_on(cluster, tmp_path) as service:
        client = service.client(account=account_on(1))
        client.record(job())
        first.kill()
        for _ in range(5):
            client.record(job())
        assert total(client) == 6
        first.start()
        for _ in range(10):  # whichever is asked meanwhile
            assert total(client) == 6
            time.sleep(0.05)
        settled(service)
        second.kill()
        assert total(client) == 6
        client.record(job())
        assert total(client) == 7


def test_a_replica_that_hangs_is_passed_over(cluster: Cluster, tmp_path: Path) -> None:
    first, second = cluster.shard(1)
    with service_on(cluster, tmp_path, clickhouse_timeout_seconds=1) as service:
        client = service.client(account=account_on(1))
        client.record(job())
        first.pause()
        client.record(job())
        assert total(client) == 2
        first.resume()
        settled(service)
        second.pause()
        client.record(job())
        assert total(client) == 3
        second.resume()


def test_a_service_starts_while_servers_are_down_and_uses_them_later(
    cluster: Cluster, tmp_path: Path
) -> None:
    changes = on_cluster(cluster)
    for server in cluster.shard(2):
        server.kill()
    cluster.shard(1)[0].kill()
    with running(tmp_path / "data", **changes) as service:
        here, there = service.client(account=account_on(1)), service.client(account=account_on(2))
        here.record(job())
        assert total(here) == 1
        assert there.send([job()]).status_code == 503
        cluster.mend()
        soon(lambda: there.send([job(jobid="j")]).status_code == 200, "the shard is made and used")
        assert total(there) == 1


def test_r6_quorum_means_that_so_many_replicas_hold_a_record(
    cluster: Cluster, tmp_path: Path
) -> None:
    changes = on_cluster(cluster) | {"clickhouse_quorum": 2, "clickhouse_timeout_seconds": 5}
    first, second = cluster.shard(1)
    with running(tmp_path / "data", **changes) as service:
        client = service.client(account=account_on(1))
        soon(lambda: client.send([job()]).status_code == 200, "two replicas have it")
        database = changes["clickhouse"].database
        for server in (first, second):
            assert server.query(f"SELECT count() FROM {database}.records") == "1\n"
        second.kill()
        soon(lambda: client.send([job(jobid="j")]).status_code == 503, "one replica is not enough")
        cluster.mend()
        soon(lambda: client.send([job(jobid="j")]).status_code == 200, "two replicas are")
        assert total(client) == 2


def test_what_is_wrong_with_the_cluster_is_said_at_the_start(
    cluster: Cluster, tmp_path: Path
) -> None:
    changes = on_cluster(cluster)
    url = changes["clickhouse"]
    ports = [port for _, port in url.hosts]
    with running(tmp_path / "a", **changes):
        pass
    some = address(ports[:2], url.database)
    for change, fault in (
        ({"clickhouse_cluster": "other"}, "not in a cluster named other"),
        ({"clickhouse": some}, "no server of shard 2 of the cluster genmeter is named"),
        ({"clickhouse": address(ports, "nowhere")}, "nowhere"),
        ({"clickhouse_password": None}, "(?i)password"),
    ):
        with pytest.raises(StartError, match=fault), running(tmp_path / "b", **changes | change):
            pass
    cluster.servers[0].query(f"INSERT INTO {url.database}.shard_weights VALUES ('1,1,1')")
    with pytest.raises(StartError, match="laid out"), running(tmp_path / "c", **changes):
        pass
    assert changes["clickhouse_cluster"] == NAME


def test_a_later_version_adds_a_column_on_every_server_also_on_one_that_was_away(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = on_cluster(cluster)
    database = changes["clickhouse"].database
    with running(tmp_path / "today", **changes) as service:
        settled(service)
        names = [account_on(1), account_on(2)]
        for name in names:
            service.client(account=name).record(job())
    away = cluster.shard(2)[1]
    away.kill()
    monkeypatch.setattr(schema, "migrations", later)
    for _ in range(2):  # the second start finds the step done
        with running(tmp_path / "later", **changes) as service:
            for name in names:
                assert total(service.client(account=name)) == 1
            cluster.mend()
            settled(service)
    for server in cluster.servers:
        kept = server.query(f"SELECT region, count() FROM {database}.records GROUP BY region")
        assert kept == "\t1\n"
    monkeypatch.undo()
    with (
        pytest.raises(NewerSchemaError, match="schema version 2"),
        running(tmp_path / "today", **changes),
    ):
        pass


def test_c21_what_another_replica_took_is_read_there_while_the_first_lacks_it(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes = on_cluster(cluster)
    table = f"{changes['clickhouse'].database}.records"
    with running(tmp_path / "data", **changes) as service:
        settled(service)
        engine = service.service.engine
        client = service.client(account=account_on(1))
        first, second = engine._members[:2]  # type: ignore[attr-defined]

        def refuse(*_: object) -> None:
            raise RefusedError("Code: 242. Table is in readonly mode", 242)

        monkeypatch.setattr(first.server, "insert", refuse)
        cluster.servers[0].query(f"SYSTEM STOP FETCHES {table}")
        try:
            for n in range(1, 6):
                engine._lost(second, RefusedError("late", 0), State.BEHIND)  # type: ignore[attr-defined]
                client.record(job())
                assert total(client) == n
        finally:
            cluster.servers[0].query(f"SYSTEM START FETCHES {table}")
