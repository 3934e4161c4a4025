"""What edged asks of a container runtime: the part of CRI v1 that a node needs (spec 05 §5.3)."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from typing import Protocol

import msgspec


class RuntimeCallError(Exception):
    """The runtime refused or failed a call; reason is a word that Kubernetes shows (`CreateContainerError`)."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class RuntimeUnavailableError(Exception):
    """The runtime does not answer."""


class SandboxState(enum.Enum):
    """State of a pod sandbox."""

    READY = "ready"
    NOT_READY = "notready"


class ContainerState(enum.Enum):
    """State of a container."""

    CREATED = "created"
    RUNNING = "running"
    EXITED = "exited"
    UNKNOWN = "unknown"


class MountPropagation(enum.Enum):
    """How mounts made later pass between host and container."""

    PRIVATE = 0
    HOST_TO_CONTAINER = 1
    BIDIRECTIONAL = 2


class RuntimeVersion(msgspec.Struct):
    """Answer of `Version`: what the node reports as `<name>://<version>`."""

    name: str
    version: str


class RuntimeStatus(msgspec.Struct):
    """Answer of `Status`; a message is empty where the condition is true."""

    runtime_ready: bool
    network_ready: bool
    runtime_message: str = ""
    network_message: str = ""
    handlers: list[dict[str, object]] = msgspec.field(default_factory=list)
    cgroup_driver: str = ""


class PortMapping(msgspec.Struct):
    """One container port of the sandbox. host_port is 0 where none is asked for."""

    container_port: int
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = ""


class DnsConfig(msgspec.Struct):
    """Content of the sandbox's resolv.conf."""

    servers: list[str] = msgspec.field(default_factory=list)
    searches: list[str] = msgspec.field(default_factory=list)
    options: list[str] = msgspec.field(default_factory=list)


class NamespaceOptions(msgspec.Struct):
    """Namespaces: NODE (the host's), POD (shared by the pod) or CONTAINER (its own)."""

    network: str = "POD"
    pid: str = "CONTAINER"
    ipc: str = "POD"


class Resources(msgspec.Struct):
    """Limits in units of the kernel: quota and period in microseconds, memory in bytes; 0 means not limited."""

    cpu_shares: int = 0
    cpu_quota: int = 0
    cpu_period: int = 0
    memory_limit_bytes: int = 0
    oom_score_adj: int = 0
    unified: dict[str, str] = msgspec.field(default_factory=dict)


class SecurityContext(msgspec.Struct):
    """Security context of a sandbox or container, with the pod's defaults already applied."""

    namespaces: NamespaceOptions = msgspec.field(default_factory=NamespaceOptions)
    privileged: bool = False
    run_as_user: int | None = None
    run_as_username: str = ""
    run_as_group: int | None = None
    supplemental_groups: list[int] = msgspec.field(default_factory=list)
    readonly_rootfs: bool = False
    no_new_privs: bool = False
    capabilities_add: list[str] = msgspec.field(default_factory=list)
    capabilities_drop: list[str] = msgspec.field(default_factory=list)
    seccomp_profile: str = "Unconfined"
    seccomp_localhost: str = ""
    apparmor_profile: str = ""
    selinux: dict[str, str] = msgspec.field(default_factory=dict)
    masked_paths: list[str] = msgspec.field(default_factory=list)
    readonly_paths: list[str] = msgspec.field(default_factory=list)


class SandboxConfig(msgspec.Struct):
    """PodSandboxConfig (spec 05 §5.3)."""

    name: str
    namespace: str
    uid: str
    attempt: int = 0
    hostname: str = ""
    log_directory: str = ""
    dns: DnsConfig | None = None
    ports: list[PortMapping] = msgspec.field(default_factory=list)
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    cgroup_parent: str = ""
    security: SecurityContext = msgspec.field(default_factory=SecurityContext)
    sysctls: dict[str, str] = msgspec.field(default_factory=dict)
    resources: Resources | None = None
    runtime_handler: str = ""


class Mount(msgspec.Struct):
    """A host path that the container sees at container_path."""

    container_path: str
    host_path: str
    readonly: bool = False
    propagation: MountPropagation = MountPropagation.PRIVATE


class ContainerConfig(msgspec.Struct):
    """ContainerConfig (spec 05 §5.3). command and args are already expanded; empty means the image's own."""

    name: str
    attempt: int
    image: str
    image_spec: str = ""
    command: list[str] = msgspec.field(default_factory=list)
    args: list[str] = msgspec.field(default_factory=list)
    working_dir: str = ""
    envs: list[tuple[str, str]] = msgspec.field(default_factory=list)
    mounts: list[Mount] = msgspec.field(default_factory=list)
    log_path: str = ""
    labels: dict[str, str] = msgspec.field(default_factory=dict)
    annotations: dict[str, str] = msgspec.field(default_factory=dict)
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    resources: Resources = msgspec.field(default_factory=Resources)
    security: SecurityContext = msgspec.field(default_factory=SecurityContext)


