"""An EdgeController on the embedded API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from kubeedge.bus import Bus
from kubeedge.cloudcore.edgecontroller.controller import EdgeController
from kubeedge.cloudcore.edgecontroller.node import by_node
from kubeedge.kube import kubeconfig
from kubeedge.kube.api import KubeApi
from kubeedge.kube.caches import Caches
from kubeedge.kube.client import HttpApi
from kubeedge.kube.kinds import CONFIG_MAP, NODE, POD, SECRET
from kubeedge.message import Message, new_message
from tests.cloudcore.conftest import Hub
from tests.embedded import embedded_apiserver

LOCAL_IP = "192.0.2.7"
EDGE = {"node-role.kubernetes.io/edge": ""}


class Cloud:
    """The controller's surroundings."""

    def __init__(self, bus: Bus, hub: Hub, api: KubeApi) -> None:
        self.bus = bus
        self.hub = hub
        self.api = api

    async def ask(self, node: str, operation: str, resource: str, content: Any = None) -> Message:
        """Send a request as CloudHub hands it on, and return its answer."""
        request = self.send(node, operation, resource, content)
        return await self.hub.answer(request)

    def send(self, node: str, operation: str, resource: str, content: Any = None) -> Message:
        """Send a request without waiting."""
        body = content if isinstance(content, bytes) else orjson.dumps(content)
        request = new_message("edged", "meta", operation, f"node/{node}/{resource}", body)
        self.bus.send_group("edgecontroller", request)
        return request

    async def node(self, name: str, labels: dict[str, str] | None = None) -> None:
        """Make a Node, an edge node unless labels say otherwise."""
        metadata = {"name": name, "labels": EDGE if labels is None else labels}
        await self.api.create(NODE, "", orjson.dumps({"metadata": metadata}))

    async def pod(self, name: str, node: str, **spec: Any) -> dict[str, Any]:
        """Make a Pod bound to node."""
        containers = [{"name": "c", "image": "busybox"}]
        body = {
            "metadata": {"name": name},
            "spec": {"nodeName": node, "containers": containers, **spec},
        }
        pod: dict[str, Any] = orjson.loads(await self.api.create(POD, "default", orjson.dumps(body)))
        return pod


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[KubeApi]:
    """The embedded API as cloudcore reaches it: over HTTPS, where frequent calls are begun without a worker."""
    async with embedded_apiserver(tmp_path / "api", "default", "kube-node-lease", "kubeedge") as server:
        api = HttpApi(kubeconfig.load(server.kubeconfig))
        try:
            yield api
        finally:
            api.close()


@pytest.fixture
async def cloud(api: KubeApi, bus: Bus, hub: Hub) -> AsyncIterator[Cloud]:
    """A running controller, its caches filled."""
    async with running(api, bus, hub) as cloud:
        yield cloud


@pytest.fixture
async def strict_cloud(api: KubeApi, bus: Bus, hub: Hub) -> AsyncIterator[Cloud]:
    """The same with node authorization enforced: what a node asks for is asked for in its name."""
    async with running(api, bus, hub, impersonate=True) as cloud:
        yield cloud


@asynccontextmanager
async def running(api: KubeApi, bus: Bus, hub: Hub, *, impersonate: bool = False) -> AsyncIterator[Cloud]:
    """Run a controller."""
    caches = Caches(api)
    nodes = caches.open(NODE)
    pods = caches.open(POD, field_selector="spec.nodeName!=", indexes={"node": by_node})
    config_maps, secrets = caches.open(CONFIG_MAP), caches.open(SECRET)
    controller = EdgeController(bus, api, nodes, pods, config_maps, secrets, local_ip=LOCAL_IP, impersonate=impersonate)
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(caches.run()), group.create_task(controller.run())]
        for informer in (nodes, pods, config_maps, secrets):
            await informer.synced()
        yield Cloud(bus, hub, api)
        for task in running:
            task.cancel()
