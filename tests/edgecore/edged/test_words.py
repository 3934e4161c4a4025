"""Small languages: expansion, fields of pods, durations, quality of service, last words of containers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.edgecore.edged import clock, downward, environment, labels, last_words, requests
from kubeedge.edgecore.edged.downward import FieldError, Place
from kubeedge.edgecore.edged.environment import ConfigError
from kubeedge.edgecore.edged.expansion import expand, expand_strictly
from kubeedge.edgecore.edged.meta import MetaError
from kubeedge.edgecore.edged.objects import Objects
from kubeedge.edgecore.edged.pod import Pod
from kubeedge.edgecore.edged.runtime.interface import ContainerState, ContainerStatus, Mount

PLACE = Place(["192.0.2.1", "fd00::1"], ["10.0.0.1"], {"cpu": "2", "memory": "1Gi"})


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)", "1"),
        ("x$(A)y$(B)", "x1y2"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$(NO)", "$(NO)"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
        ("$()", "$()"),
    ],
)
def test_references_are_expanded(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expanded


@given(st.text("$()AB"))
def test_text_without_known_names_only_loses_doubled_dollars(text: str) -> None:
    assert expand(text, {}).replace("$", "") == text.replace("$", "")


def test_strict_expansion_names_what_is_unknown() -> None:
    assert expand_strictly("$(A)/$$(B)", {"A": "1"}) == "1/$(B)"
    with pytest.raises(KeyError, match="B"):
        expand_strictly("$(B)", {"A": "1"})


def pod(container: dict[str, Any] | None = None, **metadata: Any) -> Pod:
    metadata = {
        "name": "p",
        "namespace": "n",
        "uid": "u",
        "labels": {"app": "web"},
        "annotations": {"a/b": "c"},
        **metadata,
    }
    spec = {
        "nodeName": "e1",
        "serviceAccountName": "robot",
        "containers": [{"name": "main", "image": "i", **(container or {})}],
    }
    return Pod({"metadata": metadata, "spec": spec})


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("metadata.name", "p"),
        ("metadata.namespace", "n"),
        ("metadata.uid", "u"),
        ("metadata.labels['app']", "web"),
        ("metadata.labels['no']", ""),
        ("metadata.annotations['a/b']", "c"),
        ("metadata.labels", 'app="web"'),
        ("spec.nodeName", "e1"),
        ("spec.serviceAccountName", "robot"),
        ("status.hostIP", "192.0.2.1"),
        ("status.hostIPs", "192.0.2.1,fd00::1"),
        ("status.podIP", "10.0.0.1"),
        ("status.podIPs", "10.0.0.1"),
    ],
)
def test_field_of_a_pod(path: str, value: str) -> None:
    assert downward.field(pod(), path, PLACE) == value


def test_unknown_field_is_refused() -> None:
    with pytest.raises(FieldError, match=r"unsupported fieldPath: spec\.x"):
        downward.field(pod(), "spec.x", PLACE)


@pytest.mark.parametrize(
    ("reference", "value"),
    [
        ({"resource": "limits.cpu"}, "1"),
        ({"resource": "limits.cpu", "divisor": "1m"}, "500"),
        ({"resource": "requests.cpu", "divisor": "1m"}, "500"),
        ({"resource": "limits.memory"}, str(1 << 30)),
        ({"resource": "limits.memory", "divisor": "1Mi"}, "1024"),
        ({"resource": "requests.memory"}, "0"),
        ({"resource": "limits.cpu", "containerName": "main"}, "1"),
    ],
)
def test_resource_of_a_container(reference: dict[str, Any], value: str) -> None:
    made = pod({"resources": {"limits": {"cpu": "500m"}}})
    assert downward.resource(made, reference, PLACE, made.containers[0]) == value


@pytest.mark.parametrize(
    "reference", [{"resource": "limits"}, {"resource": "x.cpu"}, {"resource": "limits.cpu", "containerName": "no"}]
)
def test_resource_that_does_not_exist_is_refused(reference: dict[str, Any]) -> None:
    with pytest.raises(FieldError):
        downward.resource(pod(), reference, PLACE)


class Store:
    def __init__(self, data: dict[str, str]) -> None:
        self.data = data

    async def config_map(self, namespace: str, name: str) -> dict[str, Any]:
        if name != "conf":
            raise MetaError("NotFound", "no")
        return {"data": self.data}

    async def secret(self, namespace: str, name: str) -> dict[str, Any]:
        return {"data": {"bad": "!", "good": "Z29vZA=="}}

    async def token(self, namespace: str, service_account: str, request: dict[str, Any]) -> dict[str, Any]:
        raise AssertionError


async def build(container: dict[str, Any], data: dict[str, str] | None = None) -> environment.Environment:
    made = pod(container)
    objects = Objects(Store(data or {}), lambda: 0.0)
    return await environment.build(made, made.containers[0], objects, PLACE, ("169.254.30.10", "10550"))


async def test_service_variables_come_last_and_win() -> None:
    env = [{"name": "KUBERNETES_SERVICE_HOST", "value": "mine"}, {"name": "A", "value": "1"}]
    built = await build({"env": env})
    assert list(built.values.items()) == [
        ("A", "1"),
        ("KUBERNETES_SERVICE_HOST", "169.254.30.10"),
        ("KUBERNETES_SERVICE_PORT", "10550"),
    ]


async def test_key_that_is_no_name_is_left_out_and_told() -> None:
    built = await build({"envFrom": [{"configMapRef": {"name": "conf"}}]}, {"good": "1", "a=b": "2", "": "3"})
    assert "good" in built.values and "a=b" not in built.values
    assert built.skipped == ["Keys [, a=b] from the EnvFrom configmap n/conf"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"configMapKeyRef": {"name": "conf", "key": "x"}}, "couldn't find key x in ConfigMap n/conf"),
        ({"configMapKeyRef": {"name": "no", "key": "x"}}, 'configmap "no" not found'),
        ({"secretKeyRef": {"name": "s", "key": "bad"}}, "value of key bad is not base64"),
        ({"fieldRef": {"fieldPath": "spec.x"}}, "unsupported fieldPath: spec.x"),
        ({"fileKeyRef": {}}, "unsupported source of an environment variable: fileKeyRef"),
    ],
)
async def test_variable_that_cannot_be_set_says_why(source: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await build({"env": [{"name": "X", "valueFrom": source}]})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (10, "10s"), (80, "1m20s"), (300, "5m0s"), (3600, "1h0m0s"), (3661, "1h1m1s")]
)
def test_duration_in_kubernetes_words(seconds: float, text: str) -> None:
    assert clock.short_duration(seconds) == text


@pytest.mark.parametrize(
    ("resources", "qos", "score"),
    [
        ({}, "BestEffort", 1000),
        ({"limits": {"cpu": "1", "memory": "1Gi"}}, "Guaranteed", -997),
        ({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m"}}, "Burstable", 750),
        ({"requests": {"cpu": "1"}}, "Burstable", 999),
        ({"requests": {"memory": "4Gi"}}, "Burstable", 3),
        ({"limits": {"cpu": "1"}}, "Burstable", 999),
        ({"requests": {"cpu": "0"}}, "BestEffort", 1000),
    ],
)
def test_quality_of_service(resources: dict[str, Any], qos: str, score: int) -> None:
    made = pod({"resources": resources})
    assert requests.qos_class(made) == qos
    assert requests.oom_score(made, made.containers[0], 4 << 30) == score


def test_cgroup_of_each_driver() -> None:
    burstable = pod({"resources": {"requests": {"cpu": "1"}}}, uid="a-b")
    assert requests.cgroup_parent(burstable, "cgroupfs") == "/kubepods/burstable/poda-b"
    assert requests.cgroup_parent(burstable, "cgroupfs", "/root/") == "/root/kubepods/burstable/poda-b"
    slices = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-poda_b.slice"
    assert requests.cgroup_parent(burstable, "systemd") == slices
    guaranteed = pod({"resources": {"limits": {"cpu": "1", "memory": "1"}}}, uid="a-b")
    assert requests.cgroup_parent(guaranteed, "systemd") == "/kubepods.slice/kubepods-poda_b.slice"


def ended(code: int, mount: Path | None = None, policy: str = "File", message: str = "") -> ContainerStatus:
    mounts = [Mount("/dev/termination-log", str(mount))] if mount else []
    annotations = {labels.TERMINATION_MESSAGE_PATH: "/dev/termination-log", labels.TERMINATION_MESSAGE_POLICY: policy}
    return ContainerStatus(
        "id", "c", 0, ContainerState.EXITED, 0, 0, 0, code, "i", "i", "", message, {}, annotations, mounts, ""
    )


def test_last_words_are_the_file_of_the_container(tmp_path: Path) -> None:
    (tmp_path / "said").write_text("why\n")
    assert last_words.read(ended(1, tmp_path / "said"), None, 1) == "why\n"
    assert last_words.read(ended(1, tmp_path / "said", message="StartError"), None, 1) == "StartError: why\n"
    assert last_words.read(ended(1, tmp_path / "absent", message="StartError"), None, 1) == "StartError"
    (tmp_path / "said").write_bytes(b"x" * 10_000)
    assert len(last_words.read(ended(1, tmp_path / "said"), None, 1)) == 4096
    assert len(last_words.read(ended(1, tmp_path / "said"), None, 12)) == 1024


def test_end_of_the_log_speaks_where_that_is_asked_for(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    lines = [f"2026-01-01T00:00:00.000000000Z stdout F line {n}\n" for n in range(200)]
    log.write_text("".join(lines) + "2026-01-01T00:00:00Z stderr P half\n2026-01-01T00:00:00Z stderr F  line\n")
    policy = "FallbackToLogsOnError"
    said = last_words.read(ended(1, policy=policy), log, 1)
    assert said.startswith("line 122\n") and said.endswith("line 199\nhalf line\n")
    assert last_words.read(ended(0, policy=policy), log, 1) == ""
    assert last_words.read(ended(1), log, 1) == ""
    assert last_words.read(ended(1, policy=policy), tmp_path / "absent", 1) == ""


def test_pipe_or_link_in_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert last_words.read(ended(1, tmp_path / "pipe"), None, 1) == ""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    assert last_words.read(ended(1, tmp_path / "link"), None, 1) == ""
