"""Protection of volume claims: one that is deleted stays until no pod uses it."""

from __future__ import annotations

from typing import Any

from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.pods import NAMESPACE_INDEX, is_finished
from kubeedge.apiserver.controllers.queue import Controller
from kubeedge.apiserver.controllers.views import Meta, Pod
from kubeedge.kube.api import ApiError

FINALIZER = "kubernetes.io/pvc-protection"

Key = tuple[str, str]


def claims_of(pod: Pod) -> set[str]:
    """Return the names of the claims that a pod uses."""
    return {
        volume.persistent_volume_claim.claim_name
        for volume in pod.spec.volumes
        if volume.persistent_volume_claim is not None
    }


class ClaimProtection:
    """Takes the protecting finalizer off claims that nobody uses any more."""

    def __init__(self, claims: Cache[Meta], pods: Cache[Pod]) -> None:
        self._claims = claims
        self._pods = pods
        self._controller: Controller[Key] = Controller("claimprotection", self._reconcile)
        claims.on_change(self._claim_changed)
        pods.on_change(self._pod_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._controller.run()

    def _claim_changed(self, type_: str, new: Meta, old: Meta | None) -> None:
        if type_ != "DELETED" and new.metadata.is_deleting and FINALIZER in new.metadata.finalizers:
            self._controller.enqueue(new.metadata.key)

    def _pod_changed(self, type_: str, new: Pod, old: Pod | None) -> None:
        if type_ == "DELETED" or is_finished(new):
            for name in claims_of(new):
                self._controller.enqueue((new.metadata.namespace, name))

    async def _reconcile(self, key: Key) -> None:
        claim = self._claims.get(*key)
        if claim is None or not claim.metadata.is_deleting or FINALIZER not in claim.metadata.finalizers:
            return
        pods = self._pods.by(NAMESPACE_INDEX, key[0])
        if any(key[1] in claims_of(pod) and not is_finished(pod) for pod in pods):
            return
        kept: list[Any] = [found for found in claim.metadata.finalizers if found != FINALIZER]
        try:
            await self._claims.patch(claim, {"metadata": {"finalizers": kept or None}}, exact=True)
        except ApiError as error:
            if error.code != 404:
                raise
