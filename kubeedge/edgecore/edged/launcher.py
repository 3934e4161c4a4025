"""Starts one container: image, environment, mounts, creation, start, postStart hook (spec 05 §5.3)."""

from __future__ import annotations

import logging
from collections.abc import Callable

from kubeedge.edgecore.edged import environment, hooks, network, specification
from kubeedge.edgecore.edged.environment import ConfigError
from kubeedge.edgecore.edged.hooks import HookError
from kubeedge.edgecore.edged.images import ImageError
from kubeedge.edgecore.edged.interruption import Interruptible
from kubeedge.edgecore.edged.machine import Start
from kubeedge.edgecore.edged.pod import Object, Pod
from kubeedge.edgecore.edged.probes.checks import Target
from kubeedge.edgecore.edged.runtime.interface import (
    ContainerConfig,
    ContainerState,
    Image,
    Mount,
    RuntimeCallError,
    SandboxConfig,
)
from kubeedge.edgecore.edged.services import Services, field_path
from kubeedge.edgecore.edged.volumes.payload import MountError
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.edged")

# How soon to look again what became of a container that cannot be removed because it is being started.
UNSTARTED_RETRY_S = 1.0

_starts = Counter("kubeedge_edged_container_starts_total", "Starts of containers", ("outcome",))


class StartError(Exception):
    """A container that did not start: what its status shows, and when to try again (Unix seconds).

    container_id is set when the container runs all the same and has to be stopped: its postStart hook failed. An empty
    reason: nothing failed, it only has to be looked at again.
    """

    def __init__(self, reason: str, message: str, retry_at: float, container_id: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_at = retry_at
        self.container_id = container_id


class Launcher:
    """Starts containers of any pod."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def start(
        self,
        pod: Pod,
        start: Start,
        sandbox_id: str,
        sandbox: SandboxConfig,
        pod_ips: list[str],
        interruptible: Interruptible,
    ) -> str:
        """Start a container in a sandbox; return its id. Raises StartError, RuntimeUnavailableError."""
        container = start.container
        path = field_path(pod, container)

        def tell(type_: str, reason: str, message: str) -> None:
            self._services.events.pod(pod, type_, reason, message, path)

        image = await interruptible(self._image(pod, container, sandbox, tell))
        config = await self._configure(pod, start, image, pod_ips, tell)
        if start.unstarted:
            await self._remove_unstarted(start)
        try:
            container_id = await self._services.runtime.create_container(sandbox_id, config, sandbox)
        except RuntimeCallError as error:
            if error.reason == "ErrImagePull":
                # Only now does `process` know whether an image is needed at all.
                useless = self._services.images.useless(pod, container, error.message, tell)
                _starts.inc(useless.reason)
                raise StartError(useless.reason, useless.message, useless.retry_at) from None
            raise self._failed(tell, "CreateContainerError", error.message) from None
        tell("Normal", "Created", f"Created container: {container['name']}")
        try:
            await self._services.runtime.start_container(container_id)
        except RuntimeCallError as error:
            failed = self._failed(tell, "RunContainerError", error.message)
            if await self._has_exited(container_id):
                # It is dead as one that crashed: the back-off of crashes says when it is tried again.
                failed.retry_at = 0.0
            raise failed from None
        tell("Normal", "Started", f"Started container {container['name']}")
        _starts.inc("ok")
        log.info("container started pod=%s container=%s attempt=%d", pod.key, container["name"], config.attempt)
        hook = (container.get("lifecycle") or {}).get("postStart")
        if hook:
            target = Target(container_id, container, pod_ips[0] if pod_ips else "")
            try:
                await interruptible(hooks.run(pod, hook, target, self._services.runtime.exec_sync))
            except HookError as error:
                tell("Warning", "FailedPostStartHook", str(error))
                raise StartError("PostStartHookError", str(error), 0.0, container_id) from None
        return container_id

    async def _remove_unstarted(self, start: Start) -> None:
        """Remove what was made for an edged that is gone, or it could come to run beside its successor."""
        try:
            await self._services.runtime.remove_container(start.unstarted)
        except RuntimeCallError as error:
            # Most likely the runtime is starting it this moment: then it is not to be replaced.
            raise StartError("", error.message, self._services.now() + UNSTARTED_RETRY_S) from None

    def _failed(self, tell: Callable[[str, str, str], None], reason: str, message: str) -> StartError:
        tell("Warning", "Failed", f"Error: {message}")
        _starts.inc(reason)
        return StartError(reason, message, self._services.now() + self._services.retry_s)

    async def _has_exited(self, container_id: str) -> bool:
        try:
            status = await self._services.runtime.container_status(container_id)
        except RuntimeCallError:
            return False
        return status.state is ContainerState.EXITED

    async def _image(
        self, pod: Pod, container: Object, sandbox: SandboxConfig, tell: Callable[[str, str, str], None]
    ) -> Image:
        try:
            return await self._services.images.ensure(pod, container, sandbox, tell)
        except ImageError as error:
            _starts.inc(error.reason)
            if error.reason not in ("ErrImagePull",):
                tell("Warning", "Failed", f"Error: {error.reason}")
            raise StartError(error.reason, error.message, error.retry_at) from None

    async def _configure(
        self, pod: Pod, start: Start, image: Image, pod_ips: list[str], tell: Callable[[str, str, str], None]
    ) -> ContainerConfig:
        services, container = self._services, start.container
        name = container["name"]
        restart_count = start.restart_count
        if not restart_count:
            # The runtime may have lost what it knew; the logs of earlier attempts are not to be written over.
            restart_count = services.folders.last_logged_restart(pod, name) + 1
        try:
            built = await environment.build(
                pod, container, services.objects, services.place(pod_ips), services.service_address()
            )
            for text in built.skipped:
                tell("Warning", "InvalidVariableNames", text)
            mounts = await services.mounter.mounts_of(pod, container, built.values)
            mounts += self._own_files(pod, container, pod_ips, mounts)
            return specification.container_config(
                pod, container, restart_count, image, built.values, mounts, services.limits
            )
        except (ConfigError, MountError) as error:
            raise self._failed(tell, "CreateContainerConfigError", str(error)) from None
        except OSError as error:
            text = f"{error.strerror or error}: {error.filename}"
            raise self._failed(tell, "CreateContainerConfigError", text) from None

    def _own_files(self, pod: Pod, container: Object, pod_ips: list[str], mounts: list[Mount]) -> list[Mount]:
        """Make the log folder, /etc/hosts and termination file; return the mounts of the latter two."""
        folders = self._services.folders
        taken = {mount.container_path.rstrip("/") for mount in mounts}
        own: list[Mount] = []
        folders.make_container_logs(pod, container["name"])
        if "/etc/hosts" not in taken and (pod.host_network or pod_ips):
            text = network.hosts_file(pod, pod_ips, self._services.limits.cluster_domain)
            own.append(Mount("/etc/hosts", str(folders.write_hosts(pod.uid, text))))
        path = container.get("terminationMessagePath") or specification.DEFAULT_TERMINATION_PATH
        if path not in taken:
            own.append(Mount(path, str(folders.make_termination_log(pod.uid, container["name"]))))
        return own
