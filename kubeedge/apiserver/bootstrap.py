"""The objects that every cluster starts with."""

from __future__ import annotations

from typing import Any

import orjson

from kubeedge.kube import kinds
from kubeedge.kube.api import ApiError, Kind, KubeApi

NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease", "kubeedge")
_PRIORITY_CLASS = Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", False)
_PRIORITIES = {
    "system-cluster-critical": (
        2_000_000_000,
        "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
    ),
    "system-node-critical": (
        2_000_001_000,
        "Used for system critical pods that must not be moved from their current node.",
    ),
}
API_ADDRESS = "10.0.0.1"


async def bootstrap(api: KubeApi, port: int) -> None:
    """Make what is missing; what is there stays as it is. port is where the API listens. Raises ApiError."""
    for name in NAMESPACES:
        await _ensure(api, kinds.NAMESPACE, "", {"metadata": {"name": name}})
    for name, (value, description) in _PRIORITIES.items():
        document = {"metadata": {"name": name}, "value": value, "description": description}
        await _ensure(api, _PRIORITY_CLASS, "", document)
    service = {
        "metadata": {"name": "kubernetes", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "clusterIP": API_ADDRESS,
            "ports": [{"name": "https", "port": 443, "protocol": "TCP", "targetPort": port}],
            "sessionAffinity": "None",
            "type": "ClusterIP",
        },
    }
    await _ensure(api, kinds.SERVICE, "default", service)


async def _ensure(api: KubeApi, kind: Kind, namespace: str, document: dict[str, Any]) -> None:
    try:
        await api.create(kind, namespace, orjson.dumps(document))
    except ApiError as error:
        if error.reason != "AlreadyExists":
            raise
