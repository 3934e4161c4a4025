"""The way of the bytes of a connection: from its transport to who takes its messages, and back (spec 01 §2.1).

TLS lies in between where the connection does its own. Transport, loop and TLS object are handed in.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Final, Protocol

from kubeedge._speedups.frames import BINARY, CLOSE, NORMAL, PING, PONG, TEXT, FrameReader, close_reason, frame

if TYPE_CHECKING:
    import asyncio

    from kubeedge._speedups.frames import MaskingKeys

# The longest record of TLS (RFC 8446 §5.1).
_RECORD_BYTES: Final = 16 * 1024
_SEALED_BYTES: Final = 64 * 1024
# What arrives sealed may end a record that began before.
_ARRIVED_BYTES: Final = _SEALED_BYTES + _RECORD_BYTES
# Every connection of the process receives into these: a loop fills one and hands it over without a step between.
# What comes through TLS of our own arrives in the second and is in plain in the first.
ARRIVED = bytearray(_ARRIVED_BYTES)
ARRIVED_VIEW = memoryview(ARRIVED)
_SEALED_VIEW = memoryview(bytearray(_SEALED_BYTES))

_WantReadError = ssl.SSLWantReadError
_ZeroReturnError = ssl.SSLZeroReturnError
_SSLError = ssl.SSLError


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


class Duplex:
    """Both directions of one end of a connection; link.connection makes a protocol of it.

    What is sent in one turn of the loop leaves in one write, hence one TLS record and one system call.
    """

    __slots__ = (
        "_flush_is_due",
        "_incoming",
        "_is_open",
        "_is_shaking",
        "_keys",
        "_loop",
        "_outgoing",
        "_pending",
        "_reader",
        "_receiver",
        "_tls",
        "_transport",
        "is_closed",
        "is_writable",
        "received_at",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, max_message: int, keys: MaskingKeys | None) -> None:
        """max_message in bytes is the longest message taken from the peer; keys are those of a client."""
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._receiver: Receiver | None = None
        # TLS of our own, which reads from the one buffer and writes to the other. Connections may share these, so
        # whoever lets it read or write leaves them empty, before anything else is called.
        self._tls: ssl.SSLObject | None = None
        self._incoming: ssl.MemoryBIO | None = None
        self._outgoing: ssl.MemoryBIO | None = None
        self._is_shaking = False
        self._keys = keys
        self._reader = FrameReader(keys is None, max_message)
        self._pending: list[bytes] = []
        self._flush_is_due = False
        # Whether the peer's HTTP head has been taken, so that frames are next.
        self._is_open = False
        self.is_closed = False
        self.is_writable = True
        # When something came last, in seconds of the loop's clock.
        self.received_at = loop.time()

    # For link.connection and its two ends.

    def _take_head(self, nbytes: int) -> None:
        """Take the first nbytes of ARRIVED, which belong to the peer's HTTP head."""

    def _shake_hands(self) -> None:
        """Go on with the TLS handshake after something arrived for it; _is_shaking is False when it is done."""

    def _tls_ended(self, error: ssl.SSLError | None) -> None:
        """TLS has come to its end, or to an error."""

    def _offended(self, code: int, reason: str) -> None:
        """The peer's frames break a rule, for which code is the close code."""

    def close(self, code: int = NORMAL, reason: str = "") -> None:
        """Tell the peer why and close; what was sent before still goes out."""

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

    def send_frame_now(self, framed: bytes) -> None:
        """Send as send_frame() does, but not first at the end of the turn: for who knows that it is all for now."""
        if self.is_closed:
            return
        self._pending.append(framed)
        self._flush()

    def ping(self) -> None:
        """Ask the peer for a sign of life; its answer shows in received_at."""
        self.send_frame(frame(PING, b"", self._key()))

    def _key(self) -> bytes:
        return b"" if self._keys is None else self._keys.next()

    def _flush(self) -> None:
        self._flush_is_due = False
        pending = self._pending
        if pending and self._transport is not None:
            data = pending[0] if len(pending) == 1 else b"".join(pending)
            pending.clear()
            self._write(data)

    def _write(self, data: bytes) -> None:
        """Give the transport data, past what waits to be sent."""
        if self._transport is None:
            return
        if self._tls is None or self._outgoing is None:
            self._transport.write(data)
            return
        size = len(data)
        try:
            if size <= _RECORD_BYTES:
                self._tls.write(data)
                sealed = self._outgoing.read()
            else:
                view = memoryview(data)
                records = []
                for start in range(0, size, _RECORD_BYTES):
                    self._tls.write(view[start : start + _RECORD_BYTES])
                    records.append(self._outgoing.read())
                sealed = b"".join(records)
        except _SSLError as error:
            self._outgoing.read()
            self._tls_ended(error)
            return
        self._transport.write(sealed)

    # Receiving; called by asyncio.

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol."""
        return ARRIVED_VIEW if self._tls is None else _SEALED_VIEW

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        if self.is_closed:
            return
        self.received_at = self._loop.time()
        # What is sent while messages are handled leaves at the end of this call, without another turn of the loop.
        is_outermost = not self._flush_is_due
        self._flush_is_due = True
        if self._tls is None:
            self._arrived(nbytes)
        else:
            self._unseal(nbytes)
        if is_outermost:
            self._flush()

    def _unseal(self, nbytes: int) -> None:
        """Take what arrived out of its TLS records."""
        tls = self._tls
        incoming = self._incoming
        outgoing = self._outgoing
        assert tls is not None
        assert incoming is not None
        assert outgoing is not None
        incoming.write(_SEALED_VIEW[:nbytes])
        if self._is_shaking:
            self._shake_hands()
        total = count = 0
        failure: ssl.SSLError | None = None
        has_ended = False
        # Asking only while there is something saves an exception for each message.
        while not self._is_shaking and not has_ended and incoming.pending:
            try:
                # In plain it is shorter than it was sealed, so all of it has room.
                count = tls.read(  # type: ignore[assignment]
                    _ARRIVED_BYTES - total, ARRIVED if total == 0 else ARRIVED_VIEW[total:]
                )
                total += count
                has_ended = count == 0
            except _WantReadError:
                break
            except _ZeroReturnError:
                has_ended = True
            except _SSLError as error:
                failure = error
                has_ended = True
        if incoming.pending:
            incoming.read()
        if outgoing.pending:
            # TLS itself has answered something, such as a change of keys.
            sealed = outgoing.read()
            if self._transport is not None:
                self._transport.write(sealed)
        if total > 0 and not self.is_closed:
            self._arrived(total)
        if has_ended and not self.is_closed:
            self._tls_ended(failure)

    def _arrived(self, nbytes: int) -> None:
        if self._is_open:
            self._take(self._reader.feed(ARRIVED, nbytes))
        else:
            self._take_head(nbytes)

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
            self._offended(self._reader.failure_code, self._reader.failure)
