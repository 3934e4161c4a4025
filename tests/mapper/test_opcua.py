"""The OPC UA mapper against a real asyncua server, over the DMI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from kubeedge.mapper.opcua import OpcUaDriver
from kubeedge.mapper.testing import FakeEdge
from tests.mapper.lamps import lamp, prop, text
from tests.mapper.machines import OpcUaMachine

Object = dict[str, Any]

MODEL: Object = {
    "kind": "DeviceModel",
    "metadata": {"name": "lamp", "namespace": "default"},
    "spec": {
        "properties": [
            {"name": "temperature", "type": "DOUBLE", "accessMode": "ReadOnly"},
            {"name": "setpoint", "type": "INT", "accessMode": "ReadWrite"},
            {"name": "name", "type": "STRING", "accessMode": "ReadWrite"},
            {"name": "valve", "type": "BOOLEAN", "accessMode": "ReadWrite"},
            {"name": "absent", "type": "INT", "accessMode": "ReadWrite"},
        ]
    },
}


def at(name: str, node: str = "", desired: str = "", **config: Any) -> Object:
    return prop(name, desired, visitors={"configData": ({"nodeID": f"ns=2;s={node}"} if node else {}) | config})


@pytest.fixture
async def machine() -> AsyncIterator[OpcUaMachine]:
    machine = OpcUaMachine()
    await machine.start()
    yield machine
    await machine.stop()


async def test_nodes_are_read_and_written(edge: FakeEdge, machine: OpcUaMachine) -> None:
    spots = (
        at("temperature", "Temperature"),
        at("setpoint", "Setpoint", "65"),
        at("name", "Name", "west"),
        at("valve", browseName="2:Boiler/2:Valve", desired="true"),
    )
    edge.add(text(MODEL, lamp(*spots, name="b1", config={"url": machine.url})))
    async with edge.running(OpcUaDriver):
        await edge.reported("b1", "temperature", "61.5")
        await edge.reported("b1", "setpoint", "65", observed="65")
        await edge.reported("b1", "name", "west", observed="west")
        await edge.reported("b1", "valve", "true", observed="true")
        await edge.has_state("b1", "online")
        await machine.nodes["Temperature"].write_value(70.25)
        await edge.reported("b1", "temperature", "70.25")
    assert await machine.nodes["Setpoint"].read_value() == 65
    assert await machine.nodes["Valve"].read_value() is True


async def test_node_that_is_not_there_or_refuses_leaves_the_others(edge: FakeEdge, machine: OpcUaMachine) -> None:
    spots = (
        at("temperature", "Temperature"),
        at("absent", "Nothing"),
        at("setpoint", browseName="2:Boiler/2:Nothing"),
        at("valve", "Valve", isSwap=True),
        at("name"),
    )
    edge.add(text(MODEL, lamp(*spots, name="b1", config={"url": machine.url})))
    async with edge.running(OpcUaDriver):
        await edge.reported("b1", "temperature", "61.5")
        await edge.has_state("b1", "unhealthy")
        assert {one.name for one in edge.told} == {"temperature", "valve"}


async def test_server_that_goes_away_and_comes_back(edge: FakeEdge, machine: OpcUaMachine) -> None:
    edge.add(text(MODEL, lamp(at("setpoint", "Setpoint", "65"), name="b1", config={"url": machine.url})))
    async with edge.running(OpcUaDriver):
        await edge.reported("b1", "setpoint", "65")
        await machine.stop()
        await edge.has_state("b1", "offline")
        edge.states.clear()
        edge.told.clear()
        await machine.start()
        await edge.has_state("b1", "online")
        await edge.reported("b1", "setpoint", "65", observed="65")
