"""Devices of three protocols on a real node: from kubectl to the device and back, with real programs and servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
import pytest_asyncio

from kubeedge.demo import site as demo_site
from kubeedge.demo.thermometer import SETPOINT, TEMPERATURE
from kubeedge.kube.kinds import DEVICE, DEVICE_MODEL, DEVICE_STATUS
from tests.mapper.machines import OpcUaMachine
from tests.plants import Plant, plant
from tests.sites import Object, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

# What the demo promises.
PROMISE_S = 2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def works(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    async with plant(tmp_path_factory.mktemp("d")) as works:
        await works.apply(works.manifests())
        await works.shows("temperature", "18.5")
        yield works


def model(name: str, protocol: str, *properties: tuple[str, str, str]) -> Object:
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "DeviceModel",
        "metadata": {"name": name},
        "spec": {
            "protocol": protocol,
            "properties": [{"name": one, "type": kind, "accessMode": mode} for one, kind, mode in properties],
        },
    }


def device(name: str, works: Plant, protocol: str, config: Object, *properties: Object) -> Object:
    return {
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "kind": "Device",
        "metadata": {"name": name},
        "spec": {
            "nodeName": works.node.name,
            "deviceModelRef": {"name": name},
            "protocol": {"protocolName": protocol, "configData": config},
            "stateReport": {"reportToCloud": True, "reportCycle": 1000},
            "properties": list(properties),
        },
    }


def prop(name: str, config: Object, desired: str = "") -> Object:
    basis: Object = {
        "name": name,
        "collectCycle": 200,
        "reportCycle": 500,
        "reportToCloud": True,
        "visitors": {"configData": config},
    }
    return basis | ({"desired": {"value": desired}} if desired else {})


async def test_register_and_desired_value_go_both_ways_in_time(works: Plant) -> None:
    await works.write(TEMPERATURE, 0x10000 - 53)
    await works.shows("temperature", "-5.3", timeout_s=PROMISE_S)
    await works.desire("19.5")

    async def is_written() -> bool:
        return await works.read(SETPOINT) == 195

    await until(is_written, PROMISE_S)
    await works.shows("setpoint", "19.5")
    (setpoint,) = (one for one in (await works.status())["twins"] if one["propertyName"] == "setpoint")
    assert setpoint["observedDesired"]["value"] == "19.5"


async def test_desired_value_beyond_the_limits_never_reaches_the_device(works: Plant) -> None:
    before = await works.read(SETPOINT)
    log = works.log()
    await works.desire("99")
    await log.says("desired value refused", "more than the maximum 30")
    assert await works.read(SETPOINT) == before


async def test_model_that_changes_changes_the_devices(works: Plant) -> None:
    changed = works.manifests()[0]["spec"]
    changed["properties"][1]["maximum"] = "120"
    await works.site.patch(DEVICE_MODEL, "thermometer", {"spec": changed})

    async def is_written() -> bool:
        return await works.read(SETPOINT) == 990

    # The wish of the test before is one that the device may have now.
    await until(is_written)


async def test_rest_api_of_the_mapper_reads_and_writes(works: Plant) -> None:
    methods = [{"name": "heat", "propertyNames": ["setpoint"]}]
    await works.site.patch(DEVICE, "thermometer", {"spec": {"methods": methods}})

    async def page(path: str) -> Any:
        text = await demo_site._page(works.site.ports.mapper, path)
        return orjson.loads(text) if text.startswith("{") else text

    async def has_method() -> bool:
        answer = await page("/api/v1/devicemethod/default/thermometer")
        return bool(answer["Data"]["Methods"])

    await until(has_method)
    answer = await page("/api/v1/devicemethod/default/thermometer/heat/setpoint/17")
    assert answer["statusCode"] == 200
    assert await works.read(SETPOINT) == 170
    await works.shows("setpoint", "17")


async def test_opcua_and_simulated_devices_beside_it(works: Plant) -> None:
    machine = OpcUaMachine()
    await machine.start()
    programs = [works.program("opcua"), works.program("simulator")]
    documents = [
        model("boiler", "opcua", ("level", "DOUBLE", "ReadOnly"), ("setpoint", "INT", "ReadWrite")),
        device(
            "boiler",
            works,
            "opcua",
            {"url": machine.url},
            prop("level", {"nodeID": "ns=2;s=Temperature"}),
            prop("setpoint", {"browseName": "2:Boiler/2:Setpoint"}, "65"),
        ),
        model("toy", "simulator", ("speed", "FLOAT", "ReadOnly"), ("on", "BOOLEAN", "ReadWrite")),
        device(
            "toy", works, "simulator", {}, prop("speed", {"function": "constant", "minimum": 7}), prop("on", {}, "true")
        ),
    ]
    try:
        for program in programs:
            await program.start()
        await works.apply(documents)
        await works.shows("level", "61.5", "boiler")
        await works.shows("setpoint", "65", "boiler")
        assert await machine.nodes["Setpoint"].read_value() == 65
        await machine.nodes["Temperature"].write_value(1.0e-7)
        await works.shows("level", "0.0000001", "boiler")
        await works.shows("speed", "7", "toy")
        await works.shows("on", "true", "toy")
        assert (await works.status("toy"))["state"] == "online"
        for name in ("boiler", "toy"):
            await works.site.delete(DEVICE, name)
            await works.site.gone(DEVICE_STATUS, name)
        for program in programs:
            await until(lambda program=program: "device removed" in program.last_words(40))  # type: ignore[misc]
    finally:
        for program in programs:
            await program.stop()
        await machine.stop()


async def test_device_leaves_with_its_node_name_and_comes_back(works: Plant) -> None:
    log = works.log()
    await works.site.patch(DEVICE, "thermometer", {"spec": {"nodeName": "elsewhere"}})
    await log.says("device removed device=default/thermometer")
    before = await works.status()
    await works.write(TEMPERATURE, 222)
    await asyncio.sleep(1)
    assert (await works.status())["twins"] == before["twins"]
    await works.site.patch(DEVICE, "thermometer", {"spec": {"nodeName": works.node.name}})
    await works.shows("temperature", "22.2")


async def test_device_that_is_deleted_is_gone_everywhere(works: Plant) -> None:
    log = works.log()
    await works.site.delete(DEVICE, "thermometer")
    await log.says("device removed device=default/thermometer")
    await works.site.gone(DEVICE_STATUS, "thermometer")
    page = await demo_site._page(works.site.ports.mapper, "/metrics")
    assert "kubeedge_mapper_devices 0\n" in page
