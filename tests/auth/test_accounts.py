"""Accounts and tokens on real databases, SQLite and PostgreSQL (C1)."""

import hashlib
import re
import sqlite3
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Final

import pytest

from genmeter.auth.accounts import Accounts, Token, _share_sqlite
from genmeter.errors import AccountsError, BadRequestError, ForbiddenError, StartError
from tests.databases import Database

NOW: Final = 1_770_978_600_000
DAY: Final = 86_400_000


@pytest.fixture
def accounts(database: Database) -> Iterator[Accounts]:
    with closing(database.open()) as accounts:
        yield accounts


def faults(accounts: Accounts, account: str, scopes: list[str], **more: object) -> list[str]:
    with pytest.raises(BadRequestError) as caught:
        accounts.create(account, scopes, now_ms=NOW, **more)  # type: ignore[arg-type]
    assert accounts.tokens() == []
    return list(caught.value.faults)


def test_c1_a_new_token_is_found_by_its_text_and_by_nothing_else(accounts: Accounts) -> None:
    text, token = accounts.create("acme", ["read", "write"], now_ms=NOW)
    assert re.fullmatch(r"user:acme-[0-9a-f]{48}", text)
    assert token == Token(
        id=token.id, account="acme", name="acme", scopes=("read", "write"), created_ms=NOW
    )
    assert re.fullmatch(r"[0-9a-f]{8}", token.id)
    assert accounts.find(text) == token
    digest = hashlib.sha256(text.encode()).hexdigest()
    for other in ("", text[:-1], text + "0", text.upper(), f" {text}", digest, token.id, "acme",
                  "' OR ''='", "%", text.split("-")[1], "ä\0😀"):  # fmt: skip
        assert accounts.find(other) is None


def test_tokens_are_each_their_own(accounts: Accounts) -> None:
    made = [accounts.create("acme", ["read"], now_ms=NOW) for _ in range(20)]
    assert len({text for text, _ in made}) == len({token.id for _, token in made}) == 20
    assert [accounts.find(text) for text, _ in made] == [token for _, token in made]


def test_only_a_hash_is_stored(accounts: Accounts, database: Database) -> None:
    made = [accounts.create("acme", ["read"], now_ms=NOW)[0] for _ in range(3)]
    for closed in (False, True):
        if closed:
            accounts.close()
        stored = database.content()
        for text in made:
            secret = text.split("-")[1]
            for form in (secret, secret.upper(), secret[:16], secret[16:]):
                assert form.encode() not in stored
            assert bytes.fromhex(secret) not in stored
            assert hashlib.sha256(text.encode()).hexdigest().encode() in stored


def test_what_was_made_is_there_for_others_at_once_and_after_a_restart(
    accounts: Accounts, database: Database
) -> None:
    with closing(database.open()) as other:
        text, token = other.create("acme", ["admin"], now_ms=NOW, name="n", expires_days=1)
        assert accounts.find(text) == token
        assert accounts.revoke(token.id, now_ms=NOW + 5)
        found = other.find(text)
        assert found is not None
        assert found.revoked_ms == NOW + 5
    with closing(database.open()) as later:
        assert later.tokens() == [found]


def test_tokens_are_listed_by_account_and_age_whatever_became_of_them(accounts: Accounts) -> None:
    for account, age in (("b", 1), ("a", 1), ("b", 3), ("a", 2)):
        _, token = accounts.create(account, ["read"], now_ms=NOW - age, expires_days=0.5)
    accounts.revoke(token.id, now_ms=NOW)
    listed = [(token.account, NOW - token.created_ms) for token in accounts.tokens()]
    assert listed == [("a", 2), ("a", 1), ("b", 3), ("b", 1)]
    assert [token.revoked_ms for token in accounts.tokens()] == [NOW, None, None, None]


def test_a_revoked_token_is_not_valid_and_can_be_revoked_once(accounts: Accounts) -> None:
    text, token = accounts.create("acme", ["read"], now_ms=NOW)
    other_text, _ = accounts.create("acme", ["read"], now_ms=NOW)
    assert token.valid(NOW)
    assert accounts.revoke(token.id, now_ms=NOW + 1)
    assert not accounts.revoke(token.id, now_ms=NOW + 2)
    for nothing in ("", "%", "00000000", token.id.upper() + "x", text, "\0", token.id + "\0"):
        assert not accounts.revoke(nothing, now_ms=NOW)
    found, other = accounts.find(text), accounts.find(other_text)
    assert found is not None
    assert other is not None
    assert (found.revoked_ms, found.valid(NOW), found.valid(NOW + DAY)) == (NOW + 1, False, False)
    assert other.valid(NOW)


