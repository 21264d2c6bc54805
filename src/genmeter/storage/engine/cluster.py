"""ClickHouse on servers: one, or a cluster of shards with replicas.

Each account is read from and written to one replica of its shard: the first healthy one in the
order of the addresses. So all API nodes use the same replica, and what is acknowledged is in the
next response (C21). ``Distributed`` tables are not used: old servers query every shard through
them, so one shard that is down would break all.

A server that does not answer is skipped at once, and a thread checks it every second. When it comes
back it is used again once it has caught up with the other replicas, or if there is no other.
"""

import logging
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from enum import Enum
from pathlib import Path
from typing import Final, TypeVar

from genmeter.config.urls import ClickHouseUrl, Secret
from genmeter.errors import EngineError, GenmeterError, StartError
from genmeter.storage.engine import clickhouse
from genmeter.storage.engine.base import Layout, Server
from genmeter.storage.engine.clickhouse import HttpServer, RefusedError, UnreachableError
from genmeter.storage.sql import base as sql

log = logging.getLogger(__name__)
T = TypeVar("T")

REPLICATE_S: Final = 5.0
"""How long an insert waits for other healthy replicas."""

_POLL_S: Final = 0.004
_POLL_MOST_S: Final = 0.05
_WATCH_S: Final = 1.0
_CATCH_UP_TRIES: Final = 10
_CATCH_UP_S: Final = 0.05
_NOT_THIS_REPLICA: Final = frozenset({
    242,  # TABLE_IS_READ_ONLY: it has lost ZooKeeper
    225,  # NO_ZOOKEEPER
    999,  # KEEPER_EXCEPTION
})  # fmt: skip
"""Errors of an INSERT that another replica need not have."""

_ANOTHER_QUORUM: Final = 286
"""Error of an INSERT with a quorum while another node's has not got its own yet."""


class State(Enum):
    """How a server is, as far as this process knows."""

    UNREACHABLE = "does not answer"
    BEHIND = "is behind other replicas"
    HEALTHY = "is well"


class _Member:
    """One server, and what is known of it.

    ``shard`` is None before it has answered once. Inserts wait until an ``awaited`` one has them.
    """

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.shard: int | None = None
        self.state = State.UNREACHABLE
        self.trouble: EngineError = EngineError(f"the server {server.name} was not asked yet")
        self.prepared = False
        self.awaited = False


