"""Connections of mappers, each and all together within bounds: nothing that comes over them can harm the daemon."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from grpclib.config import Configuration
from grpclib.encoding.proto import ProtoCodec
from grpclib.protocol import H2Protocol
from grpclib.server import Handler, Server
from h2.config import H2Configuration

from kubeedge.edgecore.dmi.service import Service
from kubeedge.metrics import Counter

log = logging.getLogger("kubeedge.dmi")

# Longest request: gRPC's own default, which the library does not know.
MAX_MESSAGE_BYTES = 4 << 20
# What all requests that have not come whole may take together.
MAX_HELD_BYTES = 16 << 20
# The library takes what it gets; it is looked at after each so many bytes.
_LOOK_AFTER_BYTES = 256 << 10
# One more, and the connection that has been silent longest is closed.
MAX_CONNECTIONS = 256
# How long handlers may take to end.
CLOSE_TIMEOUT_S = 5.0

_closed = Counter("kubeedge_dmi_connections_closed_total", "Connections of mappers closed by edgecore", ("reason",))

_H2 = H2Configuration(
    client_side=False,
    header_encoding="ascii",
    validate_inbound_headers=False,
    validate_outbound_headers=False,
    normalize_inbound_headers=False,
    normalize_outbound_headers=False,
)


class Connections:
    """All connections there are, and what they hold."""

    def __init__(self, service: Service) -> None:
        self._mapping = service.__mapping__()
        self._dispatch = Server([service]).__dispatch__
        self._config = Configuration().__for_server__()
        self._unseen_bytes = 0
        self._open: dict[Connection, None] = {}

    def make(self) -> Connection:
        """Return a new one, for the loop's server."""
        handler = Handler(self._mapping, ProtoCodec(), None, self._dispatch)
        return Connection(handler, self._config, _H2, self)

    def opened(self, connection: Connection) -> None:
        """Make room for one more."""
        self._open[connection] = None
        if len(self._open) > MAX_CONNECTIONS:
            next(iter(self._open)).end("too_many")

    def heard(self, connection: Connection, size: int) -> None:
        """Take note of a sign of life, and of size more bytes."""
        if connection in self._open:
            # Last in the order of silence.
            self._open[connection] = self._open.pop(connection)
        self._unseen_bytes += size
        if self._unseen_bytes > _LOOK_AFTER_BYTES:
            self._unseen_bytes = 0
            self._look()

    def _look(self) -> None:
        """Close the connections with a request that is too long, then the fullest ones until all is within bounds."""
        held = {}
        for connection in list(self._open):
            sizes = connection.held()
            if max(sizes, default=0) > MAX_MESSAGE_BYTES:
                connection.end("message_too_long")
            else:
                held[connection] = sum(sizes)
        total = sum(held.values())
        for connection, size in sorted(held.items(), key=lambda item: -item[1]):
            if total <= MAX_HELD_BYTES:
                return
            connection.end("too_much")
            total -= size

    def lost(self, connection: Connection) -> None:
        """Forget one."""
        self._open.pop(connection, None)

    async def close(self) -> None:
        """End all connections and wait for what they were doing."""
        handlers = [connection.server for connection in self._open]
        for connection in list(self._open):
            connection.end("")
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S), asyncio.TaskGroup() as group:
                for handler in handlers:
                    group.create_task(handler.wait_closed())
        except TimeoutError:
            log.warning("calls of mappers did not end in time")


class Connection(H2Protocol):
    """One connection; what it cannot deal with ends it, and nothing else."""

    def __init__(self, handler: Handler, config: Configuration, h2_config: H2Configuration, all_: Connections) -> None:
        super().__init__(handler, config, h2_config)
        self.server = handler
        self._all = all_

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._all.opened(self)

    def data_received(self, data: bytes) -> None:
        try:
            super().data_received(data)
        except Exception as error:
            # The library's own list of what a peer can do wrong is not complete.
            log.warning("connection of a mapper closed reason=%r", error)
            self.end("protocol")
            return
        self._all.heard(self, len(data))

    def held(self) -> list[int]:
        """Return how many bytes each request on its way has brought so far."""
        return [stream.data_received for stream in self.processor.streams.values()]

    def end(self, reason: str) -> None:
        """Close the connection; reason is counted unless it is empty."""
        if reason:
            _closed.inc(reason)
            log.warning("connection of a mapper closed reason=%s", reason)
        self._all.lost(self)
        self.processor.close(reason or "the edge ends")

    def connection_lost(self, exc: BaseException | None) -> None:
        self._all.lost(self)
        super().connection_lost(exc)


@asynccontextmanager
async def serving(listener: socket.socket, service: Service) -> AsyncIterator[None]:
    """Serve the connections that come to a listening socket while the context lasts; listener is closed with it."""
    # It tells of each call that ends early, with the traceback of what a client has done.
    logging.getLogger("grpclib").setLevel(logging.CRITICAL)
    connections = Connections(service)
    server = await asyncio.get_running_loop().create_unix_server(connections.make, sock=listener)
    try:
        yield
    finally:
        server.close()
        await connections.close()
