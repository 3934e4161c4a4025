"""Edged itself: joins the parts of the pod engine and runs them (spec 05 §4)."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import msgspec

from kubeedge.bus import Bus
from kubeedge.edgecore.edged import admission
from kubeedge.edgecore.edged.backoff import MAXIMUM_S
from kubeedge.edgecore.edged.events import Events
from kubeedge.edgecore.edged.folders import Folders
from kubeedge.edgecore.edged.image_collector import ImageCollector
from kubeedge.edgecore.edged.image_retention import Retention
from kubeedge.edgecore.edged.images import Images
from kubeedge.edgecore.edged.log_rotation import MAX_FILES, MAX_SIZE_BYTES, LogRotation
from kubeedge.edgecore.edged.meta import SOURCE, MetaClient, MetaError
from kubeedge.edgecore.edged.network import ClusterDns
from kubeedge.edgecore.edged.node import hardware
from kubeedge.edgecore.edged.node.hardware import Reservation
from kubeedge.edgecore.edged.node.keeper import NodeKeeper
from kubeedge.edgecore.edged.node.lease import LeaseKeeper
from kubeedge.edgecore.edged.node.pressure import Pressure
from kubeedge.edgecore.edged.node.status import Identity
from kubeedge.edgecore.edged.objects import Objects
from kubeedge.edgecore.edged.pod import Object
from kubeedge.edgecore.edged.pods import Pods
from kubeedge.edgecore.edged.probes.prober import Prober
from kubeedge.edgecore.edged.reporter import Reporter
from kubeedge.edgecore.edged.runtime.interface import Runtime
from kubeedge.edgecore.edged.server import Server
from kubeedge.edgecore.edged.services import RETRY_S, Services
from kubeedge.edgecore.edged.specification import NodeLimits
from kubeedge.edgecore.edged.statistics import Statistics
from kubeedge.edgecore.edged.volumes.mounter import VolumeMounter
from kubeedge.edgecore.edged.watcher import RELIST_S, RuntimeWatcher
from kubeedge.message import Message
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.edged")

NAME = SOURCE
MESSAGE_GROUP = "edged"

# Twice the resync, at least this long, without a listing: the engine hangs (spec 05 §4.8).
SYNC_LOOP_PATIENCE_S = 300.0

_unreadable = Counter("kubeedge_edged_messages_refused_total", "Messages that edged could not read", ("operation",))


_EVICTION_HARD = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}


class Settings(msgspec.Struct):
    """How the node is set up; the defaults are upstream's (spec 05 §4.1). Times in seconds.

    server_port 0 takes any free port, None starts no server.
    retry_s: after what failed; relist_s: how often the whole runtime is listed beside its events.
    """

    node_name: str
    root_directory: Path
    logs_directory: Path
    node_ip: str = ""
    pod_query_namespace: str = "default"
    node_labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    taints: Sequence[Object] = ()
    registers: bool = True
    is_schedulable: bool = True
    has_attach_detach_controller: bool = True
    server_address: str = "127.0.0.1"
    server_port: int | None = 10350
    max_pods: int = 110
    sync_frequency_s: float = 60.0
    retry_s: float = RETRY_S
    relist_s: float = RELIST_S
    status_update_s: float = 10.0
    status_report_s: float = 300.0
    lease_duration_s: int = 40
    cgroup_driver: str = "cgroupfs"
    cgroup_root: str = ""
    cluster_dns: ClusterDns = msgspec.field(default_factory=ClusterDns)
    reserved: tuple[dict[str, str], ...] = ()
    eviction_hard: Mapping[str, str] = msgspec.field(default_factory=lambda: dict(_EVICTION_HARD))
    pressure_transition_s: float = 300.0
    dead_containers_kept: int = 1
    crash_backoff_max_s: float = MAXIMUM_S
    log_max_size_bytes: int = MAX_SIZE_BYTES
    log_max_files: int = MAX_FILES
    image_retention: Retention = msgspec.field(default_factory=Retention)


class Edged:
    """The pod engine of the node. Registers itself on the bus as `edged`, group `edged`.

    service_address gives address and port of the local API server, for the environment of containers (spec 05 E1).
    """

    def __init__(
        self,
        bus: Bus,
        runtime: Runtime,
        settings: Settings,
        *,
        service_address: Callable[[], tuple[str, str]] = lambda: ("", ""),
        now: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._bus = bus
        self._runtime = runtime
        self._settings = settings
        self._service_address = service_address
        self._clock = _Clock(now, jitter)
        self._client = MetaClient(bus, settings.node_name)
        self._early: list[Message] = []
        self._online = False
        self._parts: _Parts | None = None
        bus.register(NAME, MESSAGE_GROUP, self.receive)

    def receive(self, message: Message) -> None:
        """Take a message of metamanager, or the hub's word about the connection."""
        if message.operation == "connect":
            self.connected(b"cloud_connected" in message.content)
            return
        if self._parts is None:
            self._early.append(message)
            return
        try:
            self._parts.pods.receive(message)
        except MetaError as error:
            self._refuse(message)
            log.warning("message not understood resource=%s reason=%s", message.resource, error.message)
        except Exception:
            # One object that edged cannot cope with must not take the others with it.
            self._refuse(message)
            log.exception("message failed resource=%s", message.resource)

    def _refuse(self, message: Message) -> None:
        _unreadable.inc(message.operation if message.operation in ("insert", "update", "delete") else "other")

    def connected(self, online: bool) -> None:
        """The cloud can be reached, or not any more."""
        self._online = online
        if self._parts is not None:
            self._parts.connected(online)

    async def run(self) -> None:
        """Run the node until cancelled; its containers go on. Raises OSError when its folders cannot be made."""
        self._parts = parts = await asyncio.to_thread(self._make)
        parts.connected(self._online)
        early, self._early = self._early, []
        for message in early:
            self.receive(message)
        async with asyncio.TaskGroup() as group:
            for part in parts.runnable:
                group.create_task(part.run())

    @property
    def server_port(self) -> int | None:
        """The port that the server listens on, None before it does."""
        server = self._parts.server if self._parts is not None else None
        return server.bound_port if server is not None else None

    def _make(self) -> _Parts:
        """Make the parts. The machine is read here, so this may block."""
        settings = self._settings
        folders = Folders(settings.root_directory, settings.logs_directory)
        folders.prepare()
        machine = hardware.read(settings.root_directory)
        reservation = Reservation(
            settings.reserved,
            settings.eviction_hard.get("memory.available", ""),
            settings.eviction_hard.get("nodefs.available", ""),
        )
        identity = Identity(
            name=settings.node_name,
            address=hardware.node_address(settings.node_name, settings.node_ip),
            hardware=machine,
            capacity=hardware.capacity(machine, settings.max_pods),
            allocatable=hardware.allocatable(machine, settings.max_pods, reservation),
            port=settings.server_port or 0,
            labels=settings.node_labels,
            taints=settings.taints,
            is_schedulable=settings.is_schedulable,
            has_attach_detach_controller=settings.has_attach_detach_controller,
        )
        return _Parts(self._client, self._runtime, settings, folders, identity, self._clock, self._service_address)


