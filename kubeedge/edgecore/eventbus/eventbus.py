"""The module itself: routes between brokers, DeviceTwin and the cloud (spec 04 §4.1, §5.4)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import orjson

from kubeedge import topics
from kubeedge.bus import Bus
from kubeedge.edgecore.eventbus import subscriptions
from kubeedge.edgecore.eventbus.broker import Broker, Done
from kubeedge.edgecore.eventbus.filters import is_filter, is_topic
from kubeedge.edgecore.eventbus.outbox import dropped
from kubeedge.message import EnvelopeError, Message, content_bytes, content_object, new_message
from kubeedge.metrics import Counter
from kubeedge.store.database import Database, StoreError

log = logging.getLogger(__name__)

NAME = "eventbus"
GROUP = "bus"
TWIN = "twin"
HUB = "websocket"
# How what comes from a broker is called on its way up.
SOURCE = "bus"
USER = "user"

# What is for the cloud whatever its rules say (spec 04 §4.1).
UPLOAD_FILTERS = ("$hw/events/upload/#", "SYS/dis/upload_records", "+/user/#")
# Rules that wait to be carried out; more than a cloud has for one node.
MAX_WAITING = 4_096

refused = Counter("kubeedge_eventbus_refused_messages_total", "Messages to EventBus that were refused", ("reason",))


class _Countdown:
    """Calls done when it was called as often as there are brokers."""

    __slots__ = ("_done", "_left")

    def __init__(self, done: Done, left: int) -> None:
        self._done = done
        self._left = left

    def __call__(self) -> None:
        self._left -= 1
        if not self._left:
            self._done()


class EventBus:
    """Registers itself on the bus as `eventbus`, group `bus`, for messages and for publications.

    What its brokers get from their clients goes to DeviceTwin or up to the cloud. Publications of the node go to all
    brokers. Nothing goes from one broker to another. Publications are handled at once; subscriptions wait in a queue
    for the broker's answer and the commit, in their order.
    """

    def __init__(self, bus: Bus, database: Database, brokers: Sequence[Broker], node: str) -> None:
        """brokers are those of the configured mode: the external one, the node's own, or both."""
        self._bus = bus
        self._database = database
        self._brokers = brokers
        self._node = node
        self._fixed = (*topics.TWIN_FILTERS, *UPLOAD_FILTERS)
        self._rules: dict[str, None] = {}
        self._waiting: deque[Message] = deque()
        self._wake = asyncio.Event()
        bus.register(NAME, GROUP, self.receive)
        bus.register_topics(NAME, self.publish)

    def filters(self) -> Iterable[str]:
        """Give everything that is subscribed to now."""
        return (*self._fixed, *self._rules)

    async def run(self) -> None:
        """Serve until cancelled. Raises StoreError when the database cannot be read."""
        self._rules = {text: None for (text,) in self._database.read(subscriptions.ALL) if is_filter(text)}
        async with asyncio.TaskGroup() as group:
            for broker in self._brokers:
                group.create_task(broker.run(self.take, self.filters))
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._waiting:
                    await self._change(self._waiting.popleft())

    # Out

    def publish(self, topic: str, payload: bytes, done: Done | None = None) -> None:
        """Publish on every broker; done is called when all have it or never will."""
        if not is_topic(topic):
            dropped.inc("no topic")
            log.warning("publication refused reason=%r topic=%r", "no topic", topic[:200])
            if done is not None:
                done()
            return
        if done is not None and len(self._brokers) > 1:
            done = _Countdown(done, len(self._brokers))
        for broker in self._brokers:
            broker.publish(topic, payload, done)

    # In

    def take(self, topic: str, payload: bytes, done: Done) -> None:
        """Hand on what a client published."""
        try:
            self._hand_on(topic, payload, done)
        except Exception:
            # A fault in one module must not cost the connection, and the broker would only repeat the publication.
            dropped.inc("receiver failed")
            log.exception("receiver failed topic=%.200r", topic)
            done()

    def _hand_on(self, topic: str, payload: bytes, done: Done) -> None:
        if topics.is_device_topic(topic):
            if not self._bus.publish(TWIN, topic, payload, done):
                dropped.inc("no device twin")
                done()
            return
        if self._bus.has(HUB):
            content = orjson.dumps(str(payload, "utf-8", "replace"))
            self._bus.send(HUB, new_message(SOURCE, USER, "upload", topic, content))
        else:
            dropped.inc("no cloud")
        done()

    # Messages

    def receive(self, message: Message) -> None:
        """Take a message from the bus."""
        match message.operation:
            case "subscribe" | "unsubscribe":
                if len(self._waiting) < MAX_WAITING:
                    self._waiting.append(message)
                    self._wake.set()
                else:
                    self._refuse(message, "too many at once")
            case "publish":
                self._try(message, self._publish_content)
            case "message":
                self._try(message, self._publish_inner)
            case "get_result":
                self._try(message, self._publish_result)
            case "connect":
                # EdgeHub tells everyone about its connection.
                return
            case _:
                self._refuse(message, "unknown operation")

    def _try(self, message: Message, handle: Callable[[Message], None]) -> None:
        try:
            handle(message)
        except EnvelopeError as error:
            self._refuse(message, str(error))

    def _refuse(self, message: Message, reason: str) -> None:
        refused.inc(message.operation)
        log.warning("message refused operation=%s resource=%.200r reason=%s", *_route(message), reason)

    def _publish_content(self, message: Message) -> None:
        if message.content[:1] != b'"':
            self._refuse(message, "content is no text")
            return
        self.publish(message.resource, content_bytes(message))

    def _publish_inner(self, message: Message) -> None:
        """Publish the object `message` of the content on the topic that it names."""
        content = content_object(message)
        inner = content.get("message") if isinstance(content, dict) else None
        topic = inner.get("topic") if isinstance(inner, dict) else None
        if not isinstance(topic, str):
            self._refuse(message, "content has no message with a topic")
            return
        self.publish(topic, orjson.dumps(inner))

    def _publish_result(self, message: Message) -> None:
        if message.resource != "auth_info":
            self._refuse(message, "unknown result")
            return
        self.publish(topics.node_topic(self._node, topics.AUTH_INFO_GET_RESULT), content_bytes(message))

    async def _change(self, message: Message) -> None:
        """Subscribe or unsubscribe, and keep that over restarts."""
        text = message.resource
        if not is_filter(text):
            self._refuse(message, "no topic filter")
            return
        try:
            if message.operation == "subscribe":
                await self._subscribe(message, text)
            else:
                await self._unsubscribe(text)
        except StoreError as error:
            self._refuse(message, str(error))

    async def _subscribe(self, message: Message, text: str) -> None:
        if text in self._rules:
            # The cloud says it again with each connection.
            return
        self._rules[text] = None
        if not all([await broker.subscribe(text) for broker in self._brokers]):
            del self._rules[text]
            self._refuse(message, "the broker refuses the topic filter")
            return
        await self._database.write(lambda connection: subscriptions.add(connection, text))
        log.info("topic subscribed filter=%s", text)

    async def _unsubscribe(self, text: str) -> None:
        self._rules.pop(text, None)
        await self._database.write(lambda connection: subscriptions.remove(connection, text))
        if text in self._fixed:
            return
        for broker in self._brokers:
            await broker.unsubscribe(text)
        log.info("topic unsubscribed filter=%s", text)


def _route(message: Message) -> tuple[str, str]:
    return message.operation, message.resource
