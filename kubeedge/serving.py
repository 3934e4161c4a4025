"""HTTPS servers of the project: ASGI applications on uvicorn's HTTP/1.1 protocol, on a listener of our own.

Every listener here is open to whoever reaches its port: a connection that sends no request, or the head of one without
end, is closed and counted, and what a peer does wrong is never a line in the log.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from kubeedge import metrics

log = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

# A request whose head has not come whole by then, counted from the connection or from the head's first byte, won't.
HEAD_TIMEOUT_S = 30
MAX_HEAD_BYTES = 64 << 10
# How long requests get to finish when the server stops.
STOP_TIMEOUT_S = 5

_refused = metrics.Counter("kubeedge_https_refused_total", "Connections ended for what their peer sent", ("server",))


class Peer:
    """The other end of a connection, `scope["state"]["peer"]` of each of its requests.

    owner is what the server made of its certificate; on_end, to be set by a request that lasts, is called when the
    connection is lost or the server stops.
    """

    __slots__ = ("on_end", "owner")

    def __init__(self, owner: Any) -> None:
        self.owner = owner
        self.on_end: Callable[[], None] | None = None

    def end(self) -> None:
        """Tell the request that lasts, if there is one."""
        if self.on_end is not None:
            self.on_end()


class Server:
    """Listens on one address and serves one application (ASGI 3) until cancelled."""

    def __init__(
        self,
        application: Application,
        context: ssl.SSLContext,
        address: str,
        port: int,
        *,
        name: str,
        owner: Callable[[ssl.SSLObject | None], Any],
        keep_alive_s: int,
        max_requests: int | None = None,
    ) -> None:
        """port 0 takes a free one, see `port` after open(). name is the server's in logs and metrics.

        owner tells whose a connection is; keep_alive_s is how long one may be idle between requests. Requests over
        max_requests at a time, or on more connections than that, are answered 503 at once.
        """
        self.port = port
        self._application = application
        self._context = context
        self._address = address
        self._name = name
        self._owner = owner
        self._keep_alive_s = keep_alive_s
        self._max_requests = max_requests
        self._server: asyncio.Server | None = None
        self._state = ServerState()

    async def open(self) -> None:
        """Bind and listen. Raises OSError."""
        config = Config(
            self._application,
            log_config=None,
            # Below are only warnings of what peers send: upgrades that we don't know, requests that are none.
            log_level="error",
            access_log=False,
            lifespan="off",
            interface="asgi3",
            ws="none",
            http=_Connection,
            proxy_headers=False,
            limit_concurrency=self._max_requests,
            timeout_keep_alive=self._keep_alive_s,
        )
        config.load()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Connection(config, self._state, self._owner, self._name),
            self._address,
            self.port,
            ssl=self._context,
            backlog=socket.SOMAXCONN,
        )
        self.port = self._server.sockets[0].getsockname()[1]
        log.info("https listening server=%s address=%s port=%d", self._name, self._address, self.port)

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


class _Gathering:
    """A transport that sends the head of a response with its body, where the head promises one by its length.

    They then are one TLS record and one system call, and the client is woken once. It has what uvicorn asks of a
    transport.
    """

    __slots__ = ("_head", "_transport", "get_extra_info", "is_closing", "pause_reading", "resume_reading")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head = b""
        self.get_extra_info = transport.get_extra_info
        self.is_closing = transport.is_closing
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        if self._head:
            data = self._head + data
            self._head = b""
        elif data.startswith(b"HTTP/1.1 ") and b"\r\ncontent-length: " in data:
            self._head = data
            return
        self._transport.write(data)

    def flush(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


class _Connection(HttpToolsProtocol):
    """Gives each request its peer, and ends a connection that wastes the server's time."""

    def __init__(
        self, config: Config, state: ServerState, owner: Callable[[ssl.SSLObject | None], Any], name: str
    ) -> None:
        super().__init__(config, state, {})
        self._owner = owner
        self._name = name
        self._is_in_head = True
        self._head_bytes = 0
        self._watchdog: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(_Gathering(transport))  # type: ignore[arg-type]
        self._peer = Peer(self._owner(transport.get_extra_info("ssl_object")))
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)
        self._peer.end()

    def on_response_complete(self) -> None:
        # A HEAD has the length of a body that does not come.
        self.transport.flush()  # type: ignore[attr-defined]
        super().on_response_complete()

    def shutdown(self) -> None:
        super().shutdown()
        self._peer.end()

    def data_received(self, data: bytes) -> None:
        # Only whole pieces of a head that goes on and on are counted, not what shares a piece with the end of a body.
        if self._is_in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._is_in_head:
            if self._head_bytes > MAX_HEAD_BYTES:
                self._give_up()
            elif self._watchdog is None:
                # Nearly all heads come in one piece and never get here, so they cost no timer.
                self._watch()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_in_head = True
        self.scope["state"] = {"peer": self._peer}

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._head_bytes = 0
        self._unwatch()
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        _refused.inc(self._name)
        super().send_400_response(msg)

    def _watch(self) -> None:
        self._watchdog = self.loop.call_later(HEAD_TIMEOUT_S, self._give_up)

    def _unwatch(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def _give_up(self) -> None:
        _refused.inc(self._name)
        self._unwatch()
        self.transport.abort()
