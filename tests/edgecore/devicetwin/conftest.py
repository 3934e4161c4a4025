"""A DeviceTwin with a real bus and a real database; what it publishes and sends is collected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from kubeedge import topics
from kubeedge.bus import Bus
from kubeedge.edgecore.devicetwin.devicetwin import DeviceTwin
from kubeedge.edgecore.devicetwin.schema import SCHEMA
from kubeedge.message import Message, new_message
from kubeedge.store.database import Database

# How long a test waits for something that should happen at once.
WAIT_S = 5
NODE = "e1"


class Node:
    """What stands around DeviceTwin: `published` went to the broker, `sent` to the cloud, `done` was taken over."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_ms = 1_795_509_000_000
        self.published: list[tuple[str, bytes]] = []
        self.sent: list[Message] = []
        self.done: list[str] = []
        self.confirms = True
        self._serial = 0
        self._make()

    def _make(self) -> None:
        self.bus = Bus()
        self.database = Database(self.path, schema=SCHEMA)
        self.bus.register("websocket", "hub", self._to_cloud)
        self.bus.register_topics("eventbus", lambda topic, payload, _: self.published.append((topic, payload)))
        self.twin = DeviceTwin(self.bus, self.database, NODE, now_ms=lambda: self.now_ms)

    def _to_cloud(self, message: Message) -> None:
        self.sent.append(message)
        if self.confirms and message.resource != "membership/detail":
            asyncio.get_running_loop().call_soon(self.confirm, message)

    def confirm(self, message: Message) -> None:
        self.cloud("response", "twin", "OK", parent_id=message.id)

    async def start(self) -> None:
        self.database.open()
        self.task = asyncio.create_task(self.twin.run())

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)
        await self.database.close()

    async def restart(self) -> None:
        """End edgecore in good order and start it again; the cloud is not connected then."""
        await self.stop()
        self._make()
        await self.start()

    def cloud(self, operation: str, resource: str, content: Any, **header: str) -> None:
        """Receive a message of the cloud."""
        raw = content if isinstance(content, bytes) else orjson.dumps(content)
        self.bus.send_group("twin", new_message("devicecontroller", "twin", operation, resource, raw, **header))

    def connect(self, is_connected: bool = True) -> None:
        word = "cloud_connected" if is_connected else "cloud_disconnected"
        self.bus.send_group("twin", new_message("edgehub", "twin", "connect", "node/connection", orjson.dumps(word)))

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():
                assert not self.task.done(), self.task.result()
                await asyncio.sleep(0.001)

    async def publish(self, topic: str, payload: Any) -> dict[str, list[Any]]:
        """Publish as a client and return what DeviceTwin answers until it is done, by action."""
        before = len(self.published)
        self._serial += 1
        name = str(self._serial)
        raw = payload if isinstance(payload, bytes) else orjson.dumps(payload)
        self.bus.publish("twin", topic, raw, lambda: self.done.append(name))
        await self.until(lambda: name in self.done)
        answers: dict[str, list[Any]] = {}
        for answered, body in self.published[before:]:
            found = topics.of_device(answered) or topics.of_node(answered)
            answers.setdefault(found[1] if found else answered, []).append(orjson.loads(body))
        return answers

    async def update(self, device: str, twin: Any, event_id: str = "e") -> dict[str, list[Any]]:
        return await self.publish(f"$hw/events/device/{device}/twin/update", {"event_id": event_id, "twin": twin})

    async def add(self, *devices: str, **more: Any) -> None:
        """Let the cloud say that the node has these devices."""
        before = len(self.published)
        entries = [{"id": device, "name": device.partition("/")[2], **more} for device in devices]
        content = {"event_id": "m", "timestamp": 1, "added_devices": entries, "removed_devices": None}
        self.cloud("update", "membership", content)
        await self.until(lambda: len(self.published) >= before + len(devices))

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self.database.read(sql)

    def news(self) -> list[tuple[str, Any]]:
        """What the cloud was told of twins and states: resource and content."""
        return [
            (message.resource, orjson.loads(message.content))
            for message in self.sent
            if message.resource != "membership/detail"
        ]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    node = Node(tmp_path / "edge.db")
    await node.start()
    yield node
    await node.stop()
