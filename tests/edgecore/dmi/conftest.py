"""A DMI with a real bus, a real database and real mappers; what stands for DeviceTwin remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from kubeedge.bus import Bus, Done
from kubeedge.edgecore.dmi.dmi import Dmi
from kubeedge.edgecore.metamanager.schema import SCHEMA
from kubeedge.message import new_message
from kubeedge.store.database import Database
from tests.edgecore.dmi.mapper import WAIT_S, Mapper


class Node:
    """One node. `published` is what DeviceTwin got: topic, and payload without its time."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.socket = folder / "edge" / "dmi.sock"
        self.settings = {"first_pause_s": 0.02, **settings}
        self.published: list[tuple[str, dict[str, Any]]] = []
        self.takes = True
        self._mappers: list[Mapper] = []
        self._running: asyncio.Future[None] | None = None
        self.dmi: Dmi
        self.database: Database

    async def start(self) -> None:
        self.bus = Bus()
        self.bus.register_topics("twin", self._twin)
        self.database = Database(self.folder / "edgecore.db", schema=SCHEMA)
        self.database.open()
        self.dmi = Dmi(self.bus, self.database, self.socket, **self.settings)
        self._running = asyncio.ensure_future(self.dmi.run())
        await self.until(self.socket.exists)

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
            self._running = None
            await self.database.close()

    @property
    def is_running(self) -> bool:
        return self._running is not None and not self._running.done() and self.socket.exists()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    def _twin(self, topic: str, payload: bytes, done: Done | None) -> None:
        content = orjson.loads(payload)
        assert isinstance(content.pop("timestamp"), int)
        self.published.append((topic, content))
        if done is not None and self.takes:
            asyncio.get_running_loop().call_soon(done)

    async def say(self, operation: str, key: str, content: Any = None, source: str = "devicecontroller") -> None:
        """Store an object as MetaManager does, then hand it over."""
        raw = orjson.dumps(content)

        def work(connection: Any) -> None:
            if operation == "delete":
                connection.execute("DELETE FROM meta WHERE key = ?", (key,))
            else:
                connection.execute(
                    "INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (key, key.split("/")[1], raw.decode())
                )

        await self.database.write(work)
        self.bus.send("dmi", new_message(source, "twin", operation, key, raw))

    async def put_row(self, key: str, type_: str, value: str) -> None:
        def work(connection: Any) -> None:
            connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?, ?)", (key, type_, value))

        await self.database.write(work)

    async def mapper(self, name: str = "m", *, listens: bool = True) -> Mapper:
        mapper = Mapper(self.folder / f"{name}.sock", self.socket)
        self._mappers.append(mapper)
        if listens:
            await mapper.start()
        return mapper

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(WAIT_S):
            while not condition():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)

    async def quiet(self) -> None:
        """Wait until nothing is left to be told to any mapper."""
        await self.until(lambda: not any(map(len, self.dmi.deliveries.values())))
        await asyncio.sleep(0.02)

    async def close(self) -> None:
        for mapper in self._mappers:
            await mapper.close()
        await self.stop()

    def rows(self, type_: str) -> dict[str, Any]:
        found = self.database.read("SELECT key, value FROM meta WHERE type = ?", (type_,))
        return {key: orjson.loads(value) for key, value in found}


MakeNode = Callable[..., Awaitable[Node]]


@pytest.fixture
async def make_node(tmp_path: Path) -> AsyncIterator[MakeNode]:
    nodes = []

    async def make(**settings: Any) -> Node:
        node = Node(tmp_path, **settings)
        nodes.append(node)
        await node.start()
        return node

    yield make
    for node in nodes:
        await node.close()


@pytest.fixture
async def node(make_node: MakeNode) -> Node:
    return await make_node()
