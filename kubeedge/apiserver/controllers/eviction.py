"""Taint-based eviction: pods leave a node whose NoExecute taints they don't tolerate, or tolerate for a time only."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.events import Recorder
from kubeedge.apiserver.controllers.pods import NODE_INDEX, is_active
from kubeedge.apiserver.controllers.queue import Controller
from kubeedge.apiserver.controllers.selection import tolerates
from kubeedge.apiserver.controllers.views import Node, Pod, Taint
from kubeedge.kube.api import STRATEGIC_MERGE_PATCH, ApiError
from kubeedge.kube.instants import timestamp, unix_time
from kubeedge.kube.kinds import POD

COMPONENT = "taint-eviction-controller"

Key = tuple[str, str]


def evict_at(pod: Pod, taints: list[Taint], now_s: float) -> float | None:
    """Return the Unix time at which a pod has to leave because of NoExecute taints, None for never.

    A toleration without seconds is one for ever; of several that cover a taint the shortest counts. The time runs from
    when the taint was set, or from the pod's creation when that was later.
    """
    created = unix_time(pod.metadata.creation_timestamp, now_s)
    earliest: float | None = None
    for taint in taints:
        if taint.effect != "NoExecute":
            continue
        covering = [toleration for toleration in pod.spec.tolerations if tolerates(toleration, taint)]
        if not covering:
            return now_s
        limits = [found.toleration_seconds for found in covering if found.toleration_seconds is not None]
        if limits:
            leaves = max(unix_time(taint.time_added, now_s), created) + max(0, min(limits))
            earliest = leaves if earliest is None else min(earliest, leaves)
    return earliest


class Evictions:
    """Deletes pods when their time on a tainted node is over."""

    def __init__(
        self,
        nodes: Cache[Node],
        pods: Cache[Pod],
        recorder: Recorder,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._nodes = nodes
        self._pods = pods
        self._recorder = recorder
        self._clock = clock
        self._waiting: set[Key] = set()
        self._controller: Controller[Key] = Controller("eviction", self._reconcile)
        nodes.on_change(self._node_changed)
        pods.on_change(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._controller.run()

    def _node_changed(self, type_: str, new: Node, old: Node | None) -> None:
        before = _evicting(old.spec.taints) if old is not None else []
        after = _evicting(new.spec.taints) if type_ != "DELETED" else []
        if before != after:
            for pod in self._pods.by(NODE_INDEX, new.metadata.name):
                self._controller.enqueue(pod.metadata.key)

    def _pod_changed(self, type_: str, new: Pod, old: Pod | None) -> None:
        if type_ == "DELETED":
            self._waiting.discard(new.metadata.key)
            return
        if not new.spec.node_name or (old is not None and old.spec == new.spec):
            return
        node = self._nodes.get("", new.spec.node_name)
        if node is not None and _evicting(node.spec.taints):
            self._controller.enqueue(new.metadata.key)

    async def _reconcile(self, key: Key) -> float | None:
        pod = self._pods.get(*key)
        if pod is None or not is_active(pod):
            self._waiting.discard(key)
            return None
        node = self._nodes.get("", pod.spec.node_name)
        now_s = self._clock()
        leaves = evict_at(pod, node.spec.taints, now_s) if node is not None else None
        if leaves is None:
            if key in self._waiting:
                self._waiting.discard(key)
                self._tell(pod, f"Cancelling deletion of Pod {key[0]}/{key[1]}")
            return None
        if leaves > now_s:
            self._waiting.add(key)
            return leaves - now_s
        self._tell(pod, f"Marking for deletion Pod {key[0]}/{key[1]}")
        patch = disruption_patch("DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", pod, now_s)
        try:
            await self._pods.patch(pod, patch, patch_type=STRATEGIC_MERGE_PATCH, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise
            return None
        await self._pods.delete(pod)
        self._waiting.discard(key)
        return None

    def _tell(self, pod: Pod, message: str) -> None:
        self._recorder.event(COMPONENT, POD, pod.metadata, "TaintManagerEviction", message)


def disruption_patch(reason: str, message: str, pod: Pod, now_s: float, *, phase: str = "") -> dict[str, Any]:
    """Return the status patch that says why the control plane takes a pod away."""
    condition: dict[str, Any] = {
        "type": "DisruptionTarget",
        "status": "True",
        "lastProbeTime": None,
        "lastTransitionTime": timestamp(now_s),
        "reason": reason,
        "message": message,
    }
    if pod.metadata.generation:
        condition["observedGeneration"] = pod.metadata.generation
    status: dict[str, Any] = {"conditions": [condition]}
    if phase:
        status["phase"] = phase
    return {"status": status}


def _evicting(taints: list[Taint]) -> list[Taint]:
    return [taint for taint in taints if taint.effect == "NoExecute"]
