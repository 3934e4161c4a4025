"""The module on the bus: routes between a real broker, DeviceTwin and the cloud, and the messages of rules."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import pytest_asyncio

from kubeedge.bus import Bus, Done
from kubeedge.edgecore.eventbus import eventbus as module
from kubeedge.edgecore.eventbus import subscriptions
from kubeedge.edgecore.eventbus.eventbus import EventBus
from kubeedge.edgecore.eventbus.external import ExternalBroker
from kubeedge.edgecore.eventbus.internal import InternalBroker
from kubeedge.edgecore.eventbus.outbox import dropped
from kubeedge.message import Message, new_message
from kubeedge.store.database import Database
from tests.mosquitto import Mosquitto, TestClient, client
from tests.sites import until

from .conftest import external

UPDATE = "$hw/events/device/default/d1/twin/update"


class Node:
    """A bus with EventBus, and places where DeviceTwin and EdgeHub would be."""

    def __init__(self, database: Database, broker: ExternalBroker) -> None:
        self.bus = Bus()
        self.broker = broker
        self.database = database
        self.module = EventBus(self.bus, database, [broker], "e1")
        self.for_twin: list[tuple[str, bytes]] = []
        self.for_cloud: list[Message] = []

    def with_twin(self, receive: Callable[[str, bytes, Done | None], None] | None = None) -> None:
        def note(topic: str, payload: bytes, done: Done | None) -> None:
            self.for_twin.append((topic, payload))
            assert done is not None
            done()

        self.bus.register_topics("twin", receive or note)

    def with_cloud(self) -> None:
        self.bus.register("websocket", "hub", self.for_cloud.append)

    def rule(self, operation: str, resource: str, content: Any = None) -> None:
        """Let the cloud say something, as its router does."""
        message = new_message("router_eventbus", "user", operation, resource, orjson.dumps(content))
        self.bus.send("eventbus", message)

    @property
    def stored(self) -> list[str]:
        return [text for (text,) in self.database.read(subscriptions.ALL)]

    async def run(self) -> None:
        await self.module.run()


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "edge.db", schema=subscriptions.SCHEMA)


@pytest_asyncio.fixture
async def node(database: Database, shared_broker: Mosquitto, request: pytest.FixtureRequest) -> AsyncIterator[Node]:
    """A node whose EventBus runs and is connected."""
    database.open()
    node = Node(database, external(shared_broker.port, request.node.name))
    running = asyncio.ensure_future(node.run())
    await until(lambda: node.broker.is_connected)
    yield node
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await database.close()


@pytest_asyncio.fixture
async def tester(shared_broker: Mosquitto) -> AsyncIterator[TestClient]:
    async with client(shared_broker) as tester:
        yield tester


@pytest.mark.parametrize(
    "topic",
    [
        "$hw/events/device/default/d1/twin/update",
        "$hw/events/device/default/d1/twin/get",
        "$hw/events/device/default/d1/twin/cloud_updated",
        "$hw/events/device/default/d1/state/update",
        "$hw/events/node/e1/membership/get",
        "$hw/events/node/node/membership/get",
    ],
)
async def test_what_is_for_device_twin_goes_there(node: Node, tester: TestClient, topic: str) -> None:
    """Q30: also what pretends to come from the cloud."""
    node.with_twin()
    tester.publish(topic, b'{"event_id":"x"}')
    await until(lambda: node.for_twin == [(topic, b'{"event_id":"x"}')])


async def test_answers_of_device_twin_are_not_heard_again(node: Node, tester: TestClient) -> None:
    node.with_twin()
    await tester.subscribe("$hw/events/device/default/d1/twin/update/result")
    node.bus.publish("eventbus", f"{UPDATE}/result", b"r")
    await tester.next()
    tester.publish(UPDATE, b"u")
    await until(lambda: node.for_twin == [(UPDATE, b"u")])


@pytest.mark.parametrize("topic", ["SYS/dis/upload_records", "$hw/events/upload/a/b", "default/user/x", "default/user"])
async def test_uploads_go_to_the_cloud_as_text(node: Node, tester: TestClient, topic: str) -> None:
    node.with_cloud()
    tester.publish(topic, '{"a":"ü"}')
    await until(lambda: len(node.for_cloud) == 1)
    message = node.for_cloud[0]
    assert (message.source, message.group, message.operation) == ("bus", "user", "upload")
    assert (message.resource, orjson.loads(message.content), message.parent_id) == (topic, '{"a":"ü"}', "")


async def test_upload_that_is_no_text_goes_up_with_replacements(node: Node, tester: TestClient) -> None:
    node.with_cloud()
    tester.publish("SYS/dis/upload_records", b"a\xffb")
    await until(lambda: len(node.for_cloud) == 1)
    assert orjson.loads(node.for_cloud[0].content) == "a\ufffdb"


async def test_rule_subscribes_to_its_topic_over_restarts(
    node: Node, tester: TestClient, shared_broker: Mosquitto, database: Database
) -> None:
    node.with_cloud()
    node.rule("subscribe", "default/up")
    await until(lambda: node.stored == ["default/up"])
    tester.publish("default/up", '{"u":1}')
    await until(lambda: [message.resource for message in node.for_cloud] == ["default/up"])
    again = Node(database, external(shared_broker.port, "another-process"))
    again.with_cloud()
    running = asyncio.ensure_future(again.run())
    await until(lambda: again.broker.is_connected)
    tester.publish("default/up", '{"u":2}')
    await until(lambda: len(again.for_cloud) == 1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_rule_unsubscribes_and_is_forgotten(node: Node, tester: TestClient) -> None:
    """Q29: upstream's internal broker keeps a topic when mqttQOS is not 0."""
    node.with_cloud()
    node.rule("subscribe", "default/up")
    node.rule("subscribe", "default/other")
    node.rule("unsubscribe", "default/up")
    await until(lambda: node.stored == ["default/other"])
    await asyncio.sleep(0.1)
    tester.publish("default/up", "1")
    tester.publish("default/other", "2")
    await until(lambda: [message.resource for message in node.for_cloud] == ["default/other"])


