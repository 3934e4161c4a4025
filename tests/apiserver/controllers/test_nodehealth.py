"""Life signs, silence, and the taints that follow."""

from __future__ import annotations

import pytest

from kubeedge.apiserver.controllers import nodehealth
from kubeedge.apiserver.controllers.eviction import evict_at
from kubeedge.apiserver.controllers.nodehealth import NOT_READY, UNREACHABLE, UNSCHEDULABLE, Health
from kubeedge.apiserver.controllers.views import (
    Condition,
    Metadata,
    Node,
    NodeSpec,
    NodeStatus,
    PodSpec,
    Taint,
    Toleration,
)
from kubeedge.kube.instants import timestamp
from tests.apiserver.controllers.builders import pod

NOW = 1_000_000.0


def node(*conditions: Condition, taints: list[Taint] | None = None, unschedulable: bool = False) -> Node:
    return Node(
        metadata=Metadata(name="n1", creation_timestamp=timestamp(0)),
        spec=NodeSpec(unschedulable=unschedulable, taints=taints or []),
        status=NodeStatus(conditions=list(conditions)),
    )


def ready(status: str, heartbeat: str = "h") -> Condition:
    return Condition("Ready", status, last_heartbeat_time=heartbeat)


def keys(taints: list[Taint] | None) -> list[tuple[str, str]] | None:
    return None if taints is None else [(taint.key, taint.effect) for taint in taints]


def test_lease_and_heartbeat_are_signs_of_life_whatever_the_clock_of_the_node() -> None:
    first = nodehealth.observe(None, node(ready("True", "long ago")), "r1", NOW)
    assert first.seen_s == NOW
    same = nodehealth.observe(first, node(ready("True", "long ago")), "r1", NOW + 30)
    assert same.seen_s == NOW
    renewed = nodehealth.observe(same, node(ready("True", "long ago")), "r0", NOW + 31)
    assert renewed.seen_s == NOW + 31
    beaten = nodehealth.observe(renewed, node(ready("True", "later")), "r0", NOW + 32)
    assert beaten.seen_s == NOW + 32


def test_own_mark_is_no_sign_of_life() -> None:
    seen = Health("r", "h", NOW)
    marked = node(Condition("Ready", "Unknown", reason="NodeStatusUnknown", last_heartbeat_time="h"))
    assert nodehealth.observe(seen, marked, "r", NOW + 50).seen_s == NOW


def test_node_is_silent_after_its_grace_and_a_new_one_later() -> None:
    seen = Health("r", "h", NOW)
    assert not nodehealth.is_silent(seen, node(ready("True")), 40, 60, NOW + 40)
    assert nodehealth.is_silent(seen, node(ready("True")), 40, 60, NOW + 41)
    assert not nodehealth.is_silent(seen, node(), 40, 60, NOW + 41)
    assert nodehealth.is_silent(seen, node(), 40, 60, NOW + 61)


def test_silent_node_has_unknown_conditions_once() -> None:
    changed = nodehealth.silenced(node(ready("True"), Condition("DiskPressure", "Unknown")), NOW)
    assert [(found.type, found.status, found.reason) for found in changed] == [
        ("Ready", "Unknown", "NodeStatusUnknown"),
        ("MemoryPressure", "Unknown", "NodeStatusNeverUpdated"),
        ("PIDPressure", "Unknown", "NodeStatusNeverUpdated"),
    ]
    assert changed[0].last_heartbeat_time == "h"
    assert nodehealth.silenced(node(*(Condition(t, "Unknown") for t in nodehealth.REPORTED)), NOW) == []


def test_taints_follow_conditions() -> None:
    assert nodehealth.taints(node(ready("True")), NOW, may_evict=True) is None
    down = nodehealth.taints(node(ready("Unknown")), NOW, may_evict=True)
    assert keys(down) == [(UNREACHABLE, "NoSchedule"), (UNREACHABLE, "NoExecute")]
    waiting = nodehealth.taints(node(ready("False")), NOW, may_evict=False)
    assert keys(waiting) == [(NOT_READY, "NoSchedule")]
    cordoned = node(ready("True"), Condition("MemoryPressure", "True"), unschedulable=True)
    assert keys(nodehealth.taints(cordoned, NOW, may_evict=True)) == [
        ("node.kubernetes.io/memory-pressure", "NoSchedule"),
        (UNSCHEDULABLE, "NoSchedule"),
    ]