class _Clock(msgspec.Struct, frozen=True):
    """Unix time in seconds, and a number between 0 and 1 that is another each time."""

    now: Callable[[], float]
    jitter: Callable[[], float]


class _Runnable(Protocol):
    async def run(self) -> None: ...


class _Parts:
    """Everything that runs, joined."""

    def __init__(
        self,
        client: MetaClient,
        runtime: Runtime,
        settings: Settings,
        folders: Folders,
        identity: Identity,
        clock: _Clock,
        service_address: Callable[[], tuple[str, str]],
    ) -> None:
        now, jitter = clock.now, clock.jitter
        self._settings = settings
        self._identity = identity
        self.events = Events(client, settings.node_name, now)
        self.reporter = Reporter(client, retry_s=settings.retry_s)
        self.prober = Prober(runtime.exec_sync, jitter=jitter)
        self.watcher = RuntimeWatcher(runtime, relist_s=settings.relist_s)
        objects = Objects(client, now)
        dns = settings.cluster_dns
        services = Services(
            runtime=runtime,
            watcher=self.watcher,
            prober=self.prober,
            mounter=VolumeMounter(folders, objects),
            objects=objects,
            images=Images(runtime, objects, now, settings.retry_s),
            reporter=self.reporter,
            events=self.events,
            folders=folders,
            limits=NodeLimits(identity.hardware.memory_bytes, settings.cgroup_driver, settings.cgroup_root, dns.domain),
            now=now,
            host_ips=[identity.address],
            allocatable=identity.allocatable,
            cluster_dns=dns,
            service_address=service_address,
            sync_frequency_s=settings.sync_frequency_s,
            retry_s=settings.retry_s,
            jitter=jitter,
            dead_containers_kept=settings.dead_containers_kept,
            crash_backoff_max_s=settings.crash_backoff_max_s,
        )
        self.node = NodeKeeper(
            client,
            runtime,
            identity,
            Pressure(settings.root_directory, settings.eviction_hard, now, transition_s=settings.pressure_transition_s),
            self.events,
            lambda: self.watcher.listed_at,
            now,
            jitter,
            registers=settings.registers,
            update_s=settings.status_update_s,
            report_s=settings.status_report_s,
        )
        self.lease = LeaseKeeper(
            client, settings.node_name, lambda: self.node.uid, now, jitter, duration_s=settings.lease_duration_s
        )
        self.pods = Pods(services, client, settings.node_name, settings.pod_query_namespace, self._admitting)
        self.watcher.on_change(self.pods.changed)
        self.watcher.on_return(self.pods.runtime_returned)
        self.watcher.on_return(self.node.look_again)
        self.log_rotation = LogRotation(
            runtime,
            self.watcher.running_logs,
            now,
            max_size_bytes=settings.log_max_size_bytes,
            max_files=settings.log_max_files,
        )
        self.image_collector = ImageCollector(runtime, self.events, self.pods.image_names, settings.image_retention)
        self.server: Server | None = None
        if settings.server_port is not None:
            self.server = Server(
                settings.server_address,
                settings.server_port,
                self.pods.list,
                self._sync_problem,
                Statistics(runtime, settings.node_name, settings.root_directory),
            )

    @property
    def runnable(self) -> list[_Runnable]:
        parts: list[_Runnable] = [
            self.events,
            self.reporter,
            self.prober,
            self.watcher,
            self.node,
            self.lease,
            self.pods,
            self.log_rotation,
            self.image_collector,
        ]
        return [*parts, self.server] if self.server is not None else parts

    def connected(self, online: bool) -> None:
        for part in (self.events, self.node, self.lease, self.pods):
            part.connected(online)
        if online:
            self.reporter.reconnected()

    def _admitting(self) -> admission.Node:
        return admission.Node(self._identity.allocatable, self.node.labels, self.node.pressures)

    def _sync_problem(self) -> str:
        listed_at = self.watcher.listed_at
        patience_s = max(2 * self._settings.sync_frequency_s, SYNC_LOOP_PATIENCE_S)
        if not self.pods.is_set or listed_at is None:
            return "pods have not been read yet"
        age_s = asyncio.get_running_loop().time() - listed_at
        return f"runtime was last listed {age_s:.0f} s ago" if age_s > patience_s else ""
