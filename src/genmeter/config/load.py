"""What a command was told: flags before the environment, the environment before defaults.

``GENMETER_<FLAG>`` is the environment's name of a flag. This module is the only one that reads the
environment, when asked to, and reports all bad settings together. What there is to set is in
:mod:`genmeter.config.settings`.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from genmeter.config.settings import OR_IN_A_FILE, SETTINGS, Setting
from genmeter.config.urls import ClickHouseUrl, PostgresqlUrl, Secret
from genmeter.errors import SettingsError
from genmeter.model.bots import Bots


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What ``serve`` and ``demo`` run with.

    Without ``clickhouse`` the engine runs in the process, without ``accounts`` the tokens are in
    the data folder.
    """

    host: str
    port: int
    data: Path
    retention_days: int
    queue_rows: int
    readers: int
    query_days: int
    query_groups: int
    query_seconds: int
    engine_memory_mb: int
    engine_threads: int
    stall_seconds: int
    spool_mb: int
    request_records: int
    body_seconds: int
    head_seconds: int
    idle_seconds: int
    trusted_proxies: tuple[str, ...]
    connections: int
    connections_per_address: int
    failed_tokens: int
    token_posts: int
    account_posts: int
    token_records: int
    account_records: int
    token_queries: int
    account_queries: int
    account_queries_at_once: int
    account_streams: int
    log_level: str
    accept_loss: bool = False
    bots: Bots | None = None
    clickhouse: ClickHouseUrl | None = None
    clickhouse_cluster: str | None = None
    clickhouse_quorum: int = 0
    clickhouse_timeout_seconds: int = 30
    clickhouse_password: Secret | None = None
    clickhouse_ca_file: Path | None = None
    accounts: PostgresqlUrl | None = None
    accounts_password: Secret | None = None


def of_command(command: str) -> tuple[Setting, ...]:
    """The settings that a command takes, in the table's order."""
    return tuple(setting for setting in SETTINGS if command in setting.commands)


def load(
    command: str, flags: Mapping[str, str | None], environ: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The values of a command's settings by name; None where an optional one is not given.

    A password that was in a file is under the name of the password. Raises SettingsError with
    every fault. An empty variable counts as not set.
    """
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    given: dict[str, str] = {}
    faults = []
    for setting in of_command(command):
        flag, variable = flags.get(setting.name), environ.get(setting.variable)
        if flag is not None and not setting.secret:
            given[setting.name], text = setting.flag, flag
        elif variable:
            given[setting.name], text = setting.variable, variable
        elif (default := setting.default_of(command)) is None:
            faults.append(f"{setting.flag} is required ({setting.variable} will do)")
            continue
        elif default == "":
            values[setting.name] = None
            continue
        else:
            text = default
        try:
            values[setting.name] = setting.read(text)
        except ValueError as error:
            fault = f"{given.get(setting.name, setting.label)} must be {error}"
            faults.append(fault if setting.confidential else f'{fault}, not "{text}"')
    faults += _faults_together(of_command(command), values, given)
    if faults:
        raise SettingsError(faults)
    for name in OR_IN_A_FILE:
        if name in values:
            values[name] = values[name] or values[f"{name}_file"]
    return values


def _faults_together(
    settings: tuple[Setting, ...], values: Mapping[str, Any], given: Mapping[str, str]
) -> list[str]:
    """What is wrong with settings that are each right; ``given`` says where each came from."""
    by_name = {setting.name: setting for setting in settings}
    faults = [
        f"{given[setting.name]} has no effect without {by_name[setting.needs].label}"
        for setting in settings
        if setting.needs and setting.name in given and setting.needs not in given
    ]
    for name in OR_IN_A_FILE:
        if name in given and f"{name}_file" in given:
            faults.append(f"{given[name]} and {given[f'{name}_file']} are both set; choose one")
    url = values.get("clickhouse")
    if url is not None:
        if values.get("clickhouse_quorum") and "clickhouse_cluster" not in given:
            faults.append(f"{given['clickhouse_quorum']} above 0 needs --clickhouse-cluster")
        if values.get("clickhouse_ca_file") and not url.secure:
            faults.append(f"{given['clickhouse_ca_file']} needs an https:// in --clickhouse")
    return faults


def no_color(environ: Mapping[str, str] | None = None) -> bool:
    """Whether the environment says that a terminal shows or is to show plain text only."""
    environ = os.environ if environ is None else environ
    return bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"


def server_settings(values: Mapping[str, Any]) -> ServerSettings:
    """The part of a command's values that the server runs with."""
    fields = ServerSettings.__struct_fields__
    return ServerSettings(**{name: values[name] for name in fields if name in values})
