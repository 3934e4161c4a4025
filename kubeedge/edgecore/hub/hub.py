"""EdgeHub: keeps the node connected to the cloud and sorts what comes down (spec 01 §4)."""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
from collections.abc import Callable

from kubeedge._speedups import routing
from kubeedge._speedups.frames import DEFAULT_MAX_MESSAGE, GOING_AWAY
from kubeedge.bus import Bus
from kubeedge.edgecore.hub.uplink import Uplink, dropped
from kubeedge.link.client import ClientConnection, ConnectError, connect
from kubeedge.link.lane import Lane
from kubeedge.message import Message, new_message
from kubeedge.metrics import Counter, Gauge

log = logging.getLogger(__name__)

MODULE = "websocket"
GROUP = "hub"
DEFAULT_PROJECT = "e632aba927ea4ac2b575ec1603d56f10"
HEARTBEAT_S = 15.0

# After a loss the first attempt comes within this time, so that nodes of a cloud that restarted don't come all at once.
FIRST_RETRY_S = 1.0
# Later attempts are this far apart at most.
LONGEST_RETRY_S = 5.0
# A cloud that refuses this node will not change its mind soon.
LONGEST_REFUSED_RETRY_S = 30.0
# A connection that held this long was a good one: its loss counts as the first.
GOOD_CONNECTION_S = 10.0
# Heartbeats without a sign of life from the cloud until the connection is taken for dead.
SILENT_HEARTBEATS = 3

_CONNECTION_GROUPS = ("twin", "meta", "bus", "taskmanager", "edged")

connections = Counter("kubeedge_edgehub_connections_total", "Connections to the cloud that were opened")
connect_failures = Counter("kubeedge_edgehub_connect_failures_total", "Attempts to connect to the cloud that failed")
is_connected = Gauge("kubeedge_edgehub_connected", "1 while this node is connected to the cloud")
downstream_messages = Counter("kubeedge_edgehub_downstream_messages_total", "Messages from the cloud")


class _CloudLane(Lane):
    """The connection to the cloud while it lasts. ended is done, with the reason, when it is lost."""

    __slots__ = ("_hub", "ended", "opened_s")

    def __init__(self, hub: EdgeHub, connection: ClientConnection) -> None:
        super().__init__(connection)
        self._hub = hub
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[str] = loop.create_future()
        self.opened_s = loop.time()

    @property
    def peer_name(self) -> str:
        """See Lane."""
        return "cloud"

    def receive(self, message: Message) -> None:
        """See Lane."""
        try:
            self._hub.from_cloud(message)
        except Exception:
            # A fault in one module must not cost the node its connection.
            dropped.inc("receiver failed")
            log.exception("receiver failed source=%s resource=%s", message.source, message.resource)

    def writable(self) -> None:
        """See Lane."""
        self._hub.uplink.pump()

    def closed(self, reason: str) -> None:
        """See Lane."""
        if not self.ended.done():
            self.ended.set_result(reason)


