"""Deployments: rollouts from one pod template to the next by means of ReplicaSets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from kubeedge.apiserver.controllers import progress, rollout
from kubeedge.apiserver.controllers.burst import first_error, is_code, together
from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.events import Recorder
from kubeedge.apiserver.controllers.ownership import CONTROLLER_INDEX, claimed, reference
from kubeedge.apiserver.controllers.pods import is_finished
from kubeedge.apiserver.controllers.queue import Controller
from kubeedge.apiserver.controllers.replicaset import is_namespace_ending, status_patch
from kubeedge.apiserver.controllers.revisions import (
    REVISION,
    annotations_for,
    find_new,
    next_revision,
    obsolete,
    revision,
    same_template,
    selector_with_hash,
    sizes,
    template_hash,
    with_hash,
)
from kubeedge.apiserver.controllers.selection import is_empty, matches
from kubeedge.apiserver.controllers.views import Condition, Deployment, DeploymentStatus, Pod, ReplicaSet, condition
from kubeedge.kube.api import ApiError
from kubeedge.kube.kinds import DEPLOYMENT

COMPONENT = "deployment-controller"

Key = tuple[str, str]


class Deployments:
    """Rolls out every Deployment."""

    def __init__(
        self,
        deployments: Cache[Deployment],
        replica_sets: Cache[ReplicaSet],
        pods: Cache[Pod],
        recorder: Recorder,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.deployments = deployments
        self.replica_sets = replica_sets
        self.pods = pods
        self.recorder = recorder
        self.clock = clock
        self._controller: Controller[Key] = Controller("deployment", self._reconcile, workers=2)
        deployments.on_change(lambda type_, new, old: self._controller.enqueue(new.metadata.key))
        replica_sets.on_change(self._set_changed)
        pods.on_change(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._controller.run()

    def _set_changed(self, type_: str, new: ReplicaSet, old: ReplicaSet | None) -> None:
        owners = [found for rs in (new, old) if rs is not None and (found := rs.metadata.controller)]
        for owner in owners:
            if owner.kind == "Deployment":
                self._controller.enqueue((new.metadata.namespace, owner.name))
        if not owners and type_ != "DELETED":
            for deployment in self.deployments.by("namespace", new.metadata.namespace):
                if matches(deployment.spec.selector, new.metadata.labels):
                    self._controller.enqueue(deployment.metadata.key)

    def _pod_changed(self, type_: str, new: Pod, old: Pod | None) -> None:
        """Wake up a Deployment that waits for the last of its old pods before it makes new ones."""
        del old
        owner = new.metadata.controller
        if (type_ != "DELETED" and not is_finished(new)) or owner is None or owner.kind != "ReplicaSet":
            return
        replica_set = self.replica_sets.get(new.metadata.namespace, owner.name)
        above = replica_set.metadata.controller if replica_set is not None else None
        if above is not None and above.kind == "Deployment":
            deployment = self.deployments.get(new.metadata.namespace, above.name)
            if deployment is not None and not rollout.is_rolling(deployment):
                self._controller.enqueue(deployment.metadata.key)

    async def _reconcile(self, key: Key) -> float | None:
        deployment = self.deployments.get(*key)
        if deployment is None:
            return None
        if is_empty(deployment.spec.selector):
            self.tell(
                deployment,
                "SelectingAll",
                "This deployment is selecting all pods. A non-empty selector is required.",
                warning=True,
            )
            return None
        sets = await claimed(
            DEPLOYMENT, self.deployments, deployment.metadata, deployment.spec.selector, self.replica_sets
        )
        step = _Step(self, deployment, sets, progress.pause_condition(deployment, self.clock()))
        if deployment.metadata.is_deleting:
            return await step.report()
        if deployment.spec.paused or rollout.is_scaling(deployment, sets):
            return await step.scale()
        if rollout.is_rolling(deployment):
            return await step.roll()
        return await step.recreate()

    def tell(self, deployment: Deployment, reason: str, message: str, *, warning: bool = False) -> None:
        """Record an event about a Deployment."""
        self.recorder.event(COMPONENT, DEPLOYMENT, deployment.metadata, reason, message, warning=warning)


class _Step:
    """One reconciliation of one Deployment; conditions are carried along and written once, at its end."""

    def __init__(
        self,
        parent: Deployments,
        deployment: Deployment,
        sets: Sequence[ReplicaSet],
        conditions: list[Condition],
    ) -> None:
        self._parent = parent
        self._cache = parent.replica_sets
        self._deployment = deployment
        self._conditions = conditions
        self._collisions = deployment.status.collision_count
        self._new = find_new(deployment, sets)
        new_uid = self._new.metadata.uid if self._new is not None else ""
        self._olds = [found for found in sets if found.metadata.uid != new_uid]

    # Ways to go

    async def scale(self) -> float | None:
        """Follow a changed number of replicas, or a pause, without going on with the rollout."""
        await self._number()
        for found, size in rollout.rescale(self._deployment, self._new, self._olds):
            await self._resize(found, size)
        if self._deployment.spec.paused:
            await self._clean_up()
        return await self._finish(progress.counts)

    async def roll(self) -> float | None:
        """Go one step of a rolling update: either the new set grows or the old ones shrink."""
        await self._number()
        new = self._new or await self._create_new()
        if new is None:
            return await self._finish(progress.assess)
        size = rollout.size_of_new(self._deployment, [new, *self._olds], new.spec.replicas)
        if size != new.spec.replicas:
            await self._resize(new, size)
            return await self._finish(progress.assess)
        plan = rollout.shrink_old(self._deployment, new, self._olds) if rollout.active(self._olds) else []
        for found, smaller in plan:
            await self._resize(found, smaller)
        if not plan:
            await self._clean_up_if_complete()
        return await self._finish(progress.assess)

    async def recreate(self) -> float | None:
        """Take all old pods away, and only when the last has stopped make the new ones."""
        await self._number()
        running = rollout.active(self._olds)
        for found in running:
            await self._resize(found, 0)
        if running or self._has_old_pods():
            return await self._finish(progress.assess)
        new = self._new or await self._create_new()
        if new is None:
            return await self._finish(progress.assess)
        if new.spec.replicas != self._deployment.spec.replicas:
            await self._resize(new, self._deployment.spec.replicas)
        await self._clean_up_if_complete()
        return await self._finish(progress.assess)

    async def report(self) -> float | None:
        """Only bring the status up to date."""
        return await self._finish(progress.counts)

    # Parts of them

    async def _number(self) -> None:
        """Give the new set, if it is there already, its revision and annotations."""
        if self._new is None:
            return
        deployment, new = self._deployment, self._new
        number = next_revision(self._olds)
        changes = annotations_for(deployment, new.metadata.annotations, number)
        patch: dict[str, Any] = {"metadata": {"annotations": changes}} if changes else {}
        if new.spec.min_ready_seconds != deployment.spec.min_ready_seconds:
            patch["spec"] = {"minReadySeconds": deployment.spec.min_ready_seconds}
        if patch:
            self._new = await self._cache.patch(new, patch)
        if condition(self._conditions, "Progressing") is None:
            self._progressing(progress.FOUND, f'Found new replica set "{new.metadata.name}"')

    async def _create_new(self) -> ReplicaSet | None:
        """Make the set of the present template and return it; None when it has to be tried again."""
        deployment = self._deployment
        meta = deployment.metadata
        hash_ = template_hash(deployment.spec.template, self._collisions)
        size = rollout.size_of_new(deployment, self._olds, 0)
        annotations = annotations_for(deployment, {}, next_revision(self._olds))
        annotations |= sizes(deployment.spec.replicas, rollout.maximum(deployment))
        template = with_hash(deployment.spec.template, hash_)
        body: dict[str, Any] = {
            "metadata": {
                "name": f"{meta.name}-{hash_}",
                "namespace": meta.namespace,
                "labels": template["metadata"]["labels"],
                "annotations": annotations,
                "ownerReferences": [reference(DEPLOYMENT, meta)],
            },
            "spec": {
                "replicas": size,
                "selector": selector_with_hash(deployment.spec.selector, hash_),
                "template": template,
            },
        }
        if deployment.spec.min_ready_seconds:
            body["spec"]["minReadySeconds"] = deployment.spec.min_ready_seconds
        name = body["metadata"]["name"]
        try:
            self._new = await self._cache.create(meta.namespace, body)
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return await self._take_existing(name)
            if is_namespace_ending(error):
                return None
            message = f'Failed to create new replica set "{name}": {error.message}'
            self._progressing(progress.FAILED_CREATE, message, status="False")
            self._parent.tell(deployment, progress.FAILED_CREATE, message, warning=True)
            await self._finish(progress.counts)
            raise
        if size > 0:
            self._parent.tell(deployment, "ScalingReplicaSet", f"Scaled up replica set {name} from 0 to {size}")
        self._progressing(progress.CREATED, f'Created new replica set "{name}"')
        return self._new

    async def _take_existing(self, name: str) -> ReplicaSet | None:
        """The name of the new set is taken: by the set itself, unseen so far, or by another with the same hash."""
        live = await self._cache.live(self._deployment.metadata.namespace, name)
        if live is None:
            return None
        owner = live.metadata.controller
        if (
            owner is not None
            and owner.uid == self._deployment.metadata.uid
            and same_template(live.spec.template, self._deployment.spec.template)
        ):
            self._new = live
            return live
        self._collisions = (self._collisions or 0) + 1
        return None

    async def _resize(self, found: ReplicaSet, size: int) -> None:
        deployment = self._deployment
        noted = sizes(deployment.spec.replicas, rollout.maximum(deployment))
        present = found.metadata.annotations
        changes = {key: value for key, value in noted.items() if present.get(key) != value}
        if size == found.spec.replicas and not changes:
            return
        patch: dict[str, Any] = {"metadata": {"annotations": changes}} if changes else {}
        if size != found.spec.replicas:
            patch["spec"] = {"replicas": size}
        resized = await self._cache.patch(found, patch)
        if size != found.spec.replicas:
            way = "up" if size > found.spec.replicas else "down"
            self._parent.tell(
                deployment,
                "ScalingReplicaSet",
                f"Scaled {way} replica set {found.metadata.name} from {found.spec.replicas} to {size}",
            )
        if self._new is not None and found.metadata.uid == self._new.metadata.uid:
            self._new = resized
        else:
            self._olds = [resized if old.metadata.uid == found.metadata.uid else old for old in self._olds]

    def _has_old_pods(self) -> bool:
        """Tell whether a pod of an old template may still run."""
        pods = self._parent.pods
        return any(not is_finished(pod) for old in self._olds for pod in pods.by(CONTROLLER_INDEX, old.metadata.uid))

    async def _clean_up_if_complete(self) -> None:
        sets = [*self._olds, *([self._new] if self._new is not None else [])]
        status = progress.counts(self._deployment, self._new, sets, [], self._parent.clock())
        if progress.is_complete(self._deployment, status):
            await self._clean_up()

    async def _clean_up(self) -> None:
        """Delete the old sets beyond the history limit."""
        gone = obsolete(self._deployment, self._olds)
        error = first_error(await together([self._cache.delete(old, exact=True) for old in gone]))
        if error is not None and not is_code(error, 409):
            raise error
        names = {old.metadata.uid for old in gone}
        self._olds = [old for old in self._olds if old.metadata.uid not in names]

    def _progressing(self, reason: str, message: str, *, status: str = "True") -> None:
        if progress.deadline_s(self._deployment) is not None:
            now_s = self._parent.clock()
            self._conditions = progress.put(self._conditions, "Progressing", status, reason, message, now_s)

    async def _finish(
        self,
        judge: Callable[
            [Deployment, ReplicaSet | None, Sequence[ReplicaSet], Sequence[Condition], float], DeploymentStatus
        ],
    ) -> float | None:
        """Write the Deployment's own revision and its status where they changed."""
        deployment = self._deployment
        deployments = self._parent.deployments
        now_s = self._parent.clock()
        if self._new is not None:
            number = revision(self._new.metadata.annotations)
            if number and revision(deployment.metadata.annotations) != number:
                deployment = await deployments.patch(deployment, {"metadata": {"annotations": {REVISION: str(number)}}})
        sets = [*self._olds, *([self._new] if self._new is not None else [])]
        status = judge(self._deployment, self._new, sets, self._conditions, now_s)
        status.collision_count = self._collisions
        patch = status_patch(self._deployment.status, status, ("terminatingReplicas",))
        if patch is not None:
            try:
                await deployments.patch(deployment, patch, subresource="status")
            except ApiError as error:
                if error.code != 404:
                    raise
        return progress.check_again_in(self._deployment, status, now_s)
