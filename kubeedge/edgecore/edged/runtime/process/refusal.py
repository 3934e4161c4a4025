"""What of a pod the process runtime cannot honour: said before the pod starts, never ignored (spec 05 §5.12).

Pods share the host's network, so a port is the host's port; that is the runtime's nature and refuses nothing by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

from kubeedge.edgecore.edged.runtime.process import capabilities

_ANY_ADDRESS = ("", "0.0.0.0", "::")


def reasons(pod: dict[str, Any], features: frozenset[str], enforce_limits: bool) -> Iterator[str]:
    """Give one text for each thing that cannot be honoured with these features (features.py)."""
    spec = pod.get("spec") or {}
    security = spec.get("securityContext") or {}
    if spec.get("shareProcessNamespace"):
        yield "shareProcessNamespace is not supported"
    if spec.get("hostUsers") is False:
        yield "hostUsers: false is not supported"
    if spec.get("runtimeClassName"):
        yield f"runtimeClassName {spec['runtimeClassName']} is not supported"
    if security.get("sysctls"):
        yield "sysctls need a network namespace, and pods share the host's"
    if spec.get("hostname") and "uts" not in features:
        yield "hostname needs a UTS namespace, which this machine does not allow"
    if "mount" not in features:
        if spec.get("hostAliases"):
            yield "hostAliases need a mount namespace, which this machine does not allow"
        if spec.get("dnsPolicy") == "None" or spec.get("dnsConfig"):
            yield "dnsConfig needs a mount namespace, which this machine does not allow"
    yield from _profiles(security, features)
    for container in spec.get("ephemeralContainers") or []:
        if container.get("targetContainerName"):
            yield f"container {container['name']}: targetContainerName is not supported"
    for kind in ("initContainers", "containers", "ephemeralContainers"):
        for container in spec.get(kind) or []:
            for text in _container(container, security, features, enforce_limits):
                yield f"container {container.get('name')}: {text}"


def _container(
    container: dict[str, Any], pod_security: dict[str, Any], features: frozenset[str], enforce_limits: bool
) -> Iterator[str]:
    security = container.get("securityContext") or {}
    yield from _profiles(security, features)
    for port in container.get("ports") or []:
        host_port = port.get("hostPort")
        if host_port and host_port != port.get("containerPort"):
            yield f"hostPort {host_port} cannot lead to port {port.get('containerPort')}: there is no port mapping"
        if host_port and port.get("hostIP", "") not in _ANY_ADDRESS:
            yield f"hostIP {port['hostIP']} cannot be enforced: there is no port mapping"
    if container.get("volumeDevices"):
        yield "volumeDevices are not supported"
    for mount in container.get("volumeMounts") or []:
        if mount.get("mountPropagation") == "Bidirectional":
            yield f"mountPropagation Bidirectional of {mount.get('mountPath')} is not supported"
        if mount.get("recursiveReadOnly") == "Enabled":
            yield f"recursiveReadOnly of {mount.get('mountPath')} is not supported"
    resources = container.get("resources") or {}
    if resources.get("claims"):
        yield "resource claims are not supported"
    for name in resources.get("limits") or {}:
        if name in ("memory", "cpu") and enforce_limits and name not in features:
            yield f"the {name} limit cannot be enforced: this machine gives no {name} cgroup"
        if name.startswith("hugepages-"):
            yield f"the {name} limit cannot be enforced"
    added = [capabilities.normalise(name) for name in (security.get("capabilities") or {}).get("add") or []]
    for name in added:
        if name != "ALL" and name not in capabilities.NUMBERS:
            yield f"capability {name} is unknown"
    if "root" not in features:
        yield from _needs_root(security, pod_security, added)
    if security.get("readOnlyRootFilesystem") and "mount" not in features:
        yield "readOnlyRootFilesystem needs a mount namespace, which this machine does not allow"


def _needs_root(security: dict[str, Any], pod_security: dict[str, Any], added: list[str]) -> Iterator[str]:
    if security.get("privileged") or added:
        yield "privileged and added capabilities need edgecore to run as root"
    for key, own in (("runAsUser", os.geteuid()), ("runAsGroup", os.getegid())):
        value = security.get(key, pod_security.get(key))
        if value is not None and value != own:
            yield f"{key} {value} needs edgecore to run as root"


def _profiles(security: dict[str, Any], features: frozenset[str]) -> Iterator[str]:
    for key, needed in (("seccompProfile", "seccomp"), ("appArmorProfile", "apparmor")):
        kind = (security.get(key) or {}).get("type", "Unconfined")
        if kind != "Unconfined" and not (kind == "RuntimeDefault" and needed in features):
            yield f"{key} {kind} is not supported"
    if any((security.get("seLinuxOptions") or {}).values()):
        yield "seLinuxOptions are not supported"
