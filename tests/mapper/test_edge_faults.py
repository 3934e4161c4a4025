"""edgecore is away, restarted, or lets no more calls through: the latest of each property arrives all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from kubeedge.mapper.app import Mapper
from kubeedge.mapper.testing import FakeEdge, Told
from kubeedge.proto import dmi_pb2 as dmi
from tests.mapper.lamps import MODEL, Lamp, lamp, prop, text
from tests.sites import until

# What Go's edge answers when its bucket is empty (spec 04 §6.5).
THROTTLED = GRPCError(Status.UNKNOWN, "fail to report device status because of too many request: l1")


@pytest.fixture(autouse=True)
def fresh() -> None:
    Lamp.reset(brightness=10, power=4.2, on=True, label="hall")


async def test_mapper_waits_for_an_edgecore_that_is_not_there_yet(short_path: Path) -> None:
    edge = FakeEdge(short_path)
    edge.add(text(MODEL, lamp(prop("power"))))
    mapper = Mapper(edge.config("lamp"), Lamp)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(mapper.run())
        await asyncio.sleep(0.3)
        async with edge:
            await edge.reported("l1", "power", "4.2")
            running.cancel()


async def test_values_read_while_edgecore_is_away_arrive_when_it_is_back(edge: FakeEdge) -> None:
    # A cycle so long that nothing is read again afterwards.
    edge.add(text(MODEL, lamp(prop("power"), prop("label", collectCycle=3_600_000))))
    async with edge.running(Lamp) as mapper:
        await edge.reported("l1", "power")
        await edge.reported("l1", "label", "hall")
        await edge.stop()
        edge.told.clear()
        edge.states.clear()
        Lamp.values["power"] = 7.5
        await asyncio.sleep(0.3)
        await edge.start()
        await edge.reported("l1", "power", "7.5")
        # An edgecore that was killed may have lost what it had taken, so all of it is told again.
        await edge.reported("l1", "label", "hall")
        await edge.has_state("l1", "online")
        assert len(edge.registered) == 2
        assert len(mapper.devices) == 1
    assert Lamp.connects == ["l1"]


async def test_restart_of_edgecore_is_noticed_by_a_mapper_that_has_nothing_to_report(edge: FakeEdge) -> None:
    async with edge.running(Lamp):
        await edge.stop()
        await edge.start()
        await until(lambda: len(edge.registered) == 2)


async def test_devices_that_changed_meanwhile_follow_the_new_list(edge: FakeEdge) -> None:
    edge.add(text(MODEL, lamp(prop("power")), lamp(prop("power"), name="l2")))
    async with edge.running(Lamp) as mapper:
        await edge.reported("l2", "power")
        await edge.stop()
        edge.devices.clear()
        edge.add(text(MODEL, lamp(prop("power"), prop("label")), lamp(prop("power"), name="l3")))
        edge.told.clear()
        await edge.start()
        await edge.reported("l1", "label")
        await edge.reported("l3", "power")
        assert len(mapper.devices) == 2
    assert sorted(Lamp.connects) == ["l1", "l2", "l3"]


async def test_edge_that_takes_no_more_calls_gets_the_latest_value(
    edge: FakeEdge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubeedge.mapper.link.THROTTLED_PAUSE_S", 0.2)
    edge.add(text(MODEL, lamp(prop("power", collectCycle=20), prop("label", collectCycle=3_600_000))))
    edge.refusal = THROTTLED
    async with edge.running(Lamp):
        await asyncio.sleep(0.3)
        Lamp.values["power"] = 9.9
        await asyncio.sleep(0.3)
        assert edge.told == []
        edge.refusal = None
        first = await edge.reported("l1", "power")
        assert first.value == "9.9"
        await edge.reported("l1", "label", "hall")
        assert len(edge.registered) == 1


class StingyEdge(FakeEdge):
    """Lets a call through every so often, as Go's edge does."""

    every_s = 0.02
    _next = 0.0

    def _refuse(self) -> None:
        now = asyncio.get_running_loop().time()
        if now < self._next:
            raise THROTTLED
        self._next = now + self.every_s


async def test_no_device_is_starved_by_the_others_when_calls_are_few(
    short_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubeedge.mapper.link.THROTTLED_PAUSE_S", 0.02)
    names = [f"l{number}" for number in range(12)]
    async with StingyEdge(short_path) as edge:
        state = {"reportToCloud": True, "reportCycle": 100}
        spots = prop("power", collectCycle=10), prop("brightness", collectCycle=10)
        edge.add(text(MODEL, *(lamp(*spots, name=name, stateReport=state) for name in names)))
        async with edge.running(Lamp):
            for name in names:
                await edge.reported(name, "power", "4.2")
                await edge.has_state(name, "online")
            Lamp.values["power"] = 6.0
            for name in names:
                await edge.reported(name, "power", "6")


class PickyEdge(FakeEdge):
    """Refuses all that is told of the device l1."""

    async def ReportDeviceStates(self, stream: Any) -> None:
        request = await stream.recv_message()
        if request.deviceName == "l1":
            raise GRPCError(Status.INVALID_ARGUMENT, "not this one")
        await stream.send_message(dmi.ReportDeviceStatesResponse())

    async def ReportDeviceStatus(self, stream: Any) -> None:
        request = await stream.recv_message()
        if request.deviceName == "l1":
            raise GRPCError(Status.INVALID_ARGUMENT, "not this one")
        self.told += [Told(request.deviceName, one.propertyName, "", "", {}) for one in request.reportedDevice.twins]
        await stream.send_message(dmi.ReportDeviceStatusResponse())
        await self._notify()


async def test_report_that_edgecore_refuses_does_not_keep_up_others(short_path: Path) -> None:
    async with PickyEdge(short_path) as edge:
        edge.add(text(MODEL, lamp(prop("power")), lamp(prop("power"), name="l2")))
        async with edge.running(Lamp):
            await edge.reported("l2", "power")
            edge.told.clear()
            await edge.reported("l2", "power")


async def test_socket_is_removed_at_the_end_and_taken_over_at_the_start(edge: FakeEdge) -> None:
    edge.mapper_path.touch()
    async with edge.running(Lamp):
        assert edge.mapper_path.is_socket()
    assert not edge.mapper_path.exists()
