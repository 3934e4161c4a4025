"""What mappers call: edgecore's DeviceManagerService (spec 04 §6.5)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from google.protobuf.message import DecodeError, Message
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from kubeedge.edgecore.dmi.bucket import Bucket
from kubeedge.edgecore.dmi.catalog import Object, ObjectError
from kubeedge.edgecore.dmi.conversion import Converter
from kubeedge.edgecore.dmi.mappers import MAX_PATH_BYTES, Mapper
from kubeedge.edgecore.dmi.outcome import TooManyMappersError
from kubeedge.edgecore.dmi.reports import Property, ReportError, Reports, UndeliveredError
from kubeedge.metrics import Counter
from kubeedge.proto import EXACT_NUMBERS
from kubeedge.proto import dmi_pb2 as dmi
from kubeedge.proto.dmi_grpc import DeviceManagerServiceBase

if TYPE_CHECKING:
    from grpclib.server import Stream

# A call whose message has not come by then is given up.
RECEIVE_TIMEOUT_S = 10.0
# What gRPC's clients take unless they are told otherwise.
MAX_CLIENT_BYTES = 4 << 20
# Devices converted before others get their turn.
BATCH = 32

_calls = Counter("kubeedge_dmi_calls_total", "Calls of mappers by outcome", ("method", "outcome"))

Request = TypeVar("Request", bound=Message)
Listed = Iterable[tuple[str, Object, str, Object]]


class Registry(Protocol):
    """Who keeps the mappers and the objects."""

    def listed(self, protocol: str) -> Listed:
        """Give key and object of each device of a protocol, with key and object of its model."""
        ...

    def refused(self, key: str, error: ObjectError) -> None:
        """Take note of a device that has no form in the DMI."""
        ...

    def serial(self) -> int:
        """Return how many changes there have been."""
        ...

    async def register(self, mapper: Mapper, known: Collection[str] | None, since: int) -> None:
        """Take a mapper; known are the keys of what it is told of, as it was when serial was since.

        Raises TooManyMappersError.
        """
        ...


class Service(DeviceManagerServiceBase):
    """Answers mappers. One bucket bounds the calls of all of them together."""

    def __init__(self, registry: Registry, reports: Reports, bucket: Bucket) -> None:
        self._registry = registry
        self._reports = reports
        self._bucket = bucket

    async def MapperRegister(self, stream: Stream[dmi.MapperRegisterRequest, dmi.MapperRegisterResponse]) -> None:
        """Take the mapper and answer with its devices, if it wants them."""

        async def answer(request: dmi.MapperRegisterRequest) -> dmi.MapperRegisterResponse:
            if not request.HasField("mapper"):
                _invalid("MapperRegisterRequest does not have a mapper")
            info = request.mapper
            self._take(f"fail to register mapper because of too many request: {info.name}")
            if not info.protocol:
                _fail(f"fail to register mapper {info.name} because the protocol is nil")
            if len(info.address) > MAX_PATH_BYTES or b"\0" in info.address:
                _invalid(f"the address of mapper {info.name} is no path of a socket")
            header, value = EXACT_NUMBERS
            exact = stream.metadata is not None and stream.metadata.get(header) == value
            mapper = Mapper(
                *(info.name, info.protocol, info.address, info.version, info.api_version, info.state), exact
            )
            return await self._register(mapper, with_data=request.withData)

        await _answered(stream, "MapperRegister", answer)

    async def _register(self, mapper: Mapper, *, with_data: bool) -> dmi.MapperRegisterResponse:
        response = dmi.MapperRegisterResponse()
        models: dict[str, dmi.DeviceModel] = {}
        order: list[str] = []
        known: set[str] | None = None
        since = self._registry.serial()
        if with_data:
            known = set()
            converter = Converter(exact_numbers=mapper.exact_numbers)
            for number, (key, device, model_key, model) in enumerate(self._registry.listed(mapper.protocol), start=1):
                try:
                    if model_key not in models:
                        models[model_key] = converter.model(model_key, model)
                    device_message = converter.device(key, device, model)
                except ObjectError as error:
                    self._registry.refused(key, error)
                    continue
                response.deviceList.append(device_message)
                order.append(model_key)
                known.update((key, model_key))
                if number % BATCH == 0:
                    await asyncio.sleep(0)
        # Upstream's edge repeats a model beside each of its devices; that alone can make a list too long for a client.
        response.modelList.extend(models[key] for key in order)
        if mapper.exact_numbers or response.ByteSize() > MAX_CLIENT_BYTES:
            del response.modelList[:]
            response.modelList.extend(models[key] for key in dict.fromkeys(order))
        try:
            await self._registry.register(mapper, known, since)
        except TooManyMappersError as error:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, str(error)) from None
        return response

    async def ReportDeviceStatus(
        self, stream: Stream[dmi.ReportDeviceStatusRequest, dmi.ReportDeviceStatusResponse]
    ) -> None:
        """Give the reported values to DeviceTwin, and answer once it has them."""

        async def answer(request: dmi.ReportDeviceStatusRequest) -> dmi.ReportDeviceStatusResponse:
            self._take(f"fail to report device status because of too many request: {request.deviceName}")
            twins = request.reportedDevice.twins
            if not twins:
                _fail("ReportDeviceStatusRequest does not have twin data")
            properties = []
            for twin in twins:
                if not twin.HasField("observedDesired") or not twin.HasField("reported"):
                    _invalid(f"twin {twin.propertyName} lacks observedDesired or reported")
                properties.append(Property(twin.propertyName, twin.observedDesired.value, twin.reported.value))
            await self._reports.values(request.deviceNamespace, request.deviceName, properties)
            return dmi.ReportDeviceStatusResponse()

        await _answered(stream, "ReportDeviceStatus", answer)

    async def ReportDeviceStates(
        self, stream: Stream[dmi.ReportDeviceStatesRequest, dmi.ReportDeviceStatesResponse]
    ) -> None:
        """Give the state of a device to DeviceTwin, and answer once it has it."""

        async def answer(request: dmi.ReportDeviceStatesRequest) -> dmi.ReportDeviceStatesResponse:
            self._take(f"fail to report device states because of too many request: {request.deviceName}")
            if not request.state or not request.deviceName:
                _fail("ReportDeviceStatesRequest is invalid data")
            await self._reports.state(request.deviceNamespace, request.deviceName, request.state)
            return dmi.ReportDeviceStatesResponse()

        await _answered(stream, "ReportDeviceStates", answer)

    def _take(self, refusal: str) -> None:
        if not self._bucket.take():
            _fail(refusal)


async def _answered(stream: Stream[Request, Any], method: str, answer: Callable[[Request], Awaitable[Message]]) -> None:
    """Receive, answer and count one call; whatever is wrong with it becomes its error. Raises GRPCError."""
    try:
        await stream.send_message(await answer(await _received(stream)))
    except GRPCError as error:
        _calls.inc(method, error.status.name.lower())
        raise
    except ReportError as error:
        _calls.inc(method, "invalid_argument")
        raise GRPCError(Status.INVALID_ARGUMENT, str(error)) from None
    except UndeliveredError as error:
        _calls.inc(method, "unavailable")
        raise GRPCError(Status.UNAVAILABLE, str(error)) from None
    _calls.inc(method, "ok")


async def _received(stream: Stream[Request, Any]) -> Request:
    try:
        async with asyncio.timeout(RECEIVE_TIMEOUT_S):
            request = await stream.recv_message()
    except TimeoutError:
        raise GRPCError(Status.DEADLINE_EXCEEDED, f"the message did not come within {RECEIVE_TIMEOUT_S:g} s") from None
    except (DecodeError, AssertionError, NotImplementedError, UnicodeDecodeError) as error:
        # Of the library: no protobuf, cut off, compressed.
        raise GRPCError(Status.INVALID_ARGUMENT, f"the message cannot be read: {error}") from None
    if request is None:
        _invalid("the call has no message")
    return request


def _invalid(reason: str) -> NoReturn:
    raise GRPCError(Status.INVALID_ARGUMENT, reason)


def _fail(reason: str) -> NoReturn:
    """Fail as upstream's edge does: without a code of its own, the text is what mappers know."""
    raise GRPCError(Status.UNKNOWN, reason)
