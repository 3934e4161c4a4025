"""A MetaManager with a real bus and a real database, a cloud that a test scripts and an edged that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from kubeedge.bus import Bus
from kubeedge.edgecore.metamanager.metamanager import MetaManager
from kubeedge.edgecore.metamanager.schema import SCHEMA
from kubeedge.message import Message, new_message
from kubeedge.store.database import Database

# How long a test waits for something that should happen at once.
WAIT_S = 5


class Edge:
    """What stands around MetaManager: `sent` went to the cloud, `pods` to edged, `dmi` to the mappers."""

    def __init__(self, path: Path) -> None:
        self.bus = Bus()
        self.database = Database(path, schema=SCHEMA)
        self.is_connected = True
        self.now = 1_000_000.0
        self.sent: list[Message] = []
        self.pods: list[Message] = []
        self.dmi: list[Message] = []
        self.answer: Callable[[Message], bytes | None] = lambda _: None
        self.bus.register("websocket", "hub", self._to_cloud)
        self.bus.register("edged", "edged", self.pods.append)
        self.bus.register("dmi", "dmi", self.dmi.append)
        self.metamanager = MetaManager(
            self.bus, self.database, lambda: self.is_connected, remote_query_timeout_s=0.2, now=lambda: self.now
        )

    def _to_cloud(self, message: Message) -> None:
        self.sent.append(message)
        content = None if message.operation == "response" else self.answer(message)
        if content is not None:
            answer = new_message(
                "edgecontroller", "resource", "response", message.resource, content, parent_id=message.id
            )
            asyncio.get_running_loop().call_soon(self.bus.resolve, answer)

    async def push(self, operation: str, resource: str, content: Any, source: str = "edgecontroller") -> Message:
        """Send a message as the cloud does and wait until it has been answered."""
        raw = content if isinstance(content, bytes) else orjson.dumps(content)
        message = new_message(source, "resource", operation, resource, raw)
        before = len(self.sent)
        self.bus.send("metamanager", message)
        await self.until(lambda: len(self.sent) > before)
        return message

    async def ask(self, operation: str, resource: str, content: Any = None) -> Message:
        """Send a request as edged does and return the answer."""
        raw = content if isinstance(content, bytes) else orjson.dumps(content)
        message = new_message("edged", "meta", operation, resource, raw)
        return await self.bus.request("metamanager", message, WAIT_S)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)

    def row(self, key: str) -> tuple[str, Any] | None:
        """Return type and value of a row of `meta`; the value parsed."""
        rows = self.database.read("SELECT type, value FROM meta WHERE key = ?", (key,))
        return (rows[0][0], orjson.loads(rows[0][1])) if rows else None

    def stored(self, table: str = "meta") -> list[str]:
        return [key for (key,) in self.database.read(f"SELECT key FROM {table} ORDER BY key")]

    @property
    def acks(self) -> list[Message]:
        return [message for message in self.sent if message.operation == "response"]


@pytest.fixture
async def edge(tmp_path: Path) -> AsyncIterator[Edge]:
    edge = Edge(tmp_path / "edgecore.db")
    edge.database.open()
    running = asyncio.ensure_future(edge.metamanager.run())
    yield edge
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await edge.database.close()
