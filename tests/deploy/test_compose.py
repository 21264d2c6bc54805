"""The Compose file: by the schema of its specification, and in itself."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from genmeter.config.load import ServerSettings
from tests.deploy.files import (
    DEPLOY,
    all_of,
    run,
    seconds_to_end,
    serve_settings,
    stages,
    tool,
    yaml,
)

(COMPOSE,) = yaml(DEPLOY / "compose.yaml")
SERVICES: dict[str, Any] = COMPOSE["services"]
NODES = ("api1", "api2")


def settings(tmp_path: Path) -> ServerSettings:
    """What a node runs with."""
    assert SERVICES["api1"]["environment"] == SERVICES["api2"]["environment"]
    return serve_settings(SERVICES["api1"]["environment"], tmp_path)


def test_it_is_what_compose_understands() -> None:
    schema = ("--builtin-schema", "vendor.compose-spec")
    run(tool("check-jsonschema"), *schema, DEPLOY / "compose.yaml")


def test_nodes_find_everything_by_the_names_it_has(tmp_path: Path) -> None:
    node = settings(tmp_path)
    assert node.clickhouse is not None
    assert node.accounts is not None
    hosts = [host for host, _ in node.clickhouse.hosts]
    assert set(hosts) | {host for host, _ in node.accounts.hosts} <= set(SERVICES)
    servers = ElementTree.parse(DEPLOY / "clickhouse" / "server.xml")
    cluster = servers.find(f"remote_servers/{node.clickhouse_cluster}")
    assert cluster is not None
    assert [host.text for host in cluster.findall("shard/replica/host")] == hosts
    assert node.clickhouse_quorum == len(hosts)
    users = ElementTree.parse(DEPLOY / "clickhouse" / "users.xml")
    assert users.find(f"users/{node.clickhouse.user}/password") is not None
    for name in hosts:
        environment = SERVICES[name]["environment"]
        assert environment["CLICKHOUSE_REPLICA"] == name
        assert environment["CLICKHOUSE_DB"] == node.clickhouse.database
    keeper = [node.text for node in servers.findall("zookeeper/node/host")]
    assert keeper == ["keeper"]
    role = (DEPLOY / "postgresql" / "create-role.sql").read_text()
    assert f"CREATE ROLE {node.accounts.user} LOGIN" in role
    assert f"CREATE DATABASE {node.accounts.database} OWNER {node.accounts.user}" in role


def test_each_waits_until_what_it_needs_is_well() -> None:
    for name, service in SERVICES.items():
        for needed, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            assert "healthcheck" in SERVICES[needed], needed
    image = [check for _, check in stages(DEPLOY / "Dockerfile")[-1] if "readyz" in check]
    assert image  # the nodes' own check


def test_only_the_nodes_are_reached_and_only_from_this_machine() -> None:
    for name, service in SERVICES.items():
        ports = service.get("ports", [])
        if name in NODES:
            (port,) = ports
            assert port.startswith("127.0.0.1:")
            (inside,) = all_of("EXPOSE", stages(DEPLOY / "Dockerfile")[-1])
            assert port.endswith(f":{inside}")
        else:
            assert not ports
            assert service["networks"] == ["back"]
    assert COMPOSE["networks"]["back"] == {"internal": True}
    published = [port for name in NODES for port in SERVICES[name]["ports"]]
    assert len(set(published)) == len(NODES)


def test_secrets_are_files_outside_the_repository_and_given_to_who_reads_them() -> None:
    ignored = (DEPLOY.parent / ".gitignore").read_text().split()
    assert "deploy/secrets/" in ignored
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
    for service in SERVICES.values():
        text = str(service)
        read = {name for name in COMPOSE["secrets"] if f"/run/secrets/{name}" in text}
        if "create-role.sql" in text:
            read.add("accounts_password")
        assert set(service.get("secrets", [])) == read
    role = (DEPLOY / "postgresql" / "create-role.sql").read_text()
    assert "/run/secrets/accounts_password" in role


def test_what_is_mounted_is_there_and_what_is_kept_is_kept_once() -> None:
    kept = []
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source, _, mode = (
                volume.split(":") if volume.count(":") == 2 else (*volume.split(":"), "")
            )
            if source.startswith("."):
                assert (DEPLOY / source).is_file(), source
                assert mode == "ro", source
            else:
                kept.append(source)
    assert sorted(kept) == sorted(COMPOSE["volumes"])


def test_nodes_may_do_nothing_that_they_need_not_and_have_time_to_end(tmp_path: Path) -> None:
    needed = seconds_to_end(settings(tmp_path))
    for name in NODES:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert int(service["stop_grace_period"].removesuffix("s")) > needed


def test_images_are_of_one_release_line() -> None:
    for service in SERVICES.values():
        _, _, tag = service["image"].partition(":")
        assert tag[:1].isdigit(), service["image"]
