"""The attacks in ``attacks/``, played against one server over plain sockets.

Each file is TOML with entries ``[[attack]]``:

- ``send``: pieces to send as they are; a piece is a text, or ``{text, times}`` for a long one.
  Characters stand for the bytes of the same number (Latin-1).
- Or ``head``, the lines of a request's head, and ``body``, its pieces, in UTF-8; ``coding``
  compresses them. Host and Content-Length are added where they are missing.
- ``{token}`` is a customer's token, ``{admin}`` an admin's, ``{cursor}`` a cursor of the customer,
  ``{cursor:N}`` from its character N on, or without its last -N. ``{repeat:TEXT:N}`` is N times
  TEXT. ``{name}`` is each parameter of ``parameters_of`` in turn.
- ``status`` are those allowed. ``says`` is in the response, ``lacks`` is not. ``responses`` is how
  many come, where that is the point.

No response may be a 5xx or hold another account's records; the server goes on answering and does
not grow.
"""

import contextlib
import json
import re
import time
import tomllib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx2
import pytest
import zstandard

from tests.server.raw import connected
from tests.support import Process, job, new_token

pytestmark = pytest.mark.own_engine

SECRET: Final = "only-for-the-victim"
PIECE: Final = 64 * 1024
PATIENCE_S: Final = 30
"""An attack that is not answered within this fails; all of them take a second or less."""

MOST_GROWTH_MB: Final = 80
"""A body of 16 MiB is in hand more than once while it is decompressed and decoded: 38 MB here."""

ATTACKS: Final = [
    attack
    for file in sorted((Path(__file__).parent / "attacks").glob("*.toml"))
    for attack in tomllib.loads(file.read_text(encoding="utf-8"))["attack"]
]