class Sandbox(msgspec.Struct):
    """One sandbox as a listing gives it; created_at in nanoseconds of Unix time."""

    id: str
    name: str
    namespace: str
    uid: str
    attempt: int
    state: SandboxState
    created_at: int
    labels: dict[str, str]
    annotations: dict[str, str]
    runtime_handler: str = ""


class SandboxStatus(msgspec.Struct):
    """One sandbox in detail. ips is empty for a pod on the host's network."""

    sandbox: Sandbox
    ips: list[str]
    network: str = "POD"


class Container(msgspec.Struct):
    """One container as a listing gives it; created_at in nanoseconds of Unix time. image_ref: the id of its image."""

    id: str
    sandbox_id: str
    name: str
    attempt: int
    image: str
    image_ref: str
    state: ContainerState
    created_at: int
    labels: dict[str, str]
    annotations: dict[str, str]


class ContainerStatus(msgspec.Struct):
    """One container in detail; times in nanoseconds of Unix time, 0 where it has not come to that."""

    id: str
    name: str
    attempt: int
    state: ContainerState
    created_at: int
    started_at: int
    finished_at: int
    exit_code: int
    image: str
    image_ref: str
    reason: str
    message: str
    labels: dict[str, str]
    annotations: dict[str, str]
    mounts: list[Mount]
    log_path: str


class ContainerStats(msgspec.Struct):
    """What a running container uses. read_at in nanoseconds of Unix time, cpu_ns: of all its life, sizes in bytes.

    working_set: what it uses without what the kernel can take back at once; rss: of no file. What a runtime does not
    know is 0.
    """

    container_id: str
    read_at: int
    cpu_ns: int
    memory_usage: int
    working_set: int
    rss: int
    rootfs_used: int = 0


class Image(msgspec.Struct):
    """An image that the runtime has."""

    id: str
    repo_tags: list[str]
    repo_digests: list[str]
    size_bytes: int
    uid: int | None = None
    username: str = ""
    pinned: bool = False


class ImageFilesystem(msgspec.Struct):
    """Where a runtime keeps its images: a folder, and what they take of the file system there."""

    mountpoint: str
    used_bytes: int


class ImageAuth(msgspec.Struct):
    """Credentials for one registry; never logged."""

    username: str = ""
    password: str = ""
    server_address: str = ""
    identity_token: str = ""
    registry_token: str = ""
    auth: str = ""

    def __repr__(self) -> str:
        return f"ImageAuth(username={self.username!r}, server_address={self.server_address!r}, ...)"


class ExecResult(msgspec.Struct):
    """What a command run in a container left behind."""

    stdout: bytes
    stderr: bytes
    exit_code: int


class ContainerEvent(msgspec.Struct):
    """Something happened to a container or sandbox of that pod; the pod's state is to be read again."""

    pod_uid: str


class Runtime(Protocol):
    """A container runtime. Every call raises RuntimeCallError or RuntimeUnavailableError."""

    async def run(self) -> None:
        """Keep the connection or the supervisor alive until cancelled; containers go on after that."""
        ...

    async def version(self) -> RuntimeVersion: ...

    async def status(self) -> RuntimeStatus: ...

    def refuses(self, pod: dict[str, object]) -> str:
        """Say what of this pod the runtime cannot honour, empty when it can run it as it is."""
        ...

    async def list_sandboxes(self) -> list[Sandbox]: ...

    async def sandbox_status(self, sandbox_id: str) -> SandboxStatus: ...

    async def run_sandbox(self, config: SandboxConfig) -> str:
        """Make and start a sandbox; return its id."""
        ...

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Kill what still runs in it and release its network; may be called again."""
        ...

    async def remove_sandbox(self, sandbox_id: str) -> None: ...

    async def list_containers(self) -> list[Container]: ...

    async def container_status(self, container_id: str) -> ContainerStatus: ...

    async def container_stats(self) -> list[ContainerStats]:
        """Read what each running container uses."""
        ...

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig) -> str:
        """Make a container; return its id."""
        ...

    async def start_container(self, container_id: str) -> None: ...

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        """Ask it to end (TERM or the image's stop signal), kill it after timeout_s; returns when it has ended."""
        ...

    async def remove_container(self, container_id: str) -> None: ...

    async def exec_sync(self, container_id: str, command: list[str], timeout_s: float) -> ExecResult:
        """Run command in the container; raises TimeoutError after timeout_s (0: no limit)."""
        ...

    async def reopen_log(self, container_id: str) -> None: ...

    async def image_status(self, image: str) -> Image | None:
        """Return the image if the runtime has it."""
        ...

    async def pull_image(self, image: str, auth: ImageAuth | None, sandbox: SandboxConfig) -> str:
        """Fetch the image; return its reference."""
        ...

    async def list_images(self) -> list[Image]: ...

    async def remove_image(self, image: str) -> None: ...

    async def image_fs_info(self) -> ImageFilesystem | None:
        """Say where images lie; None: the runtime has none that could be removed."""
        ...

    def events(self) -> AsyncIterator[ContainerEvent]:
        """Tell of changes as they happen; relisting stays the safety net."""
        ...
