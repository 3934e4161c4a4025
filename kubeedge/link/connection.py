"""A WebSocket connection on an asyncio transport: what server and client have in common (spec 01 §2.1)."""

from __future__ import annotations

import asyncio
import socket
from abc import ABC, abstractmethod
from typing import cast

from kubeedge._speedups.duplex import ARRIVED_VIEW, Duplex, Receiver
from kubeedge._speedups.frames import CLOSE, DEFAULT_MAX_MESSAGE, NORMAL, MaskingKeys, close_payload, frame
from kubeedge.link.upgrade import UndecidedError, UpgradeError, end_of_head
from kubeedge.metrics import Counter

__all__ = ["Connection", "Receiver"]

# From here on senders are asked to wait. Upstream blocks at what the kernel takes; this is of that order.
HIGH_WATER_BYTES = 256 * 1024
# How long TLS may take to say goodbye. asyncio waits 30 s by default, which would keep dead sessions in memory.
TLS_SHUTDOWN_TIMEOUT_S = 5.0

protocol_errors = Counter(
    "kubeedge_link_protocol_errors_total", "Connections ended for what the peer sent, by close code", labels=("code",)
)


class Connection(Duplex, asyncio.BufferedProtocol, ABC):
    """One end of a WebSocket connection.

    is_writable is False while the peer does not take what was sent: senders should then wait for Receiver.writable().
    A peer that takes nothing for write_timeout_s seconds is cut off.
    """

    __slots__ = ("_deadline", "_head", "_is_undecided", "_write_timeout_s")

    def __init__(
        self, keys: MaskingKeys | None = None, *, max_message: int = DEFAULT_MAX_MESSAGE, write_timeout_s: float
    ) -> None:
        """keys are there at the end of the client; max_message in bytes is the longest message taken from the peer."""
        super().__init__(asyncio.get_running_loop(), max_message, keys)
        # The HTTP head while it is collected; None afterwards.
        self._head: bytearray | None = bytearray()
        self._is_undecided = False
        self._deadline: asyncio.TimerHandle | None = None
        self._write_timeout_s = write_timeout_s

    # What the two ends do differently.

    @abstractmethod
    def _read_head(self, head: bytes) -> Receiver:
        """Take the peer's HTTP head and return who gets the messages. Raises UpgradeError, UndecidedError."""

    @abstractmethod
    def _head_failed(self, error: UpgradeError) -> None:
        """The peer's HTTP head was refused: end the connection."""

    # Closing.

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Tell the peer why and close; what was sent before still goes out."""
        if self.is_closed:
            return
        self.send_frame(frame(CLOSE, close_payload(code, reason), self._key()))
        self._flush()
        # First of all, because closing may call back with what the peer does at the same moment.
        self._lost(reason)
        self._end()

    def _end(self) -> None:
        """Close the transport behind what was written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self, reason: str) -> None:
        """Cut the connection off without a word."""
        self._lost(reason)
        if self._transport is not None:
            self._transport.abort()

    # Back-pressure.

    def pause_reading(self) -> None:
        """Take nothing more from the peer for now; what has arrived already is still handed over."""
        if self._transport is not None and not self.is_closed:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Undo pause_reading."""
        if self._transport is not None and not self.is_closed:
            self._transport.resume_reading()

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        # uvloop's transports are of its own class.
        self._transport = transport = cast(asyncio.Transport, transport)
        if self.is_closed:
            # Given up during the TLS handshake.
            transport.abort()
            return
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)

    def eof_received(self) -> None:
        """See asyncio.BufferedProtocol."""
        self._lost("peer ended the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        self._transport = None
        self._disarm()
        self._lost(f"connection lost: {exc}" if exc else "peer ended the connection")

    def pause_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self.is_writable = False
        if self._deadline is None:
            reason = f"peer took nothing for {self._write_timeout_s:g} s"
            self._deadline = self._loop.call_later(self._write_timeout_s, self.abort, reason)

    def resume_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self.is_writable = True
        if self.is_closed:
            return
        self._disarm()
        if self._receiver is not None:
            self._receiver.writable()

    def _disarm(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _take_head(self, nbytes: int) -> None:
        assert self._head is not None
        self._head += ARRIVED_VIEW[:nbytes]
        if not self._is_undecided:
            self._try_head()

    def _try_head(self) -> None:
        """Go on when the HTTP head is there."""
        assert self._head is not None
        self._is_undecided = False
        try:
            end = end_of_head(self._head)
            if not end:
                return
            self._receiver = self._read_head(bytes(self._head[:end]))
        except UndecidedError:
            self._is_undecided = True
            self.pause_reading()
            return
        except UpgradeError as error:
            self._head_failed(error)
            return
        rest = self._head[end:]
        self._head = None
        self._is_open = True
        if not self.is_closed:
            self._take(self._reader.feed(rest, len(rest)))

    def _offended(self, code: int, reason: str) -> None:
        protocol_errors.inc(str(code))
        self.close(code, reason)

    def _lost(self, reason: str) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self._pending.clear()
        self._disarm()
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.closed(reason)


def watch_peer(sock: socket.socket, timeout_s: float) -> None:
    """Let the system end a TCP connection whose peer has vanished.

    That shows as soon as the peer should have acknowledged something, not after 15 minutes. What is set on a listening
    socket holds for those that it accepts, tcp(7).
    """
    if sock.family in (socket.AF_INET, socket.AF_INET6):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(timeout_s * 1000))
