"""One connection to a broker: gmqtt's client with a shorter way for the packets that come by the thousand.

gmqtt takes each packet through a stream reader, a read loop, a packet object, debug lines and a dictionary of
properties, starts a task for each acknowledgement that is not given in advance, and writes each packet by itself. A
publication that is answered by two costs 43 us that way and 16 us here, acknowledgements included. What is rare goes
gmqtt's way; PUBLISH and PUBACK are read and written in this module.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import time
from collections.abc import Callable, Sequence
from typing import Any

import gmqtt
from gmqtt.mqtt.connection import MQTTConnection
from gmqtt.mqtt.constants import MQTTv311
from gmqtt.mqtt.handler import MQTTConnectError
from gmqtt.mqtt.package import Package
from gmqtt.mqtt.protocol import BaseMQTTProtocol, MQTTProtocol
from gmqtt.mqtt.utils import IdGenerator

from kubeedge.edgecore.eventbus.address import Address
from kubeedge.edgecore.eventbus.outbox import WINDOW, Outbox, dropped
from kubeedge.edgecore.eventbus.reader import MalformedError, PacketReader
from kubeedge.edgecore.eventbus.receipts import Receipt, Receipts
from kubeedge.edgecore.eventbus.websocket import open_transport
from kubeedge.metrics import Counter

# Topic, payload, and what to call when the receiver is done with it.
Receive = Callable[[str, bytes, Receipt], None]

# Between starting to connect and the broker's word on who we are.
CONNECT_TIMEOUT_S = 10.0
SUBSCRIBE_TIMEOUT_S = 10.0
# How long what is under way may take when the node stops, and the closing after it.
FLUSH_TIMEOUT_S = 1.0
CLOSE_TIMEOUT_S = 1.0
# Silence after which each side asks the other whether it lives (spec 04 §5.2).
KEEPALIVE_S = 30

# Of MQTT 3.1, the version before 3.1.1.
VERSION_31 = 3
UNACCEPTABLE_VERSION = 1
REFUSED_SUBSCRIPTION = 0x80

received = Counter("kubeedge_eventbus_received_total", "Publications taken from brokers")

_QUICKACK = getattr(socket, "TCP_QUICKACK", socket.TCP_NODELAY)

log = logging.getLogger(__name__)
# What is to be said about a connection is said here, once.
logging.getLogger("gmqtt").setLevel(logging.CRITICAL)


class RefusedError(Exception):
    """The broker does not want this client; code is that of CONNACK."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"broker refuses the connection: {reason}")
        self.code = code


class _Ids(IdGenerator):  # type: ignore[misc]
    """Packet ids of subscriptions, from above those of publications (Outbox), which are counted there."""

    def __init__(self) -> None:
        super().__init__()
        self._last = 0

    def next_id(self) -> int:
        self._last = max(4 * WINDOW + 1, (self._last + 1) % 65_536)
        return self._last

    def free_id(self, id: int) -> None:
        """Nothing is reserved: there are never thousands of subscriptions under way."""


