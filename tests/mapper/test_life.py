"""Devices come, change, fail and go: the SDK over the DMI against an edgecore that is played."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from grpclib.exceptions import GRPCError

from kubeedge.mapper import Protocol, manifest
from kubeedge.mapper.description import Key, describe
from kubeedge.mapper.driver import Driver
from kubeedge.mapper.outbox import Outbox
from kubeedge.mapper.testing import FakeEdge
from kubeedge.mapper.worker import DeviceError, Worker
from kubeedge.proto import dmi_pb2 as dmi
from tests.mapper.lamps import MODEL, BlockingLamp, Lamp, lamp, prop, text
from tests.sites import until

KEY = Key("default", "l1")


@pytest.fixture(autouse=True)
def fresh() -> None:
    Lamp.reset(brightness=10, power=4.2, on=True, label="hall")


@pytest.mark.parametrize("driver", [Lamp, BlockingLamp])
async def test_device_is_read_reported_and_written(edge: FakeEdge, driver: type[Driver]) -> None:
    edge.add(text(MODEL, lamp(prop("brightness", "50"), prop("power"), prop("on"), prop("label"))))
    async with edge.running(driver):
        told = await edge.reported("l1", "brightness", "50", observed="50")
        assert told.metadata["type"] == "int"
        assert abs(int(told.metadata["timestamp"]) - time.time() * 1000) < 5000
        await edge.reported("l1", "power", "4.2", observed="")
        await edge.reported("l1", "on", "true")
        await edge.reported("l1", "label", "hall")
        await edge.has_state("l1", "online")
        Lamp.values["power"] = 5.0
        await edge.reported("l1", "power", "5")
        await edge.desire("l1", "brightness", "60")
        await edge.reported("l1", "brightness", "60", observed="60")
    assert Lamp.writes == [("brightness", 50), ("brightness", 60)]
    assert Lamp.connects == Lamp.disconnects == ["l1"]


async def test_registration_says_who_the_mapper_is(edge: FakeEdge) -> None:
    async with edge.running(Lamp, name="lamps", version="v2"):
        (info,) = edge.registered
    assert (info.name, info.version, info.protocol, info.state) == ("lamps", "v2", "lamp", "ok")
    assert info.address == str(edge.mapper_path).encode()


class EagerEdge(FakeEdge):
    """Tells of a device while the mapper asks for the list, and then gives a list without it."""

    async def MapperRegister(self, stream: Any) -> None:
        await self.apply(text(MODEL, lamp(prop("power"))))
        self.devices.clear()
        await super().MapperRegister(stream)


async def test_device_that_changes_while_the_mapper_registers_is_not_missed(short_path: Path) -> None:
    """Upstream's mapper opens its socket only afterwards (spec 04 §6.6)."""
    async with EagerEdge(short_path) as edge, edge.running(Lamp) as mapper:
        await edge.reported("l1", "power", "4.2")
        # What edgecore said by itself is newer than its list.
        assert len(mapper.devices) == 1


async def test_device_that_edgecore_removes_is_left_alone(edge: FakeEdge) -> None:
    edge.add(text(MODEL, lamp(prop("power")), lamp(prop("power"), name="l2")))
    async with edge.running(Lamp) as mapper:
        await edge.reported("l1", "power")
        await edge.remove("l1")
        await edge.remove("l1")
        await until(lambda: Lamp.disconnects == ["l1"])
        edge.told.clear()
        await edge.reported("l2", "power")
        assert {one.device for one in edge.told} == {"l2"}
        assert mapper.devices.worker(KEY) is None


async def test_device_that_is_made_again_has_one_connection(edge: FakeEdge) -> None:
    edge.add(text(MODEL, lamp(prop("power"))))
    async with edge.running(Lamp):
        await edge.reported("l1", "power")
        await edge.remove("l1")
        await edge.apply(text(lamp(prop("power"))))
        edge.told.clear()
        await edge.reported("l1", "power")
        assert Lamp.connects == ["l1", "l1"]
        assert Lamp.disconnects == ["l1"]


