"""A cloudcore that starts among many devices, and one that is not alone."""

from __future__ import annotations

import asyncio

import orjson

from kubeedge.bus import Bus
from kubeedge.cloudcore.devicecontroller import device as device_module
from kubeedge.cloudcore.devicecontroller import statuses as statuses_module
from kubeedge.cloudcore.devicecontroller.conditions import SETTLE_S
from kubeedge.cloudcore.devicecontroller.controller import DeviceController
from kubeedge.kube.api import KubeApi
from kubeedge.kube.caches import Caches
from kubeedge.kube.crds import ensure_installed
from kubeedge.kube.kinds import DEVICE, DEVICE_MODEL, DEVICE_STATUS
from tests.cloudcore.conftest import Hub
from tests.cloudcore.devicecontroller.conftest import Cloud
from tests.sites import until

DEVICES = 200
INDEXES = {"node": device_module.by_node, "use": device_module.by_use, "model": device_module.by_model}


async def test_a_restart_among_many_devices_writes_nothing(api: KubeApi, bus: Bus, hub: Hub) -> None:
    await ensure_installed(api)
    await Cloud(api, Bus(), hub).model()
    for number in range(DEVICES):
        body = {
            "metadata": {"name": f"d{number}"},
            "spec": {"nodeName": "e1", "deviceModelRef": {"name": "thermo"}, "properties": [{"name": "limit"}]},
        }
        await api.create(DEVICE, "default", orjson.dumps(body))
        await api.create(DEVICE_STATUS, "default", orjson.dumps({"metadata": {"name": f"d{number}"}}))
    before = (await api.list(DEVICE_STATUS)).resource_version
    caches = Caches(api)
    informers = [caches.open(DEVICE, indexes=INDEXES), caches.open(DEVICE_MODEL), caches.open(DEVICE_STATUS)]
    controller = DeviceController(bus, api, *informers)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(caches.run()), group.create_task(controller.run())]
        for informer in informers:
            await informer.synced()
        await asyncio.sleep(0.3)
        assert (await api.list(DEVICE_STATUS)).resource_version == before
        for task in running:
            task.cancel()


async def test_what_another_replica_wrote_is_not_written_over(cloud: Cloud) -> None:
    await cloud.model()
    await cloud.device()
    await until(lambda: cloud.informers[2].get("default", "sensor"))
    await cloud.hub.answer(cloud.report(temperature="1"))
    await until(lambda: not cloud.controller._statuses._ahead)
    # As if the cache did not have it yet.
    statuses = cloud.informers[2]
    known = statuses._objects.pop(("default", "sensor"))
    await cloud.hub.answer(cloud.report(limit="2"))
    statuses._objects.setdefault(("default", "sensor"), known)
    values = {name: twin["reported"]["value"] for name, twin in (await cloud.twins()).items()}
    assert values == {"temperature": "1", "limit": "2"}


async def test_reports_during_an_outage_are_bounded() -> None:
    pending = statuses_module._Pending()
    told: list[int] = []
    for number in range(1000):
        pending.written.append(lambda number=number: told.append(number))  # type: ignore[misc]
    for written in pending.written:
        written()
    assert told == list(range(1000 - statuses_module.MAX_UNCONFIRMED, 1000))


async def test_a_model_that_is_not_listed_yet_is_not_missing(api: KubeApi, bus: Bus, hub: Hub) -> None:
    await ensure_installed(api)
    cloud = Cloud(api, bus, hub)
    await cloud.model()
    await cloud.device()
    devices, models, statuses = cloud.informers
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(one) for one in (devices.run(), statuses.run(), cloud.controller.run())]
        await devices.synced()
        await asyncio.sleep(SETTLE_S + 0.2)
        running.append(group.create_task(models.run()))
        await models.synced()
        await asyncio.sleep(SETTLE_S + 0.2)
        device = orjson.loads(await api.get(DEVICE, "default", "sensor"))
        assert "status" not in device
        for task in running:
            task.cancel()
