"""An ObjectSync or ClusterObjectSync, read: which version of an object a node has (spec 03 §3.1)."""

from __future__ import annotations

import msgspec

from kubeedge.kube.informer import Informer
from kubeedge.kube.object import Object


class _Spec(msgspec.Struct, rename={"api_version": "objectAPIVersion", "kind": "objectKind", "name": "objectName"}):
    api_version: str = ""
    kind: str = ""
    name: str = ""


class _Status(msgspec.Struct, rename={"resource_version": "objectResourceVersion"}):
    resource_version: str = ""


class _Body(msgspec.Struct):
    spec: _Spec = msgspec.field(default_factory=_Spec)
    status: _Status = msgspec.field(default_factory=_Status)


_body = msgspec.json.Decoder(_Body)


class Sync:
    """What a node acked of one object. namespace is "" for a ClusterObjectSync; version is "" or "0" before any ack."""

    __slots__ = ("api_version", "kind", "name", "namespace", "node", "object_uid", "version")

    def __init__(self, object: Object) -> None:
        body = _body.decode(object.raw)
        self.node, self.object_uid = split_name(object.name)
        self.namespace = object.namespace
        self.api_version = body.spec.api_version
        self.kind = body.spec.kind
        self.name = body.spec.name
        self.version = body.status.resource_version


def split_name(name: str) -> tuple[str, str]:
    """Take `<node>.<uid>` apart, at the last dot: names of nodes may have dots."""
    node, _, uid = name.rpartition(".")
    return node, uid


def by_node(sync: Object) -> tuple[str]:
    """Index function: the node of a sync."""
    return (split_name(sync.name)[0],)


def by_object(sync: Object) -> tuple[str]:
    """Index function: the UID of the object of a sync."""
    return (split_name(sync.name)[1],)


class SyncVersions:
    """Answers, from the caches, which version of an object a node has acknowledged."""

    def __init__(self, object_syncs: Informer, cluster_syncs: Informer) -> None:
        self._object_syncs = object_syncs
        self._cluster_syncs = cluster_syncs

    def __call__(self, namespace: str, name: str) -> str | None:
        """Return the version, "" when the sync has no status, None when there is no sync.

        name is that of the sync; namespace is "" for a ClusterObjectSync.
        """
        sync = (self._object_syncs if namespace else self._cluster_syncs).get(namespace, name)
        return _body.decode(sync.raw).status.resource_version if sync is not None else None
