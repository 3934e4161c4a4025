"""What the runtime answers, in the words of edged's runtime interface: pure functions."""

from __future__ import annotations

from kubeedge.edgecore.edged.runtime.interface import (
    Container,
    ContainerState,
    ContainerStats,
    ContainerStatus,
    Image,
    ImageFilesystem,
    Mount,
    MountPropagation,
    RuntimeStatus,
    Sandbox,
    SandboxState,
    SandboxStatus,
)
from kubeedge.proto import cri_pb2 as cri

_STATES = {
    cri.CONTAINER_CREATED: ContainerState.CREATED,
    cri.CONTAINER_RUNNING: ContainerState.RUNNING,
    cri.CONTAINER_EXITED: ContainerState.EXITED,
}
_NAMESPACES = {cri.POD: "POD", cri.CONTAINER: "CONTAINER", cri.NODE: "NODE"}
_PROPAGATIONS = {propagation.value: propagation for propagation in MountPropagation}
_CGROUP_DRIVERS = {cri.SYSTEMD: "systemd", cri.CGROUPFS: "cgroupfs"}


def sandbox(message: cri.PodSandbox | cri.PodSandboxStatus) -> Sandbox:
    """Return a sandbox of a listing, or the same out of its status."""
    return Sandbox(
        id=message.id,
        name=message.metadata.name,
        namespace=message.metadata.namespace,
        uid=message.metadata.uid,
        attempt=message.metadata.attempt,
        state=SandboxState.READY if message.state == cri.SANDBOX_READY else SandboxState.NOT_READY,
        created_at=message.created_at,
        labels=dict(message.labels),
        annotations=dict(message.annotations),
        runtime_handler=message.runtime_handler,
    )


def sandbox_status(message: cri.PodSandboxStatus) -> SandboxStatus:
    """Return a sandbox with its addresses, the main one first."""
    network = message.network
    ips = [ip for ip in (network.ip, *(additional.ip for additional in network.additional_ips)) if ip]
    return SandboxStatus(sandbox(message), ips, _NAMESPACES.get(message.linux.namespaces.options.network, "POD"))


def container(message: cri.Container) -> Container:
    """Return a container of a listing."""
    return Container(
        id=message.id,
        sandbox_id=message.pod_sandbox_id,
        name=message.metadata.name,
        attempt=message.metadata.attempt,
        image=message.image.image,
        # Older runtimes know one field for it, which others have begun to use for digests.
        image_ref=message.image_id or message.image_ref,
        state=_STATES.get(message.state, ContainerState.UNKNOWN),
        created_at=message.created_at,
        labels=dict(message.labels),
        annotations=dict(message.annotations),
    )


def container_status(message: cri.ContainerStatus) -> ContainerStatus:
    """Return a container in detail."""
    return ContainerStatus(
        id=message.id,
        name=message.metadata.name,
        attempt=message.metadata.attempt,
        state=_STATES.get(message.state, ContainerState.UNKNOWN),
        created_at=message.created_at,
        started_at=message.started_at,
        finished_at=message.finished_at,
        exit_code=message.exit_code,
        image=message.image.image,
        image_ref=message.image_ref,
        reason=message.reason,
        message=message.message,
        labels=dict(message.labels),
        annotations=dict(message.annotations),
        mounts=[_mount(mount) for mount in message.mounts],
        log_path=message.log_path,
    )


def container_stats(message: cri.ContainerStats) -> ContainerStats:
    """Return what a container uses."""
    return ContainerStats(
        container_id=message.attributes.id,
        read_at=message.cpu.timestamp,
        cpu_ns=message.cpu.usage_core_nano_seconds.value,
        memory_usage=message.memory.usage_bytes.value,
        working_set=message.memory.working_set_bytes.value,
        rss=message.memory.rss_bytes.value,
        rootfs_used=message.writable_layer.used_bytes.value,
    )


def image(message: cri.Image) -> Image:
    """Return an image; uid is None where the image names its user, or none."""
    return Image(
        id=message.id,
        repo_tags=list(message.repo_tags),
        repo_digests=list(message.repo_digests),
        size_bytes=message.size,
        uid=message.uid.value if message.HasField("uid") else None,
        username=message.username,
        pinned=message.pinned,
    )


def image_filesystem(message: cri.ImageFsInfoResponse) -> ImageFilesystem | None:
    """Return the first file system of images: the one of the snapshotter that containers use."""
    for usage in message.image_filesystems:
        return ImageFilesystem(usage.fs_id.mountpoint, usage.used_bytes.value)
    return None


def status(message: cri.StatusResponse, cgroup_driver: str) -> RuntimeStatus:
    """Return how the runtime is; a condition that it does not mention does not hold."""
    conditions = {condition.type: condition for condition in message.status.conditions}
    runtime = conditions.get("RuntimeReady") or cri.RuntimeCondition(reason="RuntimeReady condition is not set")
    network = conditions.get("NetworkReady") or cri.RuntimeCondition(reason="NetworkReady condition is not set")
    return RuntimeStatus(
        runtime_ready=runtime.status,
        network_ready=network.status,
        runtime_message=_why(runtime),
        network_message=_why(network),
        handlers=[_handler(handler) for handler in message.runtime_handlers],
        cgroup_driver=cgroup_driver,
    )


def cgroup_driver(message: cri.RuntimeConfigResponse) -> str:
    """Return `systemd` or `cgroupfs`, empty when the runtime does not say."""
    return _CGROUP_DRIVERS.get(message.linux.cgroup_driver, "") if message.HasField("linux") else ""


def _why(condition: cri.RuntimeCondition) -> str:
    return "" if condition.status else f"reason:{condition.reason} message:{condition.message}"


def _handler(message: cri.RuntimeHandler) -> dict[str, object]:
    features = {
        "recursiveReadOnlyMounts": message.features.recursive_read_only_mounts,
        "userNamespaces": message.features.user_namespaces,
    }
    return {"name": message.name, "features": features}


def _mount(message: cri.Mount) -> Mount:
    return Mount(
        container_path=message.container_path,
        host_path=message.host_path,
        readonly=message.readonly,
        propagation=_PROPAGATIONS.get(message.propagation, MountPropagation.PRIVATE),
    )
