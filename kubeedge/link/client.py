"""Opening a connection to the cloud (spec 01 §2.1.1)."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import Callable, Iterable
from urllib.parse import urlsplit

from kubeedge._speedups.frames import DEFAULT_MAX_MESSAGE, MaskingKeys
from kubeedge.link import upgrade
from kubeedge.link.connection import TLS_SHUTDOWN_TIMEOUT_S, Connection, Receiver, watch_peer

HANDSHAKE_TIMEOUT_S = 30.0
WRITE_TIMEOUT_S = 15.0


class ConnectError(Exception):
    """No connection came to be. status is the HTTP status of a server that refused, else 0."""

    def __init__(self, reason: str, status: int = 0) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


class ClientConnection(Connection):
    """The edge's end of a connection."""

    __slots__ = ("_nonce", "_on_open", "_request", "_subprotocol", "opened")

    def __init__(
        self,
        target: str,
        host: str,
        headers: Iterable[tuple[str, str]],
        on_open: Callable[[ClientConnection], Receiver],
        *,
        subprotocol: str,
        max_message: int,
        write_timeout_s: float,
    ) -> None:
        super().__init__(MaskingKeys(os.urandom), max_message=max_message, write_timeout_s=write_timeout_s)
        self._nonce = os.urandom(16)
        self._subprotocol = subprotocol
        self._request = upgrade.request(target, host, headers, self._nonce)
        self._on_open = on_open
        # Done when the server has accepted; fails when it has not.
        self.opened: asyncio.Future[None] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        super().connection_made(transport)
        if self._transport is None or self.is_closed:
            return
        sock = self._transport.get_extra_info("socket")
        if sock is not None:
            watch_peer(sock, self._write_timeout_s)
        self._transport.write(self._request)

    def _read_head(self, head: bytes) -> Receiver:
        upgrade.check_response(head, self._nonce, self._subprotocol)
        receiver = self._on_open(self)
        if not self.opened.done():
            self.opened.set_result(None)
        return receiver

    def _head_failed(self, error: upgrade.UpgradeError) -> None:
        if not self.opened.done():
            self.opened.set_exception(ConnectError(f"server refused: {error}", error.status))
        self.abort(error.reason)

    def _lost(self, reason: str) -> None:
        super()._lost(reason)
        if not self.opened.done():
            self.opened.set_exception(ConnectError(reason))
            # When TLS failed nobody waits for this any more, and its own error is the better one.
            self.opened.exception()


async def connect(
    url: str,
    tls: ssl.SSLContext | None,
    headers: Iterable[tuple[str, str]],
    on_open: Callable[[ClientConnection], Receiver],
    *,
    subprotocol: str = "",
    handshake_timeout_s: float = HANDSHAKE_TIMEOUT_S,
    write_timeout_s: float = WRITE_TIMEOUT_S,
    max_message: int = DEFAULT_MAX_MESSAGE,
) -> ClientConnection:
    """Open a connection to url (`wss://host:port/path`, or `ws://` with tls None).

    subprotocol is what the server has to agree to. on_open gets the connection when the server has accepted it and
    returns who takes its messages; it is called before this function returns. Raises ConnectError, after at most
    handshake_timeout_s seconds for everything together.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (80 if tls is None else 443)
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    if subprotocol:
        headers = [*headers, ("Sec-WebSocket-Protocol", subprotocol)]
    connection = ClientConnection(
        target,
        parts.netloc,
        headers,
        on_open,
        subprotocol=subprotocol,
        max_message=max_message,
        write_timeout_s=write_timeout_s,
    )
    is_handed_over = False
    try:
        async with asyncio.timeout(handshake_timeout_s):
            await asyncio.get_running_loop().create_connection(
                lambda: connection,
                host,
                port,
                ssl=tls,
                server_hostname=host if tls is not None else None,
                ssl_shutdown_timeout=TLS_SHUTDOWN_TIMEOUT_S if tls is not None else None,
            )
            await connection.opened
        is_handed_over = True
        return connection
    except TimeoutError:
        raise ConnectError(f"no connection within {handshake_timeout_s:g} s") from None
    except ssl.SSLCertVerificationError as error:
        raise ConnectError(f"certificate of the server: {error.verify_message}") from None
    except OSError as error:
        raise ConnectError(str(error) or type(error).__name__) from None
    finally:
        # Also when the caller is cancelled in the moment in which the server accepts.
        if not is_handed_over:
            connection.opened.cancel()
            connection.abort("given up")
