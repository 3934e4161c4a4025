"""TLS as the cloud's end does it: bytes in any cut, and all the ways in which it ends."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

import pytest

from kubeedge._speedups import frames
from kubeedge.link import server as link_server
from kubeedge.link import upgrade
from kubeedge.link.connection import Connection
from kubeedge.link.server import Listener, ServerConnection, Tls, refused_connections
from kubeedge.link.upgrade import UndecidedError, UpgradeRequest
from tests.link.certificates import TestAuthority

WAIT_S = 5
NONCE = b"0123456789abcdef"
KEY = b"abcd"


class Inbox:
    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.messages: list[bytes] = []
        self.reasons: list[str] = []

    def received(self, payload: bytes) -> None:
        self.messages.append(payload)
        self.connection.send(payload)

    def writable(self) -> None:
        """Nothing waits."""

    def closed(self, reason: str) -> None:
        self.reasons.append(reason)


class Transport:
    """Keeps what is written; only the order of calls matters here."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.calls: list[str] = []

    def set_write_buffer_limits(self, high: int) -> None:
        """Never full."""

    def write(self, data: bytes) -> None:
        self.calls.append("write")
        self.written += data

    def __getattr__(self, name: str) -> Callable[[], None]:
        return lambda: self.calls.append(name)


class Peer:
    """A client of OpenSSL whose bytes reach the server's connection in pieces of a given size."""

    def __init__(
        self, authority: TestAuthority, piece: int, tls: ssl.SSLContext | None = None, shared: Tls | None = None
    ) -> None:
        self.inbox: Inbox | None = None
        self.secured = 0
        self.opening: set[ServerConnection] = set()
        self.connection = ServerConnection(
            "peer:1",
            self._accept,
            self.opening,
            shared or Tls(authority.server_context()),
            self._count,
            max_message=1 << 20,
            write_timeout_s=WAIT_S,
        )
        self.transport = Transport()
        self.connection.connection_made(self.transport)  # type: ignore[arg-type]
        self._piece = piece
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = tls or authority.client_context("e1")
        self.tls = tls.wrap_bio(self._incoming, self._outgoing, server_hostname="127.0.0.1")
        self.undecided = 0

    def _count(self) -> None:
        self.secured += 1

    def _accept(self, connection: ServerConnection, request: UpgradeRequest) -> Inbox:
        if self.undecided:
            self.undecided -= 1
            raise UndecidedError
        self.inbox = Inbox(connection)
        return self.inbox

    def exchange(self) -> None:
        """Carry bytes both ways until there are none."""
        while self._outgoing.pending or self.transport.written:
            self._incoming.write(bytes(self.transport.written))
            self.transport.written.clear()
            data = self._outgoing.read()
            for start in range(0, len(data), self._piece):
                self.arrive(data[start : start + self._piece])

    def give(self) -> bytes:
        """Return what is to go to the server."""
        return self._outgoing.read()

    def take(self) -> None:
        """Take in what the server wrote."""
        self._incoming.write(bytes(self.transport.written))
        self.transport.written.clear()

    def advance(self, step: int, number: int) -> bool:
        """Go on with the handshake, ask for the upgrade, or send three messages; True when that step is done."""
        if step == 0:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                return False
        elif step == 1:
            self.tls.write(upgrade.request(f"/p/e{number}/events", "cloud", [], NONCE))
        else:
            for _ in range(3):
                self.tls.write(frames.frame(frames.TEXT, b"%d" % number * 300, KEY))
        return True

    def arrive(self, data: bytes) -> None:
        """Let the server's connection receive data."""
        self.connection.get_buffer(-1)[: len(data)] = data
        self.connection.buffer_updated(len(data))

    def shake_hands(self) -> None:
        """Come to an agreement, or raise SSLError."""
        for _ in range(4):
            try:
                self.tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self.exchange()
        self.exchange()

    def send(self, *wires: bytes) -> None:
        """Send each of wires in a TLS record of its own."""
        for wire in wires:
            self.tls.write(wire)
        self.exchange()

    def read(self) -> bytes:
        """Return what came, b"" at the end of TLS."""
        return self.tls.read(1 << 20)

    def upgrade(self) -> None:
        self.shake_hands()
        self.send(upgrade.request("/p/e1/events", "cloud", [], NONCE))
        assert self.read().startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize("piece", [1, 7, 4096, 65536])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_records_may_arrive_in_any_cut(authority: TestAuthority, piece: int, version: ssl.TLSVersion) -> None:
    tls = authority.client_context("e1")
    tls.minimum_version = tls.maximum_version = version
    peer = Peer(authority, piece, tls)
    peer.upgrade()
    assert (peer.secured, peer.opening) == (1, set())
    payloads = [b"a", b"b" * 10_000, b"", "é".encode() * 20_000]
    peer.send(*(frames.frame(frames.TEXT, payload, KEY) for payload in payloads))
    assert peer.inbox is not None
    assert peer.inbox.messages == payloads
    reader, events = frames.FrameReader(False), []
    while len(events) < len(payloads):
        data = bytearray(peer.read())
        events += reader.feed(data, len(data))
    assert events == [(frames.TEXT, payload) for payload in payloads]


