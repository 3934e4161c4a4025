"""What the API adds to objects on their way in, or refuses, because of other objects or of what it runs for."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import aclosing
from ipaddress import IPv4Network
from typing import Any

from kubeedge.apiserver import status
from kubeedge.apiserver.authentication import User
from kubeedge.apiserver.storage import Storage, Transaction
from kubeedge.apiserver.watch import Selection, Watch
from kubeedge.kube import kinds
from kubeedge.kube.api import ApiError, Kind

Document = dict[str, Any]

SERVICE_NETWORK = IPv4Network("10.0.0.0/24")
NODE_PORTS = range(30000, 32768)
# The service account controller needs a moment in a new namespace.
DEFAULT_ACCOUNT_TIMEOUT_S = 1.0

TOKEN_MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
# Odd on purpose, as in a real server: it tells these tokens from those that somebody asked for.
TOKEN_EXPIRATION_S = 3607
_DEFAULT_TOLERATION_S = 300
_NOT_READY = "node.kubernetes.io/not-ready"
_DEFAULT_TOLERATIONS = (_NOT_READY, "node.kubernetes.io/unreachable")
_CLAIM_PROTECTION = "kubernetes.io/pvc-protection"
_MIRROR = "kubernetes.io/config.mirror"
# Kinds of which a node has one object, under its own name.
_NODES_OWN = ("csinodes", "leases", "nodes")
_IMMORTAL = ("default", "kube-system", "kube-public")
_PRIORITY_CLASS = Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False)
_PRIORITY_CLASSES = "priorityclasses.scheduling.k8s.io"


class Admission:
    """Checks and completes new objects against what is stored."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def wait(self, kind: Kind, namespace: str, document: Document) -> None:
        """Give the default service account of a new namespace a moment to appear before a pod needs it."""
        if kind.plural != "pods" or kind.group:
            return
        if (document.get("spec") or {}).get("serviceAccountName", "default") != "default":
            return
        if self._storage.get("serviceaccounts", namespace, "default") is not None:
            return
        selection = Selection(namespace, "default")
        watch = Watch(self._storage, "serviceaccounts", selection, timeout_s=DEFAULT_ACCOUNT_TIMEOUT_S)
        watch.start_with_objects(end_bookmark=False)
        async with aclosing(watch.batches()) as batches:
            async for _ in batches:
                return

    def on_create(self, transaction: Transaction, kind: Kind, document: Document, user: User) -> None:
        """Complete a new object. Raises ApiError 403 or 404."""
        if user.node:
            _check_node(kind, document, user.node)
        if kind.namespaced:
            self._check_namespace(transaction, kind, document)
        if not kind.group:
            step = _ON_CREATE.get(kind.plural)
            if step is not None:
                step(transaction, document, user)

    def on_update(self, transaction: Transaction, kind: Kind, new: Document, old: Document) -> None:
        """Complete a changed object."""
        if kind.group:
            return
        if kind.plural == "services":
            _allocate_addresses(transaction, new, old)
        elif kind.plural == "pods":
            _tolerate_lost_nodes(new["spec"])

    def on_delete(self, kind: Kind, name: str) -> None:
        """Refuse to delete what a cluster cannot be without. Raises ApiError 403."""
        if kind.plural == "namespaces" and not kind.group and name in _IMMORTAL:
            raise status.forbidden(kind, name, "this namespace may not be deleted")

    @staticmethod
    def _check_namespace(transaction: Transaction, kind: Kind, document: Document) -> None:
        name = document["metadata"]["namespace"]
        namespace = transaction.get("namespaces", "", name)
        if namespace is None:
            raise status.not_found(kinds.NAMESPACE, name)
        if b'"phase":"Terminating"' not in namespace.data:
            return
        if (namespace.document().get("status") or {}).get("phase") != "Terminating":
            return
        metadata = document["metadata"]
        raise _terminating(kind, metadata.get("name") or metadata.get("generateName", ""), name)