def test_taints_of_others_stay_where_they_are() -> None:
    own = Taint(UNREACHABLE, "", "NoExecute")
    others = [Taint("a", "", "NoExecute"), own, Taint("b", "x", "NoSchedule")]
    assert keys(nodehealth.taints(node(ready("True"), taints=others), NOW, may_evict=False)) == [
        ("a", "NoExecute"),
        ("b", "NoSchedule"),
    ]


def test_unreachable_becomes_not_ready_at_once_when_the_node_speaks_again() -> None:
    before = node(ready("False"), taints=[Taint(UNREACHABLE, "", "NoExecute"), Taint(UNREACHABLE, "", "NoSchedule")])
    after = nodehealth.taints(before, NOW, may_evict=False)
    assert keys(after) == [(NOT_READY, "NoSchedule"), (NOT_READY, "NoExecute")]


def test_first_taint_of_a_node_stays_until_it_reports() -> None:
    first = [Taint(NOT_READY, "", "NoSchedule")]
    assert nodehealth.taints(node(taints=first), NOW, may_evict=True) is None
    assert nodehealth.taints(node(ready("True"), taints=first), NOW, may_evict=True) == []


def test_present_taints_keep_the_time_at_which_they_were_set() -> None:
    set_before = [Taint(UNREACHABLE, "", "NoSchedule", "t0"), Taint(UNREACHABLE, "", "NoExecute", "t0")]
    assert nodehealth.taints(node(ready("Unknown"), taints=set_before), NOW, may_evict=True) is None


@pytest.mark.parametrize(
    ("down", "up", "all_down", "expected"),
    [
        (1, 3, True, 0.1),
        (1, 0, True, 0.1),
        (1, 0, False, 0.0),
        (3, 2, True, 0.0),
        (2, 1, True, 0.1),
        (60, 20, True, 0.01),
    ],
)
def test_nodes_are_emptied_slowly_or_not_at_all_when_most_are_down(
    down: int, up: int, all_down: bool, expected: float
) -> None:
    statuses = ["Unknown"] * down + ["True"] * up
    assert nodehealth.evictions_per_s(statuses, 0.1, when_all_are_down=all_down) == pytest.approx(expected)


@pytest.mark.parametrize(("count", "seconds"), [(1, "0"), (100, "0"), (101, "15"), (1500, "60"), (9000, "300")])
def test_larger_fleets_may_cache_longer(count: int, seconds: str) -> None:
    assert nodehealth.ttl_annotation(count) == seconds


# Eviction


def tolerating(*seconds: int | None) -> PodSpec:
    return PodSpec(tolerations=[Toleration("k", "Exists", "", "NoExecute", found) for found in seconds])


def taint(at: float = NOW, key: str = "k") -> Taint:
    return Taint(key, "", "NoExecute", timestamp(at))


def test_pod_leaves_at_once_when_it_does_not_tolerate() -> None:
    assert evict_at(pod(), [taint()], NOW + 5) == NOW + 5
    assert evict_at(pod(spec=tolerating(300)), [taint(), taint(key="other")], NOW + 5) == NOW + 5


def test_pod_stays_for_the_shortest_of_its_times() -> None:
    assert evict_at(pod(spec=tolerating(300, 20, None)), [taint()], NOW) == NOW + 20
    assert evict_at(pod(spec=tolerating(-3)), [taint()], NOW) == NOW
    assert evict_at(pod(spec=tolerating(None)), [taint()], NOW) is None
    assert evict_at(pod(), [Taint("k", "", "NoSchedule")], NOW) is None
    assert evict_at(pod(), [], NOW) is None


def test_time_of_a_pod_that_came_after_the_taint_runs_from_its_creation() -> None:
    assert evict_at(pod(spec=tolerating(10), created=NOW + 100), [taint()], NOW + 100) == NOW + 110
