"""``kill -9`` while many clients post: what was acknowledged is there, and nothing twice (R5, R6).

By hand, for long: ``.venv/bin/pytest tests/server/test_crash.py --kills 50``.
"""

import json
import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support import Process, new_token

CLIENTS = 12
DAY_S = 86_400
BOT = "kling"


class Poster(threading.Thread):
    """Posts until the server is gone; remembers what it sent and what was acknowledged."""

    def __init__(self, base_url: str, token: str, name: str, now_ms: int) -> None:
        super().__init__(name=name)
        self._base_url, self._token = base_url, token
        self._now_ms = now_ms
        self._random = random.Random(name)
        self.acknowledged: list[list[dict[str, Any]]] = []
        self.unanswered: list[dict[str, Any]] | None = None

    def run(self) -> None:
        """Post one request after the other; the last one gets no answer."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        with httpx2.Client(base_url=self._base_url, headers=headers, timeout=30) as client:
            for number in range(1_000_000):
                self.unanswered = self._request(number)
                try:
                    response = client.post("/v2/account/stats", content=json.dumps(self.unanswered))
                except httpx2.TransportError:
                    return
                assert response.status_code == 200, response.text
                assert response.json()["accepted"] == len(self.unanswered)
                self.acknowledged.append(self.unanswered)
                self.unanswered = None

    def _request(self, number: int) -> list[dict[str, Any]]:
        """Records of one moment, or of three months where the number says so."""
        months = 3 if number % 5 == 4 else 1
        return [
            {
                "bot": BOT,
                "config": "c",
                "endpoint": "e",
                "code": 200,
                "msec": n,
                "timestamp": self._now_ms - (n % months) * 31 * DAY_S * 1000,
                "jobid": f"{self.name}-{number}-{months}-{n}",
            }
            for n in range(self._random.randint(1, 60))
        ]


def stored(base_url: str, token: str) -> list[str]:
    """The job ids of everything that is there."""
    with httpx2.Client(base_url=base_url, headers={"Authorization": f"Bearer {token}"}) as client:
        answer = client.get("/v2/account/stats", params={"bot": BOT, "limit": 50_000}).json()
    assert answer["total"] == len(answer["data"]) < 50_000
    return [row["jobid"] for row in answer["data"]]


def test_nothing_acknowledged_is_lost_and_no_request_is_torn(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    data = tmp_path / "data"
    chance = random.Random(7)
    now_ms = int(time.time() * 1000)
    for round_ in range(request.config.getoption("--kills")):
        token = new_token(data, f"round{round_}")
        with Process(data) as server:
            posters = [
                Poster(server.base_url, token, f"r{round_}c{n}", now_ms) for n in range(CLIENTS)
            ]
            for poster in posters:
                poster.start()
            while not any(poster.acknowledged for poster in posters):
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 1.5))
            server.kill()
            for poster in posters:
                poster.join(60)
        with Process(data) as server:
            found = Counter(stored(server.base_url, token))
            assert not [jobid for jobid, times in found.items() if times > 1]
            acknowledged = {
                one["jobid"] for poster in posters for many in poster.acknowledged for one in many
            }
            assert acknowledged
            assert acknowledged <= set(found)
            expected = set(acknowledged)
            for poster in posters:
                if (sent := poster.unanswered) is None:
                    continue
                ids = {one["jobid"] for one in sent}
                there = ids & set(found)
                if len({one["timestamp"] for one in sent}) == 1:
                    assert there in (set(), ids), "a request of one month was torn"
                with httpx2.Client(
                    base_url=server.base_url, headers={"Authorization": f"Bearer {token}"}
                ) as client:
                    again = client.post("/v2/account/stats", json=sent)
                assert again.status_code == 200, again.text
                expected |= ids
            whole = stored(server.base_url, token)
            assert len(whole) == len(set(whole))
            assert set(whole) == expected
            assert server.stop() == 0