def test_tokens_are_taken_over_once_and_revoked_where_they_are(
    accounts: Accounts, tmp_path: Path
) -> None:
    own, kept = accounts.create("acme", ["read"], now_ms=NOW)
    with closing(Accounts.in_folder(tmp_path / "other")) as other:
        assert accounts.take_over(other) == (0, 0)
        made = [other.create("acme", ["read"], now_ms=NOW, expires_days=n) for n in (None, 1, 2)]
        other.revoke(made[0][1].id, now_ms=NOW)
        assert accounts.take_over(other) == (3, 0)
        assert all(accounts.find(text) == other.find(text) for text, _ in made)
        other.revoke(made[1][1].id, now_ms=NOW + 1)
        accounts.revoke(made[2][1].id, now_ms=NOW + 2)
        assert accounts.take_over(other) == (0, 3)
        assert not other.tokens()[2].revoked_ms
    revoked = [token.revoked_ms for text, _ in made if (token := accounts.find(text))]
    assert revoked == [NOW, NOW + 1, NOW + 2]
    assert accounts.find(own) == kept
    assert len(accounts.tokens()) == 4


@pytest.mark.parametrize(
    ("days", "ms"), [(1, DAY), (0.5, DAY // 2), (36_500, 36_500 * DAY), (1 / DAY, 1), (None, None)]
)
def test_a_token_is_valid_up_to_its_end_and_no_longer(
    accounts: Accounts, days: float | None, ms: int | None
) -> None:
    text, token = accounts.create("acme", ["read"], now_ms=NOW, expires_days=days)
    assert accounts.find(text) == token
    assert token.expires_ms == (None if ms is None else NOW + ms)
    assert token.valid(NOW if ms is None else NOW + ms - 1)
    assert token.valid(NOW + 40_000 * DAY) == (ms is None)
    assert ms is None or not token.valid(NOW + ms)


def test_scopes_are_kept_once_each_in_their_order(accounts: Accounts) -> None:
    _, token = accounts.create("acme", ["admin", "read", "admin"], now_ms=NOW)
    assert token.scopes == ("read", "admin")
    assert accounts.tokens()[0].scopes == ("read", "admin")


def test_a_token_may_do_what_its_scopes_say_and_admin_everything() -> None:
    def token(*scopes: str) -> Token:
        return Token(id="1", account="a", name="a", scopes=scopes, created_ms=0)

    token("read").require("read")
    token("read", "write").require("write")
    for scope in ("read", "write", "admin"):
        token("admin").require(scope)
    for scopes, scope in ((("read",), "write"), (("write",), "read"), (("read", "write"), "admin")):
        with pytest.raises(ForbiddenError) as caught:
            token(*scopes).require(scope)
        assert str(caught.value) == (
            f"this token has the scope {', '.join(scopes)}; {scope} is needed here"
        )
    assert [token(scope).is_admin for scope in ("read", "write", "admin")] == [False, False, True]


def test_all_faults_of_a_token_are_reported_together(accounts: Accounts) -> None:
    found = faults(accounts, "a b", ["read", "root"], name="x\n", expires_days=0)
    assert found == [
        "account must be 1 to 64 letters, digits and . _ @ + -, a letter or digit first",
        "scope must be one or more of read, write, admin",
        "name must be at most 200 printable characters",
        "expires must be more than 0 and at most 36500 days",
    ]


@pytest.mark.parametrize(
    "account", ["", "a b", "-a", ".a", "a/b", "a:b", "ä", "a\n", "a\0", "a" * 65, "'", "\u0661"]
)
def test_an_account_has_a_plain_name(accounts: Accounts, account: str) -> None:
    assert [fault[:12] for fault in faults(accounts, account, ["read"])] == ["account must"]


def test_names_up_to_their_limits_are_taken(accounts: Accounts) -> None:
    for account in ("a", "9", "a" * 64, "Ops.1_x@example.com+b-c"):
        text, token = accounts.create(account, ["read"], now_ms=NOW, name="ä" * 200)
        assert (token.account, token.name) == (account, "ä" * 200)
        assert text.startswith(f"user:{account}-")


@pytest.mark.parametrize("scopes", [[], [""], ["Read"], ["read,write"], ["read", "x"]])
def test_only_the_three_scopes_are_taken(accounts: Accounts, scopes: list[str]) -> None:
    assert faults(accounts, "a", scopes) == ["scope must be one or more of read, write, admin"]


def test_other_faults_one_by_one(accounts: Accounts) -> None:
    for name in ("x" * 201, "a\tb", "a\u2028b", "\ud800"):
        assert faults(accounts, "a", ["read"], name=name)[0].startswith("name must be at most 200")
    for days in (0, -1, 36_500.1, float("nan"), float("inf")):
        assert faults(accounts, "a", ["read"], expires_days=days)[0].startswith("expires must be")


def test_what_waiting_does_not_mend_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(sqlite3.connect(tmp_path / "db")) as made:
        made.execute("CREATE TABLE t (x)")
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waits"))
    with (
        closing(sqlite3.connect(f"file:{tmp_path / 'db'}?mode=ro", uri=True)) as read_only,
        pytest.raises(sqlite3.OperationalError, match="readonly"),
    ):
        _share_sqlite(read_only, None)


def test_many_may_start_at_once(database: Database) -> None:
    together = threading.Barrier(6)

    def start(_: int) -> str:
        together.wait(30)
        with closing(database.open()) as accounts:
            return accounts.create("acme", ["read"], now_ms=NOW)[0]

    with ThreadPoolExecutor(6) as pool:
        texts = list(pool.map(start, range(6)))
    with closing(database.open()) as accounts:
        assert len(accounts.tokens()) == 6
        assert all(accounts.find(text) for text in texts)
        assert accounts.next_version(0) == 1


def test_many_threads_make_and_find_tokens_at_once(accounts: Accounts) -> None:
    def make(number: int) -> bool:
        text, token = accounts.create(f"a{number % 3}", ["read"], now_ms=NOW + number)
        return accounts.find(text) == token

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(make, range(40)))
    assert len(accounts.tokens()) == 40


@pytest.mark.parametrize("name", ["a b", "a#b", "ä", "a@b:c", "a'b", "a?b", "a%41b", "a?mode=ro"])
def test_the_tokens_lie_in_the_folder_whatever_its_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    with closing(Accounts.in_folder(folder)) as accounts:
        text, token = accounts.create("acme", ["read"], now_ms=NOW)
        assert accounts.find(text) == token
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (folder / "accounts.sqlite3").is_file()


def test_a_folder_that_cannot_be_made_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "data"):
        with pytest.raises(StartError, match="cannot make the data folder") as caught:
            Accounts.in_folder(folder)
        assert "\n" not in str(caught.value)


