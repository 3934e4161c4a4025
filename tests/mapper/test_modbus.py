"""The Modbus mapper against a real pymodbus server, over the DMI."""

from __future__ import annotations

import asyncio
import os
import pty
import tty
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kubeedge.mapper.description import Device
from kubeedge.mapper.modbus.driver import ModbusDriver
from kubeedge.mapper.settings import SettingsError
from kubeedge.mapper.testing import FakeEdge
from tests.mapper.lamps import lamp, prop, text
from tests.mapper.machines import COILS, DISCRETE_INPUTS, HOLDING, INPUT, ModbusMachine
from tests.sites import until

Object = dict[str, Any]

MODEL: Object = {
    "kind": "DeviceModel",
    "metadata": {"name": "lamp", "namespace": "default"},
    "spec": {
        "properties": [
            {"name": "temperature", "type": "FLOAT", "accessMode": "ReadOnly"},
            {"name": "setpoint", "type": "FLOAT", "accessMode": "ReadWrite"},
            {"name": "total", "type": "INT", "accessMode": "ReadOnly"},
            {"name": "pump", "type": "BOOLEAN", "accessMode": "ReadWrite"},
            {"name": "door", "type": "BOOLEAN", "accessMode": "ReadOnly"},
            {"name": "absent", "type": "INT", "accessMode": "ReadOnly"},
        ]
    },
}


def at(name: str, register: str, offset: int, desired: str = "", **config: Any) -> Object:
    return prop(name, desired, visitors={"configData": {"register": register, "offset": offset, **config}})


@pytest.fixture
async def machine() -> AsyncIterator[ModbusMachine]:
    machine = ModbusMachine()
    await machine.start()
    yield machine
    await machine.stop()


def thermometer(machine: ModbusMachine, *properties: Object, name: str = "t1", unit: int = 1) -> Object:
    return lamp(*properties, name=name, config={"ip": "127.0.0.1", "port": machine.port, "slaveID": unit})


async def test_all_tables_are_read_and_written(edge: FakeEdge, machine: ModbusMachine) -> None:
    await machine.set(HOLDING, 2, 253)
    await machine.set(INPUT, 4, 1, 2)
    await machine.set(DISCRETE_INPUTS, 3, True)
    edge.add(
        text(
            MODEL,
            thermometer(
                machine,
                at("temperature", "HoldingRegister", 2, scale=0.1),
                at("setpoint", "HoldingRegister", 3, "21.5", scale=0.1),
                at("total", "InputRegister", 4, limit=2),
                at("pump", "CoilRegister", 1, "true"),
                at("door", "DiscreteInputRegister", 3),
            ),
        )
    )
    async with edge.running(ModbusDriver):
        await edge.reported("t1", "temperature", "25.3")
        await edge.reported("t1", "setpoint", "21.5", observed="21.5")
        await edge.reported("t1", "total", "65538")
        await edge.reported("t1", "pump", "true", observed="true")
        await edge.reported("t1", "door", "true")
        await edge.has_state("t1", "online")
        assert await machine.get(HOLDING, 3) == [215]
        assert await machine.get(COILS, 1) == [True]
        await machine.set(HOLDING, 2, 301)
        await edge.reported("t1", "temperature", "30.1")
        await edge.desire("t1", "setpoint", "18")
        await edge.reported("t1", "setpoint", "18", observed="18")
        assert await machine.get(HOLDING, 3) == [180]


async def test_neighbours_are_read_with_one_request(edge: FakeEdge, machine: ModbusMachine) -> None:
    edge.add(
        text(
            MODEL,
            thermometer(
                machine,
                at("temperature", "HoldingRegister", 2),
                at("setpoint", "HoldingRegister", 3),
                at("total", "HoldingRegister", 4, limit=2),
            ),
        )
    )
    async with edge.running(ModbusDriver):
        await edge.reported("t1", "total")
        await edge.reported("t1", "total")
    assert set(machine.reads) == {(3, 2, 4)}


