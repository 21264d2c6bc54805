"""Three API nodes over one cluster and one PostgreSQL, none of which holds anything itself."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from genmeter.clock import DAY_MS, now_ms
from tests.servers.cluster import NAME, Cluster
from tests.servers.postgres import Postgres
from tests.servers.settings import PASSWORD, text_address
from tests.support import Client, Process, genmeter, job

START_MS = now_ms() - DAY_MS // 24


class Nodes:
    """The nodes, and the environment that they and the command line share."""

    def __init__(self, processes: list[Process], variables: dict[str, str]) -> None:
        self.processes = processes
        self.variables = variables
        self._clients: list[Client] = []

    def token(self, account: str, scope: str = "read,write") -> tuple[str, str]:
        """A new token and its id."""
        made = genmeter("token", "create", "--account", account, "--scope", scope, **self.variables)
        assert made.returncode == 0, made.stderr
        listed = genmeter("token", "list", **self.variables).stdout.splitlines()
        return made.stdout.strip(), next(line.split()[0] for line in listed if account in line)

    def clients(self, account: str) -> list[Client]:
        """Somebody who talks to each node in turn."""
        return self.holders(self.token(account)[0])

    def holders(self, token: str) -> list[Client]:
        """Somebody who talks to each node in turn, with this token."""
        clients = [Client(node.base_url, token) for node in self.processes]
        self._clients += clients
        return clients

    def close(self) -> None:
        """Close the connections of all clients."""
        for client in self._clients:
            client.http.close()


@pytest.fixture
def nodes(cluster: Cluster, postgres: Postgres, tmp_path: Path) -> Iterator[Nodes]:
    """Three nodes, started at once on a database where nothing is made yet."""
    ports = [server.http_port for server in cluster.servers]
    variables = postgres.variables | {
        "GENMETER_CLICKHOUSE": text_address(ports, cluster.database()),
        "GENMETER_CLICKHOUSE_PASSWORD": PASSWORD,
        "GENMETER_CLICKHOUSE_CLUSTER": NAME,
    }
    with ExitStack() as stack, ThreadPoolExecutor(3) as pool:
        started = [
            pool.submit(Process, tmp_path / f"node{n}", variables=variables) for n in range(3)
        ]
        processes = [stack.enter_context(process.result()) for process in started]
        nodes = Nodes(processes, variables)
        stack.callback(nodes.close)
        yield nodes


def total(client: Client) -> int:
    """How many records the account has, by this node."""
    found: int = client.stats(bot="google-flow", limit=50_000)["total"]
    return found


def test_nodes_see_each_others_records_at_once_and_the_last_correction_wins(nodes: Nodes) -> None:
    clients = nodes.clients("acme")
    for n in range(12):  # C21, whichever took it and whichever is asked
        clients[n % 3].record(job(START_MS + n, jobid=f"j{n}"))
        assert [total(client) for client in clients] == [n + 1] * 3
    for n in range(12):  # R6, whatever their clocks say
        clients[n % 3].record(job(START_MS, jobid="corrected", msec=n))
        for client in clients:
            rows = client.stats(bot="google-flow", limit=50_000)["data"]
            assert [row["msec"] for row in rows if row["jobid"] == "corrected"] == [n]


def test_a_page_of_one_node_goes_on_at_the_next(nodes: Nodes) -> None:
    clients = nodes.clients("acme")
    clients[0].record(*(job(START_MS - n, jobid=f"j{n}") for n in range(5)))
    found, params = [], {"last": "1d", "limit": "1"}
    for n in range(5):
        response = clients[n % 3].http.get("/v2/account/stats/rows", params=params)
        page = response.json()
        assert response.status_code == 200, page
        found += [row["jobid"] for row in page["data"]]
        params["cursor"] = page["next_cursor"]
    assert found == ["j0", "j1", "j2", "j3", "j4"]
    assert page["next_cursor"] is None


def test_a_node_says_where_its_records_are_also_with_a_shard_away(
    nodes: Nodes, cluster: Cluster, tmp_path: Path
) -> None:
    assert "with 0 records in genmeter" in nodes.processes[0].ready_line
    assert f"on 127.0.0.1:{cluster.servers[0].http_port}, " in nodes.processes[0].ready_line
    for server in cluster.shard(2):
        server.kill()
    with Process(tmp_path / "late", variables=nodes.variables) as late:
        assert "some servers are unreachable" in late.ready_line


def test_a_token_revoked_on_one_node_is_refused_by_the_others(nodes: Nodes) -> None:
    token, token_id = nodes.token("leaver")
    clients = nodes.holders(token)
    assert [client.ask(bot="luma").status_code for client in clients] == [200] * 3
    assert genmeter("token", "revoke", token_id, **nodes.variables).returncode == 0
    give_up = time.monotonic() + 10
    while {client.ask(bot="luma").status_code for client in clients} != {401}:
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_nodes_hold_no_state_and_none_is_needed(nodes: Nodes) -> None:
    clients = nodes.clients("acme")
    clients[0].record(job(START_MS))
    nodes.processes[0].kill()
    clients[1].record(job(START_MS + 1))
    assert nodes.processes[1].stop() == 0
    assert total(clients[2]) == 2
    for node in nodes.processes:
        assert not list(node.data.rglob("*.sqlite3"))
        assert not (node.data / "engine").exists()


def test_no_password_shows_in_a_process_or_a_log(nodes: Nodes) -> None:
    wrong = nodes.variables | {"GENMETER_CLICKHOUSE_PASSWORD": "not-it-8ae1"}
    refused = genmeter("serve", "--port", "0", **wrong)
    assert refused.returncode == 2
    assert refused.stdout == ""
    lines = [line for line in refused.stderr.splitlines() if not line.startswith("{")]
    assert len(lines) == 1
    assert "not-it-8ae1" not in refused.stderr
    for node in nodes.processes:
        shown = Path(f"/proc/{node.process.pid}/cmdline").read_bytes().decode() + node.log()
        assert PASSWORD not in shown
