"""CloudHub: accepts nodes, sorts what they say and what is said to them (spec 01 §3, §6)."""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
import time
from http import HTTPStatus

import orjson

from kubeedge import resources
from kubeedge._speedups import routing
from kubeedge._speedups.envelope import Message, encode
from kubeedge._speedups.frames import DEFAULT_MAX_MESSAGE, GOING_AWAY, NORMAL, TEXT, frame
from kubeedge._speedups.objects import ScanError, identify
from kubeedge.bus import Bus
from kubeedge.cloudcore.hub.annotator import Annotator
from kubeedge.cloudcore.hub.outbox import Delivery, SyncRef
from kubeedge.cloudcore.hub.session import NodeSession, dropped, failed_receivers
from kubeedge.cloudcore.hub.syncs import Lookup, ObjectSyncs
from kubeedge.cloudcore.hub.wheel import TimerWheel
from kubeedge.kube.api import KubeApi
from kubeedge.kube.object import is_newer
from kubeedge.link.server import Listener, ServerConnection, common_name, forbidden, overloaded
from kubeedge.link.upgrade import UpgradeError, UpgradeRequest
from kubeedge.message import new_message, response_to
from kubeedge.metrics import Counter, Gauge

log = logging.getLogger(__name__)

MODULE = "cloudhub"
KEEPALIVE_TIMEOUT_S = 30.0
NODE_LIMIT = 500
_TICK_S = 0.5

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
# A name of a Kubernetes Node; it becomes part of resource strings and of names of ObjectSyncs.
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

connected_nodes = Gauge("KubeEdge_CloudHub_connected_nodes", "Nodes with a session in this cloudcore")
upstream_messages = Counter("kubeedge_cloudhub_upstream_messages_total", "Messages from nodes", labels=("to",))
node_errors = Counter("kubeedge_cloudhub_node_errors_total", "Messages with which nodes reported an error")
downstream_messages = Counter("kubeedge_cloudhub_downstream_messages_total", "Messages for nodes", labels=("delivery",))


