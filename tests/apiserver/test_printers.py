"""Rows of tables: what `kubectl get` shows."""

from __future__ import annotations

from typing import Any

import pytest

from kubeedge.apiserver.kinds.spec import Object
from kubeedge.apiserver.kinds.table import builtin

REGISTRY = builtin()
NOW = 1_800_000_000.0
AN_HOUR_AGO = "2027-01-15T07:00:00Z"


def row(group: str, version: str, plural: str, obj: Object) -> dict[str, Any]:
    """The cells of an object by the names of their columns."""
    spec = REGISTRY.lookup(group, version, plural)
    assert spec is not None
    obj = {"metadata": {"name": "x", "creationTimestamp": AN_HOUR_AGO}, **obj}
    return dict(zip((column.name for column in spec.columns), spec.row(obj, NOW), strict=True))


def pod_row(**pod: Any) -> dict[str, Any]:
    metadata = {"name": "x", "creationTimestamp": AN_HOUR_AGO, **pod.pop("metadata", {})}
    return row("", "v1", "pods", {"metadata": metadata, "spec": {"containers": [{"name": "c"}]}, **pod})


@pytest.mark.parametrize("spec", list(REGISTRY.specs()), ids=lambda spec: f"{spec.kind.group}.{spec.kind.kind}")
def test_every_kind_has_a_row_for_an_object_with_nothing_in_it(spec: Any) -> None:
    cells = spec.row({"metadata": {"name": "x"}}, NOW)
    assert len(cells) == len(spec.columns)
    assert any(column.name == "Name" for column in spec.columns)


def running(name: str = "c", **more: Any) -> Object:
    return {"name": name, "ready": True, "restartCount": 0, "state": {"running": {}}, **more}


@pytest.mark.parametrize(
    ("status", "shown"),
    [
        ({"phase": "Pending"}, ("0/1", "Pending", "0")),
        ({"phase": "Running", "containerStatuses": [running()]}, ("1/1", "Running", "0")),
        ({"phase": "Failed", "reason": "Evicted"}, ("0/1", "Evicted", "0")),
        (
            {"containerStatuses": [{"state": {"waiting": {"reason": "CrashLoopBackOff"}}, "restartCount": 3}]},
            ("0/1", "CrashLoopBackOff", "3"),
        ),
        ({"containerStatuses": [{"state": {"terminated": {"exitCode": 2}}}]}, ("0/1", "ExitCode:2", "0")),
        ({"containerStatuses": [{"state": {"terminated": {"signal": 9}}}]}, ("0/1", "Signal:9", "0")),
        ({"containerStatuses": [{"state": {"terminated": {"reason": "Completed"}}}]}, ("0/1", "Completed", "0")),
        (
            {"containerStatuses": [{"state": {"terminated": {"reason": "Completed"}}}, running("d")]},
            ("1/1", "NotReady", "0"),
        ),
        ({"initContainerStatuses": [{"state": {"waiting": {}}}]}, ("0/1", "Init:0/0", "0")),
        (
            {"initContainerStatuses": [{"state": {"terminated": {"exitCode": 1}}, "restartCount": 2}]},
            ("0/1", "Init:ExitCode:1", "2"),
        ),
        (
            {"initContainerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull"}}}]},
            ("0/1", "Init:ErrImagePull", "0"),
        ),
    ],
)
def test_the_state_of_a_pod_is_told_in_one_word(status: Object, shown: tuple[str, str, str]) -> None:
    cells = pod_row(status=status)
    assert (cells["Ready"], cells["Status"], cells["Restarts"]) == shown


def test_restarts_tell_when_the_last_was() -> None:
    ended = {"terminated": {"finishedAt": "2027-01-15T07:59:55Z"}}
    cells = pod_row(status={"containerStatuses": [running(restartCount=2, lastState=ended)]})
    assert cells["Restarts"] == "2 (5s ago)"


def test_a_pod_that_is_being_deleted_is_terminating_unless_its_node_is_lost() -> None:
    metadata = {"deletionTimestamp": AN_HOUR_AGO}
    assert pod_row(metadata=metadata, status={"phase": "Running"})["Status"] == "Terminating"
    assert pod_row(metadata=metadata, status={"phase": "Succeeded"})["Status"] == "Succeeded"
    assert pod_row(metadata=metadata, status={"phase": "Running", "reason": "NodeLost"})["Status"] == "Unknown"


def test_sidecars_count_as_containers() -> None:
    spec = {"containers": [{"name": "c"}], "initContainers": [{"name": "s", "restartPolicy": "Always"}]}
    status = {"containerStatuses": [running()], "initContainerStatuses": [running("s", started=True)]}
    assert pod_row(spec=spec, status=status)["Ready"] == "2/2"


