"""Deletion: grace of pods, preconditions, finalizers, propagation; one object or all that selectors let through."""

from __future__ import annotations

from typing import Any, NamedTuple

import orjson

from kubeedge.apiserver import status
from kubeedge.apiserver.admission import Admission
from kubeedge.apiserver.body import parse
from kubeedge.apiserver.kinds.spec import KindSpec
from kubeedge.apiserver.reading import Reader, resource_of
from kubeedge.apiserver.representation import Answer, Page
from kubeedge.apiserver.request import ListOptions, Query, dry_run_asked
from kubeedge.apiserver.revision import Stored
from kubeedge.apiserver.status import Cause
from kubeedge.apiserver.storage import Storage, Transaction
from kubeedge.apiserver.writing import Sent
from kubeedge.kube.api import ApiError
from kubeedge.kube.instants import timestamp, unix_time

Document = dict[str, Any]

_POLICIES = ("Foreground", "Background", "Orphan")
_FOREGROUND = "foregroundDeletion"
_ORPHAN = "orphan"
CRD_CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
_DEFAULT_GRACE_S = 30
# Kinds whose deletion is answered with the object although it is gone already; all others with a Status.
_ANSWERED_WITH_OBJECT = {
    "limitranges",
    "persistentvolumeclaims",
    "persistentvolumes",
    "pods",
    "podtemplates",
    "resourcequotas",
    "serviceaccounts",
    "services",
}


class DeleteOptions(NamedTuple):
    """How an object is to be deleted; grace None is what the object itself asks for."""

    grace_s: int | None = None
    policy: str = ""
    uid: str = ""
    resource_version: str = ""
    dry_run: bool = False


def delete_options(sent: Sent, query: Query) -> DeleteOptions:
    """Read the options from the body, or from the query where there is none. Raises ApiError 400 or 422."""
    body: Any = {}
    if sent.body.strip():
        try:
            body = parse(sent.body, sent.content_type)
        except ValueError as error:
            raise status.bad_request(f"couldn't get version/kind; json parse error: {error}") from None
        if not isinstance(body, dict):
            raise status.bad_request("DeleteOptions is no object")
    causes: list[Cause] = []
    preconditions = body.get("preconditions") or {}
    policy = body.get("propagationPolicy") or query.text("propagationPolicy")
    orphan = body.get("orphanDependents")
    if orphan is None and query.has("orphanDependents"):
        orphan = query.flag("orphanDependents")
    if policy and policy not in _POLICIES:
        supported = ", ".join(f'"{known}"' for known in (*_POLICIES, "nil"))
        message = f'Unsupported value: "{policy}": supported values: {supported}'
        causes.append(Cause("FieldValueNotSupported", message, "propagationPolicy"))
    if orphan is not None and not policy:
        policy = "Orphan" if orphan else "Background"
    dry_run = dry_run_asked(body.get("dryRun") or query.all("dryRun"), causes)
    if causes:
        raise status.invalid_options("DeleteOptions", causes)
    grace = body.get("gracePeriodSeconds")
    if grace is None:
        grace = query.number("gracePeriodSeconds")
    if grace is not None and not isinstance(grace, int):
        raise status.bad_request("gracePeriodSeconds is no number")
    return DeleteOptions(
        grace, policy, preconditions.get("uid") or "", preconditions.get("resourceVersion") or "", dry_run
    )


class Deleter:
    """Marks objects for deletion and removes them when nothing waits any more."""

    def __init__(self, storage: Storage, reader: Reader, admission: Admission) -> None:
        self._storage = storage
        self._reader = reader
        self._admission = admission

    async def delete(self, spec: KindSpec, namespace: str, name: str, options: DeleteOptions) -> Answer:
        """Delete one object; the answer is the object while it stays, else what is usual for its kind."""
        self._admission.on_delete(spec.kind, name)

        def work(transaction: Transaction) -> Answer:
            return self.apply(transaction, spec, namespace, name, options)

        return await self._storage.write(work)

    async def delete_collection(
        self, spec: KindSpec, namespace: str, selected: ListOptions, options: DeleteOptions
    ) -> Page:
        """Delete every object that the selectors let through; returns them as they were."""
        page = await self._reader.list(spec, namespace, selected)
        for stored in page.items:
            this = options._replace(uid=stored.uid)

            def work(transaction: Transaction, stored: Stored = stored, this: DeleteOptions = this) -> None:
                try:
                    self.apply(transaction, spec, stored.namespace, stored.name, this)
                except ApiError as error:
                    # Somebody else was faster.
                    if error.code not in (404, 409):
                        raise

            await self._storage.write(work)
        return page

    def apply(
        self, transaction: Transaction, spec: KindSpec, namespace: str, name: str, options: DeleteOptions
    ) -> Answer:
        """Do what delete() does, as a part of a transaction."""
        resource = resource_of(spec)
        current = transaction.get(resource, namespace, name)
        if current is None:
            raise status.not_found(spec.kind, name)
        _check_preconditions(spec, current, options)
        document = current.document()
        metadata = document["metadata"]
        before = orjson.dumps(document)
        _set_propagation(metadata, options.policy)
        grace = _grace(spec, document, options)
        now = transaction.now_s
        is_waiting = self._mark(spec, document, grace, now)
        if options.dry_run:
            return Answer(200, spec, _shown(current, document)) if is_waiting else self._gone(spec, current, document)
        if is_waiting:
            if orjson.dumps(document) == before:
                return Answer(200, spec, current)
            return Answer(200, spec, transaction.put(resource, document))
        return self._gone(spec, transaction.delete(resource, document), document)

    @staticmethod
    def _gone(spec: KindSpec, stored: Stored, document: Document) -> Answer:
        kind = spec.kind
        if not kind.group and kind.plural in _ANSWERED_WITH_OBJECT:
            return Answer(200, spec, _shown(stored, document))
        details: Document = {"name": stored.name}
        if kind.group:
            details["group"] = kind.group
        return Answer(200, None, None, status.success(details | {"kind": kind.plural, "uid": stored.uid}))

    @staticmethod
    def _mark(spec: KindSpec, document: Document, grace: int | None, now: float) -> bool:
        """Set the marks of a deletion; tell whether the object has to stay for a while."""
        metadata = document["metadata"]
        kind = (spec.kind.group, spec.kind.plural)
        if kind == ("", "namespaces"):
            finalizers = (document.get("spec") or {}).get("finalizers")
            if not finalizers and not metadata.get("finalizers"):
                return False
            metadata.setdefault("deletionTimestamp", timestamp(now))
            document.setdefault("status", {})["phase"] = "Terminating"
            return True
        if kind == ("apiextensions.k8s.io", "customresourcedefinitions"):
            if "deletionTimestamp" not in metadata:
                _mark_definition(document, timestamp(now))
            return bool(metadata.get("finalizers"))
        if kind == ("", "pods"):
            return _mark_pod(metadata, grace or 0, now)
        if not metadata.get("finalizers"):
            return False
        if "deletionTimestamp" not in metadata:
            _first_mark(metadata, 0, now)
        return True


