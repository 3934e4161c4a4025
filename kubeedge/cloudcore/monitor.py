"""The monitor server: metrics and health over plain HTTP, for this machine (spec 03 §14.5)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from kubeedge import metrics

log = logging.getLogger(__name__)

# A scraper sends its request at once; what is slower or longer is none.
REQUEST_TIMEOUT_S = 5.0
REQUEST_LIMIT_BYTES = 16 << 10

_TEXT = "text/plain; charset=utf-8"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Monitor:
    """Serves `/metrics`, `/healthz` (the process runs) and `/readyz` (it also does its work)."""

    def __init__(self, address: str, is_ready: Callable[[], bool]) -> None:
        """Take the address to bind, `host:port` (port 0 for any, see `port`), and the function that tells readiness."""
        self._host, _, port = address.rpartition(":")
        self.port = int(port)
        self._is_ready = is_ready
        self.listening = asyncio.Event()

    async def run(self) -> None:
        """Serve, for ever. Raises OSError when the address cannot be bound."""
        server = await asyncio.start_server(self._serve, self._host.strip("[]"), self.port, limit=REQUEST_LIMIT_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        self.listening.set()
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._answer(head))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
            log.debug("monitor request dropped reason=%r", error)
        finally:
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b" ")
        path = rest.partition(b" ")[0].partition(b"?")[0]
        status, type_, body = "404 Not Found", _TEXT, "404 page not found\n"
        if method not in (b"GET", b"HEAD"):
            status, body = "405 Method Not Allowed", "only GET is served\n"
        elif path == b"/metrics":
            status, type_, body = "200 OK", _METRICS, metrics.exposition()
        elif path in (b"/healthz", b"/livez"):
            status, body = "200 OK", "ok\n"
        elif path == b"/readyz":
            is_ready = self._is_ready()
            status, body = ("200 OK", "ok\n") if is_ready else ("503 Service Unavailable", "not ready\n")
        data = body.encode()
        answer = (
            f"HTTP/1.1 {status}\r\nContent-Type: {type_}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n"
        )
        return answer.encode() + (data if method != b"HEAD" else b"")
