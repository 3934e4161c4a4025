"""Calls to a mapper, which may be away, stuck or no mapper at all (spec 04 §6.4)."""

from __future__ import annotations

import asyncio
from functools import cached_property

from google.protobuf.message import Message
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from kubeedge.edgecore.dmi.catalog import MODEL, Object, names_of, type_of
from kubeedge.edgecore.dmi.conversion import Converter
from kubeedge.edgecore.dmi.mappers import Mapper
from kubeedge.edgecore.dmi.outcome import AwayError, RefusedError, UnansweredError
from kubeedge.metrics import Counter
from kubeedge.proto import dmi_pb2 as dmi
from kubeedge.proto.dmi_grpc import DeviceMapperServiceStub
from kubeedge.proto.outcome import outcome

# How long a mapper may take for a call (spec 04 §6.4).
CALL_TIMEOUT_S = 10.0
# When the library has not broken the call off by then, it is broken off for it.
GRACE_S = 1.0

_calls = Counter("kubeedge_dmi_mapper_calls_total", "Calls to mappers by outcome", ("method", "outcome"))


class Calls:
    """The calls to one mapper, over a connection that is opened by the first and closed by `close`.

    All raise AwayError, UnansweredError, RefusedError, and ObjectError for an object that has no form in the DMI.
    """

    def __init__(self, mapper: Mapper, *, timeout_s: float = CALL_TIMEOUT_S) -> None:
        self.mapper = mapper
        self._timeout_s = timeout_s
        self._converter = Converter(exact_numbers=mapper.exact_numbers)

    @cached_property
    def _channel(self) -> Channel:
        return Channel(path=self.mapper.path)

    @cached_property
    def _stub(self) -> DeviceMapperServiceStub:
        return DeviceMapperServiceStub(self._channel)

    async def put_model(self, key: str, model: Object, *, is_known: bool) -> None:
        """Tell the mapper of a model."""
        message = self._converter.model(key, model)
        if is_known:
            await self._call("UpdateDeviceModel", dmi.UpdateDeviceModelRequest(model=message))
        else:
            await self._call("CreateDeviceModel", dmi.CreateDeviceModelRequest(model=message))

    async def put_device(self, key: str, device: Object, model: Object, *, is_known: bool) -> None:
        """Tell the mapper of a device."""
        message = self._converter.device(key, device, model)
        if is_known:
            await self._call("UpdateDevice", dmi.UpdateDeviceRequest(device=message))
        else:
            await self._call("RegisterDevice", dmi.RegisterDeviceRequest(device=message))

    async def remove(self, key: str) -> None:
        """Tell the mapper that a device or a model is gone."""
        namespace, name = names_of(key)
        if type_of(key) == MODEL:
            request = dmi.RemoveDeviceModelRequest(modelName=name, modelNamespace=namespace)
            await self._call("RemoveDeviceModel", request)
        else:
            await self._call("RemoveDevice", dmi.RemoveDeviceRequest(deviceName=name, deviceNamespace=namespace))

    async def _call(self, name: str, request: Message) -> None:
        method = getattr(self._stub, name)
        try:
            async with asyncio.timeout(self._timeout_s + GRACE_S):
                answer = await outcome(method(request, timeout=self._timeout_s))
        except TimeoutError as late:
            answer = late
        if not isinstance(answer, Exception):
            _calls.inc(name, "ok")
            return
        sorted_error = self._sorted(answer)
        _calls.inc(name, sorted_error.outcome)
        raise sorted_error

    def _sorted(self, error: Exception) -> AwayError | UnansweredError | RefusedError:
        if isinstance(error, GRPCError):
            words = error.message or error.status.name
            if error.status is Status.UNAVAILABLE:
                return AwayError(words)
            return UnansweredError(words) if error.status is Status.DEADLINE_EXCEEDED else RefusedError(words)
        # Whatever was sent on this connection: nothing more will come of it.
        self.close()
        if isinstance(error, TimeoutError):
            return UnansweredError(f"no answer within {self._timeout_s:g} s")
        return AwayError(getattr(error, "strerror", None) or str(error) or repr(error))

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        if "_channel" in self.__dict__:
            self._channel.close()
