"""Where messages go, rule by rule and over the recordings."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests._speedups.builds import BUILDS
from tests._speedups.test_envelope import RECORDED

SOURCES = st.sampled_from(
    (
        "edgecontroller",
        "devicecontroller",
        "cloudhub",
        "cloudStream",
        "synccontroller",
        "metaserver",
        "twin",
        "edged",
        "router_eventbus",
        "router_servicebus",
        "taskmanager",
        "nodeupgradejobcontroller",
        "bus",
        "",
    )
)
GROUPS = st.sampled_from(["resource", "func", "twin", "user", "taskmanager", "hub", "meta", ""])
OPERATIONS = st.sampled_from(
    (
        "keepalive",
        "response",
        "error",
        "upload",
        "prepull",
        "upgrade",
        "UpdateNodeActionStatus",
        "query",
        "update",
        "insert",
        "delete",
        "get",
        "applicationResponse",
        "createvolume",
        "ping",
        "",
    )
)
SEGMENTS = st.lists(
    st.sampled_from(
        (
            "k8s",
            "ca.crt",
            "volume",
            "node",
            "pod",
            "podlist",
            "membership",
            "detail",
            "twin",
            "cloud_updated",
            "device",
            "default",
            "null",
            "x",
            "lease",
            "nodepatch",
            "serviceaccounttoken",
            "podpatch",
            "podstatus",
            "configmap",
            "certificatesigningrequest",
            "é",
            "",
        )
    ),
    max_size=5,
).map("/".join)


def message(build: SimpleNamespace, **fields: Any) -> Any:
    names = (
        "id",
        "parent_id",
        "timestamp_ms",
        "resource_version",
        "source",
        "group",
        "operation",
        "resource",
        "content",
    )
    values = {"timestamp_ms": 0, "content": b"null", **fields}
    return build.envelope.Message(*(values.get(name, "") for name in names))


@pytest.mark.parametrize(
    ("expected", "fields"),
    [
        ("KEEPALIVE", {"operation": "keepalive", "resource": "default/volume/pvc-1"}),
        ("VOLUME", {"operation": "response", "resource": "default/volume/pvc-1"}),
        ("ACK", {"operation": "response", "resource": "default/volume/"}),
        ("ACK", {"operation": "response", "resource": "a/b/volume/c"}),
        ("ACK", {"operation": "response", "source": "edgecontroller", "resource": "default/pod/x"}),
        ("ERROR", {"operation": "error", "source": "metamanager"}),
        ("ROUTER", {"operation": "upload", "group": "user", "source": "bus"}),
        ("EDGE_CONTROLLER", {"operation": "upload", "group": "resource", "source": "bus"}),
        ("TASK_MANAGER", {"operation": "prepull"}),
        ("TASK_MANAGER", {"operation": "upgrade"}),
        ("TASK_MANAGER", {"operation": "UpdateNodeActionStatus", "source": "twin"}),
        ("CLUSTER_CA", {"operation": "query", "resource": "k8s/ca.crt", "source": "metamanager"}),
        ("DYNAMIC_CONTROLLER", {"source": "metaserver", "operation": "null"}),
        ("DEVICE_CONTROLLER", {"source": "twin", "operation": "update"}),
        ("EDGE_CONTROLLER", {"source": "edged", "operation": "insert"}),
        ("EDGE_CONTROLLER", {"source": "servicebus", "group": "user"}),
        ("EDGE_CONTROLLER", {}),
        *(("REJECTED", {"source": name}) for name in ("cloudhub", "cloudStream", "devicecontroller", "edgecontroller")),
        ("REJECTED", {"source": "synccontroller", "operation": "insert"}),
    ],
)
def test_messages_of_nodes_are_sorted_by_the_first_rule_that_fits(
    speedups: SimpleNamespace, expected: str, fields: dict[str, str]
) -> None:
    assert speedups.routing.upstream(message(speedups, **fields)) == getattr(speedups.routing, expected)


@pytest.mark.parametrize(
    ("expected", "fields"),
    [
        ("WAITER", {"group": "resource", "parent_id": "a"}),
        ("WAITER", {"group": "func", "parent_id": "a"}),
        ("META", {"group": "resource"}),
        ("META", {"group": "func"}),
        ("TWIN", {"group": "twin", "parent_id": "a"}),
        ("TWIN", {"group": "twin"}),
        ("WAITER", {"group": "user", "parent_id": "a", "source": "router_eventbus"}),
        ("EVENT_BUS", {"group": "user", "source": "router_eventbus"}),
        ("SERVICE_BUS", {"group": "user", "source": "router_servicebus"}),
        ("UNKNOWN", {"group": "user", "source": "edgecontroller"}),
        ("TASKS", {"group": "taskmanager", "parent_id": "a"}),
        ("UNKNOWN", {"group": "nodeupgradejobcontroller"}),
        ("UNKNOWN", {}),
    ],
)
def test_messages_of_the_cloud_are_sorted_by_group(
    speedups: SimpleNamespace, expected: str, fields: dict[str, str]
) -> None:
    assert speedups.routing.downstream(message(speedups, **fields)) == getattr(speedups.routing, expected)


@pytest.mark.parametrize("operation", ["config", "ping", "pong"])
def test_the_link_keeps_its_own_operations(speedups: SimpleNamespace, operation: str) -> None:
    assert speedups.routing.is_control(message(speedups, operation=operation))
    assert not speedups.routing.is_control(message(speedups, operation=f"{operation}s"))


EDGE = {"source": "edgecontroller", "group": "resource"}


@pytest.mark.parametrize(
    ("expected", "resource", "fields"),
    [
        (True, "default/pod/x", {**EDGE, "operation": "insert"}),
        (True, "default/pod/podlist", {**EDGE, "operation": "update"}),
        (True, "membership/pod/x", {**EDGE, "operation": "update"}),
        (False, "default/pod/x", {**EDGE, "operation": "response", "content": b'{"Object":null}'}),
        (False, "default/podlist", {**EDGE, "operation": "response"}),
        (False, "membership", {"source": "devicecontroller", "group": "twin", "operation": "update"}),
        (False, "membership/detail", {"source": "devicecontroller", "group": "twin", "operation": "update"}),
        (False, "device/ns/d/twin/cloud_updated", {"source": "devicecontroller", "group": "twin"}),
        (False, "default/serviceaccounttoken/default", {**EDGE, "operation": "response", "content": b"{}"}),
        (True, "default/secret/serviceaccounttoken", {**EDGE, "operation": "update"}),
        (False, "k8s/ca.crt", {"source": "cloudhub", "operation": "response", "content": b'"PEM"'}),
        (False, "default/volume/v", {"source": "cloudhub", "operation": "createvolume"}),
        (False, "ignore/Application/ignore", {"source": "dynamiccontroller", "operation": "applicationResponse"}),
        (False, "default/topic", {"source": "router_eventbus", "group": "user", "operation": "publish"}),
        (False, "a/b/c", {"source": "taskmanager", "operation": "Check"}),
        (False, "a/b/c", {"source": "nodeupgradejobcontroller", "operation": "upgrade"}),
        (False, "default/configmap/x", {**EDGE, "operation": "response", "content": b'{"ErrStatus":{"code":404}}'}),
        (False, "default/configmap/x", {**EDGE, "operation": "response", "content": b'"OK"'}),
        (True, "default/configmap/x", {**EDGE, "operation": "response", "content": b'{"kind":"ConfigMap"}'}),
        (True, "null/node/e1", {**EDGE, "operation": "update"}),
        (False, "null/node/e1", {**EDGE, "operation": "response", "content": b"{}"}),
        (False, "null/node/e1", {**EDGE, "operation": "delete"}),
        (False, "kube-node-lease/lease/e1", {**EDGE, "operation": "response"}),
        (False, "null/nodepatch/e1", {**EDGE, "operation": "response"}),
        (False, "default/podpatch/x", {**EDGE, "operation": "response"}),
        (False, "default/podstatus/x", {**EDGE, "operation": "response", "content": b"{}"}),
        (False, "default/certificatesigningrequest/x", {**EDGE, "operation": "response"}),
        (True, "default/device/d", {"source": "devicecontroller", "group": "resource", "operation": "insert"}),
        (True, "default/lease/l", {"source": "dynamiccontroller", "group": "resource", "operation": "insert"}),
    ],
)
def test_which_messages_the_edge_has_to_acknowledge(
    speedups: SimpleNamespace, expected: bool, resource: str, fields: dict[str, Any]
) -> None:
    assert speedups.routing.needs_ack(message(speedups, **fields), resource) is expected


def test_recorded_pushes_are_classified_as_upstream_did(speedups: SimpleNamespace) -> None:
    acked = {
        m["header"]["parent_msg_id"]
        for m in RECORDED
        if m["route"].get("operation") == "response" and m["content"] == "OK"
    }
    pushed = [m for m in RECORDED if m["header"].get("resourceversion") and "parent_msg_id" not in m["header"]]
    assert len(pushed) > 40
    for envelope in pushed:
        decoded = speedups.envelope.decode(orjson.dumps(envelope))
        assert speedups.routing.needs_ack(decoded, decoded.resource)
        assert decoded.id in acked


@given(
    SOURCES,
    GROUPS,
    OPERATIONS,
    SEGMENTS,
    st.sampled_from(["", "p"]),
    st.sampled_from([b"null", b'"OK"', b'{"ErrStatus":1}']),
)
def test_both_builds_agree(
    source: str, group: str, operation: str, resource: str, parent_id: str, content: bytes
) -> None:
    answers = set()
    for build in BUILDS:
        given_message = message(
            build,
            source=source,
            group=group,
            operation=operation,
            resource=resource,
            parent_id=parent_id,
            content=content,
        )
        routing = build.routing
        answers.add(
            (
                routing.upstream(given_message),
                routing.downstream(given_message),
                routing.is_control(given_message),
                routing.needs_ack(given_message, resource),
            )
        )
    assert len(answers) == 1
