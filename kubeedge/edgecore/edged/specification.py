"""A pod and its containers in the words of the runtime interface (spec 05 §5.3)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import orjson

from kubeedge.edgecore.edged import labels, network, requests
from kubeedge.edgecore.edged.environment import ConfigError
from kubeedge.edgecore.edged.expansion import expand
from kubeedge.edgecore.edged.pod import Object, Pod
from kubeedge.edgecore.edged.runtime.interface import (
    ContainerConfig,
    DnsConfig,
    Image,
    Mount,
    NamespaceOptions,
    SandboxConfig,
    SecurityContext,
)

DEFAULT_TERMINATION_PATH = "/dev/termination-log"

_MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
_READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_APPARMOR_PREFIX = "container.apparmor.security.beta.kubernetes.io/"


class NodeLimits(msgspec.Struct, frozen=True):
    """What of the node goes into the configuration of containers."""

    memory_bytes: int
    cgroup_driver: str = "cgroupfs"
    cgroup_root: str = ""
    cluster_domain: str = "cluster.local"


def sandbox_config(pod: Pod, attempt: int, dns: DnsConfig, log_directory: str, limits: NodeLimits) -> SandboxConfig:
    """Return the configuration of a pod's sandbox; attempt counts the sandboxes of the pod."""
    return SandboxConfig(
        name=pod.name,
        namespace=pod.namespace,
        uid=pod.uid,
        attempt=attempt,
        hostname="" if pod.host_network else network.hostname(pod, limits.cluster_domain),
        log_directory=log_directory,
        dns=dns,
        ports=network.port_mappings(pod),
        labels=pod.labels | pod_labels(pod),
        annotations=dict(pod.annotations),
        cgroup_parent=requests.cgroup_parent(pod, limits.cgroup_driver, limits.cgroup_root),
        security=_sandbox_security(pod),
        sysctls={s["name"].replace("/", "."): s["value"] for s in pod.security.get("sysctls") or ()},
        resources=requests.sandbox_resources(pod),
        runtime_handler="",
    )


def pod_labels(pod: Pod) -> dict[str, str]:
    """Return the labels by which everything of a pod is found in the runtime."""
    return {labels.POD_NAME: pod.name, labels.POD_NAMESPACE: pod.namespace, labels.POD_UID: pod.uid}


def container_config(
    pod: Pod,
    container: Object,
    restart_count: int,
    image: Image,
    environment: Mapping[str, str],
    mounts: list[Mount],
    limits: NodeLimits,
) -> ContainerConfig:
    """Return the configuration of one container. Raises ConfigError where its user is not allowed."""
    name = container["name"]
    return ContainerConfig(
        name=name,
        attempt=restart_count,
        image=image.id or container["image"],
        image_spec=container["image"],
        command=[expand(word, environment) for word in container.get("command") or ()],
        args=[expand(word, environment) for word in container.get("args") or ()],
        working_dir=container.get("workingDir") or "",
        envs=list(environment.items()),
        mounts=mounts,
        log_path=f"{name}/{restart_count}.log",
        labels={labels.CONTAINER_NAME: name} | pod_labels(pod),
        annotations=_annotations(pod, container, restart_count),
        stdin=bool(container.get("stdin")),
        stdin_once=bool(container.get("stdinOnce")),
        tty=bool(container.get("tty")),
        resources=requests.container_resources(pod, container, limits.memory_bytes),
        security=_container_security(pod, container, image),
    )


def _annotations(pod: Pod, container: Object, restart_count: int) -> dict[str, str]:
    annotations = {
        labels.HASH: labels.container_hash(container),
        labels.RESTART_COUNT: str(restart_count),
        labels.TERMINATION_MESSAGE_PATH: container.get("terminationMessagePath") or DEFAULT_TERMINATION_PATH,
        labels.TERMINATION_MESSAGE_POLICY: container.get("terminationMessagePolicy") or "File",
        labels.POD_GRACE: str(pod.grace_s),
    }
    if pod.is_deleted:
        annotations[labels.POD_DELETION_GRACE] = str(pod.deletion_grace_s)
    pre_stop = (container.get("lifecycle") or {}).get("preStop")
    if pre_stop:
        annotations[labels.PRE_STOP] = orjson.dumps(pre_stop).decode()
    if container.get("ports"):
        annotations[labels.PORTS] = orjson.dumps(container["ports"]).decode()
    return annotations