async def test_what_is_sent_in_one_turn_leaves_in_one_record(authority: TestAuthority) -> None:
    peer = Peer(authority, 65536)
    peer.upgrade()
    peer.transport.calls.clear()
    peer.send(b"".join(frames.frame(frames.TEXT, b"x", KEY) for _ in range(5)))
    assert peer.transport.calls == ["write"]
    assert peer.read() == frames.frame(frames.TEXT, b"x") * 5


async def test_connections_that_share_their_buffers_keep_apart_what_arrives_for_each(authority: TestAuthority) -> None:
    shared = Tls(authority.server_context())
    peers = [Peer(authority, 65536, authority.client_context(f"e{n}"), shared) for n in range(5)]
    waiting = list(peers)
    # Handshakes, upgrades and messages of all advance byte by byte, in turns.
    for step in range(3):
        wires: list[bytes] = [b""] * len(peers)
        waiting = list(peers)
        while waiting or any(wires):
            for number, peer in enumerate(peers):
                peer.take()
                if wires[number]:
                    peer.arrive(wires[number][:1])
                    wires[number] = wires[number][1:]
                elif peer in waiting:
                    is_done = peer.advance(step, number)
                    wires[number] = peer.give()
                    if is_done:
                        waiting.remove(peer)
                assert (shared.incoming.pending, shared.outgoing.pending) == (0, 0)
    for number, peer in enumerate(peers):
        assert peer.inbox is not None
        assert peer.inbox.messages == [b"%d" % number * 300] * 3
        peer.take()
        assert peer.read().startswith(b"HTTP/1.1 101")


async def test_what_comes_behind_the_end_of_tls_reaches_nobody(authority: TestAuthority) -> None:
    shared = Tls(authority.server_context())
    peer, other = (Peer(authority, 65536, None, shared) for _ in range(2))
    peer.upgrade()
    other.upgrade()
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.unwrap()
    peer.arrive(peer.give() + b"\x17\x03\x03\x00\x20" + b"x" * 32)
    assert shared.incoming.pending == 0
    other.send(frames.frame(frames.TEXT, b"still here", KEY))
    assert other.inbox is not None
    assert other.inbox.messages == [b"still here"]


async def test_closing_another_connection_while_messages_are_handled_takes_nothing_of_theirs(
    authority: TestAuthority,
) -> None:
    shared = Tls(authority.server_context())
    peer, other = (Peer(authority, 65536, None, shared) for _ in range(2))
    peer.upgrade()
    other.upgrade()
    inbox = peer.inbox
    assert inbox is not None

    def received(payload: bytes) -> None:
        inbox.messages.append(payload)
        other.connection.close(frames.GOING_AWAY, "for another")

    inbox.received = received  # type: ignore[method-assign]
    peer.send(b"", *(frames.frame(frames.TEXT, b"%d" % number, KEY) for number in range(5)))
    assert inbox.messages == [b"0", b"1", b"2", b"3", b"4"]
    other.exchange()
    assert other.read() == frames.frame(frames.CLOSE, frames.close_payload(frames.GOING_AWAY, "for another"))
    peer.connection.send(b"and back")
    await asyncio.sleep(0)
    peer.exchange()
    assert peer.read() == frames.frame(frames.TEXT, b"and back")