def _mark_definition(document: Document, now: str) -> None:
    """A definition stays until its objects are gone (apiserver.definitions)."""
    metadata = document["metadata"]
    metadata["deletionTimestamp"] = now
    metadata.setdefault("finalizers", []).append(CRD_CLEANUP)
    condition = {
        "type": "Terminating",
        "status": "True",
        "lastTransitionTime": now,
        "reason": "InstanceDeletionPending",
        "message": "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
    }
    status_ = document.setdefault("status", {})
    status_["conditions"] = [*(status_.get("conditions") or ()), condition]


def _first_mark(metadata: Document, grace: int, now: float) -> None:
    metadata["deletionTimestamp"] = timestamp(now + grace)
    metadata["deletionGracePeriodSeconds"] = grace
    if metadata.get("generation"):
        metadata["generation"] += 1


def _mark_pod(metadata: Document, grace: int, now: float) -> bool:
    if "deletionTimestamp" not in metadata:
        _first_mark(metadata, grace, now)
    else:
        old = metadata.get("deletionGracePeriodSeconds") or 0
        if grace < old:
            # Counted from the same begin as before.
            end = unix_time(metadata["deletionTimestamp"], now) - old + grace
            metadata["deletionTimestamp"] = timestamp(end)
            metadata["deletionGracePeriodSeconds"] = grace
    return bool(metadata["deletionGracePeriodSeconds"] or metadata.get("finalizers"))


def _grace(spec: KindSpec, document: Document, options: DeleteOptions) -> int | None:
    if (spec.kind.group, spec.kind.plural) != ("", "pods"):
        return None
    pod = document.get("spec") or {}
    metadata = document["metadata"]
    if options.grace_s is not None:
        grace = options.grace_s
    elif "deletionTimestamp" in metadata:
        return metadata.get("deletionGracePeriodSeconds") or 0
    else:
        grace = pod.get("terminationGracePeriodSeconds", _DEFAULT_GRACE_S)
    if grace < 0:
        grace = 1
    phase = (document.get("status") or {}).get("phase")
    # Nobody would confirm the end of a pod that is on no node, or that has ended.
    return 0 if not pod.get("nodeName") or phase in ("Failed", "Succeeded") else grace


def _set_propagation(metadata: Document, policy: str) -> None:
    """Keep in finalizers what the garbage collector has to do before the object may go."""
    finalizers = list(metadata.get("finalizers") or ())
    if not policy or "deletionTimestamp" in metadata:
        return
    wanted = {"Foreground": _FOREGROUND, "Orphan": _ORPHAN}.get(policy)
    kept = [finalizer for finalizer in finalizers if finalizer not in (_FOREGROUND, _ORPHAN) or finalizer == wanted]
    if wanted is not None and wanted not in kept:
        kept.append(wanted)
    if kept:
        metadata["finalizers"] = kept
    else:
        metadata.pop("finalizers", None)


def _check_preconditions(spec: KindSpec, current: Stored, options: DeleteOptions) -> None:
    why = ""
    if options.uid and options.uid != current.uid:
        why = (
            f"the UID in the precondition ({options.uid}) does not match the UID in record ({current.uid}). The object "
            "might have been deleted and then recreated"
        )
    elif options.resource_version and options.resource_version != str(current.rv):
        why = (
            f"the ResourceVersion in the precondition ({options.resource_version}) does not match the ResourceVersion "
            f"in record ({current.rv}). The object might have been modified"
        )
    if not why:
        return
    kind = spec.kind
    name = f"{kind.kind}.{kind.group}" if kind.group else kind.kind
    details = {"name": current.name} | ({"group": kind.group} if kind.group else {}) | {"kind": kind.kind}
    message = f'Operation cannot be fulfilled on {name} "{current.name}": {why}'
    raise status.status(409, "Conflict", message, details)


def _shown(stored: Stored, document: Document) -> Stored:
    """The object as marked, whether or not that was stored."""
    return Stored(stored.namespace, stored.name, stored.uid, stored.rv, orjson.dumps(document), stored.labels)
