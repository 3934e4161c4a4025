"""What is expected of the recorded pods on each runtime, with all that one of them cannot do."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.e2e.recording import Object, Stage, documents, last_words, pod_names, stages

# What `process` refuses, and how the pod looks that asks for the rest of it.
REFUSED = {
    "p-plain": "container main: hostPort 8181 cannot lead to port 81: there is no port mapping",
    "p-net": "shareProcessNamespace is not supported",
    "p-sec": "sysctls need a network namespace, and pods share the host's",
}
_WITHOUT: dict[str, Callable[[Object], object]] = {
    "p-plain": lambda spec: spec["containers"][0]["ports"][1].pop("hostPort"),
    "p-net": lambda spec: spec.pop("shareProcessNamespace"),
    "p-sec": lambda spec: spec["securityContext"].pop("sysctls"),
}
REST = "-rest"
# It has to run before its time is over: a slow machine takes longer to start it than the recorded 5 s.
DEADLINE = ("p-deadline", 15)
# containerd 1.6 begins to watch the memory of a container a moment after its start: what runs out before, it ends
# without saying why.
OUT_OF_MEMORY = ("tail /dev/zero", "sleep 1; tail /dev/zero")
# `process` asks no registry: whether an image is needed shows with the container, and nothing is tried again.
NO_REGISTRY = ("p-noimage", "p-neverpull")


@dataclass
class Expected:
    """The objects to apply; stages and last status by the name of a pod; recorded gives the name in the recording."""

    documents: list[Object]
    plain: str = "p-plain"
    recorded: dict[str, str] = field(default_factory=dict)
    stages: dict[str, list[Stage]] = field(default_factory=dict)
    last_words: dict[str, Object] = field(default_factory=dict)

    def expect(self, pod: str, recorded: str) -> None:
        self.recorded[pod] = recorded
        self.stages[pod] = stages(recorded)
        self.last_words[pod] = last_words(recorded)


def on_containerd(folder: Path) -> Expected:
    """Everything as it was recorded. folder is for the hostPath."""
    expected = Expected(_adapted(documents(), folder))
    for pod in pod_names():
        expected.expect(pod, pod)
    return expected


def on_process(folder: Path, ports: tuple[int, int]) -> Expected:
    """The same as far as `process` can. ports are two that nobody uses: pods share those of the host."""
    expected = Expected(_adapted(documents(), folder), plain="p-plain" + REST)
    served, silent = ports
    for document in list(expected.documents):
        name = document["metadata"]["name"]
        if name == "p-http":
            _replace_port(document, served)
        elif name == "p-startfail":
            _replace_port(document, silent)
        if document["kind"] != "Pod":
            continue
        if name in REFUSED:
            rest = copy.deepcopy(document)
            rest["metadata"]["name"] += REST
            _WITHOUT[name](rest["spec"])
            expected.documents.append(rest)
            expected.expect(name + REST, name)
        else:
            expected.expect(name, name)
    for name in NO_REGISTRY:
        failed = next(s for s in stages("p-noimage") if _reason(s) == "ErrImagePull")
        expected.stages[name] = [failed]
    # Without a shared PID namespace its sleep is process 1, which TERM does not end.
    expected.last_words["p-net" + REST]["containers"]["main"]["state"]["exitCode"] = 137
    return expected


def process_pods() -> list[str]:
    """Return the pods that `process` runs."""
    return [name for name in pod_names() if name not in REFUSED] + [name + REST for name in REFUSED]


def _adapted(found: list[Object], folder: Path) -> list[Object]:
    moved: list[Object] = json.loads(json.dumps(found).replace("/tmp/golden-host", str(folder)).replace(*OUT_OF_MEMORY))
    name, seconds = DEADLINE
    next(one for one in moved if one["metadata"]["name"] == name)["spec"]["activeDeadlineSeconds"] = seconds
    return moved


def _replace_port(document: Object, port: int) -> None:
    text = json.dumps(document).replace('"port": 80}', f'"port": {port}}}').replace("-p 80 ", f"-p {port} ")
    text = text.replace('"port": 80,', f'"port": {port},')
    document.update(json.loads(text))


def _reason(stage: Stage) -> str:
    return str(stage.essence["containers"].get("main", {}).get("state", {}).get("reason", ""))
