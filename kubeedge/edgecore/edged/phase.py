"""The phase of a pod, from the states of its containers (spec 05 §5.9)."""

from __future__ import annotations

from collections.abc import Iterable

from kubeedge.edgecore.edged.pod import Object, Pod, is_sidecar


def phase_of(pod: Pod, inits: Iterable[Object], regulars: Iterable[Object], *, is_over: bool) -> str:
    """Return `Pending`, `Running`, `Succeeded` or `Failed`.

    inits and regulars are container statuses. is_over: no container of the pod will be started again, whatever its
    restart policy says.
    """
    pending_init, failed_init = _initialization(pod, {s["name"]: s for s in inits})
    if failed_init and pod.restart_policy == "Never":
        return "Failed"
    by_name = {s["name"]: s for s in regulars}
    running = waiting = stopped = succeeded = 0
    for container in pod.containers:
        state, last = _states(by_name.get(container["name"]))
        if "running" in state:
            running += 1
        elif "terminated" in state:
            stopped += 1
            succeeded += state["terminated"].get("exitCode") == 0
        elif "terminated" in last:
            stopped += 1
        else:
            waiting += 1
    if pending_init or waiting:
        return "Pending"
    if running:
        return "Running"
    if not stopped:
        return "Pending"
    if is_over:
        return "Succeeded" if stopped == succeeded else "Failed"
    if pod.restart_policy == "Always":
        return "Running"
    if stopped == succeeded:
        return "Succeeded"
    return "Failed" if pod.restart_policy == "Never" else "Running"


def _states(status: Object | None) -> tuple[Object, Object]:
    if status is None:
        return {}, {}
    return status.get("state") or {}, status.get("lastState") or {}


def _initialization(pod: Pod, by_name: dict[str, Object]) -> tuple[int, int]:
    """Count the init containers that are still to come to their end, and those that failed."""
    pending = failed = 0
    for container in pod.init_containers:
        status = by_name.get(container["name"])
        state, last = _states(status)
        if is_sidecar(container):
            if "running" in state:
                pending += not (status or {}).get("started")
            elif "terminated" not in state and "terminated" not in last:
                pending += 1
        elif "terminated" in state:
            failed += state["terminated"].get("exitCode") != 0
        elif "running" not in state and "terminated" in last:
            failed += last["terminated"].get("exitCode") != 0
        else:
            pending += 1
    return pending, failed
