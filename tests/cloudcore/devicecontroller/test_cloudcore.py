"""A whole cloudcore and an edge's end of the link: devices survive absence of the node and restarts of the cloud."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from kubeedge import message
from kubeedge.cloudcore.app import CloudCore
from kubeedge.kube.api import KubeApi
from kubeedge.kube.kinds import DEVICE, DEVICE_MODEL, DEVICE_STATUS, NODE, OBJECT_SYNC
from tests.embedded import embedded_apiserver
from tests.replay.link import LinkEdge, running_cloudcore
from tests.sites import until

Envelope = dict[str, Any]
NODE_BODY = {"metadata": {"name": "e1", "labels": {"node-role.kubernetes.io/edge": ""}}}


class DeviceEdge:
    """Takes devices and models like a node: acknowledges each and remembers what it has."""

    def __init__(self) -> None:
        self.cloudcore: CloudCore | None = None
        self.link = LinkEdge(self._cloud)
        self.objects: set[str] = set()
        self.pushes: list[tuple[str, str]] = []
        self._reading: asyncio.Task[None] | None = None

    async def _cloud(self) -> CloudCore:
        assert self.cloudcore is not None
        return self.cloudcore

    async def connect(self, cloudcore: CloudCore) -> None:
        self.cloudcore = cloudcore
        await self.link.connect()
        self._reading = asyncio.ensure_future(self._read())

    async def leave(self) -> None:
        assert self._reading is not None
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)
        self.link.close()
        self.pushes.clear()

    def say(self, operation: str, resource: str, content: Any) -> str:
        """Send a message of DeviceTwin and return its id."""
        sent = message.new_message("twin", "resource", operation, resource, orjson.dumps(content))
        self.link.send(message.encode(sent))
        return sent.id

    async def next(self, accept: Callable[[Envelope], bool]) -> Envelope:
        async with asyncio.timeout(10):
            return await self.link.next(accept)

    async def _read(self) -> None:
        while True:
            envelope = await self.link.next(lambda envelope: envelope["route"]["group"] == "resource")
            operation, resource = envelope["route"]["operation"], envelope["route"]["resource"]
            answer = message.new_message(
                "meta", "twin", "response", resource, b'"OK"', parent_id=envelope["header"]["msg_id"]
            )
            self.link.send(message.encode(answer))
            if "/device" in resource:
                assert envelope["route"]["source"] == "devicecontroller"
                self.pushes.append((operation, resource))
                (self.objects.discard if operation == "delete" else self.objects.add)(resource)


async def acked(api: KubeApi, count: int) -> bool:
    """Tell whether that many objects are recorded as acknowledged."""
    syncs = [orjson.loads(raw) for raw in (await api.list(OBJECT_SYNC)).items]
    found = [each for each in syncs if each.get("status", {}).get("objectResourceVersion", "0") != "0"]
    return len(found) == len(syncs) == count


async def make(api: KubeApi, *names: str) -> None:
    for name in names:
        properties = [{"name": "temperature"}]
        spec = {"nodeName": "e1", "deviceModelRef": {"name": "thermo"}, "properties": properties}
        await api.create(DEVICE, "default", orjson.dumps({"metadata": {"name": name}, "spec": spec}))


@pytest.mark.parametrize("is_restarted", [False, True])
async def test_what_a_node_missed_reaches_it_and_nothing_that_it_has(tmp_path: Path, is_restarted: bool) -> None:
    edge = DeviceEdge()
    async with embedded_apiserver(tmp_path / "api", "default") as server:
        api = server.api
        async with running_cloudcore(server.kubeconfig, tmp_path) as cloudcore:
            await api.create(NODE, "", orjson.dumps(NODE_BODY))
            model = {"protocol": "modbus", "properties": [{"name": "temperature", "type": "FLOAT"}]}
            await api.create(DEVICE_MODEL, "default", orjson.dumps({"metadata": {"name": "thermo"}, "spec": model}))
            await edge.connect(cloudcore)
            await make(api, *(f"d{number}" for number in range(20)))
            await until(lambda: len(edge.objects) == 21)
            assert edge.pushes[0] == ("insert", "default/devicemodel/thermo")
            await until(lambda: acked(api, 21))

            twin = {"temperature": {"actual": {"value": "25.3"}, "metadata": {"type": "float"}}}
            report = edge.say("update", "device/default/d1/twin/edge_updated", {"timestamp": 1, "twin": twin})
            confirm = await edge.next(lambda envelope: envelope["header"].get("parent_msg_id") == report)
            assert (confirm["route"]["group"], confirm["route"]["resource"], confirm["content"]) == (
                "twin",
                "twin",
                "OK",
            )
            status = orjson.loads(await api.get(DEVICE_STATUS, "default", "d1"))["status"]
            assert status["twins"][0]["reported"] == {"value": "25.3", "metadata": {"type": "float"}}

            await edge.leave()
            await until(lambda: acked(api, 21))
            if not is_restarted:
                await _miss_and_find(api, edge, cloudcore)
        if is_restarted:
            async with running_cloudcore(server.kubeconfig, tmp_path) as restarted:
                await _miss_and_find(api, edge, restarted)


async def _miss_and_find(api: KubeApi, edge: DeviceEdge, cloudcore: CloudCore) -> None:
    await api.delete(DEVICE, "default", "d0")
    await api.patch(DEVICE, "default", "d2", b'{"spec":{"nodeName":"e2"}}', "application/merge-patch+json")
    await make(api, "new")
    await asyncio.sleep(0.3)
    await edge.connect(cloudcore)
    await until(lambda: len(edge.pushes) >= 3, 10, lambda: str(edge.pushes))
    await asyncio.sleep(0.3)
    assert sorted(edge.pushes) == [
        ("delete", "default/device/d0"),
        ("delete", "default/device/d2"),
        ("insert", "default/device/new"),
    ]
    question = edge.say("get", "membership/detail", "{}")
    await edge.next(lambda envelope: envelope["header"].get("parent_msg_id") == question)
    answer = await edge.next(lambda envelope: envelope["route"]["resource"] == "membership/detail")
    assert len(answer["content"]["devices"]) == 19
    await edge.leave()


async def test_a_device_replaced_at_once_keeps_the_model_that_both_need(tmp_path: Path) -> None:
    edge = DeviceEdge()
    async with (
        embedded_apiserver(tmp_path / "api", "default") as server,
        running_cloudcore(server.kubeconfig, tmp_path) as cloudcore,
    ):
        api = server.api
        await api.create(NODE, "", orjson.dumps(NODE_BODY))
        await api.create(DEVICE_MODEL, "default", b'{"metadata":{"name":"thermo"},"spec":{"protocol":"modbus"}}')
        await edge.connect(cloudcore)
        await make(api, "old")
        await until(lambda: acked(api, 2))
        for number in range(5):
            name = f"new{number}"
            await api.delete(DEVICE, "default", f"new{number - 1}" if number else "old")
            await make(api, name)
            await until(lambda name=name: edge.objects == {"default/devicemodel/thermo", f"default/device/{name}"})  # type: ignore[misc]
        await until(lambda: acked(api, 2))
        await edge.leave()
