"""One end of the socket between cloudcore and one of its workers: records in batches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import cast

from kubeedge._speedups.records import Record, RecordError, RecordReader
from kubeedge.cloudcore.hub.wire import MAX_RECORD

log = logging.getLogger(__name__)

# All pipes of the process receive into this one; the more fits, the more messages share a system call.
_ARRIVED = bytearray(256 * 1024)
_ARRIVED_VIEW = memoryview(_ARRIVED)

# What may wait in the transport before senders are asked to wait, and how far that has to shrink.
HIGH_WATER_BYTES = 4 << 20
LOW_WATER_BYTES = 1 << 20


class Pipe(asyncio.BufferedProtocol):
    """Records both ways.

    What is sent in one turn of the loop leaves in one write: a busy loop has long turns, so that under load many share
    the system call and the waking of a process. (Holding them back for a millisecond costs more than it saves.) While
    the other end does not take what was sent is_writable is False, and what is sent then waits here.
    """

    def __init__(
        self, receive: Callable[[list[Record]], None], writable: Callable[[bool], None], lost: Callable[[str], None]
    ) -> None:
        """receive gets what arrived together; it may raise RecordError, which ends the connection.

        writable is told when is_writable changes; lost is called once, with the reason.
        """
        self._loop = asyncio.get_running_loop()
        self._receive = receive
        self._writable = writable
        self._lost = lost
        self._reader = RecordReader(MAX_RECORD)
        self._transport: asyncio.Transport | None = None
        self._pending: list[bytes] = []
        self.flush_is_due = False
        self.is_writable = True
        self.is_closed = False

    def send(self, record: bytes) -> None:
        """Send a record."""
        self._pending.append(record)
        if not self.flush_is_due:
            self.wake()

    def wake(self) -> None:
        """Let what waits leave at the end of this turn."""
        if not self.flush_is_due:
            self.flush_is_due = True
            self._loop.call_soon(self._flush)

    def gather(self) -> list[bytes]:
        """Take out the records that are to leave now, in order."""
        pending, self._pending = self._pending, []
        return pending

    def _flush(self) -> None:
        self.flush_is_due = False
        if self.is_writable and self._transport is not None:
            records = self.gather()
            if records:
                self._transport.write(records[0] if len(records) == 1 else b"".join(records))

    def close(self) -> None:
        """Send what waits and end the connection; lost is not called any more."""
        self.is_closed = True
        if self._transport is not None:
            self._flush()
            self._transport.close()

    def abort(self, reason: str) -> None:
        """Cut the connection off."""
        if not self.is_closed:
            self.is_closed = True
            if self._transport is not None:
                self._transport.abort()
            self._lost(reason)

    # Called by asyncio.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.BaseProtocol."""
        # uvloop's transports are of its own class.
        self._transport = transport = cast(asyncio.Transport, transport)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        """See asyncio.BufferedProtocol."""
        return _ARRIVED_VIEW

    def buffer_updated(self, nbytes: int) -> None:
        """See asyncio.BufferedProtocol."""
        if self.is_closed:
            return
        # Answers leave at the end of this call, without another turn of the loop.
        is_outermost = not self.flush_is_due
        self.flush_is_due = True
        try:
            self._receive(self._reader.feed(_ARRIVED, nbytes))
        except RecordError as error:
            self.abort(f"malformed record: {error}")
            return
        except Exception as error:
            # What came behind it is lost, so the two ends would no longer agree on what there is.
            log.exception("record not handled")
            self.abort(f"a record cannot be handled: {error!r}")
            return
        if is_outermost:
            self._flush()

    def eof_received(self) -> None:
        """See asyncio.BufferedProtocol."""
        self.abort("other end closed")

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.BaseProtocol."""
        self._transport = None
        self.abort(f"connection lost: {exc}" if exc else "other end closed")

    def pause_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self.is_writable = False
        self._writable(False)

    def resume_writing(self) -> None:
        """See asyncio.BaseProtocol."""
        self.is_writable = True
        self._writable(True)
        self.wake()
