"""What upstream's node reported of the 24 pods (golden/edged), in a form that another run can be held against.

Upstream looks at its pods once a second and at those that wait every ten, so what passes in between is not in the
recording, and some states only last because it looks late. A run agrees when every state that the recording shows for
long is reported, in that order and in every field, and when nothing else is reported that contradicts it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]

GOLDEN = Path(__file__).parents[1] / "golden" / "edged"
NODE_NAME = "e1"
# How far into run 1 another run has to come: p-live has restarted twice by then, the others wait for 20 s and more.
UNTIL_S = 37.0
# A state that was recorded for less may pass unseen.
STABLE_S = 2.5
# When run 2 deletes all pods.
DELETED_AT_S = 11.0

# Upstream starts p-novol before its ConfigMap is there and never learns of that of p-noenv; Kubernetes waits for both.
WITHOUT_CONFIG_MAP = ("p-novol", "p-noenv")
NO_CONFIG_MAP = 'configmap "nothere" not found'
# Such messages are the words of the container engine.
_ENGINE_WORDED = ("RunContainerError", "StartError", "ErrImagePull", "ImagePullBackOff")

_PHASES = ("Pending", "Running", "Succeeded", "Failed")
_FULL_NAME = re.compile(r"[a-z-]+_default\([0-9a-f-]{36}\)")
_TOKEN_VOLUME = re.compile(r"^kube-api-access-\w+$")
_CONDITIONS = ("type", "status", "reason", "message")


@dataclass(slots=True)
class Report:
    """One version of a pod's status; t in seconds of its run, event as in a watch."""

    t: float
    event: str
    status: Object
    metadata: Object = field(default_factory=dict)

    @property
    def essence(self) -> Object:
        """What of it does not depend on machine and moment."""
        return essence(self.status)


@dataclass(slots=True)
class Stage:
    """A state that a pod was recorded in; must_be_seen: long enough for every node to report it."""

    essence: Object
    must_be_seen: bool


def documents() -> list[Object]:
    """Return the recorded objects: a ConfigMap, a Secret, 24 pods."""
    return list(yaml.safe_load_all((GOLDEN / "pods.yaml").read_text(encoding="utf-8")))


@cache
def pod_names() -> list[str]:
    return [d["metadata"]["name"] for d in documents() if d["kind"] == "Pod"]


@cache
def reports(pod: str, run: int) -> list[Report]:
    """Return what upstream reported of a pod."""
    lines = (GOLDEN / "pod-status.jsonl").read_text(encoding="utf-8").splitlines()
    rows = (json.loads(line) for line in lines)
    # What stands beside the status is metadata: deletionTimestamp, deletionGracePeriodSeconds.
    return [Report(r["t"], r["event"], r["status"], r) for r in rows if (r["pod"], r["run"]) == (pod, run)]


def essence(status: Object) -> Object:
    """Return of a status what does not depend on machine and moment: no ids, addresses, times, words of the engine."""
    return {
        "phase": status.get("phase"),
        "reason": status.get("reason"),
        "message": status.get("message"),
        "qosClass": status.get("qosClass"),
        "has address": bool(status.get("podIP")),
        "conditions": {c["type"]: {k: c[k] for k in _CONDITIONS[1:] if k in c} for c in status.get("conditions", ())},
        "containers": {s["name"]: _container(s) for s in _container_statuses(status)},
    }


def _container_statuses(status: Object) -> list[Object]:
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def _container(status: Object) -> Object:
    state = _state(status["state"])
    kept = {
        "state": state,
        "ready": status["ready"],
        "started": status.get("started"),
        "restartCount": status["restartCount"],
        "image": status["image"].removeprefix("docker.io/library/"),
        "has image id": bool(status["imageID"]),
        "has id": bool(status.get("containerID")),
        "volumeMounts": [
            {**m, "name": _TOKEN_VOLUME.sub("kube-api-access", m["name"])} for m in status.get("volumeMounts", ())
        ],
    }
    if state["is"] != "terminated":
        # Of a container that has ended, its predecessor is shown until its remains are cleared away.
        kept["lastState"] = _state(status["lastState"])
    return kept


def _state(state: Object) -> Object:
    for word, detail in state.items():
        kept = {"is": word, **{k: detail[k] for k in ("reason", "exitCode", "message") if k in detail}}
        if "message" in kept:
            words = "(of the engine)" if kept.get("reason") in _ENGINE_WORDED else kept["message"]
            kept["message"] = _FULL_NAME.sub("(pod)", words)
        return kept
    return {"is": "nothing"}


