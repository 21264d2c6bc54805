"""Addresses of servers: what they say, and what is wrong with them."""

import re

import pytest

from genmeter.config.urls import (
    POSTGRESQL_OPTIONS,
    ClickHouseUrl,
    PostgresqlUrl,
    Secret,
    clickhouse,
    postgresql,
    service,
)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://a/b", ClickHouseUrl(secure=False, hosts=(("a", 8123),), database="b")),
        ("https://a/b", ClickHouseUrl(secure=True, hosts=(("a", 8443),), database="b")),
        (
            "https://me@10.0.0.1:1,[::1],[2001:db8::1]:65535,a-1.example.com.:0080/_B9",
            ClickHouseUrl(
                secure=True,
                user="me",
                hosts=(
                    ("10.0.0.1", 1),
                    ("::1", 8443),
                    ("2001:db8::1", 65_535),
                    ("a-1.example.com.", 80),
                ),
                database="_B9",
            ),
        ),
        (
            "http://m%C3%A9%40x%3A@a/b",
            ClickHouseUrl(secure=False, user="mé@x:", hosts=(("a", 8123),), database="b"),
        ),
    ],
)
def test_the_address_of_a_clickhouse(text: str, url: ClickHouseUrl) -> None:
    assert clickhouse(text) == url


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "http[s]://"), ("a/b", "http[s]://"), ("tcp://a/b", "http[s]://"),
        ("HTTP://a/b", "http[s]://"), ("http:/a/b", "http[s]://"), ("http://a", "DATABASE is"),
        ("http://a/", "DATABASE is"), ("http://a/1", "DATABASE is"), ("http://a/b/", "DATABASE is"),
        ("http://a/b-c", "DATABASE is"), ("http://a/b?x=1", "DATABASE is"),
        ("http://a/b#", "DATABASE is"), ("http://a/ä", "DATABASE is"), ("http://a/b\n", "DATABASE"),
        ("http:///b", "host 1 is a name"), ("http://a,/b", "host 2 is a name"),
        ("http://a b/c", "host 1 is a name"), ("http://ä/c", "host 1 is a name"),
        ("http://::1/b", "host 1 is a name"), ("http://[::1/b", "host 1 is a name"),
        ("http://[a]/b", "host 1 is a name"), ("http://[::1]1/b", "host 1 is a name"),
        ("http://a,-b/c", "host 2 is a name"), ("http://a:/b", "host 1 has a port"),
        ("http://a:0/b", "host 1 has a port"), ("http://a,b:65536/c", "host 2 has a port"),
        ("http://a:x/b", "host 1 has a port"), ("http://a:1:2/b", "host 1 has a port"),
        ("http://a:٣/b", "host 1 has a port"), ("http://[::1]:/b", "host 1 has a port"),
        ("http://@a/b", "without the @"), ("http://u%00@a/b", "USER is printable"),
        ("http://u%ff@a/b", "USER is printable"), ("http://u@v@a/b", "USER is printable"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_address_of_a_clickhouse(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)) as caught:
        clickhouse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        (
            "postgresql://u@a/b",
            PostgresqlUrl(user="u", hosts=(("a", 5432),), database="b"),
        ),
        (
            "postgresql://u%2F@a:1,[::1],c:2/my%20b%2F?sslmode=verify-full&sslrootcert=/x/y%3Fz",
            PostgresqlUrl(
                user="u/",
                hosts=(("a", 1), ("::1", 5432), ("c", 2)),
                database="my b/",
                options={"sslmode": "verify-full", "sslrootcert": "/x/y?z"},
            ),
        ),
        (
            "postgresql://u@/b?host=/run/postgresql",
            PostgresqlUrl(user="u", hosts=(), database="b", options={"host": "/run/postgresql"}),
        ),
    ],
)
def test_the_address_of_a_postgresql(text: str, url: PostgresqlUrl) -> None:
    assert postgresql(text) == url


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "postgresql://"), ("a/b", "postgresql://"), ("mysql://u@a/b", "postgresql://USER@"),
        ("postgresql://a/b", "USER and DATABASE are needed"),
        ("postgresql://u@a", "USER and DATABASE are needed"),
        ("postgresql://u@a/", "USER and DATABASE are needed"),
        ("postgresql://u@a/?sslmode=require", "USER and DATABASE are needed"),
        ("postgresql://@a/b", "a user before the @"), ("postgresql://u@/b", "host 1 is a name"),
        ("postgresql://u@a:x/b", "host 1 has a port"),
        ("postgresql://u@a/b/c", "DATABASE is printable"),
        ("postgresql://u@a/b#c", "DATABASE is printable"),
        ("postgresql://u@a/b%0A", "DATABASE is printable"),
        ("postgresql://u@a/b?sslmod=require", f"one of {', '.join(POSTGRESQL_OPTIONS)}"),
        ("postgresql://u@a/b?sslmode", "OPTION is once one of"),
        ("postgresql://u@a/b?sslmode=%ff", "OPTION is once one of"),
        ("postgresql://u@a/b?sslmode=require&sslmode=disable", "OPTION is once one of"),
        ("postgresql://u@a/b?host=/run", "the options host and port are for"),
        ("postgresql://u@/b?host=c", "the options host and port are for"),
        ("postgresql://u@/b?port=1", "the options host and port are for"),
        ("postgresql://u@a/b?port=1", "the options host and port are for"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_address_of_a_postgresql(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)) as caught:
        postgresql(text)
    assert "\n" not in str(caught.value)


def test_no_option_can_hold_a_password() -> None:
    assert not [option for option in POSTGRESQL_OPTIONS if "pass" in option or "secret" in option]


def test_a_secret_shows_itself_to_none_but_who_asks() -> None:
    secret = Secret("hunter2")
    assert secret.reveal() == "hunter2"
    assert f"{secret} {secret!r} {secret!s} {[secret]}".count("Secret(...)") == 4
    assert secret == Secret("hunter2")
    assert secret != Secret("hunter3")
    assert secret != "hunter2"
    assert len({secret, Secret("hunter2")}) == 1


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000"), ("https://a/", "https://a"),
        ("https://[::1]:1/stats/x//", "https://[::1]:1/stats/x"),
    ],
)  # fmt: skip
def test_the_address_of_a_service(text: str, url: str) -> None:
    assert service(text) == url


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "http[s]://"), ("a:8000", "http[s]://"), ("ftp://hunter2", "http[s]://"),
        ("http://u:hunter2@a", "who asks is told by the token"), ("http://@a", "who asks"),
        ("http://", "host is a name"), ("http://a b", "host is a name"),
        ("http://a:hunter2", "host has a port"), ("http://a?hunter2", "host is a name"),
        ("http://a/?x=hunter2", "nothing follows the path"), ("http://a/hunter2 ", "nothing"),
        ("http://a/\n", "nothing follows the path"), ("http://a/#", "nothing follows the path"),
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_service(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=re.escape(fault)) as caught:
        service(text)
    assert "hunter2" not in str(caught.value)
