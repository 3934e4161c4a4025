"""Stops containers: preStop hook, then the runtime, within the pod's grace (spec 05 §5.5)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any

import orjson

from kubeedge.edgecore.edged import hooks, labels
from kubeedge.edgecore.edged.hooks import HookError
from kubeedge.edgecore.edged.machine import Role, role_of
from kubeedge.edgecore.edged.observation import Observed, ObservedContainer
from kubeedge.edgecore.edged.pod import Object, Pod
from kubeedge.edgecore.edged.probes.checks import Target
from kubeedge.edgecore.edged.runtime.interface import RuntimeCallError, RuntimeUnavailableError
from kubeedge.edgecore.edged.services import Services, field_path

log = logging.getLogger("kubeedge.edged")

# The runtime is never asked to be quicker: a process must have a chance to end by itself.
MIN_GRACE_S = 2


class Stopper:
    """Stops the containers of one pod. A hook runs once for a container, however often its stop is begun anew."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._hooked: set[str] = set()
        self._told: set[str] = set()

    async def stop_all(self, pod: Pod, observed: Observed, grace_s: int, pod_ips: list[str]) -> None:
        """Stop everything of a pod: regular containers together, then sidecars one by one, the last started first.

        Raises RuntimeUnavailableError, RuntimeCallError.
        """
        running = observed.running
        sidecars = [c for c in running if role_of(pod, c.name) is Role.SIDECAR]
        position = {c["name"]: i for i, c in enumerate(pod.init_containers)}
        sidecars.sort(key=lambda c: position.get(c.name, 0), reverse=True)
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + grace_s
        await self.stop_together(pod, [c for c in running if c not in sidecars], grace_s, pod_ips)
        for container in sidecars:
            left = max(int(ends_at - loop.time()), 0)
            await self.stop(pod, container, f"Stopping container {container.name}", left, pod_ips)

    async def stop_together(
        self, pod: Pod, containers: list[ObservedContainer], grace_s: int, pod_ips: list[str]
    ) -> None:
        """Stop several containers at the same time. Raises RuntimeUnavailableError, RuntimeCallError."""
        await all_of([self.stop(pod, c, f"Stopping container {c.name}", grace_s, pod_ips) for c in containers])

    async def stop(self, pod: Pod, container: ObservedContainer, why: str, grace_s: int, pod_ips: list[str]) -> None:
        """Stop one container within grace_s seconds. Raises RuntimeUnavailableError, RuntimeCallError."""
        wanted = pod.container(container.name) or {"name": container.name}
        if container.id not in self._told:
            self._told.add(container.id)
            self._services.events.pod(pod, "Normal", "Killing", why, field_path(pod, wanted))
            log.info("stopping container pod=%s container=%s grace_s=%d why=%s", pod.key, container.name, grace_s, why)
        self._services.prober.stop_killing(container.id)
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        hook = _pre_stop(wanted, container)
        if hook and grace_s > 0 and container.id not in self._hooked:
            self._hooked.add(container.id)
            target = Target(container.id, wanted, pod_ips[0] if pod_ips else "")
            await self._pre_stop(pod, hook, target, grace_s)
        left = grace_s - int(loop.time() - begun_at)
        await self._services.runtime.stop_container(container.id, max(left, MIN_GRACE_S))

    async def _pre_stop(self, pod: Pod, hook: Object, target: Target, grace_s: int) -> None:
        try:
            async with asyncio.timeout(grace_s):
                await hooks.run(pod, hook, target, self._services.runtime.exec_sync)
        except TimeoutError:
            log.warning("preStop hook took all of the grace pod=%s container=%s", pod.key, target.container["name"])
        except HookError as error:
            path = field_path(pod, target.container)
            self._services.events.pod(pod, "Warning", "FailedPreStopHook", str(error), path)

    def forget(self, container_id: str) -> None:
        """The container is gone."""
        self._hooked.discard(container_id)
        self._told.discard(container_id)


def _pre_stop(wanted: Object, container: ObservedContainer) -> Object | None:
    """Return the preStop hook: out of the pod, or out of what the container was made with when the pod is unknown."""
    hook = (wanted.get("lifecycle") or {}).get("preStop")
    if hook:
        return dict(hook)
    text = container.status.annotations.get(labels.PRE_STOP)
    if not text or "image" in wanted:
        return None
    try:
        known = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    return known if isinstance(known, dict) else None


async def all_of(stops: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Await all of them at once; one that fails does not break off the others, its error is raised at the end."""
    failures: list[Exception] = []

    async def stop(one: Coroutine[Any, Any, None]) -> None:
        try:
            await one
        except (RuntimeCallError, RuntimeUnavailableError) as error:
            failures.append(error)

    async with asyncio.TaskGroup() as group:
        for one in stops:
            group.create_task(stop(one))
    if failures:
        raise failures[0]


async def stop_sandboxes(services: Services, observed: Observed) -> None:
    """Stop every sandbox of a pod. Raises RuntimeUnavailableError, RuntimeCallError."""
    for sandbox in observed.sandboxes:
        await services.runtime.stop_sandbox(sandbox.sandbox.id)


async def remove_everything(services: Services, observed: Observed) -> None:
    """Remove all containers and sandboxes of a pod that is gone. Raises RuntimeUnavailableError."""
    for container in observed.containers:
        try:
            await services.runtime.remove_container(container.id)
        except RuntimeCallError as error:
            log.warning("container not removed id=%s reason=%s", container.id, error.message)
    for sandbox in observed.sandboxes:
        try:
            await services.runtime.stop_sandbox(sandbox.sandbox.id)
            await services.runtime.remove_sandbox(sandbox.sandbox.id)
        except RuntimeCallError as error:
            log.warning("sandbox not removed id=%s reason=%s", sandbox.sandbox.id, error.message)
