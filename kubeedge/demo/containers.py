"""The containers of the demo's node as its runtime has them, whatever edgecore and the cloud say."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kubeedge.edgecore.edged import labels
from kubeedge.edgecore.edged.runtime.cri.connection import Connection
from kubeedge.edgecore.edged.runtime.cri.runtime import CriRuntime
from kubeedge.edgecore.edged.runtime.interface import (
    Container,
    ContainerState,
    RuntimeCallError,
    RuntimeUnavailableError,
    Sandbox,
)
from kubeedge.edgecore.edged.runtime.process.client import Client

PROCESS = "process://"
CGROUPS = Path("/sys/fs/cgroup")
LIST_TIMEOUT_S = 10
# Enough for the kernel to end every process of the node.
REMOVE_TIMEOUT_S = 10


@dataclass(slots=True, frozen=True)
class RunningContainer:
    """A container: its pod's name, and its main process with the time when that was started (in ticks since boot)."""

    id: str
    pod: str
    pid: int
    ticks: int
    log_path: Path


class Containers(Protocol):
    """The containers of one node."""

    async def name(self) -> str:
        """Return what the runtime calls itself, for people."""
        ...

    async def running(self) -> list[RunningContainer]:
        """Return the containers that have not ended; none while the runtime is away."""
        ...

    async def remove(self) -> None:
        """End all of them and leave nothing; edgecore has to be stopped before."""
        ...


def containers(endpoint: str, logs: Path, cgroup: str = "") -> Containers:
    """Return the containers of the node that drives the runtime at endpoint and keeps their logs in the folder logs.

    cgroup is the name of the control group that holds those of its pods.
    """
    if endpoint.startswith(PROCESS):
        return ProcessContainers(Path(endpoint.removeprefix(PROCESS)))
    return CriContainers(endpoint, logs, cgroup)


class ProcessContainers:
    """What a supervisor keeps in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def name(self) -> str:
        """See Containers."""
        return "processes of this machine"

    async def running(self) -> list[RunningContainer]:
        """See Containers."""
        found = []
        for folder in (self._folder / "containers").glob("*"):
            with contextlib.suppress(OSError, ValueError, KeyError):
                if (folder / "exited").exists():
                    continue
                record = json.loads((folder / "container.json").read_bytes())
                pid, ticks = (folder / "started").read_text(encoding="utf-8").split("\n")[:2]
                pod = record["config"]["labels"][labels.POD_NAME]
                found.append(RunningContainer(folder.name, pod, int(pid), int(ticks), Path(record["log_path"])))
        return found

    def supervisor_pid(self) -> int:
        """Return the process that keeps the containers. Raises OSError, ValueError when there is none."""
        text = (self._folder / "supervisor.log").read_text(encoding="utf-8")
        return int(text.rpartition("pid=")[2].split()[0])

    async def remove(self) -> None:
        """See Containers."""
        with contextlib.suppress(RuntimeUnavailableError):
            async with asyncio.timeout(REMOVE_TIMEOUT_S):
                await Client(self._folder).destroy()


class CriContainers:
    """What a container engine has of the pods of one node: of those that have a folder for their logs there."""

    def __init__(self, endpoint: str, logs: Path, cgroup: str) -> None:
        self._connection = Connection(endpoint)
        self._runtime = CriRuntime(endpoint, connect=lambda _: self._connection)
        self._logs = logs
        self._cgroup = cgroup

    async def name(self) -> str:
        """See Containers. Raises RuntimeUnavailableError, RuntimeCallError."""
        version = await self._runtime.version()
        return f"{version.name} {version.version}"

    async def running(self) -> list[RunningContainer]:
        """See Containers."""
        found = []
        with contextlib.suppress(RuntimeUnavailableError, RuntimeCallError, TimeoutError):
            async with asyncio.timeout(LIST_TIMEOUT_S):
                listing = await self._runtime.list_containers()
                ours = {one.id: one for one in listing if one.state is ContainerState.RUNNING and self._is_ours(one)}
                for id_, (pid, ticks) in main_processes(ours).items():
                    status = await self._runtime.container_status(id_)
                    pod = ours[id_].labels[labels.POD_NAME]
                    found.append(RunningContainer(id_, pod, pid, ticks, Path(status.log_path)))
        return found

    def _is_ours(self, one: Container | Sandbox) -> bool:
        names = (one.labels.get(key, "") for key in (labels.POD_NAMESPACE, labels.POD_NAME, labels.POD_UID))
        return (self._logs / "_".join(names)).is_dir()

    async def remove(self) -> None:
        """See Containers."""
        with contextlib.suppress(RuntimeUnavailableError, RuntimeCallError, TimeoutError):
            async with asyncio.timeout(REMOVE_TIMEOUT_S):
                for sandbox in await self._runtime.list_sandboxes():
                    if self._is_ours(sandbox):
                        await self._runtime.stop_sandbox(sandbox.id)
                        await self._runtime.remove_sandbox(sandbox.id)
        self._connection.close()
        if self._cgroup:
            _remove_cgroups(self._cgroup)


def main_processes(ids: Collection[str]) -> dict[str, tuple[int, int]]:
    """Return the first process of each of these containers: its number and when it was started, in ticks since boot.

    Every engine names a container's control group by its id.
    """
    found: dict[str, tuple[int, int]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            # A group (`.../pod<uid>/<id>`) or a unit (`.../cri-containerd-<id>.scope`), once for each hierarchy.
            groups = (folder / "cgroup").read_text(encoding="utf-8")
            id_ = next((one for one in ids if one in groups), None)
            if id_ is not None:
                process = (int(folder.name), started_ticks(int(folder.name)))
                found[id_] = min(found.get(id_, process), process, key=lambda one: (one[1], one[0]))
    return found


def started_ticks(pid: int) -> int:
    """Return when a process was started, in ticks since boot. Raises OSError when it is gone or only not yet reaped."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    if fields[0] == "Z":
        raise ProcessLookupError(f"process {pid} has ended")
    return int(fields[19])


def _remove_cgroups(name: str) -> None:
    """Remove what the engine made below a group of that name, in each hierarchy."""
    for group in (*CGROUPS.glob(name), *CGROUPS.glob(f"*/{name}")):
        folders = [folder for folder in group.rglob("*") if folder.is_dir()]
        for folder in (*sorted(folders, reverse=True), group):
            with contextlib.suppress(OSError):
                folder.rmdir()
