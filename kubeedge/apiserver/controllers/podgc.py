"""Pods that nobody will end: on nodes that are gone, deleted before they had one, or finished in great numbers."""

from __future__ import annotations

import time
from collections.abc import Callable

from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.eviction import disruption_patch
from kubeedge.apiserver.controllers.nodehealth import OUT_OF_SERVICE, ready_status
from kubeedge.apiserver.controllers.pods import NODE_INDEX, is_finished
from kubeedge.apiserver.controllers.queue import Controller
from kubeedge.apiserver.controllers.views import Node, Pod
from kubeedge.kube.api import STRATEGIC_MERGE_PATCH, ApiError
from kubeedge.kube.instants import unix_time

# A node that is gone may come back under its name, its pods with it.
QUARANTINE_S = 40.0
FINISHED_LIMIT = 12_500

Key = tuple[str, str]


def reason_to_remove(pod: Pod, node: Node | None) -> str:
    """Return why a pod has to be taken away by force, "" when it has not.

    node is the pod's node, None when there is none of that name.
    """
    if not pod.spec.node_name:
        return "unbound" if pod.metadata.is_deleting else ""
    if node is None:
        return "orphaned"
    out_of_service = any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints)
    if pod.metadata.is_deleting and out_of_service and ready_status(node) != "True":
        return "out of service"
    return ""


_MESSAGES = {
    "orphaned": "PodGC: node no longer exists",
    "out of service": "PodGC: node no longer exists",
}


class PodCollector:
    """Removes what would stay for ever."""

    def __init__(
        self,
        nodes: Cache[Node],
        pods: Cache[Pod],
        *,
        quarantine_s: float = QUARANTINE_S,
        finished_limit: int = FINISHED_LIMIT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._nodes = nodes
        self._pods = pods
        self._quarantine_s = quarantine_s
        self._finished_limit = finished_limit
        self._clock = clock
        self._finished: set[Key] = set()
        self._controller: Controller[Key] = Controller("podgc", self._reconcile)
        nodes.on_change(self._node_changed)
        pods.on_change(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._controller.run()

    def _node_changed(self, type_: str, new: Node, old: Node | None) -> None:
        if type_ == "DELETED":
            for pod in self._pods.by(NODE_INDEX, new.metadata.name):
                self._controller.enqueue(pod.metadata.key, self._quarantine_s)
        elif any(taint.key == OUT_OF_SERVICE for taint in new.spec.taints):
            for pod in self._pods.by(NODE_INDEX, new.metadata.name):
                self._controller.enqueue(pod.metadata.key)

    def _pod_changed(self, type_: str, new: Pod, old: Pod | None) -> None:
        key = new.metadata.key
        if type_ == "DELETED":
            self._finished.discard(key)
            return
        if is_finished(new):
            self._finished.add(key)
            if len(self._finished) > self._finished_limit:
                self._controller.enqueue(self._oldest_finished())
        if new.spec.node_name and self._nodes.get("", new.spec.node_name) is None:
            self._controller.enqueue(key, self._quarantine_s)
        elif new.metadata.is_deleting:
            self._controller.enqueue(key)

    def _oldest_finished(self) -> Key:
        def created(key: Key) -> float:
            pod = self._pods.get(*key)
            return unix_time(pod.metadata.creation_timestamp, 0.0) if pod is not None else 0.0

        return min(self._finished, key=created)

    async def _reconcile(self, key: Key) -> float | None:
        pod = self._pods.get(*key)
        if pod is None:
            self._finished.discard(key)
            return None
        node = self._nodes.get("", pod.spec.node_name) if pod.spec.node_name else None
        reason = reason_to_remove(pod, node)
        if reason == "orphaned" and await self._nodes.live("", pod.spec.node_name) is not None:
            return None
        too_many = len(self._finished) > self._finished_limit and key in self._finished
        if not reason and not too_many:
            return None
        if reason in _MESSAGES and not is_finished(pod):
            patch = disruption_patch("DeletionByPodGC", _MESSAGES[reason], pod, self._clock(), phase="Failed")
            try:
                await self._pods.patch(pod, patch, patch_type=STRATEGIC_MERGE_PATCH, subresource="status")
            except ApiError as error:
                if error.code != 404:
                    raise
                return None
        await self._pods.delete(pod, grace_s=0)
        return None
