"""Settings: a flag beats the environment, which beats the default; all faults together."""

from pathlib import Path
from typing import Any

import pytest

from genmeter.config import load as config
from genmeter.config.load import load, of_command, server_settings
from genmeter.config.settings import SETTINGS, Setting
from genmeter.config.urls import CLICKHOUSE_FORM, ClickHouseUrl, PostgresqlUrl, Secret
from genmeter.errors import SettingsError, StartError
from genmeter.model.bots import ELEVEN

COMMANDS = sorted({command for setting in SETTINGS for command in setting.commands})
DEFAULTS = {
    "host": "127.0.0.1",
    "port": 8000,
    "data": Path("genmeter-data"),
    "retention_days": 92,
    "queue_rows": 100_000,
    "readers": 4,
    "query_days": 400,
    "query_groups": 10_000,
    "query_seconds": 30,
    "engine_memory_mb": 1500,
    "engine_threads": 2,
    "stall_seconds": 60,
    "spool_mb": 4096,
    "request_records": 50_000,
    "body_seconds": 20,
    "head_seconds": 20,
    "idle_seconds": 75,
    "trusted_proxies": ("127.0.0.1/32", "::1/128"),
    "connections": 1_000,
    "connections_per_address": 250,
    "failed_tokens": 60,
    "token_posts": 0,
    "account_posts": 0,
    "token_records": 0,
    "account_records": 0,
    "token_queries": 0,
    "account_queries": 100,
    "account_queries_at_once": 32,
    "account_streams": 64,
    "bots": None,
    "accept_loss": False,
    "log_level": "info",
}
NO_ACCOUNTS_SERVER = {
    "accounts": None,
    "accounts_password": None,
    "accounts_password_file": None,
}
ALONE = NO_ACCOUNTS_SERVER | {
    "clickhouse": None,
    "clickhouse_cluster": None,
    "clickhouse_quorum": 0,
    "clickhouse_timeout_seconds": 30,
    "clickhouse_password": None,
    "clickhouse_password_file": None,
    "clickhouse_ca_file": None,
}
"""What ``serve`` has when it runs with nothing but its data folder."""

WHO = {"account": "acme", "scope": "read"}
CLICKHOUSE = "http://genmeter@ch.example.com/genmeter"
ACCOUNTS = "postgresql://genmeter@db.example.com/genmeter"


