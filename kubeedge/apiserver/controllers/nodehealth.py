"""Whether a node is alive, judged by its lease and status, and the taints that follow. All pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kubeedge.apiserver.controllers.views import Condition, Node, Taint, condition
from kubeedge.kube.instants import timestamp, unix_time

NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"

# The conditions that a node reports; all go unknown when it falls silent.
REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")
# (type, status) of a condition and the taint by which it keeps new pods away.
_BY_CONDITION = {
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
}
_MANAGED_NO_SCHEDULE = {*_BY_CONDITION.values(), UNSCHEDULABLE}
_MANAGED_NO_EXECUTE = {NOT_READY, UNREACHABLE}

# Shares of silent nodes from which on the fault is rather ours than theirs.
LARGE_FLEET = 50
DISRUPTED_SHARE = 0.55
DISRUPTED_NODES = 2


@dataclass(slots=True)
class Health:
    """What was last seen of a node: lease and heartbeat as they stood, and since when they stand so.

    Times that nodes write are only compared with themselves, since their clocks are not ours; seen_s is ours.
    """

    renew_time: str
    heartbeat: str
    seen_s: float


def observe(before: Health | None, node: Node, renew_time: str, now_s: float) -> Health:
    """Return what is seen now; a changed lease or heartbeat is a sign of life."""
    ready = condition(node.status.conditions, "Ready")
    heartbeat = ready.last_heartbeat_time or "" if ready is not None and ready.reason != "NodeStatusUnknown" else ""
    if before is None:
        return Health(renew_time, heartbeat, now_s)
    is_sign = renew_time != before.renew_time or (heartbeat not in ("", before.heartbeat))
    return Health(renew_time, heartbeat or before.heartbeat, now_s if is_sign else before.seen_s)


def ready_status(node: Node) -> str:
    """Return True, False or Unknown: what the node's Ready condition says, "" when there is none."""
    ready = condition(node.status.conditions, "Ready")
    return ready.status if ready is not None else ""


def is_silent(health: Health, node: Node, grace_s: float, startup_grace_s: float, now_s: float) -> bool:
    """Tell whether a node has given no sign of life for too long; one that never reported gets more time."""
    return now_s > health.seen_s + (grace_s if ready_status(node) else startup_grace_s)


def silenced(node: Node, now_s: float) -> list[Condition]:
    """Return the conditions that change when a node has fallen silent, as they are then."""
    changed = []
    for type_ in REPORTED:
        old = condition(node.status.conditions, type_)
        if old is None:
            changed.append(
                Condition(
                    type_,
                    "Unknown",
                    last_heartbeat_time=node.metadata.creation_timestamp,
                    last_transition_time=timestamp(now_s),
                    reason="NodeStatusNeverUpdated",
                    message="Kubelet never posted node status.",
                )
            )
        elif old.status != "Unknown":
            changed.append(
                Condition(
                    type_,
                    "Unknown",
                    last_heartbeat_time=old.last_heartbeat_time,
                    last_transition_time=timestamp(now_s),
                    reason="NodeStatusUnknown",
                    message="Kubelet stopped posting node status.",
                )
            )
    return changed


def taints(node: Node, now_s: float, *, may_evict: bool) -> list[Taint] | None:
    """Return the taints that the node should have, None when it has them.

    NoSchedule follows every condition; NoExecute, which evicts, follows Ready alone and is only set anew when
    may_evict. Taints of others stay as they are, in their order.
    """
    ready = ready_status(node)
    no_schedule = {
        key for found in node.status.conditions if (key := _BY_CONDITION.get((found.type, found.status))) is not None
    }
    if node.spec.unschedulable:
        no_schedule.add(UNSCHEDULABLE)
    no_execute = {_BY_CONDITION[("Ready", ready)]} if ready in ("False", "Unknown") else set()
    if not ready:
        # Nothing reported yet: the taint with which it was created stays.
        no_schedule.add(NOT_READY)
    kept = []
    for taint in node.spec.taints:
        if taint.effect == "NoSchedule" and taint.key in _MANAGED_NO_SCHEDULE:
            if taint.key not in no_schedule:
                continue
            no_schedule.discard(taint.key)
        elif taint.effect == "NoExecute" and taint.key in _MANAGED_NO_EXECUTE:
            if taint.key not in no_execute:
                # One is exchanged for the other at once, however few evictions are allowed.
                may_evict = True
                continue
            no_execute.discard(taint.key)
        kept.append(taint)
    if not ready:
        no_schedule.discard(NOT_READY)
    at = timestamp(now_s)
    added = [Taint(key, "", "NoSchedule", at) for key in sorted(no_schedule)]
    if may_evict:
        added += [Taint(key, "", "NoExecute", at) for key in sorted(no_execute)]
    result = [*kept, *added]
    return None if result == node.spec.taints else result


def lacks_eviction(node: Node) -> bool:
    """Tell whether the node is down and its pods are not yet told to go."""
    wanted = _BY_CONDITION.get(("Ready", ready_status(node)))
    return wanted is not None and not any(
        t.key in _MANAGED_NO_EXECUTE and t.effect == "NoExecute" for t in node.spec.taints
    )


def evictions_per_s(statuses: Sequence[str], rate: float, *, when_all_are_down: bool) -> float:
    """Return how many nodes a second may be emptied, given the ready statuses of all nodes.

    When most are down at the same time it is the network or the control plane: a large fleet is emptied at a tenth of
    rate, a small one not at all. when_all_are_down decides about the case that no node is left.
    """
    down = sum(status != "True" for status in statuses)
    if down == len(statuses):
        return rate if when_all_are_down else 0.0
    if down > DISRUPTED_NODES and down / len(statuses) >= DISRUPTED_SHARE:
        return rate / 10 if len(statuses) > LARGE_FLEET else 0.0
    return rate


def ttl_annotation(nodes: int) -> str:
    """Return how many seconds kubelets may serve Secrets and ConfigMaps from their caches in a fleet of that size."""
    limits: Mapping[int, int] = {100: 0, 500: 15, 1000: 30, 2000: 60}
    return str(next((ttl for size, ttl in limits.items() if nodes <= size), 300))


def since(taint: Taint, default: float) -> float:
    """Return since when a taint holds."""
    return unix_time(taint.time_added, default)
