"""Another number of shards: records moved by the statements of docs/scale.md answer as before."""

import json
from pathlib import Path

from genmeter.clock import DAY_MS
from genmeter.config.urls import Secret
from genmeter.ingest.decode import Admission, decode
from genmeter.query.stats import StatsQuery
from genmeter.storage.engine.cluster import ClickHouse
from genmeter.storage.store import Store
from tests.servers.cluster import NAME, Cluster
from tests.servers.settings import PASSWORD, address
from tests.support import NOON_MS, job

PAGE = Path(__file__).parent.parent.parent / "docs" / "scale.md"
ACCOUNTS = tuple(f"acme-{number}" for number in range(8))


def store(cluster: Cluster, database: str, shards: int) -> tuple[ClickHouse, Store]:
    """A store in a database: on one server alone, or over both shards of the cluster."""
    servers = cluster.servers if shards > 1 else cluster.servers[:1]
    engine = ClickHouse(
        address([server.http_port for server in servers], database),
        password=Secret(PASSWORD),
        cluster=NAME if shards > 1 else "",
    )
    return engine, Store(engine, retention_days=0)


def insert(into: Store, *records: dict[str, object]) -> None:
    """Store records on the shards they belong to."""
    limits = Admission(account="nobody", any_account=True, now_ms=NOON_MS, oldest_ms=0)
    lines = b"\n".join(json.dumps(record).encode() for record in records)
    for row in decode(lines, lines=True, admission=limits, new_jobid=lambda *_: "").rows:
        into.insert([row], NOON_MS, into.shard(row.account))


def answers(of: Store) -> dict[str, list[bytes]]:
    """All there is of each account."""
    return {
        account: [
            part
            for part in of.answer(
                StatsQuery(account=account, bot="google-flow", limit=50_000), NOON_MS
            )
            if isinstance(part, bytes)
        ]
        for account in ACCOUNTS
    }


def test_records_move_to_more_shards_while_they_are_corrected(cluster: Cluster) -> None:
    names = [cluster.database(), cluster.database()]
    here, old = store(cluster, names[0], 1)
    there, new = store(cluster, names[1], 2)
    first = [
        job(NOON_MS - month * 31 * DAY_MS, account=account, jobid=f"j{month}")
        for account in ACCOUNTS
        for month in range(3)
    ]
    insert(old, *first)
    page = PAGE.read_text(encoding="utf-8").split("## Another number of shards")[1]
    noted, a_month, the_rest, sync = [
        block.split("```")[0]
        .replace("genmeter2.", f"{names[1]}.")
        .replace("genmeter.records_all", f"{names[0]}.records")
        for block in page.split("```sql\n")[1:5]
    ]
    server = cluster.servers[0]
    version = server.query(noted).strip()
    # While records are moved others come, and corrections of moved ones.
    for month in ("202602", "202601", "202512"):
        server.query(a_month.replace("202611", month), insert_distributed_sync=1)
    for each in cluster.servers:
        each.query(sync)
    moved = answers(new)
    assert moved == answers(old)
    insert(old, first[0] | {"msec": 4321}, job(NOON_MS, account=ACCOUNTS[1], jobid="late"))
    server.query(the_rest.replace("1795362288947000", version), insert_distributed_sync=1)
    for each in cluster.servers:
        each.query(sync)
    assert answers(new) == answers(old) != moved
    here.close()
    there.close()