def faults(command: str, flags: dict[str, str | None], environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(command, flags, environ)
    assert isinstance(caught.value, StartError)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return caught.value.faults


def test_without_flags_and_environment_there_are_the_defaults() -> None:
    assert load("serve", {}, {}) == DEFAULTS | ALONE
    own = {"days": 90, "records": 300_000, "seed": 1, "log_level": "warning"}
    assert load("demo", {}, {}) == DEFAULTS | own
    assert load("backup", {}, {}) == {"data": Path("genmeter-data")}
    assert load("token list", {}, {}) == {"data": Path("genmeter-data")} | NO_ACCOUNTS_SERVER
    assert load("token create", WHO, {}) == NO_ACCOUNTS_SERVER | {
        "data": Path("genmeter-data"),
        "account": "acme",
        "scope": ("read",),
        "name": None,
        "expires": None,
    }


def test_c22_retention_is_three_months_by_default() -> None:
    assert load("serve", {}, {})["retention_days"] == 92  # as long as three months can be


SAMPLES = {
    "host": ("::1", "0.0.0.0", "::1"),
    "port": ("1", "2", 1),
    "data": ("/a", "/b", Path("/a")),
    "from": ("/a", "/b", Path("/a")),
    "retention_days": ("0", "1", 0),
    "queue_rows": ("5", "6", 5),
    "query_days": ("7", "9", 7),
    "query_groups": ("100", "200", 100),
    "query_seconds": ("5", "6", 5),
    "readers": ("64", "1", 64),
    "engine_memory_mb": ("256", "300", 256),
    "engine_threads": ("1", "3", 1),
    "stall_seconds": ("3600", "1", 3600),
    "spool_mb": ("10", "20", 10),
    "request_records": ("7", "8", 7),
    "body_seconds": ("7", "8", 7),
    "head_seconds": ("7", "8", 7),
    "idle_seconds": ("7", "8", 7),
    "trusted_proxies": ("10.0.0.0/8", "::1", ("10.0.0.0/8",)),
    "connections": ("7", "8", 7),
    "connections_per_address": ("7", "8", 7),
    "failed_tokens": ("7", "8", 7),
    "token_posts": ("7", "8", 7),
    "account_posts": ("7", "8", 7),
    "token_records": ("7", "8", 7),
    "account_records": ("7", "8", 7),
    "token_queries": ("7", "8", 7),
    "account_queries": ("7", "8", 7),
    "account_queries_at_once": ("7", "8", 7),
    "account_streams": ("0", "8", 0),
    "bots": ("more.toml", "other.toml", ELEVEN.extended({"bots": {"flowmusic": {}}})),
    "accept_loss": ("yes", "no", True),
    "log_level": ("debug", "error", "debug"),
    "clickhouse": (
        "https://a/b",
        CLICKHOUSE,
        ClickHouseUrl(secure=True, hosts=(("a", 8443),), database="b"),
    ),
    "clickhouse_cluster": ("main_1", "other", "main_1"),
    "clickhouse_quorum": ("0", "0", 0),
    "clickhouse_timeout_seconds": ("1", "3600", 1),
    "clickhouse_password": ("p a:@/ß", "q", Secret("p a:@/ß")),
    "clickhouse_password_file": ("secret", "other", Secret("from a file")),
    "clickhouse_ca_file": ("ca.pem", "secret", Path("ca.pem")),
    "accounts": (
        "postgresql://u@a/b",
        ACCOUNTS,
        PostgresqlUrl(user="u", hosts=(("a", 5432),), database="b"),
    ),
    "accounts_password": ("p", "q", Secret("p")),
    "accounts_password_file": ("secret", "other", Secret("from a file")),
    "url": ("https://a:1/b/", "http://c", "https://a:1/b"),
    "token": ("user:acme-01", "x", Secret("user:acme-01")),
    "token_file": ("token", "secret", Secret("user:acme-02")),
    "follow": ("yes", "no", True),
    "state": ("/a", "/b", Path("/a")),
    "days": ("7", "8", 7),
    "records": ("10", "11", 10),
    "seed": ("0", "5", 0),
    "account": ("a", "b", "a"),
    "scope": ("read, write", "admin", ("read", "write")),
    "name": ("a name", "b", "a name"),
    "expires": ("0.5", "3", 0.5),
}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that samples name, the one the test is in."""
    (tmp_path / "secret").write_text("from a file\n")
    (tmp_path / "other").write_text("from another file\n")
    (tmp_path / "token").write_text(" user:acme-02\r\n")
    (tmp_path / "more.toml").write_text("[bots.flowmusic]\n")
    (tmp_path / "other.toml").write_text("")
    (tmp_path / "ca.pem").write_text("a certificate\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_flag_beats_the_environment_and_that_beats_the_default(setting: Setting) -> None:
    text, other, value = SAMPLES[setting.name]
    for command in setting.commands:
        given = WHO | {"from": "/c", "clickhouse": "https://a/b", "accounts": ACCOUNTS}
        flags: dict[str, str | None] = {k: v for k, v in given.items() if k != setting.name}
        variable = f"GENMETER_{setting.name.upper()}"
        if setting.secret:
            assert load(command, flags | {setting.name: "x"}, {})[setting.name] is None
        else:
            both = load(command, flags | {setting.name: text}, {variable: other})
            assert both[setting.name] == value
        assert load(command, flags, {variable: text})[setting.name] == value
        assert load(command, flags | {setting.name: None}, {variable: text})[setting.name] == value


def test_an_empty_variable_counts_as_not_set() -> None:
    empty = {setting.variable: "" for setting in SETTINGS}
    assert load("serve", {}, empty) == DEFAULTS | ALONE
    assert load("token create", WHO, empty) == load("token create", WHO, {})
    assert faults("token create", {}, empty) == faults("token create", {}, {})


def test_settings_of_other_commands_and_strange_variables_are_not_read() -> None:
    environ = {"GENMETER_DAYS": "x", "GENMETER_NOTHING": "x", "PORT": "x", "genmeter_port": "x"}
    assert load("serve", {}, environ) == DEFAULTS | ALONE
    servers = {"GENMETER_CLICKHOUSE": CLICKHOUSE, "GENMETER_ACCOUNTS": "x"}
    assert load("demo", {}, servers) == load("demo", {}, {})
    assert load("backup", {}, servers) == load("backup", {}, {})


def test_the_process_environment_is_read_when_none_is_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GENMETER_PORT", "1234")
    assert load("serve", {})["port"] == 1234
    assert load("serve", {}, {})["port"] == 8000


def test_all_faults_are_reported_together() -> None:
    found = faults(
        "demo",
        {"port": "70000", "readers": "0", "log_level": "loud", "host": " ", "data": ""},
        {"GENMETER_SEED": "-1", "GENMETER_DAYS": "many", "GENMETER_PORT": "80"},
    )
    assert found == (
        '--host must be a text that is not empty, not " "',
        '--port must be an integer from 0 to 65535, not "70000"',
        '--data must be a text that is not empty, not ""',
        '--readers must be an integer from 1 to 64, not "0"',
        '--log-level must be one of debug, info, warning, error, not "loud"',
        'GENMETER_DAYS must be an integer from 1 to 3650, not "many"',
        'GENMETER_SEED must be an integer from 0 to 2147483648, not "-1"',
    )


def test_what_is_required_is_missed_together_with_what_is_wrong() -> None:
    assert faults("token create", {"expires": "0"}, {}) == (
        "--account is required (GENMETER_ACCOUNT will do)",
        "--scope is required (GENMETER_SCOPE will do)",
        '--expires must be a number of days, more than 0 and at most 36500, not "0"',
    )


@pytest.mark.parametrize(
    "port", ["", "-1", "65536", "1.0", "1e3", "0x10", "1_0", "+1", "٣", "²", "many", "9" * 5000]
)
def test_an_integer_is_digits_within_its_bounds(port: str) -> None:
    (fault,) = faults("serve", {"port": port}, {})
    assert fault == f'--port must be an integer from 0 to 65535, not "{port}"'


def test_integers_are_taken_up_to_their_bounds() -> None:
    for text, value in {"0": 0, "65535": 65_535, " 80 ": 80, "0080": 80}.items():
        assert load("serve", {"port": text}, {})["port"] == value


@pytest.mark.parametrize("days", ["", "0", "-1", "nan", "inf", "-inf", "36501", "soon", "1d"])
def test_days_are_a_number_more_than_zero(days: str) -> None:
    (fault,) = faults("token create", {**WHO, "expires": days}, {})
    assert fault.startswith("--expires must be a number of days, more than 0 and at most 36500")


@pytest.mark.parametrize("scope", ["", "all", "read,", ",", "read write", "READ", "read;admin"])
def test_scopes_are_known_words_between_commas(scope: str) -> None:
    (fault,) = faults("token create", {"account": "a", "scope": scope}, {})
    assert fault.startswith("--scope must be one or more of read, write, admin, separated by comma")


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_every_setting_is_documented_and_named_by_one_rule(setting: Setting) -> None:
    assert len(setting.help) > 15
    assert setting.help[0].isupper()
    assert setting.help.endswith(".")
    assert setting.metavar == setting.metavar.upper() != ""
    assert setting.flag == "--" + setting.name.replace("_", "-")
    assert setting.variable == "GENMETER_" + setting.name.upper()
    assert setting.commands
    assert setting.name in SAMPLES
    assert setting.needs is None or setting.needs in SAMPLES
    for command in setting.commands:
        if default := setting.default_of(command):
            setting.read(default)


def test_no_two_settings_have_one_name() -> None:
    assert len({setting.flag for setting in SETTINGS}) == len(SETTINGS)


def test_every_command_has_settings_and_the_servers_ones_are_a_structure() -> None:
    assert {"serve", "demo", "token create", "token list", "token revoke"} <= set(COMMANDS)
    for command in COMMANDS:
        assert [s for s in SETTINGS if command in s.commands] == list(of_command(command)) != []
    values: dict[str, Any] = load("demo", {"port": "0", "log_level": "info"}, {})
    found = server_settings(values)
    served = server_settings(load("serve", {"port": "0"}, {}))
    assert found == served
    fields = [name for name in ALONE if not name.endswith("password_file")]
    assert {name: getattr(found, name) for name in found.__struct_fields__} == (
        DEFAULTS | {name: ALONE[name] for name in fields} | {"port": 0}
    )


@pytest.mark.usefixtures("files")
def test_a_password_is_in_the_environment_or_in_a_file_and_in_nothing_that_shows() -> None:
    environ = {
        "GENMETER_CLICKHOUSE": CLICKHOUSE,
        "GENMETER_CLICKHOUSE_PASSWORD": "hunter2",
        "GENMETER_ACCOUNTS": ACCOUNTS,
        "GENMETER_ACCOUNTS_PASSWORD_FILE": "secret",
    }
    values = load("serve", {}, environ)
    settings = server_settings(values)
    assert settings.clickhouse_password is not None
    assert settings.clickhouse_password.reveal() == "hunter2"
    assert settings.accounts_password is not None
    assert settings.accounts_password.reveal() == "from a file"
    for shown in (settings, values, [settings.accounts_password], settings.clickhouse_password):
        for form in (repr(shown), str(shown), f"{shown}"):
            assert "hunter2" not in form
            assert "from a file" not in form
            assert "Secret(...)" in form


@pytest.mark.parametrize(
    ("content", "password"),
    [
        (b"pass\n", "pass"), (b"pass", "pass"), (b"pass\r\n", "pass"), (b" p s \n", " p s "),
        ("pä\n".encode(), "pä"), (b"pass\n\n", None), (b"a\nb\n", None), (b"", None),
        (b"\n", None), (b"a\0b", None), (b"\xff\n", None),
    ],
)  # fmt: skip
def test_a_password_file_is_one_line(files: Path, content: bytes, password: str | None) -> None:
    (files / "secret").write_bytes(content)
    flags: dict[str, str | None] = {"accounts": ACCOUNTS, "accounts_password_file": "secret"}
    if password is not None:
        assert load("token list", flags, {})["accounts_password"] == Secret(password)
    else:
        assert faults("token list", flags, {}) == (
            "--accounts-password-file must be a file with one line in it, the password, that can "
            'be read, not "secret"',
        )


@pytest.mark.parametrize(
    "content", [b"", b" \n", b"a b", b"a\nb", b"t\xc3\xb6ken", b"\xff", b"a\0"]
)
def test_a_token_is_one_word(files: Path, content: bytes) -> None:
    (files / "token").write_bytes(content)
    assert faults("query", {"token_file": "token"}, {}) == (
        '--token-file must be a file with a token in it that can be read, not "token"',
    )
    if content and b"\0" not in content:
        text = content.decode(errors="replace")
        assert faults("query", {}, {"GENMETER_TOKEN": text}) == (
            "GENMETER_TOKEN must be a token as token create prints it",
        )


@pytest.mark.usefixtures("files")
def test_a_token_is_given_once_and_does_not_show() -> None:
    (fault,) = faults("query", {"token_file": "token"}, {"GENMETER_TOKEN": "user:hunter2"})
    assert fault == "GENMETER_TOKEN and --token-file are both set; choose one"
    assert load("query", {"token_file": "token"}, {})["token"] == Secret("user:acme-02")
    assert "hunter2" not in repr(load("query", {}, {"GENMETER_TOKEN": "user:hunter2"}))
    assert load("query", {}, {})["token"] is None


def test_a_terminal_without_colours_is_known_by_its_environment() -> None:
    assert not config.no_color({})
    assert not config.no_color({"NO_COLOR": "", "TERM": "xterm"})
    assert config.no_color({"NO_COLOR": "0"})
    assert config.no_color({"TERM": "dumb"})


def test_files_must_be_there(tmp_path: Path) -> None:
    flags = {
        "clickhouse": "https://a/b",
        "clickhouse_password_file": str(tmp_path / "none"),
        "clickhouse_ca_file": str(tmp_path),
        "accounts": ACCOUNTS,
        "accounts_password_file": "a\0b",
    }
    assert faults("serve", dict(flags), {}) == (
        "--clickhouse-password-file must be a file with one line in it, the password, that can be "
        f'read, not "{tmp_path}/none"',
        f'--clickhouse-ca-file must be a file that can be read, not "{tmp_path}"',
        "--accounts-password-file must be a file with one line in it, the password, that can be "
        'read, not "a\0b"',
    )


@pytest.mark.usefixtures("files")
def test_what_means_nothing_together_is_reported_with_all_else() -> None:
    environ = {
        "GENMETER_CLICKHOUSE_CLUSTER": "main",
        "GENMETER_CLICKHOUSE_PASSWORD": "hunter2",
        "GENMETER_ACCOUNTS_PASSWORD": "hunter3",
    }
    flags = {
        "readers": "0",
        "clickhouse_quorum": "2",
        "clickhouse_timeout_seconds": "9",
        "clickhouse_ca_file": "ca.pem",
        "accounts_password_file": "secret",
    }
    assert faults("serve", dict(flags), environ) == (
        '--readers must be an integer from 1 to 64, not "0"',
        "GENMETER_CLICKHOUSE_CLUSTER has no effect without --clickhouse",
        "--clickhouse-quorum has no effect without --clickhouse",
        "--clickhouse-timeout-seconds has no effect without --clickhouse",
        "GENMETER_CLICKHOUSE_PASSWORD has no effect without --clickhouse",
        "--clickhouse-ca-file has no effect without --clickhouse",
        "GENMETER_ACCOUNTS_PASSWORD has no effect without --accounts",
        "--accounts-password-file has no effect without --accounts",
        "GENMETER_ACCOUNTS_PASSWORD and --accounts-password-file are both set; choose one",
    )
    flags = {"clickhouse": CLICKHOUSE, "clickhouse_quorum": "1", "clickhouse_ca_file": "ca.pem"}
    assert faults("serve", dict(flags), {}) == (
        "--clickhouse-quorum above 0 needs --clickhouse-cluster",
        "--clickhouse-ca-file needs an https:// in --clickhouse",
    )
    assert faults("serve", {"clickhouse": "x", "clickhouse_quorum": "1"}, {}) == (
        f"--clickhouse must be {CLICKHOUSE_FORM}",
    )
    flags["clickhouse"] = "https://a/b"
    assert load("serve", flags | {"clickhouse_cluster": "main"}, {})["clickhouse_quorum"] == 1
    assert load("serve", {"clickhouse": CLICKHOUSE, "clickhouse_quorum": "0"}, {})


@pytest.mark.parametrize("name", ["", "1a", "a-b", "a b", "a'b", "ä", "a\n"])
def test_a_cluster_is_an_identifier(name: str) -> None:
    (fault,) = faults("serve", {"clickhouse": CLICKHOUSE, "clickhouse_cluster": name}, {})
    assert fault.startswith("--clickhouse-cluster must be letters, digits and _, no digit first")


@pytest.mark.parametrize(
    ("setting", "url"),
    [
        ("clickhouse", "http://u:hunter2@a/b"), ("clickhouse", "http://:hunter2@a/b"),
        ("clickhouse", "https://u:hun/ter2@a/hunter2"), ("clickhouse", "u:hunter2@a/b"),
        ("clickhouse", "http://u@a/b?password=hunter2"), ("clickhouse", "http://u:@a/b"),
        ("clickhouse", "http://u@a:hunter2/b"), ("clickhouse", "http://u:p@hunter2@a/b"),
        ("clickhouse", "hunter2"), ("clickhouse", "http://hunter2 @[/b"),
        ("accounts", "postgresql://u:hunter2@a/b"), ("accounts", "hunter2"),
        ("accounts", "postgresql://u@a/b?password=hunter2"), ("accounts", "mysql://u:hunter2@a/b"),
        ("accounts", "postgresql://u@a/b?sslpassword=hunter2"),
        ("accounts", "postgresql://u:hunter2#?@a/b"), ("accounts", "postgresql://u@a:hunter2/b"),
        ("accounts", "postgresql://u@a/b?passfile=hunter2"),
    ],
)  # fmt: skip
def test_a_password_in_an_address_is_refused_and_not_repeated(setting: str, url: str) -> None:
    for flags, environ in (({setting: url}, {}), ({}, {f"GENMETER_{setting.upper()}": url})):
        (fault,) = faults("serve", dict(flags), environ)
        assert "hunter2" not in fault
        if "u:hunter2@" in url and url.startswith(("http", "postgres")):
            start = "--" if flags else "GENMETER_"
            assert fault.startswith(start)
            assert fault.endswith(
                f" must be without a password; that goes into GENMETER_{setting.upper()}_PASSWORD "
                f"or --{setting}-password-file"
            )