def _namespaces(pod: Pod) -> NamespaceOptions:
    pid = "CONTAINER"
    if pod.spec.get("hostPID"):
        pid = "NODE"
    elif pod.spec.get("shareProcessNamespace"):
        pid = "POD"
    return NamespaceOptions(
        network="NODE" if pod.host_network else "POD", pid=pid, ipc="NODE" if pod.spec.get("hostIPC") else "POD"
    )


def _groups(pod: Pod) -> list[int]:
    groups = [pod.security["fsGroup"]] if pod.security.get("fsGroup") is not None else []
    return [int(group) for group in (*groups, *(pod.security.get("supplementalGroups") or ()))]


def _number(value: object) -> int | None:
    return None if value is None else int(str(value))


def _is_privileged(container: Object) -> bool:
    return bool((container.get("securityContext") or {}).get("privileged"))


def _sandbox_security(pod: Pod) -> SecurityContext:
    return SecurityContext(
        namespaces=_namespaces(pod),
        privileged=any(_is_privileged(c) for c in pod.every_container()),
        run_as_user=_number(pod.security.get("runAsUser")),
        run_as_group=_number(pod.security.get("runAsGroup")),
        supplemental_groups=_groups(pod),
        seccomp_profile="RuntimeDefault",
        selinux=dict(pod.security.get("seLinuxOptions") or {}),
    )


def _container_security(pod: Pod, container: Object, image: Image) -> SecurityContext:
    own: Object = container.get("securityContext") or {}
    user = _number(own.get("runAsUser", pod.security.get("runAsUser")))
    username = ""
    if user is None:
        user, username = image.uid, image.username
    if own.get("runAsNonRoot", pod.security.get("runAsNonRoot")):
        _check_not_root(pod, container, user, username)
    if user is None and not username:
        user = 0
    capabilities = own.get("capabilities") or {}
    seccomp = own.get("seccompProfile") or pod.security.get("seccompProfile") or {}
    unmasked = own.get("procMount") == "Unmasked"
    return SecurityContext(
        namespaces=_namespaces(pod),
        privileged=_is_privileged(container),
        run_as_user=user,
        run_as_username=username if user is None else "",
        run_as_group=_number(own.get("runAsGroup", pod.security.get("runAsGroup"))),
        supplemental_groups=_groups(pod),
        readonly_rootfs=bool(own.get("readOnlyRootFilesystem")),
        no_new_privs=own.get("allowPrivilegeEscalation") is False,
        capabilities_add=list(capabilities.get("add") or ()),
        capabilities_drop=list(capabilities.get("drop") or ()),
        seccomp_profile=seccomp.get("type") or "Unconfined",
        seccomp_localhost=seccomp.get("localhostProfile") or "",
        apparmor_profile=_apparmor(pod, container),
        selinux=dict(own.get("seLinuxOptions") or pod.security.get("seLinuxOptions") or {}),
        masked_paths=[] if unmasked else list(_MASKED_PATHS),
        readonly_paths=[] if unmasked else list(_READONLY_PATHS),
    )


def _check_not_root(pod: Pod, container: Object, user: int | None, username: str) -> None:
    where = f'(pod: "{pod.full_name}", container: {container["name"]})'
    if user == 0:
        own = container.get("securityContext") or {}
        if own.get("runAsUser", pod.security.get("runAsUser")) is not None:
            raise ConfigError(f"container's runAsUser breaks non-root policy {where}")
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")
    if user is None and username:
        raise ConfigError(
            f"container has runAsNonRoot and image has non-numeric user ({username}), "
            f"cannot verify user is non-root {where}"
        )
    if user is None:
        raise ConfigError(f"container has runAsNonRoot and image will run as root {where}")


def _apparmor(pod: Pod, container: Object) -> str:
    own = container.get("securityContext") or {}
    profile = own.get("appArmorProfile") or pod.security.get("appArmorProfile")
    if profile:
        match profile.get("type"):
            case "Localhost":
                return f"localhost/{profile.get('localhostProfile') or ''}"
            case "RuntimeDefault":
                return "runtime/default"
            case _:
                return "unconfined"
    return pod.annotations.get(_APPARMOR_PREFIX + container["name"], "")