def _terminating(kind: Kind, name: str, namespace: str) -> ApiError:
    resource = status.resource_name(kind)
    message = (
        f'{resource} "{name}" is forbidden: unable to create new content in namespace {namespace} because it is being '
        "terminated"
    )
    details: Document = {"name": name, "kind": kind.plural}
    if kind.group:
        details["group"] = kind.group
    details["causes"] = [
        {
            "reason": "NamespaceTerminating",
            "message": f"namespace {namespace} is being terminated",
            "field": "metadata.namespace",
        }
    ]
    return status.status(403, "Forbidden", message, details)


def _check_node(kind: Kind, document: Document, node: str) -> None:
    """Let a node speak for itself only; for its other rights see `authorization`."""
    metadata = document["metadata"]
    name = metadata.get("name", "")
    why = ""
    if kind.plural in _NODES_OWN and name != node:
        why = f'node "{node}" is not allowed to modify {kind.kind} "{name}"'
    elif kind.plural == "pods" and not kind.group:
        if _MIRROR not in (metadata.get("annotations") or {}):
            why = f'pod does not have "{_MIRROR}" annotation, node "{node}" can only create mirror pods'
        elif (document.get("spec") or {}).get("nodeName") != node:
            why = f'node "{node}" can only create pods with spec.nodeName set to itself'
    if why:
        raise status.forbidden(kind, name, why)


# Namespaces


def _name_label(transaction: Transaction, namespace: Document, user: User) -> None:
    del transaction, user
    metadata = namespace["metadata"]
    if metadata.get("name"):
        metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]


# Pods


def _complete_pod(transaction: Transaction, pod: Document, user: User) -> None:
    del user
    spec = pod.setdefault("spec", {})
    if _MIRROR not in (pod["metadata"].get("annotations") or {}):
        _use_service_account(transaction, pod, spec)
    _tolerate_lost_nodes(spec)
    _give_priority(transaction, pod, spec)


def _use_service_account(transaction: Transaction, pod: Document, spec: Document) -> None:
    namespace = pod["metadata"]["namespace"]
    name = spec.get("serviceAccountName") or spec.get("serviceAccount") or "default"
    spec["serviceAccountName"] = spec["serviceAccount"] = name
    stored = transaction.get("serviceaccounts", namespace, name)
    if stored is None:
        shown = pod["metadata"].get("name") or pod["metadata"].get("generateName", "")
        why = f'error looking up service account {namespace}/{name}: serviceaccount "{name}" not found'
        raise status.forbidden(kinds.POD, shown, why)
    account = stored.document()
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec["imagePullSecrets"] = account["imagePullSecrets"]
    wanted = spec.get("automountServiceAccountToken")
    if wanted is None:
        wanted = account.get("automountServiceAccountToken", True)
    if wanted:
        _mount_token(spec)


