"""One HTTP/1.1 connection to the API, on httptools: a request at a time, or one watch."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, cast

import httptools

# A watch's reader that falls this far behind stops reading from the socket until it has caught up.
STREAM_HIGH_WATER_BYTES = 4 << 20
_LENGTH = b"\r\ncontent-length:"


class BrokenConnectionError(Exception):
    """The connection ended, or what came is no HTTP. answered tells whether any byte of an answer had come."""

    def __init__(self, reason: str, *, answered: bool) -> None:
        super().__init__(reason)
        self.answered = answered


class Response(NamedTuple):
    """An answer: its status code, its body and the seconds of Retry-After (negative when there was none)."""

    code: int
    body: bytes
    retry_after_s: float


# Takes an answer, or BrokenConnectionError or TimeoutError in its place.
Done = Callable[[Response | Exception], None]


class Connection(asyncio.Protocol):
    """Keep-alive connection; exchanges and a stream must not overlap, the pool sees to that."""

    __slots__ = (
        "_answered",
        "_body",
        "_deadline_s",
        "_done",
        "_end",
        "_head",
        "_loop",
        "_parser",
        "_paused",
        "_retry_after_s",
        "_size",
        "_streaming",
        "_timer",
        "_timer_s",
        "_transport",
        "_wake",
        "idle_since",
        "now",
        "used",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._head: asyncio.Future[int] | None = None
        # Who waits for the answer under way.
        self._done: Done | None = None
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0
        # How a stream ended, None before that.
        self._end: Response | Exception | None = None
        self._wake: asyncio.Future[None] | None = None
        self._body: deque[bytes] = deque()
        self._size = 0
        self._retry_after_s = -1.0
        self._answered = False
        self._streaming = False
        self._paused = False
        self.used = False
        self.idle_since = 0.0
        self.now = loop.time

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    def start(self, request: bytes, deadline_s: float, done: Done) -> None:
        """Send request; done gets the whole answer, if it comes before that time of the loop's clock.

        Otherwise it gets BrokenConnectionError or TimeoutError. It is called from the loop, once, and must not raise.
        """
        self._deadline_s = deadline_s
        # One timer for many exchanges: it finds out by itself that it went off too early.
        if self._timer is None or self._timer_s > deadline_s:
            self._set_timer(deadline_s)
        self._begin(request, done)

    async def exchange(self, request: bytes, deadline_s: float) -> Response:
        """Send request and return the whole answer, if it comes before that time of the loop's clock.

        Raises BrokenConnectionError, TimeoutError.
        """
        answer: asyncio.Future[Response] = self._loop.create_future()
        self.start(request, deadline_s, partial(_settle, answer))
        return await answer

    async def open_stream(self, request: bytes) -> int:
        """Send request and return the status code of the answer, whose body read_stream() gives as it comes."""
        self._streaming = True
        head: asyncio.Future[int] = self._loop.create_future()
        self._head = head
        self._begin(request, self._end_stream)
        return await head

    async def read_stream(self) -> bytes:
        """Return what has come of the body, at least a byte; empty at its end. Raises BrokenConnectionError."""
        while not self._body:
            if isinstance(self._end, Exception):
                raise self._end
            if self._end is not None:
                return b""
            self._wake = self._loop.create_future()
            await self._wake
        chunk = b"".join(self._body) if len(self._body) > 1 else self._body[0]
        self._body.clear()
        self._size = 0
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return chunk

    async def read_rest(self) -> bytes:
        """Return all of the body that is still to come. Raises BrokenConnectionError."""
        body = bytearray()
        while chunk := await self.read_stream():
            body += chunk
        return bytes(body)

    def _begin(self, request: bytes, done: Done) -> None:
        if self._transport is None:
            raise BrokenConnectionError("connection is closed", answered=False)
        self._done = done
        self._retry_after_s = -1.0
        self._answered = False
        self._transport.write(request)

    def _finish(self, answer: Response | Exception) -> None:
        done = self._done
        if done is not None:
            self._done = None
            self.used = True
            done(answer)

    def _end_stream(self, answer: Response | Exception) -> None:
        self._end = answer
        if isinstance(answer, Exception) and self._head is not None and not self._head.done():
            self._head.set_exception(answer)
        self._wake_reader()

    def _set_timer(self, at_s: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_s = at_s
        self._timer = self._loop.call_at(at_s, self._check_deadline)

    def _check_deadline(self) -> None:
        self._timer = None
        if self._done is None:
            return
        if self._loop.time() < self._deadline_s:
            self._set_timer(self._deadline_s)
        else:
            self._finish(TimeoutError())

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's TLS transport is one in all but its base class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came; an answer that nobody asked for ends the connection."""
        if self._done is None:
            self.close()
            return
        if not self._answered and not self._streaming:
            response = _plain_answer(data)
            if response is not None:
                self._finish(response)
                return
        self._answered = True
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(f"answer is no HTTP: {error}")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail whoever waits."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._fail(str(exc) if exc else "connection closed by the server")

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep Retry-After, the only header that matters here; framing is the parser's."""
        if name.lower() == b"retry-after":
            self._retry_after_s = float(value) if value.isdigit() else 1.0

    def on_headers_complete(self) -> None:
        """Give the status code to the sender."""
        if self._head is not None and not self._head.done():
            self._head.set_result(self._parser.get_status_code())

    def on_body(self, body: bytes) -> None:
        """Collect the body, or hand it to the reader of the stream."""
        self._body.append(body)
        if self._streaming:
            self._size += len(body)
            self._wake_reader()
            if self._size > STREAM_HIGH_WATER_BYTES and not self._paused and self._transport is not None:
                self._paused = True
                self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """End the answer."""
        if not self._parser.should_keep_alive():
            self.close()
        body = b""
        if not self._streaming:
            body = b"".join(self._body)
            self._body.clear()
        self._finish(Response(self._parser.get_status_code(), body, self._retry_after_s))

    def _wake_reader(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _fail(self, reason: str) -> None:
        self._finish(BrokenConnectionError(reason, answered=self._answered))


def _settle(future: asyncio.Future[Response], answer: Response | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Response):
        future.set_result(answer)
    else:
        future.set_exception(answer)


def _plain_answer(data: bytes) -> Response | None:
    """Take a success apart that came in one piece, the usual case; None for what the parser has to look at."""
    if not data.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 201 ")):
        return None
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = data[: end + 2].lower()
    start = head.find(_LENGTH)
    if start < 0 or b"\r\nconnection:" in head or b"\r\ntransfer-encoding:" in head:
        return None
    start += len(_LENGTH)
    length = head[start : head.index(b"\r\n", start)].strip()
    if not length.isdigit() or end + 4 + int(length) != len(data):
        return None
    return Response(int(data[9:12]), data[end + 4 :], -1.0)