async def test_internal_broker_takes_a_removed_topic_no_longer_whatever_its_quality(database: Database) -> None:
    """Q29."""
    database.open()
    node = Node(database, external(1))
    broker = InternalBroker(module_address(), quality=1)
    events = EventBus(node.bus, database, [broker], "e1")
    running = asyncio.ensure_future(events.run())
    node.rule("subscribe", "default/up")
    await until(lambda: "default/up" in events.filters())
    node.rule("unsubscribe", "default/up")
    await until(lambda: "default/up" not in events.filters())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await database.close()


def module_address() -> Any:
    """Return an address for a broker of the node's own."""
    from kubeedge.edgecore.eventbus.address import Address
    from tests.mosquitto import free_port

    return Address("127.0.0.1", free_port(), False)


async def test_rule_repeated_by_the_cloud_changes_nothing(node: Node) -> None:
    """Q18: it is said again with each connection of the node."""
    for _ in range(3):
        node.rule("subscribe", "default/up")
    await until(lambda: node.stored == ["default/up"])
    assert list(node.module.filters()).count("default/up") == 1


@pytest.mark.parametrize("text", ["", "a/#/b", "a+", "$share/g", "x" * 70_000])
async def test_bad_filter_is_refused_and_harms_no_other(node: Node, tester: TestClient, text: str) -> None:
    before = module.refused.value("subscribe")
    node.rule("subscribe", text)
    node.rule("subscribe", "good")
    await until(lambda: node.stored == ["good"])
    assert module.refused.value("subscribe") == before + 1
    assert node.broker.is_connected


async def test_rule_on_a_fixed_topic_ends_without_ending_that(node: Node, tester: TestClient) -> None:
    node.with_cloud()
    node.rule("subscribe", "SYS/dis/upload_records")
    node.rule("unsubscribe", "SYS/dis/upload_records")
    node.rule("subscribe", "sign")
    await until(lambda: node.stored == ["sign"])
    tester.publish("SYS/dis/upload_records", "1")
    await until(lambda: len(node.for_cloud) == 1)


async def test_rule_publishes_on_the_bare_topic(node: Node, tester: TestClient) -> None:
    """Q27: eventbus as a source has the namespace before its topic, as a target not."""
    await tester.subscribe("test/#")
    node.rule("publish", "test/parameter", '{"m":1}')
    heard = await tester.next()
    assert (heard.topic, heard.payload, heard.is_retained) == ("test/parameter", b'{"m":1}', False)


