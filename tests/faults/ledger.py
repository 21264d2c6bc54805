"""The client's own record of what a server acknowledged, and its comparison with what is there.

It knows nothing of the server but its HTTP: what was sent, what came back, what is found later.
"""

import threading
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Any, Final

import httpx2

from genmeter.clock import iso

BOT: Final = "kling"
STATS: Final = "/v2/account/stats"
_NOTHING_STORED: Final = ("nothing of this request was stored", "is shutting down")

Record = Mapping[str, Any]


class Fate(Enum):
    """What the client knows of a record that it sent."""

    ACKNOWLEDGED = "acknowledged"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Sent:
    """One record as it was sent once. ``mark`` is where a shim's journal stood at its reply."""

    __slots__ = ("fate", "mark", "record")

    def __init__(self, record: Record, fate: Fate, mark: int) -> None:
        self.record, self.fate, self.mark = record, fate, mark


Key = tuple[int, str]


class Account:
    """An account of the ledger: by time and job id all that was sent, in order.

    The client sends a record again only after it has its reply, so that the order is certain.
    """

    def __init__(self, name: str, token: str) -> None:
        self.name, self.token = name, token
        self.sent: dict[Key, list[Sent]] = {}

    def correctable(self) -> list[Key]:
        """Records that may be sent again: those whose last reply is known."""
        return [key for key, sent in self.sent.items() if sent[-1].fate is Fate.ACKNOWLEDGED]

    def expected(self, key: Key, mark: int | None) -> tuple[list[Record], bool]:
        """What may be stored of a record, and whether one of it must be.

        With a ``mark``, as of that moment: what was acknowledged later is unknown.
        """
        possible: list[Record] = []
        must = False
        for sent in self.sent[key]:
            if sent.fate is Fate.REFUSED:
                continue
            known = sent.fate is Fate.ACKNOWLEDGED and (mark is None or sent.mark <= mark)
            if known:
                possible, must = [], True
            possible.append(sent.record)
        return possible, must


