"""Envelopes on a connection: control operations, malformed messages, and that the connection outlives them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from websockets.asyncio.client import ClientConnection as WebsocketsClient
from websockets.asyncio.client import connect as websockets_connect

from kubeedge._speedups.routing import is_control
from kubeedge.link.lane import Lane, malformed_messages
from kubeedge.link.server import Listener, ServerConnection
from kubeedge.link.upgrade import UpgradeRequest
from kubeedge.message import Message, encode, new_message

WAIT_S = 5


class Recorder(Lane):
    def __init__(self, connection: ServerConnection) -> None:
        super().__init__(connection)
        self.messages: asyncio.Queue[Message] = asyncio.Queue()

    @property
    def peer_name(self) -> str:
        return "e1"

    def receive(self, message: Message) -> None:
        self.messages.put_nowait(message)

    def writable(self) -> None:
        """Nothing waits."""

    def closed(self, reason: str) -> None:
        """Nothing to forget."""


@asynccontextmanager
async def lane() -> AsyncIterator[tuple[Recorder, WebsocketsClient]]:
    lanes: list[Recorder] = []

    def accept(connection: ServerConnection, request: UpgradeRequest) -> Recorder:
        lanes.append(Recorder(connection))
        return lanes[0]

    listener = Listener("127.0.0.1", 0, None, accept)
    port = listener.bind()
    running = asyncio.ensure_future(listener.run())
    try:
        async with websockets_connect(f"ws://127.0.0.1:{port}/", compression=None) as client:
            yield lanes[0], client
    finally:
        lanes[0].connection.abort("end of test")
        running.cancel()
        await asyncio.wait([running])


async def answer(client: WebsocketsClient) -> dict[str, Any]:
    parsed: dict[str, Any] = orjson.loads(await asyncio.wait_for(client.recv(), WAIT_S))
    return parsed


async def test_messages_are_decoded_and_sent_as_envelopes() -> None:
    async with lane() as (recorder, client):
        await client.send(encode(new_message("edged", "meta", "query", "default/pod/x")).decode())
        message = await asyncio.wait_for(recorder.messages.get(), WAIT_S)
        assert (message.source, message.resource) == ("edged", "default/pod/x")
        recorder.send(message)
        assert (await answer(client))["header"]["msg_id"] == message.id


@pytest.mark.parametrize("operation", ["ping", "pong", "config"])
async def test_operations_of_the_link_are_answered_and_seen_by_nobody(operation: str) -> None:
    async with lane() as (recorder, client):
        message = new_message("x", "y", operation, "z")
        assert is_control(message)
        await client.send(encode(message).decode())
        envelope = await answer(client)
        assert envelope["header"]["parent_msg_id"] == message.id
        assert envelope["route"] == {"source": "x", "group": "y", "operation": "response", "resource": "z"}
        assert envelope["content"] == "ack"
        assert recorder.messages.empty()


async def test_a_malformed_message_is_answered_and_the_next_one_is_read(caplog: pytest.LogCaptureFixture) -> None:
    async with lane() as (recorder, client):
        before = malformed_messages.value()
        await client.send('{"header":{"msg_id":"m1","timestamp":"soon"}}')
        first = await answer(client)
        assert first["header"]["parent_msg_id"] == "m1"
        assert first["route"] == {"group": "resource", "operation": "error"}
        assert first["content"] == "malformed message: timestamp is no integer at offset 37"
        await client.send("no JSON at all")
        second = await answer(client)
        assert second["route"] == {"operation": "error"}
        assert "parent_msg_id" not in second["header"]
        await client.send(b"\xff\xfe")
        assert (await answer(client))["content"] == "malformed message: envelope is no UTF-8 at offset 0"
        await client.send(encode(new_message("edged", "meta", "query", "default/pod/x")).decode())
        assert (await asyncio.wait_for(recorder.messages.get(), WAIT_S)).resource == "default/pod/x"
        assert malformed_messages.value() == before + 3
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "malformed message peer=e1 msg_id=m1 bytes=45 offset=37 reason=timestamp is no integer",
    ]
