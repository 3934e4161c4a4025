"""CloudHub: the table of sessions, what nodes say to controllers and what controllers say to nodes (spec 01 §3, §6)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Protocol

import orjson

from kubeedge import resources
from kubeedge._speedups import routing
from kubeedge._speedups.frames import DEFAULT_MAX_MESSAGE, GOING_AWAY, NORMAL
from kubeedge._speedups.objects import ScanError, identify
from kubeedge.bus import Bus
from kubeedge.cloudcore.hub.annotator import Annotator
from kubeedge.cloudcore.hub.gate import KEEPALIVE_TIMEOUT_S, MODULE, Gate, GateSettings
from kubeedge.cloudcore.hub.outbox import Delivery, Framer, SyncRef
from kubeedge.cloudcore.hub.session import dropped, failed_receivers
from kubeedge.cloudcore.hub.syncs import Lookup, ObjectSyncs
from kubeedge.cloudcore.hub.workers import Workers
from kubeedge.kube.api import KubeApi
from kubeedge.kube.object import is_newer
from kubeedge.link.server import ServerConnection, overloaded
from kubeedge.message import Message, new_message
from kubeedge.metrics import Counter, Gauge
from kubeedge.pki.tls import ServerCredentials

log = logging.getLogger(__name__)

NODE_LIMIT = 500

# Whom the news of nodes coming and going is for; they are optional parts of the process (spec 01 §3.8). In this order:
# the deletions that a node missed go before the objects that have taken the names (spec 03 §9.20).
_FOLLOWERS = ("synccontroller", "edgecontroller", "devicecontroller")
# The bus group for each answer of routing.upstream that is for a controller.
_GROUPS = {
    routing.TASK_MANAGER: "taskmanager",
    routing.ROUTER: "router",
    routing.DYNAMIC_CONTROLLER: "dynamiccontroller",
    routing.DEVICE_CONTROLLER: "devicecontroller",
    routing.EDGE_CONTROLLER: "edgecontroller",
}

connected_nodes = Gauge("KubeEdge_CloudHub_connected_nodes", "Nodes with a session in this cloudcore")
upstream_messages = Counter("kubeedge_cloudhub_upstream_messages_total", "Messages from nodes", labels=("to",))
downstream_messages = Counter("kubeedge_cloudhub_downstream_messages_total", "Messages for nodes", labels=("delivery",))


class Session(Protocol):
    """A connected node, whichever process holds its connection."""

    node: str

    def send_frame(self, framed: bytes) -> None:
        """Send a message that needs no acknowledgement."""
        ...

    def offer(self, delivery: Delivery) -> None:
        """Send a reliable message when its turn comes, unless a newer version of its object is on its way already."""
        ...

    def is_removing(self, key: str) -> bool:
        """Tell whether the object of that key is about to leave the node, whatever was acknowledged of it."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Tell the node why, and end the session; session_ended() is called before this returns."""
        ...


