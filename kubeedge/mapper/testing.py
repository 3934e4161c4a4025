"""An edgecore for the tests of a mapper: it plays DeviceManagerService, and calls the mapper as edgecore does.

async with FakeEdge(folder) as edge:
    edge.add(Path("device.yaml").read_text())
    async with edge.running(ThermometerDriver):
        await edge.reported("thermometer", "temperature", "21.5")
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from grpclib.client import Channel
from grpclib.const import Status
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from kubeedge.mapper import manifest
from kubeedge.mapper.app import Mapper
from kubeedge.mapper.config import Config, decode
from kubeedge.mapper.description import Key, device_key
from kubeedge.mapper.driver import Driver
from kubeedge.proto import dmi_pb2 as dmi
from kubeedge.proto.dmi_grpc import DeviceManagerServiceBase, DeviceMapperServiceStub

if TYPE_CHECKING:
    from grpclib.server import Stream

WAIT_S = 10.0
CALL_TIMEOUT_S = 10.0


class Told(NamedTuple):
    """A property as the mapper reported it."""

    device: str
    name: str
    value: str
    observed: str
    metadata: dict[str, str]


class FakeEdge(DeviceManagerServiceBase):
    """One edge in folder. told holds every property that was reported, states every state, oldest first."""

    def __init__(self, folder: Path) -> None:
        self.socket_path = folder / "dmi.sock"
        self.mapper_path = folder / "mapper.sock"
        self.devices: dict[Key, dmi.Device] = {}
        self.models: dict[Key, dmi.DeviceModel] = {}
        self.told: list[Told] = []
        self.states: list[tuple[str, str]] = []
        self.registered: list[dmi.MapperInfo] = []
        #: While set, every report is refused with this.
        self.refusal: GRPCError | None = None
        self._server: Server | None = None
        self._news = asyncio.Condition()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, as after a start of edgecore."""
        self.socket_path.unlink(missing_ok=True)
        self._server = Server([self])
        await self._server.start(path=str(self.socket_path))

    async def stop(self) -> None:
        """Listen no more and end every connection; the socket stays behind, as after a SIGKILL."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
            await server.wait_closed()

    @contextlib.asynccontextmanager
    async def running(self, driver: type[Driver], **common: Any) -> AsyncIterator[Mapper]:
        """Run a mapper while the context lasts; it is registered when it begins. common is that of its file."""
        mapper = Mapper(self.config(driver.protocol, **common), driver)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(mapper.run())
            try:
                async with asyncio.timeout(WAIT_S):
                    await mapper.link.registered.wait()
                yield mapper
            finally:
                running.cancel()

    def config(self, protocol: str, **common: Any) -> Config:
        """Return the configuration of a mapper for this edge."""
        config, _ = decode(
            {
                "grpc_server": {"socket_path": str(self.mapper_path)},
                "common": {"edgecore_sock": str(self.socket_path), "http_port": -1, **common},
            }
        )
        return config.complete(protocol)

    def add(self, text: str) -> None:
        """Have the devices and models of a YAML text, for the mapper's next registration."""
        devices, models = manifest.read(text)
        self.models.update({Key(one.namespace, one.name): one for one in models})
        self.devices.update({device_key(one): one for one in devices})

    async def apply(self, text: str) -> None:
        """Have them and tell the mapper, as after `kubectl apply`."""
        devices, models = manifest.read(text)
        async with self._mapper() as mapper:
            for model in models:
                known = self.models.get(Key(model.namespace, model.name))
                self.models[Key(model.namespace, model.name)] = model
                if known is None:
                    await mapper.CreateDeviceModel(dmi.CreateDeviceModelRequest(model=model), timeout=CALL_TIMEOUT_S)
                else:
                    await mapper.UpdateDeviceModel(dmi.UpdateDeviceModelRequest(model=model), timeout=CALL_TIMEOUT_S)
            for device in devices:
                known_device = self.devices.get(device_key(device))
                self.devices[device_key(device)] = device
                if known_device is None:
                    await mapper.RegisterDevice(dmi.RegisterDeviceRequest(device=device), timeout=CALL_TIMEOUT_S)
                else:
                    await mapper.UpdateDevice(dmi.UpdateDeviceRequest(device=device), timeout=CALL_TIMEOUT_S)

    async def desire(self, name: str, property: str, value: str, namespace: str = "default") -> None:
        """Desire a value of a property and tell the mapper, as after `kubectl patch`."""
        device = self.devices[Key(namespace, name)]
        for one in device.spec.properties:
            if one.name == property:
                one.desired.value = value
        async with self._mapper() as mapper:
            await mapper.UpdateDevice(dmi.UpdateDeviceRequest(device=device), timeout=CALL_TIMEOUT_S)

    async def remove(self, name: str, namespace: str = "default") -> None:
        """Remove a device and tell the mapper."""
        self.devices.pop(Key(namespace, name), None)
        async with self._mapper() as mapper:
            request = dmi.RemoveDeviceRequest(deviceName=name, deviceNamespace=namespace)
            await mapper.RemoveDevice(request, timeout=CALL_TIMEOUT_S)

    @contextlib.asynccontextmanager
    async def _mapper(self) -> AsyncIterator[DeviceMapperServiceStub]:
        # A connection for each call, as Go's edge does.
        channel = Channel(path=str(self.mapper_path))
        try:
            yield DeviceMapperServiceStub(channel)
        finally:
            channel.close()

    async def reported(
        self, name: str, property: str, value: str | None = None, *, observed: str | None = None
    ) -> Told:
        """Wait until a property is reported with this value, or any; with this desired value, or any.

        What was reported before counts too, unless told was cleared.
        """

        def fits(one: Told) -> bool:
            return (
                (one.device, one.name) == (name, property)
                and value in (None, one.value)
                and observed in (None, one.observed)
            )

        await self._until(lambda: any(fits(one) for one in self.told), lambda: f"reported was {self.told[-8:]}")
        return next(one for one in reversed(self.told) if fits(one))

    async def has_state(self, name: str, state: str) -> None:
        """Wait until the state of a device is reported as this one."""
        await self._until(lambda: (name, state) in self.states, lambda: f"the states were {self.states}")

    async def _until(self, condition: Callable[[], bool], otherwise: Callable[[], str]) -> None:
        try:
            async with self._news, asyncio.timeout(WAIT_S):
                await self._news.wait_for(condition)
        except TimeoutError:
            raise AssertionError(f"not so within {WAIT_S:g} s: {otherwise()}") from None

    # What the mapper calls.

    async def MapperRegister(self, stream: Stream[dmi.MapperRegisterRequest, dmi.MapperRegisterResponse]) -> None:
        """Give all devices."""
        request = await stream.recv_message()
        assert request is not None
        self.registered.append(request.mapper)
        devices = list(self.devices.values())
        models = [self.models.get(Key(one.namespace, one.spec.deviceModelReference)) for one in devices]
        known = [one for one in models if one is not None]
        await stream.send_message(dmi.MapperRegisterResponse(modelList=known, deviceList=devices))
        await self._notify()

    async def ReportDeviceStatus(
        self, stream: Stream[dmi.ReportDeviceStatusRequest, dmi.ReportDeviceStatusResponse]
    ) -> None:
        """Remember the properties."""
        request = await stream.recv_message()
        assert request is not None
        self._refuse()
        for twin in request.reportedDevice.twins:
            if not (twin.HasField("reported") and twin.HasField("observedDesired")):
                raise GRPCError(Status.INVALID_ARGUMENT, "a twin needs both sides")
            values = twin.reported.value, twin.observedDesired.value
            self.told.append(Told(request.deviceName, twin.propertyName, *values, dict(twin.reported.metadata)))
        await stream.send_message(dmi.ReportDeviceStatusResponse())
        await self._notify()

    async def ReportDeviceStates(
        self, stream: Stream[dmi.ReportDeviceStatesRequest, dmi.ReportDeviceStatesResponse]
    ) -> None:
        """Remember the state."""
        request = await stream.recv_message()
        assert request is not None
        self._refuse()
        self.states.append((request.deviceName, request.state))
        await stream.send_message(dmi.ReportDeviceStatesResponse())
        await self._notify()

    def _refuse(self) -> None:
        if self.refusal is not None:
            raise self.refusal

    async def _notify(self) -> None:
        async with self._news:
            self._news.notify_all()
