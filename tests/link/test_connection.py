"""Connections over real TLS on loopback: our two ends with each other, and each with `websockets`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import websockets
from websockets.asyncio.client import connect as websockets_connect
from websockets.asyncio.server import serve as websockets_serve

from kubeedge._speedups import frames
from kubeedge.link.client import ClientConnection, ConnectError, connect
from kubeedge.link.connection import Connection, protocol_errors
from kubeedge.link.server import Listener, ServerConnection, common_name, forbidden, refused_connections
from kubeedge.link.upgrade import UpgradeRequest
from tests.link.certificates import TestAuthority

WAIT_S = 5
NODE = [("Node_id", "e1"), ("Connectionuse", "msg")]


class Inbox:
    """A receiver that keeps what it gets."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.messages: asyncio.Queue[bytes] = asyncio.Queue()
        self.has_room = asyncio.Event()
        self.reasons: list[str] = []
        self.is_closed = asyncio.Event()

    def received(self, payload: bytes) -> None:
        self.messages.put_nowait(payload)

    def writable(self) -> None:
        self.has_room.set()

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)
        self.is_closed.set()

    async def next(self) -> bytes:
        return await asyncio.wait_for(self.messages.get(), WAIT_S)

    async def end(self) -> str:
        await asyncio.wait_for(self.is_closed.wait(), WAIT_S)
        (reason,) = self.reasons
        return reason


class Echo(Inbox):
    def received(self, payload: bytes) -> None:
        self.connection.send(payload)


class Cloud:
    """A listener with the inboxes of its connections."""

    def __init__(self, tls: ssl.SSLContext | None, kind: type[Inbox], **limits: float) -> None:
        self.inboxes: list[Inbox] = []
        self.requests: list[UpgradeRequest] = []
        self.names: list[str] = []
        self._kind = kind
        self.arrived = asyncio.Event()
        self.listener = Listener("127.0.0.1", 0, tls, self.accept, **limits)  # type: ignore[arg-type]
        self.port = self.listener.bind()
        self.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{self.port}/p/e1/events"

    def accept(self, connection: ServerConnection, request: UpgradeRequest) -> Inbox:
        self.requests.append(request)
        self.names.append(common_name(connection.peer_certificate()))
        inbox = self._kind(connection)
        self.inboxes.append(inbox)
        self.arrived.set()
        return inbox

    async def inbox(self) -> Inbox:
        await asyncio.wait_for(self.arrived.wait(), WAIT_S)
        return self.inboxes[-1]


@asynccontextmanager
async def cloud(tls: ssl.SSLContext | None, kind: type[Inbox] = Inbox, **limits: float) -> AsyncIterator[Cloud]:
    made = Cloud(tls, kind, **limits)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.listener.run())
        try:
            yield made
        finally:
            for inbox in made.inboxes:
                inbox.connection.abort("end of test")
            running.cancel()


async def dial(
    at: Cloud, tls: ssl.SSLContext | None, make: Callable[[Connection], Inbox] = Inbox, **options: float
) -> tuple[ClientConnection, Inbox]:
    inboxes: list[Inbox] = []

    def on_open(connection: ClientConnection) -> Inbox:
        inboxes.append(make(connection))
        return inboxes[0]

    connection = await connect(at.url, tls, NODE, on_open, **options)  # type: ignore[arg-type]
    return connection, inboxes[0]


async def test_messages_pass_both_ways_over_mutual_tls(authority: TestAuthority) -> None:
    async with cloud(authority.server_context(), Echo) as server:
        connection, inbox = await dial(server, authority.client_context("e1"))
        assert server.requests[0].headers.first("NODE_ID") == "e1"
        assert server.requests[0].target == "/p/e1/events"
        assert server.names == ["system:node:e1"]
        for payload in (b"ping", "é".encode() * 3000, b"", b"x" * 200_000):
            connection.send(payload)
            assert await inbox.next() == payload
        connection.close(frames.GOING_AWAY, "bye")
        assert await (await server.inbox()).end() == "peer closed: 1001 bye"
        assert await inbox.end() == "bye"


async def test_messages_of_32_mib_pass(authority: TestAuthority) -> None:
    async with cloud(authority.server_context(), Echo) as server:
        connection, inbox = await dial(server, authority.client_context("e1"))
        payload = b"abcdefgh" * (4 * 1024 * 1024)
        connection.send(payload)
        assert await inbox.next() == payload
        connection.abort("done")


