"""The scheduler: binds pods to nodes."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.capacity import Demand, Room
from kubeedge.apiserver.controllers.events import Recorder
from kubeedge.apiserver.controllers.placement import place
from kubeedge.apiserver.controllers.pods import is_finished
from kubeedge.apiserver.controllers.queue import Controller, WorkQueue
from kubeedge.apiserver.controllers.views import Namespace, Node, Pod, condition
from kubeedge.kube.api import STRATEGIC_MERGE_PATCH, ApiError, KubeApi
from kubeedge.kube.instants import timestamp
from kubeedge.kube.kinds import POD

NAME = "default-scheduler"
# A pod that fits nowhere is looked at again when something changed, but not more often than this (doubled each time).
FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 10.0
# Bindings under way at a time; decisions are taken one after the other all the same.
WORKERS = 8

Key = tuple[str, str]


@dataclass(slots=True)
class _Stranded:
    """A pod that fitted nowhere: how often it was tried, and when last."""

    attempts: int
    at_s: float


def backoff_s(attempts: int) -> float:
    """Return how long to leave a pod alone after its attempts failed."""
    return min(FIRST_BACKOFF_S * 2.0 ** (attempts - 1), LONGEST_BACKOFF_S)


def is_ours(pod: Pod) -> bool:
    """Tell whether the pod waits for this scheduler."""
    return (
        not pod.spec.node_name
        and not pod.metadata.is_deleting
        and not is_finished(pod)
        and pod.spec.scheduler_name == NAME
        and not pod.spec.scheduling_gates
    )


def matters(new: Node, old: Node) -> bool:
    """Tell whether a change of a node could let a pod in; the heartbeats that come all the time cannot."""
    return (
        new.spec != old.spec
        or new.metadata.labels != old.metadata.labels
        or new.status.allocatable != old.status.allocatable
    )


class Scheduler:
    """Takes pods without a node, the highest priority first, and binds each to the best node that fits.

    What is bound but not yet seen bound counts as being there, so that two pods never take the same last place.
    """

    def __init__(
        self,
        api: KubeApi,
        pods: Cache[Pod],
        nodes: Cache[Node],
        namespaces: Cache[Namespace],
        recorder: Recorder,
        *,
        clock: Callable[[], float] = time.time,
        choose: Callable[[list[str]], str] = random.choice,
    ) -> None:
        self._api = api
        self._pods = pods
        self._namespaces = namespaces
        self._recorder = recorder
        self._clock = clock
        self._choose = choose
        self._rooms: dict[str, Room] = {}
        self._where: dict[str, str] = {}
        self._stranded: dict[Key, _Stranded] = {}
        queue: WorkQueue[Key] = WorkQueue(priority=self._priority)
        self._controller = Controller("scheduler", self._schedule, workers=WORKERS, queue=queue)
        nodes.on_change(self._node_changed)
        pods.on_change(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._controller.run()

    def _priority(self, key: Key) -> int:
        pod = self._pods.get(*key)
        return (pod.spec.priority or 0) if pod is not None else 0

    # What changed

    def _node_changed(self, type_: str, new: Node, old: Node | None) -> None:
        name = new.metadata.name
        room = self._rooms.get(name)
        if type_ == "DELETED":
            if room is not None:
                room.is_known = False
                self._forget_if_empty(name, room)
            return
        if room is None:
            room = self._rooms[name] = Room()
        was_known = room.is_known
        room.change(new)
        if not was_known or old is None or matters(new, old):
            self._retry_stranded()

    def _pod_changed(self, type_: str, new: Pod, old: Pod | None) -> None:
        key = new.metadata.key
        if type_ == "DELETED" or is_finished(new):
            self._stranded.pop(key, None)
            if self._leave(new.metadata.uid):
                self._retry_stranded()
            return
        if new.spec.node_name:
            self._stranded.pop(key, None)
            if old is None or old.spec != new.spec or old.metadata.labels != new.metadata.labels:
                self._enter(Demand(new), new.spec.node_name)
        elif is_ours(new) and (old is None or old.spec != new.spec or old.metadata.labels != new.metadata.labels):
            self._controller.enqueue(key)

    def _enter(self, demand: Demand, node_name: str) -> None:
        uid = demand.pod.metadata.uid
        if self._where.get(uid, node_name) != node_name:
            self._leave(uid)
        self._rooms.setdefault(node_name, Room()).add(demand)
        self._where[uid] = node_name

    def _leave(self, uid: str) -> bool:
        node_name = self._where.pop(uid, None)
        if node_name is None:
            return False
        room = self._rooms[node_name]
        room.remove(uid)
        self._forget_if_empty(node_name, room)
        return True

    def _forget_if_empty(self, name: str, room: Room) -> None:
        if not room.is_known and not room.demands:
            self._rooms.pop(name, None)

    def _retry_stranded(self) -> None:
        """Have another look at all pods that fitted nowhere, those whose back-off ends in the same second together.

        Otherwise the one that was tried a moment earlier would go before one of higher priority.
        """
        now_s = self._clock()
        now = asyncio.get_running_loop().time()
        for key, stranded in self._stranded.items():
            wait_s = stranded.at_s + backoff_s(stranded.attempts) - now_s
            if wait_s <= 0:
                self._controller.enqueue(key)
            else:
                self._controller.enqueue_at(key, math.ceil(now + wait_s))

    # One pod

    async def _schedule(self, key: Key) -> float | None:
        pod = self._pods.get(*key)
        if pod is None or not is_ours(pod) or pod.metadata.uid in self._where:
            self._stranded.pop(key, None)
            return None
        demand = Demand(pod)
        rooms = {name: room for name, room in self._rooms.items() if room.is_known}
        node_name, why = place(demand, rooms, self._choose, self._namespace_labels)
        if not node_name:
            await self._strand(pod, why)
            return None
        self._enter(demand, node_name)
        try:
            await self._bind(pod, node_name)
        except ApiError as error:
            self._leave(pod.metadata.uid)
            if error.code == 404:
                return None
            message = f"binding rejected: {error.message}"
            self._recorder.scheduling(pod.metadata, "FailedScheduling", message, "Scheduling", warning=True)
            raise
        except BaseException:
            self._leave(pod.metadata.uid)
            raise
        self._stranded.pop(key, None)
        message = f"Successfully assigned {pod.metadata.namespace}/{pod.metadata.name} to {node_name}"
        self._recorder.scheduling(pod.metadata, "Scheduled", message, "Binding")
        return None

    def _namespace_labels(self, namespace: str) -> Mapping[str, str]:
        found = self._namespaces.get("", namespace)
        return found.metadata.labels if found is not None else {}

    async def _bind(self, pod: Pod, node_name: str) -> None:
        meta = pod.metadata
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
            "target": {"kind": "Node", "name": node_name},
        }
        await self._api.create(POD, meta.namespace, orjson.dumps(binding), name=meta.name, subresource="binding")

    async def _strand(self, pod: Pod, why: str) -> None:
        """Let a pod wait for a change, and say why."""
        key = pod.metadata.key
        now_s = self._clock()
        stranded = self._stranded.setdefault(key, _Stranded(0, now_s))
        stranded.attempts += 1
        stranded.at_s = now_s
        self._recorder.scheduling(pod.metadata, "FailedScheduling", why, "Scheduling", warning=True)
        patch = unschedulable_patch(pod, why, now_s)
        if patch is None:
            return
        try:
            await self._pods.patch(pod, patch, patch_type=STRATEGIC_MERGE_PATCH, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise


def unschedulable_patch(pod: Pod, why: str, now_s: float) -> dict[str, Any] | None:
    """Return the status patch that says why a pod has no node, None when it stands there already."""
    old = condition(pod.status.conditions, "PodScheduled")
    if old is not None and (old.status, old.reason, old.message) == ("False", "Unschedulable", why):
        return None
    since = old.last_transition_time if old is not None and old.status == "False" else timestamp(now_s)
    new: dict[str, Any] = {
        "type": "PodScheduled",
        "status": "False",
        "lastProbeTime": None,
        "lastTransitionTime": since,
        "reason": "Unschedulable",
        "message": why,
    }
    if pod.metadata.generation:
        new["observedGeneration"] = pod.metadata.generation
    return {"status": {"conditions": [new]}}
