"""Accounts in a PostgreSQL: who may what, TLS, outages, and services that share it (C1, C20)."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import httpx2
import pytest

from genmeter.auth.accounts import Accounts
from genmeter.config.urls import Secret, postgresql
from genmeter.errors import AccountsError, StartError
from tests.servers.postgres import DATABASE, PASSWORD, ROLE, TLS_NAME, Postgres
from tests.servers.process import free_port
from tests.servers.tls import Authority
from tests.support import Process, genmeter

NOW = 1_770_978_600_000


def opened(postgres: Postgres) -> Accounts:
    """The accounts in it."""
    return Accounts.on_server(postgres.url(), postgres.secret)


def refused(call: Callable[[], Accounts]) -> str:
    """The one line that says why accounts cannot be opened."""
    with pytest.raises(StartError, match=r"^the accounts database cannot be used: ") as caught:
        call()
    assert "\n" not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    return str(caught.value)


def until(holds: Callable[[], bool]) -> None:
    """Wait until something holds, however slow the machine."""
    give_up = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def status(server: Process, path: str, token: str = "") -> int:
    """What a server answers."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return httpx2.get(server.base_url + path, headers=headers, timeout=60).status_code


def test_who_cannot_get_in_is_told_why_in_one_line(postgres: Postgres) -> None:
    url = postgres.url()
    assert "password authentication failed" in refused(
        lambda: Accounts.on_server(url, Secret(PASSWORD + "x"))
    )
    assert "no password supplied" in refused(lambda: Accounts.on_server(url))
    assert "password authentication failed" in refused(
        lambda: Accounts.on_server(postgres.url(user="nobody"), postgres.secret)
    )


def test_tls_is_checked_to_the_name_of_the_server(postgres: Postgres, tmp_path: Path) -> None:
    def opened(host: str, authority: Authority, mode: str) -> Accounts:
        options = f"sslmode={mode}&sslrootcert={authority.certificate}&application_name=tls"
        return Accounts.on_server(postgres.url(host=host, options=options), postgres.secret)

    trusted, stranger = postgres.authority, Authority(tmp_path)
    with closing(opened(TLS_NAME, trusted, "verify-full")) as accounts:
        text, token = accounts.create("acme", ["read"], now_ms=NOW)
        assert accounts.find(text) == token
        with postgres.admin() as admin:
            encrypted = admin.execute(
                "SELECT bool_and(ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) "
                "WHERE application_name = 'tls'"
            ).fetchone()
        assert encrypted == (True, 1)
    assert "certificate" in refused(lambda: opened(TLS_NAME, stranger, "verify-full"))
    assert "does not match host name" in refused(
        lambda: opened("127.0.0.1", trusted, "verify-full")
    )
    opened("127.0.0.1", trusted, "verify-ca").close()


