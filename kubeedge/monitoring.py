"""Health and metrics of a daemon over plain HTTP, for this machine: small pages, one a connection, on asyncio alone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

from kubeedge import metrics

log = logging.getLogger(__name__)

# Who asks sends its request at once; what is slower or longer is none.
REQUEST_TIMEOUT_S = 5.0
MAX_REQUEST_BYTES = 16 << 10

TEXT = "text/plain; charset=utf-8"
METRICS = "text/plain; version=0.0.4; charset=utf-8"
_REASONS = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


class Page(NamedTuple):
    """What is shown."""

    body: bytes
    status: int = 200
    media_type: str = TEXT


Make = Callable[[], Page | Awaitable[Page]]
"""Makes a page when it is asked for; one that has to wait bounds its waits itself."""

OK = Page(b"ok")
_MALFORMED = Page(b"malformed request\n", 400)
_NOT_FOUND = Page(b"404 page not found\n", 404)
_NOT_ALLOWED = Page(b"405: Method Not Allowed\n", 405)


class Monitor:
    """Serves `/metrics` and the pages it is given, by path."""

    def __init__(self, host: str, port: int, pages: Mapping[str, Make]) -> None:
        """port 0 takes a free one, see `port` once `listening` is set."""
        self.port = port
        self.listening = asyncio.Event()
        self._host = host
        self._pages: dict[str, Make] = {"/metrics": _metrics, **pages}

    async def run(self) -> None:
        """Serve until cancelled. Raises OSError when the address cannot be bound."""
        server = await asyncio.start_server(self._serve, self._host, self.port, limit=MAX_REQUEST_BYTES)
        self.port = server.sockets[0].getsockname()[1]
        self.listening.set()
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.LimitOverrunError:
                    head = b""
            answer = await self._answer(head)
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                writer.write(answer)
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
            log.debug("request dropped reason=%r", error)
        finally:
            writer.close()

    async def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.partition(b"\r\n")[0].partition(b" ")
        target, _, version = rest.partition(b" ")
        if not version.startswith(b"HTTP/1."):
            page = _MALFORMED
        elif method not in (b"GET", b"HEAD"):
            page = _NOT_ALLOWED
        else:
            make = self._pages.get(target.partition(b"?")[0].decode("latin-1").rstrip("/"))
            made = make() if make is not None else _NOT_FOUND
            page = made if isinstance(made, Page) else await made
        answer = (
            f"HTTP/1.1 {page.status} {_REASONS[page.status]}\r\nContent-Type: {page.media_type}\r\n"
            f"Content-Length: {len(page.body)}\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        )
        return answer.encode() + (page.body if method != b"HEAD" else b"")


def _metrics() -> Page:
    return Page(metrics.exposition().encode(), media_type=METRICS)