def stages(pod: str) -> list[Stage]:
    """Return the states of a pod in run 1 up to UNTIL_S, with the quirks of upstream put right."""
    if pod == "p-deadline":
        found = _stages(pod)
        # How long it is seen well before its deadline depends on how soon it has started.
        found[2].must_be_seen = False
        return found
    if pod not in WITHOUT_CONFIG_MAP:
        return _stages(pod)
    started = _stages("p-novol")
    waiting = next(i for i, stage in enumerate(started) if stage.essence["phase"] == "Running")
    if pod == "p-novol":
        started[waiting - 1].must_be_seen = True
        return started
    before = _stages(pod)
    before[-1].essence["containers"]["main"]["state"]["message"] = NO_CONFIG_MAP
    after = started[waiting:]
    for stage in after:
        stage.essence["containers"]["main"]["volumeMounts"] = []
    return before + after


def _stages(pod: str) -> list[Stage]:
    merged: list[Report] = []
    for report in reports(pod, 1):
        if not merged or merged[-1].essence != report.essence:
            merged.append(report)
    found = []
    for report, following in zip(merged, [*merged[1:], None], strict=True):
        if report.t > UNTIL_S:
            break
        found.append(Stage(report.essence, _must_be_seen(report, following)))
    return found


def _must_be_seen(report: Report, following: Report | None) -> bool:
    reasons = {c["state"].get("reason") for c in report.essence["containers"].values()}
    if reasons <= {"ContainerCreating", "PodInitializing"}:
        # How long that lasts is a matter of the machine.
        return False
    if "CrashLoopBackOff" in reasons or following is None:
        return True
    return following.t - report.t >= STABLE_S and not _is_late(report, following)


def _is_late(report: Report, following: Report) -> bool:
    """Tell whether the only news is that a container that had failed already is left alone for a while."""
    before, after = report.essence["containers"], following.essence["containers"]
    return any(
        after[name]["state"].get("reason") == "CrashLoopBackOff"
        and after[name]["restartCount"] == old["restartCount"]
        and old["state"]["is"] != "running"
        for name, old in before.items()
        if name in after
    )


def last_words(pod: str) -> Object:
    """Return the essence of the last status before a deleted pod was gone, without what depends on its age."""
    if pod == "p-noenv":
        status = last_words("p-novol")
        status["containers"]["main"]["volumeMounts"] = []
        return status
    return ageless(reports(pod, 2)[-1].essence)


def ageless(status: Object) -> Object:
    """Leave out of an essence how often containers were restarted."""
    containers = {name: {k: v for k, v in c.items() if k != "restartCount"} for name, c in status["containers"].items()}
    return {**status, "containers": containers}


def unseen(wanted: list[Stage], seen: list[Report]) -> list[Object]:
    """Return the states that have to be seen and are not, looking for them in order."""
    missing, position = [], 0
    found = [report.essence for report in seen]
    for stage in wanted:
        if not stage.must_be_seen:
            continue
        try:
            position = found.index(stage.essence, position) + 1
        except ValueError:
            missing.append(stage.essence)
    return missing


def contradictions(pod: str, seen: list[Report]) -> list[str]:
    """Return what in these reports cannot go together with the recording or with itself."""
    wrong = []
    phase, counts = 0, dict[str, int]()
    known_ends, known_conditions = _ends(pod), _conditions(pod)
    for report in seen:
        status = report.essence
        if _PHASES.index(status["phase"]) < phase:
            wrong.append(f"{report.t:.2f} s: phase {status['phase']} after {_PHASES[phase]}")
        phase = _PHASES.index(status["phase"])
        for name, container in status["containers"].items():
            if container["restartCount"] < counts.get(name, 0):
                wrong.append(f"{report.t:.2f} s: restart count of {name} went back")
            counts[name] = container["restartCount"]
        wrong += [f"{report.t:.2f} s: never ended so: {end}" for end in _ends_of(status) if end not in known_ends]
        conditions = known_conditions.get(_key(status["containers"]), [])
        if "deletionTimestamp" not in report.metadata and conditions and _settled(status) not in conditions:
            wrong.append(f"{report.t:.2f} s: other conditions in this state: {status}")
    return wrong


def _ends_of(status: Object) -> list[Object]:
    states = [
        (name, state)
        for name, c in status["containers"].items()
        for state in (c["state"], c.get("lastState", {"is": "nothing"}))
    ]
    return [{"container": name, **state} for name, state in states if state["is"] == "terminated"]


def _ends(pod: str) -> list[Object]:
    """Return how the containers of a pod were recorded to end."""
    found = [end for run in (1, 2) for report in reports(pod, run) for end in _ends_of(report.essence)]
    return found + _ends("p-novol") if pod == "p-noenv" else found


def _conditions(pod: str) -> dict[str, list[Object]]:
    """Return the conditions that were recorded with each state of the containers."""
    found: dict[str, list[Object]] = {}
    for report in reports(pod, 1):
        status = report.essence
        found.setdefault(_key(status["containers"]), []).append(_settled(status))
    return found


def _key(containers: Object) -> str:
    return json.dumps(containers, sort_keys=True)


def _settled(status: Object) -> Object:
    """Leave out the sandbox, which is there before any container and goes after all."""
    return {k: v for k, v in status["conditions"].items() if k != "PodReadyToStartContainers"}
