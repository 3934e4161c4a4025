"""A mosquitto for all tests of the folder, and what runs against it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager

import pytest

from kubeedge.edgecore.eventbus.address import Address
from kubeedge.edgecore.eventbus.broker import Broker, Done
from kubeedge.edgecore.eventbus.external import ExternalBroker
from tests.mosquitto import Mosquitto, mosquitto
from tests.sites import until


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A broker that every test may use and none may harm; it keeps all for a client that is away."""
    with mosquitto(tmp_path_factory.mktemp("mosquitto"), settings=["max_queued_messages 0"]) as broker:
        yield broker


class Taken:
    """Notes what a broker gives the node; acknowledges at once unless told to hold."""

    def __init__(self) -> None:
        self.publications: list[tuple[str, bytes]] = []
        self.open: list[Done] = []
        self.holds = False

    def __call__(self, topic: str, payload: bytes, done: Done) -> None:
        self.publications.append((topic, payload))
        if self.holds:
            self.open.append(done)
        else:
            done()

    async def until(self, count: int) -> list[tuple[str, bytes]]:
        """Wait for that many, and return them."""
        await until(lambda: len(self.publications) >= count, otherwise=lambda: repr(self.publications[-5:]))
        return self.publications


def external(port: int, client_id: str = "hub-client-sub-0000000001") -> ExternalBroker:
    """Make a broker on loopback, with reconnections that a test can wait for."""
    return ExternalBroker(Address("127.0.0.1", port, False), client_id, jitter=lambda: 0.1)


@asynccontextmanager
async def running(
    broker: Broker, *filters: str, live: Callable[[], Iterable[str]] | None = None
) -> AsyncIterator[Taken]:
    """Run a broker until the block is left."""
    taken = Taken()
    task = asyncio.ensure_future(broker.run(taken, live or (lambda: filters)))
    try:
        yield taken
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