def test_a_node_shows_its_roles_and_whether_it_takes_pods() -> None:
    metadata = {"name": "n", "labels": {"node-role.kubernetes.io/edge": "", "node-role.kubernetes.io/agent": ""}}
    cells = row(
        "",
        "v1",
        "nodes",
        {
            "metadata": metadata,
            "spec": {"unschedulable": True},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "addresses": [{"type": "InternalIP", "address": "10.1.1.1"}],
                "nodeInfo": {"kernelVersion": "6", "architecture": "amd64"},
            },
        },
    )
    assert cells["Status"] == "Ready,SchedulingDisabled"
    assert cells["Roles"] == "agent,edge"
    assert (cells["Internal-IP"], cells["External-IP"]) == ("10.1.1.1", "<none>")
    assert cells["Kernel-Version"] == "6 (amd64)"
    assert cells["Age"] == "<unknown>"


@pytest.mark.parametrize(
    ("plural", "obj", "cells"),
    [
        ("services", {"spec": {"type": "LoadBalancer"}}, {"External-IP": "<pending>", "Cluster-IP": "<none>"}),
        (
            "services",
            {"spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30080, "protocol": "TCP"}]}},
            {"Port(s)": "80:30080/TCP", "External-IP": "<none>"},
        ),
        (
            "endpoints",
            {"subsets": [{"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 80}]}]},
            {"Endpoints": "10.0.0.1:80"},
        ),
        ("endpoints", {}, {"Endpoints": "<none>"}),
        ("configmaps", {"data": {"a": ""}, "binaryData": {"b": ""}}, {"Data": 2, "Age": "60m"}),
        ("persistentvolumeclaims", {"status": {"phase": "Pending"}}, {"Status": "Pending", "Capacity": ""}),
        (
            "events",
            {"involvedObject": {"kind": "Pod", "name": "p"}, "lastTimestamp": AN_HOUR_AGO, "message": " m "},
            {"Last Seen": "60m", "Object": "pod/p", "Message": "m", "Count": 1},
        ),
    ],
)
def test_cells_of_core_kinds(plural: str, obj: Object, cells: dict[str, Any]) -> None:
    shown = row("", "v1", plural, obj)
    assert {name: shown[name] for name in cells} == cells


@pytest.mark.parametrize(
    ("spec", "status", "cells"),
    [
        ({"completions": 2}, {"succeeded": 1}, {"Completions": "1/2", "Status": "Running", "Duration": ""}),
        ({"parallelism": 3}, {}, {"Completions": "0/1 of 3"}),
        ({}, {"conditions": [{"type": "Complete", "status": "True"}]}, {"Status": "Complete"}),
        ({}, {"startTime": AN_HOUR_AGO}, {"Duration": "60m"}),
    ],
)
def test_cells_of_a_job(spec: Object, status: Object, cells: dict[str, Any]) -> None:
    shown = row("batch", "v1", "jobs", {"spec": spec, "status": status})
    assert {name: shown[name] for name in cells} == cells


def test_events_look_the_same_under_both_names() -> None:
    about, times = {"kind": "Pod", "name": "p", "fieldPath": "f"}, ("FirstTimestamp", "LastTimestamp")
    core = {"involvedObject": about, "message": "m", "source": {"component": "c"}, "count": 3}
    new = {"regarding": about, "note": "m", "deprecatedSource": {"component": "c"}, "deprecatedCount": 3}
    core |= {time[0].lower() + time[1:]: AN_HOUR_AGO for time in times}
    new |= {f"deprecated{time}": AN_HOUR_AGO for time in times}
    assert row("", "v1", "events", core) == row("events.k8s.io", "v1", "events", new)


@pytest.mark.parametrize(
    ("metric", "measured", "shown"),
    [
        (("Resource", {"name": "cpu", "target": {"averageUtilization": 50}}), {}, "cpu: <unknown>/50%"),
        (
            ("Resource", {"name": "cpu", "target": {"averageUtilization": 50}}),
            {"resource": {"current": {"averageUtilization": 30}}},
            "cpu: 30%/50%",
        ),
        (("Pods", {"target": {"averageValue": "5"}}), {"pods": {"current": {"averageValue": "3"}}}, "3/5"),
        (("External", {"target": {"averageValue": "5"}}), {}, "<unknown>/5 (avg)"),
        (("Object", {"target": {"value": "5"}}), {}, "<unknown>/5"),
        (("Odd", {}), {}, "<unknown type>"),
    ],
)
def test_an_autoscaler_shows_what_is_measured_and_wanted(metric: Any, measured: Object, shown: str) -> None:
    kind, target = metric
    spec = {"metrics": [{"type": kind, kind.lower(): target}]}
    cells = row(
        "autoscaling", "v2", "horizontalpodautoscalers", {"spec": spec, "status": {"currentMetrics": [measured]}}
    )
    assert cells["Targets"] == shown
