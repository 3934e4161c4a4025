"""Broker, cable or edgecore die in the middle of a stream of updates at QoS 1, and none is lost.

A real mosquitto, a real edgecore, and a client that keeps what it says until the broker has it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import orjson
import pytest
import pytest_asyncio

from kubeedge.edgecore.eventbus.address import Address
from kubeedge.edgecore.eventbus.broker import Done
from kubeedge.edgecore.eventbus.external import ExternalBroker
from tests.cable import Cable, cable
from tests.devicenode import DeviceNode, device_node
from tests.mosquitto import Mosquitto, mosquitto
from tests.sites import until

pytestmark = pytest.mark.timeout(180)

DEVICES = 10
UPDATES = 3_000
# So many a moment, so that the stream lasts longer than the faults.
BURST = 10
MOMENT_S = 0.01
# After this a client that heard no result says its update again, as one does that wants to be sure.
PATIENCE_S = 3.0
RESULT = "/twin/update/result"
# What the database holds at the end: the last update of each device.
LATEST = {f"default/d{number % DEVICES}": number for number in range(UPDATES - DEVICES, UPDATES)}


class Rig:
    """Broker, cable and node, and what can happen to them."""

    def __init__(self, broker: Mosquitto, link: Cable, node: DeviceNode) -> None:
        self.broker = broker
        self.link = link
        self.node = node

    async def broker_dies(self) -> None:
        self.broker.kill()
        await asyncio.sleep(0.3)
        await asyncio.to_thread(self.broker.start)

    async def cable_is_cut(self) -> None:
        self.link.cut()

    async def cable_is_out(self) -> None:
        await self.link.unplug()
        await asyncio.sleep(0.5)
        await self.link.plug_in()

    async def node_dies(self) -> None:
        self.node.kill()
        await self.node.start()

    def stored(self) -> dict[str, int]:
        """Return the count of each device in the database of the node."""
        connection = apsw.Connection(str(self.node.database))
        rows: list[Any] = connection.execute("SELECT deviceid,actual FROM device_twin WHERE name='count'").fetchall()
        connection.close()
        return {device: int(actual) for device, actual in rows}


class Stream:
    """A client that counts: update n says n, and has a result to hear."""

    def __init__(self, client: ExternalBroker) -> None:
        self._client = client
        self.answered: set[int] = set()

    @property
    def missing(self) -> list[int]:
        """The updates without a result so far."""
        return [number for number in range(UPDATES) if number not in self.answered]

    def publish(self, number: int) -> None:
        """Say update number."""
        count = {"actual": {"value": str(number)}, "metadata": {"type": "int"}}
        body = {"event_id": str(number), "twin": {"count": count}}
        self._client.publish(f"$hw/events/device/default/d{number % DEVICES}/twin/update", orjson.dumps(body))

    def take(self, _topic: str, payload: bytes, done: Done) -> None:
        """Hear a result."""
        body = orjson.loads(payload)
        if "code" not in body:
            self.answered.add(int(body["event_id"]))
        done()

    async def unanswered(self) -> list[int]:
        """Wait until all is answered, or nothing more is for a while; return what is missing."""
        count = -1
        while self.missing and count != len(self.answered):
            count = len(self.answered)
            with contextlib.suppress(AssertionError):
                await until(lambda: not self.missing, timeout_s=PATIENCE_S)
        return self.missing

    async def run(self, faults: dict[int, str], rig: Rig) -> None:
        """Say all updates; before those in faults, something happens."""
        for number in range(UPDATES):
            if number in faults:
                await getattr(rig, faults[number])()
            self.publish(number)
            if number % BURST == 0:
                await asyncio.sleep(MOMENT_S)


@pytest_asyncio.fixture
async def rig(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Rig]:
    """A running node behind a cable; with a parameter that is true the broker keeps its sessions on disk."""
    is_persistent = getattr(request, "param", False)
    settings = ["max_queued_messages 0"]
    with mosquitto(tmp_path / "broker", is_persistent=is_persistent, settings=settings) as broker:
        async with (
            cable(broker.port) as link,
            device_node(tmp_path / "node", f"tcp://127.0.0.1:{link.port}") as node,
        ):
            node.know(f"default/d{number}" for number in range(DEVICES))
            await node.start()
            yield Rig(broker, link, node)


@pytest_asyncio.fixture
async def stream(rig: Rig) -> AsyncIterator[Stream]:
    client = ExternalBroker(Address("127.0.0.1", rig.broker.port, False), "stream")
    stream = Stream(client)
    running = asyncio.ensure_future(client.run(stream.take, lambda: (f"$hw/events/device/+/+{RESULT}",)))
    await until(lambda: client.is_connected)
    yield stream
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_cut_cable_loses_no_update_and_no_answer(rig: Rig, stream: Stream) -> None:
    """Nobody says anything twice but the protocol."""
    faults = {**dict.fromkeys(range(200, UPDATES, 400), "cable_is_cut"), 1_500: "cable_is_out"}
    await stream.run(faults, rig)
    await until(lambda: not stream.missing, otherwise=lambda: str(stream.missing[:20]))
    assert rig.stored() == LATEST


async def test_killed_node_loses_no_update(rig: Rig, stream: Stream) -> None:
    """What was acknowledged is on disk, and what was not the broker gives again: the latest of each device is there.

    Answers that were in memory are lost with it.
    """
    await stream.run({700: "node_dies", 2_000: "node_dies"}, rig)
    await until(lambda: rig.stored() == LATEST, otherwise=lambda: str(rig.stored()))
    await until(lambda: len(stream.missing) < 200)


@pytest.mark.parametrize("rig", [True], indirect=True, ids=["sessions on disk"])
async def test_killed_broker_loses_no_update(rig: Rig, stream: Stream) -> None:
    """mosquitto acknowledges before it writes, so its crash may lose what it has just taken: that is said again.

    All else it gives again from its disk, and edgecore does: the answers it had no acknowledgement for.
    """
    await stream.run({800: "broker_dies", 1_800: "broker_dies"}, rig)
    while again := await stream.unanswered():
        # A window of what may be under way with each client, at each crash.
        assert len(again) < 300
        for number in again:
            stream.publish(number)
    assert set(rig.stored()) == set(LATEST)