async def test_nothing_but_tls_is_refused_with_an_alert(
    authority: TestAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    peer = Peer(authority, 65536)
    before = refused_connections.value("0")
    peer.arrive(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert peer.connection.is_closed
    assert refused_connections.value("0") == before + 1
    assert "reason=TLS: http request" in caplog.text
    assert (peer.secured, peer.opening) == (1, set())
    assert peer.transport.calls[-1] == "write_eof"
    peer.arrive(b"more")


async def test_a_client_without_certificate_learns_that_one_is_needed(authority: TestAuthority) -> None:
    peer = Peer(authority, 65536, authority.client_context(None))
    peer.shake_hands()
    with pytest.raises(ssl.SSLError, match=r"(?i)certificate.required"):
        peer.read()
    assert peer.connection.is_closed
    assert peer.transport.calls[-2:] == ["resume_reading", "write_eof"]


async def test_a_broken_record_cuts_the_connection_off(authority: TestAuthority) -> None:
    peer = Peer(authority, 65536)
    peer.upgrade()
    peer.arrive(b"\x17\x03\x03\x00\x20" + b"x" * 32)
    assert peer.inbox is not None
    (reason,) = peer.inbox.reasons
    assert reason.startswith("connection lost: TLS: ")
    assert peer.transport.calls[-1] == "abort"


async def test_the_end_of_tls_ends_the_session_and_is_answered(authority: TestAuthority) -> None:
    peer = Peer(authority, 65536)
    peer.upgrade()
    with pytest.raises(ssl.SSLWantReadError):
        peer.tls.unwrap()
    peer.exchange()
    peer.tls.unwrap()
    assert peer.inbox is not None
    assert peer.inbox.reasons == ["peer ended the connection"]
    assert peer.transport.calls[-1] == "write_eof"


async def test_closing_says_so_in_frames_and_in_tls_and_lets_the_peer_end_the_rest(authority: TestAuthority) -> None:
    peer = Peer(authority, 65536)
    peer.upgrade()
    peer.connection.close(frames.GOING_AWAY, "bye")
    peer.exchange()
    assert peer.read() == frames.frame(frames.CLOSE, frames.close_payload(frames.GOING_AWAY, "bye"))
    assert peer.read() == b""
    assert peer.inbox is not None
    assert peer.inbox.reasons == ["bye"]
    assert "close" not in peer.transport.calls
    peer.connection.connection_lost(None)
    assert peer.inbox.reasons == ["bye"]


async def test_frames_that_come_before_the_decision_wait_for_it(authority: TestAuthority) -> None:
    peer = Peer(authority, 65536)
    peer.undecided = 1
    peer.shake_hands()
    peer.send(upgrade.request("/p/e1/events", "cloud", [], NONCE), frames.frame(frames.TEXT, b"early", KEY))
    assert peer.inbox is None
    assert peer.transport.calls[-1] == "pause_reading"
    peer.connection.decide()
    assert peer.inbox is not None
    assert peer.inbox.messages == [b"early"]
    await asyncio.sleep(0)
    peer.exchange()
    answer = peer.read()
    while not answer.endswith(frames.frame(frames.TEXT, b"early")):
        answer += peer.read()
    assert answer.startswith(b"HTTP/1.1 101")


async def test_a_peer_that_does_not_end_its_side_is_cut_off(
    authority: TestAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_server, "TLS_SHUTDOWN_TIMEOUT_S", 0.05)
    accepted: list[Inbox] = []

    def accept(connection: ServerConnection, request: UpgradeRequest) -> Inbox:
        accepted.append(Inbox(connection))
        return accepted[0]

    listener = Listener("127.0.0.1", 0, authority.server_context(), accept)
    port = listener.bind()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(listener.run())
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = authority.client_context("e1").wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                writer.write(outgoing.read())
                incoming.write(await asyncio.wait_for(reader.read(65536), WAIT_S))
        tls.write(upgrade.request("/p/e1/events", "cloud", [], NONCE))
        writer.write(outgoing.read())
        assert await asyncio.wait_for(reader.read(65536), WAIT_S)
        accepted[0].connection.close(frames.NORMAL, "bye")
        # The server's farewell, then the end of its side, then of all.
        assert await asyncio.wait_for(reader.read(-1), WAIT_S)
        for _ in range(WAIT_S * 100):
            if accepted[0].connection._transport is None:
                break
            await asyncio.sleep(0.01)
        assert accepted[0].connection._transport is None
        writer.close()
        running.cancel()


async def test_handshakes_under_way_are_bounded(authority: TestAuthority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_server, "MAX_HANDSHAKES", 2)
    listener = Listener("127.0.0.1", 0, authority.server_context(), lambda connection, _: Inbox(connection))
    port = listener.bind()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(listener.run())
        writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(4)]
        await asyncio.sleep(0.1)
        assert listener.opening == 2
        writers.pop(0).close()
        writers.pop(0).close()
        await asyncio.sleep(0.1)
        assert listener.opening == 2
        for writer in writers:
            writer.close()
        running.cancel()
