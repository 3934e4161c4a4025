"""The runtime that edged drives: sandboxes and containers as records on disk, processes with the supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec

from kubeedge import __version__
from kubeedge.config.host import local_address
from kubeedge.edgecore.edged.runtime.interface import (
    Container,
    ContainerConfig,
    ContainerEvent,
    ContainerState,
    ContainerStats,
    ContainerStatus,
    ExecResult,
    Image,
    ImageAuth,
    ImageFilesystem,
    Mount,
    RuntimeCallError,
    RuntimeStatus,
    RuntimeUnavailableError,
    RuntimeVersion,
    Sandbox,
    SandboxConfig,
    SandboxState,
    SandboxStatus,
)
from kubeedge.edgecore.edged.runtime.process import disk, plan, refusal, usage
from kubeedge.edgecore.edged.runtime.process.client import Client, RefusedError
from kubeedge.edgecore.edged.runtime.process.images import Images
from kubeedge.edgecore.edged.runtime.process.records import ContainerRecord, Records, SandboxRecord

log = logging.getLogger(__name__)

NAME = "process"
# Pause before another attempt to reach or start a supervisor that could not be had.
RETRY_S = 1.0
# How long after its grace period a container may take to end: the kernel kills it, the disk syncs its record.
KILL_TIMEOUT_S = 30
RESOLV_CONF = "/etc/resolv.conf"


class _Progress(msgspec.Struct):
    """How far a container came, as the supervisor tells it; pid is its first process while it runs."""

    state: ContainerState = ContainerState.CREATED
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    pid: int = 0


class ProcessRuntime:
    """Runtime whose containers are supervised local processes (`containerRuntimeEndpoint: process://`).

    root is the folder of sockets, records and work folders; node_ip is the address that every pod has, the one of
    the default route when empty. With enforce_limits a memory or cpu limit that this machine cannot enforce is a
    reason to refuse the container; without it such limits only count for the scheduler.
    """

    def __init__(self, root: Path, *, node_ip: str = "", enforce_limits: bool = True) -> None:
        self._records = Records(root)
        self._images = Images(root / "images")
        self._client = Client(root)
        self._root = root
        self._node_ip = node_ip
        self._enforce_limits = enforce_limits
        self._features: frozenset[str] = frozenset()
        self._boot_id = ""
        self._is_ready = False
        self._trouble = "the supervisor of containers is not started yet"
        self._sandboxes: dict[str, SandboxRecord] = {}
        self._containers: dict[str, ContainerRecord] = {}
        self._progress: dict[str, _Progress] = {}
        self._subscribers: list[_Changes] = []

    async def run(self) -> None:
        """Keep in touch with the supervisor, and start one when there is none. Containers go on after that."""
        self._boot_id = disk.boot_id()
        self._records.make_folders()
        self._sandboxes, self._containers, broken = self._records.load()
        for path in broken:
            log.error("record cannot be read path=%s", path)
        if not self._node_ip:
            self._node_ip = local_address()
        while True:
            try:
                await self._follow()
                self._lost("the supervisor of containers ended")
            except (RuntimeUnavailableError, OSError) as error:
                self._lost(str(error))
                await asyncio.sleep(RETRY_S)

    async def _follow(self) -> None:
        """Start a supervisor if there is none and take over what it tells, until it ends."""
        await self._client.start()
        known: dict[str, _Progress] = {}
        async with contextlib.aclosing(self._client.watch()) as messages:
            async for word, *fields in messages:
                if word == "hello":
                    if fields[0] != __version__ and await self._renewed(fields[0]):
                        return
                    self._features = frozenset(fields[2].split())
                    log.info("supervisor found pid=%s features=%s", fields[1], fields[2])
                elif word == "state":
                    if self._is_ready:
                        self._take(fields)
                    else:
                        known[fields[0]] = _progress(fields)
                elif word == "synced":
                    await self._end_strangers(known)
                    self._progress = known
                    self._is_ready = True
                    for sandbox in self._sandboxes.values():
                        self._publish(sandbox.config.uid)

    async def _end_strangers(self, known: dict[str, _Progress]) -> None:
        """End containers that have no record, because it cannot be read or their removal was cut short."""
        for container_id in [one for one in known if one not in self._containers]:
            log.warning("container without a record ended id=%s", container_id)
            await self._client.ask("stop", container_id, "0")
            await self._client.ask("forget", container_id)
            del known[container_id]
        await asyncio.to_thread(self._records.remove_all_but, set(self._containers))

    async def _renewed(self, version: str) -> bool:
        try:
            await self._client.renew()
        except RefusedError as error:
            log.warning("supervisor of another version stays version=%s reason=%s", version, error)
            return False
        log.info("supervisor renewed from=%s to=%s", version, __version__)
        return True

    def _lost(self, trouble: str) -> None:
        if self._is_ready or trouble != self._trouble:
            log.warning("supervisor lost reason=%s", trouble)
        self._is_ready = False
        self._trouble = trouble

    def _take(self, fields: list[str]) -> _Progress:
        """Take over the state of a container, and tell of it when it is news."""
        container_id, progress = fields[0], _progress(fields)
        known = self._state(container_id)
        if known.state is ContainerState.EXITED:
            return known  # the answer to a start may come after the message of the end
        if known != progress and container_id in self._containers:
            self._progress[container_id] = progress
            self._changed(container_id)
        return progress

    def _changed(self, container_id: str) -> None:
        container = self._containers.get(container_id)
        sandbox = self._sandboxes.get(container.sandbox_id) if container else None
        if sandbox is not None:
            self._publish(sandbox.config.uid)

    def _publish(self, pod_uid: str) -> None:
        for subscriber in self._subscribers:
            subscriber.add(pod_uid)

    async def version(self) -> RuntimeVersion:
        """Return `process` and the version of this package."""
        return RuntimeVersion(NAME, __version__)

    async def status(self) -> RuntimeStatus:
        """Return whether the supervisor is there; the network is the host's and always is."""
        return RuntimeStatus(self._is_ready, True, "" if self._is_ready else self._trouble)

    def refuses(self, pod: dict[str, Any]) -> str:
        """Say what of this pod cannot be honoured here, empty when it can run as it is."""
        return "; ".join(refusal.reasons(pod, self._features, self._enforce_limits)) if self._is_ready else ""

    # Sandboxes

    async def list_sandboxes(self) -> list[Sandbox]:
        """Return all sandboxes; one of before the last boot is not ready."""
        self._check_ready()
        return [self._described(record) for record in self._sandboxes.values()]

    async def sandbox_status(self, sandbox_id: str) -> SandboxStatus:
        """Return a sandbox; its address is the node's."""
        record = self._sandbox(sandbox_id)
        return SandboxStatus(self._described(record), [self._node_ip], record.config.security.namespaces.network)

    async def run_sandbox(self, config: SandboxConfig) -> str:
        """Make a sandbox: a record, there is nothing to run."""
        self._check_ready()
        if config.runtime_handler:
            raise RuntimeCallError(
                "CreatePodSandboxError", f"runtime handler {config.runtime_handler} is not supported"
            )
        record = SandboxRecord(secrets.token_hex(32), config, time.time_ns(), self._boot_id)
        await self._save(record, "CreatePodSandboxError")
        self._sandboxes[record.id] = record
        self._publish(config.uid)
        return record.id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Kill what still runs in it."""
        record = self._sandboxes.get(sandbox_id)
        if record is None:
            return
        for container in [one for one in self._containers.values() if one.sandbox_id == sandbox_id]:
            await self.stop_container(container.id, 0)
        if record.is_ready:
            record.is_ready = False
            self._publish(record.config.uid)
            await self._save(record, "StopPodSandboxError")

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Remove a sandbox with its containers."""
        await self.stop_sandbox(sandbox_id)
        for container in [one for one in self._containers.values() if one.sandbox_id == sandbox_id]:
            await self.remove_container(container.id)
        record = self._sandboxes.pop(sandbox_id, None)
        self._records.remove_sandbox(sandbox_id)
        if record is not None:
            self._publish(record.config.uid)

    async def _save(self, record: SandboxRecord, reason: str) -> None:
        try:
            await asyncio.to_thread(self._records.save_sandbox, record)
        except OSError as error:
            raise RuntimeCallError(reason, f"sandbox cannot be written down: {error}") from error

    # Containers

    async def list_containers(self) -> list[Container]:
        """Return all containers, running or not."""
        self._check_ready()
        return [
            Container(
                id=record.id,
                sandbox_id=record.sandbox_id,
                name=record.config.name,
                attempt=record.config.attempt,
                image=record.config.image_spec or record.config.image,
                image_ref=record.image_ref,
                state=self._state(record.id).state,
                created_at=record.created_at,
                labels=record.config.labels,
                annotations=record.config.annotations,
            )
            for record in self._containers.values()
        ]

    async def container_status(self, container_id: str) -> ContainerStatus:
        """Return one container in detail."""
        self._check_ready()
        record, progress = self._container(container_id), self._state(container_id)
        config = record.config
        return ContainerStatus(
            id=record.id,
            name=config.name,
            attempt=config.attempt,
            state=progress.state,
            created_at=record.created_at,
            started_at=progress.started_at,
            finished_at=progress.finished_at,
            exit_code=progress.exit_code,
            image=config.image_spec or config.image,
            image_ref=record.image_ref,
            reason=progress.reason,
            message=progress.message,
            labels=config.labels,
            annotations=config.annotations,
            mounts=config.mounts,
            log_path=record.log_path,
        )

    async def container_stats(self) -> list[ContainerStats]:
        """Return what each running container uses; of its file system nothing is known."""
        self._check_ready()
        running = [
            usage.Running(record.id, progress.pid, record.cgroup)
            for record in self._containers.values()
            if (progress := self._state(record.id)).state is ContainerState.RUNNING
        ]
        return await asyncio.to_thread(usage.read, running)

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig) -> str:
        """Make a container's folder and plan. Raises RuntimeCallError when something of it cannot be honoured."""
        self._check_ready()
        record = self._sandbox(sandbox_id)
        if self._described(record).state is not SandboxState.READY:
            raise RuntimeCallError("CreateContainerError", f"sandbox {sandbox_id} is not ready")
        image = self._images.find(config.image_spec or config.image)
        if sandbox.dns is not None and not any(mount.container_path == RESOLV_CONF for mount in config.mounts):
            path = self._records.save_resolv_conf(sandbox_id, plan.resolv_conf(sandbox.dns))
            config = msgspec.structs.replace(config, mounts=[*config.mounts, Mount(RESOLV_CONF, str(path))])
        for mount in config.mounts:
            if not os.path.exists(mount.host_path):
                raise RuntimeCallError("CreateContainerError", f"{mount.host_path} does not exist on the host")
        container_id = secrets.token_hex(32)
        folder = self._records.folder(container_id)
        made = plan.make(folder, sandbox_id, config, sandbox, image, self._features, self._enforce_limits)
        log_path = os.path.join(sandbox.log_directory, config.log_path) if config.log_path else ""
        if log_path:
            os.makedirs(os.path.dirname(log_path), mode=0o755, exist_ok=True)
        described = image.described()
        container = ContainerRecord(
            container_id, sandbox_id, config, time.time_ns(), described.id, log_path, made["cgroup"]
        )
        # Known from now on: a caller that is cancelled while the disk works must not leave what nobody knows.
        self._containers[container_id] = container
        try:
            await asyncio.to_thread(self._records.save_container, container, made)
        except (OSError, ValueError) as error:
            del self._containers[container_id]
            await asyncio.to_thread(self._records.remove_container, container_id)
            raise RuntimeCallError("CreateContainerError", f"container cannot be made: {error}") from error
        self._changed(container_id)
        return container_id

    async def start_container(self, container_id: str) -> None:
        """Start a container's command. Raises RuntimeCallError with what the launcher says."""
        record = self._container(container_id)
        terminal = "tty" if record.config.tty else ""
        request = ("start", container_id, record.sandbox_id, record.log_path, record.cgroup, terminal)
        try:
            _, *state = await self._client.ask(*request)
        except RefusedError as error:
            raise RuntimeCallError("RunContainerError", str(error)) from error
        progress = self._take(state)
        if progress.reason == "StartError":
            raise RuntimeCallError("RunContainerError", progress.message)

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        """Send TERM to its first process, KILL to all after timeout_s; return when it has ended."""
        if container_id not in self._containers or self._state(container_id).state is not ContainerState.RUNNING:
            self._check_ready()
            return
        grace_ms = max(timeout_s, 0) * 1000
        _, *state = await self._client.ask("stop", container_id, str(grace_ms), timeout_s=timeout_s + KILL_TIMEOUT_S)
        self._take(state)

    async def remove_container(self, container_id: str) -> None:
        """Remove a container and its folder; one that runs is killed, one on its way to start too."""
        if container_id not in self._containers:
            return
        self._check_ready()
        if self._state(container_id).state is not ContainerState.EXITED:
            with contextlib.suppress(RefusedError):  # it was never started
                _, *state = await self._client.ask("stop", container_id, "0", timeout_s=KILL_TIMEOUT_S)
                self._take(state)
        with contextlib.suppress(RefusedError):
            await self._client.ask("forget", container_id)
        self._changed(container_id)
        self._containers.pop(container_id, None)
        self._progress.pop(container_id, None)
        await asyncio.to_thread(self._records.remove_container, container_id)

    async def exec_sync(self, container_id: str, command: list[str], timeout_s: float) -> ExecResult:
        """Run command in the container with its environment, user and folder."""
        self._container(container_id)
        try:
            return await self._client.execute(container_id, command, timeout_s)
        except RefusedError as error:
            raise RuntimeCallError("ExecError", str(error)) from error

    async def reopen_log(self, container_id: str) -> None:
        """Have the container's output written to a new file at its log path."""
        self._container(container_id)
        try:
            await self._client.ask("log", container_id)
        except RefusedError as error:
            raise RuntimeCallError("ReopenContainerLogError", str(error)) from error

    # Images

    async def image_status(self, image: str) -> Image | None:
        """Return the unpacked image, or the host under that name: whether it can be used shows with the command."""
        return self._images.find(image).described()

    async def pull_image(self, image: str, auth: ImageAuth | None, sandbox: SandboxConfig) -> str:
        """Return the reference of an image that is here; nothing is fetched."""
        return self._images.find(image).described().id

    async def list_images(self) -> list[Image]:
        """Return the host and the unpacked images."""
        return [image.described() for image in self._images.all()]

    async def remove_image(self, image: str) -> None:
        """Refuse: images are put here by people."""
        raise RuntimeCallError("RemoveImageError", f"image {image} is not managed by the runtime, remove its folder")

    async def image_fs_info(self) -> ImageFilesystem | None:
        """Return None: nothing here is the runtime's to remove."""
        return None

    async def events(self) -> AsyncIterator[ContainerEvent]:
        """Tell of pods whose containers changed; changes that nobody read yet are told once."""
        changes = _Changes()
        self._subscribers.append(changes)
        try:
            while True:
                yield ContainerEvent(await changes.next())
        finally:
            self._subscribers.remove(changes)

    def _check_ready(self) -> None:
        if not self._is_ready:
            raise RuntimeUnavailableError(self._trouble)

    def _sandbox(self, sandbox_id: str) -> SandboxRecord:
        self._check_ready()
        try:
            return self._sandboxes[sandbox_id]
        except KeyError:
            raise RuntimeCallError("NotFound", f"sandbox {sandbox_id} does not exist") from None

    def _container(self, container_id: str) -> ContainerRecord:
        self._check_ready()
        try:
            return self._containers[container_id]
        except KeyError:
            raise RuntimeCallError("NotFound", f"container {container_id} does not exist") from None

    def _state(self, container_id: str) -> _Progress:
        return self._progress.get(container_id) or _Progress()

    def _described(self, record: SandboxRecord) -> Sandbox:
        is_ready = record.is_ready and record.boot_id == self._boot_id
        config = record.config
        return Sandbox(
            id=record.id,
            name=config.name,
            namespace=config.namespace,
            uid=config.uid,
            attempt=config.attempt,
            state=SandboxState.READY if is_ready else SandboxState.NOT_READY,
            created_at=record.created_at,
            labels=config.labels,
            annotations=config.annotations,
        )


class _Changes:
    """Pods that changed, for one reader; coalescing, so it cannot grow beyond the number of pods."""

    def __init__(self) -> None:
        self._pods: dict[str, None] = {}
        self._wake = asyncio.Event()

    def add(self, pod_uid: str) -> None:
        self._pods[pod_uid] = None
        self._wake.set()

    async def next(self) -> str:
        while not self._pods:
            self._wake.clear()
            await self._wake.wait()
        pod_uid = next(iter(self._pods))
        del self._pods[pod_uid]
        return pod_uid


def _progress(fields: list[str]) -> _Progress:
    _, word, started_ns, finished_ns, number, reason, message = fields
    if word == "running":
        return _Progress(ContainerState.RUNNING, int(started_ns), pid=int(number))
    return _Progress(ContainerState.EXITED, int(started_ns), int(finished_ns), int(number), reason, message)
