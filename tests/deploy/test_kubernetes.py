"""The Kubernetes manifests: known to Kubernetes field by field, and right for this server."""

from pathlib import Path
from typing import Any

import lightkube.resources  # noqa: F401  # makes the kinds known
import msgspec
import pytest
from lightkube import codecs

from genmeter.api import health
from tests.deploy.files import DEPLOY, seconds_to_end, serve_settings, yaml

MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml*"))


def manifest(name: str) -> Any:
    """The one object of a file."""
    (found,) = yaml(DEPLOY / "kubernetes" / name)
    return found


def given(value: Any) -> Any:
    """A value without the fields that are None."""
    if isinstance(value, dict):
        return {key: given(field) for key, field in value.items() if field is not None}
    return [given(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_every_field_is_known_and_of_its_type(path: Path) -> None:
    for found in yaml(path):
        kind = type(codecs.from_dict(found))  # by apiVersion and kind
        # Fields that the kind does not know are left out on the way, and those of another type
        # stop it.
        assert given(msgspec.to_builtins(msgspec.convert(found, kind))) == found


def test_everything_is_named_and_labelled_alike() -> None:
    label = {"app.kubernetes.io/name": "genmeter"}
    for path in MANIFESTS:
        (found,) = yaml(path)
        assert found["metadata"]["name"] == "genmeter"
        assert found["metadata"]["labels"] == label
    deployment = manifest("deployment.yaml")["spec"]
    assert deployment["selector"]["matchLabels"] == label
    assert deployment["template"]["metadata"]["labels"] == label
    assert manifest("service.yaml")["spec"]["selector"] == label
    assert manifest("poddisruptionbudget.yaml")["spec"]["selector"]["matchLabels"] == label


def test_the_settings_are_taken_and_the_passwords_are_where_they_say(tmp_path: Path) -> None:
    data = manifest("configmap.yaml")["data"]
    settings = serve_settings(data, tmp_path)
    assert settings.clickhouse is not None
    assert 0 < settings.clickhouse_quorum < len(settings.clickhouse.hosts)
    assert settings.accounts is not None
    pod = manifest("deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    files = {
        f"{mounts['passwords']}/{key}" for key in manifest("secret.yaml.example")["stringData"]
    }
    assert files == {value for name, value in data.items() if name.endswith("_FILE")}
    volumes = {volume.pop("name"): volume for volume in pod["volumes"]}
    assert set(volumes) == set(mounts)
    assert volumes["passwords"]["secret"]["defaultMode"] == 0o440  # the group is fsGroup
    assert "emptyDir" in volumes["data"]


def test_a_service_of_our_name_is_no_setting() -> None:
    """Kubernetes would set GENMETER_PORT to tcp://…, and no pod would start."""
    pod = manifest("deployment.yaml")["spec"]["template"]["spec"]
    assert pod["enableServiceLinks"] is False
    (container,) = pod["containers"]
    (port,) = manifest("service.yaml")["spec"]["ports"]
    assert port["targetPort"] in [named["name"] for named in container["ports"]]


def test_probes_ask_routes_there_are_and_wait_longer_than_the_server() -> None:
    pod = manifest("deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    paths = {
        name: container[name]["httpGet"]["path"]
        for name in ("startupProbe", "readinessProbe", "livenessProbe")
    }
    # What is wrong with ClickHouse is not mended by starting a node anew.
    assert paths == {
        "startupProbe": "/healthz", "readinessProbe": "/readyz", "livenessProbe": "/healthz",
    }  # fmt: skip
    assert container["readinessProbe"]["timeoutSeconds"] > health.CHECK_S


def test_a_pod_is_left_by_its_clients_and_then_has_the_time_to_end(tmp_path: Path) -> None:
    pod = manifest("deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    settings = serve_settings(manifest("configmap.yaml")["data"], tmp_path)
    pause: int = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pause > 0
    assert pod["terminationGracePeriodSeconds"] > pause + seconds_to_end(settings)


def test_a_pod_may_do_nothing_that_it_need_not() -> None:
    pod = manifest("deployment.yaml")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