async def test_device_that_is_registered_twice_is_one(edge: FakeEdge) -> None:
    edge.add(text(MODEL, lamp(prop("power"))))
    async with edge.running(Lamp) as mapper:
        await edge.reported("l1", "power")
        edge.devices.clear()
        await edge.apply(text(lamp(prop("power"))))
        assert len(mapper.devices) == 1
        assert Lamp.connects == ["l1"]


async def test_only_another_way_to_the_device_connects_it_anew(edge: FakeEdge) -> None:
    edge.add(text(MODEL, lamp(prop("power"))))
    async with edge.running(Lamp):
        await edge.reported("l1", "power")
        await edge.apply(text(lamp(prop("power"), prop("label"))))
        await edge.reported("l1", "label", "hall")
        assert Lamp.connects == ["l1"]
        await edge.apply(text(lamp(prop("power"), config={"ip": "10.0.0.4"})))
        await until(lambda: Lamp.connects == ["l1", "l1"])
        assert Lamp.disconnects == ["l1"]


async def test_desired_value_that_stays_is_not_written_again(edge: FakeEdge) -> None:
    edge.add(text(MODEL, lamp(prop("brightness", "50"))))
    async with edge.running(Lamp):
        await edge.reported("l1", "brightness", "50", observed="50")
        await edge.apply(text(lamp(prop("brightness", "50"), prop("label"))))
        await edge.reported("l1", "label")
        assert Lamp.writes == [("brightness", 50)]
        # Somebody turned it by hand, and it is wished again: the time of the wish is another one.
        Lamp.values["brightness"] = 7
        wish = {"value": "50", "metadata": {"timestamp": "2"}}
        await edge.apply(text(lamp(prop("brightness") | {"desired": wish})))
        await until(lambda: Lamp.values["brightness"] == 50)


async def test_desired_value_that_cannot_be_is_refused_and_not_observed(edge: FakeEdge) -> None:
    edge.add(
        text(MODEL, lamp(prop("brightness", desired="500"), prop("power", desired="1"), prop("on", desired="maybe")))
    )
    async with edge.running(Lamp):
        for name in ("brightness", "power", "on"):
            await edge.reported("l1", name, observed="")
        await edge.desire("l1", "brightness", "100")
        await edge.reported("l1", "brightness", "100", observed="100")
    assert Lamp.writes == [("brightness", 100)]


async def test_desired_value_is_written_as_soon_as_the_device_lets_it(edge: FakeEdge) -> None:
    Lamp.broken["write"] = ValueError("busy")
    edge.add(text(MODEL, lamp(prop("brightness", "50"))))
    async with edge.running(Lamp):
        await edge.reported("l1", "brightness", "10", observed="")
        del Lamp.broken["write"]
        await edge.reported("l1", "brightness", "50", observed="50")


async def test_device_that_goes_away_is_offline_and_comes_back_with_what_is_desired(edge: FakeEdge) -> None:
    edge.add(text(MODEL, lamp(prop("brightness", "50"))))
    async with edge.running(Lamp):
        await edge.reported("l1", "brightness", "50")
        Lamp.broken.update(read=ConnectionError("gone"), connect=ConnectionError("gone"))
        await edge.has_state("l1", "offline")
        # It lost its memory with its power.
        Lamp.values["brightness"] = 0
        Lamp.broken.clear()
        edge.states.clear()
        edge.told.clear()
        await edge.has_state("l1", "online")
        await edge.reported("l1", "brightness", "50", observed="50")


async def test_device_that_was_never_there_is_offline(edge: FakeEdge) -> None:
    Lamp.broken["connect"] = ConnectionRefusedError("nobody")
    edge.add(text(MODEL, lamp(prop("power"))))
    async with edge.running(Lamp):
        await edge.has_state("l1", "offline")
        assert Lamp.connects == Lamp.disconnects


async def test_device_without_properties_is_online_once_connected(edge: FakeEdge) -> None:
    edge.add(text(MODEL, lamp()))
    async with edge.running(Lamp):
        await edge.has_state("l1", "online")


