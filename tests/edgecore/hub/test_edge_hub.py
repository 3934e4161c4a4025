"""EdgeHub against a cloud that a test plays, over real TLS."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kubeedge.bus import Bus
from kubeedge.edgecore.hub import hub as module
from kubeedge.edgecore.hub.hub import EdgeHub
from kubeedge.edgecore.hub.uplink import dropped
from kubeedge.link.lane import Lane
from kubeedge.link.server import Listener, ServerConnection, forbidden
from kubeedge.link.upgrade import UpgradeError, UpgradeRequest
from kubeedge.message import Message, new_message, response_to
from tests.link.certificates import TestAuthority

WAIT_S = 5


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> TestAuthority:
    return TestAuthority(tmp_path_factory.mktemp("pki"))


class CloudLane(Lane):
    """One connection of the node, seen from the cloud."""

    def __init__(self, connection: ServerConnection, request: UpgradeRequest) -> None:
        super().__init__(connection)
        self.request = request
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.reason = ""
        self.ended = asyncio.Event()

    @property
    def peer_name(self) -> str:
        return "edge"

    def receive(self, message: Message) -> None:
        self.messages.put_nowait(message)

    def writable(self) -> None:
        """Nothing waits."""

    def closed(self, reason: str) -> None:
        self.reason = reason
        self.ended.set()

    async def next(self) -> Message:
        return await asyncio.wait_for(self.messages.get(), WAIT_S)


class Cloud:
    """The other end: takes every connection, or refuses with what `refusal` says."""

    def __init__(self, tls: ssl.SSLContext, port: int = 0) -> None:
        self.refusal: UpgradeError | None = None
        self.lanes: asyncio.Queue[CloudLane] = asyncio.Queue()
        self.attempts = 0
        self._tls = tls
        self.listener = Listener("127.0.0.1", port, tls, self._accept)
        self.port = self.listener.bind()
        self._all: list[CloudLane] = []

    def _accept(self, connection: ServerConnection, request: UpgradeRequest) -> CloudLane:
        self.attempts += 1
        if self.refusal is not None:
            raise self.refusal
        lane = CloudLane(connection, request)
        self._all.append(lane)
        self.lanes.put_nowait(lane)
        return lane

    async def lane(self) -> CloudLane:
        """Take the next connection, past its first keepalive."""
        lane = await asyncio.wait_for(self.lanes.get(), WAIT_S)
        assert (await lane.next()).operation == "keepalive"
        return lane

    async def run(self) -> None:
        try:
            await self.listener.run()
        finally:
            for lane in self._all:
                lane.connection.abort("cloud died")


@asynccontextmanager
async def cloud(authority: TestAuthority, port: int = 0) -> AsyncIterator[Cloud]:
    made = Cloud(authority.server_context(), port)
    running = asyncio.ensure_future(made.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.wait([running])


class Edge:
    """A hub with modules that remember what they get."""

    def __init__(self, port: int, tls: Callable[[], ssl.SSLContext], **options: Any) -> None:
        self.bus = Bus()
        self.heard: list[tuple[str, Message]] = []
        self.more = asyncio.Event()
        for name, group in (("metamanager", "meta"), ("twin", "twin"), ("eventbus", "bus"), ("tasks", "taskmanager")):
            self.bus.register(name, group, self._listener(name))
        self.hub = EdgeHub(self.bus, "e1", f"127.0.0.1:{port}", tls, **options)

    def _listener(self, name: str) -> Callable[[Message], None]:
        def receive(message: Message) -> None:
            self.heard.append((name, message))
            self.more.set()

        return receive

    async def next(self, name: str) -> Message:
        """Take the first message that came for a module."""
        async with asyncio.timeout(WAIT_S):
            while True:
                for place, (receiver, message) in enumerate(self.heard):
                    if receiver == name:
                        del self.heard[place]
                        return message
                self.more.clear()
                await self.more.wait()


@asynccontextmanager
async def edge(port: int, authority: TestAuthority, **options: Any) -> AsyncIterator[Edge]:
    options.setdefault("tls", lambda: authority.client_context("e1"))
    made = Edge(port, **options)
    running = asyncio.ensure_future(made.hub.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.wait([running])
        assert not made.hub.connected.is_set()


async def test_it_connects_as_a_go_edge_does_and_says_so(authority: TestAuthority) -> None:
    async with cloud(authority) as c, edge(c.port, authority) as e:
        lane = await asyncio.wait_for(c.lanes.get(), WAIT_S)
        assert lane.request.target == f"/{module.DEFAULT_PROJECT}/e1/events"
        for name, value in (("Node_id", "e1"), ("Project_id", module.DEFAULT_PROJECT), ("Connectionuse", "msg")):
            assert lane.request.headers.first(name) == value
        keepalive = await lane.next()
        assert (keepalive.source, keepalive.group, keepalive.operation, keepalive.resource, keepalive.content) == (
            "websocket",
            "resource",
            "keepalive",
            "node",
            b'"ping"',
        )
        for name, group in (("metamanager", "meta"), ("twin", "twin"), ("eventbus", "bus"), ("tasks", "taskmanager")):
            told = await e.next(name)
            assert (told.source, told.group, told.operation, told.resource, told.content) == (
                "edgehub",
                group,
                "connect",
                "node/connection",
                b'"cloud_connected"',
            )
        assert e.hub.connected.is_set()


async def test_keepalives_go_on_past_the_rate(authority: TestAuthority) -> None:
    async with (
        cloud(authority) as c,
        edge(c.port, authority, heartbeat_s=0.05, message_qps=0.001, message_burst=1) as e,
    ):
        lane = await c.lane()
        e.bus.send("websocket", new_message("edged", "meta", "query", "a/b/c"))
        e.bus.send("websocket", new_message("edged", "meta", "query", "a/b/d"))
        assert (await lane.next()).resource == "a/b/c"
        assert [(await lane.next()).operation for _ in range(3)] == ["keepalive"] * 3


async def test_what_is_sent_to_it_goes_up_as_it_stands_and_answers_find_who_waits(authority: TestAuthority) -> None:
    async with cloud(authority) as c, edge(c.port, authority) as e:
        lane = await c.lane()
        request = new_message("edged", "meta", "query", "default/configmap/cm")
        waiting = asyncio.ensure_future(e.bus.request("websocket", request, WAIT_S))
        got = await lane.next()
        assert (got.id, got.resource, got.content) == (request.id, request.resource, b"null")
        lane.send(response_to(got, b'{"kind":"ConfigMap"}', group="resource"))
        assert (await waiting).content == b'{"kind":"ConfigMap"}'


async def test_what_comes_down_is_sorted_by_its_group(authority: TestAuthority) -> None:
    async with cloud(authority) as c, edge(c.port, authority) as e:
        lane = await c.lane()
        for name in ("metamanager", "twin", "eventbus", "tasks"):
            await e.next(name)
        before = dropped.value("no receiver")
        for source, group, parent_id in (
            ("edgecontroller", "resource", ""),
            ("devicecontroller", "twin", "p"),
            ("router_eventbus", "user", ""),
            ("taskmanager", "taskmanager", ""),
            ("router_servicebus", "user", ""),
            ("edgecontroller", "resource", "nobody waits"),
            ("edgecontroller", "unheard of", ""),
        ):
            lane.send(new_message(source, group, "update", "a/b/c", parent_id=parent_id))
        assert (await e.next("metamanager")).source == "edgecontroller"
        assert (await e.next("twin")).source == "devicecontroller"
        assert (await e.next("eventbus")).source == "router_eventbus"
        assert (await e.next("tasks")).source == "taskmanager"
        for _ in range(100):
            if dropped.value("no receiver") == before + 3:
                break
            await asyncio.sleep(0.01)
        assert dropped.value("no receiver") == before + 3


async def test_a_module_that_fails_does_not_cost_the_connection(authority: TestAuthority) -> None:
    async with cloud(authority) as c, edge(c.port, authority) as e:
        lane = await c.lane()

        def fail(message: Message) -> None:
            raise RuntimeError("broken module")

        e.bus.register("broken", "twin", fail)
        lane.send(new_message("devicecontroller", "twin", "update", "membership"))
        lane.send(new_message("edgecontroller", "resource", "update", "a/b/c"))
        while (await e.next("metamanager")).resource != "a/b/c":
            pass
        assert e.hub.connected.is_set()


async def test_it_is_back_quickly_after_a_loss_and_tells_everyone(
    authority: TestAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with edge(1, authority) as nowhere:
        await asyncio.sleep(0.05)
        assert not nowhere.hub.connected.is_set()
    async with cloud(authority) as c, edge(c.port, authority, jitter=lambda: 0.05) as e:
        lane = await c.lane()
        assert (await e.next("metamanager")).content == b'"cloud_connected"'
        loop = asyncio.get_running_loop()
        lane.connection.abort("killed")
        lost = loop.time()
        assert (await e.next("metamanager")).content == b'"cloud_disconnected"'
        assert not e.hub.connected.is_set()
        e.bus.send("websocket", new_message("edged", "meta", "query", "asked/while/away"))
        again = await c.lane()
        assert loop.time() - lost < 1
        assert (await again.next()).resource == "asked/while/away"
        assert (await e.next("metamanager")).content == b'"cloud_connected"'


async def test_it_finds_a_cloud_that_comes_back_on_the_same_port(authority: TestAuthority) -> None:
    async with cloud(authority) as first:
        port = first.port
        running = edge(port, authority, jitter=lambda: 0.1)
        e = await running.__aenter__()
        await first.lane()
    try:
        await asyncio.sleep(0.5)
        async with cloud(authority, port) as second:
            await second.lane()
            assert e.hub.connected.is_set()
    finally:
        await running.__aexit__(None, None, None)


async def test_pauses_grow_to_five_seconds_with_jitter(authority: TestAuthority) -> None:
    made = Edge(1, lambda: authority.client_context("e1"), jitter=lambda: 0.0)
    assert [made.hub._pause_s(failures, 5.0) for failures in range(8)] == [0, 0, 1, 2, 2.5, 2.5, 2.5, 2.5]
    made = Edge(1, lambda: authority.client_context("e1"), jitter=lambda: 1.0)
    assert [made.hub._pause_s(failures, 5.0) for failures in range(8)] == [1, 1, 2, 4, 5, 5, 5, 5]
    assert made.hub._pause_s(2000, 30.0) == 30


async def test_a_refusal_is_told_once_and_retried(authority: TestAuthority, caplog: pytest.LogCaptureFixture) -> None:
    async with cloud(authority) as c:
        c.refusal = forbidden("not you")
        async with edge(c.port, authority, jitter=lambda: 0.0):
            for _ in range(WAIT_S * 100):
                if c.attempts >= 2:
                    break
                await asyncio.sleep(0.01)
            c.refusal = None
            await asyncio.wait_for(c.lanes.get(), WAIT_S)
    told = [record.message for record in caplog.records if "cloud not connected" in record.message]
    assert len(told) == 1
    assert "reason=server refused: 403 Forbidden" in told[0]


async def test_a_certificate_that_cannot_be_read_is_tried_again(authority: TestAuthority, tmp_path: Path) -> None:
    attempts: list[int] = []

    def tls() -> ssl.SSLContext:
        attempts.append(1)
        if len(attempts) == 1:
            return authority.client_context("e1") if (tmp_path / "missing").read_text() else ssl.SSLContext()
        return authority.client_context("e1")

    async with cloud(authority) as c, edge(c.port, authority, tls=tls, jitter=lambda: 0.0):
        await c.lane()
        assert len(attempts) == 2


async def test_a_cloud_that_says_nothing_is_left(authority: TestAuthority) -> None:
    async with cloud(authority) as c, edge(c.port, authority, heartbeat_s=0.1, jitter=lambda: 0.0):
        first = await c.lane()
        first.connection.pause_reading()
        await c.lane()


async def test_a_new_certificate_makes_a_new_connection(authority: TestAuthority) -> None:
    async with cloud(authority) as c, edge(c.port, authority, jitter=lambda: 0.0) as e:
        first = await c.lane()
        e.hub.reconnect("certificate was renewed")
        await asyncio.wait_for(first.ended.wait(), WAIT_S)
        assert first.reason == "peer closed: 1001 certificate was renewed"
        await c.lane()


async def test_being_cut_right_after_connecting_is_survived(authority: TestAuthority) -> None:
    class Cutting(Cloud):
        def _accept(self, connection: ServerConnection, request: UpgradeRequest) -> CloudLane:
            lane = super()._accept(connection, request)
            if self.attempts == 1:
                asyncio.get_running_loop().call_soon(connection.abort, "cut")
            return lane

    c = Cutting(authority.server_context())
    running = asyncio.ensure_future(c.run())
    try:
        async with edge(c.port, authority, jitter=lambda: 0.0) as e:
            await asyncio.wait_for(c.lanes.get(), WAIT_S)
            await c.lane()
            assert e.hub.connected.is_set()
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_cancelling_anywhere_leaves_it_disconnected(authority: TestAuthority) -> None:
    async with cloud(authority) as c:
        for turns in range(0, 60, 3):
            async with edge(c.port, authority) as e:
                for _ in range(turns):
                    await asyncio.sleep(0.0003)
            contents = [message.content for name, message in e.heard if name == "metamanager"]
            assert contents in ([], [b'"cloud_connected"', b'"cloud_disconnected"'])
