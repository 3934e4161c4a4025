"""The node's own broker, with real clients."""

from __future__ import annotations

import asyncio
import socket

import pytest

from kubeedge.daemon import CannotStartError
from kubeedge.edgecore.eventbus.address import Address, parse
from kubeedge.edgecore.eventbus.external import ExternalBroker
from kubeedge.edgecore.eventbus.internal import InternalBroker
from kubeedge.edgecore.eventbus.outbox import dropped
from tests.mosquitto import TestClient, client, free_port
from tests.sites import until

from .conftest import running

TWIN = "$hw/events/device/+/+/twin/+"
UPDATE = "$hw/events/device/default/d1/twin/update"


class Place:
    """Where the clients of the tests find the node's own broker."""

    with_password = False

    def __init__(self) -> None:
        self.port = free_port()

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.port, False)

    async def listens(self) -> None:
        def connects() -> bool:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                return False
            return True

        await until(lambda: asyncio.to_thread(connects))


@pytest.fixture
def place() -> Place:
    return Place()


async def test_publications_of_clients_are_taken_and_answered(place: Place) -> None:
    broker = InternalBroker(place.address, quality=1)
    async with running(broker, TWIN, "+/user/#") as taken:
        await place.listens()
        async with client(place, "one") as one, client(place, "two") as two:
            await two.subscribe("$hw/events/device/+/+/twin/update/result", "a/user/b")
            one.publish(UPDATE, b'{"a":1}')
            one.publish("not/for/us", b"x")
            one.publish("a/user/b", b"y", quality=0)
            assert await taken.until(2) == [(UPDATE, b'{"a":1}'), ("a/user/b", b"y")]
            assert (await two.next()).payload == b"y"
            broker.publish(f"{UPDATE}/result", b"\0r")
            heard = await two.next()
            assert (heard.topic, heard.payload, heard.quality) == (f"{UPDATE}/result", b"\0r", 1)
            assert len(taken.publications) == 2


async def test_publication_of_the_node_is_not_given_back_to_it(place: Place) -> None:
    broker = InternalBroker(place.address)
    async with running(broker, "#") as taken:
        await place.listens()
        async with client(place, "one") as one:
            await one.subscribe("from/node")
            broker.publish("from/node", b"x")
            await one.next()
            assert taken.publications == []


async def test_client_is_acknowledged_when_its_publication_is_stored(place: Place) -> None:
    async with running(InternalBroker(place.address), TWIN) as taken:
        await place.listens()
        async with client(place, "one") as one:
            taken.holds = True
            one.publish(UPDATE, b"x")
            await taken.until(1)
            await asyncio.sleep(0.1)
            assert not _has_everything(one)
            taken.open[0]()
            await until(lambda: _has_everything(one))


def _has_everything(tester: TestClient) -> bool:
    """Tell whether a client waits for no acknowledgement."""
    return bool(tester._client._persistent_storage.is_empty)


async def test_wildcards_of_clients_match_topics_with_a_dollar(place: Place) -> None:
    """Spec 04 §5.3: no special case, on the internal broker."""
    broker = InternalBroker(place.address)
    async with running(broker, TWIN):
        await place.listens()
        async with client(place, "one") as one:
            await one.subscribe("#")
            broker.publish("$hw/events/x", b"1")
            assert (await one.next()).topic == "$hw/events/x"


async def test_configured_retention_lets_later_clients_know(place: Place) -> None:
    broker = InternalBroker(place.address, is_retained=True)
    async with running(broker, TWIN):
        await place.listens()
        broker.publish("state", b"on")
        async with client(place, "late") as late:
            await late.subscribe("state")
            heard = await late.next()
            assert (heard.payload, heard.is_retained) == (b"on", True)


async def test_clients_need_no_name_and_may_say_anything(place: Place) -> None:
    """Q30: the internal broker has no users."""
    place.with_password = True
    async with running(InternalBroker(place.address), TWIN) as taken:
        await place.listens()
        async with client(place, "with-password") as one:
            one.publish("$hw/events/device/default/d1/twin/cloud_updated", b"{}")
            await taken.until(1)


async def test_queue_of_a_client_that_is_away_is_bounded(place: Place) -> None:
    broker = InternalBroker(place.address, quality=1, queue_size=5)
    async with running(broker, TWIN):
        await place.listens()
        async with client(place, "comes-back", keeps_session=True) as one:
            await one.subscribe("kept")
        await asyncio.sleep(0.2)
        before = dropped.value("client is away")
        for number in range(20):
            broker.publish("kept", b"%d" % number)
        await until(lambda: dropped.value("client is away") == before + 15)
        async with client(place, "comes-back", keeps_session=True) as one:
            assert [(await one.next()).payload for _ in range(5)] == [b"%d" % number for number in range(5)]


async def test_client_that_publishes_on_a_filter_is_closed(place: Place) -> None:
    async with running(InternalBroker(place.address), TWIN) as taken:
        await place.listens()
        async with client(place, "bad") as bad, client(place, "good") as good:
            bad.publish("a/#", b"x")
            await asyncio.sleep(0.2)
            good.publish(UPDATE, b"x")
            await taken.until(1)


async def test_brokers_speak_over_websocket_as_well(place: Place) -> None:
    """Both ends: a node whose external broker is another node's own."""
    url = f"ws://127.0.0.1:{place.port}/mqtt"
    inside = InternalBroker(parse(url), quality=1)
    outside = ExternalBroker(parse(url), "over-websocket", jitter=lambda: 0.1)
    payload = b"x" * 300_000
    async with running(inside, "to/inside") as inside_taken:
        await place.listens()
        async with running(outside, TWIN, "from/#") as taken:
            await until(lambda: outside.is_connected)
            inside.publish("from/inside", payload)
            assert await taken.until(1) == [("from/inside", payload)]
            for number in range(200):
                outside.publish("to/inside", b"%d" % number)
            assert await inside_taken.until(200) == [("to/inside", b"%d" % number) for number in range(200)]


async def test_address_in_use_ends_the_program(place: Place) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", place.port))
        other.listen()
        with pytest.raises(CannotStartError, match=f"127.0.0.1:{place.port}"):
            await InternalBroker(place.address).run(lambda *_: None, tuple)
