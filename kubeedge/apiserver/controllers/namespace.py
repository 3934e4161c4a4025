"""Namespaces: a deleted one is emptied, and then let go."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import orjson

from kubeedge.apiserver.controllers.burst import first_error, is_code, together
from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.kindlist import KindList
from kubeedge.apiserver.controllers.queue import Controller
from kubeedge.apiserver.controllers.views import Condition, HasMetadata, Meta, Namespace, condition
from kubeedge.kube.api import ApiError, Kind, KubeApi
from kubeedge.kube.instants import timestamp
from kubeedge.kube.kinds import EVENT, NAMESPACE

log = logging.getLogger(__name__)

FINALIZER = "kubernetes"
# Deletions in a namespace come in bursts; the namespace is looked at again when one is over.
SETTLE_S = 0.2
# What ends without an event that is seen here is found by looking again.
LOOK_AGAIN_S = 15.0

_decode = msgspec.json.Decoder(Meta).decode


def resource_name(kind: Kind) -> str:
    """Return `configmaps.` or `deployments.apps`, as conditions of namespaces have it."""
    return f"{kind.plural}.{kind.group}"


def conditions_of(
    remaining: Mapping[Kind, int], finalizers: Mapping[str, int], failures: list[str], now_s: float
) -> list[Condition]:
    """Return what a terminating namespace says: objects that remain by kind and by finalizer, refused deletions."""
    at = timestamp(now_s)

    def say(type_: str, holds: bool, yes: tuple[str, str], no: tuple[str, str]) -> Condition:
        reason, message = yes if holds else no
        return Condition(type_, "True" if holds else "False", last_transition_time=at, reason=reason, message=message)

    counts = ", ".join(
        sorted(f"{resource_name(kind)} has {count} resource instances" for kind, count in remaining.items())
    )
    waiting = ", ".join(sorted(f"{name} in {count} resource instances" for name, count in finalizers.items()))
    return [
        say(
            "NamespaceDeletionDiscoveryFailure",
            False,
            ("DiscoveryFailed", ""),
            ("ResourcesDiscovered", "All resources successfully discovered"),
        ),
        say(
            "NamespaceDeletionGroupVersionParsingFailure",
            False,
            ("GroupVersionParsingFailed", ""),
            ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
        ),
        say(
            "NamespaceDeletionContentFailure",
            bool(failures),
            (
                "ContentDeletionFailed",
                f"Failed to delete all resource types, {len(failures)} remaining: {', '.join(failures)}",
            ),
            ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
        ),
        say(
            "NamespaceContentRemaining",
            bool(remaining),
            ("SomeResourcesRemain", f"Some resources are remaining: {counts}"),
            ("ContentRemoved", "All content successfully removed"),
        ),
        say(
            "NamespaceFinalizersRemaining",
            bool(finalizers),
            ("SomeFinalizersRemain", f"Some content in the namespace has finalizers remaining: {waiting}"),
            ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
        ),
    ]


def merged(old: list[Condition], new: list[Condition]) -> list[Condition]:
    """Return new with the transition times of old where the status is the same."""
    for found in new:
        before = condition(old, found.type)
        if before is not None and before.status == found.status:
            found.last_transition_time = before.last_transition_time
    return new


class Namespaces:
    """Empties terminating namespaces."""

    def __init__(
        self,
        api: KubeApi,
        namespaces: Cache[Namespace],
        kinds: KindList,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._api = api
        self._namespaces = namespaces
        self._kinds = kinds
        self._clock = clock
        self._controller: Controller[str] = Controller("namespace", self._reconcile, workers=2)
        namespaces.on_change(self._namespace_changed)
        kinds.on_change(self._object_changed)

    async def run(self) -> None:
        """Work until cancelled."""
        await self._controller.run()

    def _namespace_changed(self, type_: str, new: Namespace, old: Namespace | None) -> None:
        if type_ != "DELETED" and new.metadata.is_deleting:
            self._controller.enqueue(new.metadata.name)

    def _object_changed(self, kind: Kind, type_: str, new: HasMetadata, old: HasMetadata | None) -> None:
        """Look again when the last of a terminating namespace's objects may have gone."""
        if type_ == "DELETED" and new.metadata.namespace:
            namespace = self._namespaces.get("", new.metadata.namespace)
            if namespace is not None and namespace.metadata.is_deleting:
                self._controller.enqueue(namespace.metadata.name, SETTLE_S)

    async def _reconcile(self, name: str) -> float | None:
        namespace = self._namespaces.get("", name)
        if namespace is None or not namespace.metadata.is_deleting or FINALIZER not in namespace.spec.finalizers:
            return None
        remaining: dict[Kind, int] = {}
        finalizers: Counter[str] = Counter()
        failures: list[str] = []
        for kind in (*self._kinds.namespaced(), EVENT):
            try:
                left = await self._empty(name, kind)
            except ApiError as error:
                if error.code not in (404, 405):
                    failures.append(f"{resource_name(kind)}: {error.message}")
                continue
            if left:
                remaining[kind] = len(left)
                finalizers.update(finalizer for item in left for finalizer in item.metadata.finalizers)
        if not remaining and not failures:
            await self._finalize(namespace)
            return None
        conditions = merged(namespace.status.conditions, conditions_of(remaining, finalizers, failures, self._clock()))
        if conditions != namespace.status.conditions:
            patch = {"status": {"conditions": msgspec.to_builtins(conditions)}}
            await self._namespaces.patch(namespace, patch, subresource="status")
        return LOOK_AGAIN_S

    async def _empty(self, namespace: str, kind: Kind) -> list[Meta]:
        """Delete every object of a kind in the namespace; return those that are still there afterwards."""
        items = await self._list(namespace, kind)
        if not items:
            return []
        living = [item for item in items if not item.metadata.is_deleting]
        outcomes = await together([self._delete(kind, item) for item in living])
        error = first_error([o for o in outcomes if not (isinstance(o, ApiError) and is_code(o, 404, 409))])
        if error is not None:
            raise error
        return await self._list(namespace, kind) if living else items

    async def _list(self, namespace: str, kind: Kind) -> list[Meta]:
        page = await self._api.list(kind, namespace)
        return [_decode(raw) for raw in page.items]

    async def _delete(self, kind: Kind, item: Meta) -> bytes:
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": item.metadata.uid},
        }
        meta = item.metadata
        return await self._api.delete(kind, meta.namespace, meta.name, body=orjson.dumps(options))

    async def _finalize(self, namespace: Namespace) -> None:
        """Take our finalizer away; without any left the API removes the namespace."""
        meta = namespace.metadata
        body: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": meta.name, "uid": meta.uid, "resourceVersion": meta.resource_version},
            "spec": {"finalizers": [found for found in namespace.spec.finalizers if found != FINALIZER]},
        }
        try:
            await self._api.update(NAMESPACE, "", meta.name, orjson.dumps(body), subresource="finalize")
        except ApiError as error:
            if error.code != 404:
                raise
        log.info("namespace emptied namespace=%s", meta.name)
