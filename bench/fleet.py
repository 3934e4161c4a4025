"""Nodes of a fleet without anything behind them: each holds a link to the cloud and says what an idle node says.

One process plays many of them, so that a cloud can be measured under thousands. Their rates are upstream's: a keepalive
each 15 s, the lease each 10 s, the status every 5 minutes (spec 01 §3.4, spec 05 §4.5). Each comes back after a loss
as EdgeHub does.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import math
import random
import resource
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from kubeedge.link.client import ClientConnection, ConnectError, connect
from kubeedge.link.lane import Lane
from kubeedge.message import Message, encode, new_message, response_to

KEEPALIVE_S = 15.0
LEASE_S = 10.0
STATUS_S = 300.0
HANDSHAKE_TIMEOUT_S = 60.0
# Those of EdgeHub: the first attempt after a loss comes within the first time, later ones are the second apart at most.
FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 5.0
# New connections that one process opens at a time: as many as a machine of its own would have, one a node, would only
# make this process slow.
OPENING = 128
OPERATIONS_WITH_ACK = frozenset({"insert", "update", "delete"})
CONDITIONS = ("MemoryPressure", "DiskPressure", "PIDPressure", "Ready")


@dataclass(slots=True)
class Counts:
    """What the nodes of one process have seen so far. Ages are in seconds since the last `reset`,

    times in seconds of the clock that all processes of the machine share.
    """

    connected: int = 0
    ready: int = 0
    replies: int = 0
    errors: int = 0
    pushes: int = 0
    connects: int = 0
    failures: int = 0
    first_error: str = ""
    connected_after_s: list[float] = field(default_factory=list)
    ready_after_s: list[float] = field(default_factory=list)
    pushed_at_s: list[float] = field(default_factory=list)


class _Node(Lane):
    """One node while it is connected."""

    __slots__ = ("fleet", "is_ready", "lease", "lease_id", "name")

    def __init__(self, fleet: Fleet, name: str, connection: ClientConnection) -> None:
        super().__init__(connection)
        self.fleet = fleet
        self.name = name
        self.is_ready = False
        self.lease_id = ""
        # As the API has it: an update must name the version that it changes.
        self.lease: dict[str, Any] | None = None

    @property
    def peer_name(self) -> str:
        """See Lane."""
        return "cloud"

    def say(self, operation: str, resource_: str, content: bytes) -> str:
        message = new_message("edged", "meta", operation, resource_, content)
        self.connection.send(encode(message))
        return message.id

    def renew(self) -> None:
        """Renew the lease unless that is under way; ask for it first after a loss of the connection."""
        if self.lease_id:
            return
        resource_ = f"kube-node-lease/lease/{self.name}"
        if self.lease is None:
            self.lease_id = self.say("query", resource_, b"null")
        else:
            spec = {**self.lease["spec"], "renewTime": _micro_stamp()}
            self.lease_id = self.say("update", resource_, orjson.dumps({**self.lease, "spec": spec}))

    def report(self) -> None:
        """Report the status."""
        self.say("patch", f"default/nodepatch/{self.name}", orjson.dumps(orjson.dumps(_status()).decode()))

    def keep_alive(self) -> None:
        """Say that the connection is used."""
        self.connection.send(encode(new_message("websocket", "resource", "keepalive", "node", b'"ping"')))

    def receive(self, message: Message) -> None:
        """See Lane."""
        counts = self.fleet.counts
        if message.parent_id:
            counts.replies += 1
            is_lease = message.parent_id == self.lease_id
            if is_lease:
                self.lease_id = ""
            if b'"Err":null' not in message.content and message.content != b'"OK"':
                self.lease = None if is_lease else self.lease
                counts.errors += 1
                counts.first_error = message.content[-300:].decode(errors="replace")
            elif is_lease:
                self._leased(message.content)
        elif message.operation in OPERATIONS_WITH_ACK:
            counts.pushes += 1
            counts.pushed_at_s.append(time.monotonic())
            self.connection.send(encode(response_to(message)))

    def _leased(self, content: bytes) -> None:
        was_known = self.lease is not None
        self.lease = orjson.loads(content)["Object"]
        if not was_known:
            self.renew()
        elif not self.is_ready:
            self.is_ready = True
            self.fleet.counts.ready += 1
            self.fleet.counts.ready_after_s.append(self.fleet.age_s())

    def writable(self) -> None:
        """See Lane."""

    def closed(self, reason: str) -> None:
        """See Lane."""
        self.fleet.lost(self)


class Fleet:
    """Some nodes and their timers."""

    def __init__(self, url: str, names: dict[str, ssl.SSLContext], *, is_quiet: bool, is_known: bool) -> None:
        """names are those of the nodes; with is_quiet they register, and say nothing but keepalives after that.

        is_known says that the API has their Nodes and leases already: then nobody registers.
        """
        self.counts = Counts()
        self._url = url
        self._contexts = names
        self._is_quiet = is_quiet
        self._nodes: dict[str, _Node] = {}
        self._timers: list[tuple[float, int, str, Callable[[_Node], None], float]] = []
        # Tells apart what is due at the same moment.
        self._order = itertools.count()
        self._began_s = time.monotonic()
        self._opening = asyncio.Semaphore(OPENING)
        self._wanted: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self._registered = set(names) if is_known else set[str]()
        # Those whose timers run, at whatever connection.
        self._beating: set[str] = set()

    def reset(self) -> None:
        """Count from now on."""
        connected, ready = self.counts.connected, self.counts.ready
        self.counts = Counts(connected=connected, ready=ready)
        self._began_s = time.monotonic()

    def age_s(self) -> float:
        """Return how long ago counting began."""
        return time.monotonic() - self._began_s

    def lost(self, node: _Node) -> None:
        """Let a node whose connection ended come back."""
        if self._nodes.get(node.name) is node:
            del self._nodes[node.name]
            self.counts.connected -= 1
            self.counts.ready -= node.is_ready
            self._wanted.put_nowait((node.name, 0))

    async def run(self) -> None:
        """Connect all and keep them until cancelled."""
        for name in self._contexts:
            self._wanted.put_nowait((name, 0))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat())
            while True:
                name, failures = await self._wanted.get()
                group.create_task(self._bring_back(name, failures))

    async def _bring_back(self, name: str, failures: int) -> None:
        if failures:
            await asyncio.sleep(min(LONGEST_RETRY_S, FIRST_RETRY_S * 2.0**failures) * (0.5 + 0.5 * random.random()))
        else:
            await asyncio.sleep(FIRST_RETRY_S * random.random())
        async with self._opening:
            made: list[_Node] = []

            def opened(connection: ClientConnection) -> _Node:
                made.append(_Node(self, name, connection))
                return made[0]

            try:
                await connect(
                    f"{self._url}/fleet/{name}/events",
                    self._contexts[name],
                    [("Node_id", name), ("Project_id", "fleet"), ("Connectionuse", "msg")],
                    opened,
                    handshake_timeout_s=HANDSHAKE_TIMEOUT_S,
                )
            except ConnectError as error:
                self.counts.failures += 1
                self.counts.first_error = self.counts.first_error or str(error)
                self._wanted.put_nowait((name, failures + 1))
                return
        self._begin(made[0])

    def _begin(self, node: _Node) -> None:
        counts = self.counts
        counts.connects += 1
        counts.connected += 1
        counts.connected_after_s.append(self.age_s())
        self._nodes[node.name] = node
        if node.name not in self._beating:
            self._beating.add(node.name)
            self._repeat(node.name, _Node.keep_alive, KEEPALIVE_S)
            if not self._is_quiet:
                self._repeat_reports(node.name)
        if node.name in self._registered:
            if not self._is_quiet:
                node.renew()
                node.report()
        else:
            self._registered.add(node.name)
            node.say("insert", f"default/node/{node.name}", orjson.dumps(_document(node.name)))
            node.lease_id = node.say("insert", f"kube-node-lease/lease/{node.name}", _lease(node.name))

    def work(self) -> None:
        """Let quiet nodes renew their leases and report their statuses from now on."""
        if self._is_quiet:
            self._is_quiet = False
            for name in self._beating:
                self._repeat_reports(name)
                # Most of the others are minutes away; a node is Ready from its first on.
                self._at(time.monotonic() + LEASE_S * random.random(), name, _Node.report, math.inf)

    def _repeat_reports(self, name: str) -> None:
        self._repeat(name, _Node.renew, LEASE_S)
        self._repeat(name, _Node.report, STATUS_S)

    def _repeat(self, name: str, action: Callable[[_Node], None], period_s: float) -> None:
        self._at(time.monotonic() + period_s * random.random(), name, action, period_s)

    def _at(self, at_s: float, name: str, action: Callable[[_Node], None], period_s: float) -> None:
        heapq.heappush(self._timers, (at_s, next(self._order), name, action, period_s))

    async def _beat(self) -> None:
        while True:
            now_s = time.monotonic()
            while self._timers and self._timers[0][0] <= now_s:
                at_s, order, name, action, period_s = self._timers[0]
                node = self._nodes.get(name)
                if node is not None:
                    action(node)
                heapq.heapreplace(self._timers, (max(at_s, now_s - period_s) + period_s, order, name, action, period_s))
            await asyncio.sleep(0.02)


def _stamp(now: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))


def _micro_stamp() -> str:
    now = time.time()
    return f"{_stamp(now)}.{int(now % 1 * 1e6):06d}Z"


def _lease(name: str) -> bytes:
    spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": _micro_stamp()}
    return orjson.dumps({"metadata": {"name": name, "namespace": "kube-node-lease"}, "spec": spec})


def _status() -> dict[str, Any]:
    stamp = _stamp(time.time()) + "Z"
    conditions = [
        {
            "type": type_,
            "status": "True" if type_ == "Ready" else "False",
            "lastHeartbeatTime": stamp,
            "lastTransitionTime": stamp,
            "reason": "EdgeReady" if type_ == "Ready" else "EdgeHasNoPressure",
            "message": "edge is posting ready status",
        }
        for type_ in CONDITIONS
    ]
    resources = {"cpu": "4", "memory": "4Gi", "pods": "110"}
    return {"status": {"conditions": conditions, "capacity": resources, "allocatable": resources}}


def _document(name: str) -> dict[str, Any]:
    labels = {"kubernetes.io/hostname": name, "node-role.kubernetes.io/edge": "", "kubernetes.io/os": "linux"}
    return {"metadata": {"name": name, "labels": labels}, "spec": {}, **_status()}


def raise_file_limit(files: int) -> None:
    """Allow this process and those it starts that many open files. Raises OSError, ValueError when it may not."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, max(files, hard)))
