"""The conditions of a pod that the node owns (spec 05 §5.9)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from kubeedge.edgecore.edged.pod import Object, Pod, is_sidecar
from kubeedge.kube.instants import timestamp

OWNED = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


def build(
    pod: Pod, phase: str, inits: Sequence[Object], regulars: Sequence[Object], network_is_ready: bool
) -> list[Object]:
    """Return the five conditions in Kubernetes' order, without times."""
    containers_ready = _containers_ready(pod, phase, inits, regulars)
    return [
        _condition("PodReadyToStartContainers", network_is_ready),
        _initialized(pod, phase, inits, regulars),
        _ready(pod, containers_ready),
        containers_ready,
        _condition("PodScheduled", True),
    ]


def with_times(listed: list[Object], before: Iterable[Object], now: float) -> list[Object]:
    """Add the times: a condition whose status is as before keeps the time of its last change."""
    known = {c.get("type"): c for c in before}
    for condition in listed:
        last = known.get(condition["type"])
        condition["lastProbeTime"] = None
        if last is not None and last.get("status") == condition["status"] and last.get("lastTransitionTime"):
            condition["lastTransitionTime"] = last["lastTransitionTime"]
        else:
            condition["lastTransitionTime"] = timestamp(now)
    return listed


def _condition(type_: str, holds: bool, reason: str = "", message: str = "") -> Object:
    condition: Object = {"type": type_, "status": "True" if holds else "False"}
    if reason:
        condition["reason"] = reason
    if message:
        condition["message"] = message
    return condition


def _listing(what: str, names: list[str]) -> list[str]:
    return [f"containers with {what} status: [{' '.join(names)}]"] if names else []


def _initialized(pod: Pod, phase: str, inits: Sequence[Object], regulars: Sequence[Object]) -> Object:
    by_name = {s["name"]: s for s in inits}
    unknown: list[str] = []
    incomplete: list[str] = []
    for container in pod.init_containers:
        name = container["name"]
        status = by_name.get(name)
        if status is None:
            unknown.append(name)
        elif not (status.get("started") if is_sidecar(container) else status.get("ready")):
            incomplete.append(name)
    if phase == "Succeeded" and not unknown:
        return _condition("Initialized", True, "PodCompleted")
    if any(s.get("started") or s.get("containerID") for s in regulars):
        # A regular container only ever starts after all init containers have done their work.
        return _condition("Initialized", True)
    problems = _listing("unknown", unknown) + _listing("incomplete", incomplete)
    if problems:
        return _condition("Initialized", False, "ContainersNotInitialized", ", ".join(problems))
    return _condition("Initialized", True)


def _containers_ready(pod: Pod, phase: str, inits: Sequence[Object], regulars: Sequence[Object]) -> Object:
    by_name = {s["name"]: s for s in (*inits, *regulars)}
    unknown: list[str] = []
    unready: list[str] = []
    for container in (*(c for c in pod.init_containers if is_sidecar(c)), *pod.containers):
        name = container["name"]
        if name not in by_name:
            unknown.append(name)
        elif not by_name[name].get("ready"):
            unready.append(name)
    if phase == "Succeeded" and not unknown:
        return _condition("ContainersReady", False, "PodCompleted")
    if phase == "Failed":
        return _condition("ContainersReady", False, "PodFailed")
    problems = _listing("unknown", unknown) + _listing("unready", unready)
    if problems:
        return _condition("ContainersReady", False, "ContainersNotReady", ", ".join(problems))
    return _condition("ContainersReady", True)


def _ready(pod: Pod, containers_ready: Object) -> Object:
    if containers_ready["status"] != "True":
        return {**containers_ready, "type": "Ready"}
    problems: list[str] = []
    known = {c.get("type"): c.get("status") for c in pod.status.get("conditions") or ()}
    for gate in pod.spec.get("readinessGates") or ():
        type_ = gate.get("conditionType")
        if type_ not in known:
            problems.append(f'corresponding condition of pod readiness gate "{type_}" does not exist.')
        elif known[type_] != "True":
            problems.append(f'the status of pod readiness gate "{type_}" is not "True", but {known[type_]}')
    if problems:
        return _condition("Ready", False, "ReadinessGatesNotReady", ", ".join(problems))
    return _condition("Ready", True)
