"""Nodes of a fleet without anything behind them: each holds a link to the cloud and says what an idle node says.

One process plays many of them, so that a cloud can be measured under thousands. Their rates are upstream's: a keepalive
each 15 s, the lease each 10 s, the status every 5 minutes (spec 01 §3.4, spec 05 §4.5). Each comes back after a loss
as EdgeHub does.
"""

from __future__ import annotations

import asyncio
import heapq
import multiprocessing
import random
import resource
import signal
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection as Pipe
from typing import Any

import orjson
import uvloop

from kubeedge.link.client import ClientConnection, ConnectError, connect
from kubeedge.link.lane import Lane
from kubeedge.message import Message, encode, new_message, response_to
from kubeedge.pki.authority import Authority
from kubeedge.pki.tls import client_context

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

    def __init__(self, url: str, names: dict[str, ssl.SSLContext], *, is_quiet: bool) -> None:
        """names are those of the nodes; with is_quiet they only say once that they are there, and keepalives."""
        self.counts = Counts()
        self._url = url
        self._contexts = names
        self._is_quiet = is_quiet
        self._nodes: dict[str, _Node] = {}
        self._timers: list[tuple[float, int, str, Callable[[_Node], None], float]] = []
        self._began_s = time.monotonic()
        self._opening = asyncio.Semaphore(OPENING)
        self._wanted: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self._registered: set[str] = set()

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
        is_new = node.name not in self._registered
        self._nodes[node.name] = node
        if is_new:
            self._registered.add(node.name)
            node.say("insert", f"default/node/{node.name}", orjson.dumps(_document(node.name)))
            node.lease_id = node.say("insert", f"kube-node-lease/lease/{node.name}", _lease(node.name))
            now_s = time.monotonic()
            beats = [(_Node.keep_alive, KEEPALIVE_S)]
            if not self._is_quiet:
                beats += [(_Node.renew, LEASE_S), (_Node.report, STATUS_S)]
            for action, period_s in beats:
                at_s = now_s + period_s * random.random()
                heapq.heappush(self._timers, (at_s, id(action), node.name, action, period_s))
        else:
            node.renew()
            node.report()

    async def _beat(self) -> None:
        while True:
            now_s = time.monotonic()
            while self._timers and self._timers[0][0] <= now_s:
                at_s, key, name, action, period_s = self._timers[0]
                node = self._nodes.get(name)
                if node is not None:
                    action(node)
                heapq.heapreplace(self._timers, (max(at_s, now_s - period_s) + period_s, key, name, action, period_s))
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


class FleetProcess:
    """A fleet in a process of its own."""

    def __init__(self, url: str, authority: Authority, names: list[str], *, is_quiet: bool = False) -> None:
        self._pipe, theirs = multiprocessing.Pipe()
        self._process = multiprocessing.get_context("spawn").Process(
            target=_play, args=(theirs, url, authority.certificate, authority.key, names, is_quiet), daemon=True
        )

    async def start(self) -> None:
        """Start it; it connects all of its nodes."""
        await asyncio.to_thread(self._process.start)
        assert await asyncio.to_thread(self._pipe.recv) == "playing"

    @property
    def pid(self) -> int:
        """Return its process id."""
        assert self._process.pid is not None
        return self._process.pid

    async def reset(self) -> None:
        """Let it count anew."""
        self._pipe.send("reset")
        await asyncio.to_thread(self._pipe.recv)

    async def counts(self) -> Counts:
        """Return what it has counted."""
        self._pipe.send("counts")
        found: Counts = await asyncio.to_thread(self._pipe.recv)
        return found

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.join(20)


def _play(pipe: Pipe, url: str, ca: bytes, key: bytes, names: list[str], is_quiet: bool) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    authority = Authority.from_der(ca, key)
    contexts = {}
    for name in names:
        pair = authority.issue_client(f"system:node:{name}", ["system:nodes"])
        contexts[name] = client_context(authority.certificate_pem, pair.certificate_pem, pair.key_pem)

    async def main() -> None:
        fleet = Fleet(url, contexts, is_quiet=is_quiet)
        running = asyncio.ensure_future(fleet.run())
        pipe.send("playing")
        loop = asyncio.get_running_loop()

        def asked() -> None:
            if pipe.recv() == "reset":
                fleet.reset()
                pipe.send(None)
            else:
                pipe.send(fleet.counts)

        loop.add_reader(pipe.fileno(), asked)
        await running

    uvloop.run(main())
