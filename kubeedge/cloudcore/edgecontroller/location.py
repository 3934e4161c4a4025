"""Which nodes need which ConfigMaps and Secrets, exactly: by the pods bound to them (spec 03 §1.4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from kubeedge.kube.object import Object


class Reference(NamedTuple):
    """A ConfigMap or Secret that a pod names. type is the resource type of the link, `configmap` or `secret`."""

    type: str
    namespace: str
    name: str


def references(pod: dict[str, Any]) -> frozenset[Reference]:
    """Return every ConfigMap and Secret that a pod names in its volumes, containers of all sorts and pull secrets.

    More than upstream sees, which leaves out init containers, ephemeral containers and secrets of storage drivers.
    """
    namespace = pod.get("metadata", {}).get("namespace", "")
    return frozenset(Reference(type_, namespace, name) for type_, name in _names(pod.get("spec") or {}) if name)


def _names(spec: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for secret in spec.get("imagePullSecrets") or ():
        yield "secret", secret.get("name", "")
    for list_ in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(list_) or ():
            yield from _container(container)
    for volume in spec.get("volumes") or ():
        yield from _volume(volume)


def _container(container: dict[str, Any]) -> Iterator[tuple[str, str]]:
    for source in container.get("envFrom") or ():
        yield "configmap", (source.get("configMapRef") or {}).get("name", "")
        yield "secret", (source.get("secretRef") or {}).get("name", "")
    for variable in container.get("env") or ():
        source = variable.get("valueFrom") or {}
        yield "configmap", (source.get("configMapKeyRef") or {}).get("name", "")
        yield "secret", (source.get("secretKeyRef") or {}).get("name", "")


def _volume(volume: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield "configmap", (volume.get("configMap") or {}).get("name", "")
    yield "secret", (volume.get("secret") or {}).get("secretName", "")
    for source in (volume.get("projected") or {}).get("sources") or ():
        yield "configmap", (source.get("configMap") or {}).get("name", "")
        yield "secret", (source.get("secret") or {}).get("name", "")
    yield "secret", (volume.get("azureFile") or {}).get("secretName", "")
    for driver in volume.values():
        # csi.nodePublishSecretRef, flexVolume.secretRef, cephfs.secretRef, rbd.secretRef, iscsi.secretRef, …
        if isinstance(driver, dict):
            for key in ("secretRef", "nodePublishSecretRef"):
                yield "secret", (driver.get(key) or {}).get("name", "")


class Locations:
    """Counts, for each reference, the pods of each node that have it; forgets what no pod has any more."""

    def __init__(self) -> None:
        self._pods: dict[str, tuple[str, frozenset[Reference]]] = {}
        self._nodes: dict[Reference, dict[str, int]] = {}

    def put(self, pod: Object, node: str) -> None:
        """Remember what pod, bound to node, references now."""
        found = references(pod.data())
        if self._pods.get(pod.uid) == (node, found):
            return
        self.remove(pod)
        self._pods[pod.uid] = (node, found)
        for reference in found:
            nodes = self._nodes.setdefault(reference, {})
            nodes[node] = nodes.get(node, 0) + 1

    def remove(self, pod: Object) -> None:
        """Forget pod."""
        node, found = self._pods.pop(pod.uid, ("", frozenset()))
        for reference in found:
            nodes = self._nodes[reference]
            nodes[node] -= 1
            if not nodes[node]:
                del nodes[node]
                if not nodes:
                    del self._nodes[reference]

    def nodes(self, reference: Reference) -> Iterable[str]:
        """Return the nodes with a pod that has reference."""
        return list(self._nodes.get(reference, ()))
