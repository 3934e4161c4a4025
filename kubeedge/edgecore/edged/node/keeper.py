"""Registers the node and keeps its status true in the API (spec 05 §4.4, §4.5)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from kubeedge.edgecore.edged.events import Events
from kubeedge.edgecore.edged.meta import MetaError
from kubeedge.edgecore.edged.node import status
from kubeedge.edgecore.edged.node.pressure import Pressure
from kubeedge.edgecore.edged.node.status import Health, Identity
from kubeedge.edgecore.edged.pod import Object
from kubeedge.edgecore.edged.runtime.interface import (
    Runtime,
    RuntimeCallError,
    RuntimeStatus,
    RuntimeUnavailableError,
    RuntimeVersion,
)
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.edged")

UPDATE_S = 10.0
REPORT_S = 300.0
JITTER_PART = 0.04
FIRST_RETRY_S = 0.1
MAX_RETRY_S = 7.0
# A runtime that does not answer is only called down after this long (spec 05 §4.5).
RUNTIME_PATIENCE_S = 30.0
RUNTIME_TIMEOUT_S = 10.0
# While the node comes up it is looked at every second, this long, so that it is Ready as soon as it can be.
COMING_UP_S = 120.0
COMING_UP_PAUSE_S = 1.0
# Listings of the runtime that are older than this: it is stuck.
LISTING_PATIENCE_S = 180.0

_updates = Counter("kubeedge_edged_node_updates_total", "Status patches of the node", ("outcome",))


class NodeClient(Protocol):
    """Where the node is kept; MetaClient is one. Calls raise MetaError."""

    async def node(self) -> Object: ...

    async def node_from_cloud(self) -> Object: ...

    async def create_node(self, node: Object) -> Object: ...

    async def patch_node(self, patch: Object) -> Object: ...


class NodeKeeper:
    """Keeps the Node. listed_at gives the loop's time of the last listing of the runtime, None before the first."""

    def __init__(
        self,
        client: NodeClient,
        runtime: Runtime,
        identity: Identity,
        pressure: Pressure,
        events: Events,
        listed_at: Callable[[], float | None],
        now: Callable[[], float],
        jitter: Callable[[], float],
        *,
        registers: bool = True,
        update_s: float = UPDATE_S,
        report_s: float = REPORT_S,
    ) -> None:
        self._client = client
        self._runtime = runtime
        self._identity = identity
        self._pressure = pressure
        self._events = events
        self._listed_at = listed_at
        self._now = now
        self._jitter = jitter
        self._registers = registers
        self._update_s = update_s
        self._report_s = report_s
        self._wake = asyncio.Event()
        self._online = False
        self._must_report = True
        self._is_registered = False
        self._uid = ""
        self._labels: dict[str, str] = identity.all_labels()
        self._known: Object = {}
        self._told_at = float("-inf")
        self._version: RuntimeVersion | None = None
        self._runtime_status: RuntimeStatus | None = None
        self._runtime_seen_at: float | None = None
        self._pressures: frozenset[str] = frozenset()
        self._was_ready: bool | None = None

    @property
    def uid(self) -> str:
        """The uid of the Node, empty until it is known."""
        return self._uid

    @property
    def labels(self) -> dict[str, str]:
        """The labels of the Node as last seen."""
        return self._labels

    @property
    def pressures(self) -> frozenset[str]:
        """Conditions of pressure that hold."""
        return self._pressures

    def look_again(self) -> None:
        """Something that the node's readiness depends on has changed."""
        self._wake.set()

    def connected(self, online: bool) -> None:
        """The cloud can be reached, or not any more. After an absence everything is told at once."""
        self._online = online
        if online:
            self._must_report = True
            self._wake.set()

    async def run(self) -> None:
        """Register, then report, until cancelled."""
        loop = asyncio.get_running_loop()
        begun_at = loop.time()
        await self._read_local()
        retry_s = FIRST_RETRY_S
        while True:
            pause_s = self._update_s * (1 + JITTER_PART * self._jitter())
            await self._look_at_runtime()
            if self._online:
                try:
                    if not self._is_registered:
                        await self._register()
                    await self._report()
                    retry_s = FIRST_RETRY_S
                    if self._was_ready is not True and loop.time() - begun_at < COMING_UP_S:
                        pause_s = COMING_UP_PAUSE_S
                except MetaError as error:
                    self._failed(error)
                    pause_s, retry_s = retry_s, min(retry_s * 2, MAX_RETRY_S)
            try:
                async with asyncio.timeout(pause_s):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()

    async def _read_local(self) -> None:
        """Take what the database knows of the node: enough to work without the cloud."""
        try:
            self._take(await self._client.node())
        except MetaError as error:
            log.debug("node is not in the database reason=%s", error.message)

    def _take(self, node: Object) -> None:
        metadata = node.get("metadata") or {}
        self._uid = str(metadata.get("uid") or "") or self._uid
        if metadata.get("labels"):
            self._labels = dict(metadata["labels"])
        self._known = node.get("status") or {}

    async def _register(self) -> None:
        if self._registers:
            try:
                wanted = status.node(self._identity, self._status())
                self._take(await self._client.create_node(wanted))
                self._told_at = asyncio.get_running_loop().time()
                log.info("node registered node=%s uid=%s", self._identity.name, self._uid)
                self._is_registered = True
                return
            except MetaError as error:
                if error.reason not in ("AlreadyExists", "Forbidden"):
                    raise
        self._take(await self._present())
        self._is_registered = True
        self._must_report = True
        log.info("node is known node=%s uid=%s", self._identity.name, self._uid)

    async def _present(self) -> Object:
        """Return the Node that exists: what the database has may be of an earlier life of this node (spec 05 Q8)."""
        try:
            return await self._client.node_from_cloud()
        except MetaError as error:
            if error.reason:
                raise
            return await self._client.node()

    async def _look_at_runtime(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RUNTIME_TIMEOUT_S):
                if self._version is None:
                    self._version = await self._runtime.version()
                self._runtime_status = await self._runtime.status()
            self._runtime_seen_at = loop.time()
        except (RuntimeUnavailableError, RuntimeCallError, TimeoutError) as error:
            seen_at = self._runtime_seen_at
            if seen_at is None or loop.time() - seen_at > RUNTIME_PATIENCE_S:
                self._runtime_status = None
            log.debug("runtime does not answer reason=%s", error)
        before, self._pressures = self._pressures, await asyncio.to_thread(self._pressure.look)
        for condition in sorted(self._pressures - before):
            log.warning("node under pressure condition=%s", condition)
            self._events.node(
                "Warning", f"NodeHas{condition}", f"Node {self._identity.name} status is now: {condition}"
            )

    def _status(self) -> Object:
        problems: list[str] = []
        listed_at = self._listed_at()
        loop_now = asyncio.get_running_loop().time()
        if listed_at is not None and loop_now - listed_at > LISTING_PATIENCE_S:
            age = int(loop_now - listed_at)
            problems.append(f"PLEG is not healthy: pleg was last seen active {age}s ago; threshold is 3m0s")
        health = Health(self._version, self._runtime_status, self._pressures, problems)
        return status.build(self._identity, health, self._known, self._now())

    async def _report(self) -> None:
        try:
            node = await self._client.node()
            if (node.get("metadata") or {}).get("uid") == self._uid or not self._uid:
                # The cloud pushes every change of the Node into the database: what others wrote shows here.
                self._take(node)
        except MetaError as error:
            log.debug("node is not in the database reason=%s", error.message)
        wanted = self._status()
        loop_now = asyncio.get_running_loop().time()
        is_due = loop_now - self._told_at >= self._report_s
        if not self._must_report and not is_due and not status.is_news(self._known, wanted):
            return
        self._take(await self._client.patch_node(status.patch(self._known, wanted)))
        self._told_at = loop_now
        self._must_report = False
        _updates.inc("ok")
        self._note_readiness(wanted)

    def _note_readiness(self, told: Object) -> None:
        ready = next(c for c in told["conditions"] if c["type"] == "Ready")
        is_ready = ready["status"] == "True"
        if is_ready != self._was_ready:
            log.info("node status told ready=%s message=%s", is_ready, ready["message"])
            if self._was_ready is not None or is_ready:
                reason = "NodeReady" if is_ready else "NodeNotReady"
                self._events.node("Normal", reason, f"Node {self._identity.name} status is now: {reason}")
        self._was_ready = is_ready

    def _failed(self, error: MetaError) -> None:
        _updates.inc(error.reason or "unreachable")
        if error.is_not_found:
            # Somebody deleted the Node while this one lives: it comes back.
            log.warning("node is not in the API any more node=%s", self._identity.name)
            self._is_registered = False
            self._uid = ""
        elif error.reason:
            log.warning("node not told reason=%s message=%s", error.reason, error.message)
        else:
            log.info("node not told reason=%s", error.message)