class Ledger:
    """All accounts of a run, and the faults that clients noticed by themselves."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.findings: list[str] = []
        self.answers: Counter[str] = Counter()
        self._lock = threading.Lock()

    def open(self, name: str, token: str) -> Account:
        """The account of that name."""
        return self.accounts.setdefault(name, Account(name, token))

    def note(
        self,
        account: Account,
        records: Sequence[Record],
        reply: httpx2.Response | None,
        mark: int = 0,
    ) -> Fate:
        """Enter a request with its reply, None where there was none."""
        fate = self._fate(records, reply)
        refused = self._rejected(reply)
        with self._lock:
            self.answers[str(reply.status_code) if reply is not None else "none"] += 1
            for number, record in enumerate(records):
                key = record["timestamp"], record["jobid"]
                its = Fate.REFUSED if number in refused else fate
                account.sent.setdefault(key, []).append(Sent(record, its, mark))
        return fate

    def _fate(self, records: Sequence[Record], reply: httpx2.Response | None) -> Fate:
        if reply is None:
            return Fate.UNKNOWN
        if reply.status_code == 200:
            if reply.json()["accepted"] != len(records) - len(self._rejected(reply)):
                self.find(f"{len(records)} records were sent: {reply.text[:300]}")
            return Fate.ACKNOWLEDGED
        if reply.status_code == 400 and self._rejected(reply):
            return Fate.REFUSED
        if reply.status_code == 503:
            message = reply.json()["error"]
            plain = any(words in message for words in _NOTHING_STORED)
            return Fate.REFUSED if plain else Fate.UNKNOWN
        if reply.status_code == 429:
            return Fate.REFUSED
        self.find(f"a post was answered {reply.status_code}: {reply.text[:300]}")
        return Fate.UNKNOWN

    def _rejected(self, reply: httpx2.Response | None) -> set[int]:
        """The records of a request that were refused one by one: only their time may be wrong."""
        if reply is None or reply.status_code not in (200, 400):
            return set()
        rejected = reply.json().get("rejected", [])
        for one in rejected:
            if "timestamp is more than 5 minutes ahead" not in one["error"]:
                self.find(f"a valid record was refused: {one['error']}")
        return {one["index"] for one in rejected}

    def find(self, finding: str) -> None:
        """Note a fault."""
        with self._lock:
            self.findings.append(finding)

    def count(self, fate: Fate) -> int:
        """How many records have this fate, each time they were sent."""
        with self._lock:
            return sum(
                one.fate is fate
                for account in self.accounts.values()
                for sent in account.sent.values()
                for one in sent
            )

    def compare(self, base_url: str, mark: int | None = None) -> list[str]:
        """Every difference between the ledger and what the server returns now."""
        found: list[str] = []
        for account in self.accounts.values():
            headers = {"Authorization": f"Bearer {account.token}"}
            with httpx2.Client(base_url=base_url, headers=headers, timeout=60) as client:
                rows = read(client, account)
                found += differences(account, rows, mark)
                counted = count(client, account)
            if counted != len(rows):
                found.append(f"{account.name}: /query counts {counted} records of {len(rows)}")
        return found

    def settle(self, base_url: str) -> None:
        """Take what is stored for known: nothing is under way any more."""
        for account in self.accounts.values():
            headers = {"Authorization": f"Bearer {account.token}"}
            with httpx2.Client(base_url=base_url, headers=headers, timeout=60) as client:
                there = {(row["timestamp"], row["jobid"]): row for row in read(client, account)}
            for (ms, jobid), sent in account.sent.items():
                row = there.get((iso(ms), jobid))
                for one in sent:
                    if one.fate is Fate.UNKNOWN:
                        same = row is not None and row["msec"] == one.record["msec"]
                        one.fate = Fate.ACKNOWLEDGED if same else Fate.REFUSED


def read(client: httpx2.Client, account: Account) -> list[dict[str, Any]]:
    """All rows of an account over the time of all that was sent."""
    response = client.get(f"{STATS}/rows", params=_range(account))
    assert response.status_code == 200, response.text
    rows: list[dict[str, Any]] = response.json()["data"]
    return rows


def count(client: httpx2.Client, account: Account) -> int:
    """How many records the metrics count over the same time."""
    response = client.get(f"{STATS}/query", params=_range(account) | {"metrics": "jobs"})
    assert response.status_code == 200, response.text
    return int(response.json()["total"]["jobs"])


def _range(account: Account) -> dict[str, Any]:
    times = [ms for ms, _ in account.sent] or [0]
    return {"from": min(times), "to": max(times) + 1}


def differences(account: Account, rows: Iterable[Record], mark: int | None = None) -> list[str]:
    """What is lost, there twice, altered, or there though it must not be."""
    found = []
    stored: dict[tuple[str, str], list[Record]] = {}
    for row in rows:
        stored.setdefault((row["timestamp"], row["jobid"]), []).append(row)
    lost: list[str] = []
    for key in account.sent:
        ms, jobid = key
        possible, must = account.expected(key, mark)
        there = stored.pop((iso(ms), jobid), [])
        name = f"{account.name}: {jobid} of {iso(ms)}"
        if len(there) > 1:
            found.append(f"{name} is there {len(there)} times")
        if not there and must:
            lost.append(name)
        if there and not possible:
            found.append(f"{name} is there though it was refused")
        elif there and not any(_same(there[0], record) for record in possible):
            found.append(f"{name} is {there[0]}, sent was {possible[-1]}")
    if lost:
        found.append(f"{len(lost)} acknowledged records are lost, such as {lost[0]}")
    found += [f"{account.name}: {jobid} of {at} was never sent" for at, jobid in stored]
    return found


def _same(row: Record, record: Record) -> bool:
    names = ("config", "endpoint", "code", "msec", "model")
    return all(row[name] == record[name] for name in names)