def test_the_role_needs_no_rights_but_to_read_and_write_its_tables(postgres: Postgres) -> None:
    role = "few_rights"
    postgres.execute(f"DROP ROLE IF EXISTS {role}")
    postgres.execute(f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'")
    postgres.execute(f"ALTER ROLE {role} SET search_path = {ROLE}")
    url = postgres.url(user=role)
    assert "no schema has been selected" in refused(
        lambda: Accounts.on_server(url, postgres.secret)
    )
    opened(postgres).close()
    postgres.execute(
        f"GRANT USAGE ON SCHEMA {ROLE} TO {role};"
        f"GRANT SELECT, INSERT, UPDATE ON {ROLE}.tokens, {ROLE}.record_versions, "
        f"{ROLE}.signing_keys TO {role}"
    )
    with closing(Accounts.on_server(url, postgres.secret)) as accounts:
        text, token = accounts.create("acme", ["read"], now_ms=NOW)
        assert accounts.find(text) == token
        assert accounts.revoke(token.id, now_ms=NOW)
        assert accounts.next_version(NOW) == NOW * 1000
        accounts.raise_version(NOW * 2000)
        assert len(accounts.tokens()) == 1
        assert len(accounts.cursor_key()) == 32


def test_the_primary_is_found_among_several_and_through_a_socket(postgres: Postgres) -> None:
    dead = f"127.0.0.1:{free_port()}"
    several = postgres.address().replace("@", f"@{dead},", 1)
    socket = f"postgresql://{ROLE}@/{DATABASE}?host={postgres.folder}&port={postgres.port}"
    for address in (several, socket):
        with closing(Accounts.on_server(postgresql(address), postgres.secret)) as accounts:
            assert accounts.tokens() == []
    postgres.execute(f"ALTER ROLE {ROLE} SET default_transaction_read_only = on")
    try:
        assert "read-only" in refused(
            lambda: Accounts.on_server(postgresql(several), postgres.secret)
        )
    finally:
        postgres.execute(f"ALTER ROLE {ROLE} RESET default_transaction_read_only")


def test_accounts_come_back_with_their_database(postgres: Postgres) -> None:
    with closing(opened(postgres)) as accounts:
        text, token = accounts.create("acme", ["read"], now_ms=NOW)
        version = accounts.next_version(NOW)
        postgres.stop()
        for _ in range(3):
            with pytest.raises(AccountsError):
                accounts.find(text)
            with pytest.raises(AccountsError):
                accounts.next_version(NOW)
        postgres.start()
        assert accounts.find(text) == token
        assert accounts.next_version(NOW) > version


def test_a_statement_that_waits_for_a_lock_is_given_up(postgres: Postgres) -> None:
    with closing(opened(postgres)) as accounts, postgres.admin() as admin:
        with admin.transaction():
            admin.execute(f"LOCK TABLE {ROLE}.tokens, {ROLE}.record_versions".encode())
            with pytest.raises(AccountsError) as caught:
                accounts.next_version(NOW)
            assert "timeout" in str(caught.value.__cause__)
        assert accounts.next_version(NOW) == NOW * 1000


def test_services_share_tokens_and_what_is_revoked(postgres: Postgres, tmp_path: Path) -> None:
    environ = postgres.variables
    nowhere = tmp_path / "nowhere"

    def command(*arguments: str) -> str:
        done = genmeter("token", *arguments, "--data", str(nowhere), **environ)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with (
        Process(tmp_path / "1", variables=environ) as one,
        Process(tmp_path / "2", variables=environ) as two,
    ):
        token = command("create", "--account", "acme", "--scope", "read").strip()
        for server in (one, two):
            until(lambda server=server: status(server, "/v2/account", token) == 200)  # type: ignore[misc]
        _, row = command("list").splitlines()
        assert row.split()[1] == "acme"
        command("revoke", row.split()[0])
        for server in (one, two):
            until(lambda server=server: status(server, "/v2/account", token) == 401)  # type: ignore[misc]
        copied = genmeter("backup", str(tmp_path / "copy"), "--data", str(tmp_path / "1"))
        assert copied.returncode == 0, copied.stderr
    assert not nowhere.exists()
    assert not list(tmp_path.rglob("accounts.sqlite3"))


def test_c20_a_service_answers_503_while_its_accounts_are_away_and_then_works_again(
    postgres: Postgres, tmp_path: Path
) -> None:
    with closing(opened(postgres)) as accounts:
        token, _ = accounts.create("acme", ["read", "write"], now_ms=NOW)
    with Process(tmp_path / "data", variables=postgres.variables) as server:

        def works() -> bool:
            return (status(server, "/v2/account", token), status(server, "/readyz")) == (200, 200)

        until(works)
        for away, back in ((postgres.stop, postgres.start), (postgres.pause, postgres.resume)):
            away()
            until(lambda: status(server, "/v2/account", token) == 503)
            for text in (token, "somebody else's"):
                answer = httpx2.get(
                    f"{server.base_url}/v2/account",
                    headers={"Authorization": f"Bearer {text}"},
                    timeout=60,
                )
                assert answer.status_code == 503
                assert answer.headers["retry-after"] == "1"
                assert answer.headers["x-request-id"] in answer.json()["error"]
                assert answer.json()["error"].startswith("the accounts database does not answer")
            assert status(server, "/readyz") == 503
            assert (status(server, "/healthz"), status(server, "/v2/account")) == (200, 401)
            back()
            until(works)
        assert server.stop() == 0
        log = server.log()
    assert "Connection refused" in log
    assert "does not answer in time" in log
    assert PASSWORD not in log


def test_the_password_shows_nowhere(postgres: Postgres, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text(f"{PASSWORD}\n")
    file.chmod(0o600)
    with closing(opened(postgres)) as accounts:
        token, _ = accounts.create("acme", ["read"], now_ms=NOW)
        for shown in (accounts, accounts._engine, accounts._engine.url, accounts._engine.pool):
            assert PASSWORD not in f"{shown!r} {shown}"
    flags = ("--accounts", postgres.address(), "--accounts-password-file", str(file))
    with Process(tmp_path / "data", "--log-level", "debug", *flags) as server:
        assert status(server, "/v2/account", token) == 200
        lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline")]
        assert any(postgres.address().encode() in line for line in lines)
        assert not any(PASSWORD.encode() in line for line in lines)
        postgres.stop()
        until(lambda: status(server, "/v2/account", token) == 503)
        cold = genmeter("token", "list", *flags)
        postgres.start()
        assert server.stop() == 0
        assert "a request failed" in server.log()
        assert PASSWORD not in server.log()
    file.write_text(f"{PASSWORD}!\n")
    wrong = genmeter("token", "list", *flags)
    inside = genmeter(
        "serve", "--accounts", f"postgresql://{ROLE}:{PASSWORD}@db.example.com/genmeter"
    )
    for done, words in ((cold, "Connection refused"), (wrong, "password authentication failed"),
                        (inside, "--accounts must be without a password")):  # fmt: skip
        assert done.returncode == 2
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
        assert PASSWORD not in done.stdout + done.stderr
