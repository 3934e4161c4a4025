"""A WebSocket connection on an asyncio transport: what server and client have in common (spec 01 §2.1)."""

from __future__ import annotations

import asyncio
import os
import socket
from abc import ABC, abstractmethod
from typing import Protocol, cast

from kubeedge._speedups.frames import (
    BINARY,
    CLOSE,
    DEFAULT_MAX_MESSAGE,
    NORMAL,
    PING,
    PONG,
    TEXT,
    FrameReader,
    close_payload,
    close_reason,
    frame,
)
from kubeedge.link.upgrade import UndecidedError, UpgradeError, end_of_head
from kubeedge.metrics import Counter

# Every connection of the process receives into this one: a loop fills it and hands it over without a step between.
_ARRIVED = bytearray(64 * 1024)
_ARRIVED_VIEW = memoryview(_ARRIVED)

# From here on senders are asked to wait. Upstream blocks at what the kernel takes; this is of that order.
HIGH_WATER_BYTES = 256 * 1024
# How long TLS may take to say goodbye. asyncio waits 30 s by default, which would keep dead sessions in memory.
TLS_SHUTDOWN_TIMEOUT_S = 5.0

protocol_errors = Counter(
    "kubeedge_link_protocol_errors_total", "Connections ended for what the peer sent, by close code", labels=("code",)
)


class Receiver(Protocol):
    """Takes what arrives on one connection. No method may block or raise."""

    def received(self, payload: bytes) -> None:
        """Take one whole message, text or binary."""
        ...

    def writable(self) -> None:
        """Go on sending: the transport has room again."""
        ...

    def closed(self, reason: str) -> None:
        """Forget the connection; called exactly once."""
        ...


class Connection(asyncio.BufferedProtocol, ABC):
    """One end of a WebSocket connection.

    What is sent in one turn of the loop leaves in one write, hence one TLS record and one system call. is_writable is
    False while the peer does not take what was sent: senders should then wait for Receiver.writable(). A peer that
    takes nothing for write_timeout_s seconds is cut off.
    """

    __slots__ = (
        "_deadline",
        "_flush_is_due",
        "_head",
        "_loop",
        "_pending",
        "_reader",
        "_receiver",
        "_transport",
        "_write_timeout_s",
        "is_closed",
        "is_writable",
        "received_at",
    )

    def __init__(self, *, is_server: bool, max_message: int = DEFAULT_MAX_MESSAGE, write_timeout_s: float) -> None:
        """max_message in bytes is the longest message taken from the peer."""
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._reader = FrameReader(is_server, max_message)
        self._receiver: Receiver | None = None
        # The HTTP head while it is collected; None afterwards.
        self._head: bytearray | None = bytearray()
        self._pending: list[bytes] = []
        self._flush_is_due = False
        self._deadline: asyncio.TimerHandle | None = None
        self._write_timeout_s = write_timeout_s
        self.is_closed = False
        self.is_writable = True
        # When something came last, in seconds of the loop's clock.
        self.received_at = self._loop.time()

    # What the two ends do differently.

    @abstractmethod
    def _read_head(self, head: bytes) -> Receiver:
        """Take the peer's HTTP head and return who gets the messages. Raises UpgradeError, UndecidedError."""

    @abstractmethod
    def _head_failed(self, error: UpgradeError) -> None:
        """The peer's HTTP head was refused: end the connection."""

    @abstractmethod
    def _key(self) -> bytes:
        """Return the masking key for the next frame."""

    # Sending.

    def send(self, payload: bytes) -> None:
        """Send a text message."""
        self.send_frame(frame(TEXT, payload, self._key()))

    def send_binary(self, payload: bytes) -> None:
        """Send a binary message."""
        self.send_frame(frame(BINARY, payload, self._key()))

    def send_frame(self, framed: bytes) -> None:
        """Send bytes that are frames already, so that what goes to many peers is framed once (server only)."""
        if self.is_closed:
            return
        self._pending.append(framed)
        if not self._flush_is_due:
            self._flush_is_due = True
            self._loop.call_soon(self._flush)

    def ping(self) -> None:
        """Ask the peer for a sign of life; its answer shows in received_at."""
        self.send_frame(frame(PING, b"", self._key()))

    def _flush(self) -> None:
        self._flush_is_due = False
        pending = self._pending
        if pending and self._transport is not None:
            data = pending[0] if len(pending) == 1 else b"".join(pending)
            pending.clear()
            self._transport.write(data)

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Tell the peer why and close; what was sent before still goes out."""
        if self.is_closed:
            return
        self.send_frame(frame(CLOSE, close_payload(code, reason), self._key()))
        self._flush()
        # First of all, because closing may call back with what the peer does at the same moment.
        self._lost(reason)
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
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family in (socket.AF_INET, socket.AF_INET6):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                # A peer that vanished shows as soon as it should have acknowledged something, not after 15 minutes.
                timeout_ms = int(self._write_timeout_s * 1000)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol."""
        return _ARRIVED_VIEW

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        if self.is_closed:
            return
        self.received_at = self._loop.time()
        # What is sent while messages are handled leaves at the end of this call, without another turn of the loop.
        is_outermost = not self._flush_is_due
        self._flush_is_due = True
        if self._head is None:
            self._take(self._reader.feed(_ARRIVED, nbytes))
        else:
            self._take_head(nbytes)
        if is_outermost:
            self._flush()

    def eof_received(self) -> None:
        """See asyncio.BufferedProtocol."""
        self._lost("peer ended the connection")

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        self._transport = None
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
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        if self._receiver is not None and not self.is_closed:
            self._receiver.writable()

    def _take_head(self, nbytes: int) -> None:
        assert self._head is not None
        self._head += _ARRIVED_VIEW[:nbytes]
        try:
            end = end_of_head(self._head)
            if not end:
                return
            self._receiver = self._read_head(bytes(self._head[:end]))
        except UndecidedError:
            self.pause_reading()
            return
        except UpgradeError as error:
            self._head_failed(error)
            return
        rest = self._head[end:]
        self._head = None
        self._take(self._reader.feed(rest, len(rest)))

    def _take(self, events: list[tuple[int, bytes]]) -> None:
        receiver = self._receiver
        assert receiver is not None
        for opcode, payload in events:
            if opcode < CLOSE:
                receiver.received(payload)
            elif opcode == PING:
                # A peer that only asks and does not read must not fill our memory.
                if self.is_writable:
                    self.send_frame(frame(PONG, payload, self._key()))
            elif opcode == CLOSE:
                code, reason = close_reason(payload)
                self.close(NORMAL, f"peer closed: {code} {reason}".rstrip())
            if self.is_closed:
                return
        if self._reader.failure_code:
            protocol_errors.inc(str(self._reader.failure_code))
            self.close(self._reader.failure_code, self._reader.failure)

    def _lost(self, reason: str) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self._pending.clear()
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            receiver.closed(reason)


class MaskingKeys:
    """Masking keys from the system's random source, in blocks: one call for each would cost more than the frame."""

    __slots__ = ("_block", "_used")

    _BLOCK_BYTES = 1024

    def __init__(self) -> None:
        self._block = b""
        self._used = self._BLOCK_BYTES

    def next(self) -> bytes:
        """Return 4 fresh bytes."""
        if self._used >= self._BLOCK_BYTES:
            self._block = os.urandom(self._BLOCK_BYTES)
            self._used = 0
        self._used += 4
        return self._block[self._used - 4 : self._used]
