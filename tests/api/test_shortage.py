"""A machine that is short of something gets 503 to the client, at once, and not 500 or nothing."""

import errno
from typing import Any, NoReturn

import pytest

from tests.support import Client, Running

pytestmark = pytest.mark.engines("embedded")

QUERY = "/v2/account/stats/query"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (RuntimeError("can't start new thread"), 503),
        (MemoryError(), 503),
        (OSError(errno.EMFILE, "Too many open files"), 503),
        (OSError(errno.ENOSPC, "No space left on device"), 503),
        (RuntimeError("something else"), 500),
    ],
)
def test_a_query_that_cannot_start_is_answered_at_once(
    service: Running,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    status: int,
) -> None:
    async def run(*_: Any) -> NoReturn:
        raise error

    monkeypatch.setattr(service.service.pool, "run", run)
    response = client.http.get(QUERY, params={"last": "1d"}, timeout=10)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"error"}
    assert response.headers.get("Retry-After") == ("1" if status == 503 else None)