def _mount_token(spec: Document) -> None:
    from kubeedge.apiserver.writing import random_suffix

    volume = f"kube-api-access-{random_suffix()}"
    containers = [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]
    mounted = False
    for container in containers:
        mounts = container.setdefault("volumeMounts", [])
        if any(mount.get("mountPath") == TOKEN_MOUNT_PATH for mount in mounts):
            continue
        mounts.append({"name": volume, "readOnly": True, "mountPath": TOKEN_MOUNT_PATH})
        mounted = True
    if not mounted:
        return
    sources: list[Document] = [
        {"serviceAccountToken": {"expirationSeconds": TOKEN_EXPIRATION_S, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {
            "downwardAPI": {
                "items": [{"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]
            }
        },
    ]
    spec.setdefault("volumes", []).append({"name": volume, "projected": {"sources": sources, "defaultMode": 420}})


def _tolerate_lost_nodes(spec: Document) -> None:
    tolerations = spec.setdefault("tolerations", [])
    for key in _DEFAULT_TOLERATIONS:
        if any(
            toleration.get("key", key) == key and toleration.get("effect", "NoExecute") == "NoExecute"
            for toleration in tolerations
        ):
            continue
        tolerations.append(
            {"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": _DEFAULT_TOLERATION_S}
        )


def _give_priority(transaction: Transaction, pod: Document, spec: Document) -> None:
    priority, policy, name = 0, "PreemptLowerPriority", spec.get("priorityClassName", "")
    if name:
        stored = transaction.get(_PRIORITY_CLASSES, "", name)
        if stored is None:
            shown = pod["metadata"].get("name") or pod["metadata"].get("generateName", "")
            raise status.forbidden(kinds.POD, shown, f"no PriorityClass with name {name} was found")
        found = stored.document()
        priority, policy = found["value"], found.get("preemptionPolicy") or policy
    spec["priority"] = priority
    spec.setdefault("preemptionPolicy", policy)


# Services


def _new_service(transaction: Transaction, service: Document, user: User) -> None:
    del user
    _allocate_addresses(transaction, service, None)


def _allocate_addresses(transaction: Transaction, service: Document, old: Document | None) -> None:
    """Give a service its cluster address and node ports where it has none."""
    spec = service.get("spec") or {}
    kept = (old or {}).get("spec") or {}
    if spec.get("type") == "ExternalName" or not spec:
        return
    spec.setdefault("ipFamilies", ["IPv4"])
    spec.setdefault("ipFamilyPolicy", "SingleStack")
    if not spec.get("clusterIP"):
        spec["clusterIP"] = kept.get("clusterIP") or _free_address(_used(transaction, "clusterIP"))
        spec["clusterIPs"] = [spec["clusterIP"]]
    elif not spec.get("clusterIPs"):
        spec["clusterIPs"] = [spec["clusterIP"]]
    if spec.get("type") in ("NodePort", "LoadBalancer"):
        free: Callable[[], int] | None = None
        for port in spec.get("ports") or ():
            if not port.get("nodePort"):
                free = free or _free_ports(transaction)
                port["nodePort"] = free()


def _used(transaction: Transaction, field: str) -> set[Any]:
    return {service.document().get("spec", {}).get(field) for service in transaction.objects("services")}


def _free_address(used: set[Any]) -> str:
    # The first usable address is that of the API itself.
    addresses = [str(address) for address in SERVICE_NETWORK.hosts() if str(address) not in used][1:]
    if not addresses:
        raise status.internal_error("failed to allocate a serviceIP: range is full")
    return random.choice(addresses)


def _free_ports(transaction: Transaction) -> Callable[[], int]:
    used = {
        port.get("nodePort")
        for service in transaction.objects("services")
        for port in service.document().get("spec", {}).get("ports") or ()
    }

    def take() -> int:
        free = [port for port in NODE_PORTS if port not in used]
        if not free:
            raise status.internal_error("failed to allocate a nodePort: range is full")
        port = random.choice(free)
        used.add(port)
        return port

    return take


# Nodes and claims


def _not_ready_yet(transaction: Transaction, node: Document, user: User) -> None:
    """Nothing is placed on a node before the node lifecycle controller has seen it ready."""
    del transaction, user
    taints = node.setdefault("spec", {}).setdefault("taints", [])
    if not any(taint.get("key") == _NOT_READY and taint.get("effect") == "NoSchedule" for taint in taints):
        taints.append({"key": _NOT_READY, "effect": "NoSchedule"})


def _protect_claim(transaction: Transaction, claim: Document, user: User) -> None:
    del transaction, user
    finalizers = claim["metadata"].setdefault("finalizers", [])
    if _CLAIM_PROTECTION not in finalizers:
        finalizers.append(_CLAIM_PROTECTION)


_ON_CREATE: dict[str, Callable[[Transaction, Document, User], None]] = {
    "namespaces": _name_label,
    "nodes": _not_ready_yet,
    "persistentvolumeclaims": _protect_claim,
    "pods": _complete_pod,
    "services": _new_service,
}
