"""Settings: a flag beats the environment, which beats the default; all faults together."""

from pathlib import Path
from typing import Any

import pytest

from genmeter import config
from genmeter.config import SETTINGS, load, of_command, server_settings
from genmeter.errors import SettingsError, StartError

COMMANDS = sorted({command for setting in SETTINGS for command in setting.commands})
DEFAULTS = {
    "host": "127.0.0.1",
    "port": 8000,
    "data": Path("genmeter-data"),
    "retention_days": 92,
    "queue_rows": 100_000,
    "readers": 4,
    "engine_memory_mb": 1500,
    "engine_threads": 2,
    "stall_seconds": 60,
    "log_level": "info",
}
WHO = {"account": "acme", "scope": "read"}


def faults(command: str, flags: dict[str, str | None], environ: dict[str, str]) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        load(command, flags, environ)
    assert isinstance(caught.value, StartError)
    assert str(caught.value) == "\n".join(caught.value.faults)
    return caught.value.faults


def test_without_flags_and_environment_there_are_the_defaults() -> None:
    assert load("serve", {}, {}) == DEFAULTS
    own = {"days": 90, "records": 300_000, "seed": 1, "log_level": "warning"}
    assert load("demo", {}, {}) == DEFAULTS | own
    assert load("token list", {}, {}) == {"data": Path("genmeter-data")}
    assert load("token create", WHO, {}) == {
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
    "retention_days": ("0", "1", 0),
    "queue_rows": ("5", "6", 5),
    "readers": ("64", "1", 64),
    "engine_memory_mb": ("256", "300", 256),
    "engine_threads": ("1", "3", 1),
    "stall_seconds": ("3600", "1", 3600),
    "log_level": ("debug", "error", "debug"),
    "days": ("7", "8", 7),
    "records": ("10", "11", 10),
    "seed": ("0", "5", 0),
    "account": ("a", "b", "a"),
    "scope": ("read, write", "admin", ("read", "write")),
    "name": ("a name", "b", "a name"),
    "expires": ("0.5", "3", 0.5),
}


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_a_flag_beats_the_environment_and_that_beats_the_default(setting: config.Setting) -> None:
    text, other, value = SAMPLES[setting.name]
    for command in setting.commands:
        flags: dict[str, str | None] = {k: v for k, v in WHO.items() if k != setting.name}
        variable = f"GENMETER_{setting.name.upper()}"
        assert load(command, flags | {setting.name: text}, {variable: other})[setting.name] == value
        assert load(command, flags, {variable: text})[setting.name] == value
        assert load(command, flags | {setting.name: None}, {variable: text})[setting.name] == value


def test_an_empty_variable_counts_as_not_set() -> None:
    empty = {setting.variable: "" for setting in SETTINGS}
    assert load("serve", {}, empty) == DEFAULTS
    assert load("token create", WHO, empty) == load("token create", WHO, {})
    assert faults("token create", {}, empty) == faults("token create", {}, {})


def test_settings_of_other_commands_and_strange_variables_are_not_read() -> None:
    environ = {"GENMETER_DAYS": "x", "GENMETER_NOTHING": "x", "PORT": "x", "genmeter_port": "x"}
    assert load("serve", {}, environ) == DEFAULTS


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
def test_every_setting_is_documented_and_named_by_one_rule(setting: config.Setting) -> None:
    assert len(setting.help) > 15
    assert setting.help[0].isupper()
    assert setting.help.endswith(".")
    assert setting.metavar == setting.metavar.upper() != ""
    assert setting.flag == "--" + setting.name.replace("_", "-")
    assert setting.variable == "GENMETER_" + setting.name.upper()
    assert setting.commands
    assert setting.name in SAMPLES
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
    assert {name: getattr(found, name) for name in DEFAULTS} == DEFAULTS | {"port": 0}
    assert set(found.__struct_fields__) == set(DEFAULTS)
