"""One HTTP/1.1 connection to the API, on httptools: a request at a time, or one watch."""

from __future__ import annotations

import asyncio
from collections import deque
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


class Connection(asyncio.Protocol):
    """Keep-alive connection; exchange() and stream() must not overlap, the pool sees to that."""

    __slots__ = (
        "_answered",
        "_body",
        "_deadline_s",
        "_done",
        "_head",
        "_loop",
        "_parser",
        "_paused",
        "_retry_after_s",
        "_size",
        "_streaming",
        "_timer",
        "_transport",
        "_wake",
        "idle_since",
        "used",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._head: asyncio.Future[int] | None = None
        self._done: asyncio.Future[Response] | None = None
        self._deadline_s = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._wake: asyncio.Future[None] | None = None
        self._body: deque[bytes] = deque()
        self._size = 0
        self._retry_after_s = -1.0
        self._answered = False
        self._streaming = False
        self._paused = False
        self.used = False
        self.idle_since = 0.0

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return self._transport is not None and not self._transport.is_closing()

    def close(self) -> None:
        """Cut the connection."""
        if self._transport is not None:
            self._transport.abort()

    async def exchange(self, request: bytes, deadline_s: float) -> Response:
        """Send request and return the whole answer, if it comes before that time of the loop's clock.

        Raises BrokenConnectionError, TimeoutError.
        """
        done = self._begin(request)
        self._deadline_s = deadline_s
        # One timer for many exchanges: it finds out by itself that it went off too early.
        if self._timer is not None and self._timer.when() > deadline_s:
            self._timer.cancel()
            self._timer = None
        if self._timer is None:
            self._timer = self._loop.call_at(deadline_s, self._check_deadline)
        response = await done
        self.used = True
        return response

    async def open_stream(self, request: bytes) -> int:
        """Send request and return the status code of the answer, whose body read_stream() gives as it comes."""
        self._streaming = True
        head: asyncio.Future[int] = self._loop.create_future()
        self._head = head
        # The head is awaited first; a failure goes into both, and then nobody asks this one.
        self._begin(request).add_done_callback(_retrieve)
        code = await head
        self.used = True
        return code

    async def read_stream(self) -> bytes:
        """Return what has come of the body, at least a byte; empty at its end. Raises BrokenConnectionError."""
        assert self._done is not None
        while not self._body:
            if self._done.done():
                self._done.result()
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

    def _begin(self, request: bytes) -> asyncio.Future[Response]:
        if self._transport is None:
            raise BrokenConnectionError("connection is closed", answered=False)
        self._done = self._loop.create_future()
        self._retry_after_s = -1.0
        self._answered = False
        self._transport.write(request)
        return self._done

    def _check_deadline(self) -> None:
        self._timer = None
        if self._done is None or self._done.done():
            return
        if self._loop.time() < self._deadline_s:
            self._timer = self._loop.call_at(self._deadline_s, self._check_deadline)
        else:
            self._done.set_exception(TimeoutError())

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's TLS transport is one in all but its base class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Parse what came; an answer that nobody asked for ends the connection."""
        if self._done is None or self._done.done():
            self.close()
            return
        if not self._answered and not self._streaming:
            response = _plain_answer(data)
            if response is not None:
                self._done.set_result(response)
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
        if self._done is not None and not self._done.done():
            body = b""
            if not self._streaming:
                body = b"".join(self._body)
                self._body.clear()
            self._done.set_result(Response(self._parser.get_status_code(), body, self._retry_after_s))
            self._wake_reader()

    def _wake_reader(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _fail(self, reason: str) -> None:
        error = BrokenConnectionError(reason, answered=self._answered)
        for future in (self._head, self._done):
            if future is not None and not future.done():
                future.set_exception(error)
        self._wake_reader()


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


def _retrieve(future: asyncio.Future[Response]) -> None:
    if not future.cancelled():
        future.exception()
