"""DaemonSets: one pod on every node that fits."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from kubeedge.apiserver.controllers import daemonplan
from kubeedge.apiserver.controllers.burst import Failure, first_error, together, words
from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.daemonplan import HASH_LABEL, Plan
from kubeedge.apiserver.controllers.events import Recorder
from kubeedge.apiserver.controllers.ownership import CONTROLLER_INDEX, claimed, reference
from kubeedge.apiserver.controllers.pods import NAMESPACE_INDEX, available_in, is_active
from kubeedge.apiserver.controllers.queue import Controller
from kubeedge.apiserver.controllers.replicaset import is_namespace_ending, status_patch
from kubeedge.apiserver.controllers.revisions import same_template, template_hash
from kubeedge.apiserver.controllers.selection import is_empty, matches
from kubeedge.apiserver.controllers.views import ControllerRevision, DaemonSet, Node, Pod
from kubeedge.kube.api import ApiError
from kubeedge.kube.kinds import DAEMON_SET

COMPONENT = "daemonset-controller"
BURST = 250
# A pod that fails again and again on a node is replaced ever more slowly.
FIRST_BACKOFF_S = 1.0
LONGEST_BACKOFF_S = 900.0

Key = tuple[str, str]


class DaemonSets:
    """Keeps the pods of every DaemonSet."""

    def __init__(
        self,
        daemon_sets: Cache[DaemonSet],
        revisions: Cache[ControllerRevision],
        nodes: Cache[Node],
        pods: Cache[Pod],
        recorder: Recorder,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._daemon_sets = daemon_sets
        self._revisions = revisions
        self._nodes = nodes
        self._pods = pods
        self._recorder = recorder
        self._clock = clock
        # (uid of the set, node): (failures, time before which nothing is replaced there)
        self._failures: dict[tuple[str, str], tuple[int, float]] = {}
        self._controller: Controller[Key] = Controller("daemonset", self._reconcile)
        daemon_sets.on_change(self._set_changed)
        nodes.on_change(self._node_changed)
        pods.on_change(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._controller.run()

    def _set_changed(self, type_: str, new: DaemonSet, old: DaemonSet | None) -> None:
        if type_ == "DELETED":
            uid = new.metadata.uid
            self._failures = {key: value for key, value in self._failures.items() if key[0] != uid}
        self._controller.enqueue(new.metadata.key)

    def _node_changed(self, type_: str, new: Node, old: Node | None) -> None:
        if (
            type_ != "DELETED"
            and old is not None
            and old.spec == new.spec
            and old.metadata.labels == new.metadata.labels
        ):
            return
        for daemon_set in self._daemon_sets.all():
            self._controller.enqueue(daemon_set.metadata.key)

    def _pod_changed(self, type_: str, new: Pod, old: Pod | None) -> None:
        owners = [found for pod in (new, old) if pod is not None and (found := pod.metadata.controller)]
        for owner in owners:
            if owner.kind == "DaemonSet":
                self._controller.enqueue((new.metadata.namespace, owner.name))
        if not owners and type_ != "DELETED":
            for daemon_set in self._daemon_sets.by(NAMESPACE_INDEX, new.metadata.namespace):
                if matches(daemon_set.spec.selector, new.metadata.labels):
                    self._controller.enqueue(daemon_set.metadata.key)

    async def _reconcile(self, key: Key) -> float | None:
        daemon_set = self._daemon_sets.get(*key)
        if daemon_set is None:
            return None
        if is_empty(daemon_set.spec.selector):
            message = "This daemon set is selecting all pods. A non-empty selector is required."
            self._tell(daemon_set, "SelectingAll", message, warning=True)
            return None
        if daemon_set.metadata.is_deleting:
            return None
        current, collisions = await self._history(daemon_set)
        if current is None:
            # The hash is taken by another template; the raised collision count brings us here again.
            await self._write(daemon_set, {"status": {"collisionCount": collisions}})
            return 0.0
        hash_ = current.metadata.labels.get(HASH_LABEL, "")
        await claimed(
            DAEMON_SET,
            self._daemon_sets,
            daemon_set.metadata,
            daemon_set.spec.selector,
            self._pods,
            may_adopt=is_active,
        )
        nodes = self._nodes.all()
        plan = daemonplan.even_out(daemon_set, nodes, self._pods_by_node(daemon_set), hash_)
        again_s, error = await self._carry_out(daemon_set, plan, hash_)
        if error is None and daemon_set.spec.update_strategy.type == "RollingUpdate":
            plan = daemonplan.update(daemon_set, nodes, self._pods_by_node(daemon_set), hash_, self._clock())
            _, error = await self._carry_out(daemon_set, plan, hash_)
        now_s = self._clock()
        pods = self._pods_by_node(daemon_set)
        status = daemonplan.status_of(daemon_set, nodes, pods, hash_, now_s, collisions)
        always = ("currentNumberScheduled", "numberMisscheduled", "desiredNumberScheduled", "numberReady")
        patch = status_patch(daemon_set.status, status, always)
        if patch is not None:
            await self._write(daemon_set, patch)
        if error is not None:
            raise error
        waits = [
            wait
            for here in pods.values()
            for pod in here
            if (wait := available_in(pod, daemon_set.spec.min_ready_seconds, now_s))
        ]
        return min([*waits, *([again_s] if again_s is not None else [])], default=None)

    def _pods_by_node(self, daemon_set: DaemonSet) -> dict[str, list[Pod]]:
        pods: dict[str, list[Pod]] = {}
        for pod in self._pods.by(CONTROLLER_INDEX, daemon_set.metadata.uid):
            if matches(daemon_set.spec.selector, pod.metadata.labels):
                pods.setdefault(daemonplan.node_of(pod), []).append(pod)
        return pods

    async def _write(self, daemon_set: DaemonSet, patch: dict[str, Any]) -> None:
        try:
            await self._daemon_sets.patch(daemon_set, patch, subresource="status")
        except ApiError as error:
            if error.code != 404:
                raise

    async def _carry_out(self, daemon_set: DaemonSet, plan: Plan, hash_: str) -> tuple[float | None, Failure | None]:
        """Do what is planned; return after how long a failed pod may be replaced, and the first refusal."""
        meta = daemon_set.metadata
        doomed, again_s = self._due_failures(daemon_set, plan.failed)
        doomed = [*plan.delete, *doomed][:BURST]
        outcomes: list[Any] = await together([self._pods.delete(pod) for pod in doomed])
        for pod, outcome in zip(doomed, outcomes, strict=True):
            if isinstance(outcome, Failure):
                self._tell(daemon_set, "FailedDelete", f"Error deleting: {words(outcome)}", warning=True)
            else:
                self._tell(daemon_set, "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}")
        created = await together(
            [
                self._pods.create(meta.namespace, daemonplan.daemon_pod(daemon_set, name, hash_))
                for name in plan.create[:BURST]
            ]
        )
        for made in created:
            if isinstance(made, Pod):
                self._tell(daemon_set, "SuccessfulCreate", f"Created pod: {made.metadata.name}")
            elif not is_namespace_ending(made):
                self._tell(daemon_set, "FailedCreate", f"Error creating: {words(made)}", warning=True)
        error = first_error([*outcomes, *created])
        return again_s, None if error is None or is_namespace_ending(error) else error

    def _due_failures(self, daemon_set: DaemonSet, failed: list[Pod]) -> tuple[list[Pod], float | None]:
        """Return the ended pods that may be replaced now, and after how long the next may be."""
        now_s = self._clock()
        due: list[Pod] = []
        waits: list[float] = []
        for pod in failed:
            place = (daemon_set.metadata.uid, daemonplan.node_of(pod))
            failures, not_before_s = self._failures.get(place, (0, 0.0))
            if now_s < not_before_s:
                waits.append(not_before_s - now_s)
                continue
            self._failures[place] = (failures + 1, now_s + min(FIRST_BACKOFF_S * 2.0**failures, LONGEST_BACKOFF_S))
            due.append(pod)
            ended = pod.status.phase.lower()
            self._tell(
                daemon_set,
                f"{pod.status.phase}DaemonPod",
                f"Found {ended} daemon pod {pod.metadata.namespace}/{pod.metadata.name} on node {place[1]}, "
                "will try to kill it" + ("" if ended == "failed" else " and recreate it"),
                warning=ended == "failed",
            )
        return due, min(waits, default=None)

    # Recorded templates

    async def _history(self, daemon_set: DaemonSet) -> tuple[ControllerRevision | None, int | None]:
        """Return the revision of the present template, made if need be, and the collision count."""
        collisions = daemon_set.status.collision_count
        recorded = sorted(
            self._revisions.by(CONTROLLER_INDEX, daemon_set.metadata.uid), key=lambda found: found.revision
        )
        template = daemon_set.spec.template
        current = next((found for found in recorded if same_template(recorded_template(found), template)), None)
        last = max((found.revision for found in recorded if found is not current), default=0)
        if current is None:
            current = await self._record(daemon_set, last + 1, collisions)
            if current is None:
                return None, (collisions or 0) + 1
        elif current.revision <= last:
            current = await self._revisions.patch(current, {"revision": last + 1})
        await self._forget_old(daemon_set, [found for found in recorded if found.metadata.uid != current.metadata.uid])
        return current, collisions

    async def _record(self, daemon_set: DaemonSet, number: int, collisions: int | None) -> ControllerRevision | None:
        meta = daemon_set.metadata
        template = daemon_set.spec.template
        hash_ = template_hash(template, collisions)
        body: dict[str, Any] = {
            "metadata": {
                "name": f"{meta.name}-{hash_}",
                "namespace": meta.namespace,
                "labels": {**((template.get("metadata") or {}).get("labels") or {}), HASH_LABEL: hash_},
                "annotations": meta.annotations,
                "ownerReferences": [reference(DAEMON_SET, meta)],
            },
            "data": {"spec": {"template": {"$patch": "replace", **template}}},
            "revision": number,
        }
        try:
            return await self._revisions.create(meta.namespace, body)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
        live = await self._revisions.live(meta.namespace, body["metadata"]["name"])
        return live if live is not None and same_template(recorded_template(live), template) else None

    async def _forget_old(self, daemon_set: DaemonSet, olds: list[ControllerRevision]) -> None:
        """Delete recorded templates beyond the history limit, except those that pods still have."""
        limit = daemon_set.spec.revision_history_limit
        excess = len(olds) - (10 if limit is None else limit)
        if excess <= 0:
            return
        in_use = {
            pod.metadata.labels.get(HASH_LABEL) for pod in self._pods.by(CONTROLLER_INDEX, daemon_set.metadata.uid)
        }
        free = [found for found in olds if found.metadata.labels.get(HASH_LABEL) not in in_use]
        error = first_error(await together([self._revisions.delete(found) for found in free[:excess]]))
        if error is not None:
            raise error

    def _tell(self, daemon_set: DaemonSet, reason: str, message: str, *, warning: bool = False) -> None:
        self._recorder.event(COMPONENT, DAEMON_SET, daemon_set.metadata, reason, message, warning=warning)


def recorded_template(revision: ControllerRevision) -> dict[str, Any]:
    """Return the pod template that a revision holds."""
    template = dict((revision.data.get("spec") or {}).get("template") or {})
    template.pop("$patch", None)
    return template