class Target:
    """A server with records of two accounts, one of whom attacks."""

    def __init__(self, process: Process, tokens: dict[str, str]) -> None:
        self.process = process
        self.known = dict(tokens)
        with httpx2.Client(base_url=process.base_url, timeout=60) as client:
            for name in ("victim", "token"):
                now_ms = int(time.time() * 1000)
                config = SECRET if name == "victim" else "mine"
                records = [job(now_ms - n, config=config) for n in range(3)]
                sent = client.post("/v2/account/stats", json=records, headers=self.bearer(name))
                assert sent.json()["accepted"] == 3, sent.text
            page = client.get(
                "/v2/account/stats/rows", params={"limit": 1}, headers=self.bearer("token")
            )
            self.known["cursor"] = page.json()["next_cursor"]
            self.paths: dict[str, Any] = client.get("/openapi.json").json()["paths"]
        self.start_mb = 0.0

    def bearer(self, name: str) -> dict[str, str]:
        """The header of who has the token of that name."""
        return {"Authorization": f"Bearer {self.known[name]}"}

    def names(self, path: str) -> list[str]:
        """The parameters of a path's GET."""
        return [one["name"] for one in self.paths[path]["get"]["parameters"]]

    def filled(self, text: str, name: str = "") -> str:
        """``text`` with what its braces stand for."""

        def value(found: re.Match[str]) -> str:
            what, _, rest = found[1].partition(":")
            if what == "repeat":
                repeated, _, times = rest.rpartition(":")
                return repeated * int(times)
            if what == "name":
                return name
            known = self.known[what]
            return known[: int(rest)] if rest.startswith("-") else known[int(rest or 0) :]

        return re.sub(r"\{((?:token|admin|cursor|name|repeat)(?::[^{}]*)?)\}", value, text)

    def pieces(self, attack: dict[str, Any], name: str) -> Iterator[bytes]:
        """What is sent."""
        if "send" in attack:
            for part in attack["send"]:
                yield from self.encoded(part, "latin-1", name)
            return
        body = b""
        if "body" in attack:
            parts = (
                piece for part in attack["body"] for piece in self.encoded(part, "utf-8", name)
            )
            body = compressed(parts, attack.get("coding", ""))
        lines = [self.filled(line, name) for line in attack["head"]]
        given = {line.partition(":")[0].lower() for line in lines[1:]}
        lines += ["Host: test"] * ("host" not in given)
        if "body" in attack and "content-length" not in given:
            lines.append(f"Content-Length: {len(body)}")
        if "coding" in attack:
            lines.append(f"Content-Encoding: {attack['coding']}")
        yield "\r\n".join([*lines, "", ""]).encode("latin-1")
        for start in range(0, len(body), PIECE):
            yield body[start : start + PIECE]

    def encoded(self, part: str | dict[str, Any], charset: str, name: str) -> Iterator[bytes]:
        """The bytes of a piece, a long one in parts."""
        if isinstance(part, str):
            yield self.filled(part, name).encode(charset)
            return
        text, left = part["text"].encode(charset), part["times"]
        at_once = max(1, PIECE // len(text))
        while left > 0:
            yield text * min(at_once, left)
            left -= at_once

    def play(self, attack: dict[str, Any], name: str = "") -> bytes:
        """What the server says to an attack, until it has said it or closes."""
        most = attack.get("responses", 1)
        received = b""
        with connected(self.process.base_url) as connection, contextlib.suppress(ConnectionError):
            with contextlib.suppress(ConnectionError):
                for piece in self.pieces(attack, name):
                    connection.sendall(piece)
            until = time.monotonic() + PATIENCE_S
            while len(statuses(received)) < most and (piece := connection.recv(PIECE)):
                received += piece
                assert time.monotonic() < until, received[-200:]
            if "responses" in attack:  # a smuggled request would be answered now
                connection.settimeout(0.5)
                with contextlib.suppress(TimeoutError):
                    while piece := connection.recv(PIECE):
                        received += piece
        return received


def statuses(received: bytes) -> list[int]:
    """The statuses of the whole responses in what was received."""
    found = []
    while (end := received.find(b"\r\n\r\n")) >= 0:
        head, rest = received[:end].lower(), received[end + 4 :]
        if length := re.search(rb"\r\ncontent-length: (\d+)", head):
            size = int(length[1])
        else:
            size = rest.find(b"0\r\n\r\n") + 5 if b"chunked" in head else 0
        if len(rest) < size or (b"chunked" in head and size == 4):
            break
        found.append(int(head.split()[1]))
        received = rest[size:]
    return found


def compressed(parts: Iterator[bytes], coding: str) -> bytes:
    """All parts as one body, without ever having them at once."""
    if not coding:
        return b"".join(parts)
    packer: Any = (
        zlib.compressobj(1, wbits=31)
        if coding == "gzip"
        else zstandard.ZstdCompressor().compressobj()
    )
    return b"".join(packer.compress(part) for part in parts) + bytes(packer.flush())


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The server, warmed up."""
    data = tmp_path_factory.mktemp("attacks") / "data"
    tokens = {
        "token": new_token(data, "attacker"),
        "victim": new_token(data, "victim"),
        "admin": new_token(data, "admin", "admin"),
    }
    with Process(data, "--failed-tokens", "0", "--head-seconds", "5") as process:
        made = Target(process, tokens)
        with httpx2.Client(base_url=process.base_url, timeout=60) as client:
            for path in ("query", "rows", "meta"):
                got = client.get(f"/v2/account/stats/{path}", headers=made.bearer("token"))
                assert got.status_code == 200
            body = b"[" + b" " * (16 * 2**20 - 2) + b"]"
            kind = {"Content-Type": "application/json"}
            client.post("/v2/account/stats", content=body, headers=made.bearer("token") | kind)
        made.start_mb = process.resident_mb("VmHWM")
        yield made
        assert "Traceback" not in process.log(), process.log()[-3000:]


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack["name"] for attack in ATTACKS])
def test_an_attack_is_refused_and_harms_nobody(target: Target, attack: dict[str, Any]) -> None:
    names = target.names(attack["parameters_of"]) if "parameters_of" in attack else [""]
    for name in names:
        received = target.play(attack, name)
        found = statuses(received)
        assert found, (name, received[:300])
        assert set(found) <= set(attack["status"]), (name, received[:600])
        assert len(found) == attack.get("responses", 1), received[:600]
        assert SECRET.encode() not in received
        assert attack.get("says", "").encode() in received, received[:600]
        if "lacks" in attack:
            assert attack["lacks"].encode() not in received, received[:600]
        if len(found) == 1 and found[0] >= 400:
            body = received.partition(b"\r\n\r\n")[2]
            assert list(json.loads(body)) in (["error"], ["accepted", "rejected", "rejected_total"])
            assert len(body) < PIECE
    health = httpx2.get(f"{target.process.base_url}/healthz", timeout=PATIENCE_S)
    assert health.status_code == 200
    assert target.process.resident_mb("VmHWM") < target.start_mb + MOST_GROWTH_MB


def test_after_all_attacks_it_is_as_before(target: Target) -> None:
    with httpx2.Client(base_url=target.process.base_url, timeout=60) as client:
        for name in ("victim", "token"):
            total = client.get("/v2/account/stats/query", headers=target.bearer(name)).json()[
                "total"
            ]
            assert total["jobs"] == 3
        assert client.get("/readyz").status_code == 200
        tokens = client.get("/v2/tokens", headers=target.bearer("admin")).json()["tokens"]
        assert len(tokens) == 3
