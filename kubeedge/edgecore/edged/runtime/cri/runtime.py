"""The runtime that edged drives over CRI v1."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from pathlib import Path
from typing import Any

from grpclib.client import UnaryUnaryMethod
from grpclib.const import Status

from kubeedge.edgecore.edged.runtime.cri import answers, messages, names, pod_groups, refusal
from kubeedge.edgecore.edged.runtime.cri.connection import (
    CALL_TIMEOUT_S,
    Answer,
    Connection,
    RefusedError,
    Request,
)
from kubeedge.edgecore.edged.runtime.cri.ends import ends
from kubeedge.edgecore.edged.runtime.interface import (
    Container,
    ContainerConfig,
    ContainerEvent,
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
    SandboxStatus,
)
from kubeedge.proto import cri_pb2 as cri

log = logging.getLogger("kubeedge.edged.cri")

API_VERSION = "v1"
# What a runtime puts in front of the text of a failed pull, and what kubelet then says.
_PULL_REASONS = {
    "RegistryUnavailable": "the registry is unavailable",
    "SignatureValidationFailed": "the signature validation failed",
}
# The runtime ends a command that takes too long; so much later it is not waited for any more.
EXEC_MARGIN_S = 10.0
# A container that is killed after its grace may take this long to end: the kernel frees its memory, the disk syncs.
STOP_MARGIN_S = CALL_TIMEOUT_S
# Groups of pods that are gone are looked for this often, beside each removal of a sandbox.
SWEEP_S = 60.0


class CriRuntime:
    """Runtime behind a socket (`unix:///run/containerd/containerd.sock`); images at image_endpoint where that differs.

    seccomp_folder is where the seccomp profiles lie that pods name. cgroup_root is the group below which the pods have
    theirs. connect makes the connection to an endpoint.
    """

    def __init__(
        self,
        endpoint: str,
        image_endpoint: str | None = None,
        *,
        seccomp_folder: Path = Path("/var/lib/kubelet/seccomp"),
        cgroup_root: str = "",
        connect: Callable[[str], Connection] = Connection,
    ) -> None:
        self._connection = connect(endpoint)
        is_same = not image_endpoint or image_endpoint == endpoint
        self._image_connection = self._connection if is_same else connect(str(image_endpoint))
        self._seccomp_folder = seccomp_folder
        self._cgroup_root = cgroup_root
        self._groups: pod_groups.PodGroups | None = None
        # The pod of each sandbox, and those that are about to have one.
        self._pods: dict[str, str] = {}
        self._starting: set[str] = set()
        self._host: messages.Host | None = None
        self._version: RuntimeVersion | None = None
        self._cgroup_driver: str | None = None

    async def run(self) -> None:
        """Watch over the connection until cancelled; containers go on after that."""
        async with asyncio.TaskGroup() as group:
            for connection in {self._connection, self._image_connection}:
                group.create_task(connection.run())
            group.create_task(self._sweep())

    async def _sweep(self) -> None:
        """Remove now and then what was still in use when its pod was removed, or left behind by an edged that died."""
        while True:
            await asyncio.sleep(SWEEP_S)
            await asyncio.to_thread(self._remove_groups, self._living())

    def _living(self) -> set[str]:
        return {*self._pods.values(), *self._starting}

    async def version(self) -> RuntimeVersion:
        """Return name and version of the runtime."""
        try:
            answer = await self._connection.call(self._connection.runtime.Version, cri.VersionRequest())
        except RefusedError as error:
            if error.status is not Status.UNIMPLEMENTED:
                raise RuntimeCallError("VersionError", error.message) from None
            text = f"{self._connection.endpoint}: no CRI {API_VERSION} is offered, is it disabled? {error.message}"
            raise RuntimeUnavailableError(text) from None
        found = RuntimeVersion(answer.runtime_name, answer.runtime_version)
        if found != self._version:
            log.info(
                "runtime found name=%s version=%s endpoint=%s", found.name, found.version, self._connection.endpoint
            )
        self._version = found
        return found

    async def status(self) -> RuntimeStatus:
        """Return whether runtime and network are ready."""
        answer = await self._ask("StatusError", self._connection.runtime.Status, cri.StatusRequest())
        if self._cgroup_driver is None:
            self._cgroup_driver = await self._read_cgroup_driver()
        return answers.status(answer, self._cgroup_driver)

    async def _read_cgroup_driver(self) -> str:
        try:
            answer = await self._connection.call(self._connection.runtime.RuntimeConfig, cri.RuntimeConfigRequest())
        except RefusedError as error:
            log.debug("runtime does not tell its cgroup driver reason=%s", error)
            return ""
        return answers.cgroup_driver(answer)

    def refuses(self, pod: dict[str, Any]) -> str:
        """Say what of this pod cannot be asked of the runtime, empty when everything can."""
        return "; ".join(refusal.reasons(pod))

    # Sandboxes

    async def list_sandboxes(self) -> list[Sandbox]:
        """Return all sandboxes."""
        answer = await self._ask("ListError", self._connection.runtime.ListPodSandbox, cri.ListPodSandboxRequest())
        self._pods = {item.id: item.metadata.uid for item in answer.items}
        return [answers.sandbox(item) for item in answer.items]

    async def sandbox_status(self, sandbox_id: str) -> SandboxStatus:
        """Return one sandbox with its addresses."""
        request = cri.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id)
        answer = await self._look(self._connection.runtime.PodSandboxStatus, request)
        self._expect(answer.status.id == sandbox_id, "status of another sandbox")
        return answers.sandbox_status(answer.status)

    async def run_sandbox(self, config: SandboxConfig) -> str:
        """Make and start a sandbox with its network."""
        with _impossible("CreatePodSandboxError"):
            request = cri.RunPodSandboxRequest(config=messages.sandbox(config), runtime_handler=config.runtime_handler)
        self._starting.add(config.uid)
        try:
            await asyncio.to_thread(self._make_group, config)
            answer = await self._ask("CreatePodSandboxError", self._connection.runtime.RunPodSandbox, request)
            self._expect(bool(answer.pod_sandbox_id), "a sandbox without an id")
            self._pods[answer.pod_sandbox_id] = config.uid
        finally:
            self._starting.discard(config.uid)
        return answer.pod_sandbox_id

    async def stop_sandbox(self, sandbox_id: str) -> None:
        """Kill what still runs in it and release its network; one that is gone is stopped."""
        request = cri.StopPodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._end("KillPodSandboxError", self._connection.runtime.StopPodSandbox, request)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        """Remove a sandbox with its containers."""
        request = cri.RemovePodSandboxRequest(pod_sandbox_id=sandbox_id)
        await self._end("RemovePodSandboxError", self._connection.runtime.RemovePodSandbox, request)
        self._pods.pop(sandbox_id, None)
        await asyncio.to_thread(self._remove_groups, self._living())

    def _make_group(self, config: SandboxConfig) -> None:
        if not config.cgroup_parent or config.cgroup_parent.endswith(".slice") or config.resources is None:
            return
        if self._groups is None:
            self._groups = pod_groups.find(self._cgroup_root)
        try:
            self._groups.make(config.cgroup_parent, config.resources)
        except OSError as error:
            # Containers have limits of their own, which the runtime sets or says why it cannot.
            log.warning("pod has no limits as a whole pod=%s/%s reason=%s", config.namespace, config.name, error)

    def _remove_groups(self, living: set[str]) -> None:
        """Remove the groups of pods that have no sandbox any more, those of before edged's start too."""
        if self._groups is None:
            self._groups = pod_groups.find(self._cgroup_root)
        for uid in self._groups.uids() - living:
            self._groups.remove(uid)

    # Containers

    async def list_containers(self) -> list[Container]:
        """Return all containers, running or not."""
        answer = await self._ask("ListError", self._connection.runtime.ListContainers, cri.ListContainersRequest())
        return [answers.container(message) for message in answer.containers]

    async def container_status(self, container_id: str) -> ContainerStatus:
        """Return one container in detail."""
        request = cri.ContainerStatusRequest(container_id=container_id)
        answer = await self._look(self._connection.runtime.ContainerStatus, request)
        self._expect(answer.status.id == container_id, "status of another container")
        return answers.container_status(answer.status)

    async def container_stats(self) -> list[ContainerStats]:
        """Return what each container uses; one of which the runtime knows no numbers is left out."""
        method = self._connection.runtime.ListContainerStats
        answer = await self._ask("StatsError", method, cri.ListContainerStatsRequest())
        return [answers.container_stats(message) for message in answer.stats if message.HasField("cpu")]

    async def create_container(self, sandbox_id: str, config: ContainerConfig, sandbox: SandboxConfig) -> str:
        """Make a container in a sandbox."""
        if self._host is None:
            self._host = await asyncio.to_thread(messages.read_host, str(self._seccomp_folder))
        with _impossible("CreateContainerError"):
            request = cri.CreateContainerRequest(
                pod_sandbox_id=sandbox_id,
                config=messages.container(config, self._host),
                sandbox_config=messages.sandbox(sandbox),
            )
        answer = await self._ask("CreateContainerError", self._connection.runtime.CreateContainer, request)
        self._expect(bool(answer.container_id), "a container without an id")
        return answer.container_id

    async def start_container(self, container_id: str) -> None:
        """Start a container's command."""
        request = cri.StartContainerRequest(container_id=container_id)
        await self._ask("RunContainerError", self._connection.runtime.StartContainer, request)

    async def stop_container(self, container_id: str, timeout_s: int) -> None:
        """Ask it to end, kill it after timeout_s; one that is gone has ended."""
        request = cri.StopContainerRequest(container_id=container_id, timeout=max(timeout_s, 0))
        limit_s = max(timeout_s, 0) + STOP_MARGIN_S
        await self._end("KillContainerError", self._connection.runtime.StopContainer, request, limit_s)

    async def remove_container(self, container_id: str) -> None:
        """Remove a container; one that runs is killed."""
        request = cri.RemoveContainerRequest(container_id=container_id)
        await self._end("RemoveContainerError", self._connection.runtime.RemoveContainer, request)

    async def exec_sync(self, container_id: str, command: list[str], timeout_s: float) -> ExecResult:
        """Run command in the container. Raises TimeoutError after timeout_s, rounded up to whole seconds."""
        limit_s = math.ceil(timeout_s)
        request = cri.ExecSyncRequest(container_id=container_id, cmd=command, timeout=limit_s)
        patience_s = limit_s + EXEC_MARGIN_S if limit_s else None
        try:
            answer = await self._connection.call(self._connection.runtime.ExecSync, request, patience_s)
        except RefusedError as error:
            if error.status is Status.DEADLINE_EXCEEDED:
                raise TimeoutError(f"command took longer than {limit_s} s") from None
            raise RuntimeCallError("ExecError", error.message) from None
        return ExecResult(answer.stdout, answer.stderr, answer.exit_code)

    async def reopen_log(self, container_id: str) -> None:
        """Have the container's output written to a new file at its log path."""
        request = cri.ReopenContainerLogRequest(container_id=container_id)
        await self._ask("ReopenContainerLogError", self._connection.runtime.ReopenContainerLog, request)

    # Images

    async def image_status(self, image: str) -> Image | None:
        """Return the image if the runtime has it. Raises RuntimeCallError InvalidImageName for an impossible name."""
        problem = names.problem(image)
        if problem:
            raise RuntimeCallError("InvalidImageName", problem)
        request = cri.ImageStatusRequest(image=messages.image(image))
        answer = await self._ask_images("ImageInspectError", self._image_connection.images.ImageStatus, request)
        return answers.image(answer.image) if answer.HasField("image") else None

    async def pull_image(self, image: str, auth: ImageAuth | None, sandbox: SandboxConfig) -> str:
        """Fetch the image, however long that takes; return its reference."""
        with _impossible("ErrImagePull"):
            request = cri.PullImageRequest(
                image=messages.image(image, sandbox.annotations),
                auth=messages.auth(auth),
                sandbox_config=messages.sandbox(sandbox),
            )
        method = self._image_connection.images.PullImage
        try:
            answer = await self._ask_images("ErrImagePull", method, request, timeout_s=None)
        except RuntimeCallError as error:
            for reason, text in _PULL_REASONS.items():
                if error.message.startswith(reason):
                    message = f"image pull failed for {image} because {text}{error.message.removeprefix(reason)}"
                    raise RuntimeCallError(reason, message) from None
            raise
        return answer.image_ref

    async def list_images(self) -> list[Image]:
        """Return all images."""
        method = self._image_connection.images.ListImages
        answer = await self._ask_images("ListError", method, cri.ListImagesRequest())
        return [answers.image(message) for message in answer.images]

    async def remove_image(self, image: str) -> None:
        """Remove an image with all its names; one that is not there is removed."""
        request = cri.RemoveImageRequest(image=messages.image(image))
        await self._ask_images("RemoveImageError", self._image_connection.images.RemoveImage, request)

    async def image_fs_info(self) -> ImageFilesystem | None:
        """Say where images lie."""
        method = self._image_connection.images.ImageFsInfo
        return answers.image_filesystem(await self._ask_images("ImageFsInfoError", method, cri.ImageFsInfoRequest()))

    async def events(self) -> AsyncGenerator[ContainerEvent, None]:
        """Tell of pods of which something ended by itself."""
        async with aclosing(ends(self._connection)) as uids:
            try:
                async for uid in uids:
                    yield ContainerEvent(uid)
            except RefusedError as error:
                raise RuntimeCallError("EventsError", error.message) from None

    async def _ask(
        self,
        reason: str,
        method: UnaryUnaryMethod[Request, Answer],
        request: Request,
        timeout_s: float | None = CALL_TIMEOUT_S,
    ) -> Answer:
        with _refusals_as(reason):
            return await self._connection.call(method, request, timeout_s)

    async def _ask_images(
        self,
        reason: str,
        method: UnaryUnaryMethod[Request, Answer],
        request: Request,
        timeout_s: float | None = CALL_TIMEOUT_S,
    ) -> Answer:
        with _refusals_as(reason):
            return await self._image_connection.call(method, request, timeout_s)

    async def _look(self, method: UnaryUnaryMethod[Request, Answer], request: Request) -> Answer:
        """Read the state of one thing: only what the runtime does not know may be taken for gone."""
        try:
            return await self._ask("StatusError", method, request)
        except RuntimeCallError as error:
            if error.reason == NOT_FOUND:
                raise
            raise RuntimeUnavailableError(f"{self._connection.endpoint}: {error.message}") from None

    def _expect(self, is_sensible: bool, what: str) -> None:
        """Take nonsense for no answer: nothing is to be made or ended because of it."""
        if not is_sensible:
            raise RuntimeUnavailableError(f"{self._connection.endpoint}: no sensible answer: {what}")

    async def _end(
        self,
        reason: str,
        method: UnaryUnaryMethod[Request, Answer],
        request: Request,
        timeout_s: float | None = CALL_TIMEOUT_S,
    ) -> None:
        """End something that may be gone."""
        try:
            await self._ask(reason, method, request, timeout_s)
        except RuntimeCallError as error:
            if error.reason != NOT_FOUND:
                raise


NOT_FOUND = "NotFound"


@contextmanager
def _refusals_as(reason: str) -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        raise RuntimeCallError(NOT_FOUND if error.status is Status.NOT_FOUND else reason, error.message) from None


@contextmanager
def _impossible(reason: str) -> Iterator[None]:
    """What the interface has no word for, or no room, is refused like something that the runtime refuses."""
    try:
        yield
    except ValueError as error:
        raise RuntimeCallError(reason, str(error)) from None
