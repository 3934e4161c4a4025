"""Subresources that are more than a part of their object: scale, binding, eviction, tokens, approval, finalize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubeedge.apiserver import status
from kubeedge.apiserver.authentication import User
from kubeedge.apiserver.body import parse, read_object
from kubeedge.apiserver.deleting import DeleteOptions, Deleter
from kubeedge.apiserver.kinds.registry import Registry
from kubeedge.apiserver.kinds.spec import KindSpec
from kubeedge.apiserver.reading import Reader, resource_of
from kubeedge.apiserver.representation import Answer
from kubeedge.apiserver.request import WriteOptions
from kubeedge.apiserver.revision import Stored
from kubeedge.apiserver.selectors import from_object
from kubeedge.apiserver.status import Cause
from kubeedge.apiserver.storage import Storage, Transaction
from kubeedge.apiserver.tokens import AUDIENCE, Bound, Tokens
from kubeedge.apiserver.writing import Sent, Writer
from kubeedge.kube.api import Kind
from kubeedge.kube.instants import timestamp

Document = dict[str, Any]

_SCALE = Kind("autoscaling", "v1", "scales", "Scale", True)
_TOKEN_REQUEST = Kind("authentication.k8s.io", "v1", "tokenrequests", "TokenRequest", True)
_BINDINGS = Kind("", "v1", "bindings", "Binding", True)
_BINDING = Kind("", "v1", "pods/binding", "Binding", True)
_SUCCESS = {**status.success(), "code": 201}

MIN_TOKEN_S = 600
MAX_TOKEN_S = 1 << 32
DEFAULT_TOKEN_S = 3600


class Subresources:
    """Answers calls on subresources; a plain `status` is the Writer's."""

    def __init__(
        self,
        storage: Storage,
        registry: Registry,
        reader: Reader,
        writer: Writer,
        deleter: Deleter,
        tokens: Tokens | None,
    ) -> None:
        """Without tokens none are issued."""
        self._storage = storage
        self._registry = registry
        self._reader = reader
        self._writer = writer
        self._deleter = deleter
        self._tokens = tokens

    # Scale

    def get_scale(self, spec: KindSpec, namespace: str, name: str) -> Answer:
        """Show an object as a Scale."""
        stored = self._reader.stored(spec, namespace, name)
        return Answer(200, None, None, self._scale(spec, stored.document()))

    def _scale(self, spec: KindSpec, document: Document) -> Document:
        wanted, there, selector_path = spec.scale_paths
        kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
        metadata = {field: document["metadata"][field] for field in kept if field in document["metadata"]}
        shown: Document = {"replicas": _at(document, there) or 0}
        selector = _at(document, selector_path) if selector_path else None
        if isinstance(selector, dict):
            selector = str(from_object(selector))
        if selector:
            shown["selector"] = selector
        return {
            "kind": "Scale",
            "apiVersion": "autoscaling/v1",
            "metadata": metadata,
            "spec": {"replicas": _at(document, wanted)} if _at(document, wanted) else {},
            "status": shown,
        }

    async def set_scale(
        self, spec: KindSpec, namespace: str, name: str, sent: Sent, options: WriteOptions, *, patch: bool
    ) -> Answer:
        """Change the number of replicas wanted."""
        apply = self._writer.patcher(_SCALE_SPEC, sent) if patch else None
        replacement: Document = {}
        if apply is None:
            replacement = _read(sent)

        def change(old: Document) -> Document:
            scale = self._scale(spec, old)
            new = apply(scale) if apply is not None else replacement
            metadata = new.get("metadata") or {}
            if metadata.get("name", name) != name:
                raise status.bad_request(
                    f"the name of the object ({metadata['name']}) does not match the name on the URL ({name})"
                )
            if metadata.get("resourceVersion") not in (None, "", old["metadata"]["resourceVersion"]):
                raise status.conflict(spec.kind, name)
            replicas = (new.get("spec") or {}).get("replicas", 0)
            if not isinstance(replicas, int) or isinstance(replicas, bool):
                raise status.bad_request("spec.replicas is no whole number")
            if replicas < 0:
                why = f"Invalid value: {replicas}: must be greater than or equal to 0"
                raise status.invalid(_SCALE, name, [Cause("FieldValueInvalid", why, "spec.replicas")])
            _put(old, spec.scale_paths[0], replicas)
            return old

        answer = await self._writer.change(spec, namespace, name, change, options)
        assert answer.object is not None
        return Answer(200, None, None, self._scale(spec, answer.object.document()))

    # Binding

    async def bind(self, spec: KindSpec, namespace: str, name: str, sent: Sent, options: WriteOptions) -> Answer:
        """Assign a pod to a node."""
        binding = _read(sent)
        target = (binding.get("target") or {}).get("name") or ""
        given = (binding.get("metadata") or {}).get("name") or name
        if given != name:
            raise status.bad_request("name in URL does not match name in Binding object")
        if not target:
            cause = Cause("FieldValueRequired", "Required value", "target.name")
            raise status.invalid(_BINDINGS, name, [cause])

        def work(transaction: Transaction) -> None:
            self._bind(transaction, spec, namespace, name, binding, target, options)

        await self._storage.write(work)
        return Answer(201, None, None, dict(_SUCCESS))

    @staticmethod
    def _bind(
        transaction: Transaction,
        spec: KindSpec,
        namespace: str,
        name: str,
        binding: Document,
        target: str,
        options: WriteOptions,
    ) -> None:
        stored = transaction.get("pods", namespace, name)
        if stored is None:
            raise status.not_found(spec.kind, name)
        pod = stored.document()
        metadata, pod_spec = pod["metadata"], pod["spec"]
        why = ""
        uid = (binding.get("metadata") or {}).get("uid")
        if uid and uid != stored.uid:
            why = f"Precondition failed: UID in precondition: {uid}, UID in object meta: {stored.uid}"
        elif "deletionTimestamp" in metadata:
            why = f"pod {name} is being deleted, cannot be assigned to a host"
        elif pod_spec.get("nodeName"):
            why = f'pod {name} is already assigned to node "{pod_spec["nodeName"]}"'
        if why:
            raise status.conflict(_BINDING, name, why)
        pod_spec["nodeName"] = target
        annotations = (binding.get("metadata") or {}).get("annotations")
        if annotations:
            metadata.setdefault("annotations", {}).update(annotations)
        scheduled = {
            "type": "PodScheduled",
            "status": "True",
            "lastProbeTime": None,
            "lastTransitionTime": timestamp(transaction.now_s),
        }
        pod_status = pod.setdefault("status", {})
        others = [c for c in pod_status.get("conditions") or () if c.get("type") != "PodScheduled"]
        pod_status["conditions"] = [*others, scheduled]
        if not options.dry_run:
            transaction.put("pods", pod)

    # Eviction

    async def evict(self, spec: KindSpec, namespace: str, name: str, sent: Sent, options: WriteOptions) -> Answer:
        """Delete a pod on behalf of somebody who empties a node."""
        wish = _read(sent).get("deleteOptions") or {}
        preconditions = wish.get("preconditions") or {}
        await self._deleter.delete(
            spec,
            namespace,
            name,
            DeleteOptions(
                grace_s=wish.get("gracePeriodSeconds"),
                policy=wish.get("propagationPolicy") or "",
                uid=preconditions.get("uid") or "",
                resource_version=preconditions.get("resourceVersion") or "",
                dry_run=options.dry_run or bool(wish.get("dryRun")),
            ),
        )
        return Answer(201, None, None, dict(_SUCCESS))

    # Tokens of service accounts

    def token(self, spec: KindSpec, namespace: str, name: str, sent: Sent, user: User) -> Answer:
        """Issue a token for a service account."""
        if self._tokens is None:
            raise status.no_such_resource()
        account = self._reader.stored(spec, namespace, name)
        request = _read(sent)
        wish = request.get("spec") or {}
        lifetime = wish.get("expirationSeconds")
        lifetime = DEFAULT_TOKEN_S if lifetime is None else lifetime
        if not isinstance(lifetime, int):
            raise status.bad_request("spec.expirationSeconds is no whole number")
        why = ""
        if lifetime < MIN_TOKEN_S:
            why = f"Invalid value: {lifetime}: may not specify a duration less than 10 minutes"
        elif lifetime > MAX_TOKEN_S:
            why = f"Invalid value: {lifetime}: may not specify a duration larger than 2^32 seconds"
        if why:
            raise status.invalid(_TOKEN_REQUEST, "", [Cause("FieldValueInvalid", why, "spec.expirationSeconds")])
        bound, node = self._bound_object(namespace, name, wish.get("boundObjectRef"), user)
        audiences = wish.get("audiences") or [AUDIENCE]
        token, expires = self._tokens.issue(
            namespace, name, account.uid, audiences=audiences, lifetime_s=lifetime, bound=bound, node=node
        )
        kept = ("name", "namespace", "uid", "creationTimestamp")
        document = account.document()
        answer = {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {field: document["metadata"][field] for field in kept},
            "spec": {
                "audiences": audiences,
                "expirationSeconds": lifetime,
                "boundObjectRef": wish.get("boundObjectRef"),
            },
            "status": {"token": token, "expirationTimestamp": timestamp(expires)},
        }
        return Answer(201, None, None, answer)

    def _bound_object(
        self, namespace: str, account: str, reference: Document | None, user: User
    ) -> tuple[Bound | None, Bound | None]:
        """Return the object that a token is bound to and, for a pod, its node. A node gets tokens of its pods only."""
        if not reference:
            if user.node:
                raise status.forbidden(_ACCOUNTS, account, "node requested token not bound to a pod")
            return None, None
        kind, name = reference.get("kind", ""), reference.get("name", "")
        spec = self._registry.by_kind("", "v1", kind) if kind in ("Pod", "Secret", "Node") else None
        if spec is None or (user.node and kind != "Pod"):
            raise status.bad_request(f"cannot bind token for serviceaccount {account!r} to {kind!r}")
        stored = self._storage.get(resource_of(spec), namespace if spec.kind.namespaced else "", name)
        if stored is None:
            raise status.not_found(spec.kind, name)
        uid = reference.get("uid") or stored.uid
        if uid != stored.uid:
            why = (
                f"the UID in the bound object reference ({uid}) does not match the UID in record. The object might "
                "have been deleted and then recreated"
            )
            raise status.conflict(spec.kind, name, why)
        if kind != "Pod":
            return Bound(kind, name, uid), None
        pod = stored.document()["spec"]
        if user.node and pod.get("nodeName") != user.node:
            why = "node requested token bound to a pod scheduled on a different node"
            raise status.forbidden(_ACCOUNTS, account, why)
        if pod.get("serviceAccountName") != account:
            raise status.bad_request(
                f'cannot bind token for serviceaccount "{account}" to pod running with different serviceaccount name.'
            )
        node = self._storage.get("nodes", "", pod.get("nodeName", ""))
        return Bound(kind, name, uid), Bound("Node", node.name, node.uid) if node is not None else None

    # Certificate signing requests and namespaces

    async def approve(self, spec: KindSpec, namespace: str, name: str, sent: Sent, options: WriteOptions) -> Answer:
        """Set the conditions of a certificate signing request, nothing else of it."""
        document = read_object(sent.body, sent.content_type, spec, self._registry)
        conditions = (document.get("status") or {}).get("conditions") or []
        now = timestamp(self._storage.now_s())
        for condition in conditions:
            condition.setdefault("status", "True")
            for field in ("lastUpdateTime", "lastTransitionTime"):
                condition[field] = condition.get(field) or now
        return await self._change_part(
            spec,
            namespace,
            name,
            document,
            options,
            lambda old: old.setdefault("status", {}).update(conditions=conditions),
        )

    async def finalize(self, spec: KindSpec, name: str, sent: Sent, options: WriteOptions) -> Answer:
        """Set what still has to happen before a namespace may go; with nothing left a terminating one goes."""
        document = read_object(sent.body, sent.content_type, spec, self._registry)
        finalizers = (document.get("spec") or {}).get("finalizers") or []

        def change(old: Document) -> None:
            if finalizers:
                old.setdefault("spec", {})["finalizers"] = finalizers
            else:
                old.setdefault("spec", {}).pop("finalizers", None)

        return await self._change_part(spec, "", name, document, options, change)

    async def _change_part(
        self,
        spec: KindSpec,
        namespace: str,
        name: str,
        sent: Document,
        options: WriteOptions,
        change: Callable[[Document], None],
    ) -> Answer:
        resource = resource_of(spec)
        wanted = sent["metadata"]

        def work(transaction: Transaction) -> Stored:
            stored = transaction.get(resource, namespace, name)
            if stored is None:
                raise status.not_found(spec.kind, name)
            if wanted.get("uid") not in (None, "", stored.uid):
                why = f"Precondition failed: UID in precondition: {wanted['uid']}, UID in object meta: {stored.uid}"
                raise status.conflict(spec.kind, name, why)
            if wanted.get("resourceVersion") not in (None, "", str(stored.rv)):
                raise status.conflict(spec.kind, name)
            document = stored.document()
            change(document)
            is_finished = (
                spec.kind.plural == "namespaces"
                and "deletionTimestamp" in document["metadata"]
                and not document["spec"].get("finalizers")
                and not document["metadata"].get("finalizers")
            )
            if options.dry_run or document == stored.document():
                return stored
            if is_finished:
                return transaction.delete(resource, document)
            return transaction.put(resource, document)

        return Answer(200, spec, await self._storage.write(work))


_ACCOUNTS = Kind("", "v1", "serviceaccounts", "ServiceAccount", True)
_SCALE_SPEC = KindSpec(kind=_SCALE, singular="scale", schema="autoscaling.v1.Scale")


def _read(sent: Sent) -> Document:
    if not sent.body:
        return {}
    try:
        document = parse(sent.body, sent.content_type)
    except ValueError as error:
        raise status.bad_request(f"couldn't get version/kind; json parse error: {error}") from None
    if not isinstance(document, dict):
        raise status.bad_request("the body is no object")
    return document


def _at(document: Document, path: str) -> Any:
    value: Any = document
    for key in path.strip(".").split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value


def _put(document: Document, path: str, value: Any) -> None:
    *parents, last = path.strip(".").split(".")
    for key in parents:
        document = document.setdefault(key, {})
    document[last] = value