class _Protocol(MQTTProtocol):  # type: ignore[misc]
    """The bytes of a connection. What the hot path does not know goes to gmqtt's handler."""

    def __init__(self, owner: Connection, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._owner = owner
        self._reader = PacketReader(self)
        self._output: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self.proto_name = b"MQTT" if self.proto_ver >= MQTTv311 else b"MQIsdp"
        self.receipts = Receipts(self.write, self._read_on)
        self.acknowledged = owner.acknowledged

    def connection_made(self, transport: Any) -> None:
        # Past gmqtt's own, which starts a task that reads.
        BaseMQTTProtocol.connection_made(self, transport)
        self._socket = transport.get_extra_info("socket")

    def connection_lost(self, exc: Exception | None) -> None:
        # Past gmqtt's own as well, which would connect again when it sees fit.
        BaseMQTTProtocol.connection_lost(self, None)
        self._owner.connection_lost(exc)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        self._owner.is_writable = False

    def resume_writing(self) -> None:
        self._owner.is_writable = True
        self._owner.pump()

    def write(self, data: bytes) -> None:
        """Send data with all else that this turn of the loop has to send."""
        if not self._output:
            self._loop.call_soon(self._flush)
        self._output.append(data)

    def _flush(self) -> None:
        data = b"".join(self._output)
        self._output.clear()
        if not self._transport.is_closing():
            self.write_data(data)

    def _read_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._connection is None:
            self._owner.abort("peer speaks before it is spoken to")
            return
        self._connection._last_data_in = time.monotonic()
        try:
            publications = self._reader.feed(data)
        except MalformedError as error:
            self._owner.abort(str(error))
            return
        # A broker that has not turned Nagle's algorithm off (mosquitto by default) waits for our kernel's ACK before it
        # sends the next small packet, and that comes after 40 ms. It has to be asked for anew each time.
        if self._socket is not None:
            self._socket.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
        if publications:
            received.inc(by=publications)
            if self.receipts.is_full():
                self._transport.pause_reading()

    def publication(self, topic: str, payload: bytes, id_: bytes) -> None:
        """See Listener."""
        self._owner.receive(topic, payload, self.receipts.take(id_))

    def refused(self, reason: str, id_: bytes) -> None:
        """See Listener."""
        dropped.inc(reason)
        log.warning("publication refused reason=%r", reason)
        self.receipts.take(id_)()

    def packet(self, kind: int, body: bytes) -> None:
        """See Listener."""
        self._connection.put_package(Package(kind, body))


class _Transport(MQTTConnection):  # type: ignore[misc]
    """gmqtt's connection, which closes one that has gone silent without waiting for what the peer does not read."""

    def _keep_connection(self) -> None:
        if time.monotonic() - self._last_data_in >= 2 * self._keepalive and not self.is_closing():
            self._protocol._owner.abort(f"nothing heard for {2 * self._keepalive} s")
            return
        super()._keep_connection()


class Connection(gmqtt.Client):  # type: ignore[misc]
    """A connection to a broker from open() until lost is done; it is not used twice.

    The session outlives it: the broker keeps subscriptions and publications for client_id while we are away. receive is
    called for each publication; what outbox holds is sent as the broker takes it.
    """

    def __init__(self, client_id: str, outbox: Outbox, receive: Receive, *, version: int = MQTTv311) -> None:
        # As bytes, since gmqtt counts characters where it means bytes.
        super().__init__(client_id.encode(), clean_session=False)
        self._outbox = outbox
        self._version = version
        self._package_handler.id_generator = _Ids()
        self._subscribing: dict[int, asyncio.Future[Sequence[int]]] = {}
        self._protocol: _Protocol | None = None
        self._is_held = False
        self._flushed: asyncio.Event | None = None
        self._websocket_url = ""
        self.receive = receive
        self.is_writable = False
        self.is_session_kept = False
        self.lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.on_connect = self._connected
        self.on_subscribe = self._subscribed
        self.on_unsubscribe = self._unsubscribed

    async def open(self, address: Address, tls: ssl.SSLContext | None) -> None:
        """Connect, and send what was not acknowledged before. Raises RefusedError, OSError, TimeoutError."""
        self._websocket_url = address.websocket_url
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await self.connect(
                    address.host, address.port, ssl=tls or False, keepalive=KEEPALIVE_S, version=self._version
                )
        except MQTTConnectError as error:
            raise RefusedError(error._code, error.message) from None
        if self.lost.done():
            raise ConnectionResetError(self.lost.result())
        self.is_writable = True
        protocol = self._protocol
        assert protocol is not None
        for packet in self._outbox.resend(is_session_kept=self.is_session_kept):
            protocol.write(packet)
        self.pump()

    async def close(self) -> None:
        """Tell the broker that we leave, and close."""
        if self._connection is None or self.lost.done():
            return
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self.disconnect()
        except (TimeoutError, OSError):
            self.abort("closed")

    async def flush(self) -> None:
        """Wait until the broker has everything. Raises TimeoutError."""
        self._flushed = asyncio.Event()
        async with asyncio.timeout(FLUSH_TIMEOUT_S):
            if len(self._outbox):
                await self._flushed.wait()

    def abort(self, reason: str) -> None:
        """Close at once, whatever is still to be sent."""
        if not self.lost.done():
            self.lost.set_result(reason)
        if self._protocol is not None:
            self._protocol.abort()

    async def ask(self, filters: Sequence[str]) -> list[str]:
        """Subscribe to filters at QoS 1; return those that the broker refuses.

        Raises TimeoutError, and ConnectionError when the connection is lost meanwhile.
        """
        subscriptions = [gmqtt.Subscription(text, qos=1) for text in filters]
        granted = await self._answer(self.subscribe(subscriptions))
        return [text for text, code in zip(filters, granted, strict=False) if code >= REFUSED_SUBSCRIPTION]

    async def forget(self, filters: Sequence[str]) -> None:
        """Unsubscribe. Raises as ask()."""
        await self._answer(self.unsubscribe([text.encode() for text in filters]))

    async def _answer(self, number: int) -> Sequence[int]:
        answer: asyncio.Future[Sequence[int]] = asyncio.get_running_loop().create_future()
        self._subscribing[number] = answer
        either: set[asyncio.Future[Any]] = {answer, self.lost}
        try:
            await asyncio.wait(either, timeout=SUBSCRIBE_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            del self._subscribing[number]
        if answer.done():
            return answer.result()
        if self.lost.done():
            raise ConnectionResetError(self.lost.result())
        raise TimeoutError("no answer to a subscription")

    def pump(self) -> None:
        """Send what the outbox has, as far as the broker takes it; take no more from a broker that is slower."""
        protocol = self._protocol
        if protocol is None or not self.is_writable:
            return
        for packet in self._outbox.packets():
            protocol.write(packet)
        is_congested = self._outbox.is_congested
        if is_congested is not self._is_held:
            self._is_held = is_congested
            protocol.receipts.hold(is_congested)

    def acknowledged(self, number: int) -> None:
        """Take a PUBACK."""
        self._outbox.acknowledged(number)
        self.pump()
        if self._flushed is not None and not len(self._outbox):
            self._flushed.set()

    def connection_lost(self, error: Exception | None) -> None:
        """Take the end of the connection."""
        self.is_writable = False
        if not self.lost.done():
            self.lost.set_result(str(error) if error else "closed by the broker")
        # Whoever waits in connect() goes on, and finds lost.
        self._connack_received.set()

    # What gmqtt would do by itself

    async def _create_connection(self, host: str, port: int, ssl: Any, clean_session: bool, keepalive: int) -> Any:
        def make() -> _Protocol:
            state, ids = self._connection_state, self._package_handler.id_generator
            self._protocol = _Protocol(self, connection_state=state, id_generator=ids)
            return self._protocol

        transport: Any
        if self._websocket_url:
            protocol = make()
            transport = await open_transport(self._websocket_url, ssl or None, protocol)
        else:
            transport, protocol = await asyncio.get_running_loop().create_connection(make, host, port, ssl=ssl or None)
        return _Transport(transport, protocol, clean_session, keepalive, package_handler=self._package_handler)

    async def reconnect(self, delay: bool = False) -> None:
        """Do nothing: when to connect again is decided outside."""

    async def _resend_qos_messages(self) -> None:
        """Do nothing: the outbox does it."""

    def _clear_resend_qos_queue(self) -> None:
        """Do nothing: what was not acknowledged is kept, whatever the broker has forgotten."""

    def _connected(self, _client: Any, is_session_kept: int, _code: int, _properties: Any) -> None:
        self.is_session_kept = bool(is_session_kept)

    def _subscribed(self, _client: Any, number: int, granted: Sequence[int], _properties: Any) -> None:
        self._settle(number, granted)

    def _unsubscribed(self, _client: Any, number: int, _granted: Sequence[int]) -> None:
        self._settle(number, ())

    def _settle(self, number: int, granted: Sequence[int]) -> None:
        answer = self._subscribing.get(number)
        if answer is not None and not answer.done():
            answer.set_result(granted)