async def test_register_that_is_not_there_leaves_its_neighbours(edge: FakeEdge, machine: ModbusMachine) -> None:
    await machine.set(HOLDING, 19, 7)
    edge.add(text(MODEL, thermometer(machine, at("total", "HoldingRegister", 19), at("absent", "HoldingRegister", 20))))
    async with edge.running(ModbusDriver):
        await edge.reported("t1", "total", "7")
        await edge.has_state("t1", "unhealthy")
        assert "absent" not in {one.name for one in edge.told}


async def test_units_of_a_gateway_share_its_connection(edge: FakeEdge, machine: ModbusMachine) -> None:
    await machine.set(HOLDING, 0, 11, unit=1)
    await machine.set(HOLDING, 0, 22, unit=2)
    spot = at("total", "HoldingRegister", 0)
    edge.add(text(MODEL, thermometer(machine, spot, name="a", unit=1), thermometer(machine, spot, name="b", unit=2)))
    async with edge.running(ModbusDriver):
        await edge.reported("a", "total", "11")
        await edge.reported("b", "total", "22")
        ((bus, users),) = ModbusDriver._buses.values()
        assert users == 2
        await edge.remove("a")
        await until(lambda: [entry[1] for entry in ModbusDriver._buses.values()] == [1])
        edge.told.clear()
        await edge.reported("b", "total", "22")
        assert ModbusDriver._buses
    assert not ModbusDriver._buses
    assert not bus._client.connected


async def test_server_that_goes_away_and_comes_back(edge: FakeEdge, machine: ModbusMachine) -> None:
    edge.add(text(MODEL, thermometer(machine, at("setpoint", "HoldingRegister", 3, "21"))))
    async with edge.running(ModbusDriver):
        await edge.reported("t1", "setpoint", "21")
        await machine.stop()
        await edge.has_state("t1", "offline")
        edge.states.clear()
        edge.told.clear()
        # Its registers are 0 again.
        await machine.start()
        await edge.has_state("t1", "online")
        await edge.reported("t1", "setpoint", "21", observed="21")
        assert await machine.get(HOLDING, 3) == [21]


async def test_serial_line_is_read_and_written(edge: FakeEdge, tmp_path: Path) -> None:
    async with serial_line(tmp_path) as (near, far):
        machine = ModbusMachine(line=far)
        await machine.start()
        await machine.set(HOLDING, 2, 253)
        config = {"serialPort": near, "baudRate": 9600, "dataBits": 8, "stopBits": 1, "parity": "none", "slaveID": 1}
        spots = at("temperature", "HoldingRegister", 2, scale=0.1), at("setpoint", "HoldingRegister", 3, "7")
        edge.add(text(MODEL, lamp(*spots, name="t1", config=config)))
        async with edge.running(ModbusDriver):
            await edge.reported("t1", "temperature", "25.3")
            await edge.reported("t1", "setpoint", "7", observed="7")
        assert await machine.get(HOLDING, 3) == [7]
        await machine.stop()


class serial_line:
    """Two pseudo terminals joined to a line without hardware."""

    def __init__(self, folder: Path) -> None:
        self._pairs = [pty.openpty() for _ in range(2)]

    async def __aenter__(self) -> tuple[str, str]:
        loop = asyncio.get_running_loop()
        for (master, slave), (other, _) in (self._pairs, self._pairs[::-1]):
            tty.setraw(slave)
            loop.add_reader(master, lambda source=master, target=other: os.write(target, os.read(source, 4096)))
        return os.ttyname(self._pairs[0][1]), os.ttyname(self._pairs[1][1])

    async def __aexit__(self, *_: object) -> None:
        for master, slave in self._pairs:
            asyncio.get_running_loop().remove_reader(master)
            os.close(master)
            os.close(slave)


@pytest.mark.parametrize(
    ("config", "words"),
    [({}, "ip or serialPort"), ({"ip": "h", "slaveID": 300}, "slaveID: 300"), ({"ip": "h", "port": "x"}, "port")],
)
def test_device_that_is_wrong_is_refused_with_its_key(config: Object, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        ModbusDriver(Device("default", "t1", config=config))
