"""A TCP server that answers with bytes given beforehand: for what no well-behaved API server can be made to do."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from kubeedge.kube.kubeconfig import Access, Credential


def answer(code: int, body: bytes, *headers: str) -> bytes:
    """Return an HTTP answer with a Content-Length."""
    head = [f"HTTP/1.1 {code} X", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


class Script:
    """Requests seen and the answers still to give; an answer of None closes the connection without a word."""

    def __init__(self, answers: list[bytes | None]) -> None:
        self.answers = answers
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0
        self.most_open = 0
        self.delay_s = 0.0
        self.piece_bytes = 0
        self.port = 0

    @property
    def access(self) -> Access:
        """The way to this server, as HttpApi takes it."""
        return Access("127.0.0.1", self.port, "", None, "127.0.0.1", Credential())

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer requests of one connection in order."""
        self.connections += 1
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        try:
            while self.answers:
                head = await reader.readuntil(b"\r\n\r\n")
                length = 0
                for line in head.split(b"\r\n"):
                    if line.lower().startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                self.requests.append(head + await reader.readexactly(length))
                if self.delay_s:
                    await asyncio.sleep(self.delay_s)
                data = self.answers.pop(0)
                if data is None:
                    return
                for start in range(0, len(data), self.piece_bytes or len(data)):
                    if start:
                        await asyncio.sleep(0.001)
                    writer.write(data[start : start + (self.piece_bytes or len(data))])
                await writer.drain()
                if b"Connection: close" in data:
                    return
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.open -= 1
            writer.close()


@asynccontextmanager
async def scripted(*answers: bytes | None, tls: ssl.SSLContext | None = None) -> AsyncIterator[Script]:
    """Serve answers on a free port of 127.0.0.1."""
    script = Script(list(answers))
    server = await asyncio.start_server(script.serve, "127.0.0.1", 0, ssl=tls)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()
