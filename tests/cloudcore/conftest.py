"""What the tests of cloudcore's modules share: the embedded API, and a bus whose CloudHub only remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from kubeedge.bus import Bus
from kubeedge.kube.api import KubeApi
from kubeedge.message import Message
from tests.embedded import embedded_apiserver


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[KubeApi]:
    """The embedded API with the namespaces that cloudcore knows."""
    async with embedded_apiserver(tmp_path / "api", "default", "kube-node-lease", "kubeedge") as server:
        yield server.api


class Hub:
    """CloudHub as far as controllers see it: takes messages, and lets a test wait for them."""

    def __init__(self, bus: Bus) -> None:
        self.sent: list[Message] = []
        self._more = asyncio.Event()
        bus.register("cloudhub", "cloudhub", self._receive)

    def _receive(self, message: Message) -> None:
        self.sent.append(message)
        self._more.set()

    async def wait_for(self, accept: Callable[[Message], bool]) -> Message:
        """Take the first message out that accept takes, within five seconds."""
        async with asyncio.timeout(5):
            while True:
                for message in self.sent:
                    if accept(message):
                        self.sent.remove(message)
                        return message
                self._more.clear()
                await self._more.wait()

    async def push(self, operation: str, resource: str) -> Message:
        """Take the first push of that operation and resource."""
        return await self.wait_for(
            lambda message: not message.parent_id and (message.operation, message.resource) == (operation, resource)
        )

    async def answer(self, request: Message) -> Message:
        """Take the answer to request."""
        return await self.wait_for(lambda message: message.parent_id == request.id)

    def pushes(self) -> list[tuple[str, str]]:
        """Return operation and resource of what is left."""
        return [(message.operation, message.resource) for message in self.sent if not message.parent_id]


@pytest.fixture
def bus() -> Bus:
    """An empty bus."""
    return Bus()


@pytest.fixture
def hub(bus: Bus) -> Hub:
    """The other end of what controllers send."""
    return Hub(bus)
