"""Bots that an operator adds with ``--bots``: what a file may say, and a service with one."""

import re
import tomllib
from pathlib import Path

import httpx2
import pytest

from genmeter.model.bots import ELEVEN
from tests.support import Process, genmeter, new_token

MANUAL = Path(__file__).parent.parent.parent / "docs" / "operations.md"


def test_the_file_of_the_manual_adds_to_the_eleven(tmp_path: Path) -> None:
    content = re.search(r"```toml\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL)
    assert content
    bots = ELEVEN.extended(tomllib.loads(content[1]))
    assert bots.names == (*ELEVEN.names, "flowmusic", "faceswap")
    assert bots.shown["flowmusic"] == ("model",)
    assert bots.tiers == {**ELEVEN.tiers, "TIER_STUDIO": "Studio"}
    assert [field.key for field in bots.fields("flowmusic")][-1] == "model"
    file = tmp_path / "bots.toml"
    file.write_text(content[1])
    token = new_token(tmp_path / "data", "acme")
    job = {
        "config": "a@example.com",
        "endpoint": "post-music",
        "code": 200,
        "msec": 5,
        "model": "m",
    }
    with (
        Process(tmp_path / "data", "--bots", str(file)) as server,
        httpx2.Client(
            base_url=server.base_url, headers={"Authorization": f"Bearer {token}"}
        ) as http,
    ):
        records = [job | {"bot": bot} for bot in ("flowmusic", "faceswap", "sora")]
        stored = http.post("/v2/account/stats", json=records).json()
        assert stored["accepted"] == 2
        assert [one["index"] for one in stored["rejected"]] == [2]
        assert "flowmusic" in stored["rejected"][0]["error"]
        music = http.get("/v2/account/stats", params={"bot": "flowmusic", "limit": 1}).json()
        assert music["summary"]["by_model"] == {"m": 1}
        faces = http.get("/v2/account/stats", params={"bot": "faceswap", "limit": 1}).json()
        assert "by_model" not in faces["summary"]
        assert "model" not in faces["data"][0]
        assert http.get("/v2/account/stats", params={"bot": "sora"}).status_code == 400


def test_an_entry_replaces_what_is_built_in() -> None:
    bots = ELEVEN.extended({"bots": {"luma": {"fields": ["tier", "sku"]}}, "skus": {"X": "Ex"}})
    assert bots.names == ELEVEN.names
    assert bots.shown["luma"] == ("tier", "sku")
    assert bots.skus["X"] == "Ex"
    assert ELEVEN.shown["luma"] == ("model",)


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({"bot": {}}, "there is no table [bot], only [bots], [tiers], [skus]"),
        ({"bots": []}, "bots must be tables such as [bots.flowmusic]"),
        ({"bots": {"Upper": {}}}, "[bots.Upper] must be named by"),
        ({"bots": {"all": {}}}, "[bots.all] must be named by"),
        ({"bots": {"a": 1}}, "[bots.a] must be a table"),
        ({"bots": {"a": {"field": []}}}, "[bots.a] has no setting field, only fields"),
        (
            {"bots": {"a": {"fields": ["config"]}}},
            "[bots.a] fields must be a list of some of model",
        ),
        ({"bots": {"a": {"fields": "model"}}}, "[bots.a] fields must be a list"),
        ({"tiers": {"A": 1}}, "[tiers] must have a text for each value"),
        ({"skus": 5}, "[skus] must have a text for each value"),
    ],
)
def test_a_fault_of_a_file_is_named(document: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=re.escape(told)):
        ELEVEN.extended(document)


def test_a_file_with_faults_stops_the_start_and_all_are_named(tmp_path: Path) -> None:
    file = tmp_path / "bots.toml"
    file.write_text("[bots.A]\n[tiers]\nX = 1\n")
    done = genmeter("serve", "--data", str(tmp_path / "data"), "--bots", str(file))
    assert done.returncode == 2
    assert "[bots.A]" in done.stderr
    assert "[tiers]" in done.stderr
    file.write_text("[bots")
    done = genmeter("serve", "--data", str(tmp_path / "data"), "--bots", str(file))
    assert done.returncode == 2
    assert "--bots must be a TOML file that can be read" in done.stderr
