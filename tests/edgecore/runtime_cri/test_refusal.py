"""Pods that would lose something on the way to the runtime are refused with the names of what it is."""

from __future__ import annotations

from typing import Any

import pytest

from kubeedge.edgecore.edged.runtime.cri.runtime import CriRuntime


def refusal(**fields: Any) -> str:
    spec: dict[str, Any] = {"containers": [{"name": "main", "image": "x"}]}
    return CriRuntime("unix:///none").refuses({"spec": spec | fields})


def test_ordinary_pod_is_taken() -> None:
    assert refusal(hostUsers=True, securityContext={"supplementalGroupsPolicy": "Merge"}) == ""


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"hostUsers": False}, "hostUsers: false is not supported"),
        (
            {"securityContext": {"supplementalGroupsPolicy": "Strict"}},
            "supplementalGroupsPolicy Strict is not supported",
        ),
        (
            {"ephemeralContainers": [{"name": "debug", "targetContainerName": "main"}]},
            "container debug: targetContainerName is not supported",
        ),
    ],
)
def test_pod_that_would_lose_something_is_refused(fields: dict[str, Any], text: str) -> None:
    assert refusal(**fields) == text


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"volumeDevices": [{"name": "v", "devicePath": "/dev/x"}]}, "volumeDevices are not supported"),
        (
            {"volumeMounts": [{"name": "v", "mountPath": "/v", "recursiveReadOnly": "Enabled"}]},
            "recursiveReadOnly of /v is not supported",
        ),
        ({"resources": {"claims": [{"name": "gpu"}]}}, "resource claims are not supported"),
        ({"resources": {"limits": {"hugepages-2Mi": "4Mi"}}}, "the limit hugepages-2Mi is not supported"),
    ],
)
def test_container_that_would_lose_something_is_refused(fields: dict[str, Any], text: str) -> None:
    container = {"name": "main", "image": "x"} | fields
    assert refusal(containers=[container]) == f"container main: {text}"
