"""MQTT over WebSocket (MQTT 3.1.1 §6): what gmqtt takes for a transport, and is a connection of kubeedge.link."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

from kubeedge.link.client import ClientConnection, ConnectError, connect
from kubeedge.link.connection import Receiver

SUBPROTOCOL = "mqtt"


class WebSocketTransport:
    """Carries the bytes of a protocol in binary messages. Messages and packets need not begin together."""

    def __init__(self, connection: ClientConnection, protocol: asyncio.Protocol) -> None:
        self._connection = connection
        self._protocol = protocol

    # As a transport, to the protocol

    def write(self, data: bytes | bytearray) -> None:
        """See asyncio.WriteTransport. gmqtt's packets are arrays of bytes."""
        self._connection.send_binary(bytes(data))
        if not self._connection.is_writable:
            self._protocol.pause_writing()

    def close(self) -> None:
        """See asyncio.BaseTransport."""
        self._connection.close()

    def abort(self) -> None:
        """See asyncio.WriteTransport."""
        self._connection.abort("aborted")

    def is_closing(self) -> bool:
        """See asyncio.BaseTransport."""
        return self._connection.is_closed

    def pause_reading(self) -> None:
        """See asyncio.ReadTransport."""
        self._connection.pause_reading()

    def resume_reading(self) -> None:
        """See asyncio.ReadTransport."""
        self._connection.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See asyncio.BaseTransport; nothing is known."""
        return default

    # As a receiver, to the connection

    def received(self, payload: bytes) -> None:
        """See Receiver."""
        self._protocol.data_received(payload)

    def writable(self) -> None:
        """See Receiver."""
        self._protocol.resume_writing()

    def closed(self, reason: str) -> None:
        """See Receiver."""
        self._protocol.connection_lost(ConnectionResetError(reason) if reason else None)


async def open_transport(url: str, tls: ssl.SSLContext | None, protocol: asyncio.Protocol) -> WebSocketTransport:
    """Connect protocol to a broker at url. Raises ConnectionError."""
    made: list[WebSocketTransport] = []

    def on_open(connection: ClientConnection) -> Receiver:
        made.append(WebSocketTransport(connection, protocol))
        protocol.connection_made(made[0])  # type: ignore[arg-type]
        return made[0]

    try:
        await connect(url, tls, (), on_open, subprotocol=SUBPROTOCOL)
    except ConnectError as error:
        raise ConnectionError(error.reason) from None
    return made[0]
