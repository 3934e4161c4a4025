"""What of a pod cannot be asked of a runtime here: said before the pod starts, never ignored (spec 05 §5.12)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


def reasons(pod: dict[str, Any]) -> Iterator[str]:
    """Give one text for each thing of the pod that would be left out."""
    spec = pod.get("spec") or {}
    if spec.get("hostUsers") is False:
        yield "hostUsers: false is not supported"
    if (spec.get("securityContext") or {}).get("supplementalGroupsPolicy") == "Strict":
        yield "supplementalGroupsPolicy Strict is not supported"
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or ():
            for text in _container(container):
                yield f"container {container.get('name')}: {text}"


def _container(container: dict[str, Any]) -> Iterator[str]:
    if container.get("targetContainerName"):
        yield "targetContainerName is not supported"
    if container.get("volumeDevices"):
        yield "volumeDevices are not supported"
    for mount in container.get("volumeMounts") or ():
        if mount.get("recursiveReadOnly") == "Enabled":
            yield f"recursiveReadOnly of {mount.get('mountPath')} is not supported"
    resources = container.get("resources") or {}
    if resources.get("claims"):
        yield "resource claims are not supported"
    for name in resources.get("limits") or {}:
        if name.startswith("hugepages-"):
            yield f"the limit {name} is not supported"
