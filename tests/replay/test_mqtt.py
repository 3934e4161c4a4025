"""The recorded broker of an upstream node, with our EventBus and DeviceTwin on a real mosquitto in the node's place.

Clients say what they said then, and the cloud too; who listens to every topic has to hear the same, in the same order
and to the letter, but for times and ids.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import orjson
import pytest_asyncio

from kubeedge.bus import Bus
from kubeedge.edgecore.devicetwin.devicetwin import DeviceTwin
from kubeedge.edgecore.devicetwin.schema import SCHEMA
from kubeedge.edgecore.eventbus import address, subscriptions
from kubeedge.edgecore.eventbus.eventbus import EventBus
from kubeedge.edgecore.eventbus.external import ExternalBroker, client_id
from kubeedge.message import Message, new_message
from kubeedge.store.database import Database
from tests.mosquitto import TestClient, client, mosquitto
from tests.replay.recording import GOLDEN, Step, load
from tests.sites import until

NODE = "e1"
# Long enough that something unexpected would have come.
SILENCE_S = 0.3


class Published(NamedTuple):
    """A publication, blurred where it differs from run to run."""

    topic: str
    payload: str


def published(topic: str, payload: str) -> Published:
    """Blur times, event ids that the node makes, and nothing else."""
    payload = re.sub(r'"timestamp":\d{13}\b', '"timestamp":T', payload)
    payload = re.sub(r'"event_id":"[0-9a-f-]{36}"', '"event_id":"U"', payload)
    return Published(topic, re.sub(r'"(last_online|lastOnlineTime)":"\d{4}-[^"]+Z"', r'"\1":"L"', payload))


RECORDED = [tuple(line.split(" ", 2)[1:]) for line in (GOLDEN / "mqtt.log").read_text().splitlines()]
CLOUD = [step for step in load("link-websocket.jsonl") if not step.is_from_edge]
UPLOADS = [step for step in load("link-websocket.jsonl") if step.is_from_edge and step.source == "bus"]

# What clients published, by the end of the topic; of state/get, updated and up an edge node hears nothing.
FROM_CLIENTS = (
    *("/twin/get", "/twin/update", "/state/update", "/state/get", "sensor-1/updated", "/membership/get"),
    *("SYS/dis/upload_records", "default/up", "up"),
)
# What upstream publishes in another way than we do, and what we publish.
DEVIATIONS = {
    # Q3: upstream answers what it cannot read in the place of a device without a name; we on the device's topic too.
    "Q3": Published(
        "$hw/events/device/default/sensor-1/twin/update/result",
        '{"event_id":"","timestamp":T,"code":400,'
        '"reason":"Unmarshal update request body failed, please check the request"}',
    ),
}


class Node:
    """The modules of an edge node that have to do with devices, and what they send to the cloud."""

    def __init__(self, folder: Path, url: str) -> None:
        self.bus = Bus()
        self.sent: list[Message] = []
        self.bus.register("websocket", "hub", self.sent.append)
        self.database = Database(folder / "edge.db", schema=SCHEMA + subscriptions.SCHEMA)
        self.broker = ExternalBroker(address.parse(url), client_id(NODE))
        twin = DeviceTwin(self.bus, self.database, NODE)
        self._modules = (twin, EventBus(self.bus, self.database, [self.broker], NODE))

    async def run(self) -> None:
        self.database.open()
        try:
            async with asyncio.TaskGroup() as group:
                for module in self._modules:
                    group.create_task(module.run())
        finally:
            await self.database.close()

    def from_cloud(self, step: Step) -> None:
        """Hand a recorded message to the modules that EdgeHub gives it to."""
        assert step.envelope is not None
        group = step.envelope["route"]["group"]
        message = new_message(step.source, group, step.operation, step.resource, orjson.dumps(step.content))
        if step.source == "router_eventbus":
            self.bus.send("eventbus", message)
        else:
            self.bus.send_group("twin", message)


class Replay:
    """A node, a client that says what was said, and one that hears everything."""

    def __init__(self, node: Node, speaker: TestClient, listener: TestClient) -> None:
        self._node = node
        self._speaker = speaker
        self._listener = listener
        self.heard: list[Published] = []

    async def play(self) -> None:
        """Say everything, each when what came before it has been heard."""
        for count, (topic, payload) in enumerate(RECORDED, start=1):
            if topic.endswith(FROM_CLIENTS):
                self._speaker.publish(topic, payload)
            elif (step := self._cause(topic)) is not None:
                self._node.from_cloud(step)
            await self._hear(count)
        await asyncio.sleep(SILENCE_S)
        await self._hear(0)

    def _cause(self, topic: str) -> Step | None:
        """Return the message of the cloud that made the node publish on topic."""
        if topic.endswith("/membership/updated"):
            steps = [step for step in CLOUD if step.resource == "membership"]
            return steps[any(one.topic == topic for one in self.heard)]
        if topic == "test":
            for step in CLOUD:
                if step.operation == "subscribe" and step.source == "router_eventbus":
                    self._node.from_cloud(step)
            return next(step for step in CLOUD if step.operation == "publish" and step.resource == topic)
        return None

    async def _hear(self, count: int) -> None:
        """Note what was heard; wait until it is so much, deviations aside."""
        while not self._listener.heard.empty() or self._usual() < count:
            heard = await self._listener.next()
            self.heard.append(published(heard.topic, heard.payload.decode()))

    def _usual(self) -> int:
        return sum(one not in DEVIATIONS.values() for one in self.heard)


@pytest_asyncio.fixture
async def replay(tmp_path: Path) -> AsyncIterator[Replay]:
    with mosquitto(tmp_path / "broker") as broker:
        node = Node(tmp_path, broker.url)
        running = asyncio.ensure_future(node.run())
        await until(lambda: node.broker.is_connected)
        async with client(broker, "speaker") as speaker, client(broker, "listener") as listener:
            # `#` alone leaves out the topics that begin with `$`.
            await listener.subscribe("#", "$hw/#")
            yield Replay(node, speaker, listener)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_every_topic_carries_what_it_carried_on_the_recorded_node(replay: Replay) -> None:
    await replay.play()
    assert [one for one in replay.heard if one not in DEVIATIONS.values()] == [published(*one) for one in RECORDED]
    assert [one for one in replay.heard if one in DEVIATIONS.values()] == list(DEVIATIONS.values())


async def test_cloud_gets_the_same_uploads(replay: Replay) -> None:
    await replay.play()
    ours = [message for message in replay._node.sent if message.source == "bus"]
    routes = [(message.source, message.group, message.operation, message.resource) for message in ours]
    assert routes == [("bus", "user", "upload", step.resource) for step in UPLOADS]
    assert [orjson.loads(message.content) for message in ours] == [step.content for step in UPLOADS]
