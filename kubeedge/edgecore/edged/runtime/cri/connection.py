"""Calls to a runtime on a Unix socket that may be restarted, stuck or broken at any moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from functools import cached_property
from typing import TypeVar

from google.protobuf.message import Message
from grpclib.client import Channel, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError

from kubeedge.edgecore.edged.runtime.interface import RuntimeUnavailableError
from kubeedge.metrics import Counter
from kubeedge.proto import cri_pb2 as cri
from kubeedge.proto.containerd_grpc import EventsStub
from kubeedge.proto.cri_grpc import ImageServiceStub, RuntimeServiceStub
from kubeedge.proto.outcome import outcome

log = logging.getLogger("kubeedge.edged.cri")

SCHEME = "unix://"
# A call that takes longer than this has failed, unless the command that it runs is allowed more (spec 05 §5).
CALL_TIMEOUT_S = 120.0
# A call without an answer for this long raises the question whether the runtime still answers anything.
PATIENCE_S = 5.0
# The simplest call has to be answered within this time, else the runtime is stuck.
PROBE_TIMEOUT_S = 5.0
# A runtime that is stuck is asked this often whether it is back.
RETRY_S = 1.0

# Messages of a stream that wait for their reader.
STREAM_BACKLOG = 64

# What containerd answers to everything while it reads what it knew before its restart.
_NOT_YET = "server is not initialized yet"

_failures = Counter("kubeedge_edged_cri_failures_total", "Calls of the container runtime that failed", ("outcome",))

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)


class RefusedError(Exception):
    """The runtime answered a call with an error; message is its text."""

    def __init__(self, status: Status, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class Connection:
    """One channel to the socket of endpoint (`unix:///run/containerd/containerd.sock`, or a bare path).

    It is opened by the first call and again by the first one after a restart of the runtime. While `run` finds the
    runtime stuck, pending calls are broken off and new ones fail at once.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        patience_s: float = PATIENCE_S,
        probe_timeout_s: float = PROBE_TIMEOUT_S,
        retry_s: float = RETRY_S,
    ) -> None:
        self.endpoint = endpoint
        self._patience_s = patience_s
        self._probe_timeout_s = probe_timeout_s
        self._retry_s = retry_s
        self._trouble = ""
        # When each call that has no answer yet was begun, oldest first.
        self._pending: dict[object, float] = {}

    @cached_property
    def _channel(self) -> Channel:
        # Made when it is first used: it belongs to the loop that then runs.
        return Channel(path=self.endpoint.removeprefix(SCHEME))

    @cached_property
    def runtime(self) -> RuntimeServiceStub:
        """The methods of the runtime service, for `call` and `stream`."""
        return RuntimeServiceStub(self._channel)

    @cached_property
    def images(self) -> ImageServiceStub:
        """The methods of the image service."""
        return ImageServiceStub(self._channel)

    @cached_property
    def containerd_events(self) -> EventsStub:
        """The events of containerd itself, on the same socket."""
        return EventsStub(self._channel)

    async def call(
        self, method: UnaryUnaryMethod[Request, Answer], request: Request, timeout_s: float | None = CALL_TIMEOUT_S
    ) -> Answer:
        """Make a call. Raises RefusedError with the runtime's error, RuntimeUnavailableError when there is no answer.

        A call that takes longer than timeout_s (None: as long as it needs) is refused with DEADLINE_EXCEEDED: the
        runtime may be well all the same.
        """
        self._check()
        ticket = object()
        self._pending[ticket] = asyncio.get_running_loop().time()
        try:
            return await self._attempt(method, request, timeout_s)
        finally:
            del self._pending[ticket]

    async def _attempt(
        self, method: UnaryUnaryMethod[Request, Answer], request: Request, timeout_s: float | None
    ) -> Answer:
        answer = await outcome(method(request, timeout=timeout_s))
        if isinstance(answer, Exception):
            raise self._as_ours(answer) from None
        return answer

    async def stream(
        self, method: UnaryStreamMethod[Request, Answer], request: Request
    ) -> AsyncGenerator[Answer, None]:
        """Give the messages of a stream until it ends. Raises RefusedError, RuntimeUnavailableError."""
        self._check()
        # Bounded: a reader that is slow keeps the runtime from sending more.
        queue: asyncio.Queue[Answer | Exception | None] = asyncio.Queue(STREAM_BACKLOG)
        # No task group: it would take the end of this generator for a failure.
        reading = asyncio.create_task(_read(method, request, queue))
        try:
            while (item := await queue.get()) is not None:
                if isinstance(item, Exception):
                    raise self._as_ours(item) from None
                yield item
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    def _check(self) -> None:
        if self._trouble:
            raise RuntimeUnavailableError(f"{self.endpoint}: {self._trouble}")

    def _as_ours(self, error: Exception) -> RefusedError | RuntimeUnavailableError:
        if isinstance(error, GRPCError):
            message = error.message or f"rpc error: code = {error.status.name}"
            if error.status is not Status.UNAVAILABLE and message != _NOT_YET:
                _failures.inc("refused")
                return RefusedError(error.status, message)
            why = message
        elif isinstance(error, TimeoutError):
            _failures.inc("timeout")
            return RefusedError(Status.DEADLINE_EXCEEDED, "context deadline exceeded")
        elif isinstance(error, StreamTerminatedError):
            why = self._trouble or str(error)
        elif isinstance(error, OSError):
            why = error.strerror or str(error)
        else:
            # Whatever the libraries raise when the other side speaks something else, or ends between two steps.
            self.close()
            why = f"no sensible answer: {error!r}"
        _failures.inc("unavailable")
        return RuntimeUnavailableError(f"{self.endpoint}: {why}")

    async def run(self) -> None:
        """Watch over the calls until cancelled: one that gets no answer must not wait for a runtime that is stuck."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                oldest = next(iter(self._pending.values()), None)
                if oldest is None or loop.time() - oldest < self._patience_s or await self._answers():
                    await asyncio.sleep(self._patience_s)
                else:
                    await self._wait_for_return()
        finally:
            self.close()

    async def _answers(self) -> bool:
        try:
            await self._attempt(self.runtime.Version, cri.VersionRequest(), self._probe_timeout_s)
        except RefusedError as error:
            return error.status is not Status.DEADLINE_EXCEEDED
        except RuntimeUnavailableError as error:
            # Gone or restarting: calls find that out by themselves, and at once.
            log.debug("runtime is away reason=%s", error)
        return True

    async def _wait_for_return(self) -> None:
        self._trouble = "the runtime does not answer"
        log.warning("runtime does not answer endpoint=%s pending=%d", self.endpoint, len(self._pending))
        self.close()
        try:
            while not await self._answers():
                self.close()
                await asyncio.sleep(self._retry_s)
        finally:
            self._trouble = ""
        log.info("runtime answers again endpoint=%s", self.endpoint)

    def close(self) -> None:
        """Close the channel: what is pending fails, the next call opens it again."""
        if "_channel" in self.__dict__:
            self._channel.close()


async def _read(
    method: UnaryStreamMethod[Request, Answer], request: Request, queue: asyncio.Queue[Answer | Exception | None]
) -> None:
    """Put the messages of a stream into the queue, at its end None or what it failed with."""
    try:
        async with method.open() as stream:
            await stream.send_message(request, end=True)
            async for message in stream:
                await queue.put(message)
    except Exception as error:
        await queue.put(error)
    else:
        await queue.put(None)