async def test_websockets_as_client_talks_to_our_server(authority: TestAuthority) -> None:
    async with (
        cloud(authority.server_context(), Echo) as server,
        websockets_connect(
            server.url, ssl=authority.client_context("e1"), compression=None, additional_headers=NODE, max_size=None
        ) as client,
    ):
        for payload in ("hello", "é" * 50_000):
            await client.send(payload)
            assert await asyncio.wait_for(client.recv(), WAIT_S) == payload
        await client.send(["frag", "men", "ted"])
        assert await asyncio.wait_for(client.recv(), WAIT_S) == "fragmented"
        await client.send(b"binary is taken too")
        assert await asyncio.wait_for(client.recv(), WAIT_S) == "binary is taken too"
        await asyncio.wait_for(await client.ping(), WAIT_S)
        inbox = await server.inbox()
        inbox.connection.close(frames.POLICY_VIOLATION, "not you")
        with pytest.raises(websockets.ConnectionClosed) as caught:
            await asyncio.wait_for(client.recv(), WAIT_S)
        assert caught.value.rcvd is not None
        assert (caught.value.rcvd.code, caught.value.rcvd.reason) == (1008, "not you")


async def test_our_client_talks_to_websockets_as_server(authority: TestAuthority) -> None:
    async def echo(peer: websockets.asyncio.server.ServerConnection) -> None:
        with suppress(websockets.ConnectionClosed):
            async for message in peer:
                await peer.send([message[:2], message[2:]])
                await asyncio.wait_for(await peer.ping(), WAIT_S)

    async with websockets_serve(echo, "127.0.0.1", 0, ssl=authority.server_context(), compression=None) as server:
        port = server.sockets[0].getsockname()[1]
        inboxes: list[Inbox] = []

        def on_open(connection: ClientConnection) -> Inbox:
            inboxes.append(Inbox(connection))
            return inboxes[0]

        connection = await connect(f"wss://127.0.0.1:{port}/x", authority.client_context("e1"), NODE, on_open)
        for payload in (b"hello", "é".encode() * 50_000):
            connection.send(payload)
            assert await inboxes[0].next() == payload
        connection.ping()
        connection.close(frames.NORMAL, "bye")


async def test_what_is_sent_in_one_turn_leaves_in_one_write(authority: TestAuthority) -> None:
    async with cloud(None) as server:
        connection, _ = await dial(server, None)
        writes: list[bytes] = []
        transport = connection._transport
        assert transport is not None

        class Spy:
            def write(self, data: bytes) -> None:
                writes.append(data)
                transport.write(data)

            def __getattr__(self, name: str) -> object:
                return getattr(transport, name)

        connection._transport = Spy()  # type: ignore[assignment]
        for number in range(10):
            connection.send(str(number).encode())
        inbox = await server.inbox()
        assert [await inbox.next() for _ in range(10)] == [str(number).encode() for number in range(10)]
        assert len(writes) == 1


async def test_a_frame_can_be_made_once_for_many_peers(authority: TestAuthority) -> None:
    async with cloud(None) as server:
        _, first = await dial(server, None)
        _, second = await dial(server, None)
        framed = frames.frame(frames.TEXT, b"to all")
        for inbox in server.inboxes:
            inbox.connection.send_frame(framed)
        assert [await first.next(), await second.next()] == [b"to all"] * 2


async def test_a_peer_that_does_not_read_holds_the_sender_up_and_not_its_memory(authority: TestAuthority) -> None:
    async with cloud(authority.server_context()) as server:
        connection, inbox = await dial(server, authority.client_context("e1"))
        sender = await server.inbox()
        connection.pause_reading()
        sent = 0
        payload = b"x" * 100_000
        async with asyncio.timeout(WAIT_S):
            while sender.connection.is_writable:
                sender.connection.send(payload)
                sent += 1
                await asyncio.sleep(0)
        assert not sender.has_room.is_set()
        connection.resume_reading()
        for _ in range(sent):
            assert len(await inbox.next()) == len(payload)
        await asyncio.wait_for(sender.has_room.wait(), WAIT_S)
        assert sender.connection.is_writable


async def test_a_peer_that_takes_nothing_is_cut_off(authority: TestAuthority) -> None:
    async with cloud(authority.server_context(), write_timeout_s=0.2) as server:
        connection, _ = await dial(server, authority.client_context("e1"))
        sender = await server.inbox()
        connection.pause_reading()
        # Loops take some of it in even so, until their own buffers are full.
        async with asyncio.timeout(WAIT_S):
            while not sender.connection.is_closed:
                if sender.connection.is_writable:
                    sender.connection.send(b"x" * 100_000)
                await asyncio.sleep(0)
        # Whoever is first: our own deadline or that of the system.
        assert "peer took nothing for 0.2 s" in (reason := await sender.end()) or "timed out" in reason


