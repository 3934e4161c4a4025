"""The cells of a pod's row: readiness, state in one word, restarts. The state is a fold over all its containers."""

from __future__ import annotations

from typing import Any, NamedTuple

from kubeedge.apiserver.gotime import age, parse_time
from kubeedge.apiserver.kinds.spec import Object

_NODE_LOST = "NodeLost"


class _Summary(NamedTuple):
    ready: int
    total: int
    reason: str
    restarts: int
    last_restart: str


def _last_restart(latest: str, status: Object) -> str:
    ended = ((status.get("lastState") or {}).get("terminated") or {}).get("finishedAt") or ""
    if not ended or (latest and parse_time(latest) >= parse_time(ended)):
        return latest
    return str(ended)


def _terminated_reason(terminated: Object) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode', 0)}"


def _is_true(status: Object, kind: str) -> bool:
    conditions = status.get("conditions") or ()
    return any(one.get("type") == kind and one.get("status") == "True" for one in conditions)


def _summary(pod: Object) -> _Summary:
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    init_containers = spec.get("initContainers") or []
    sidecars = {one.get("name") for one in init_containers if one.get("restartPolicy") == "Always"}
    total = len(spec.get("containers") or ()) + len(sidecars)
    reason = status.get("reason") or status.get("phase") or ""
    if any(one.get("reason") == "SchedulingGated" for one in status.get("conditions") or ()):
        reason = "SchedulingGated"
    ready = restarts = sidecar_restarts = 0
    last = sidecar_last = ""
    initializing = False
    for index, container in enumerate(status.get("initContainerStatuses") or ()):
        state, is_sidecar = container.get("state") or {}, container.get("name") in sidecars
        restarts += container.get("restartCount", 0)
        last = _last_restart(last, container)
        if is_sidecar:
            sidecar_restarts += container.get("restartCount", 0)
            sidecar_last = _last_restart(sidecar_last, container)
        terminated, waiting = state.get("terminated"), state.get("waiting") or {}
        if terminated is not None and not terminated.get("exitCode"):
            continue
        if is_sidecar and container.get("started"):
            ready += bool(container.get("ready"))
            continue
        if terminated is not None:
            reason = f"Init:{_terminated_reason(terminated)}"
        elif waiting.get("reason") and waiting["reason"] != "PodInitializing":
            reason = f"Init:{waiting['reason']}"
        else:
            reason = f"Init:{index}/{len(init_containers)}"
        initializing = True
        break
    if not initializing or _is_true(status, "Initialized"):
        restarts, last = sidecar_restarts, sidecar_last
        has_running = False
        for container in reversed(status.get("containerStatuses") or ()):
            state = container.get("state") or {}
            restarts += container.get("restartCount", 0)
            last = _last_restart(last, container)
            terminated = state.get("terminated")
            if (state.get("waiting") or {}).get("reason"):
                reason = state["waiting"]["reason"]
            elif terminated is not None:
                reason = _terminated_reason(terminated)
            elif container.get("ready") and "running" in state:
                has_running = True
                ready += 1
        if reason == "Completed" and has_running:
            reason = "Running" if _is_true(status, "Ready") else "NotReady"
    if pod["metadata"].get("deletionTimestamp"):
        if status.get("reason") == _NODE_LOST:
            reason = "Unknown"
        elif status.get("phase") not in ("Succeeded", "Failed"):
            reason = "Terminating"
    return _Summary(ready, total, reason, restarts, last)


def pod_ready(pod: Object, now_s: float) -> str:
    """`1/2`."""
    summary = _summary(pod)
    return f"{summary.ready}/{summary.total}"


def pod_status(pod: Object, now_s: float) -> str:
    """`Running`, `CrashLoopBackOff`, `Init:0/1`, `Terminating`, …"""
    return _summary(pod).reason


def pod_restarts(pod: Object, now_s: float) -> str:
    """`3 (5s ago)`."""
    summary = _summary(pod)
    if summary.restarts and summary.last_restart:
        return f"{summary.restarts} ({age(summary.last_restart, now_s)} ago)"
    return str(summary.restarts)


def readiness_gates(pod: Object, now_s: float) -> Any:
    """`1/2`, `<none>` for a pod without gates."""
    gates = (pod.get("spec") or {}).get("readinessGates") or ()
    if not gates:
        return "<none>"
    status = pod.get("status") or {}
    return f"{sum(_is_true(status, gate.get('conditionType', '')) for gate in gates)}/{len(gates)}"
