"""DeviceController on the embedded API, and a CloudHub that only remembers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from kubeedge.bus import Bus
from kubeedge.cloudcore.devicecontroller import device
from kubeedge.cloudcore.devicecontroller.controller import DeviceController
from kubeedge.kube.api import MERGE_PATCH, KubeApi
from kubeedge.kube.caches import Caches
from kubeedge.kube.crds import ensure_installed
from kubeedge.kube.kinds import DEVICE, DEVICE_MODEL, DEVICE_STATUS
from kubeedge.message import Message, new_message
from tests.cloudcore.conftest import Hub

TEMPERATURE = {"name": "temperature", "type": "FLOAT", "accessMode": "ReadOnly"}
LIMIT = {"name": "limit", "type": "INT", "accessMode": "ReadWrite", "minimum": "0", "maximum": "100"}


class Cloud:
    """The controller's surroundings."""

    def __init__(self, api: KubeApi, bus: Bus, hub: Hub) -> None:
        self.api, self.bus, self.hub = api, bus, hub
        self.caches = Caches(api)
        indexes = {"node": device.by_node, "use": device.by_use, "model": device.by_model}
        self.informers = [self.caches.open(DEVICE, indexes=indexes)]
        self.informers += [self.caches.open(DEVICE_MODEL), self.caches.open(DEVICE_STATUS)]
        self.controller = DeviceController(bus, api, *self.informers)

    async def model(self, name: str = "thermo", *properties: dict[str, Any]) -> None:
        """Make a DeviceModel."""
        spec = {"protocol": "modbus", "properties": list(properties) or [TEMPERATURE, LIMIT]}
        await self.api.create(DEVICE_MODEL, "default", orjson.dumps({"metadata": {"name": name}, "spec": spec}))

    async def device(self, name: str = "sensor", node: str = "e1", **spec: Any) -> None:
        """Make a Device with the properties temperature and limit unless others are given."""
        document = {
            "metadata": {"name": name, "labels": {"description": "on-the-roof"}},
            "spec": {
                "deviceModelRef": {"name": "thermo"},
                "nodeName": node,
                "properties": [{"name": "temperature"}, {"name": "limit"}],
                **spec,
            },
        }
        await self.api.create(DEVICE, "default", orjson.dumps(document))

    async def change(self, name: str, **spec: Any) -> None:
        """Merge something into the spec of a Device."""
        await self.api.patch(DEVICE, "default", name, orjson.dumps({"spec": spec}), MERGE_PATCH)

    async def status(self, name: str = "sensor") -> dict[str, Any]:
        """Return the status of the DeviceStatus."""
        found: dict[str, Any] = orjson.loads(await self.api.get(DEVICE_STATUS, "default", name)).get("status", {})
        return found

    async def has_status(self, name: str = "sensor") -> bool:
        """Tell whether there is a DeviceStatus; raises until there is."""
        await self.api.get(DEVICE_STATUS, "default", name)
        return True

    async def twins(self, name: str = "sensor") -> dict[str, dict[str, Any]]:
        """Return the twins of the DeviceStatus by name of the property."""
        return {twin["propertyName"]: twin for twin in (await self.status(name)).get("twins") or ()}

    def say(self, resource: str, content: Any, *, node: str = "e1", operation: str = "update") -> Message:
        """Let a node report."""
        message = new_message("twin", "resource", operation, f"node/{node}/{resource}", orjson.dumps(content))
        self.bus.send("devicecontroller", message)
        return message

    def report(self, name: str = "sensor", *, node: str = "e1", **values: str) -> Message:
        """Let a node report actual values."""
        twin = {
            key: {"actual": {"value": value, "metadata": {"timestamp": 1700}}, "metadata": {"type": "float"}}
            for key, value in values.items()
        }
        resource = f"device/default/{name}/twin/edge_updated"
        return self.say(resource, {"event_id": "e", "timestamp": 1, "twin": twin}, node=node)


@pytest.fixture
async def cloud(api: KubeApi, bus: Bus, hub: Hub) -> AsyncIterator[Cloud]:
    """A running controller."""
    await ensure_installed(api)
    cloud = Cloud(api, bus, hub)
    running = [asyncio.ensure_future(cloud.caches.run()), asyncio.ensure_future(cloud.controller.run())]
    for informer in cloud.informers:
        await asyncio.wait_for(informer.synced(), 10)
    yield cloud
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
