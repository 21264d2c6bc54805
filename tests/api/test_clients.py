"""The clients of the page's own examples, with only the host changed."""

import json
import subprocess
from typing import Any

import pytest
import requests

from tests.support import TODAY, Client, job, program


@pytest.fixture
def asked(client: Client) -> Client:
    """Somebody with two records of today."""
    client.record(job(config="größe+1@example.com"), job(code=429))
    return client


def run(*command: str) -> dict[str, Any]:
    """What a program printed, as JSON."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def check(stats: dict[str, Any]) -> None:
    """The answer that every client must print."""
    assert stats["total"] == len(stats["data"]) == 2
    assert stats["summary"]["success_rate"] == "50.0%"


def test_curl(asked: Client) -> None:
    header = f"Authorization: Bearer {asked.token}"
    url = f"{asked.base_url}/v2/account/stats?bot=google-flow"
    check(run(program("curl"), "-s", "-H", header, url))
    check(run(program("curl"), "-s", "-H", header, f"{url}&date={TODAY}"))
    check(run(program("curl"), "-s", "--compressed", "-H", header, f"{url}&limit=1000"))
    one = run(program("curl"), "-s", "-H", header, f"{url}&config=ops@example.com")
    assert one["total"] == 1


def test_python_requests(asked: Client) -> None:
    headers = {"Authorization": f"Bearer {asked.token}"}
    response = requests.get(
        f"{asked.base_url}/v2/account/stats",
        params={"bot": "google-flow"},
        headers=headers,
        timeout=60,
    )
    check(response.json())
    response = requests.get(
        f"{asked.base_url}/v2/account/stats",
        params={"bot": "google-flow", "config": "größe+1@example.com"},
        headers=headers,
        timeout=60,
    )
    assert response.json()["total"] == 1


def test_javascript_fetch(asked: Client) -> None:
    script = """
const [base, token, date] = process.argv.slice(1);
const response = await fetch(
  `${base}/v2/account/stats?bot=google-flow&date=${date}`,
  { headers: { 'Authorization': `Bearer ${token}` } },
);
console.log(JSON.stringify(await response.json()));
"""
    node = program("node")
    command = [node, "--input-type=module", "-e", script]
    check(run(*command, asked.base_url, str(asked.token), TODAY))


def test_rows_of_one_server_can_be_posted_to_another(asked: Client) -> None:
    rows = asked.stats(bot="google-flow")["data"]
    again = asked.send([{"bot": "google-flow", **row} for row in rows])
    assert again.json()["accepted"] == 2
    assert asked.stats(bot="google-flow")["data"] == rows