def test_a_database_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "accounts.sqlite3").write_bytes(b"nothing of the kind\n" * 1000)
    with pytest.raises(StartError, match="the accounts database cannot be used: ") as caught:
        Accounts.in_folder(tmp_path)
    assert "\n" not in str(caught.value)
    assert "CREATE" not in str(caught.value)


def test_c20_a_database_that_fails_is_503_without_its_words(
    accounts: Accounts, database: Database
) -> None:
    database.execute("DROP TABLE tokens")
    database.execute("DROP TABLE record_versions")
    with pytest.raises(AccountsError) as caught:
        accounts.find("x")
    assert str(caught.value) == "the accounts database does not answer"
    assert (caught.value.status, caught.value.retry_after) == (503, 1)
    for call in (
        lambda: accounts.create("a", ["read"], now_ms=NOW),
        lambda: accounts.revoke("a", now_ms=NOW),
        lambda: accounts.next_version(NOW),
        lambda: accounts.raise_version(NOW),
        accounts.tokens,
    ):
        with pytest.raises(AccountsError, match=r"^the accounts database does not answer$"):
            call()


def test_the_key_of_cursors_is_random_shared_and_stays(
    accounts: Accounts, database: Database, tmp_path: Path
) -> None:
    key = accounts.cursor_key()
    assert len(key) == 32
    with closing(database.open()) as other:
        assert other.cursor_key() == key
    with closing(Accounts.in_folder(tmp_path / "another")) as another:
        assert another.cursor_key() != key


def test_a_database_from_before_gets_a_key_of_cursors(database: Database) -> None:
    database.open().close()
    database.execute("DROP TABLE signing_keys")
    with closing(database.open()) as accounts:
        assert len(accounts.cursor_key()) == 32
