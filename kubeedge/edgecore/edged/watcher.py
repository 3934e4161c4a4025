"""Sees what the runtime has: fresh listings on demand, shared by all pods, and word of what changed by itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from kubeedge.edgecore.edged import labels
from kubeedge.edgecore.edged.observation import Observed, ObservedContainer, newest_first
from kubeedge.edgecore.edged.runtime.interface import (
    Container,
    ContainerState,
    ContainerStatus,
    Runtime,
    RuntimeCallError,
    RuntimeUnavailableError,
    Sandbox,
    SandboxStatus,
)
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.edged")

# The runtime tells of changes itself; listing everything is for what its events may have missed.
RELIST_S = 10.0
EVENTS_RETRY_S = 2.0
# A runtime that is away is looked for this soon, each pause twice as long, up to a relist.
AWAY_RETRY_S = 0.25

_relists = Counter("kubeedge_edged_relists_total", "Listings of all sandboxes and containers", ("outcome",))


class _Listing:
    """What one pod has in the runtime."""

    __slots__ = ("containers", "sandboxes")

    def __init__(self) -> None:
        self.sandboxes: list[Sandbox] = []
        self.containers: list[Container] = []

    def states(self) -> frozenset[tuple[str, str]]:
        sandboxes = ((s.id, s.state.value) for s in self.sandboxes)
        return frozenset((*sandboxes, *((c.id, c.state.value) for c in self.containers)))


class RuntimeWatcher:
    """Lists the runtime; tells on_change of every pod whose state has become another.

    Details of a container or sandbox are asked for once for each state that it is in: they do not change inside it.
    """

    def __init__(self, runtime: Runtime, *, relist_s: float = RELIST_S) -> None:
        self._runtime = runtime
        self._listeners: list[Callable[[str], None]] = []
        self._return_listeners: list[Callable[[], None]] = []
        self._relist_s = relist_s
        self._pods: dict[str, _Listing] = {}
        self._containers: dict[tuple[str, str], ContainerStatus] = {}
        self._sandboxes: dict[tuple[str, str], SandboxStatus] = {}
        self._begun = 0
        self._ended = 0
        self._listing = asyncio.Lock()
        self.listed_at: float | None = None
        # The scheme of container ids (`containerd`), known once the runtime was listed; how it wants cgroups named.
        self.runtime_name = ""
        self.cgroup_driver = ""

    def on_change(self, listener: Callable[[str], None]) -> None:
        """Call listener(pod uid) when something of that pod has changed."""
        self._listeners.append(listener)

    def on_return(self, listener: Callable[[], None]) -> None:
        """Call listener when the runtime can be listed after it could not be."""
        self._return_listeners.append(listener)

    def _changed(self, uid: str) -> None:
        for listener in self._listeners:
            listener(uid)

    def pod_uids(self) -> set[str]:
        """Return the pods of which the runtime had something at the last listing."""
        return set(self._pods)

    def listed(self, uid: str) -> tuple[list[Sandbox], list[Container]]:
        """Return what the last listing had of a pod."""
        listing = self._pods.get(uid) or _Listing()
        return list(listing.sandboxes), list(listing.containers)

    def running_logs(self) -> list[tuple[str, str]]:
        """Return id and log file of each container that runs."""
        running = (s for s in self._containers.values() if s.state is ContainerState.RUNNING)
        return [(status.id, status.log_path) for status in running if status.log_path]

    async def observe(self, uid: str) -> Observed:
        """Return what the runtime has of a pod, listed after this call. Raises RuntimeUnavailableError.

        Something that is listed but of which nothing can be told makes the whole look fail: taken as absent it would
        be made a second time.
        """
        await self.refresh()
        try:
            return await self._look(uid)
        except RuntimeCallError:
            # Most likely it was removed since it was listed.
            await self.refresh()
        try:
            return await self._look(uid)
        except RuntimeCallError as error:
            raise RuntimeUnavailableError(error.message) from error

    async def _look(self, uid: str) -> Observed:
        listing = self._pods.get(uid) or _Listing()
        sandboxes = [await self._sandbox(sandbox) for sandbox in listing.sandboxes]
        containers = [
            ObservedContainer(container.sandbox_id, await self._container(container))
            for container in listing.containers
        ]
        return newest_first(Observed(sandboxes, containers))

    async def _sandbox(self, sandbox: Sandbox) -> SandboxStatus:
        key = (sandbox.id, sandbox.state.value)
        known = self._sandboxes.get(key)
        if known is None:
            known = await self._runtime.sandbox_status(sandbox.id)
            if known.sandbox.state is sandbox.state:
                self._sandboxes[key] = known
        return known

    async def _container(self, container: Container) -> ContainerStatus:
        key = (container.id, container.state.value)
        known = self._containers.get(key)
        if known is None:
            known = await self._runtime.container_status(container.id)
            if known.state is container.state:
                self._containers[key] = known
        return known

    async def refresh(self) -> None:
        """List everything; callers that ask while a listing runs share the one after it."""
        wanted = self._begun + 1
        async with self._listing:
            if self._ended >= wanted:
                return
            self._begun += 1
            number = self._begun
            try:
                if not self.runtime_name:
                    await self._meet()
                sandboxes = await self._runtime.list_sandboxes()
                containers = await self._runtime.list_containers()
            except (RuntimeUnavailableError, RuntimeCallError) as error:
                _relists.inc("failed")
                raise RuntimeUnavailableError(str(error)) from error
            self._take(sandboxes, containers)
            self._ended = number
            self.listed_at = asyncio.get_running_loop().time()
            _relists.inc("ok")

    async def _meet(self) -> None:
        version = await self._runtime.version()
        self.cgroup_driver = (await self._runtime.status()).cgroup_driver
        self.runtime_name = version.name

    def _take(self, sandboxes: list[Sandbox], containers: list[Container]) -> None:
        pods: dict[str, _Listing] = {}
        owner: dict[str, str] = {}
        for sandbox in sandboxes:
            uid = sandbox.uid or sandbox.labels.get(labels.POD_UID, "")
            if uid and labels.POD_NAME in sandbox.labels:
                pods.setdefault(uid, _Listing()).sandboxes.append(sandbox)
                owner[sandbox.id] = uid
        for container in containers:
            uid = container.labels.get(labels.POD_UID) or owner.get(container.sandbox_id, "")
            if uid:
                pods.setdefault(uid, _Listing()).containers.append(container)
        before, self._pods = self._pods, pods
        alive = {key for listing in pods.values() for key in listing.states()}
        self._containers = {key: status for key, status in self._containers.items() if key in alive}
        self._sandboxes = {key: status for key, status in self._sandboxes.items() if key in alive}
        nothing = _Listing()
        for uid in before.keys() | pods.keys():
            if before.get(uid, nothing).states() != pods.get(uid, nothing).states():
                self._changed(uid)

    async def run(self) -> None:
        """Follow the runtime until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_events())
            group.create_task(self._relist())

    async def _follow_events(self) -> None:
        while True:
            try:
                async for event in self._runtime.events():
                    self._changed(event.pod_uid)
            except (RuntimeUnavailableError, RuntimeCallError) as error:
                log.debug("no events from the runtime reason=%s", error)
            await asyncio.sleep(min(EVENTS_RETRY_S, self._relist_s))

    async def _relist(self) -> None:
        away_s = 0.0
        while True:
            try:
                await self.refresh()
                if away_s:
                    log.info("runtime can be listed")
                    for listener in self._return_listeners:
                        listener()
                away_s = 0.0
            except RuntimeUnavailableError as error:
                if not away_s:
                    log.warning("runtime cannot be listed reason=%s", error)
                away_s = min(2 * away_s or AWAY_RETRY_S, self._relist_s)
            await asyncio.sleep(away_s or self._relist_s)
