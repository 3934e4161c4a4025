"""ReplicaSets: as many pods of a template as asked for."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from kubeedge.apiserver.controllers.burst import Failure, first_error, together, words
from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.events import Recorder
from kubeedge.apiserver.controllers.ownership import CONTROLLER_INDEX, claimed
from kubeedge.apiserver.controllers.pods import (
    available_in,
    deletion_order,
    from_template,
    is_active,
    is_finished,
    is_ready,
    with_condition,
)
from kubeedge.apiserver.controllers.queue import Controller
from kubeedge.apiserver.controllers.selection import matches
from kubeedge.apiserver.controllers.views import (
    Condition,
    Metadata,
    Pod,
    ReplicaSet,
    ReplicaSetStatus,
)
from kubeedge.kube.api import ApiError
from kubeedge.kube.instants import timestamp
from kubeedge.kube.kinds import REPLICA_SET

COMPONENT = "replicaset-controller"
# Creations and deletions of one reconciliation; the rest follows in the next.
BURST = 500
# Pods made before the first success shows that they can be made at all.
FIRST_BATCH = 1

Key = tuple[str, str]


def status_of(
    replica_set: ReplicaSet, pods: list[Pod], failure: tuple[str, str] | None, now_s: float
) -> ReplicaSetStatus:
    """Return the status of a ReplicaSet with these pods of its own.

    failure is (reason, message) of a creation or deletion that was refused.
    """
    active = [pod for pod in pods if is_active(pod)]
    labels = (replica_set.spec.template.get("metadata") or {}).get("labels") or {}
    waits = [available_in(pod, replica_set.spec.min_ready_seconds, now_s) for pod in active]
    conditions = [c for c in replica_set.status.conditions if c.type != "ReplicaFailure"]
    if failure is not None:
        reason, message = failure
        new = Condition(
            "ReplicaFailure",
            "True",
            last_transition_time=timestamp(now_s),
            reason=reason,
            message=message,
        )
        conditions = with_condition(replica_set.status.conditions, new) or replica_set.status.conditions
    return ReplicaSetStatus(
        replicas=len(active),
        fully_labeled_replicas=sum(labels.items() <= pod.metadata.labels.items() for pod in active),
        ready_replicas=sum(map(is_ready, active)),
        available_replicas=waits.count(0.0),
        terminating_replicas=sum(pod.metadata.is_deleting and not is_finished(pod) for pod in pods),
        observed_generation=replica_set.metadata.generation,
        conditions=conditions,
    )


def status_patch(old: msgspec.Struct, new: msgspec.Struct, always: tuple[str, ...] = ()) -> dict[str, Any] | None:
    """Return the merge patch that makes status old into new, or None when they are equal.

    A zero value is not written at all, as the API server wouldn't, unless its JSON name is among always.
    """
    if old == new:
        return None
    # omit_defaults leaves zero values out; what old had and new hasn't is taken away.
    before: dict[str, Any] = msgspec.to_builtins(old)
    after: dict[str, Any] = msgspec.to_builtins(new)
    zeros = {name: 0 for name in always if name not in after}
    return {"status": {name: None for name in before if name not in after} | after | zeros}


class ReplicaSets:
    """Keeps the pods of every ReplicaSet."""

    def __init__(
        self,
        replica_sets: Cache[ReplicaSet],
        pods: Cache[Pod],
        recorder: Recorder,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._replica_sets = replica_sets
        self._pods = pods
        self._recorder = recorder
        self._clock = clock
        self._controller: Controller[Key] = Controller("replicaset", self._reconcile, workers=2)
        replica_sets.on_change(lambda type_, new, old: self._controller.enqueue(new.metadata.key))
        pods.on_change(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._controller.run()

    def _pod_changed(self, type_: str, new: Pod, old: Pod | None) -> None:
        owners = [found for pod in (new, old) if pod is not None and (found := pod.metadata.controller)]
        for owner in owners:
            if owner.kind == "ReplicaSet":
                self._controller.enqueue((new.metadata.namespace, owner.name))
        if not owners and type_ != "DELETED":
            for replica_set in self._replica_sets.by("namespace", new.metadata.namespace):
                if matches(replica_set.spec.selector, new.metadata.labels):
                    self._controller.enqueue(replica_set.metadata.key)

    async def _reconcile(self, key: Key) -> float | None:
        replica_set = self._replica_sets.get(*key)
        if replica_set is None:
            return None
        pods = await claimed(
            REPLICA_SET,
            self._replica_sets,
            replica_set.metadata,
            replica_set.spec.selector,
            self._pods,
            may_adopt=is_active,
        )
        error = None
        failure = None
        if not replica_set.metadata.is_deleting:
            error = await self._scale(replica_set, [pod for pod in pods if is_active(pod)])
            if error is not None:
                creating = len([pod for pod in pods if is_active(pod)]) < replica_set.spec.replicas
                failure = ("FailedCreate" if creating else "FailedDelete", words(error))
        return await self._report(replica_set, failure, error)

    async def _report(
        self, replica_set: ReplicaSet, failure: tuple[str, str] | None, error: Failure | None
    ) -> float | None:
        now_s = self._clock()
        meta = replica_set.metadata
        pods = [
            pod
            for pod in self._pods.by(CONTROLLER_INDEX, meta.uid)
            if matches(replica_set.spec.selector, pod.metadata.labels)
        ]
        status = status_of(replica_set, pods, failure, now_s)
        patch = status_patch(replica_set.status, status, ("replicas", "terminatingReplicas"))
        current = self._replica_sets.get(*meta.key)
        if patch is not None and current is not None and current.metadata.uid == meta.uid:
            try:
                await self._replica_sets.patch(replica_set, patch, subresource="status")
            except ApiError as refused:
                if refused.code != 404:
                    raise
        if error is not None:
            raise error
        waits = [available_in(pod, replica_set.spec.min_ready_seconds, now_s) for pod in pods if is_active(pod)]
        return min((wait for wait in waits if wait), default=None)

    async def _scale(self, replica_set: ReplicaSet, active: list[Pod]) -> Failure | None:
        missing = replica_set.spec.replicas - len(active)
        if missing > 0:
            return await self._create(replica_set, min(missing, BURST))
        if missing < 0:
            return await self._delete(replica_set, active, min(-missing, BURST))
        return None

    async def _create(self, replica_set: ReplicaSet, count: int) -> Failure | None:
        """Make count pods, few at first and more once it works, so that a refusal costs few calls."""
        meta = replica_set.metadata
        body = from_template(replica_set.spec.template, REPLICA_SET, meta)
        batch = FIRST_BATCH
        while count > 0:
            size = min(batch, count)
            outcomes = await together([self._pods.create(meta.namespace, body) for _ in range(size)])
            for outcome in outcomes:
                if isinstance(outcome, Pod):
                    self._tell(meta, "SuccessfulCreate", f"Created pod: {outcome.metadata.name}")
            error = first_error(outcomes)
            if error is not None:
                if is_namespace_ending(error):
                    return None
                self._tell(meta, "FailedCreate", f"Error creating: {words(error)}", warning=True)
                return error
            count -= size
            batch *= 2
        return None

    async def _delete(self, replica_set: ReplicaSet, active: list[Pod], count: int) -> Failure | None:
        meta = replica_set.metadata
        victims = deletion_order(active, self._neighbours(meta, active))[:count]
        outcomes = await together([self._pods.delete(pod) for pod in victims])
        for pod, outcome in zip(victims, outcomes, strict=True):
            if isinstance(outcome, Failure):
                self._tell(meta, "FailedDelete", f"Error deleting: {words(outcome)}", warning=True)
            else:
                self._tell(meta, "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")
        return first_error(outcomes)

    def _neighbours(self, meta: Metadata, active: list[Pod]) -> Counter[str]:
        """Count by node the active pods of this set and of its siblings under the same owner."""
        related = active
        owner = meta.controller
        if owner is not None:
            related = [
                pod
                for sibling in self._replica_sets.by(CONTROLLER_INDEX, owner.uid)
                for pod in self._pods.by(CONTROLLER_INDEX, sibling.metadata.uid)
                if is_active(pod)
            ]
        return Counter(pod.spec.node_name for pod in related if pod.spec.node_name)

    def _tell(self, meta: Metadata, reason: str, message: str, *, warning: bool = False) -> None:
        self._recorder.event(COMPONENT, REPLICA_SET, meta, reason, message, warning=warning)


def is_namespace_ending(error: Failure) -> bool:
    """Tell whether a creation was refused because its namespace is being deleted."""
    return isinstance(error, ApiError) and error.code == 403 and "because it is being terminated" in error.message
