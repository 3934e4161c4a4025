"""Node life cycle: nodes that fall silent are marked, tainted and in the end emptied, until they come back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from kubeedge.apiserver.controllers import nodehealth
from kubeedge.apiserver.controllers.burst import first_error, is_code, together
from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.events import Recorder
from kubeedge.apiserver.controllers.nodehealth import Health
from kubeedge.apiserver.controllers.pods import NODE_INDEX, is_active, is_ready
from kubeedge.apiserver.controllers.queue import Controller
from kubeedge.apiserver.controllers.views import Lease, Node, Pod, condition
from kubeedge.kube.api import STRATEGIC_MERGE_PATCH, ApiError, ApiUnavailableError
from kubeedge.kube.instants import timestamp
from kubeedge.kube.kinds import NODE, POD

log = logging.getLogger(__name__)

COMPONENT = "node-controller"
LEASE_NAMESPACE = "kube-node-lease"
TTL_ANNOTATION = "node.alpha.kubernetes.io/ttl"


@dataclass(frozen=True, slots=True)
class NodeTimes:
    """How patient the control plane is with nodes; seconds, and nodes a second."""

    monitor_period_s: float = 5.0
    grace_s: float = 40.0
    startup_grace_s: float = 60.0
    evictions_per_s: float = 0.1
    evict_when_all_are_down: bool = False
    """Not by default, as in a real control plane: when every node is silent the fault is more likely on this side."""


class NodeLifecycle:
    """Looks at every node each monitor_period_s, and at a single one whenever it changes."""

    def __init__(
        self,
        nodes: Cache[Node],
        leases: Cache[Lease],
        pods: Cache[Pod],
        recorder: Recorder,
        *,
        times: NodeTimes,
        clock: Callable[[], float] = time.time,
        elapsed: Callable[[], float] = time.monotonic,
    ) -> None:
        """clock is what timestamps are made of; elapsed measures silence, which a set clock must not end or begin."""
        self._nodes = nodes
        self._leases = leases
        self._pods = pods
        self._recorder = recorder
        self._times = times
        self._clock = clock
        self._elapsed = elapsed
        self._health: dict[str, Health] = {}
        # Nodes that went down and whose pods still have to be told; only once, since a node that comes back may report
        # its pods as ready before itself.
        self._went_down: set[str] = set()
        self._next_eviction_s = 0.0
        self._controller: Controller[str] = Controller("nodelifecycle", self._reconcile)
        nodes.on_change(self._node_changed)

    async def run(self) -> None:
        """Watch over the nodes until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._controller.run())
            tasks.create_task(self._monitor())

    def _node_changed(self, type_: str, new: Node, old: Node | None) -> None:
        name = new.metadata.name
        if type_ == "DELETED":
            self._health.pop(name, None)
            self._went_down.discard(name)
            self._tell(new, "RemovingNode", f"Node {name} event: Removing Node {name} from Controller")
            return
        if old is None and name not in self._health:
            self._health[name] = nodehealth.observe(None, new, self._renew_time(name), self._elapsed())
            self._tell(new, "RegisteredNode", f"Node {name} event: Registered Node {name} in Controller")
        is_up = nodehealth.ready_status(new) == "True"
        if is_up:
            self._went_down.discard(name)
        elif old is None:
            self._went_down.add(name)
        elif nodehealth.ready_status(old) == "True":
            self._went_down.add(name)
            self._tell(new, "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        self._controller.enqueue(name)

    def _renew_time(self, name: str) -> str:
        lease = self._leases.get(LEASE_NAMESPACE, name)
        return lease.spec.renew_time or "" if lease is not None else ""

    # The monitor

    async def _monitor(self) -> None:
        """The one loop by time: silence is no event."""
        while True:
            try:
                await self.check()
            except (ApiError, ApiUnavailableError) as error:
                log.warning("node monitor interrupted error=%s", error)
            await asyncio.sleep(self._times.monitor_period_s)

    async def check(self) -> None:
        """Look at every node once and mark those that have fallen silent."""
        now_s = self._elapsed()
        for node in self._nodes.all():
            name = node.metadata.name
            health = nodehealth.observe(self._health.get(name), node, self._renew_time(name), now_s)
            self._health[name] = health
            if nodehealth.is_silent(health, node, self._times.grace_s, self._times.startup_grace_s, now_s):
                await self._silence(node, self._clock())
            if nodehealth.lacks_eviction(node):
                self._controller.enqueue(name)

    async def _silence(self, node: Node, now_s: float) -> None:
        changed = nodehealth.silenced(node, now_s)
        if not changed:
            return
        log.info("node silent node=%s grace_s=%g", node.metadata.name, self._times.grace_s)
        patch = {"status": {"conditions": msgspec.to_builtins(changed)}}
        try:
            await self._nodes.patch(node, patch, patch_type=STRATEGIC_MERGE_PATCH, subresource="status", exact=True)
        except ApiError as error:
            # Gone, or alive after all: whatever was written meanwhile is newer than our judgement.
            if error.code not in (404, 409):
                raise

    # One node

    async def _reconcile(self, name: str) -> float | None:
        node = self._nodes.get("", name)
        if node is None:
            return None
        now_s = self._clock()
        again_s = None
        may_evict = False
        if nodehealth.lacks_eviction(node):
            may_evict, again_s = self._take_eviction(self._elapsed())
        taints = nodehealth.taints(node, now_s, may_evict=may_evict)
        if taints is not None:
            # The whole list is written, so only over the version that was read.
            patch = {"spec": {"taints": msgspec.to_builtins(taints) or None}}
            node = await self._nodes.patch(node, patch, exact=True)
        ttl = nodehealth.ttl_annotation(len(self._nodes))
        if node.metadata.annotations.get(TTL_ANNOTATION) != ttl:
            node = await self._nodes.patch(node, {"metadata": {"annotations": {TTL_ANNOTATION: ttl}}})
        if name in self._went_down:
            await self._mark_pods(node, now_s)
            self._went_down.discard(name)
        return again_s

    def _take_eviction(self, now_s: float) -> tuple[bool, float | None]:
        """Ask whether one more node may be emptied now; if not, in how many seconds to ask again."""
        statuses = [nodehealth.ready_status(node) for node in self._nodes.all()]
        rate = nodehealth.evictions_per_s(
            statuses, self._times.evictions_per_s, when_all_are_down=self._times.evict_when_all_are_down
        )
        if rate <= 0:
            # The monitor comes by again.
            return False, None
        if now_s < self._next_eviction_s:
            return False, self._next_eviction_s - now_s
        self._next_eviction_s = now_s + 1 / rate
        return True, None

    async def _mark_pods(self, node: Node, now_s: float) -> None:
        """Take the pods of a node that is down out of service."""
        pods = [pod for pod in self._pods.by(NODE_INDEX, node.metadata.name) if is_active(pod) and is_ready(pod)]
        outcomes = await together(
            [
                self._pods.patch(
                    pod, not_ready_patch(pod, now_s), patch_type=STRATEGIC_MERGE_PATCH, subresource="status"
                )
                for pod in pods
            ]
        )
        for pod, outcome in zip(pods, outcomes, strict=True):
            if isinstance(outcome, Pod):
                self._recorder.event(COMPONENT, POD, pod.metadata, "NodeNotReady", "Node is not ready", warning=True)
        error = first_error([outcome for outcome in outcomes if not _is_gone(outcome)])
        if error is not None:
            raise error

    def _tell(self, node: Node, reason: str, message: str) -> None:
        self._recorder.event(COMPONENT, NODE, node.metadata, reason, message)


def not_ready_patch(pod: Pod, now_s: float) -> dict[str, Any]:
    """Return the status patch that makes a ready pod not ready, with everything else of its condition as it was."""
    old = condition(pod.status.conditions, "Ready")
    changed: dict[str, Any] = msgspec.to_builtins(old) if old is not None else {"type": "Ready"}
    changed |= {"status": "False", "lastTransitionTime": timestamp(now_s)}
    return {"status": {"conditions": [changed]}}


def _is_gone(outcome: object) -> bool:
    return isinstance(outcome, ApiError | ApiUnavailableError) and is_code(outcome, 404)
