"""The gate: accepts nodes, runs their sessions, and answers what it can answer alone (spec 01 §3)."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple, Protocol

import orjson

from kubeedge._speedups import routing
from kubeedge._speedups.frames import DEFAULT_MAX_MESSAGE, GOING_AWAY
from kubeedge.cloudcore.hub.outbox import Delivery, Framer
from kubeedge.cloudcore.hub.session import NodeSession, dropped
from kubeedge.cloudcore.hub.wheel import TimerWheel
from kubeedge.link.server import Listener, ServerConnection, common_name, forbidden
from kubeedge.link.upgrade import UpgradeError, UpgradeRequest
from kubeedge.message import Message, response_to
from kubeedge.metrics import Counter

log = logging.getLogger(__name__)

MODULE = "cloudhub"
KEEPALIVE_TIMEOUT_S = 30.0
_TICK_S = 0.5

# Kinds of messages for controllers, and those that say there which node they are from.
_FIRST_BEHIND = routing.TASK_MANAGER
_FIRST_PREFIXED = routing.FIRST_PREFIXED
# A name of a Kubernetes Node; it becomes part of resource strings and of names of ObjectSyncs.
_NODE_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?")

node_errors = Counter("kubeedge_cloudhub_node_errors_total", "Messages with which nodes reported an error")


class GateSettings(NamedTuple):
    """What a gate has to know. Times in seconds, max_message in bytes; cluster_ca is the PEM of the API server's CA."""

    host: str = "0.0.0.0"
    port: int = 10000
    keepalive_timeout_s: float = KEEPALIVE_TIMEOUT_S
    write_timeout_s: float = 30.0
    max_message: int = DEFAULT_MAX_MESSAGE
    cluster_ca: str = ""


class Office(Protocol):
    """Where the sessions of all gates come together. No method may block."""

    def admit(self, node: str, connection: ServerConnection) -> int:
        """Make room for a session of node and return its number.

        Raises UpgradeError with the reason when there is none, UndecidedError when that shows later: connection's
        decide() is called then.
        """
        ...

    def session_started(self, session: NodeSession) -> None:
        """Take note of a session that was admitted."""
        ...

    def session_ended(self, session: NodeSession) -> None:
        """Forget a session; called once for each that started."""
        ...

    def from_node(self, session: NodeSession, kind: int, message: Message) -> None:
        """Take a message of a node that is for somebody behind the gate; kind is what routing.upstream() says."""
        ...

    def acknowledged(self, session: NodeSession, delivery: Delivery) -> None:
        """Take note that a node has what delivery says."""
        ...


class Gate:
    """Accepts nodes on one address and holds their sessions.

    A node may only speak for itself: its certificate must bear its name (spec 01 §3.2).
    """

    def __init__(
        self,
        office: Office,
        tls: ssl.SSLContext,
        settings: GateSettings,
        framer: Framer,
        *,
        listening: socket.socket | None = None,
        room: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """tls must require client certificates. listening and room are those of link.server.Listener."""
        self._office = office
        self._keepalive_timeout_s = settings.keepalive_timeout_s
        self._cluster_ca = orjson.dumps(settings.cluster_ca)
        self._listener = Listener(
            settings.host,
            settings.port,
            tls,
            self._accept,
            write_timeout_s=settings.write_timeout_s,
            max_message=settings.max_message,
            listening=listening,
            room=room,
        )
        self.now = time.monotonic
        self.framed = framer.framed
        self._sessions: set[NodeSession] = set()
        self._wheel: TimerWheel[NodeSession] = TimerWheel(_TICK_S, self.now())
        self._is_paused = False

    @property
    def connections(self) -> int:
        """How many connections there are, with those that have no session yet."""
        return self._listener.opening + len(self._sessions)

    def bind(self) -> int:
        """Take the address and return its port, without accepting yet. Raises OSError."""
        return self._listener.bind()

    async def run(self) -> None:
        """Serve until cancelled; the sessions end with it."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._turn_wheel())
                group.create_task(self._listener.run())
        finally:
            for session in list(self._sessions):
                session.close(GOING_AWAY, "cloudcore stops")

    def pause(self) -> None:
        """Take nothing more from nodes for now: what is behind the gate cannot keep up."""
        self._is_paused = True
        for session in self._sessions:
            session.connection.pause_reading()

    def resume(self) -> None:
        """Undo pause()."""
        self._is_paused = False
        for session in list(self._sessions):
            session.connection.resume_reading()

    async def _turn_wheel(self) -> None:
        while True:
            await asyncio.sleep(_TICK_S)
            now_s = self.now()
            for session in self._wheel.due(now_s):
                next_s = session.wake(now_s, self._keepalive_timeout_s)
                if next_s is not None:
                    self._wheel.set_earlier(session, next_s)

    def wake_at(self, session: NodeSession, at_s: float) -> None:
        """Let session be woken at that time or before."""
        self._wheel.set_earlier(session, at_s)

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
        number = self._office.admit(node, connection)
        session = NodeSession(self, connection, node, number)
        self._sessions.add(session)
        self._wheel.set(session, self.now() + self._keepalive_timeout_s)
        log.info("session started node=%s peer=%s", node, connection.peer)
        if self._is_paused:
            connection.pause_reading()
        self._office.session_started(session)
        return session

    def session_ended(self, session: NodeSession, reason: str, waiting: int) -> None:
        """Forget a session whose connection is gone."""
        self._wheel.discard(session)
        self._sessions.discard(session)
        log.info("session ended node=%s waiting=%d reason=%s", session.node, waiting, reason)
        self._office.session_ended(session)

    # Up.

    def from_node(self, session: NodeSession, message: Message) -> None:
        """Do with a node's message what its kind asks for (spec 01 §3.5)."""
        kind = routing.upstream(message)
        if kind >= _FIRST_BEHIND or kind == routing.VOLUME:
            if kind >= _FIRST_PREFIXED:
                message.resource = session.prefix + message.resource
            self._office.from_node(session, kind, message)
        elif kind == routing.ACK:
            delivery = session.acknowledge(message.parent_id)
            if delivery is not None:
                self._office.acknowledged(session, delivery)
        elif kind == routing.CLUSTER_CA:
            session.send(response_to(message, self._cluster_ca, source=MODULE, group="resource"))
        elif kind == routing.ERROR:
            node_errors.inc()
            session.complain("node reports an error", message, message.content)
        elif kind == routing.REJECTED:
            dropped.inc("source of the cloud")
            session.complain("message rejected", message)
