"""A process runtime with a real supervisor, which is ended with all its containers after each test."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kubeedge.edgecore.edged.runtime.interface import (
    ContainerConfig,
    ContainerState,
    ContainerStatus,
    SandboxConfig,
)
from kubeedge.edgecore.edged.runtime.process.runtime import ProcessRuntime

READY_TIMEOUT_S = 10


class Node:
    """One runtime folder and the runtime that works on it; `restart` is what a restart of edgecore does to it."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.root = folder / "runtime"
        self.options = options
        self.runtime = ProcessRuntime(self.root, node_ip="192.0.2.7", **options)
        self._task: asyncio.Task[None] | None = None
        self.sandbox = SandboxConfig(
            "web",
            "default",
            "uid-1",
            hostname="web",
            log_directory=str(folder / "logs"),
            cgroup_parent="/kubeedge-test",
        )

    async def start(self) -> None:
        self._task = asyncio.create_task(self.runtime.run())
        await self.ready()

    async def ready(self) -> None:
        await until(lambda: self.runtime._is_ready, READY_TIMEOUT_S)

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def restart(self) -> None:
        await self.stop()
        await self.restart_after_stop()

    async def restart_after_stop(self) -> None:
        self.runtime = ProcessRuntime(self.root, node_ip="192.0.2.7", **self.options)
        await self.start()

    def supervisor_pid(self) -> int:
        lines = (self.root / "supervisor.log").read_text().splitlines()
        return int([line for line in lines if "supervisor started" in line][-1].rpartition("pid=")[2])

    async def create(self, *command: str, **fields: Any) -> str:
        """Make a container that runs command in the node's one sandbox; return its id."""
        sandboxes = await self.runtime.list_sandboxes()
        sandbox_id = sandboxes[0].id if sandboxes else await self.runtime.run_sandbox(self.sandbox)
        config = ContainerConfig("main", 0, "busybox:1.36", command=list(command), **fields)
        return await self.runtime.create_container(sandbox_id, config, self.sandbox)

    async def run(self, *command: str, **fields: Any) -> str:
        container_id = await self.create(*command, **fields)
        await self.runtime.start_container(container_id)
        return container_id

    async def ended(self, container_id: str) -> ContainerStatus:
        """Wait for the end of a container and return its status."""
        await until(lambda: self.runtime._state(container_id).state is ContainerState.EXITED)
        return await self.runtime.container_status(container_id)

    def output(self, name: str = "0.log") -> list[str]:
        """Return the texts of a log file's lines."""
        lines = (self.folder / "logs" / name).read_text().splitlines()
        return [line.split(" ", 3)[3] for line in lines]

    def pid(self, container_id: str) -> int:
        return int((self.root / "containers" / container_id / "started").read_text().split()[0])

    async def clean_up(self) -> None:
        await self.ready()
        for sandbox in await self.runtime.list_sandboxes():
            await self.runtime.remove_sandbox(sandbox.id)
        pid = self.supervisor_pid()
        await self.stop()
        os.kill(pid, signal.SIGKILL)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path)
    await node.start()
    yield node
    await node.clean_up()


async def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    """Wait until condition() holds."""
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is in other processes
            await asyncio.sleep(0.01)
