from __future__ import annotations

import os
from typing import Any

import pytest

from kubeedge.edgecore.edged.runtime.process import capabilities
from kubeedge.edgecore.edged.runtime.process.refusal import reasons

ALL = frozenset({"root", "seccomp", "mount", "pid", "uts", "ipc", "overlay", "memory", "cpu"})


def refused(spec: dict[str, Any], features: frozenset[str] = ALL, enforce_limits: bool = True) -> list[str]:
    return list(reasons({"spec": spec}, features, enforce_limits))


def with_container(**fields: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", **fields}]}


def test_ordinary_pod_is_honoured() -> None:
    spec = {
        "hostname": "web",
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["192.0.2.53"]},
        "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["a"]}],
        "securityContext": {"runAsUser": 1000, "fsGroup": 2000, "seccompProfile": {"type": "Unconfined"}},
        "initContainers": [{"name": "i", "securityContext": {"privileged": True}}],
        **with_container(
            ports=[{"containerPort": 80}, {"containerPort": 81, "hostPort": 81}],
            resources={"limits": {"memory": "1Gi", "cpu": "1"}},
            volumeMounts=[{"name": "v", "mountPath": "/v", "mountPropagation": "HostToContainer"}],
            securityContext={"capabilities": {"add": ["NET_ADMIN", "CAP_SYS_TIME", "ALL"], "drop": ["ALL"]}},
        ),
    }
    assert refused(spec) == []


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        ({"shareProcessNamespace": True}, "shareProcessNamespace is not supported"),
        ({"hostUsers": False}, "hostUsers: false is not supported"),
        ({"runtimeClassName": "gvisor"}, "runtimeClassName gvisor is not supported"),
        ({"securityContext": {"sysctls": [{"name": "a", "value": "b"}]}}, "sysctls need a network namespace"),
        ({"securityContext": {"seccompProfile": {"type": "Localhost"}}}, "seccompProfile Localhost"),
        ({"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}, "appArmorProfile RuntimeDefault"),
        ({"securityContext": {"seLinuxOptions": {"level": "s0"}}}, "seLinuxOptions are not supported"),
        ({"ephemeralContainers": [{"name": "e", "targetContainerName": "c"}]}, "container e: targetContainerName"),
        (with_container(ports=[{"containerPort": 80, "hostPort": 8080}]), "container c: hostPort 8080 cannot lead to"),
        (with_container(ports=[{"containerPort": 80, "hostPort": 80, "hostIP": "192.0.2.1"}]), "hostIP 192.0.2.1"),
        (with_container(volumeDevices=[{"name": "v"}]), "volumeDevices are not supported"),
        (
            with_container(volumeMounts=[{"mountPath": "/a", "mountPropagation": "Bidirectional"}]),
            "Bidirectional of /a",
        ),
        (with_container(volumeMounts=[{"mountPath": "/a", "recursiveReadOnly": "Enabled"}]), "recursiveReadOnly of /a"),
        (with_container(resources={"limits": {"hugepages-2Mi": "2Mi"}}), "the hugepages-2Mi limit"),
        (with_container(resources={"claims": [{"name": "gpu"}]}), "resource claims are not supported"),
        (with_container(securityContext={"capabilities": {"add": ["FLY"]}}), "capability FLY is unknown"),
        (with_container(securityContext={"appArmorProfile": {"type": "Localhost"}}), "appArmorProfile Localhost"),
    ],
)
def test_what_cannot_be_honoured_is_named(spec: dict[str, Any], text: str) -> None:
    (reason,) = refused(spec)
    assert text in reason


@pytest.mark.parametrize(
    ("spec", "missing"),
    [
        ({"hostname": "web"}, "uts"),
        ({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, "seccomp"),
        ({"hostAliases": [{"ip": "192.0.2.1"}]}, "mount"),
        ({"dnsConfig": {"searches": ["a"]}}, "mount"),
        (with_container(securityContext={"readOnlyRootFilesystem": True}), "mount"),
        (with_container(securityContext={"privileged": True}), "root"),
        (with_container(securityContext={"capabilities": {"add": ["KILL"]}}), "root"),
        (with_container(securityContext={"runAsUser": os.geteuid() + 1}), "root"),
        ({"securityContext": {"runAsGroup": os.getegid() + 1}, **with_container()}, "root"),
        (with_container(resources={"limits": {"memory": "1Gi"}}), "memory"),
        (with_container(resources={"limits": {"cpu": "1"}}), "cpu"),
    ],
)
def test_what_the_machine_does_not_allow_is_named(spec: dict[str, Any], missing: str) -> None:
    assert refused(spec) == []
    assert len(refused(spec, ALL - {missing})) == 1


def test_limits_are_only_wishes_where_configured_so() -> None:
    spec = with_container(resources={"limits": {"memory": "1Gi", "cpu": "1"}})
    assert refused(spec, ALL - {"memory", "cpu"}, enforce_limits=False) == []


def test_container_takes_the_pods_user_where_it_names_none() -> None:
    own = os.geteuid()
    spec = {
        "securityContext": {"runAsUser": own + 1},
        "containers": [{"name": "own", "securityContext": {"runAsUser": own}}, {"name": "other"}],
    }
    assert refused(spec, ALL - {"root"}) == [f"container other: runAsUser {own + 1} needs edgecore to run as root"]


def test_capabilities_are_the_default_set_less_drop_plus_add() -> None:
    numbers = capabilities.NUMBERS
    assert capabilities.kept([], []) == sorted(numbers[name] for name in capabilities.DEFAULT)
    assert capabilities.kept(["NET_BIND_SERVICE"], ["ALL"]) == [numbers["NET_BIND_SERVICE"]]
    assert capabilities.kept(["cap_sys_time"], ["KILL"]) == sorted(
        numbers[name] for name in (capabilities.DEFAULT - {"KILL"}) | {"SYS_TIME"}
    )
    assert capabilities.kept(["ALL"], ["KILL"]) == sorted(set(numbers.values()) - {numbers["KILL"]})
    assert capabilities.kept([], ["ALL"]) == []
