"""What of an object a field selector can ask for, as a table of paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubeedge.apiserver.kinds.spec import Object

NAME_FIELDS = {"metadata.name": ("metadata", "name"), "metadata.namespace": ("metadata", "namespace")}

_REFERENCE = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")

# kind: {label: path}, beside name and namespace
_FIELDS: dict[str, dict[str, str]] = {
    "CertificateSigningRequest": {"spec.signerName": "spec.signerName"},
    "Event": {
        **{f"involvedObject.{field}": f"involvedObject.{field}" for field in _REFERENCE},
        "reason": "reason",
        "reportingComponent": "reportingComponent",
        "source": "source.component",
        "type": "type",
    },
    "Job": {"status.successful": "status.succeeded"},
    "Namespace": {"status.phase": "status.phase", "name": "metadata.name"},
    "Node": {"spec.unschedulable": "spec.unschedulable"},
    "Pod": {
        "spec.hostNetwork": "spec.hostNetwork",
        "spec.nodeName": "spec.nodeName",
        "spec.restartPolicy": "spec.restartPolicy",
        "spec.schedulerName": "spec.schedulerName",
        "spec.serviceAccountName": "spec.serviceAccountName",
        "status.nominatedNodeName": "status.nominatedNodeName",
        "status.phase": "status.phase",
        "status.podIP": "status.podIP",
    },
    "ReplicaSet": {"status.replicas": "status.replicas"},
    "ReplicationController": {"status.replicas": "status.replicas"},
    "ResourceSlice": {"spec.driver": "spec.driver", "spec.nodeName": "spec.nodeName"},
    "Secret": {"type": "type"},
    "Service": {"spec.clusterIP": "spec.clusterIP", "spec.type": "spec.type"},
}
_ZERO = {"spec.hostNetwork": "false", "spec.unschedulable": "false", "status.replicas": "0", "status.succeeded": "0"}


def _text(value: Any, path: str) -> str:
    if value is None:
        return _ZERO.get(path, "")
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def at(obj: Any, path: tuple[str, ...]) -> Any:
    """The value at a path of keys, None where there is nothing."""
    for key in path:
        if not isinstance(obj, dict):
            return None
        obj = obj.get(key)
    return obj


def selectable(kind: str, namespaced: bool) -> tuple[Callable[[Object], dict[str, str]], frozenset[str]]:
    """(function that reads the selectable fields of an object, their labels)."""
    table = {"metadata.name": "metadata.name", **_FIELDS.get(kind, {})}
    if namespaced:
        table["metadata.namespace"] = "metadata.namespace"
    paths = [(label, path, tuple(path.split("."))) for label, path in table.items()]

    def read(obj: Object) -> dict[str, str]:
        # Events of events.k8s.io are asked under the names of core events.
        return {label: _text(at(obj, keys), path) for label, path, keys in paths}

    return read, frozenset(table)
