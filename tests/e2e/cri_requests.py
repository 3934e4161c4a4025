"""What upstream asked of containerd for the 24 pods, and the same of another node, in words that can be compared."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

from kubeedge.edgecore.edged.runtime.cri.messages import read_host
from tests.e2e.cri_proxy import Call
from tests.e2e.recording import GOLDEN, Object, pod_names

# What one node calls otherwise than another: where its files lie, and its own address.
UPSTREAM_PLACES = {"/var/lib/kubelet": "ROOT", "/var/log/pods": "LOGS", "/tmp/golden-host": "HOST"}
UPSTREAM_ADDRESS = "192.0.2.2"

# Kept for the node agent itself: no container sees them and nothing is limited by them.
_OWN_ANNOTATIONS = ("kubernetes.io/config.seen", "kubernetes.io/config.source", "io.kubernetes.container.hash")
_PORTS = "io.kubernetes.container.ports"
_HASHES = re.compile(r"(?<=/)[0-9a-f]{8}$|(?<=kube-api-access-)[a-z0-9]{5}$")


@cache
def recorded() -> list[Call]:
    """Return what was asked for the recorded pods."""
    rows = (json.loads(line) for line in (GOLDEN / "cri.jsonl").read_text(encoding="utf-8").splitlines())
    return [Call(row["method"], _decoded(row["request"]), row["response"]) for row in rows]


def _decoded(request: Object) -> Object:
    for variable in (request.get("config") or {}).get("envs", ()):
        variable["value"] = base64.b64decode(variable.get("value", "")).decode()
    return request


class Requests:
    """The calls of one node. places are its folders and what stands for them, address its own."""

    def __init__(self, calls: Iterable[Call], places: dict[str, str], address: str) -> None:
        self._calls = list(calls)
        self._places = places
        self._address = address
        self._pods: dict[str, str] = {}
        self._containers: dict[str, tuple[str, str]] = {}
        self._addresses: dict[str, str] = {}
        for call in self._calls:
            self._learn(call)

    def _learn(self, call: Call) -> None:
        match call.method:
            case "RunPodSandbox":
                self._pods[call.reply.get("pod_sandbox_id", "")] = call.request["config"]["metadata"]["name"]
            case "CreateContainer":
                pod = self._pods[call.request["pod_sandbox_id"]]
                name = call.request["config"]["metadata"]["name"]
                self._containers[call.reply.get("container_id", "")] = (pod, name)
            case "PodSandboxStatus":
                address = (call.reply.get("status", {}).get("network") or {}).get("ip")
                if address:
                    self._addresses[self._pods.get(call.request["pod_sandbox_id"], "")] = address

    def sandboxes(self) -> dict[str, Object]:
        """Return the first sandbox that was asked for, by pod."""
        found: dict[str, Object] = {}
        for call in self._of("RunPodSandbox"):
            config = call.request["config"]
            name = config["metadata"]["name"]
            if name in pod_names():
                found.setdefault(name, self._plain(config, config["metadata"]["uid"], name))
        return found

    def containers(self) -> dict[tuple[str, str], Object]:
        """Return the first container that was asked for, by pod and name."""
        found: dict[tuple[str, str], Object] = {}
        for call in self._of("CreateContainer"):
            config = call.request["config"]
            pod = self._pods[call.request["pod_sandbox_id"]]
            if pod in pod_names():
                uid = config["labels"]["io.kubernetes.pod.uid"]
                found.setdefault((pod, config["metadata"]["name"]), self._plain(config, uid, pod))
        return found

    def stops(self) -> dict[str, set[int]]:
        """Return how many seconds the containers of a pod were given to end."""
        found: dict[str, set[int]] = {}
        for call in self._of("StopContainer"):
            pod, _ = self._containers.get(call.request["container_id"], ("", ""))
            found.setdefault(pod, set()).add(int(call.request.get("timeout", 0)))
        return found

    def commands(self) -> dict[str, set[tuple[int, str]]]:
        """Return what was run in the containers of a pod, with its time limit in seconds (0: none)."""
        found: dict[str, set[tuple[int, str]]] = {}
        for call in self._of("ExecSync"):
            pod, _ = self._containers.get(call.request["container_id"], ("", ""))
            command = " ".join(call.request["cmd"])
            found.setdefault(pod, set()).add((int(call.request.get("timeout", 0)), command))
        return found

    def pulls(self) -> set[str]:
        return {call.request["image"]["image"] for call in self._of("PullImage")}

    def sandbox_configs_differ(self) -> list[str]:
        """Return the pods for whose containers another sandbox was named than was made."""
        made = {c.reply.get("pod_sandbox_id"): c.request["config"] for c in self._of("RunPodSandbox")}
        return [
            self._pods[call.request["pod_sandbox_id"]]
            for call in self._of("CreateContainer")
            if made[call.request["pod_sandbox_id"]] != call.request["sandbox_config"]
        ]

    def _of(self, method: str) -> list[Call]:
        return [call for call in self._calls if call.method == method]

    def _plain(self, config: Object, uid: str, pod: str) -> Object:
        """Return a configuration without what depends on node, machine and moment."""

        def word(text: str) -> str:
            for place, name in self._places.items():
                text = text.replace(place, name)
            text = text.replace(uid, "UID")
            if text == self._addresses.get(pod):
                return "POD ADDRESS"
            return "NODE ADDRESS" if text == self._address else _HASHES.sub("ANY", text)

        plain: Object = _words(config, word)
        plain["annotations"] = {k: v for k, v in config.get("annotations", {}).items() if k not in _OWN_ANNOTATIONS}
        if _PORTS in plain["annotations"]:
            plain["annotations"][_PORTS] = json.loads(plain["annotations"][_PORTS])
        if "envs" in plain:
            # The variables of a ConfigMap have no order; those of the pod are expanded already.
            plain["envs"] = {variable["key"]: variable.get("value", "") for variable in plain["envs"]}
        if "image" in plain:
            plain["image"]["image"] = "ID"
        linux = plain["linux"]
        linux.pop("overhead", None)
        _resources(linux["resources"])
        security = linux["security_context"]
        # A message that is there but empty holds the first value of its type.
        security["seccomp"].setdefault("profile_type", "RuntimeDefault")
        for key in ("run_as_user", "run_as_group"):
            if key in security:
                security[key].setdefault("value", "0")
        return plain


def _words(value: Any, word: Callable[[str], str]) -> Any:
    match value:
        case str():
            return word(value)
        case list():
            return [_words(item, word) for item in value]
        case dict():
            return {key: _words(item, word) for key, item in value.items()}
    return value


@cache
def _limits_swap() -> bool:
    return read_host("").limits_swap


def _resources(resources: Object) -> None:
    """Leave out what follows from the machine: its page sizes, its memory, whether its kernel limits swap."""
    pages = resources.pop("hugepage_limits", [])
    if pages:
        resources["hugepages"] = sorted({page.get("limit", "0") for page in pages})
    if not _limits_swap():
        resources.pop("memory_swap_limit_in_bytes", None)
    if 2 < int(resources.get("oom_score_adj", 0)) < 1000:
        resources["oom_score_adj"] = "by its share of the memory"
