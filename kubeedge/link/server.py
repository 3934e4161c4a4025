"""Accepting connections from edge nodes (spec 01 §2.1.1, §3.2)."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from kubeedge._speedups.frames import DEFAULT_MAX_MESSAGE
from kubeedge.link import upgrade
from kubeedge.link.connection import TLS_SHUTDOWN_TIMEOUT_S, Connection, Receiver
from kubeedge.metrics import Counter

log = logging.getLogger(__name__)

HANDSHAKE_TIMEOUT_S = 30.0
WRITE_TIMEOUT_S = 30.0
# Nodes come back together after a restart of the cloud; the system cuts this to its own limit.
BACKLOG = 4096
# Handshakes are nearly all of the work of a new connection; more at once only makes each of them late.
MAX_HANDSHAKES = 256
# Out of file descriptors or memory: accepting again at once would spin.
ACCEPT_RETRY_S = 1.0

refused_connections = Counter(
    "kubeedge_link_refused_connections_total", "Connections refused by this end", labels=("status",)
)

Accept = Callable[["ServerConnection", upgrade.UpgradeRequest], Receiver]


class ServerConnection(Connection):
    """The cloud's end of a connection. peer is the address of the other end."""

    __slots__ = ("_accept", "_opening", "peer")

    def __init__(
        self,
        peer: str,
        accept: Accept,
        opening: set[ServerConnection],
        *,
        max_message: int,
        write_timeout_s: float,
    ) -> None:
        super().__init__(is_server=True, max_message=max_message, write_timeout_s=write_timeout_s)
        self._accept = accept
        self.peer = peer
        # Those that nobody has accepted yet belong to the listener, which finds them there.
        self._opening = opening
        opening.add(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        super().connection_made(transport)
        if not self.is_closed:
            self._deadline = self._loop.call_later(HANDSHAKE_TIMEOUT_S, self.abort, "no upgrade in time")

    def peer_certificate(self) -> dict[str, Any]:
        """Return the certificate with which the client identified itself, as ssl.SSLSocket.getpeercert() gives it.

        Empty when it has none, which a context that requires one rules out. Only there while the request is accepted.
        """
        certificate = self._transport.get_extra_info("peercert") if self._transport is not None else None
        return certificate or {}

    def decide(self) -> None:
        """Ask accept again, which raised UndecidedError before."""
        if not self.is_closed:
            self.resume_reading()
            self._take_head(0)

    def _read_head(self, head: bytes) -> Receiver:
        request = upgrade.read_request(head)
        receiver = self._accept(self, request)
        # The loop would keep it as long as the connection: 3 kB a node.
        self.peer_certificate().clear()
        self._opening.discard(self)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        assert self._transport is not None
        self._transport.write(upgrade.acceptance(request))
        return receiver

    def _head_failed(self, error: upgrade.UpgradeError) -> None:
        refused(self.peer, error.status, error.reason)
        assert self._transport is not None
        self._transport.write(upgrade.refusal(error))
        self._lost(error.reason)
        self._transport.close()

    def _lost(self, reason: str) -> None:
        self._opening.discard(self)
        super()._lost(reason)

    def _key(self) -> bytes:
        return b""


class Listener:
    """Accepts connections on one address until cancelled.

    accept gets each connection with its request once TLS and the upgrade are valid; it returns who takes the messages,
    or raises UpgradeError with the status and reason to answer. It may send already; that leaves behind the answer.
    With UndecidedError the peer waits until somebody calls the connection's decide(), which calls accept again; the
    time for the whole upgrade stays HANDSHAKE_TIMEOUT_S.
    When the listener ends, connections that were accepted stay open: they belong to who accepted them.
    """

    def __init__(
        self,
        host: str,
        port: int,
        tls: ssl.SSLContext | None,
        accept: Accept,
        *,
        write_timeout_s: float = WRITE_TIMEOUT_S,
        max_message: int = DEFAULT_MAX_MESSAGE,
        listening: socket.socket | None = None,
        room: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """listening is a socket that listens already; room is awaited before each connection that is accepted."""
        self._host = host
        self._port = port
        self._tls = tls
        self._accept = accept
        self._write_timeout_s = write_timeout_s
        self._max_message = max_message
        self._socket = listening
        self._room = room
        self._opening: set[ServerConnection] = set()

    @property
    def opening(self) -> int:
        """How many connections are not accepted yet, or refused."""
        return len(self._opening)

    def bind(self) -> int:
        """Take the address and return the port, which the system chooses when 0 was given. Raises OSError."""
        self._socket = listen(self._host, self._port)
        port: int = self._socket.getsockname()[1]
        return port

    async def run(self) -> None:
        """Accept connections; bind first when that has not been done."""
        if self._socket is None:
            self.bind()
        assert self._socket is not None
        loop = asyncio.get_running_loop()
        handshakes = asyncio.Semaphore(MAX_HANDSHAKES)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await handshakes.acquire()
                    if self._room is not None:
                        await self._room()
                    try:
                        accepted, address = await loop.sock_accept(self._socket)
                    except OSError as error:
                        handshakes.release()
                        log.error("cannot accept connections reason=%s", error)
                        await asyncio.sleep(ACCEPT_RETRY_S)
                        continue
                    connection = ServerConnection(
                        f"{address[0]}:{address[1]}",
                        self._accept,
                        self._opening,
                        max_message=self._max_message,
                        write_timeout_s=self._write_timeout_s,
                    )
                    opening = group.create_task(self._open(accepted, connection))
                    opening.add_done_callback(lambda _: handshakes.release())
        finally:
            self._socket.close()
            self._socket = None
            for connection in list(self._opening):
                connection.abort("listener ended")

    async def _open(self, accepted: socket.socket, connection: ServerConnection) -> None:
        """Do the TLS handshake of one connection; the protocol does the rest."""
        loop = asyncio.get_running_loop()
        is_tls = self._tls is not None
        try:
            await loop.connect_accepted_socket(
                lambda: connection,
                accepted,
                ssl=self._tls,
                ssl_handshake_timeout=HANDSHAKE_TIMEOUT_S if is_tls else None,
                ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT_S if is_tls else None,
            )
        except ssl.SSLError as error:
            # OpenSSL's reasons are words in capitals joined by underscores.
            connection.abort("no TLS")
            words = (error.reason or str(error)).replace("_", " ").lower()
            refused(connection.peer, 0, f"TLS: {getattr(error, 'verify_message', '') or words}")
        except OSError as error:
            connection.abort(str(error))
            # Nobody spoke TLS at all: a port scan, a health check, a node that was switched off.
            log.debug("connection ended before TLS peer=%s reason=%s", connection.peer, error)


def listen(host: str, port: int) -> socket.socket:
    """Open the socket of a Listener; port 0 is one that the system chooses. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.create_server((host, port), family=family, backlog=BACKLOG)
    listening.setblocking(False)
    return listening


def refused(peer: str, status: int, reason: str) -> None:
    """Log and count a connection that this end refuses; status is 0 where it fell before HTTP."""
    refused_connections.inc(str(status))
    log.warning("connection refused peer=%s status=%d reason=%s", peer, status, reason)


def common_name(certificate: dict[str, Any]) -> str:
    """Return the common name of a certificate as peer_certificate() gives it, empty when it has none or several."""
    names = [value for rdn in certificate.get("subject", ()) for key, value in rdn if key == "commonName"]
    return names[0] if len(names) == 1 else ""


def forbidden(reason: str) -> upgrade.UpgradeError:
    """Make the error with which an accept function refuses a client for who it is."""
    return upgrade.UpgradeError(HTTPStatus.FORBIDDEN, reason)


def overloaded(reason: str) -> upgrade.UpgradeError:
    """Make the error with which an accept function refuses a client for now."""
    return upgrade.UpgradeError(HTTPStatus.SERVICE_UNAVAILABLE, reason)