class EdgeHub:
    """The module `websocket`, group `hub`. connected is set while there is a connection."""

    def __init__(
        self,
        bus: Bus,
        node: str,
        server: str,
        tls: Callable[[], ssl.SSLContext],
        *,
        project_id: str = DEFAULT_PROJECT,
        heartbeat_s: float = HEARTBEAT_S,
        message_qps: float = 30,
        message_burst: int = 60,
        handshake_timeout_s: float = 30.0,
        write_timeout_s: float = 15.0,
        max_message: int = DEFAULT_MAX_MESSAGE,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Make the hub; nothing is opened before run().

        server is `host:port` of the cloud. tls is called for each attempt and gives a context with the node's present
        certificate; what it raises counts as a failed attempt. jitter gives numbers from 0 to 1.
        """
        self._bus = bus
        self._node = node
        self._url = f"wss://{server}/{project_id}/{node}/events"
        self._tls = tls
        # In the order and spelling of the Go edge (spec 01 §2.1.1).
        self._headers = [("Connectionuse", "msg"), ("Node_id", node), ("Project_id", project_id)]
        self._heartbeat_s = heartbeat_s
        self._handshake_timeout_s = handshake_timeout_s
        self._write_timeout_s = write_timeout_s
        self._max_message = max_message
        self._jitter = jitter
        self._lane: _CloudLane | None = None
        self.connected = asyncio.Event()
        self.uplink = Uplink(message_qps, message_burst)
        is_connected.read_from(lambda: float(self.connected.is_set()))
        bus.register(MODULE, GROUP, self.uplink.put)

    def reconnect(self, reason: str) -> None:
        """Give up the present connection for a new one, with a certificate that has changed for example."""
        if self._lane is not None:
            self._lane.connection.close(GOING_AWAY, reason)

    async def run(self) -> None:
        """Keep the node connected until cancelled."""
        try:
            await self._run()
        finally:
            # Also when cancelled between the cloud's acceptance and our reading of it.
            self._closed()

    async def _run(self) -> None:
        failures = 0
        told = ""
        while True:
            longest_s = LONGEST_RETRY_S
            try:
                lane = await self._connect()
            except (ConnectError, OSError, ValueError) as error:
                # ValueError and OSError: of a certificate that cannot be read.
                connect_failures.inc()
                reason = str(error) or type(error).__name__
                if isinstance(error, ConnectError) and error.status:
                    longest_s = LONGEST_REFUSED_RETRY_S
                level = logging.DEBUG if reason == told else logging.WARNING
                log.log(level, "cloud not connected url=%s reason=%s", self._url, reason)
                told = reason
                failures += 1
            else:
                told = ""
                held_s = await self._hold(lane)
                failures = 0 if held_s >= GOOD_CONNECTION_S else failures + 1
            await asyncio.sleep(self._pause_s(failures, longest_s))

    def _pause_s(self, failures: int, longest_s: float) -> float:
        if failures <= 1:
            return FIRST_RETRY_S * self._jitter()
        return min(longest_s, FIRST_RETRY_S * 2.0 ** min(failures - 1, 10)) * (0.5 + 0.5 * self._jitter())

    async def _connect(self) -> _CloudLane:
        connection = await connect(
            self._url,
            self._tls(),
            self._headers,
            self._opened,
            handshake_timeout_s=self._handshake_timeout_s,
            write_timeout_s=self._write_timeout_s,
            max_message=self._max_message,
        )
        lane = self._lane
        assert lane is not None
        assert lane.connection is connection
        return lane

    def _opened(self, connection: ClientConnection) -> _CloudLane:
        """Begin with a new connection, before the first message of the cloud is read."""
        lane = self._lane = _CloudLane(self, connection)
        connections.inc()
        log.info("cloud connected url=%s", self._url)
        self._keep_alive(lane)
        self.connected.set()
        self._tell(b'"cloud_connected"')
        self.uplink.attach(lane)
        return lane

    async def _hold(self, lane: _CloudLane) -> float:
        """Keep a connection alive until it ends; return how many seconds it held."""
        try:
            while not lane.ended.done():
                await asyncio.wait([lane.ended], timeout=self._heartbeat_s)
                silent_s = asyncio.get_running_loop().time() - lane.connection.received_at
                if silent_s > SILENT_HEARTBEATS * self._heartbeat_s:
                    lane.connection.abort(f"nothing heard for {silent_s:.0f} s")
                elif not lane.ended.done():
                    self._keep_alive(lane)
            log.warning("cloud disconnected reason=%s", lane.ended.result())
        finally:
            self._closed()
        return asyncio.get_running_loop().time() - lane.opened_s

    def _closed(self) -> None:
        """End with the present connection, if there is one."""
        lane, self._lane = self._lane, None
        if lane is not None:
            lane.connection.close(GOING_AWAY, "edgecore stops")
            self.uplink.detach()
            self.connected.clear()
            self._tell(b'"cloud_disconnected"')

    def _keep_alive(self, lane: _CloudLane) -> None:
        """Show the cloud that the node lives, and ask it for a sign of life: it does not answer keepalives."""
        lane.send(new_message(MODULE, "resource", "keepalive", "node", b'"ping"'))
        lane.connection.ping()

    def _tell(self, content: bytes) -> None:
        """Tell the modules that want to know about the connection (spec 01 §4.3)."""
        for group in _CONNECTION_GROUPS:
            self._bus.send_group(group, new_message("edgehub", group, "connect", "node/connection", content))

    def from_cloud(self, message: Message) -> None:
        """Hand a message to the part of the node that it is for (spec 01 §4.4)."""
        downstream_messages.inc()
        kind = routing.downstream(message)
        if kind == routing.WAITER:
            is_taken = self._bus.resolve(message) or self._keep_late(message)
        elif kind == routing.META:
            is_taken = self._bus.send_group("meta", message) > 0
        elif kind == routing.TWIN:
            is_taken = self._bus.send_group("twin", message) > 0
        elif kind == routing.TASKS:
            is_taken = self._bus.send_group("taskmanager", message) > 0
        elif kind == routing.EVENT_BUS:
            is_taken = self._send("eventbus", message)
        elif kind == routing.SERVICE_BUS:
            is_taken = self._send("servicebus", message)
        else:
            is_taken = False
        if not is_taken:
            dropped.inc("no receiver")
            log.debug("no receiver group=%s source=%s resource=%s", message.group, message.source, message.resource)

    def _keep_late(self, message: Message) -> bool:
        """Let MetaManager keep an answer that nobody waits for any more: the cloud repeats it until it is acked."""
        return (
            message.group == "resource"
            and message.operation == "response"
            and self._bus.send_group("meta", message) > 0
        )

    def _send(self, module: str, message: Message) -> bool:
        if not self._bus.has(module):
            return False
        self._bus.send(module, message)
        return True
