from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import AsyncIterator

import pytest

from kubeedge import serving
from kubeedge.pki.authority import Authority
from kubeedge.pki.tls import ClientCertificate, Subject, client_context, server_context, subject_of
from kubeedge.serving import Peer, Receive, Scope, Send, Server

TIMEOUT_S = 5
CLOSED = (ConnectionError, ssl.SSLError, asyncio.IncompleteReadError)


class Site:
    """A server on a free port that tells each caller who it is, what it asked for and what it sent."""

    def __init__(self) -> None:
        self.authority = Authority.create()
        pair = self.authority.sign_server(["127.0.0.1"])
        context = server_context(
            pair.certificate_pem, pair.key_pem, self.authority.certificate_pem, client=ClientCertificate.OPTIONAL
        )
        self.server = Server(
            self.answer, context, "127.0.0.1", 0, name="test", keep_alive_s=60, owner=self.owner, max_requests=4
        )
        self.lasting: asyncio.Queue[Peer] = asyncio.Queue()
        self.ended = asyncio.Event()

    @staticmethod
    def owner(tls: ssl.SSLObject | None) -> Subject | None:
        return subject_of(tls.getpeercert()) if tls is not None else None

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        peer: Peer = scope["state"]["peer"]
        body, goes_on = b"", True
        while goes_on:
            message = await receive()
            body += message.get("body", b"")
            goes_on = message.get("more_body", False)
        if scope["path"] == "/lasting":
            peer.on_end = self.ended.set
            self.lasting.put_nowait(peer)
            await self.ended.wait()
        name = peer.owner.common_name if peer.owner is not None else "nobody"
        text = f"{name} {scope['path']} ".encode() + body
        headers = [(b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    async def connect(self, name: str = "") -> Caller:
        pair = self.authority.issue_client(name) if name else None
        ca = self.authority.certificate_pem
        context = client_context(ca, pair.certificate_pem, pair.key_pem) if pair else client_context(ca)
        return Caller(*await asyncio.open_connection("127.0.0.1", self.server.port, ssl=context))


class Caller:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def ask(self, path: str, *lines: str, body: bytes = b"", method: str = "GET") -> str:
        self.write(request(path, *lines, body=body, method=method))
        return await self.answer()

    def write(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self) -> str:
        async with asyncio.timeout(TIMEOUT_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            return (await self.reader.readexactly(int(head.split(b"content-length: ")[1].split(b"\r\n")[0]))).decode()

    async def is_closed(self) -> bool:
        try:
            async with asyncio.timeout(TIMEOUT_S):
                return await self.reader.read(1) == b""
        except CLOSED:
            return True


def request(path: str, *lines: str, body: bytes = b"", method: str = "GET") -> bytes:
    head = [f"{method} {path} HTTP/1.1", "host: test", f"content-length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


def refused() -> float:
    return serving._refused.value("test")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    await site.server.open()
    running = asyncio.ensure_future(site.server.run())
    await asyncio.sleep(0)
    yield site
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_application_learns_whose_the_connection_is(site: Site) -> None:
    assert await (await site.connect("alice")).ask("/a") == "alice /a "
    assert await (await site.connect()).ask("/a") == "nobody /a "


async def test_one_connection_serves_requests_in_order_also_when_they_come_at_once(site: Site) -> None:
    caller = await site.connect()
    caller.write(b"".join(request(f"/{number}", f"x: {'x' * 30_000}") for number in range(6)))
    assert [await caller.answer() for _ in range(6)] == [f"nobody /{number} " for number in range(6)]


async def test_endless_head_is_cut_off(site: Site) -> None:
    before = refused()
    caller = await site.connect()
    caller.write(b"GET / HTTP/1.1\r\nX: " + b"x" * (serving.MAX_HEAD_BYTES + 1))
    assert await caller.is_closed()
    assert refused() == before + 1


async def test_endless_head_of_a_later_request_is_cut_off(site: Site) -> None:
    caller = await site.connect()
    assert await caller.ask("/first") == "nobody /first "
    caller.write(b"GET / HTTP/1.1\r\nX: ")
    for _ in range(6):
        caller.write(b"x" * (serving.MAX_HEAD_BYTES // 4))
        await asyncio.sleep(0.01)
    assert await caller.is_closed()


async def test_body_is_no_head_however_long_it_is(site: Site) -> None:
    body = b"x" * (serving.MAX_HEAD_BYTES * 5)
    caller = await site.connect()
    for _ in range(2):
        assert await caller.ask("/", body=body, method="POST") == f"nobody / {body.decode()}"


async def test_connection_that_asks_nothing_is_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_TIMEOUT_S", 0.1)
    before = refused()
    assert await (await site.connect()).is_closed()
    assert refused() == before + 1


async def test_head_that_is_not_finished_in_time_is_cut_off(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_TIMEOUT_S", 0.1)
    caller = await site.connect()
    assert await caller.ask("/first") == "nobody /first "
    await asyncio.sleep(0.2)
    assert await caller.ask("/second") == "nobody /second "
    caller.write(b"GET / HT")
    assert await caller.is_closed()


async def test_what_is_no_http_is_refused_and_counted_but_not_logged(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    before = refused()
    caller = await site.connect()
    caller.write(b"\x16\x03\x01 nonsense\r\n\r\n")
    assert (await caller.reader.read(-1)).startswith(b"HTTP/1.1 400")
    assert refused() == before + 1
    assert not caplog.records


@pytest.mark.parametrize("protocol", ["websocket", "SPDY/3.1", "h2c"])
async def test_upgrade_that_is_not_known_is_answered_as_if_it_was_not_asked_for(
    site: Site, caplog: pytest.LogCaptureFixture, protocol: str
) -> None:
    caplog.set_level(logging.WARNING)
    caller = await site.connect()
    for number in range(2):
        upgrade = ("connection: upgrade", f"upgrade: {protocol}")
        assert await caller.ask(f"/{number}", *upgrade) == f"nobody /{number} "
    assert await caller.ask("/plain", body=b"abc", method="POST") == "nobody /plain abc"
    assert not caplog.records


async def test_lasting_request_learns_that_its_caller_is_gone(site: Site) -> None:
    caller = await site.connect()
    caller.write(request("/lasting"))
    await site.lasting.get()
    caller.writer.transport.abort()
    await asyncio.wait_for(site.ended.wait(), TIMEOUT_S)


async def test_lasting_request_learns_that_the_server_stops_and_may_finish() -> None:
    site = Site()
    await site.server.open()
    running = asyncio.ensure_future(site.server.run())
    caller = await site.connect()
    idle = await site.connect()
    caller.write(request("/lasting"))
    await site.lasting.get()
    running.cancel()
    assert await caller.answer() == "nobody /lasting "
    assert await idle.is_closed()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(ConnectionError):
        await site.connect()


async def test_request_that_never_ends_does_not_hold_up_the_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "STOP_TIMEOUT_S", 0.1)
    site = Site()
    await site.server.open()
    running = asyncio.ensure_future(site.server.run())
    caller = await site.connect()
    caller.write(request("/lasting"))
    (await site.lasting.get()).on_end = None
    running.cancel()
    async with asyncio.timeout(TIMEOUT_S):
        await asyncio.gather(running, return_exceptions=True)


async def test_more_than_the_server_takes_is_refused_at_once(site: Site) -> None:
    callers = [await site.connect() for _ in range(3)]
    assert await callers[0].ask("/") == "nobody / "
    one_more = await site.connect()
    one_more.write(request("/"))
    assert (await one_more.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 503")
