"""The status of each recorded pod, built again from what the runtime had at that moment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from kubeedge.edgecore.edged import clock, status
from kubeedge.edgecore.edged.machine import Unhealthy, Waiting
from kubeedge.edgecore.edged.observation import Observed, ObservedContainer, newest_first
from kubeedge.edgecore.edged.pod import Pod
from kubeedge.edgecore.edged.runtime.interface import (
    ContainerState,
    ContainerStatus,
    Sandbox,
    SandboxState,
    SandboxStatus,
)
from kubeedge.kube.instants import unix_time

GOLDEN = Path(__file__).parents[2] / "golden" / "edged"
# When run 2 deletes all pods, seconds from its start.
DELETED_AT = 11
DEADLINE = "Pod was active on the node longer than the specified deadline"
# Upstream sent this one between two updates of its own: started is new, ready still old.
BETWEEN_UPDATES = {("p-init", 8.1)}


def recorded() -> dict[str, list[dict[str, Any]]]:
    """The statuses of each pod in order, of both runs."""
    by_pod: dict[str, list[dict[str, Any]]] = {}
    for line in (GOLDEN / "pod-status.jsonl").read_text().splitlines():
        row = json.loads(line)
        by_pod.setdefault(row["pod"], []).append(row)
    return by_pod


def pods() -> dict[str, dict[str, Any]]:
    return {
        doc["metadata"]["name"]: doc
        for doc in yaml.safe_load_all((GOLDEN / "pods.yaml").read_text())
        if doc["kind"] == "Pod"
    }


class RecordedHealth:
    """Says of each container what the recorded status said."""

    def __init__(self) -> None:
        self.started: set[str] = set()
        self.ready: set[str] = set()

    def is_started(self, container_id: str) -> bool:
        return container_id in self.started

    def is_ready(self, container_id: str) -> bool:
        return container_id in self.ready

    def failure(self, container_id: str) -> Unhealthy | None:
        return None


def nanoseconds(text: str | None) -> int:
    return int(unix_time(text, 0.0) * clock.NANOSECOND)


def container(name: str, attempt: int, state: dict[str, Any], of: dict[str, Any]) -> ObservedContainer:
    (kind, detail), *_ = state.items()
    exited = kind == "terminated"
    id_ = (detail.get("containerID") or of["containerID"]).split("://")[1]
    return ObservedContainer(
        "sandbox",
        ContainerStatus(
            id=id_,
            name=name,
            attempt=attempt,
            state=ContainerState.EXITED if exited else ContainerState.RUNNING,
            created_at=nanoseconds(detail.get("startedAt")),
            started_at=nanoseconds(detail.get("startedAt")),
            finished_at=nanoseconds(detail.get("finishedAt")),
            exit_code=detail.get("exitCode", 0),
            image=of["image"],
            image_ref=of["imageID"],
            reason=detail.get("reason", ""),
            message=detail.get("message", ""),
            labels={},
            annotations={},
            mounts=[],
            log_path="",
        ),
    )


def observe(recorded_status: dict[str, Any]) -> tuple[Observed, RecordedHealth, dict[str, Waiting]]:
    """Reconstruct what the runtime had when this status was made."""
    observed, health, waiting = Observed(), RecordedHealth(), {}
    by_type = {c["type"]: c["status"] for c in recorded_status["conditions"]}
    ready = by_type["PodReadyToStartContainers"] == "True"
    listed = recorded_status.get("initContainerStatuses", []) + recorded_status.get("containerStatuses", [])
    if ready or any(s.get("containerID") for s in listed):
        state = SandboxState.READY if ready else SandboxState.NOT_READY
        sandbox = Sandbox("sandbox", "", "", "", 0, state, 0, {}, {})
        observed.sandboxes.append(SandboxStatus(sandbox, [recorded_status["podIP"]] if ready else []))
    for s in listed:
        state, last = s["state"], s["lastState"]
        if s.get("started"):
            health.started.add(s["containerID"].split("://")[1])
        if s["ready"] and s.get("containerID"):
            health.ready.add(s["containerID"].split("://")[1])
        if "waiting" in state:
            if state["waiting"]["reason"] not in ("ContainerCreating", "PodInitializing"):
                waiting[s["name"]] = Waiting(state["waiting"]["reason"], state["waiting"].get("message", ""))
            if last:
                observed.containers.append(container(s["name"], s["restartCount"], last, s))
        elif s.get("containerID"):
            observed.containers.append(container(s["name"], s["restartCount"], state, s))
            if last:
                observed.containers.append(container(s["name"], s["restartCount"] - 1, last, s))
    return newest_first(observed), health, waiting


def without_times(recorded_status: dict[str, Any]) -> dict[str, Any]:
    kept = {k: v for k, v in recorded_status.items() if k != "conditions"}
    kept["conditions"] = [
        {k: v for k, v in c.items() if k != "lastTransitionTime"} for c in recorded_status["conditions"]
    ]
    return kept


@pytest.mark.parametrize("name", sorted(pods()))
def test_status_is_built_as_upstream_reported_it(name: str) -> None:
    data = pods()[name]
    previous: dict[str, Any] = {}
    for row in recorded()[name]:
        wanted = row["status"]
        if "conditions" not in wanted or wanted == previous or (name, row["t"]) in BETWEEN_UPDATES:
            continue
        uid = next(
            (
                s["state"]["waiting"]["message"].rsplit("(", 1)[1].rstrip(")")
                for s in wanted.get("containerStatuses", [])
                if s["state"].get("waiting", {}).get("reason") == "CrashLoopBackOff"
            ),
            "",
        )
        data["metadata"].update(uid=uid, namespace="default")
        if row["run"] == 2 and row["t"] > DELETED_AT:
            data["metadata"]["deletionTimestamp"] = "2026-11-24T17:10:50Z"
        for container_spec, s in zip(data["spec"]["containers"], wanted.get("containerStatuses", []), strict=False):
            # The API adds the service account's mount; it is only seen in the status.
            if "volumeMounts" in s:
                container_spec["volumeMounts"] = s["volumeMounts"]
        observed, health, waiting = observe(wanted)
        is_over = wanted["phase"] in ("Failed", "Succeeded")
        if is_over and any(s.get("waiting") for s in (x["state"] for x in wanted.get("containerStatuses", []))):
            waiting = {}
        verdict = None
        if any(c.get("reason") == "PodFailed" for c in wanted["conditions"]) and name == "p-deadline":
            verdict = {"phase": "Failed", "reason": "DeadlineExceeded", "message": DEADLINE}
        facts = status.Facts(
            runtime_name="containerd",
            host_ips=["192.0.2.2"],
            health=health,
            previous=previous,
            now=0,
            started_at=unix_time(wanted["startTime"], 0.0),
            waiting=waiting,
            is_over=is_over,
            verdict=verdict,
        )
        built = status.build(Pod(data), observed, facts)
        assert without_times(built) == without_times(wanted), f"{name} at {row['t']} of run {row['run']}"
        previous = wanted
