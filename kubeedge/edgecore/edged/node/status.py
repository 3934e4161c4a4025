"""The Node object and its status as edged tells them (spec 05 §4.4, §4.5): pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from kubeedge import KUBEEDGE_VERSION, KUBERNETES_VERSION
from kubeedge.edgecore.edged.node.hardware import Hardware
from kubeedge.edgecore.edged.pod import Object
from kubeedge.edgecore.edged.runtime.interface import RuntimeStatus, RuntimeVersion
from kubeedge.kube.instants import timestamp

# `-kubeedge-` is what tools recognise an edge node by (spec 05 §4.5).
KUBELET_VERSION = f"{KUBERNETES_VERSION}-kubeedge-{KUBEEDGE_VERSION}"

CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")

_MAPS = ("capacity", "allocatable", "nodeInfo")

_PRESSURE_TEXTS = {
    "MemoryPressure": (
        ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
    ),
    "DiskPressure": (
        ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ("KubeletHasDiskPressure", "kubelet has disk pressure"),
    ),
    "PIDPressure": (
        ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
    ),
}


class Identity(msgspec.Struct):
    """What does not change while edged runs: who the node is and what it has."""

    name: str
    address: str
    hardware: Hardware
    capacity: Mapping[str, str]
    allocatable: Mapping[str, str]
    port: int = 10350
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    taints: Sequence[Object] = ()
    is_schedulable: bool = True
    has_attach_detach_controller: bool = True

    def all_labels(self) -> dict[str, str]:
        """Return the labels of the Node; the configured ones win."""
        architecture = self.hardware.architecture
        return {
            "kubernetes.io/hostname": self.name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": architecture,
            "beta.kubernetes.io/os": "linux",
            "beta.kubernetes.io/arch": architecture,
            "node-role.kubernetes.io/edge": "",
            "node-role.kubernetes.io/agent": "",
            **self.labels,
        }


class Health(msgspec.Struct):
    """What changes: the runtime (None: it does not answer), pressures that hold, and why the node is not ready."""

    version: RuntimeVersion | None
    runtime: RuntimeStatus | None
    pressures: frozenset[str] = frozenset()
    problems: Sequence[str] = ()


def readiness(health: Health) -> list[str]:
    """Return why the node cannot run pods; empty when it can."""
    problems = list(health.problems)
    if health.runtime is None:
        problems.append("container runtime is down")
    else:
        if not health.runtime.runtime_ready:
            problems.append(
                f"container runtime not ready: RuntimeReady=false {health.runtime.runtime_message}".rstrip()
            )
        if not health.runtime.network_ready:
            problems.append(
                f"container runtime network not ready: NetworkReady=false {health.runtime.network_message}".rstrip()
            )
    return problems


def build(identity: Identity, health: Health, before: Object, now: float) -> Object:
    """Return the status of the Node. before is the one that the API has: times of changes are kept from it."""
    hardware = identity.hardware
    status: Object = {
        "capacity": dict(identity.capacity),
        "allocatable": dict(identity.allocatable),
        "conditions": _conditions(health, before.get("conditions") or (), now),
        "addresses": [
            {"type": "InternalIP", "address": identity.address},
            {"type": "Hostname", "address": identity.name},
        ],
        "nodeInfo": {
            "machineID": hardware.machine_id,
            "systemUUID": hardware.system_uuid,
            "bootID": hardware.boot_id,
            "kernelVersion": hardware.kernel,
            "osImage": hardware.os_image,
            "containerRuntimeVersion": f"{health.version.name}://{health.version.version}" if health.version else "",
            "kubeletVersion": KUBELET_VERSION,
            "kubeProxyVersion": "",
            "operatingSystem": "linux",
            "architecture": hardware.architecture,
        },
    }
    if health.version is None and before.get("nodeInfo"):
        # A runtime that is away for a moment is still the one that it was.
        known = before["nodeInfo"].get("containerRuntimeVersion") or ""
        status["nodeInfo"]["containerRuntimeVersion"] = known
    if health.runtime is not None and health.runtime.handlers:
        status["runtimeHandlers"] = list(health.runtime.handlers)
    return status


def _conditions(health: Health, before: Sequence[Object], now: float) -> list[Object]:
    known = {c.get("type"): c for c in before}
    stamp = timestamp(now)
    conditions: list[Object] = []
    for type_ in CONDITIONS:
        if type_ == "Ready":
            problems = readiness(health)
            holds = not problems
            reason, message = ("EdgeReady", "edge is posting ready status")
            if problems:
                reason = "KubeletNotReady"
                message = problems[0] if len(problems) == 1 else f"[{', '.join(problems)}]"
        else:
            holds = type_ in health.pressures
            reason, message = _PRESSURE_TEXTS[type_][holds]
        value = "True" if holds else "False"
        last = known.get(type_) or {}
        changed_at = last.get("lastTransitionTime") if last.get("status") == value else None
        conditions.append(
            {
                "type": type_,
                "status": value,
                "lastHeartbeatTime": stamp,
                "lastTransitionTime": changed_at or stamp,
                "reason": reason,
                "message": message,
            }
        )
    return conditions


def node(identity: Identity, status: Object) -> Object:
    """Return the Node to register (spec 05 §4.4)."""
    taints = [dict(taint) for taint in identity.taints]
    spec: Object = {}
    if not identity.is_schedulable:
        spec["unschedulable"] = True
        taints.append({"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"})
    if taints:
        spec["taints"] = taints
    metadata: Object = {"name": identity.name, "creationTimestamp": None, "labels": identity.all_labels()}
    if identity.has_attach_detach_controller:
        metadata["annotations"] = {"volumes.kubernetes.io/controller-managed-attach-detach": "true"}
    return {
        "metadata": metadata,
        "spec": spec,
        "status": {**status, "daemonEndpoints": {"kubeletEndpoint": {"Port": identity.port}}},
    }


def is_news(before: Object, now: Object) -> bool:
    """Tell whether something other than times differs."""
    differs = any(_map_patch(before.get(key) or {}, now[key]) for key in _MAPS)
    known = {c.get("type"): c for c in before.get("conditions") or ()}
    for condition in now["conditions"]:
        last = known.get(condition["type"]) or {}
        differs = differs or any(last.get(key) != condition[key] for key in ("status", "reason", "message"))
    return differs or any(key in now and before.get(key) != now[key] for key in ("addresses", "runtimeHandlers"))


def patch(before: Object, wanted: Object) -> Object:
    """Return the strategic merge patch of a Node that makes its status the wanted one.

    All four conditions are sent whole; merged by type this is the same as upstream's differences (spec 05 §4.5).
    """
    changes: Object = {
        "$setElementOrder/conditions": [{"type": type_} for type_ in CONDITIONS],
        "conditions": wanted["conditions"],
    }
    for key in _MAPS:
        difference = _map_patch(before.get(key) or {}, wanted[key])
        if difference:
            changes[key] = difference
    if before.get("addresses") != wanted["addresses"]:
        changes["addresses"] = [{"$patch": "replace"}, *wanted["addresses"]]
    if "runtimeHandlers" in wanted and before.get("runtimeHandlers") != wanted["runtimeHandlers"]:
        changes["runtimeHandlers"] = wanted["runtimeHandlers"]
    return {"status": changes}


def _map_patch(before: Object, wanted: Mapping[str, object]) -> Object:
    """Return what of wanted is new; what others have put beside it stays."""
    return {key: value for key, value in sorted(wanted.items()) if before.get(key, "") != value}
