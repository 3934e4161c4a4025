"""A client of the hub that may say whatever it likes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from kubeedge._speedups.frames import CLOSE, TEXT, FrameReader, close_reason, frame
from kubeedge.link import upgrade
from kubeedge.pki.pem import KeyPair
from kubeedge.pki.tls import client_context
from tests.sites import Object, Site

WAIT_S = 30
HOST = "127.0.0.1"


class RawNode:
    """One connection. Nothing checks what is sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._frames = FrameReader(False)
        self._events: list[tuple[int, bytes]] = []

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)

    def text(self, payload: bytes) -> None:
        """Send one well-formed text message."""
        self.write(frame(TEXT, payload, os.urandom(4)))

    def say(self, operation: str, resource: str, content: Any = None, **changes: Any) -> str:
        """Send an envelope of edged and return its id; changes replace header fields."""
        header = {"msg_id": os.urandom(8).hex(), "timestamp": 1_700_000_000_000, **changes}
        route = {"source": "edged", "group": "meta", "operation": operation, "resource": resource}
        self.text(orjson.dumps({"header": header, "route": route, "content": content}))
        return str(header["msg_id"])

    async def status_line(self) -> str:
        """Return the first line of what the server answers instead of opening the connection."""
        async with asyncio.timeout(WAIT_S):
            return (await self._reader.readline()).decode().strip()

    async def next(self) -> Object:
        """Return the next envelope that arrives."""
        opcode, payload = await self._next()
        assert opcode == TEXT, (opcode, payload)
        found: Object = orjson.loads(payload)
        return found

    async def answer(self, message_id: str) -> Object:
        """Return the answer to an envelope, what else arrives before it is passed over."""
        while True:
            envelope = await self.next()
            if envelope["header"].get("parent_msg_id") == message_id:
                return envelope

    async def closed(self) -> tuple[int, str]:
        """Wait for the server's close frame; return its code and reason."""
        while True:
            opcode, payload = await self._next()
            if opcode == CLOSE:
                return close_reason(payload)

    async def _next(self) -> tuple[int, bytes]:
        async with asyncio.timeout(WAIT_S):
            while not self._events:
                data = await self._reader.read(1 << 16)
                assert data, "the connection ended without a close frame"
                self._events = list(self._frames.feed(bytearray(data), len(data)))
        return self._events.pop(0)

    async def drain(self) -> None:
        """Wait until the server takes what was sent, or has gone."""
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()

    async def end(self) -> None:
        """Cut the connection."""
        self._writer.transport.abort()
        with contextlib.suppress(OSError, ssl.SSLError):
            await self._writer.wait_closed()


@asynccontextmanager
async def dialled(
    site: Site, pair: KeyPair | None, headers: dict[str, str], *, request: bytes = b""
) -> AsyncIterator[RawNode]:
    """Connect with a client certificate and ask for the upgrade; what is answered has not been read.

    request takes the place of a well-formed one.
    """
    ca = (await site.authority()).certificate_pem
    tls = client_context(ca, pair.certificate_pem if pair else b"", pair.key_pem if pair else b"")
    reader, writer = await asyncio.open_connection(HOST, site.ports.hub, ssl=tls, server_hostname=HOST)
    node = RawNode(reader, writer)
    try:
        node.write(request or upgrade.request("/p/n/events", HOST, headers.items(), os.urandom(16)))
        yield node
    finally:
        await node.end()


@asynccontextmanager
async def connected(site: Site, name: str) -> AsyncIterator[RawNode]:
    """Connect as a node with a good certificate."""
    pair = (await site.authority()).issue_client(f"system:node:{name}", ["system:nodes"])
    headers = {"Node_id": name, "Project_id": "p", "Connectionuse": "msg"}
    async with dialled(site, pair, headers) as node:
        async with asyncio.timeout(WAIT_S):
            head = await node._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 "), head
        yield node
