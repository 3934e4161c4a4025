"""Which nodes run a DaemonSet's pod, which pods go and which come, and what the DaemonSet says of it. All pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from kubeedge.apiserver.controllers.ownership import reference
from kubeedge.apiserver.controllers.placement import named_nodes
from kubeedge.apiserver.controllers.pods import from_template, is_active, is_available, is_ready
from kubeedge.apiserver.controllers.rollout import share
from kubeedge.apiserver.controllers.selection import first_untolerated, is_wanted
from kubeedge.apiserver.controllers.views import DaemonSet, DaemonSetStatus, Node, Pod, PodSpec, Toleration
from kubeedge.kube.instants import unix_time
from kubeedge.kube.kinds import DAEMON_SET

HASH_LABEL = "controller-revision-hash"
GENERATION_LABEL = "pod-template-generation"
GENERATION_ANNOTATION = "deprecated.daemonset.template.generation"

# Daemons stay on nodes that are in trouble, and go to nodes that take no other pods.
_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
_TOLERATED_ON_HOST_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")


def tolerations(spec: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tolerations of a daemon pod: the template's own and those that every daemon has."""
    own = list(spec.get("tolerations") or ())
    given = [*_TOLERATED, *([_TOLERATED_ON_HOST_NETWORK] if spec.get("hostNetwork") else [])]
    for key, effect in given:
        toleration = {"key": key, "operator": "Exists", "effect": effect}
        if toleration not in own:
            own.append(toleration)
    return own


def daemon_pod(daemon_set: DaemonSet, node_name: str, hash_: str) -> dict[str, Any]:
    """Return the pod of a DaemonSet for one node, to which its affinity ties it; the scheduler binds it."""
    meta = daemon_set.metadata
    pod = from_template(daemon_set.spec.template, DAEMON_SET, meta)
    pod["metadata"]["ownerReferences"] = [reference(DAEMON_SET, meta)]
    labels = {**(pod["metadata"].get("labels") or {}), HASH_LABEL: hash_}
    generation = meta.annotations.get(GENERATION_ANNOTATION)
    if generation:
        labels[GENERATION_LABEL] = generation
    pod["metadata"]["labels"] = labels
    spec = pod["spec"]
    spec["tolerations"] = tolerations(spec)
    spec["affinity"] = tied_to(spec.get("affinity") or {}, node_name)
    return pod


def tied_to(affinity: Mapping[str, Any], node_name: str) -> dict[str, Any]:
    """Return affinity with every required node term narrowed to one node."""
    by_name = [{"key": "metadata.name", "operator": "In", "values": [node_name]}]
    node_affinity = dict(affinity.get("nodeAffinity") or {})
    required = node_affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or {}
    terms = required.get("nodeSelectorTerms") or [{}]
    node_affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {
        "nodeSelectorTerms": [{**term, "matchFields": by_name} for term in terms]
    }
    return {**affinity, "nodeAffinity": node_affinity}


def node_of(pod: Pod) -> str:
    """Return the node that a daemon pod is on or tied to."""
    if pod.spec.node_name:
        return pod.spec.node_name
    names = named_nodes(pod)
    return next(iter(names)) if names is not None and len(names) == 1 else ""


def fits(daemon_set: DaemonSet) -> Callable[[Node], tuple[bool, bool]]:
    """Return the function that tells of a node (should run the pod, may keep one that it has)."""
    template = dict(daemon_set.spec.template.get("spec") or {})
    spec = msgspec.convert(template, PodSpec)
    tolerated = msgspec.convert(tolerations(template), list[Toleration])

    def judge(node: Node) -> tuple[bool, bool]:
        if spec.node_name and spec.node_name != node.metadata.name:
            return False, False
        if not is_wanted(spec, node):
            return False, False
        if first_untolerated(node.spec.taints, tolerated) is None:
            return True, True
        return False, first_untolerated(node.spec.taints, tolerated, ("NoExecute",)) is None

    return judge


@dataclass(slots=True)
class Plan:
    """Nodes to get a pod, pods to be deleted, and of the latter those that failed."""

    create: list[str] = field(default_factory=list)
    delete: list[Pod] = field(default_factory=list)
    failed: list[Pod] = field(default_factory=list)


def by_age(pods: Iterable[Pod]) -> list[Pod]:
    """Return pods, oldest first."""
    return sorted(pods, key=lambda pod: (unix_time(pod.metadata.creation_timestamp, 0.0), pod.metadata.name))


def is_new(pod: Pod, hash_: str) -> bool:
    """Tell whether a pod is of the present template."""
    return pod.metadata.labels.get(HASH_LABEL) == hash_


