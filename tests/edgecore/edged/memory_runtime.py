"""A container runtime that lives in memory, can be slow and fail at any call, and watches over what it is asked."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from typing import Any

from msgspec.structs import replace

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
    RuntimeCallError,
    RuntimeStatus,
    RuntimeUnavailableError,
    RuntimeVersion,
    Sandbox,
    SandboxConfig,
    SandboxState,
    SandboxStatus,
)


class MemoryRuntime:
    """fault_rate: part of the calls that fail, half of them after they were done. Violations of what an engine must
    never do are collected, because a test that raised would only be one more fault for it to live with."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.fault_rate = 0.0
        self.is_away = False
        self.delay_s = 0.0
        self.sandboxes: dict[str, SandboxStatus] = {}
        self.containers: dict[str, tuple[str, ContainerStatus]] = {}
        self.starts: list[tuple[str, str, int]] = []
        self.violations: list[str] = []
        self._subscribers: list[asyncio.Queue[str]] = []
        self._ids = 0

    async def _call(self) -> bool:
        """Begin a call; True when it is to fail after its work."""
        if self.is_away:
            raise RuntimeUnavailableError("away")
        if self.delay_s:
            await asyncio.sleep(self.delay_s * self.random.random())
        if self.random.random() < self.fault_rate:
            if self.random.random() < 0.5:
                return True
            self._fail()
        return False

    def _fail(self) -> None:
        if self.random.random() < 0.5:
            raise RuntimeUnavailableError("connection lost")
        raise RuntimeCallError("Unknown", "internal error")

    def _changed(self, sandbox_id: str) -> None:
        for queue in self._subscribers:
            queue.put_nowait(self.sandboxes[sandbox_id].sandbox.uid)

    def _put(self, container_id: str, **changes: Any) -> None:
        sandbox_id, status = self.containers[container_id]
        self.containers[container_id] = (sandbox_id, replace(status, **changes))
        self._changed(sandbox_id)

    def running(self, uid: str = "") -> list[str]:
        """Names of running containers, of one pod or of all."""
        return sorted(
            status.name
            for sandbox_id, status in self.containers.values()
            if status.state is ContainerState.RUNNING and uid in ("", self.sandboxes[sandbox_id].sandbox.uid)
        )

    def end(self, container_id: str, code: int) -> None:
        """A container ends by itself."""
        if self.containers[container_id][1].state is ContainerState.RUNNING:
            self._put(container_id, state=ContainerState.EXITED, exit_code=code, finished_at=time.time_ns())

    def lose_sandbox(self, sandbox_id: str) -> None:
        """A sandbox and all in it die."""
        status = self.sandboxes[sandbox_id]
        self.sandboxes[sandbox_id] = replace(status, sandbox=replace(status.sandbox, state=SandboxState.NOT_READY))
        for container_id, (owner, _) in list(self.containers.items()):
            if owner == sandbox_id:
                self.end(container_id, 137)
        self._changed(sandbox_id)

    # Runtime

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def version(self) -> RuntimeVersion:
        return RuntimeVersion("memory", "1")

    async def status(self) -> RuntimeStatus:
        await self._call()
        return RuntimeStatus(True, True)

    def refuses(self, pod: dict[str, Any]) -> str:
        return ""

    async def list_sandboxes(self) -> list[Sandbox]:
        await self._call()
        return [status.sandbox for status in self.sandboxes.values()]

    async def sandbox_status(self, sandbox_id: str) -> SandboxStatus:
        await self._call()
        if sandbox_id not in self.sandboxes:
            raise RuntimeCallError("NotFound", sandbox_id)
        return self.sandboxes[sandbox_id]

    async def run_sandbox(self, config: SandboxConfig) -> str:
        fails = await self._call()
        ready = [s for s in self.sandboxes.values() if s.sandbox.uid == config.uid]
        if any(s.sandbox.state is SandboxState.READY for s in ready):
            self.violations.append(f"second ready sandbox of {config.name}")
        if any(s.sandbox.attempt == config.attempt for s in ready):
            # As a real runtime does, which keeps their names.
            raise RuntimeCallError("Unknown", f"name {config.name}_{config.attempt} is reserved")
        self._ids += 1
        id_ = f"s{self._ids}"
        sandbox = Sandbox(
            id_,
            config.name,
            config.namespace,
            config.uid,
            config.attempt,
            SandboxState.READY,
            time.time_ns(),
            config.labels,
            config.annotations,
        )
        self.sandboxes[id_] = SandboxStatus(sandbox, ["127.0.0.1"])
        self._changed(id_)
        if fails:
            self._fail()
        return id_

    async def stop_sandbox(self, sandbox_id: str) -> None:
        fails = await self._call()
        if sandbox_id in self.sandboxes:
            self.lose_sandbox(sandbox_id)
        if fails:
            self._fail()

    async def remove_sandbox(self, sandbox_id: str) -> None:
        await self._call()
        for container_id, (owner, status) in list(self.containers.items()):
            if owner == sandbox_id:
                if status.state is ContainerState.RUNNING:
                    self.violations.append(f"sandbox of running container {status.name} removed")
                del self.containers[container_id]
        self.sandboxes.pop(sandbox_id, None)

    async def list_containers(self) -> list[Container]:
        await self._call()
        return [
            Container(
                s.id, owner, s.name, s.attempt, s.image, s.image_ref, s.state, s.created_at, s.labels, s.annotations
            )
            for owner, s in self.containers.values()
        ]

    async def container_status(self, container_id: str) -> ContainerStatus:
        await self._call()
        if container_id not in self.containers:
            raise RuntimeCallError("NotFound", container_id)
        return self.containers[container_id][1]

    async def container_stats(self) -> list[ContainerStats]:
        await self._call()
        now = time.time_ns()
        return [
            ContainerStats(s.id, now, now - s.started_at, 3 << 20, 2 << 20, 1 << 20)
            for _, s in self.containers.values()
            if s.state is ContainerState.RUNNING
        ]

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig) -> str:
        fails = await self._call()
        if sandbox_id not in self.sandboxes:
            raise RuntimeCallError("NotFound", sandbox_id)
        attempts = [s.attempt for o, s in self.containers.values() if o == sandbox_id and s.name == config.name]
        if config.attempt in attempts:
            raise RuntimeCallError("Unknown", f"name {config.name}_{config.attempt} is reserved")
        self._ids += 1
        id_ = f"c{self._ids}"
        status = ContainerStatus(
            id_,
            config.name,
            config.attempt,
            ContainerState.CREATED,
            time.time_ns(),
            0,
            0,
            0,
            config.image_spec,
            config.image,
            "",
            "",
            config.labels,
            config.annotations,
            config.mounts,
            config.log_path,
        )
        self.containers[id_] = (sandbox_id, status)
        self._changed(sandbox_id)
        if fails:
            self._fail()
        return id_

    async def start_container(self, container_id: str) -> None:
        fails = await self._call()
        if container_id not in self.containers:
            raise RuntimeCallError("NotFound", container_id)
        sandbox_id, status = self.containers[container_id]
        sandbox = self.sandboxes[sandbox_id].sandbox
        if sandbox.state is not SandboxState.READY:
            raise RuntimeCallError("Unknown", "sandbox is not ready")
        if status.name in self.running(sandbox.uid):
            self.violations.append(f"{sandbox.name}/{status.name} runs twice")
        self._put(container_id, state=ContainerState.RUNNING, started_at=time.time_ns())
        self.starts.append((sandbox.uid, status.name, status.attempt))
        if fails:
            self._fail()

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        fails = await self._call()
        if container_id in self.containers:
            self.end(container_id, 137)
        if fails:
            self._fail()

    async def remove_container(self, container_id: str) -> None:
        await self._call()
        if container_id in self.containers:
            if self.containers[container_id][1].state is ContainerState.RUNNING:
                self.violations.append(f"running container {container_id} removed")
            sandbox_id = self.containers.pop(container_id)[0]
            self._changed(sandbox_id)

    async def exec_sync(self, container_id: str, command: list[str], timeout_s: float) -> ExecResult:
        await self._call()
        return ExecResult(b"", b"", 0)

    async def reopen_log(self, container_id: str) -> None:
        await self._call()

    async def image_status(self, image: str) -> Image | None:
        await self._call()
        return Image(image, [image], [], 0)

    async def pull_image(self, image: str, auth: ImageAuth | None, sandbox: SandboxConfig) -> str:
        await self._call()
        return image

    async def list_images(self) -> list[Image]:
        return []

    async def remove_image(self, image: str) -> None:
        return None

    async def image_fs_info(self) -> ImageFilesystem | None:
        return None

    async def events(self) -> AsyncIterator[ContainerEvent]:
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._subscribers.append(queue)
        try:
            while True:
                yield ContainerEvent(await queue.get())
        finally:
            self._subscribers.remove(queue)