async def test_one_glitch_is_no_news(edge: FakeEdge) -> None:
    edge.add(text(MODEL, lamp(prop("power"))))
    async with edge.running(Lamp):
        await edge.reported("l1", "power")
        Lamp.broken["power"] = ValueError("checksum")
        await asyncio.sleep(0.03)
        Lamp.broken.clear()
        edge.told.clear()
        await edge.reported("l1", "power")
        assert edge.states == [("l1", "online")]


async def test_property_that_fails_leaves_the_others(edge: FakeEdge) -> None:
    Lamp.broken["label"] = ValueError("no such register")
    edge.add(text(MODEL, lamp(prop("power"), prop("label"))))
    async with edge.running(Lamp):
        await edge.has_state("l1", "unhealthy")
        await edge.reported("l1", "power", "4.2")
        assert Lamp.connects == ["l1"]


async def test_device_that_cannot_be_described_leaves_the_others(edge: FakeEdge) -> None:
    class Picky(Lamp):
        def __init__(self, device: object) -> None:
            super().__init__(device)  # type: ignore[arg-type]
            if self.device.name == "bad":
                raise ValueError("ip is missing")

    edge.add(text(MODEL, lamp(prop("power"), name="bad"), lamp(prop("power"))))
    async with edge.running(Picky):
        await edge.reported("l1", "power")
        await edge.has_state("bad", "offline")


async def test_model_that_comes_later_gives_the_device_its_types(edge: FakeEdge) -> None:
    edge.add(text(lamp(prop("brightness", "50"))))
    async with edge.running(Lamp):
        told = await edge.reported("l1", "brightness", "10", observed="")
        assert told.metadata["type"] == "string"
        await edge.apply(text(MODEL))
        await edge.reported("l1", "brightness", "50", observed="50")
        assert Lamp.writes == [("brightness", 50)]
        assert Lamp.connects == ["l1"]


async def test_property_that_is_not_to_be_reported_is_not(edge: FakeEdge) -> None:
    edge.add(text(MODEL, lamp(prop("power", reportToCloud=False), prop("label"), stateReport={"reportToCloud": False})))
    async with edge.running(Lamp):
        await edge.reported("l1", "label")
        await asyncio.sleep(0.2)
        assert {one.name for one in edge.told} == {"label"}
        assert edge.states == []


async def test_report_cycle_drives_the_reports(edge: FakeEdge) -> None:
    """Upstream reports in the cycle of the reading (Q20)."""
    edge.add(text(MODEL, lamp(prop("power", collectCycle=20, reportCycle=400), prop("label", collectCycle=20))))
    async with edge.running(Lamp):
        await edge.reported("l1", "power")
        edge.told.clear()
        await asyncio.sleep(0.9)
        names = [one.name for one in edge.told]
        assert names.count("power") in (1, 2, 3)
        assert names.count("label") > 10


async def test_state_is_reported_in_its_cycle_too(edge: FakeEdge) -> None:
    state = {"reportToCloud": True, "reportCycle": 100}
    edge.add(text(MODEL, lamp(prop("power", collectCycle=5000), stateReport=state)))
    async with edge.running(Lamp):
        await until(lambda: len(edge.states) >= 3)
        assert set(edge.states) == {("l1", "online")}


async def test_text_that_the_edge_would_drop_is_made_plain(edge: FakeEdge) -> None:
    """A blank or a degree sign in a value makes the edge refuse all of it, and no one is told (Q11)."""
    Lamp.values["label"] = "25 °C"
    edge.add(text(MODEL, lamp(prop("label"))))
    async with edge.running(Lamp):
        await edge.reported("l1", "label", "25__C")


async def test_stream_property_is_not_read(edge: FakeEdge) -> None:
    model = MODEL | {"spec": {"properties": [{"name": "film", "type": "STREAM"}, {"name": "power", "type": "FLOAT"}]}}
    edge.add(text(model, lamp(prop("film"), prop("power"))))
    async with edge.running(Lamp):
        await edge.reported("l1", "power")
        await edge.has_state("l1", "online")


