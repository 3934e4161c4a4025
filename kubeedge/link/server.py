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
from kubeedge.link.connection import TLS_SHUTDOWN_TIMEOUT_S, Connection, Receiver, watch_peer
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


class Tls:
    """TLS of the connections of one loop: the context, and the buffers between OpenSSL and the transports.

    All connections share the buffers, which are empty whenever one of them has done its work. A pair for each would be
    3 kB and more: OpenSSL's buffers never shrink, so one message of 500 kB would leave 700 kB with its connection.
    """

    __slots__ = ("context", "incoming", "outgoing")

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()


class ServerConnection(Connection):
    """The cloud's end of a connection. peer is the address of the other end.

    It does TLS itself and not with the transport of the loop, which has buffers for each connection: uvloop's take 9 kB
    more, and asyncio's own ten times as much.
    """

    __slots__ = ("_accept", "_opening", "_secured", "peer")

    def __init__(
        self,
        peer: str,
        accept: Accept,
        opening: set[ServerConnection],
        tls: Tls | None,
        secured: Callable[[], None],
        *,
        max_message: int,
        write_timeout_s: float,
    ) -> None:
        """secured is called once: when TLS has come to be, or never will."""
        super().__init__(max_message=max_message, write_timeout_s=write_timeout_s)
        self._accept = accept
        self.peer = peer
        # Those that nobody has accepted yet belong to the listener, which finds them there.
        self._opening = opening
        opening.add(self)
        self._secured: Callable[[], None] | None = secured
        if tls is not None:
            self._incoming, self._outgoing = tls.incoming, tls.outgoing
            self._tls = tls.context.wrap_bio(tls.incoming, tls.outgoing, server_side=True)
            self._is_shaking = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        super().connection_made(transport)
        if self.is_closed:
            return
        self._deadline = self._loop.call_later(HANDSHAKE_TIMEOUT_S, self.abort, "no upgrade in time")
        if self._tls is None:
            self._release()

    def peer_certificate(self) -> dict[str, Any]:
        """Return the certificate with which the client identified itself, as ssl.SSLSocket.getpeercert() gives it.

        Empty when it has none, which a context that requires one rules out.
        """
        return (self._tls.getpeercert() if self._tls is not None else None) or {}

    def decide(self) -> None:
        """Ask accept again, which raised UndecidedError before."""
        if not self.is_closed:
            self.resume_reading()
            self._try_head()

    def _read_head(self, head: bytes) -> Receiver:
        request = upgrade.read_request(head)
        receiver = self._accept(self, request)
        self._opening.discard(self)
        self._disarm()
        self._write(upgrade.acceptance(request))
        return receiver

    def _head_failed(self, error: upgrade.UpgradeError) -> None:
        refused(self.peer, error.status, error.reason)
        self._write(upgrade.refusal(error))
        self._lost(error.reason)
        self._end()

    # TLS.

    def _shake_hands(self) -> None:
        tls, transport, outgoing = self._tls, self._transport, self._outgoing
        assert tls is not None
        assert transport is not None
        assert outgoing is not None
        failure: ssl.SSLError | None = None
        try:
            tls.do_handshake()
            self._is_shaking = False
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            failure = error
        # Empty while the client's part is not there yet; after a failure an alert, which tells the client why.
        sealed = outgoing.read()
        if sealed:
            transport.write(sealed)
        if failure is not None:
            refused(self.peer, 0, f"TLS: {reason_of(failure)}")
            self._lost("no TLS")
            self._linger()
        elif not self._is_shaking:
            self._release()

    def _tls_ended(self, error: ssl.SSLError | None) -> None:
        if error is None:
            self._lost("peer ended the connection")
            self._end()
        else:
            self.abort(f"connection lost: TLS: {reason_of(error)}")

    def _end(self) -> None:
        if self._tls is None or self._outgoing is None:
            super()._end()
            return
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            # The peer's farewell is still to come; ours is written.
            pass
        sealed = self._outgoing.read()
        if self._transport is not None and sealed:
            self._transport.write(sealed)
        self._linger()

    def _linger(self) -> None:
        """End this direction behind what was written; the transport closes when the peer ends the other.

        Closing at once would reset the connection when the peer has sent more, and it would never read why.
        """
        transport = self._transport
        if transport is None:
            return
        transport.resume_reading()
        try:
            transport.write_eof()
        except OSError:
            # The peer is gone already.
            transport.abort()
        self._disarm()
        self._deadline = self._loop.call_later(TLS_SHUTDOWN_TIMEOUT_S, transport.abort)

    def _release(self) -> None:
        """Let the listener go on with another handshake."""
        if self._secured is not None:
            self._secured()
            self._secured = None

    def _lost(self, reason: str) -> None:
        if self._secured is not None:
            # Nobody spoke TLS at all: a port scan, a health check, a node that was switched off.
            log.debug("connection ended before TLS peer=%s reason=%s", self.peer, reason)
            self._release()
        self._opening.discard(self)
        super()._lost(reason)


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
        self._tls = None if tls is None else Tls(tls)
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
        watch_peer(self._socket, self._write_timeout_s)
        loop = asyncio.get_running_loop()
        handshakes = asyncio.Semaphore(MAX_HANDSHAKES)
        try:
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
                    self._tls,
                    handshakes.release,
                    max_message=self._max_message,
                    write_timeout_s=self._write_timeout_s,
                )
                await self._open(accepted, connection)
        finally:
            self._socket.close()
            self._socket = None
            for connection in list(self._opening):
                connection.abort("listener ended")

    async def _open(self, accepted: socket.socket, connection: ServerConnection) -> None:
        """Give a connection its transport, which takes a turn of the loop and waits for nobody."""
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: connection, accepted)
        except OSError as error:
            connection.abort(str(error))


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


def reason_of(error: ssl.SSLError) -> str:
    """Say what OpenSSL complains about; its reasons are words in capitals joined by underscores."""
    return getattr(error, "verify_message", "") or (error.reason or str(error)).replace("_", " ").lower()


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
