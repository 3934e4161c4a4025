"""A TCP connection that a test can cut: a port that forwards to another one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK_BYTES = 65_536
END_TIMEOUT_S = 5


class Cable:
    """Forwards from port, which it has from plug_in() on, to the port of a server on loopback."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._handlers: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.port = 0
        self.connections = 0

    async def plug_in(self) -> None:
        """Forward from now on, or again."""
        self._server = await asyncio.start_server(self._forward, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def unplug(self) -> None:
        """Cut what is connected, in the middle of what it sends, and let nobody connect."""
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._server.wait_closed()
        if self._handlers:
            await asyncio.wait(self._handlers, timeout=END_TIMEOUT_S)

    def cut(self) -> None:
        """Cut what is connected; the next connection is forwarded again."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    def clog(self) -> None:
        """Let nothing pass, with connections open."""
        self._flows.clear()

    def unclog(self) -> None:
        """Let everything pass again."""
        self._flows.set()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)
        try:
            other_reader, other_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        except OSError:
            writer.transport.abort()
            return
        both = {writer, other_writer}
        self._writers |= both
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pipe(reader, other_writer))
                group.create_task(self._pipe(other_reader, writer))
        finally:
            self._writers -= both

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def cable(server_port: int) -> AsyncIterator[Cable]:
    """Make a cable, plugged in, until the block is left."""
    made = Cable(server_port)
    await made.plug_in()
    try:
        yield made
    finally:
        made.unclog()
        await made.unplug()