async def test_driver_that_hangs_keeps_only_its_own_device(edge: FakeEdge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubeedge.mapper.worker.READ_TIMEOUT_S", 0.2)
    monkeypatch.setattr("kubeedge.mapper.worker.DISCONNECT_TIMEOUT_S", 0.1)
    hanging = asyncio.Event()

    class Slow(Lamp):
        async def read(self, property: object) -> object:
            if self.device.name == "slow":
                hanging.set()
                await asyncio.sleep(60)
            return await super().read(property)  # type: ignore[arg-type]

    edge.add(text(MODEL, lamp(prop("power"), name="slow"), lamp(prop("power"))))
    async with edge.running(Slow):
        await hanging.wait()
        edge.told.clear()
        await edge.reported("l1", "power")
        await edge.has_state("slow", "offline")


async def test_mapper_of_decorated_functions(edge: FakeEdge) -> None:
    values = {"brightness": 10}
    protocol = Protocol("lamp")

    @protocol.connect
    def connect(device: object) -> dict[str, int]:
        return values

    @protocol.read
    async def read(kept: dict[str, int], property: object) -> int:
        return kept[property.name]  # type: ignore[attr-defined]

    @protocol.write
    def write(kept: dict[str, int], property: object, value: int) -> None:
        kept[property.name] = value  # type: ignore[attr-defined]

    edge.add(text(MODEL, lamp(prop("brightness", "33"))))
    async with edge.running(protocol.driver()):
        await edge.reported("l1", "brightness", "33", observed="33")
    assert values == {"brightness": 33}


@pytest.mark.parametrize("driver", [Lamp, BlockingLamp])
async def test_worker_that_is_cancelled_anywhere_disconnects_what_it_connected(driver: type[Driver]) -> None:
    (instance,), (model,) = manifest.read(text(MODEL, lamp(prop("brightness", "50"), prop("power"))))
    device, _ = describe(instance, model)
    for steps in range(40):
        Lamp.reset(brightness=10, power=4.2)
        worker = Worker(device, driver, Outbox(), lambda *_: None)
        working = asyncio.ensure_future(worker.run())
        for _ in range(steps):
            await asyncio.sleep(0)
        working.cancel()
        await asyncio.wait([working])
        assert working.cancelled()
        # A blocking call that was under way ends in its thread.
        await until(lambda: len(Lamp.connects) == len(Lamp.disconnects))
        with pytest.raises(DeviceError, match="not connected"):
            await worker.read_now("power")


async def test_calls_that_are_nonsense_do_the_mapper_no_harm(edge: FakeEdge) -> None:
    edge.add(text(MODEL, lamp(prop("power"))))
    async with edge.running(Lamp) as mapper, edge._mapper() as stub:
        await edge.reported("l1", "power")
        for call, request in (
            (stub.RegisterDevice, dmi.RegisterDeviceRequest()),
            (stub.UpdateDevice, dmi.UpdateDeviceRequest()),
            (stub.CreateDeviceModel, dmi.CreateDeviceModelRequest()),
            (stub.UpdateDeviceModel, dmi.UpdateDeviceModelRequest()),
        ):
            with pytest.raises(GRPCError, match="has no name"):
                await call(request, timeout=5)
        await stub.RemoveDevice(dmi.RemoveDeviceRequest(), timeout=5)
        await stub.RemoveDeviceModel(dmi.RemoveDeviceModelRequest(), timeout=5)
        with pytest.raises(GRPCError, match="no device default/l2"):
            await stub.GetDevice(dmi.GetDeviceRequest(deviceName="l2", deviceNamespace="default"), timeout=5)
        answer = await stub.GetDevice(dmi.GetDeviceRequest(deviceName="l1", deviceNamespace="default"), timeout=5)
        assert answer.device.spec.properties[0].name == "power"
        # Bytes that are no HTTP/2.
        _, writer = await asyncio.open_unix_connection(str(edge.mapper_path))
        writer.write(b"GET / HTTP/1.1\r\n\r\n" * 100)
        await writer.drain()
        writer.close()
        edge.told.clear()
        await edge.reported("l1", "power")
        assert len(mapper.devices) == 1