async def test_message_operation_publishes_the_inner_message(node: Node, tester: TestClient) -> None:
    await tester.subscribe("inner")
    node.rule("message", "anything", {"message": {"topic": "inner", "x": 1}})
    assert orjson.loads((await tester.next()).payload) == {"topic": "inner", "x": 1}


async def test_result_of_authentication_is_published(node: Node, tester: TestClient) -> None:
    await tester.subscribe("$hw/events/node/e1/authInfo/get/result")
    node.rule("get_result", "auth_info", {"ok": True})
    assert orjson.loads((await tester.next()).payload) == {"ok": True}


@pytest.mark.parametrize(
    ("operation", "resource", "content"),
    [
        ("publish", "test", {"no": "text"}),
        ("publish", "test", None),
        ("message", "x", {"message": {"no": "topic"}}),
        ("message", "x", "not json"),
        ("message", "x", [1]),
        ("get_result", "other", {}),
        ("dance", "x", None),
    ],
)
async def test_message_that_makes_no_sense_is_counted(
    node: Node, tester: TestClient, operation: str, resource: str, content: Any
) -> None:
    before = module.refused.value(operation)
    node.rule(operation, resource, content)
    assert module.refused.value(operation) == before + 1


async def test_lifecycle_of_the_hub_is_no_error(node: Node) -> None:
    before = module.refused.value("connect")
    node.bus.send_group("bus", new_message("edgehub", "bus", "connect", "node/connection", b'"cloud_connected"'))
    assert module.refused.value("connect") == before


@pytest.mark.parametrize("topic", ["", "a/+", "a/#", "a\0"])
async def test_publication_on_no_topic_is_dropped_and_done(node: Node, tester: TestClient, topic: str) -> None:
    before = dropped.value("no topic")
    done: list[int] = []
    node.bus.publish("eventbus", topic, b"x", lambda: done.append(1))
    assert (dropped.value("no topic"), done) == (before + 1, [1])
    assert node.broker.is_connected


async def test_without_device_twin_or_cloud_publications_are_acknowledged_and_counted(
    node: Node, tester: TestClient
) -> None:
    before = dropped.value("no device twin"), dropped.value("no cloud")
    tester.publish(UPDATE, b"x")
    tester.publish("SYS/dis/upload_records", b"x")
    await until(lambda: (dropped.value("no device twin"), dropped.value("no cloud")) == (before[0] + 1, before[1] + 1))


async def test_fault_of_a_receiver_costs_neither_connection_nor_what_follows(node: Node, tester: TestClient) -> None:
    taken: list[bytes] = []

    def receive(_topic: str, payload: bytes, done: Done | None) -> None:
        if payload == b"bad":
            raise RuntimeError("a fault")
        taken.append(payload)
        assert done is not None
        done()

    node.with_twin(receive)
    before = dropped.value("receiver failed")
    tester.publish(UPDATE, b"bad")
    tester.publish(UPDATE, b"good")
    await until(lambda: taken == [b"good"])
    assert dropped.value("receiver failed") == before + 1


async def test_both_brokers_are_heard_and_told_but_not_joined(shared_broker: Mosquitto, database: Database) -> None:
    """Mode 1 of spec 04 §5.3."""
    database.open()
    bus = Bus()
    address = module_address()
    outside = external(shared_broker.port, "both")
    events = EventBus(bus, database, [InternalBroker(address), outside], "e1")
    taken: list[bytes] = []

    def take(_topic: str, payload: bytes, done: Done | None) -> None:
        taken.append(payload)
        assert done is not None
        done()

    bus.register_topics("twin", take)
    running = asyncio.ensure_future(events.run())
    await until(lambda: outside.is_connected)

    class Inside:
        port = address.port
        with_password = False

    async with client(shared_broker) as one, client(Inside(), "inside") as two:
        await one.subscribe("$hw/#")
        await two.subscribe("$hw/#")
        one.publish(UPDATE, b"1")
        two.publish(UPDATE, b"2")
        await until(lambda: sorted(taken) == [b"1", b"2"])
        assert (await one.next()).payload == b"1"
        assert (await two.next()).payload == b"2"
        done: list[int] = []
        bus.publish("eventbus", f"{UPDATE}/result", b"r", lambda: done.append(1))
        assert (await one.next()).payload == b"r"
        assert (await two.next()).payload == b"r"
        await until(lambda: done == [1])
        assert one.heard.empty()
        assert two.heard.empty()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await database.close()
