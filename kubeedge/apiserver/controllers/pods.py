"""What a controller wants to know of a pod, and how a workload's template becomes one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kubeedge.apiserver.controllers.ownership import reference
from kubeedge.apiserver.controllers.views import Condition, HasMetadata, Metadata, Pod, condition
from kubeedge.kube.api import Kind
from kubeedge.kube.instants import unix_time

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
NODE_INDEX = "node"
NAMESPACE_INDEX = "namespace"


def by_node(pod: Pod) -> tuple[str, ...]:
    """Index pods by the node they are bound to, "" for none."""
    return (pod.spec.node_name,)


def by_namespace(item: HasMetadata) -> tuple[str, ...]:
    """Index objects by namespace."""
    return (item.metadata.namespace,)


def is_finished(pod: Pod) -> bool:
    """Tell whether no container of the pod will run again."""
    return pod.status.phase in ("Succeeded", "Failed")


def is_active(pod: Pod) -> bool:
    """Tell whether the pod counts as a replica: neither finished nor on its way out."""
    return not is_finished(pod) and not pod.metadata.is_deleting


def ready_since(pod: Pod) -> float | None:
    """Return the Unix time since when the pod is ready, or None when it isn't."""
    ready = condition(pod.status.conditions, "Ready")
    if ready is None or ready.status != "True":
        return None
    return unix_time(ready.last_transition_time, 0.0)


def is_ready(pod: Pod) -> bool:
    """Tell whether the pod's Ready condition holds."""
    return ready_since(pod) is not None


def available_in(pod: Pod, min_ready_s: int, now_s: float) -> float | None:
    """Return after how many seconds a ready pod is available (0: it is), or None when it isn't ready."""
    since = ready_since(pod)
    if since is None:
        return None
    if min_ready_s == 0:
        return 0.0
    return max(0.0, since + min_ready_s - now_s) if since else float(min_ready_s)


def is_available(pod: Pod, min_ready_s: int, now_s: float) -> bool:
    """Tell whether the pod has been ready for min_ready_s."""
    return available_in(pod, min_ready_s, now_s) == 0.0


def restarts(pod: Pod) -> int:
    """Return the highest restart count of the pod's containers."""
    return max((status.restart_count for status in pod.status.container_statuses), default=0)


def deletion_cost(pod: Pod) -> int:
    """Return what the pod's owner says its loss costs; a malformed value counts as nothing."""
    try:
        return int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


def deletion_order(pods: Sequence[Pod], neighbours: Mapping[str, int]) -> list[Pod]:
    """Return pods in the order in which a shrinking workload gives them up.

    Unbound before bound, pending before unknown before running, not ready before ready, cheap before dear, crowded
    nodes first, lately ready first, often restarted first, young first. neighbours tells for each node how many active
    pods of the same workload are there.
    """
    phases = {"Pending": 0, "Unknown": 1, "Running": 2}

    def rank(pod: Pod) -> tuple[object, ...]:
        since = ready_since(pod)
        return (
            bool(pod.spec.node_name),
            phases.get(pod.status.phase, 0),
            since is not None,
            deletion_cost(pod),
            -neighbours.get(pod.spec.node_name, 0),
            -(since or 0.0),
            -restarts(pod),
            -unix_time(pod.metadata.creation_timestamp, 0.0),
        )

    return sorted(pods, key=rank)


def from_template(template: Mapping[str, Any], kind: Kind, owner: Metadata) -> dict[str, Any]:
    """Return the pod that a workload of that kind makes from its template; its name is left to the server."""
    meta = template.get("metadata") or {}
    metadata: dict[str, Any] = {
        "generateName": f"{owner.name}-",
        "namespace": owner.namespace,
        "ownerReferences": [reference(kind, owner)],
    }
    for field in ("labels", "annotations", "finalizers"):
        if meta.get(field):
            metadata[field] = meta[field]
    return {"metadata": metadata, "spec": dict(template.get("spec") or {})}


def with_condition(conditions: Sequence[Condition], new: Condition) -> list[Condition] | None:
    """Return conditions with new in place of the one of its type; None when nothing but times would change.

    A new one with the status of the old keeps the time of the last transition.
    """
    old = condition(list(conditions), new.type)
    if old is None:
        return [*conditions, new]
    if old.status == new.status:
        new.last_transition_time = old.last_transition_time
    if (old.status, old.reason, old.message) == (new.status, new.reason, new.message):
        return None
    return [new if found.type == new.type else found for found in conditions]
