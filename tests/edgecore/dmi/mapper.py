"""A mapper for tests: remembers what it is called with, refuses or hangs on demand, and calls edgecore."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from kubeedge.proto import EXACT_NUMBERS
from kubeedge.proto import dmi_pb2 as dmi
from kubeedge.proto.dmi_grpc import DeviceManagerServiceStub, DeviceMapperServiceBase

# How long a test waits for something that should happen at once.
WAIT_S = 30


class Mapper(DeviceMapperServiceBase):
    """Listens at path; calls are kept as (method, message)."""

    def __init__(self, path: Path, edgecore: Path) -> None:
        self.path = path
        self.calls: list[tuple[str, Any]] = []
        self.refuses: dict[str, int] = {}
        self.hangs = False
        self._server: Server | None = None
        self._channel = Channel(path=str(edgecore))
        self.edge = DeviceManagerServiceStub(self._channel)

    async def start(self) -> None:
        self.path.unlink(missing_ok=True)
        self._server = Server([self])
        await self._server.start(path=str(self.path))

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def close(self) -> None:
        await self.stop()
        self._channel.close()

    async def register(
        self, *, with_data: bool = True, exact: bool = False, protocol: str = "modbus", name: str = "m"
    ) -> dmi.MapperRegisterResponse:
        """Register as upstream's mappers do; exact as ours do."""
        info = dmi.MapperInfo(
            name=name,
            version="v1",
            api_version="v1.0.0",
            protocol=protocol,
            address=str(self.path).encode(),
            state="ok",
        )
        request = dmi.MapperRegisterRequest(withData=with_data, mapper=info)
        return await self.edge.MapperRegister(request, timeout=WAIT_S, metadata=[EXACT_NUMBERS] if exact else [])

    async def report(self, *values: tuple[str, str, str], device: str = "sensor", namespace: str = "default") -> None:
        """Report (property, desired, reported)."""
        twins = [
            dmi.Twin(
                propertyName=name,
                observedDesired=dmi.TwinProperty(value=desired),
                reported=dmi.TwinProperty(value=reported),
            )
            for name, desired, reported in values
        ]
        await self.edge.ReportDeviceStatus(
            dmi.ReportDeviceStatusRequest(
                deviceName=device, deviceNamespace=namespace, reportedDevice=dmi.DeviceStatus(twins=twins)
            ),
            timeout=WAIT_S,
        )

    async def called(self, count: int) -> list[tuple[str, Any]]:
        """Wait until it has been called so often, and return the calls as plain values."""
        async with asyncio.timeout(WAIT_S):
            while len(self.calls) < count:  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.001)
        return [(method, MessageToDict(message)) for method, message in self.calls]

    @property
    def methods(self) -> list[str]:
        return [method for method, _ in self.calls]

    async def _take(self, method: str, stream: Any, answer: Message) -> None:
        self.calls.append((method, await stream.recv_message()))
        if self.hangs:
            await asyncio.Event().wait()
        if self.refuses.get(method, 0):
            self.refuses[method] -= 1
            raise GRPCError(Status.UNKNOWN, "not now")
        await stream.send_message(answer)

    async def RegisterDevice(self, stream: Any) -> None:
        await self._take("RegisterDevice", stream, dmi.RegisterDeviceResponse())

    async def UpdateDevice(self, stream: Any) -> None:
        await self._take("UpdateDevice", stream, dmi.UpdateDeviceResponse())

    async def RemoveDevice(self, stream: Any) -> None:
        await self._take("RemoveDevice", stream, dmi.RemoveDeviceResponse())

    async def CreateDeviceModel(self, stream: Any) -> None:
        await self._take("CreateDeviceModel", stream, dmi.CreateDeviceModelResponse())

    async def UpdateDeviceModel(self, stream: Any) -> None:
        await self._take("UpdateDeviceModel", stream, dmi.UpdateDeviceModelResponse())

    async def RemoveDeviceModel(self, stream: Any) -> None:
        await self._take("RemoveDeviceModel", stream, dmi.RemoveDeviceModelResponse())

    async def GetDevice(self, stream: Any) -> None:
        await self._take("GetDevice", stream, dmi.GetDeviceResponse())