class ClickHouse:
    """The servers of ``url``: all of one ``cluster``, or ways to one server where there is none.

    ``quorum`` replicas hold a record before an insert returns, one where it is 0. ``memory_mb``
    and ``threads`` bound each statement on its server, ``timeout_s`` is how long a server may take
    to answer or to send the next piece. Raises StartError where no server can be used.
    """

    def __init__(
        self,
        url: ClickHouseUrl,
        *,
        password: Secret | None = None,
        cluster: str = "",
        quorum: int = 0,
        ca_file: Path | None = None,
        timeout_s: float = 30,
        memory_mb: int = 1500,
        threads: int = 2,
    ) -> None:
        memory = memory_mb * 2**20
        limits = {
            "max_threads": str(threads),
            "max_memory_usage": str(memory * 3 // 4),
            "max_bytes_before_external_sort": str(memory // 4),
            "max_execution_time": "120",
        }
        writing = {}
        if quorum:
            limits["select_sequential_consistency"] = "1"
            writing["insert_quorum"] = str(quorum)
            # Otherwise sequential consistency means nothing on newer servers.
            writing["insert_quorum_parallel"] = "0"
            writing["insert_quorum_timeout"] = str(int(timeout_s * 1000))
        self.damaged: set[str] = set()  # servers look after their own
        self.replaced: Callable[[str, Mapping[str, str]], None] = lambda torn, names: None
        self._cluster = cluster
        self._timeout_s = timeout_s
        self._make: Callable[[Server], None] | None = None
        self._client = clickhouse.client(url, password, ca_file, timeout_s)
        self._members = [
            _Member(HttpServer(self._client, url, number, limits=limits, writing=writing))
            for number in range(len(url.hosts))
        ]
        self._took: dict[int, _Member] = {}
        self._closing = threading.Event()
        self._watch = threading.Thread(target=self._look_after, name="clickhouse", daemon=True)
        try:
            self.layout = self._meet()
        except BaseException:
            self._client.close()
            raise

    def prepare(self, make: Callable[[Server], None]) -> None:
        """Call ``make`` for every server that answers now, and for each other when it does."""
        self._make = make
        for member in self._members:
            if member.state is not State.UNREACHABLE:
                self._probe(member)
        if not any(member.state is not State.UNREACHABLE for member in self._members):
            raise self._members[0].trouble
        self._watch.start()

    def execute(self, statement: str, shard: int = 0) -> None:
        """Run a statement that returns nothing, once more on the next replica where one refuses.

        Some that change a table are for the leader of the replicas alone, which others cannot
        always pass them on to.
        """
        refusal: EngineError | None = None
        for member in self._candidates(shard):
            try:
                return member.server.execute(statement)
            except UnreachableError as error:
                self._lost(member, error)
            except RefusedError as error:
                refusal = error
        raise refusal or self._nobody(shard)

    def fetch(self, statement: str, shard: int = 0) -> bytes:
        """The whole result of a short SELECT."""
        return self._on_one(shard, lambda server: server.fetch(statement))

    def stream(self, statement: str, shard: int = 0) -> Generator[bytes, None, None]:
        """The values of a SELECT of one text column, piece by piece."""
        for member in self._candidates(shard):
            try:
                return (yield from member.server.stream(statement))
            except UnreachableError as error:  # before its first block
                self._lost(member, error)
        raise self._nobody(shard)

    def insert(
        self,
        table: str,
        columns: Mapping[str, str],
        rows: bytes,
        shard: int = 0,
        replication_probes: Sequence[str] = (),
    ) -> None:
        """Insert NDJSON rows on one replica of a shard; they are on its disk when it returns.

        A replica that fails may have stored them all the same; the next one is given them too.
        Then the other healthy replicas get ``REPLICATE_S`` to fetch them, so that one that
        takes over has all that was acknowledged; a slower one is behind from then on, and nobody
        waits for it. Where the replica that took them is lost meanwhile, another is given them:
        there may be nobody left to fetch them from.
        """
        statement = f"INSERT INTO {table} ({', '.join(columns)}) FORMAT JSONEachRow"
        no_longer = time.monotonic() + self._timeout_s

        def insert(server: HttpServer) -> None:
            while True:
                try:
                    return server.insert(statement, rows)
                except RefusedError as error:
                    if error.code != _ANOTHER_QUORUM or time.monotonic() > no_longer:
                        raise
                    time.sleep(_POLL_MOST_S)

        while True:
            self._on_one(shard, insert, pass_over=_NOT_THIS_REPLICA, took=True)
            taker = self._took[shard]
            give_up = time.monotonic() + REPLICATE_S
            for member in self._members:
                if member.shard == shard and member is not taker:
                    self._await(member, taker, replication_probes, give_up)
            if taker.state is not State.UNREACHABLE:
                return
            if time.monotonic() > no_longer:
                raise taker.trouble

    def _await(
        self, member: _Member, taker: _Member, replication_probes: Sequence[str], give_up: float
    ) -> None:
        """Wait until a healthy replica answers all probes, or ``taker`` is lost."""
        pause = _POLL_S
        for replication_probe in replication_probes:
            while member.awaited and taker.state is not State.UNREACHABLE:
                try:
                    if int(member.server.text(replication_probe)):
                        break
                except UnreachableError as error:
                    self._lost(member, error)
                except EngineError as error:
                    self._lost(member, error, State.BEHIND)
                if time.monotonic() > give_up and self._answers(taker):
                    late = EngineError(f"a record did not reach it in {REPLICATE_S:.0f} seconds")
                    self._lost(member, late, State.BEHIND)
                time.sleep(pause)
                pause = min(2 * pause, _POLL_MOST_S)

    def _answers(self, member: _Member) -> bool:
        """Whether a replica is there; it is lost if not."""
        try:
            member.server.text("SELECT 1")
        except EngineError as error:
            self._lost(member, error)
            return False
        return True

    def close(self) -> None:
        """Close all connections."""
        self._closing.set()
        if self._watch.is_alive():
            self._watch.join()
        self._client.close()

    def _on_one(
        self,
        shard: int,
        function: Callable[[HttpServer], T],
        pass_over: frozenset[int] = frozenset(),
        took: bool = False,
    ) -> T:
        """The result of ``function`` on the first replica of a shard that has one.

        ``took`` says that it is an insert, and that this replica has all there is from then on.
        """
        refusal: RefusedError | None = None
        for member in self._candidates(shard):
            try:
                result = function(member.server)
                if took:
                    self._took[shard] = member
                return result
            except UnreachableError as error:
                self._lost(member, error)
            except RefusedError as error:
                if error.code not in pass_over:
                    raise
                # It can be read all the same.
                self._lost(member, error, State.BEHIND)
                refusal = error
        raise refusal or self._nobody(shard)

    def _candidates(self, shard: int) -> list[_Member]:
        """The replicas of a shard to try, best first.

        Of those that are behind, the one that took the last insert lacks the least.
        """
        mine = [member for member in self._members if member.shard == shard]
        well = [member for member in mine if member.state is State.HEALTHY]
        behind = [member for member in mine if member.state is State.BEHIND]
        took = self._took.get(shard)
        return well + sorted(behind, key=lambda member: member is not took)

    def _nobody(self, shard: int) -> EngineError:
        troubles = [
            str(member.trouble) for member in self._members if member.shard in (shard, None)
        ]
        which = f"no replica of shard {shard + 1} answers" if self._cluster else "no server answers"
        return EngineError("; ".join([which, *troubles]))

    def _lost(self, member: _Member, error: EngineError, state: State = State.UNREACHABLE) -> None:
        log.warning("%s is passed over: %s", member.server.name, error)
        member.trouble = error
        member.state, member.awaited = state, False

    def _meet(self) -> Layout:
        """Ask all servers who they are, and what the cluster is as they know it."""
        with ThreadPoolExecutor(len(self._members)) as pool:
            list(pool.map(self._probe, self._members))
        known = [member for member in self._members if member.state is not State.UNREACHABLE]
        if not known:
            raise StartError("; ".join(str(member.trouble) for member in self._members))
        layout = known[0].server.layout
        for member in known:
            if member.server.layout.weights != layout.weights:
                raise StartError(
                    f"{known[0].server.name} and {member.server.name} know the cluster "
                    f"{self._cluster} with different shards"
                )
        named = {member.shard for member in known}
        if len(known) == len(self._members) and len(named) < len(layout.weights):
            missing = [str(n + 1) for n in range(len(layout.weights)) if n not in named]
            raise StartError(
                f"no server of shard {', '.join(missing)} of the cluster {self._cluster} is named; "
                "name at least one of each shard, and all replicas that may be used"
            )
        return layout

    def _look_after(self) -> None:
        """Ask those who are away or behind, until they are well. Runs on a thread."""
        while not self._closing.wait(_WATCH_S):
            for member in self._members:
                if self._closing.is_set():
                    return
                if member.state is State.HEALTHY:
                    self._check(member)
                    continue
                before = member.state
                self._probe(member)
                if member.state is not before:
                    log.warning("%s %s", member.server.name, member.state.value)

    def _check(self, member: _Member) -> None:
        """Notice that a replica has lost ZooKeeper, before it misses what others are given."""
        if not self._cluster:
            return
        try:
            if member.server.read_only(sql.TABLE):
                self._lost(member, EngineError("it takes no inserts"), State.BEHIND)
        except EngineError as error:
            self._lost(member, error)

    def _probe(self, member: _Member) -> None:
        """Find out how a server is. What may raise is a fault that a start should end with."""
        server = member.server
        try:
            member.shard = server.learn(self._cluster)
            if self._make is not None and not member.prepared:
                self._make(server)
                member.prepared = True
            if self._caught_up(server):
                # From here on inserts wait for it, and it has all that came before: none is
                # between the two.
                member.awaited = True
            member.awaited = member.awaited and self._caught_up(server)
            member.state = State.HEALTHY if member.awaited else State.BEHIND
        except EngineError as error:
            member.trouble = error
            member.state, member.awaited = State.UNREACHABLE, False
        except GenmeterError as error:
            if not self._watch.is_alive():
                raise
            member.trouble = EngineError(f"{server.name} cannot be used: {error}")
            member.state, member.awaited = State.UNREACHABLE, False

    def _caught_up(self, server: HttpServer) -> bool:
        """Whether a replica has what the others have; while they are written to, at one moment."""
        for _ in range(_CATCH_UP_TRIES):
            if self._make is None or not server.behind(sql.TABLE):
                return True
            if self._closing.wait(_CATCH_UP_S):
                break
        return False
