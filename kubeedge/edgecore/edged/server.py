"""The HTTP server of edged on the node itself: health, pods and metrics (spec 05 §4.8)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import orjson

from kubeedge import metrics
from kubeedge.edgecore.edged.pod import Object

log = logging.getLogger("kubeedge.edged")

MAX_HEAD_BYTES = 16_384
# A client that opens a connection and says nothing.
READ_TIMEOUT_S = 30.0

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 500: "Internal Server Error"}


class Server:
    """Answers GET requests. sync_problem gives what is wrong with the pod engine, empty when it is healthy."""

    def __init__(
        self, address: str, port: int, pods: Callable[[], list[Object]], sync_problem: Callable[[], str]
    ) -> None:
        self._address = address
        self._port = port
        self._pods = pods
        self._sync_problem = sync_problem
        self.bound_port = port

    async def run(self) -> None:
        """Serve until cancelled. A port that is taken is logged, the pods do not depend on it."""
        try:
            server = await asyncio.start_server(self._serve, self._address, self._port, limit=MAX_HEAD_BYTES)
        except OSError as error:
            log.error("server not started address=%s:%d reason=%s", self._address, self._port, error)
            return
        async with server:
            self.bound_port = server.sockets[0].getsockname()[1]
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            method, target, *_ = head.split(b"\r\n", 1)[0].decode("latin-1").split(" ")
            status, kind, body = self._answer(method, target.partition("?")[0])
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
            writer.close()
            return
        except (ValueError, asyncio.LimitOverrunError):
            status, kind, body = 400, "text/plain; charset=utf-8", b"malformed request\n"
        head_text = (
            f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            "X-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
        )
        try:
            writer.write(head_text.encode() + body)
            await writer.drain()
        except ConnectionError:
            log.debug("client left before its answer")
        finally:
            writer.close()

    def _answer(self, method: str, path: str) -> tuple[int, str, bytes]:
        text = "text/plain; charset=utf-8"
        if method != "GET":
            return 405, text, b"405: Method Not Allowed\n"
        match path.rstrip("/") or "/":
            case "/healthz" | "/healthz/ping" | "/healthz/log":
                return 200, text, b"ok"
            case "/healthz/syncloop":
                problem = self._sync_problem()
                return (500, text, f"{problem}\n".encode()) if problem else (200, text, b"ok")
            case "/pods":
                listing = {"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": self._pods()}
                return 200, "application/json", orjson.dumps(listing)
            case "/metrics":
                return 200, "text/plain; version=0.0.4; charset=utf-8", metrics.exposition().encode()
        return 404, text, b"404 page not found\n"