class CloudHub:
    """The module `cloudhub`.

    It takes messages whose resource begins with `node/<n>/` and delivers them to that node, reliably where the kind of
    message asks for it (spec 01 §6.2). Messages for nodes without a session are dropped: controllers offer a node
    everything when it connects, which they learn from messages `connected` and `disconnected` (spec 01 §3.8).
    The connections are held by a gate in this process, or by gates in several worker processes: it is the Office of
    all of them.
    """

    def __init__(
        self,
        bus: Bus,
        api: KubeApi,
        tls: ServerCredentials,
        object_sync_lookup: Lookup,
        *,
        host: str = "0.0.0.0",
        port: int = 10000,
        node_limit: int = NODE_LIMIT,
        keepalive_timeout_s: float = KEEPALIVE_TIMEOUT_S,
        write_timeout_s: float = 30.0,
        max_message: int = DEFAULT_MAX_MESSAGE,
        local_ip: str = "127.0.0.1",
        cluster_ca: bytes = b"",
        is_annotated: Callable[[str], bool] = lambda node: False,
        workers: int = 1,
    ) -> None:
        """Make the hub; nothing is opened before bind() or run().

        object_sync_lookup reads the caches of ObjectSyncs and ClusterObjectSyncs, which should be filled before run().
        local_ip goes into the annotation `cloudcore` of Nodes, which is_annotated tells from a cache to be so already;
        cluster_ca is the PEM of the API server's CA, for nodes that ask (spec 01 §3.5 row 7). max_message is in bytes.
        With workers above 1 so many processes hold the connections. Raises PkiError.
        """
        self._bus = bus
        self._node_limit = node_limit
        self.now = time.monotonic
        self._sessions: dict[str, Session] = {}
        self._numbers: Iterator[int] = count(1)
        self._syncs = ObjectSyncs(api, object_sync_lookup, self._sync_created, now=self.now)
        self._annotator = Annotator(api, local_ip, is_annotated, self.is_connected)
        # What was delivered last: a push to many nodes is the same bytes for each.
        self._pushed: Delivery | None = None
        self._framer = Framer()
        settings = GateSettings(
            host, port, keepalive_timeout_s, write_timeout_s, max_message, cluster_ca.decode("utf-8", "replace")
        )
        self._gates: Gate | Workers
        if workers == 1:
            self._gates = Gate(self, tls.context(), settings, self._framer)
        else:
            self._gates = Workers(self, tls, settings, self._framer, workers)
        connected_nodes.read_from(lambda: len(self._sessions))
        bus.register(MODULE, MODULE, self.receive)

    def is_connected(self, node: str) -> bool:
        """Tell whether node has a session in this cloudcore."""
        return node in self._sessions

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes that have a session."""
        return list(self._sessions)

    @property
    def workers(self) -> list[int]:
        """Process ids of the workers that accept nodes now, by their numbers; none where this process does it."""
        return self._gates.pids if isinstance(self._gates, Workers) else []

    def bind(self) -> int:
        """Take the address and return its port, without accepting yet. Raises OSError."""
        return self._gates.bind()

    async def run(self) -> None:
        """Serve until cancelled; the sessions end with it."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._syncs.run())
            group.create_task(self._annotator.run())
            group.create_task(self._gates.run())

    # Nodes come and go.

    def make_room(self, node: str) -> None:
        """Let a new session of node take the place of its old one, or a free one. Raises UpgradeError."""
        old = self._sessions.get(node)
        if old is not None:
            old.close(GOING_AWAY, "replaced by a newer connection")
        elif len(self._sessions) >= self._node_limit:
            raise overloaded(f"limit of {self._node_limit} nodes is reached")

    def admit(self, node: str, connection: ServerConnection) -> int:
        """See Office."""
        self.make_room(node)
        return next(self._numbers)

    def session_started(self, session: Session) -> None:
        """See Office."""
        self._sessions[session.node] = session
        self._annotator.annotate(session.node)
        self._tell(session.node, "connected")

    def session_ended(self, session: Session) -> None:
        """See Office; a newer session of the same node stays (spec 01 §9 quirk 5)."""
        if self._sessions.get(session.node) is session:
            del self._sessions[session.node]
            self._tell(session.node, "disconnected")

    def _tell(self, node: str, operation: str) -> None:
        content = orjson.dumps({"client_id": node, "event_type": operation, "timestamp": int(time.time())})
        for module in _FOLLOWERS:
            if self._bus.has(module):
                try:
                    self._bus.send(module, new_message(MODULE, "resource", operation, f"node/{node}", content))
                except Exception:
                    # The node is here, or gone, whatever others make of it.
                    failed_receivers.inc()
                    log.exception("receiver failed module=%s node=%s operation=%s", module, node, operation)

    # Up.

    def from_node(self, session: Session, kind: int, message: Message) -> None:
        """See Office."""
        if kind == routing.VOLUME:
            self._bus.resolve(message)
            return
        group = _GROUPS[kind]
        upstream_messages.inc(group)
        if not self._bus.send_group(group, message):
            dropped.inc("no receiver")
            log.debug("no receiver group=%s node=%s resource=%s", group, session.node, message.resource)

    def acknowledged(self, session: Session, delivery: Delivery) -> None:
        """See Office."""
        self._syncs.acknowledged(delivery)

    # Down.

    def receive(self, message: Message) -> None:
        """Take a message from the bus for the node that its resource names; never blocks."""
        node, wire = resources.address(message.resource)
        session = self._sessions.get(node)
        if session is None:
            dropped.inc("no session")
            return
        pushed = self._pushed
        if pushed is not None and wire == pushed.resource and _is_same_push(message, pushed.message):
            # To many nodes at once: the same envelope for each, for ids only have to be unique within a session.
            downstream_messages.inc("reliable")
            self._deliver(session, pushed.to(node))
            return
        if not routing.needs_ack(message, wire):
            if message.operation == "delete" and wire == f"null/node/{node}":
                session.close(NORMAL, "node was deleted")
                return
            downstream_messages.inc("once")
            session.send_frame(self._framer.frame(message, wire))
            return
        delivery = self._delivery(message, node, wire)
        if delivery is None:
            # Nothing tells its versions apart: sent as it is, and an acknowledgement is not expected.
            downstream_messages.inc("once")
            session.send_frame(self._framer.frame(message, wire))
            return
        downstream_messages.inc("reliable")
        self._deliver(session, delivery)

    def _delivery(self, message: Message, node: str, wire: str) -> Delivery | None:
        """Make the reliable delivery of a message, None when it has nothing to be told apart by (spec 01 §6.3)."""
        if message.group != "resource":
            return None
        try:
            identity = identify(message.content)
        except ScanError:
            return None
        version = message.resource_version or identity.resource_version
        is_final = message.operation == "delete" or identity.is_deleting
        if not is_final and not (version and identity.uid):
            return None
        namespace, _, name = resources.parse(wire)
        # VolumeAttachments are asked for in a namespace, which they have not (spec 01 §9 quirk 23).
        is_cluster_scoped = namespace == resources.CLUSTER_SCOPE or identity.kind == "VolumeAttachment"
        delivery = Delivery(
            message,
            wire,
            identity.uid if identity.uid and message.operation != "response" else message.id,
            SyncRef(node, "" if is_cluster_scoped else namespace, identity.uid) if identity.uid else None,
            version,
            is_final=is_final,
            api_version=identity.api_version,
            kind=identity.kind,
            name=name,
        )
        self._pushed = delivery
        return delivery

    def _deliver(self, session: Session, delivery: Delivery) -> None:
        """Offer a delivery to its session unless the node has that version already (spec 01 §6.3 rules 3 to 5)."""
        ref = delivery.sync
        if ref is not None and self._syncs.is_creating(ref):
            self._syncs.create(delivery)
        elif ref is None or delivery.is_final or delivery.is_response:
            session.offer(delivery)
        else:
            known = self._syncs.version(ref)
            if known is None:
                self._syncs.create(delivery)
            elif is_newer(delivery.version, known) or session.is_removing(delivery.key):
                session.offer(delivery)
            else:
                dropped.inc("known to the node")

    def _sync_created(self, delivery: Delivery) -> None:
        assert delivery.sync is not None
        session = self._sessions.get(delivery.sync.node)
        if session is None:
            dropped.inc("no session")
        else:
            session.offer(delivery)


def _is_same_push(one: Message, other: Message) -> bool:
    return (
        one.content is other.content
        and one.operation == other.operation
        and one.resource_version == other.resource_version
        and one.source == other.source
        and one.group == other.group
        and not one.parent_id
        and not other.parent_id
    )
