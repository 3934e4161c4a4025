"""CustomResourceDefinitions at run time: accept their names, serve their kinds, clean up after them."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from dataclasses import replace
from typing import Any

from kubeedge import metrics
from kubeedge.apiserver import crd
from kubeedge.apiserver.deleting import CRD_CLEANUP, DeleteOptions, Deleter
from kubeedge.apiserver.kinds.registry import Registry
from kubeedge.apiserver.request import ListOptions
from kubeedge.apiserver.revision import Change, Stored
from kubeedge.apiserver.storage import Storage, Transaction
from kubeedge.kube.api import ApiError
from kubeedge.kube.instants import timestamp
from kubeedge.store.database import StoreError

log = logging.getLogger(__name__)

Document = dict[str, Any]

RESOURCE = "customresourcedefinitions.apiextensions.k8s.io"
# How often it is looked whether the objects of a deleted definition are gone.
_CLEANUP_INTERVAL_S = 1.0

_failures = metrics.Counter("kubeedge_apiserver_definition_failures_total", "Definitions that could not be worked on")


class Definitions:
    """Keeps the registry and the definitions' statuses in step with the definitions stored."""

    def __init__(self, storage: Storage, registry: Registry, deleter: Deleter) -> None:
        self._storage = storage
        self._registry = registry
        self._deleter = deleter
        self._served: dict[str, list[tuple[str, str, str]]] = {}
        self._queue: deque[str] = deque()
        self._wake = asyncio.Event()

    def start(self) -> None:
        """Serve what is stored and follow what comes."""
        for stored in self._storage.snapshot(RESOURCE).range():
            self._update(stored)
        self._storage.subscribe(RESOURCE, self)

    def offer(self, change: Change) -> None:
        """Take a change of a definition: its kinds are served from this moment."""
        if change.type == "DELETED":
            self._withdraw(change.object.name)
        else:
            self._update(change.object)

    def _update(self, stored: Stored) -> None:
        definition = stored.document()
        self._withdraw(stored.name)
        if _is_true(definition, "Established"):
            try:
                self._serve(stored.name, definition)
            except Exception:
                # A schema that got past validation and cannot be worked with: all other kinds are served.
                _failures.inc()
                log.exception("definition cannot be served name=%s", stored.name)
        self._enqueue(stored.name)

    def _serve(self, name: str, definition: Document) -> None:
        served = self._served[name] = []
        is_terminating = "deletionTimestamp" in definition["metadata"]
        for spec in crd.specs(definition):
            if is_terminating:
                # What is there can be seen and removed, nothing comes any more.
                spec = replace(spec, verbs=tuple(verb for verb in spec.verbs if verb != "create"))
            self._registry.add(spec)
            served.append((spec.kind.group, spec.kind.version, spec.kind.plural))

    def _withdraw(self, name: str) -> None:
        for group, version, plural in self._served.pop(name, ()):
            self._registry.remove(group, version, plural)

    def _enqueue(self, name: str) -> None:
        if name not in self._queue:
            self._queue.append(name)
        self._wake.set()

    async def run(self) -> None:
        """Write statuses and clean up until cancelled."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._queue:
                    name = self._queue.popleft()
                    try:
                        is_settled = await self._settle(name)
                    except (ApiError, StoreError) as error:
                        _failures.inc()
                        log.error("definition not settled name=%s reason=%s", name, error)
                        is_settled = False
                    except Exception:
                        _failures.inc()
                        log.exception("definition cannot be settled name=%s", name)
                        is_settled = True
                    if not is_settled:
                        loop.call_later(_CLEANUP_INTERVAL_S, self._enqueue, name)
        finally:
            self._storage.unsubscribe(RESOURCE, self)

    async def _settle(self, name: str) -> bool:
        """Do what a definition needs; tell whether that was all."""
        stored = self._storage.get(RESOURCE, "", name)
        if stored is None:
            return True
        definition = stored.document()
        if "deletionTimestamp" in definition["metadata"]:
            return await self._clean_up(name, definition)
        conflict = self._conflict(name, definition)

        def work(transaction: Transaction) -> None:
            newest = transaction.get(RESOURCE, "", name)
            if newest is None:
                return
            document = newest.document()
            _accept(document, conflict, timestamp(transaction.now_s))
            if document != newest.document():
                transaction.put(RESOURCE, document)

        await self._storage.write(work)
        return True

    def _conflict(self, name: str, definition: Document) -> str:
        """Say which name of the definition another one of its group has."""
        spec = definition["spec"]
        wanted = spec["names"]
        mine = {wanted["kind"], wanted.get("listKind"), wanted.get("singular"), *(wanted.get("shortNames") or ())}
        for other in self._storage.snapshot(RESOURCE).range():
            if other.name == name:
                continue
            document = other.document()
            if document["spec"]["group"] != spec["group"] or not _is_true(document, "NamesAccepted"):
                continue
            taken = document["spec"]["names"]
            theirs = {taken["kind"], taken.get("listKind"), taken.get("singular"), *(taken.get("shortNames") or ())}
            for both in sorted((mine & theirs) - {None, ""}):
                return f'"{both}" is already in use'
        return ""

    async def _clean_up(self, name: str, definition: Document) -> bool:
        if CRD_CLEANUP not in definition["metadata"].get("finalizers", ()):
            return True
        specs = crd.specs(definition)
        if specs:
            await self._deleter.delete_collection(specs[0], "", ListOptions(), DeleteOptions())
            resource = f"{specs[0].kind.plural}.{specs[0].kind.group}"
            if self._storage.snapshot(resource).count():
                return False

        def work(transaction: Transaction) -> None:
            newest = transaction.get(RESOURCE, "", name)
            if newest is None:
                return
            document = newest.document()
            metadata = document["metadata"]
            metadata["finalizers"] = [f for f in metadata.get("finalizers", ()) if f != CRD_CLEANUP]
            if metadata["finalizers"]:
                transaction.put(RESOURCE, document)
            else:
                del metadata["finalizers"]
                transaction.delete(RESOURCE, document)

        await self._storage.write(work)
        return True


def _is_true(definition: Document, condition: str) -> bool:
    conditions = (definition.get("status") or {}).get("conditions") or ()
    return any(one["type"] == condition and one["status"] == "True" for one in conditions)


def _accept(definition: Document, conflict: str, now: str) -> None:
    """Set the conditions, accepted names and stored versions of a definition."""
    status = definition.setdefault("status", {})
    was_established = _is_true(definition, "Established")
    if conflict:
        _condition(status, "NamesAccepted", "False", "NameConflict", conflict, now)
        if not was_established:
            _condition(status, "Established", "False", "NotAccepted", "not all names are accepted", now)
        status.setdefault("acceptedNames", {"plural": "", "kind": ""})
    else:
        _condition(status, "NamesAccepted", "True", "NoConflicts", "no conflicts found", now)
        why = "the initial names have been accepted"
        _condition(status, "Established", "True", "InitialNamesAccepted", why, now)
        status["acceptedNames"] = definition["spec"]["names"]
    stored = status.setdefault("storedVersions", [])
    for version in definition["spec"]["versions"]:
        if version.get("storage") and version["name"] not in stored:
            stored.append(version["name"])


def _condition(status: Document, type_: str, value: str, reason: str, message: str, now: str) -> None:
    conditions = status["conditions"] = list(status.get("conditions") or ())
    for condition in conditions:
        if condition["type"] == type_:
            if condition["status"] != value:
                condition["lastTransitionTime"] = now
            condition.update(status=value, reason=reason, message=message)
            return
    conditions.append({"type": type_, "status": value, "lastTransitionTime": now, "reason": reason, "message": message})
