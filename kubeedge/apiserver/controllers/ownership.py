"""Who manages what: a workload keeps what it controls and selects, adopts orphans and lets go of the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.selection import is_empty, matches
from kubeedge.apiserver.controllers.views import HasMetadata, LabelSelector, Metadata
from kubeedge.kube.api import STRATEGIC_MERGE_PATCH, ApiError, Kind

T = TypeVar("T", bound=HasMetadata)

CONTROLLER_INDEX = "controller"


def by_controller(item: HasMetadata) -> Iterable[str]:
    """Index objects by the uid of their controller, and those without one by `orphan/<namespace>`."""
    owner = item.metadata.controller
    return (owner.uid if owner is not None else f"orphan/{item.metadata.namespace}",)


def reference(kind: Kind, owner: Metadata) -> dict[str, Any]:
    """Return the ownerReference by which owner controls an object."""
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "name": owner.name,
        "uid": owner.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


@dataclass(slots=True)
class Claim(Generic[T]):
    """What a workload does about the objects that could be its own."""

    keep: list[T]
    adopt: list[T]
    release: list[T]


def claim(
    owner: Metadata,
    selector: LabelSelector,
    items: Iterable[T],
    may_adopt: Callable[[T], bool] = lambda item: True,
) -> Claim[T]:
    """Decide over items: controlled by owner or by nobody.

    Objects that are being deleted are kept but neither adopted nor released; an owner that is being deleted takes
    nothing and lets nothing go.
    """
    result: Claim[T] = Claim([], [], [])
    if is_empty(selector):
        return result
    for item in items:
        meta = item.metadata
        controller = meta.controller
        fits = matches(selector, meta.labels)
        if controller is not None and controller.uid == owner.uid:
            if fits:
                result.keep.append(item)
            elif not owner.is_deleting and not meta.is_deleting:
                result.release.append(item)
        elif controller is None and fits and not owner.is_deleting and not meta.is_deleting and may_adopt(item):
            result.adopt.append(item)
    return result


async def claimed(
    kind: Kind,
    owners: Cache[Any],
    owner: Metadata,
    selector: LabelSelector,
    cache: Cache[T],
    may_adopt: Callable[[T], bool] = lambda item: True,
) -> list[T]:
    """Carry out the claim of owner on the objects of cache and return what is its own now.

    kind is that of the owner, owners its cache: before the first adoption the API is asked whether the owner still
    lives, since an orphan of a deleted owner must stay one.
    """
    candidates = cache.by(CONTROLLER_INDEX, owner.uid) + cache.by(CONTROLLER_INDEX, f"orphan/{owner.namespace}")
    decision = claim(owner, selector, candidates, may_adopt)
    mine = decision.keep
    if decision.adopt:
        live = await owners.live(owner.namespace, owner.name)
        if live is not None and live.metadata.uid == owner.uid and not live.metadata.is_deleting:
            patch = {"metadata": {"ownerReferences": [reference(kind, owner)]}}
            for item in decision.adopt:
                try:
                    mine.append(await cache.patch(item, patch, patch_type=STRATEGIC_MERGE_PATCH))
                except ApiError as error:
                    if error.code != 404:
                        raise
    for item in decision.release:
        patch = {"metadata": {"ownerReferences": [{"$patch": "delete", "uid": owner.uid}]}}
        try:
            await cache.patch(item, patch, patch_type=STRATEGIC_MERGE_PATCH)
        except ApiError as error:
            # Gone, or without the reference already.
            if error.code not in (404, 422):
                raise
    return mine
