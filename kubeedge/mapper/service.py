"""What edgecore calls: the mapper's DeviceMapperService on a Unix socket of its own (spec 04 §6.4)."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.message import Message
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from kubeedge.mapper.description import Key, device_key
from kubeedge.mapper.devices import Devices
from kubeedge.proto import dmi_pb2 as dmi
from kubeedge.proto.dmi_grpc import DeviceMapperServiceBase

if TYPE_CHECKING:
    from grpclib.server import Stream

log = logging.getLogger("kubeedge.mapper")

# Whoever may write to the socket may move the devices.
SOCKET_MODE = 0o660

Request = TypeVar("Request", bound=Message)


class Service(DeviceMapperServiceBase):
    """Hands everything to the devices. No call waits for a device, so edgecore never does either."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    async def RegisterDevice(self, stream: Stream[dmi.RegisterDeviceRequest, dmi.RegisterDeviceResponse]) -> None:
        request = await _received(stream)
        key = _checked(device_key(request.device))
        self._devices.put(request.device)
        await stream.send_message(dmi.RegisterDeviceResponse(deviceName=key.name, deviceNamespace=key.namespace))

    async def UpdateDevice(self, stream: Stream[dmi.UpdateDeviceRequest, dmi.UpdateDeviceResponse]) -> None:
        request = await _received(stream)
        _checked(device_key(request.device))
        self._devices.put(request.device)
        await stream.send_message(dmi.UpdateDeviceResponse())

    async def RemoveDevice(self, stream: Stream[dmi.RemoveDeviceRequest, dmi.RemoveDeviceResponse]) -> None:
        request = await _received(stream)
        self._devices.remove(Key(request.deviceNamespace, request.deviceName))
        await stream.send_message(dmi.RemoveDeviceResponse())

    async def CreateDeviceModel(
        self, stream: Stream[dmi.CreateDeviceModelRequest, dmi.CreateDeviceModelResponse]
    ) -> None:
        request = await _received(stream)
        model = request.model
        _checked(Key(model.namespace, model.name))
        self._devices.put_model(model)
        await stream.send_message(
            dmi.CreateDeviceModelResponse(deviceModelName=model.name, deviceModelNamespace=model.namespace)
        )

    async def UpdateDeviceModel(
        self, stream: Stream[dmi.UpdateDeviceModelRequest, dmi.UpdateDeviceModelResponse]
    ) -> None:
        request = await _received(stream)
        _checked(Key(request.model.namespace, request.model.name))
        self._devices.put_model(request.model)
        await stream.send_message(dmi.UpdateDeviceModelResponse())

    async def RemoveDeviceModel(
        self, stream: Stream[dmi.RemoveDeviceModelRequest, dmi.RemoveDeviceModelResponse]
    ) -> None:
        request = await _received(stream)
        self._devices.remove_model(Key(request.modelNamespace, request.modelName))
        await stream.send_message(dmi.RemoveDeviceModelResponse())

    async def GetDevice(self, stream: Stream[dmi.GetDeviceRequest, dmi.GetDeviceResponse]) -> None:
        request = await _received(stream)
        device = self._devices.device(Key(request.deviceNamespace, request.deviceName))
        if device is None:
            raise GRPCError(Status.NOT_FOUND, f"no device {request.deviceNamespace}/{request.deviceName}")
        await stream.send_message(dmi.GetDeviceResponse(device=device))


async def _received(stream: Stream[Request, Any]) -> Request:
    request = await stream.recv_message()
    if request is None:
        raise GRPCError(Status.INVALID_ARGUMENT, "the call has no message")
    return request


def _checked(key: Key) -> Key:
    if not key.name:
        raise GRPCError(Status.INVALID_ARGUMENT, "the object has no name")
    return key


@contextlib.asynccontextmanager
async def listening(service: Service, path: Path) -> AsyncIterator[None]:
    """Listen on path while the context lasts; what an earlier mapper left there is replaced. Raises OSError."""
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    server = Server([service])
    # In one step: nobody ever finds a socket on which nobody listens yet.
    hidden = path.with_name(f".{path.name}.{os.getpid()}")
    hidden.unlink(missing_ok=True)
    await server.start(path=str(hidden))
    try:
        hidden.chmod(SOCKET_MODE)
        hidden.rename(path)
        mine = path.stat().st_ino
        log.info("listening socket=%s", path)
        yield
    finally:
        server.close()
        await server.wait_closed()
        with contextlib.suppress(OSError):
            if path.stat().st_ino == mine:
                path.unlink()
