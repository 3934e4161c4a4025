"""Whether the node takes a pod (spec 05 §5.2). What it cannot honour is refused visibly, never left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from kubeedge.edgecore.edged import requests
from kubeedge.edgecore.edged.pod import Object, Pod
from kubeedge.edgecore.edged.volumes.mounter import unsupported
from kubeedge.kube import quantity
from kubeedge.kube.requirement import is_met


class Node(msgspec.Struct, frozen=True):
    """The node as far as it decides: allocatable quantities, labels, and conditions of pressure that hold."""

    allocatable: Mapping[str, str]
    labels: Mapping[str, str]
    pressures: frozenset[str] = frozenset()


class Refusal(msgspec.Struct, frozen=True):
    """Why a pod is not taken: `status.reason` and the text after `Pod was rejected: `."""

    reason: str
    message: str


def admit(pod: Pod, others: Iterable[Pod], node: Node, refuses: Callable[[Object], str]) -> Refusal | None:
    """Return None when the node takes the pod beside the active others.

    refuses is the runtime's word on it (Runtime.refuses).
    """
    system = (pod.spec.get("os") or {}).get("name")
    if system and system != "linux":
        return Refusal("PodOSNotSupported", "Failed to admit pod as the OS field doesn't match node OS")
    missing = unsupported(pod)
    if missing:
        return Refusal("UnsupportedVolume", missing)
    if pod.spec.get("runtimeClassName"):
        # The node knows no RuntimeClass (spec 05 E4).
        return Refusal("RuntimeClassNotFound", f'RuntimeClass "{pod.spec["runtimeClassName"]}" not found')
    refused = refuses(pod.data)
    if refused:
        return Refusal("UnsupportedByRuntime", refused)
    if not selects(pod, node.labels):
        text = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        return Refusal("NodeAffinity", text)
    active = list(others)
    return _pressure(pod, node) or _ports(pod, active) or _fit(pod, active, node)


def _pressure(pod: Pod, node: Node) -> Refusal | None:
    if int(pod.spec.get("priority") or 0) >= requests.CRITICAL_PRIORITY or not node.pressures:
        return None
    if node.pressures == {"MemoryPressure"}:
        # Only those suffer that asked for nothing, unless they say that they can bear it.
        tolerated = any(t.get("key") == "node.kubernetes.io/memory-pressure" for t in pod.spec.get("tolerations") or ())
        if requests.qos_class(pod) != "BestEffort" or tolerated:
            return None
    listed = " ".join(sorted(node.pressures))
    return Refusal("Evicted", f"The node had condition: [{listed}]. ")


def _host_ports(pod: Pod) -> set[tuple[str, int]]:
    return {
        (port.get("protocol") or "TCP", int(port["hostPort"]))
        for container in (*pod.init_containers, *pod.containers)
        for port in container.get("ports") or ()
        if port.get("hostPort")
    }


def _ports(pod: Pod, others: list[Pod]) -> Refusal | None:
    wanted = _host_ports(pod)
    if wanted and any(wanted & _host_ports(other) for other in others):
        text = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
        return Refusal("NodePorts", text)
    return None


def _fit(pod: Pod, others: list[Pod], node: Node) -> Refusal | None:
    limit = _number(node.allocatable.get("pods"))
    if limit is not None and len(others) + 1 > limit:
        return _out_of("pods", 1, len(others), limit)
    for resource in ("cpu", "memory", "ephemeral-storage"):
        text = node.allocatable.get(resource)
        wanted = requests.pod_amount(pod, "requests", resource)
        if text is None or not wanted:
            continue
        used = sum(requests.pod_amount(other, "requests", resource) for other in others)
        capacity = quantity.milli(text) if resource == "cpu" else quantity.whole(text)
        if used + wanted > capacity:
            return _out_of(resource, wanted, used, capacity)
    return None


def _number(text: str | None) -> int | None:
    return None if text is None else quantity.whole(text)


def _out_of(resource: str, wanted: int, used: int, capacity: int) -> Refusal:
    text = f"Node didn't have enough resource: {resource}, requested: {wanted}, used: {used}, capacity: {capacity}"
    return Refusal(f"OutOf{resource}", text)


def selects(pod: Pod, labels: Mapping[str, str]) -> bool:
    """Tell whether node selector and required node affinity of a pod fit these labels."""
    if any(labels.get(key) != value for key, value in (pod.spec.get("nodeSelector") or {}).items()):
        return False
    affinity = (pod.spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if required is None:
        return True
    terms = required.get("nodeSelectorTerms") or ()
    return any(_term(term, labels, str(pod.spec.get("nodeName") or "")) for term in terms)


def _term(term: Object, labels: Mapping[str, str], node_name: str) -> bool:
    expressions = term.get("matchExpressions") or ()
    fields = term.get("matchFields") or ()
    if not expressions and not fields:
        return False
    return all(_matches(e, labels) for e in expressions) and all(
        _matches(f, {"metadata.name": node_name}) for f in fields
    )


def _matches(expression: Object, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression.get("key") or "")
    return is_met(expression.get("operator") or "", value, expression.get("values") or ())
