"""HTTPS for the application: uvicorn's HTTP/1.1 protocol on a listener of our own, with the client's certificate."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from kubeedge import metrics
from kubeedge.cloudcore.httpserver.application import Application
from kubeedge.pki.tls import subject_of

log = logging.getLogger(__name__)

# Anybody may connect here: a connection that sends no whole request head by then, or too long a one, is closed.
HEAD_TIMEOUT_S = 30
MAX_HEAD_BYTES = 64 << 10
KEEP_ALIVE_S = 60
# Requests under way at a time; more are answered 503 at once.
MAX_REQUESTS = 1000
# How long requests get to finish when the server stops.
STOP_TIMEOUT_S = 5

_refused = metrics.Counter("kubeedge_httpserver_refused_total", "Connections to port 10002 that sent no request")


class _Protocol(HttpToolsProtocol):
    """Gives each request the subject of the client's certificate, and ends connections that waste the server's time."""

    _watchdog: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _in_head = True

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        tls = transport.get_extra_info("ssl_object")
        self._state = {"peer": subject_of(tls.getpeercert()) if tls is not None else None}
        self._watchdog = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # What arrives with the end of a body is not counted: only whole pieces of a head that goes on and on.
        goes_on = self._in_head
        super().data_received(data)
        if goes_on and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self._give_up()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self.scope["state"] = self._state

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        _refused.inc()
        super().send_400_response(msg)

    def _give_up(self) -> None:
        _refused.inc()
        self.transport.abort()


class Listener:
    """Listens on one address and serves until cancelled."""

    def __init__(self, application: Application, context: ssl.SSLContext, address: str, port: int) -> None:
        """Take the address to bind; port 0 takes any, see `port` after open()."""
        self.port = port
        self._application = application
        self._context = context
        self._address = address
        self._server: asyncio.Server | None = None
        self._state = ServerState()

    async def open(self) -> None:
        """Bind and listen. Raises OSError."""
        config = Config(
            self._application,
            log_config=None,
            access_log=False,
            lifespan="off",
            interface="asgi3",
            ws="none",
            http=_Protocol,
            proxy_headers=False,
            server_header=False,
            limit_concurrency=MAX_REQUESTS,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        config.load()
        app_state: dict[str, Any] = {}
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Protocol(config, self._state, app_state),
            self._address,
            self.port,
            ssl=self._context,
            backlog=socket.SOMAXCONN,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        log.info("https listening address=%s port=%d", self._address, self.port)

    async def run(self) -> None:
        """Serve until cancelled; what is being answered then gets STOP_TIMEOUT_S seconds."""
        try:
            await asyncio.Event().wait()
        finally:
            await self._stop()

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        tasks = set(self._state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=STOP_TIMEOUT_S)
            for task in late:
                task.cancel()
