"""A broker in this process, for a machine that has none (spec 04 §5.3). The only module that imports amqtt."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any

from amqtt.broker import Broker, RetainedApplicationMessage
from amqtt.errors import BrokerError
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.mqtt.puback import PubackPacket
from amqtt.session import INCOMING

from kubeedge.daemon import CannotStartError
from kubeedge.edgecore.eventbus.address import Address
from kubeedge.edgecore.eventbus.broker import Done, Take
from kubeedge.edgecore.eventbus.connection import received
from kubeedge.edgecore.eventbus.filters import is_topic, matches
from kubeedge.edgecore.eventbus.outbox import CAPACITY, dropped
from kubeedge.edgecore.eventbus.receipts import MOST_OPEN

log = logging.getLogger(__name__)
# amqtt tells of each client what is normal; of what is not, this module does.
for _name in ("amqtt", "transitions"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)

HIGHEST_QUALITY = 2


class _Client(BrokerProtocolHandler):  # type: ignore[misc]
    """A client of the broker. What it publishes at QoS 1 is acknowledged once its receiver is done with it."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._unstored: dict[int | None, asyncio.Future[None]] = {}

    def is_done(self, number: int | None) -> None:
        """Acknowledge the publication of that number; those of other qualities have none that waits."""
        stored = self._unstored.get(number)
        if stored is not None and not stored.done():
            stored.set_result(None)

    async def _handle_qos0_message_flow(self, message: Any) -> None:
        if message.direction == INCOMING and self.session.delivered_message_queue.full():
            dropped.inc("client is too fast")
        else:
            await super()._handle_qos0_message_flow(message)

    async def _handle_qos1_message_flow(self, message: Any) -> None:
        if message.direction != INCOMING:
            await super()._handle_qos1_message_flow(message)
            return
        stored = self._unstored[message.packet_id] = asyncio.get_running_loop().create_future()
        await self.session.delivered_message_queue.put(message)
        await stored
        if self._unstored.get(message.packet_id) is stored:
            del self._unstored[message.packet_id]
        await self._send_packet(PubackPacket.build(message.packet_id))


class _Broker(Broker):  # type: ignore[misc]
    """amqtt's broker without users, with topics that begin with `$`, and with bounded queues."""

    def __init__(self, address: Address, queue_size: int, take: Take, filters: Callable[[], Iterable[str]]) -> None:
        kind = "ws" if address.websocket_url else "tcp"
        listener = {"type": kind, "bind": f"{address.host}:{address.port}", "max_connections": -1}
        super().__init__({"listeners": {"default": listener}, "plugins": {}})
        self._queue_size = queue_size
        self._take = take
        self._filters = filters
        # Publications in the hands of modules.
        self._room = asyncio.Semaphore(MOST_OPEN)

    def inject(self, topic: str, payload: bytes, quality: int, is_retained: bool) -> None:
        """Publish to the clients, and not to ourselves."""
        if self._broadcast_queue.qsize() >= CAPACITY:
            dropped.inc("clients are too slow")
            return
        if is_retained:
            self._retained_messages[topic] = RetainedApplicationMessage(None, topic, payload, quality)
        self._broadcast_queue.put_nowait({"session": None, "topic": topic, "data": payload, "qos": quality})

    async def _authenticate(self, session: Any, _: Any) -> bool:
        return True

    async def _initialize_client_session(self, *arguments: Any) -> tuple[_Client, Any]:
        _, session = await super()._initialize_client_session(*arguments)
        if not session.delivered_message_queue.maxsize:
            session.delivered_message_queue = asyncio.Queue(MOST_OPEN)
        return _Client(self.plugins_manager), session

    async def _handle_message_delivery(self, client_session: Any, handler: _Client, wait_deliver: Any) -> bool:
        message = wait_deliver.result()
        if message is None:
            return True
        if not is_topic(message.topic):
            log.warning("client closed reason=%r client=%s", "publishes on no topic", client_session.client_id)
            return False
        packet = message.publish_packet
        if packet is not None and packet.retain_flag:
            await self.retain_message(client_session, message.topic, message.data, message.qos)
        await self._broadcast_message(client_session, message.topic, message.data)
        if not any(matches(text, message.topic) for text in self._filters()):
            handler.is_done(message.packet_id)
            return True
        await self._room.acquire()
        received.inc()

        def done() -> None:
            self._room.release()
            handler.is_done(message.packet_id)

        self._take(message.topic, bytes(message.data), done)
        return True

    async def _retain_broadcast_message(self, broadcast: Any, qos: int, target_session: Any) -> None:
        """Keep a publication for a client that is away."""
        if target_session.retained_messages.qsize() >= self._queue_size:
            dropped.inc("client is away")
        else:
            await super()._retain_broadcast_message(broadcast, qos, target_session)

    def _matches(self, topic: str, a_filter: str) -> bool:
        return matches(a_filter, topic)


class InternalBroker:
    """Lets the clients of this machine connect without a name; everything is in memory.

    What the node publishes goes to its clients with the configured quality. One publication of a client that matches a
    filter is handed on once, however many filters match.
    """

    def __init__(self, address: Address, *, quality: int = 0, is_retained: bool = False, queue_size: int = 100) -> None:
        """quality and is_retained are for what the node publishes; queue_size is what is kept for a client away."""
        self._address = address
        self._quality = min(quality, HIGHEST_QUALITY)
        self._is_retained = is_retained
        self._queue_size = queue_size
        self._broker: _Broker | None = None

    def publish(self, topic: str, payload: bytes, done: Done | None = None) -> None:
        """See Broker."""
        if self._broker is None:
            dropped.inc("no broker yet")
        else:
            self._broker.inject(topic, payload, self._quality, self._is_retained)
        if done is not None:
            done()

    async def subscribe(self, text: str) -> bool:
        """See Broker. What is taken is looked up for each publication."""
        return True

    async def unsubscribe(self, text: str) -> None:
        """See Broker."""

    async def run(self, take: Take, filters: Callable[[], Iterable[str]]) -> None:
        """See Broker. Raises CannotStartError when the address cannot be listened on."""
        broker = _Broker(self._address, self._queue_size, take, filters)
        place = f"{self._address.host}:{self._address.port}"
        try:
            await broker.start()
        except BrokerError as error:
            raise CannotStartError(f"internal MQTT broker cannot listen on {place}: {error}") from error
        self._broker = broker
        log.info("internal broker listens address=%s", place)
        try:
            await asyncio.Event().wait()
        finally:
            self._broker = None
            await broker.shutdown()