@pytest.mark.parametrize(
    ("wire", "code"),
    [
        (frames.frame(frames.TEXT, b"not masked"), 1002),
        (frames.frame(frames.TEXT, b"\xff", b"abcd"), 1007),
        (frames.frame(frames.TEXT, b"x" * 2000, b"abcd"), 1009),
        (frames.frame(0xB, b"", b"abcd"), 1002),
    ],
)
async def test_an_offence_ends_the_connection_with_its_code(authority: TestAuthority, wire: bytes, code: int) -> None:
    async with (
        cloud(authority.server_context(), max_message=1000) as server,
        websockets_connect(server.url, ssl=authority.client_context("e1"), compression=None) as client,
    ):
        before = protocol_errors.value(str(code))
        client.transport.write(wire)
        with pytest.raises(websockets.ConnectionClosed) as caught:
            await asyncio.wait_for(client.recv(), WAIT_S)
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == code
        assert protocol_errors.value(str(code)) == before + 1
        assert await (await server.inbox()).end()


async def test_a_connection_without_certificate_is_refused_and_counted(
    authority: TestAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    async with cloud(authority.server_context()) as server:
        before = refused_connections.value("0")
        with pytest.raises(ConnectError):
            await dial(server, authority.client_context(None))
        for _ in range(WAIT_S * 100):
            if refused_connections.value("0") > before:
                break
            await asyncio.sleep(0.01)
        assert refused_connections.value("0") == before + 1
        assert server.inboxes == []
    assert "connection refused peer=127.0.0.1:" in caplog.text
    assert "certificate" in caplog.text


async def test_a_certificate_of_another_authority_is_refused(
    authority: TestAuthority, tmp_path_factory: pytest.TempPathFactory
) -> None:
    stranger = TestAuthority(tmp_path_factory.mktemp("stranger"))
    tls = stranger.client_context("e1")
    tls.load_verify_locations(authority.ca_file)
    async with cloud(authority.server_context()) as server:
        with pytest.raises(ConnectError):
            await dial(server, tls)
        with pytest.raises(ConnectError, match="certificate of the server"):
            await dial(server, stranger.client_context("e1"))
        assert server.inboxes == []


async def test_who_accepts_may_refuse_with_a_reason(authority: TestAuthority, caplog: pytest.LogCaptureFixture) -> None:
    class Choosy(Cloud):
        def accept(self, connection: ServerConnection, request: UpgradeRequest) -> Inbox:
            raise forbidden("certificate is of another node")

    server = Choosy(authority.server_context(), Inbox)
    running = asyncio.ensure_future(server.listener.run())
    try:
        before = refused_connections.value("403")
        with pytest.raises(ConnectError, match="403 Forbidden") as caught:
            await dial(server, authority.client_context("e1"))
        assert caught.value.status == 403
        assert refused_connections.value("403") == before + 1
        assert "reason=certificate is of another node" in caplog.text
    finally:
        running.cancel()
        await asyncio.wait([running])


async def test_a_server_that_says_nothing_is_given_up(authority: TestAuthority) -> None:
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silence, "127.0.0.1", 0, ssl=authority.server_context())
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(ConnectError, match="within"):
            await connect(
                f"wss://127.0.0.1:{port}/", authority.client_context("e1"), NODE, Inbox, handshake_timeout_s=0.3
            )


async def test_a_port_where_nobody_listens_is_an_error_at_once(authority: TestAuthority) -> None:
    with pytest.raises(ConnectError):
        await connect("wss://127.0.0.1:1/", authority.client_context("e1"), NODE, Inbox)


async def test_giving_up_the_dial_leaves_no_connection(authority: TestAuthority) -> None:
    async with cloud(authority.server_context()) as server:
        for turns in range(12):
            dialling = asyncio.ensure_future(dial(server, authority.client_context("e1")))
            for _ in range(turns):
                await asyncio.sleep(0.001)
            dialling.cancel()
            with suppress(asyncio.CancelledError):
                connection, _ = await dialling
                connection.abort("came through")
        async with asyncio.timeout(WAIT_S):
            for inbox in server.inboxes:
                await inbox.is_closed.wait()


async def test_loss_of_the_peer_shows_at_once(authority: TestAuthority) -> None:
    async with cloud(authority.server_context()) as server:
        _, inbox = await dial(server, authority.client_context("e1"))
        (await server.inbox()).connection.abort("gone")
        assert await inbox.end()
        assert inbox.connection.is_closed
        inbox.connection.send(b"into the void")
