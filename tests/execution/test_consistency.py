"""An answer is of one moment: its summary and its rows agree while records arrive and change."""

import threading
from collections import Counter
from typing import Any

from tests.support import NOON_MS, Client, Running, job


def check(answer: dict[str, Any]) -> None:
    """Everything the summary counts, counted again from the rows."""
    data = answer["data"]
    assert answer["total"] == len(data)
    if not data:
        assert "summary" not in answer
        return
    summary = answer["summary"]
    for key in ("config", "endpoint", "status"):
        assert summary[f"by_{key}"] == Counter(row[key] for row in data)
    assert summary["by_code"] == Counter(str(row["code"]) for row in data)
    assert summary["from"] == data[-1]["timestamp"]
    assert summary["to"] == data[0]["timestamp"]
    assert len({(row["timestamp"], row["jobid"]) for row in data}) == len(data)


def test_summary_and_rows_agree_while_records_arrive_and_change(
    service: Running, client: Client
) -> None:
    stop = threading.Event()
    failures: list[BaseException] = []

    def change(worker: int) -> None:
        mine = service.client(account=client.account)
        try:
            for n in range(10_000):
                if stop.is_set():
                    return
                mine.record(
                    *(
                        job(NOON_MS - i, jobid=f"j{i}", code=200 + (n + i) % 7, msec=n)
                        for i in range(worker * 10, worker * 10 + 40)
                    ),
                    job(NOON_MS - 1000 - n, jobid=f"w{worker}n{n}"),
                )
        except BaseException as error:
            failures.append(error)

    workers = [threading.Thread(target=change, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    try:
        for n in range(40):
            check(client.stats(bot="google-flow"))
            check(client.stats(bot="google-flow", limit=(1, 30, 75, 50_000)[n % 4]))
    finally:
        stop.set()
        for worker in workers:
            worker.join()
    assert not failures