def limits(daemon_set: DaemonSet, desired: int) -> tuple[int, int]:
    """Return (surge, unavailable) of a rolling update over desired nodes."""
    rolling = daemon_set.spec.update_strategy.rolling_update
    if rolling is None:
        return 0, 1
    surge = share(rolling.max_surge, desired, up=True)
    unavailable = share(1 if rolling.max_unavailable is None else rolling.max_unavailable, desired, up=True)
    return surge, 1 if surge == 0 and unavailable == 0 else unavailable


def even_out(daemon_set: DaemonSet, nodes: Sequence[Node], pods: Mapping[str, list[Pod]], hash_: str) -> Plan:
    """Plan one pod on every node that should have one and none elsewhere; pods are by node name."""
    plan = Plan()
    judge = fits(daemon_set)
    surges = limits(daemon_set, len(nodes))[0] > 0
    known = {node.metadata.name for node in nodes}
    for node in nodes:
        name = node.metadata.name
        should_run, may_stay = judge(node)
        here = pods.get(name, [])
        ended = [pod for pod in here if pod.status.phase in ("Failed", "Succeeded") and not pod.metadata.is_deleting]
        active = by_age(pod for pod in here if is_active(pod))
        if not may_stay:
            plan.delete += active
        elif not here:
            if should_run:
                plan.create.append(name)
        else:
            plan.failed += ended
            # One that is bound and runs is worth more than one that waits.
            active.sort(key=lambda pod: not (pod.spec.node_name and is_ready(pod)))
            olds = [pod for pod in active if not is_new(pod, hash_)]
            news = [pod for pod in active if is_new(pod, hash_)]
            kept = [*news[:1], *olds[:1]] if surges else active[:1]
            plan.delete += [pod for pod in active if pod not in kept]
    for name, here in pods.items():
        if name not in known:
            plan.delete += [pod for pod in here if is_active(pod)]
    return plan


def update(
    daemon_set: DaemonSet,
    nodes: Sequence[Node],
    pods: Mapping[str, list[Pod]],
    hash_: str,
    now_s: float,
) -> Plan:
    """Plan a step of a rolling update: old pods go as fast as unavailable nodes allow, or new ones come beside them."""
    plan = Plan()
    judge = fits(daemon_set)
    wanted = [node.metadata.name for node in nodes if judge(node)[0]]
    surge, unavailable = limits(daemon_set, len(wanted))

    def available(pod: Pod) -> bool:
        return is_available(pod, daemon_set.spec.min_ready_seconds, now_s)

    willing: list[Pod] = []
    willing_nodes: list[str] = []
    down = surging = 0
    for name in wanted:
        active = by_age(pod for pod in pods.get(name, []) if is_active(pod))
        new = next((pod for pod in active if is_new(pod, hash_)), None)
        old = next((pod for pod in active if not is_new(pod, hash_)), None)
        if surge:
            if old is None:
                continue
            if new is None:
                if available(old):
                    willing_nodes.append(name)
                else:
                    plan.create.append(name)
            elif available(new):
                plan.delete.append(old)
            else:
                surging += 1
        elif new is not None or old is None:
            down += new is None or not available(new)
        elif available(old):
            willing.append(old)
        else:
            down += 1
            plan.delete.append(old)
    plan.delete += willing[: max(0, unavailable - down)] if not surge else []
    plan.create += willing_nodes[: max(0, surge - surging)]
    return plan


def status_of(
    daemon_set: DaemonSet,
    nodes: Sequence[Node],
    pods: Mapping[str, list[Pod]],
    hash_: str,
    now_s: float,
    collisions: int | None,
) -> DaemonSetStatus:
    """Return the status of a DaemonSet whose pods are these by node name; the oldest of a node speaks for it."""
    judge = fits(daemon_set)
    status = DaemonSetStatus(observed_generation=daemon_set.metadata.generation, collision_count=collisions)
    for node in nodes:
        here = by_age(pod for pod in pods.get(node.metadata.name, []) if is_active(pod))
        if not judge(node)[0]:
            status.number_misscheduled += bool(here)
            continue
        status.desired_number_scheduled += 1
        if not here:
            continue
        status.current_number_scheduled += 1
        first = here[0]
        if is_ready(first):
            status.number_ready += 1
            status.number_available += is_available(first, daemon_set.spec.min_ready_seconds, now_s)
        status.updated_number_scheduled += any(is_new(pod, hash_) for pod in here)
    status.number_unavailable = status.desired_number_scheduled - status.number_available
    return status
