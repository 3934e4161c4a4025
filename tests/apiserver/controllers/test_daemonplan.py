"""Which nodes a DaemonSet runs on, and how its pods are exchanged."""

from __future__ import annotations

from typing import Any

import pytest

from kubeedge.apiserver.controllers import daemonplan
from kubeedge.apiserver.controllers.daemonplan import HASH_LABEL
from kubeedge.apiserver.controllers.views import (
    DaemonSet,
    DaemonSetSpec,
    Metadata,
    Node,
    NodeSpec,
    Pod,
    RollingUpdate,
    Strategy,
    Taint,
)
from tests.apiserver.controllers.builders import pod

NOW = 1_000.0


def daemon_set(surge: int | str = 0, unavailable: int | str = 1, **spec: Any) -> DaemonSet:
    return DaemonSet(
        metadata=Metadata(name="ds", namespace="ns", uid="u", generation=3),
        spec=DaemonSetSpec(
            template={"metadata": {"labels": {"app": "ds"}}, "spec": spec},
            update_strategy=Strategy("RollingUpdate", RollingUpdate(unavailable, surge)),
        ),
    )


def node(name: str, *taints: Taint, **labels: str) -> Node:
    return Node(metadata=Metadata(name=name, labels=labels), spec=NodeSpec(taints=list(taints)))


def daemon(name: str, where: str, hash_: str = "new", *, available: bool = True, **more: Any) -> Pod:
    return pod(name, node=where, labels={HASH_LABEL: hash_}, ready_at=1.0 if available else None, **more)


NODES = [node(f"n{number}") for number in range(4)]


def names(pods: list[Pod]) -> list[str]:
    return [found.metadata.name for found in pods]


def test_daemon_pod_is_tied_to_its_node_and_tolerates_trouble() -> None:
    term = {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    made = daemonplan.daemon_pod(daemon_set(affinity={"nodeAffinity": required}, hostNetwork=True), "n1", "h")
    by_name = [{"key": "metadata.name", "operator": "In", "values": ["n1"]}]
    (tied,) = made["spec"]["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"][
        "nodeSelectorTerms"
    ]
    assert tied == {**term, "matchFields": by_name}
    assert made["metadata"]["labels"] == {"app": "ds", HASH_LABEL: "h"}
    tolerated = {(found["key"], found["effect"]) for found in made["spec"]["tolerations"]}
    assert ("node.kubernetes.io/unreachable", "NoExecute") in tolerated
    assert ("node.kubernetes.io/network-unavailable", "NoSchedule") in tolerated


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (node("n", disk="ssd"), (True, True)),
        (node("n"), (False, False)),
        (node("n", Taint("k", "", "NoSchedule"), disk="ssd"), (False, True)),
        (node("n", Taint("k", "", "NoExecute"), disk="ssd"), (False, False)),
        (node("n", Taint("node.kubernetes.io/unschedulable", "", "NoSchedule"), disk="ssd"), (True, True)),
    ],
)
def test_nodes_that_should_run_and_those_that_may_keep(found: Node, expected: tuple[bool, bool]) -> None:
    assert daemonplan.fits(daemon_set(nodeSelector={"disk": "ssd"}))(found) == expected


def test_one_pod_a_node_and_none_elsewhere() -> None:
    pods = {
        "n0": [daemon("a", "n0"), daemon("waiting", "n0", available=False)],
        "n1": [daemon("failed", "n1", phase="Failed")],
        "gone": [daemon("lost", "gone")],
    }
    plan = daemonplan.even_out(daemon_set(), NODES, pods, "new")
    assert plan.create == ["n2", "n3"]
    assert names(plan.delete) == ["waiting", "lost"]
    assert names(plan.failed) == ["failed"]


def test_unavailable_old_pods_go_first_and_available_ones_within_the_limit() -> None:
    pods = {
        "n0": [daemon("n0", "n0", "old")],
        "n1": [daemon("n1", "n1", "old", available=False)],
        "n2": [daemon("n2", "n2", "old")],
        "n3": [daemon("n3", "n3")],
    }
    assert names(daemonplan.update(daemon_set(), NODES, pods, "new", NOW).delete) == ["n1"]
    assert names(daemonplan.update(daemon_set(unavailable="50%"), NODES, pods, "new", NOW).delete) == ["n1", "n0"]


def test_with_surge_the_old_pod_goes_when_the_new_one_is_there() -> None:
    pods = {
        "n0": [daemon("n0-old", "n0", "old"), daemon("n0-new", "n0")],
        "n1": [daemon("n1-old", "n1", "old"), daemon("n1-new", "n1", available=False)],
        "n2": [daemon("n2-old", "n2", "old")],
        "n3": [daemon("n3-old", "n3", "old")],
    }
    surging = daemon_set(surge=2, unavailable=0)
    plan = daemonplan.update(surging, NODES, pods, "new", NOW)
    assert names(plan.delete) == ["n0-old"]
    assert plan.create == ["n2"]
    assert daemonplan.even_out(surging, NODES, pods, "new").delete == []


def test_status_counts_nodes() -> None:
    pods = {
        "n0": [daemon("n0", "n0")],
        "n1": [daemon("n1", "n1", "old", available=False)],
        "n3": [daemon("n3", "n3")],
    }
    nodes = [*NODES[:3], node("n3", Taint("k", "", "NoSchedule"))]
    status = daemonplan.status_of(daemon_set(), nodes, pods, "new", NOW, None)
    assert (status.desired_number_scheduled, status.current_number_scheduled) == (3, 2)
    assert (status.number_ready, status.number_available, status.number_unavailable) == (1, 1, 2)
    assert (status.updated_number_scheduled, status.number_misscheduled) == (1, 1)
    assert status.observed_generation == 3
