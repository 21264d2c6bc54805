"""``/v2/tokens``: admins list, make and revoke tokens; nobody else does."""

from typing import Any

import pytest

from genmeter.clock import DAY_MS, iso
from tests.support import NOON_MS, Client, Running

PATH = "/v2/tokens"


def made(admin: Client, **wanted: Any) -> dict[str, Any]:
    """A token that must be made."""
    response = admin.http.post(PATH, json=wanted)
    assert response.status_code == 201, response.text
    assert response.headers["cache-control"] == "no-store"
    answer: dict[str, Any] = response.json()
    return answer


def test_a_token_is_made_works_is_listed_and_revoked(service: Running, admin: Client) -> None:
    token = made(admin, account="acme", scopes=["write", "read"], name="by hand", expires_days=1.5)
    text = token.pop("token")
    assert token == {
        "id": token["id"],
        "account": "acme",
        "name": "by hand",
        "scopes": ["read", "write"],
        "created": iso(NOON_MS),
        "expires": iso(NOON_MS + DAY_MS * 3 // 2),
        "revoked": None,
        "valid": True,
    }
    holder = service.holder(text)
    assert holder.http.get("/v2/account").json()["name"] == "by hand"
    listing = admin.http.get(PATH)
    assert text not in listing.text
    assert token in listing.json()["tokens"]

    revoked = admin.http.delete(f"{PATH}/{token['id']}")
    assert revoked.status_code == 200
    assert revoked.json() == token | {"revoked": iso(NOON_MS), "valid": False}
    assert revoked.json() in admin.http.get(PATH).json()["tokens"]
    service.service.tokens._asked.clear()  # an answer is remembered for half a second
    assert holder.http.get("/v2/account").status_code == 401
    assert admin.http.delete(f"{PATH}/{token['id']}").status_code == 404


def test_one_that_has_expired_is_listed_as_not_valid(service: Running, admin: Client) -> None:
    token = made(admin, account="acme", scopes=["read"], expires_days=1)
    service.clock.ms += DAY_MS
    (listed,) = (t for t in admin.http.get(PATH).json()["tokens"] if t["id"] == token["id"])
    assert (listed["valid"], listed["revoked"]) == (False, None)


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b'{"account": "a b", "scopes": ["all"]}', 400, "account must be 1 to 64"),
        (b'{"account": "a", "scopes": []}', 400, "scope must be one or more of read, write"),
        (b'{"account": "a"}', 400, "missing required field `scopes`"),
        (b'{"account": "a", "scopes": ["read"], "x": 1}', 400, "unknown field `x`"),
        (b"[", 400, "the body is not a valid token request"),
        (b" " * 70_000, 413, "over 65536 bytes"),
    ],
)
def test_refusals(admin: Client, body: bytes, status: int, words: str) -> None:
    response = admin.http.post(PATH, content=body)
    assert response.status_code == status
    assert words in response.json()["error"]


def test_nobody_else_may(service: Running, client: Client, admin: Client) -> None:
    token = made(admin, account="acme", scopes=["read"])
    wanted = {"account": client.account, "scopes": ["admin"]}
    for holder, status in ((client, 403), (service.holder(None), 401)):
        assert holder.http.get(PATH).status_code == status
        assert holder.http.post(PATH, json=wanted).status_code == status
        assert holder.http.delete(f"{PATH}/{token['id']}").status_code == status
    assert service.holder(token["token"]).http.get("/v2/account").status_code == 200
