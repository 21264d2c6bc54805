"""A service with a handful of records, which clients and the command line ask."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec

from genmeter.client import Client
from genmeter.clock import day_start_ms, iso
from tests.support import Process, new_token

DAY: Final = "2026-02-10"
RANGE: Final = {"from": "2026-02-10", "to": "2026-02-12"}
"""Two days, the first with all records but one."""

_HOUR_MS: Final = 3_600_000
_FIELDS: Final = ("hour", "code", "msec", "model", "config", "bot")
_RECORDS: Final = (
    (0, 200, 1000, "veo-3.1-fast", "ops@example.com", "google-flow"),
    (1, 200, 3000, "veo-3.1-fast", "ops@example.com", "google-flow"),
    (1, 429, 200, "veo-3.1-fast", "größe@example.com", "google-flow"),
    (13, 200, 5000, "imagen-4", "ops@example.com", "google-flow"),
    (14, 403, 400, "imagen-4", "größe@example.com", "google-flow"),
    (23, 596, 90000, "", "a,b", "kling"),
    (24, 200, 7000, "imagen-4", "ops@example.com", "google-flow"),
)


def records() -> list[dict[str, Any]]:
    """The records as they are posted, by time."""
    rows = []
    for number, values in enumerate(_RECORDS):
        fields: dict[str, Any] = dict(zip(_FIELDS, values, strict=True))
        hour = fields.pop("hour")
        moment = iso(day_start_ms(DAY) + hour * _HOUR_MS)
        rows.append({"timestamp": moment, "jobid": f"job-{number}", "endpoint": "videos"} | fields)
    return rows


class Asked:
    """The service, the account's token, and a client that holds it."""

    def __init__(self, server: Process, token: str) -> None:
        self.url = server.base_url
        self.token = token

    def client(self, url: str = "") -> Client:
        """Somebody who asks, by another way to the service if one is given."""
        return Client(url or self.url, self.token)

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a command that asks."""
        return {"GENMETER_URL": self.url, "GENMETER_TOKEN": self.token}

    @property
    def port(self) -> int:
        """Where the service listens."""
        return int(self.url.rsplit(":", 1)[1])

    def record(self, rows: list[dict[str, Any]]) -> None:
        """Post records that must all be taken."""
        response = httpx2.post(
            f"{self.url}/v2/account/stats",
            content=msgspec.json.encode(rows),
            headers={"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
            timeout=60,
        )
        assert response.status_code == 200, response.text
        assert response.json()["accepted"] == len(rows), response.text


@contextmanager
def asked_service(folder: Path, rows: Sequence[dict[str, Any]] = ()) -> Iterator[Asked]:
    """A server process with :func:`records` of acme, or with ``rows``; it keeps them for ever."""
    data = folder / "data"
    with Process(data, "--retention-days", "0") as server:
        asked = Asked(server, new_token(data, "acme"))
        asked.record(list(rows) or records())
        yield asked
