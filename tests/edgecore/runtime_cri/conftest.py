"""A runtime on the containerd of the run; what a test made is taken away after it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from kubeedge.edgecore.edged.runtime.cri.connection import Connection
from kubeedge.edgecore.edged.runtime.cri.runtime import CriRuntime
from kubeedge.edgecore.edged.runtime.interface import (
    ContainerConfig,
    ContainerState,
    ContainerStatus,
    RuntimeUnavailableError,
    SandboxConfig,
)
from tests.containerd import BUSYBOX, Containerd

WAIT_S = 20.0
UID = "9696d099-a88c-4434-8e27-aad7ec16eab5"


def impatient(endpoint: str) -> Connection:
    """A connection that finds out soon that nobody answers."""
    return Connection(endpoint, patience_s=0.3, probe_timeout_s=0.7, retry_s=0.1)


class Node:
    """The runtime and one pod's configuration on it."""

    def __init__(self, containerd: Containerd, folder: Path) -> None:
        self.containerd = containerd
        self.folder = folder
        self.runtime = CriRuntime(containerd.endpoint, cgroup_root=containerd.cgroup, connect=impatient)
        self.sandbox_id = ""
        self._task: asyncio.Task[None] | None = None
        self.sandbox = self.pod("web", UID)

    def pod(self, name: str, uid: str, **fields: Any) -> SandboxConfig:
        """The configuration of a pod that nothing was asked for."""
        labels = {
            "io.kubernetes.pod.name": name,
            "io.kubernetes.pod.namespace": "default",
            "io.kubernetes.pod.uid": uid,
        }
        logs = self.folder / f"default_{name}_{uid}"
        logs.mkdir(exist_ok=True)
        defaults: dict[str, Any] = {
            "hostname": name,
            "log_directory": str(logs),
            "labels": labels,
            "cgroup_parent": f"{self.containerd.cgroup}/kubepods/besteffort/pod{uid}",
        }
        config = SandboxConfig(name, "default", uid, **(defaults | fields))
        config.security.seccomp_profile = "RuntimeDefault"
        return config

    async def start(self) -> None:
        self._task = asyncio.create_task(self.runtime.run())
        await self.runtime.version()

    async def stop(self) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])

    async def restart(self) -> None:
        """What a restart of edgecore is to the runtime."""
        await self.stop()
        self.runtime = CriRuntime(self.containerd.endpoint, cgroup_root=self.containerd.cgroup, connect=impatient)
        await self.start()

    async def create(self, *command: str, name: str = "main", attempt: int = 0, **fields: Any) -> str:
        """Make a container in the pod's sandbox, which is made with the first; return its id."""
        if not self.sandbox_id:
            self.sandbox_id = await self.runtime.run_sandbox(self.sandbox)
        (Path(self.sandbox.log_directory) / name).mkdir(exist_ok=True)
        defaults: dict[str, Any] = {
            "image": BUSYBOX,
            "image_spec": "busybox:1.36",
            "labels": self.sandbox.labels | {"io.kubernetes.container.name": name},
            "log_path": f"{name}/{attempt}.log",
            "command": list(command),
        }
        config = ContainerConfig(name, attempt, **(defaults | fields))
        return await self.runtime.create_container(self.sandbox_id, config, self.sandbox)

    async def run(self, *command: str, **fields: Any) -> str:
        container_id = await self.create(*command, **fields)
        await self.runtime.start_container(container_id)
        return container_id

    async def ended(self, container_id: str) -> ContainerStatus:
        """Wait for the end of a container and return its status."""
        async with asyncio.timeout(WAIT_S):
            while True:
                status = await self.runtime.container_status(container_id)
                if status.state is ContainerState.EXITED:
                    return status
                await asyncio.sleep(0.02)

    def output(self, name: str = "main", attempt: int = 0) -> list[str]:
        """Return the texts of a log file's lines."""
        lines = (Path(self.sandbox.log_directory) / name / f"{attempt}.log").read_text().splitlines()
        return [line.split(" ", 3)[3] for line in lines]

    async def said(self, script: str, **fields: Any) -> list[str]:
        """Run a script in a container of its own and return what it printed."""
        await self.ended(await self.run("sh", "-c", script, **fields))
        return self.output()

    def file(self, text: str) -> str:
        """Make a file of the host; return its path."""
        path = self.folder / "file"
        path.write_text(f"{text}\n")
        return str(path)

    async def get(self, host: str, port: int) -> bytes:
        """Ask a web server for its front page, which may be about to start."""
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    reader, writer = await asyncio.open_connection(host, port)
                    break
                except OSError:
                    await asyncio.sleep(0.02)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            answer = await reader.read()
            writer.close()
            return answer

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():  # noqa: ASYNC110 - what is waited for is in other processes
                await asyncio.sleep(0.02)

    async def until_runs(self, container_id: str) -> None:
        """Wait until the shell of a container has come to its script."""
        pid = self.pid(container_id)
        await self.until(lambda: "\nSigCgt:\t0000000000000000" not in self._status(pid) or self._ignores_term(pid))

    @staticmethod
    def _status(pid: int) -> str:
        return Path(f"/proc/{pid}/status").read_text()

    @classmethod
    def _ignores_term(cls, pid: int) -> bool:
        line = next(line for line in cls._status(pid).splitlines() if line.startswith("SigIgn"))
        return bool(int(line.split()[1], 16) >> 14 & 1)

    def pid(self, id_: str) -> int:
        """Return the first process of a container or sandbox."""
        (file,) = self.containerd.folder.glob(f"state/io.containerd.runtime.v2.task/k8s.io/{id_}/init.pid")
        return int(file.read_text())

    def groups_of(self, container_id: str) -> list[Path]:
        """Return the control groups of a container, one a hierarchy."""
        return list(Path("/sys/fs/cgroup").glob(f"**{self.sandbox.cgroup_parent}/{container_id}"))

    def pause_pid(self) -> int:
        return self.pid(self.sandbox_id)

    async def clean_up(self) -> None:
        async with asyncio.timeout(WAIT_S):
            while True:
                try:
                    for sandbox in await self.runtime.list_sandboxes():
                        await self.runtime.stop_sandbox(sandbox.id)
                        await self.runtime.remove_sandbox(sandbox.id)
                except RuntimeUnavailableError:
                    await asyncio.sleep(0.1)
                else:
                    break
        await self.stop()


@pytest.fixture
async def node(containerd: Containerd, tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(containerd, tmp_path)
    await node.start()
    yield node
    await node.clean_up()
