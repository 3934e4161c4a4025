"""Garbage collection: what no owner holds any more goes, in the order that the deletion of the owner asked for."""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import Any

from kubeedge.apiserver.controllers.burst import first_error, is_code, together
from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.events import Recorder
from kubeedge.apiserver.controllers.kindlist import KindList
from kubeedge.apiserver.controllers.ownergraph import FOREGROUND, ORPHAN, Graph, Owned, Verdict, decide, judge
from kubeedge.apiserver.controllers.queue import Controller
from kubeedge.apiserver.controllers.views import HasMetadata, Metadata, OwnerReference
from kubeedge.kube.api import ApiError, Kind
from kubeedge.kube.informer import EventType

log = logging.getLogger(__name__)

COMPONENT = "garbage-collector-controller"
# Owners that were seen to go, so that nobody has to ask for them; their kind may be gone as well by then.
MAX_GONE = 512


class GarbageCollector:
    """Follows every kind and deletes, orphans or holds back by owner references."""

    def __init__(self, kinds: KindList, recorder: Recorder) -> None:
        self._kinds = kinds
        self._recorder = recorder
        self._graph = Graph()
        self._gone: OrderedDict[str, None] = OrderedDict()
        self._controller: Controller[str] = Controller("garbage", self._reconcile, workers=4)
        kinds.on_change(self._changed)

    async def run(self) -> None:
        """Work until cancelled; nothing is judged before everything that there is has been read."""
        await self._kinds.synced()
        await self._controller.run()

    def _changed(self, kind: Kind, type_: EventType, new: HasMetadata, old: HasMetadata | None) -> None:
        meta = new.metadata
        if type_ == "DELETED":
            owned = self._graph.remove(meta.uid)
            dependents = self._graph.dependents(meta.uid)
            if dependents:
                self._remember_gone(meta.uid)
            for dependent in dependents:
                self._controller.enqueue(dependent.uid)
            # An owner that waits may have waited for this one.
            for owner in owned.owners if owned is not None else ():
                self._enqueue_if_waiting(owner.uid)
            return
        before = self._graph.get(meta.uid)
        former = [owner.uid for owner in before.owners] if before is not None else []
        owned = self._graph.put(kind, meta)
        if (
            owned.waits_for_dependents
            or owned.orphans_dependents
            or (
                owned.owners
                and (before is None or before.owners != owned.owners or before.is_deleting != owned.is_deleting)
            )
        ):
            self._controller.enqueue(owned.uid)
        for uid in former:
            self._enqueue_if_waiting(uid)

    def _enqueue_if_waiting(self, uid: str) -> None:
        owner = self._graph.get(uid)
        if owner is not None and owner.waits_for_dependents:
            self._controller.enqueue(uid)

    def _remember_gone(self, uid: str) -> None:
        self._gone[uid] = None
        if len(self._gone) > MAX_GONE:
            self._gone.popitem(last=False)

    async def _reconcile(self, uid: str) -> None:
        owned = self._graph.get(uid)
        if owned is None:
            return
        if owned.orphans_dependents:
            await self._orphan(owned)
            return
        if owned.waits_for_dependents:
            await self._go_in_foreground(owned)
            return
        if owned.owners and not owned.is_deleting:
            await self._check_owners(owned)

    # The three ways

    async def _orphan(self, owned: Owned) -> None:
        """Cut all dependents loose, then let the object go."""
        dependents = self._graph.dependents(owned.uid)
        outcomes = await together([self._cut(dependent, {owned.uid}) for dependent in dependents])
        error = first_error(outcomes)
        if error is not None:
            raise error
        await self._release(owned, ORPHAN)

    async def _go_in_foreground(self, owned: Owned) -> None:
        """Let the object go when nothing blocks it; until then see that its dependents go."""
        if not self._graph.blocking(owned.uid):
            await self._release(owned, FOREGROUND)
            return
        for dependent in self._graph.dependents(owned.uid):
            self._controller.enqueue(dependent.uid)

    async def _check_owners(self, owned: Owned) -> None:
        absent: set[str] = set()
        for owner in owned.owners:
            if self._graph.get(owner.uid) is None and (owner.uid in self._gone or await self._is_absent(owned, owner)):
                absent.add(owner.uid)
        # What was asked took time: judge by what is known now.
        current = self._graph.get(owned.uid)
        if current is None:
            return
        verdict: Verdict = judge(current, self._graph, lambda owner: owner.uid in absent)
        dependents = self._graph.dependents(current.uid)
        action = decide(current, verdict, dependents)
        if action.cut:
            await self._cut(current, {owner.uid for owner in action.cut})
        elif action.delete:
            if action.delete == "Foreground":
                await self._break_circle(current, dependents)
            await self._delete(current, action.delete)

    async def _is_absent(self, owned: Owned, owner: OwnerReference) -> bool:
        """Ask the API whether an owner that no watch has shown is really not there."""
        cache = self._kinds.find(owner.api_version, owner.kind)
        if cache is None:
            # A kind that isn't served: nobody can tell, so nothing is deleted for it.
            log.debug("owner of unknown kind owner=%s/%s object=%s", owner.kind, owner.name, owned.name)
            return False
        if cache.kind.namespaced and not owned.namespace:
            self._recorder.event(
                COMPONENT,
                owned.kind,
                Metadata(name=owned.name, namespace=owned.namespace, uid=owned.uid),
                "OwnerRefInvalidNamespace",
                f"ownerRef [{owner.api_version}/{owner.kind}, name: {owner.name}, uid: {owner.uid}] does not exist in "
                f'namespace "{owned.namespace}"',
                warning=True,
            )
            return False
        live = await cache.live(owned.namespace if cache.kind.namespaced else "", owner.name)
        return live is None or live.metadata.uid != owner.uid

    async def _break_circle(self, owned: Owned, dependents: list[Owned]) -> None:
        """Objects that own each other would wait for each other for ever: those that go already stop blocking."""
        for dependent in dependents:
            if dependent.waits_for_dependents:
                item = self._item(owned)
                references = [_reference(owner, blocking=False) for owner in owned.owners]
                if item is not None:
                    cache, found = item
                    await cache.patch(found, {"metadata": {"ownerReferences": references}}, exact=True)
                return

    # Writes

    def _item(self, owned: Owned) -> tuple[Cache[Any], Any] | None:
        cache = self._kinds.cache(owned.kind)
        found = cache.get(owned.namespace, owned.name) if cache is not None else None
        if cache is None or found is None or found.metadata.uid != owned.uid:
            return None
        return cache, found

    async def _cut(self, owned: Owned, uids: set[str]) -> None:
        """Take owners with these uids off an object."""
        item = self._item(owned)
        if item is None:
            return
        cache, found = item
        kept = [_reference(owner) for owner in found.metadata.owner_references if owner.uid not in uids]
        try:
            await cache.patch(found, {"metadata": {"ownerReferences": kept or None}}, exact=True)
        except ApiError as error:
            if error.code != 404:
                raise

    async def _release(self, owned: Owned, finalizer: str) -> None:
        """Take our finalizer off an object, which is what it waited for."""
        item = self._item(owned)
        if item is None:
            return
        cache, found = item
        kept = [name for name in found.metadata.finalizers if name != finalizer]
        try:
            await cache.patch(found, {"metadata": {"finalizers": kept or None}}, exact=True)
        except ApiError as error:
            if not is_code(error, 404):
                raise

    async def _delete(self, owned: Owned, policy: Any) -> None:
        item = self._item(owned)
        if item is None:
            return
        cache, found = item
        # Only in the state that was judged: somebody may just have given it a new owner.
        await cache.delete(found, propagation=policy, exact=True)


def _reference(owner: OwnerReference, *, blocking: bool | None = None) -> dict[str, Any]:
    result: dict[str, Any] = {
        "apiVersion": owner.api_version,
        "kind": owner.kind,
        "name": owner.name,
        "uid": owner.uid,
    }
    if owner.controller is not None:
        result["controller"] = owner.controller
    block = owner.block_owner_deletion if blocking is None else blocking
    if block is not None:
        result["blockOwnerDeletion"] = block
    return result
