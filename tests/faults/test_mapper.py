"""Mapper, broker, edgecore, cloudcore and device that die without a word: the latest values arrive, nothing is there
twice, and what is desired is written."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from kubeedge.demo.thermometer import SETPOINT, TEMPERATURE
from tests.mosquitto import client
from tests.plants import Plant, plant
from tests.sites import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Longer than the report cycle of the example.
CYCLE_S = 1.3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def works(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plant]:
    async with plant(tmp_path_factory.mktemp("p")) as works:
        await works.apply(works.manifests())
        await works.shows("temperature", "18.5")
        await works.shows("setpoint", "21")
        yield works


async def test_killed_mapper_loses_no_value_and_no_wish(works: Plant) -> None:
    await works.mapper.kill()
    await works.write(TEMPERATURE, 201)
    await works.desire("22")
    await asyncio.sleep(CYCLE_S)
    await works.mapper.start()
    await works.shows("temperature", "20.1")
    await works.shows("setpoint", "22")
    assert await works.read(SETPOINT) == 220
    await works.check_one_of_each()


async def test_killed_edgecore_loses_no_value_and_no_wish(works: Plant) -> None:
    await works.write(TEMPERATURE, 202)
    await works.node.program.kill()
    await asyncio.sleep(CYCLE_S)
    await works.write(TEMPERATURE, 203)
    await works.desire("23")
    await asyncio.sleep(CYCLE_S)
    await works.node.start()
    await works.shows("temperature", "20.3")
    await works.shows("setpoint", "23")
    assert await works.read(SETPOINT) == 230
    await works.check_one_of_each()


async def test_killed_edgecore_and_mapper_start_in_any_order(works: Plant) -> None:
    for first, second in ((works.mapper, works.node.program), (works.node.program, works.mapper)):
        value = 210 + (first is works.mapper)
        await works.node.program.kill()
        await works.mapper.kill()
        await works.write(TEMPERATURE, value)
        await first.start()
        await asyncio.sleep(0.5)
        await second.start()
        await works.shows("temperature", f"{value / 10:g}")
    await works.check_one_of_each()


async def test_killed_broker_loses_no_value_to_the_cloud_and_none_that_is_pushed(works: Plant) -> None:
    works.broker.kill()
    await works.write(TEMPERATURE, 251)
    # The cloud is not behind the broker.
    await works.shows("temperature", "25.1")
    await works.write(TEMPERATURE, 252)
    await works.shows("temperature", "25.2")
    works.broker.start()
    async with client(works.broker) as tester:
        await tester.subscribe("plant/#", "$hw/events/device/+/+/twin/update/document")
        pushed, document = b"", b""

        async def has_both() -> bool:
            nonlocal pushed, document
            heard = await tester.next()
            if heard.topic == "plant/temperature":
                pushed = heard.payload
            elif b'"temperature"' in heard.payload:
                document = heard.payload
            return pushed.endswith(b": 25.2") and b'"25.2"' in document

        await until(has_both)
    await works.check_one_of_each()


async def test_killed_cloudcore_gets_what_changed_meanwhile(works: Plant) -> None:
    await works.site.cloudcore.kill()
    await works.write(TEMPERATURE, 191)
    await asyncio.sleep(CYCLE_S)
    # The node may even die before the cloud is back.
    await works.node.program.kill()
    await works.node.start()
    await works.desire("24")
    await works.site.start_cloudcore()
    await works.shows("temperature", "19.1")
    await works.shows("setpoint", "24")
    await works.check_one_of_each()


async def test_killed_device_is_offline_and_gets_its_setpoint_back(works: Plant) -> None:
    await works.desire("25")
    await works.shows("setpoint", "25")
    await works.thermometer.kill()

    async def is_offline() -> bool:
        return bool((await works.status()).get("state") == "offline")

    await until(is_offline)
    # It starts with 21 in its setpoint, as a device whose power failed.
    await works.thermometer.start()
    await works.shows("temperature", "18.5")

    async def is_online() -> bool:
        return (await works.status()).get("state") == "online" and await works.read(SETPOINT) == 250

    await until(is_online)
    await works.check_one_of_each()