class CloudHub:
    """The module `cloudhub`.

    It takes messages whose resource begins with `node/<n>/` and delivers them to that node, reliably where the kind of
    message asks for it (spec 01 §6.2). Messages for nodes without a session are dropped: controllers offer a node
    everything when it connects, which they learn from messages `connected` and `disconnected` (spec 01 §3.8).
    A node may only speak for itself: its certificate must bear its name (spec 01 §3.2).
    """

    def __init__(
        self,
        bus: Bus,
        api: KubeApi,
        tls: ssl.SSLContext,
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
    ) -> None:
        """Make the hub; nothing is opened before bind() or run().

        tls must require client certificates. object_sync_lookup reads the caches of ObjectSyncs and ClusterObjectSyncs,
        which should be filled before run(). local_ip goes into the annotation `cloudcore` of Nodes; cluster_ca is the
        PEM of the API server's CA, for nodes that ask (spec 01 §3.5 row 7). max_message is in bytes.
        """
        self._bus = bus
        self._node_limit = node_limit
        self._keepalive_timeout_s = keepalive_timeout_s
        self._cluster_ca = orjson.dumps(cluster_ca.decode("utf-8", "replace"))
        self._listener = Listener(
            host, port, tls, self._accept, write_timeout_s=write_timeout_s, max_message=max_message
        )
        self.now = time.monotonic
        self._sessions: dict[str, NodeSession] = {}
        self._wheel: TimerWheel[NodeSession] = TimerWheel(_TICK_S, self.now())
        self._syncs = ObjectSyncs(api, object_sync_lookup, self._sync_created, now=self.now)
        self._annotator = Annotator(api, local_ip)
        # What was delivered and framed last: a push to many nodes is the same bytes for each.
        self._pushed: Delivery | None = None
        self._framed_message: Message | None = None
        self._framed_resource = ""
        self._framed = b""
        connected_nodes.read_from(lambda: len(self._sessions))
        bus.register(MODULE, MODULE, self.receive)

    def is_connected(self, node: str) -> bool:
        """Tell whether node has a session in this process."""
        return node in self._sessions

    @property
    def nodes(self) -> list[str]:
        """Names of the nodes that have a session."""
        return list(self._sessions)

    def bind(self) -> int:
        """Take the address and return its port, without accepting yet. Raises OSError."""
        return self._listener.bind()

    async def run(self) -> None:
        """Serve until cancelled; the sessions end with it."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._syncs.run())
                group.create_task(self._annotator.run())
                group.create_task(self._turn_wheel())
                group.create_task(self._listener.run())
        finally:
            for session in list(self._sessions.values()):
                session.connection.close(GOING_AWAY, "cloudcore stops")

    async def _turn_wheel(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = self.now()
            for session in self._wheel.due(now_s):
                next_s = session.wake(now_s, self._keepalive_timeout_s)
                if next_s is not None:
                    self._wheel.set_earlier(session, next_s)

    # Nodes come and go.

    def _accept(self, connection: ServerConnection, request: UpgradeRequest) -> NodeSession:
        """Admit a node, or raise UpgradeError with the reason (spec 01 §3.2)."""
        node = request.headers.first("Node_id")
        if not _NODE_NAME.fullmatch(node):
            raise UpgradeError(HTTPStatus.BAD_REQUEST, f"header Node_id names no node: {node[:64]!r}")
        name = common_name(connection.peer_certificate())
        if name != f"system:node:{node}":
            raise forbidden(f"certificate of {name!r} does not allow to be node {node}")
        use = request.headers.first("Connectionuse")
        if use != "msg":
            raise UpgradeError(HTTPStatus.BAD_REQUEST, f"header Connectionuse is {use[:16]!r} and not 'msg'")
        old = self._sessions.get(node)
        if old is None and len(self._sessions) >= self._node_limit:
            raise overloaded(f"limit of {self._node_limit} nodes is reached")
        if old is not None:
            old.connection.close(GOING_AWAY, "replaced by a newer connection")
        session = self._sessions[node] = NodeSession(self, connection, node)
        self._wheel.set(session, self.now() + self._keepalive_timeout_s)
        log.info("session started node=%s peer=%s", node, connection.peer)
        self._annotator.annotate(node)
        self._tell(node, "connected")
        return session

    def session_ended(self, session: NodeSession, reason: str, waiting: int) -> None:
        """Forget a session whose connection is gone; a newer one of the same node stays (spec 01 §9 quirk 5)."""
        self._wheel.discard(session)
        log.info("session ended node=%s waiting=%d reason=%s", session.node, waiting, reason)
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

    def wake_at(self, session: NodeSession, at_s: float) -> None:
        """Let session be woken at that time or before."""
        self._wheel.set_earlier(session, at_s)

    # Up.

    def from_node(self, session: NodeSession, message: Message) -> None:
        """Do with a node's message what its kind asks for (spec 01 §3.5)."""
        kind = routing.upstream(message)
        group = _GROUPS.get(kind)
        if group is not None:
            if kind >= routing.FIRST_PREFIXED:
                message.resource = session.prefix + message.resource
            upstream_messages.inc(group)
            if not self._bus.send_group(group, message):
                dropped.inc("no receiver")
                log.debug("no receiver group=%s node=%s resource=%s", group, session.node, message.resource)
        elif kind == routing.ACK:
            delivery = session.acknowledge(message.parent_id)
            if delivery is not None:
                self._syncs.acknowledged(delivery)
        elif kind == routing.VOLUME:
            self._bus.resolve(message)
        elif kind == routing.CLUSTER_CA:
            session.send(response_to(message, self._cluster_ca, source=MODULE, group="resource"))
        elif kind == routing.ERROR:
            node_errors.inc()
            session.complain("node reports an error", message, message.content)
        elif kind == routing.REJECTED:
            dropped.inc("source of the cloud")
            session.complain("message rejected", message)

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
                session.connection.close(NORMAL, "node was deleted")
                return
            downstream_messages.inc("once")
            session.send_frame(self.framed(message, wire))
            return
        delivery = self._delivery(message, node, wire)
        if delivery is None:
            # Nothing tells its versions apart: sent as it is, and an acknowledgement is not expected.
            downstream_messages.inc("once")
            session.send_frame(self.framed(message, wire))
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

    def _deliver(self, session: NodeSession, delivery: Delivery) -> None:
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

    def framed(self, message: Message, resource: str) -> bytes:
        """Return message in its frame, with that resource; made once when it goes to many nodes."""
        if message is not self._framed_message or resource != self._framed_resource:
            self._framed = frame(TEXT, encode(message, resource))
            self._framed_message = message
            self._framed_resource = resource
        return self._framed


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
