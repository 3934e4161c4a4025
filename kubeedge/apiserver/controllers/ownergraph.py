"""Who owns whom, over all kinds; and what an object's owners mean for it. All pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kubeedge.apiserver.controllers.views import Metadata, OwnerReference
from kubeedge.kube.api import Kind

FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"


@dataclass(slots=True)
class Owned:
    """An object in the graph: where it is, who owns it, and whether its own deletion waits for something."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    owners: list[OwnerReference]
    finalizers: list[str]
    is_deleting: bool

    @property
    def waits_for_dependents(self) -> bool:
        """Whether it is deleted in the foreground: after everything that blocks it."""
        return self.is_deleting and FOREGROUND in self.finalizers

    @property
    def orphans_dependents(self) -> bool:
        """Whether it is deleted and leaves its dependents behind."""
        return self.is_deleting and ORPHAN in self.finalizers


class Graph:
    """Objects by uid, and the uids that each owner, present or not, is named by."""

    def __init__(self) -> None:
        self._objects: dict[str, Owned] = {}
        self._dependents: dict[str, set[str]] = {}

    def __len__(self) -> int:
        return len(self._objects)

    def get(self, uid: str) -> Owned | None:
        """Return an object."""
        return self._objects.get(uid)

    def put(self, kind: Kind, meta: Metadata) -> Owned:
        """Take in a new or changed object."""
        self.remove(meta.uid)
        owned = Owned(
            kind,
            meta.namespace,
            meta.name,
            meta.uid,
            meta.owner_references,
            meta.finalizers,
            meta.is_deleting,
        )
        self._objects[meta.uid] = owned
        for owner in owned.owners:
            self._dependents.setdefault(owner.uid, set()).add(meta.uid)
        return owned

    def remove(self, uid: str) -> Owned | None:
        """Take out an object; its dependents keep naming it."""
        owned = self._objects.pop(uid, None)
        if owned is not None:
            for owner in owned.owners:
                named = self._dependents.get(owner.uid)
                if named is not None:
                    named.discard(uid)
                    if not named:
                        del self._dependents[owner.uid]
        return owned

    def dependents(self, uid: str) -> list[Owned]:
        """Return the objects that name uid as an owner."""
        return [self._objects[dependent] for dependent in self._dependents.get(uid, ())]

    def blocking(self, uid: str) -> list[Owned]:
        """Return the dependents that a foreground deletion of uid has to wait for."""
        return [
            dependent
            for dependent in self.dependents(uid)
            if any(owner.uid == uid and owner.block_owner_deletion for owner in dependent.owners)
        ]


class Verdict(NamedTuple):
    """What the owners of an object say: how many hold it, which are gone, which wait for it to go."""

    solid: list[OwnerReference]
    dangling: list[OwnerReference]
    waiting: list[OwnerReference]


def judge(owned: Owned, graph: Graph, is_absent: Callable[[OwnerReference], bool]) -> Verdict:
    """Sort the owners of an object; is_absent decides about those that are not in the graph."""
    verdict = Verdict([], [], [])
    for owner in owned.owners:
        present = graph.get(owner.uid)
        if present is None:
            (verdict.dangling if is_absent(owner) else verdict.solid).append(owner)
        elif present.waits_for_dependents:
            verdict.waiting.append(owner)
        else:
            verdict.solid.append(owner)
    return verdict


@dataclass(slots=True)
class Action:
    """What to do with an object: cut the ties to owners in `cut`, or delete it with a propagation policy."""

    cut: list[OwnerReference] = field(default_factory=list)
    delete: str = ""


def decide(owned: Owned, verdict: Verdict, dependents: Sequence[Owned]) -> Action:
    """Return what an object's owners mean for it.

    One owner that holds it is enough to keep it. Where all that is left waits for it to go, it goes the same way if it
    has dependents of its own. Otherwise it goes, with the policy that its finalizers already ask for.
    """
    if not owned.owners or owned.is_deleting:
        return Action()
    if verdict.solid:
        return Action(cut=[*verdict.dangling, *verdict.waiting])
    if verdict.waiting and dependents:
        return Action(delete="Foreground")
    if ORPHAN in owned.finalizers:
        return Action(delete="Orphan")
    return Action(delete="Foreground" if FOREGROUND in owned.finalizers else "Background")
