"""Calls to edgecore's DeviceManagerService on its Unix socket, which may be away or restarted at any moment."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from typing import TypeVar

from google.protobuf.message import Message
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from kubeedge.mapper.description import Key
from kubeedge.mapper.outbox import Reading
from kubeedge.metrics import Counter
from kubeedge.proto import EXACT_NUMBERS
from kubeedge.proto import dmi_pb2 as dmi
from kubeedge.proto.dmi_grpc import DeviceManagerServiceStub
from kubeedge.proto.outcome import outcome

# Upstream's mappers give a call 1 s; a gateway that is busy with its flash card may need more.
CALL_TIMEOUT_S = 5.0

# What Go's edge says when its bucket is empty, with no code of its own (spec 04 §6.5).
_THROTTLED = "too many request"
# Errors that asking again does not repair. Go's edge gives all of its own as UNKNOWN.
_FINAL = frozenset({Status.UNKNOWN, Status.INVALID_ARGUMENT, Status.NOT_FOUND, Status.FAILED_PRECONDITION})

_calls = Counter("kubeedge_mapper_edge_calls_total", "Calls to edgecore by outcome", ("method", "outcome"))

Request = TypeVar("Request", bound=Message)
Answer = TypeVar("Answer", bound=Message)

# What tells one listener on a path from the next: an inode alone is soon used again.
Identity = tuple[int, int]


class AwayError(Exception):
    """There is no answer; there may be one later."""


class ThrottledError(Exception):
    """The edge takes no more calls at the moment."""


class RefusedError(Exception):
    """The edge does not take this, now or later; the text is its own."""


class Edge:
    """One connection to edgecore, opened by the first call and again by the first one after it was lost."""

    def __init__(self, socket_path: str, *, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self.socket_path = socket_path
        self._timeout_s = timeout_s

    @cached_property
    def _channel(self) -> Channel:
        return Channel(path=self.socket_path)

    @cached_property
    def _service(self) -> DeviceManagerServiceStub:
        return DeviceManagerServiceStub(self._channel)

    def identity(self) -> Identity | None:
        """Return what changes when another edgecore listens on the path; None when there is none."""
        try:
            status = os.stat(self.socket_path)
        except OSError:
            return None
        return status.st_ino, status.st_ctime_ns

    async def register(self, mapper: dmi.MapperInfo) -> dmi.MapperRegisterResponse:
        """Make the mapper known and return the devices of its protocol, with their models.

        Raises AwayError, ThrottledError, RefusedError, as do the other calls.
        """
        request = dmi.MapperRegisterRequest(withData=True, mapper=mapper)
        # Ours then sends whole numbers as such; Go's sends every number in 32 bits and does not look at it (Q32).
        return await self._call("MapperRegister", self._service.MapperRegister, request, dict([EXACT_NUMBERS]))

    async def report_readings(self, key: Key, readings: Iterable[tuple[str, Reading]]) -> None:
        """Report properties of a device. Both sides of each are always there: Go's edge dies of one that is not."""
        twins = [_twin(name, reading) for name, reading in readings]
        request = dmi.ReportDeviceStatusRequest(
            deviceName=key.name, deviceNamespace=key.namespace, reportedDevice=dmi.DeviceStatus(twins=twins)
        )
        await self._call("ReportDeviceStatus", self._service.ReportDeviceStatus, request)

    async def report_state(self, key: Key, state: str) -> None:
        """Report the state of a device."""
        request = dmi.ReportDeviceStatesRequest(deviceName=key.name, deviceNamespace=key.namespace, state=state)
        await self._call("ReportDeviceStates", self._service.ReportDeviceStates, request)

    async def _call(
        self,
        name: str,
        method: UnaryUnaryMethod[Request, Answer],
        request: Request,
        metadata: dict[str, str | bytes] | None = None,
    ) -> Answer:
        answer = await outcome(method(request, timeout=self._timeout_s, metadata=metadata))
        if not isinstance(answer, Exception):
            _calls.inc(name, "ok")
            return answer
        error = self._sorted(answer)
        _calls.inc(name, type(error).__name__.removesuffix("Error").lower())
        raise error from None

    def _sorted(self, error: Exception) -> Exception:
        if isinstance(error, GRPCError):
            text = error.message or error.status.name
            if error.status is Status.RESOURCE_EXHAUSTED or _THROTTLED in text:
                return ThrottledError(text)
            return RefusedError(text) if error.status in _FINAL else AwayError(text)
        if isinstance(error, TimeoutError):
            return AwayError(f"no answer within {self._timeout_s:g} s")
        if not isinstance(error, OSError):
            # Whatever the library raises when the other side ends between two steps.
            self.close()
        return AwayError(getattr(error, "strerror", None) or str(error) or repr(error))

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        if "_channel" in self.__dict__:
            self._channel.close()


def _twin(name: str, reading: Reading) -> dmi.Twin:
    metadata = {"timestamp": str(reading.timestamp_ms), "type": reading.type or "string"}
    return dmi.Twin(
        propertyName=name,
        observedDesired=dmi.TwinProperty(value=reading.observed, metadata=metadata),
        reported=dmi.TwinProperty(value=reading.value, metadata=metadata),
    )
