"""A cloud and an edge node in one process: all is real but the link, which is a function call that can be cut."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from kubeedge import resources
from kubeedge.bus import Bus
from kubeedge.cloudcore.edgecontroller.controller import EdgeController
from kubeedge.cloudcore.edgecontroller.node import by_node
from kubeedge.edgecore.edged.edged import Edged, Settings
from kubeedge.edgecore.edged.runtime.process.client import Client
from kubeedge.edgecore.edged.runtime.process.runtime import ProcessRuntime
from kubeedge.edgecore.metamanager.metamanager import MetaManager
from kubeedge.edgecore.metamanager.schema import SCHEMA
from kubeedge.kube.api import ApiError, Kind, KubeApi
from kubeedge.kube.caches import Caches
from kubeedge.kube.kinds import CONFIG_MAP, EVENT, NODE, POD, SECRET
from kubeedge.message import Message, new_message
from kubeedge.store.database import Database
from tests.embedded import embedded_apiserver

NODE_NAME = "e1"
NODE_IP = "127.0.0.1"
WAIT_S = 20.0


class EdgeNode:
    """Edged with metamanager and the process runtime over folders that outlive it, as edgecore's do a restart."""

    def __init__(self, folder: Path, upward: Callable[[Message], None]) -> None:
        self.folder = folder
        self.bus = Bus()
        self.is_online = False
        self.bus.register("websocket", "hub", self._up)
        self._upward = upward
        self.database = Database(folder / "edgecore.db", schema=SCHEMA)
        self.metamanager = MetaManager(self.bus, self.database, lambda: self.is_online, remote_query_timeout_s=5)
        self.runtime = ProcessRuntime(folder / "runtime", node_ip=NODE_IP, enforce_limits=False)
        self.edged = Edged(self.bus, self.runtime, self.settings())
        self._task: asyncio.Task[None] | None = None

    def settings(self) -> Settings:
        return Settings(
            node_name=NODE_NAME,
            root_directory=self.folder / "kubelet",
            logs_directory=self.folder / "logs",
            node_ip=NODE_IP,
            server_port=0,
            # Another node agent on this machine would clear away cgroups of pods that it does not know.
            cgroup_root=f"/edged-test-{os.getpid()}",
            # The disk of a machine that runs tests may be as full as it likes.
            eviction_hard={},
        )

    def _up(self, message: Message) -> None:
        if self.is_online:
            self._upward(message)

    def down(self, message: Message) -> None:
        """Take a message of the cloud as EdgeHub dispatches it (spec 05 §1)."""
        if not self.is_online:
            return
        if message.parent_id and self.bus.resolve(message):
            return
        self.bus.send("metamanager", message)

    def connect(self, online: bool) -> None:
        self.is_online = online
        content = orjson.dumps("cloud_connected" if online else "cloud_disconnected")
        self.bus.send("edged", new_message("edgehub", "resource", "connect", "node/connection", content))

    async def start(self) -> None:
        self.database.open()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for part in (self.metamanager, self.runtime, self.edged):
                group.create_task(part.run())

    async def stop(self) -> None:
        """What the end of edgecore does: containers go on."""
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait([self._task])
        if not self._task.cancelled() and self._task.exception() is not None:
            raise self._task.exception()  # type: ignore[misc]
        await self.database.close()

    async def destroy(self) -> None:
        """End the supervisor with all that it runs."""
        await Client(self.folder / "runtime").destroy()


class World:
    """The whole: `api` is the cloud's, `node` the edge's present life. `sent` is what went up, for a look."""

    def __init__(self, folder: Path, api: KubeApi) -> None:
        self.folder = folder
        self.api = api
        self.cloud_bus = Bus()
        self.sent: list[Message] = []
        self.cloud_bus.register("cloudhub", "cloudhub", self._down)
        self.node = EdgeNode(folder, self._up)

    def _up(self, message: Message) -> None:
        self.sent.append(message)
        if message.operation != "response":
            prefixed = Message(
                message.id,
                message.parent_id,
                message.timestamp_ms,
                message.resource_version,
                message.source,
                message.group,
                message.operation,
                resources.for_node(NODE_NAME, message.resource),
                message.content,
            )
            asyncio.get_running_loop().call_soon(self.cloud_bus.send_group, "edgecontroller", prefixed)

    def _down(self, message: Message) -> None:
        message.resource = resources.trim(message.resource)
        asyncio.get_running_loop().call_soon(self.node.down, message)

    async def restart_edge(self, *, online: bool) -> None:
        """Stop edged and metamanager and start new ones over the same folders."""
        await self.node.stop()
        self.node = EdgeNode(self.folder, self._up)
        await self.node.start()
        self.connect(online)

    def connect(self, online: bool) -> None:
        """Join or cut the link; at a join the cloud offers the node all that is its own."""
        self.node.connect(online)
        if online:
            resource = f"node/{NODE_NAME}"
            self.cloud_bus.send_group("edgecontroller", new_message("cloudhub", "resource", "connected", resource))

    async def create(self, kind: Kind, body: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
        made: dict[str, Any] = orjson.loads(await self.api.create(kind, namespace, orjson.dumps(body)))
        return made

    async def pod(self, name: str, spec: dict[str, Any], **metadata: Any) -> dict[str, Any]:
        """Make a pod on the node."""
        spec = {"nodeName": NODE_NAME, "automountServiceAccountToken": False, **spec}
        return await self.create(POD, {"metadata": {"name": name, **metadata}, "spec": spec})

    async def get(self, kind: Kind, name: str, namespace: str = "default") -> dict[str, Any]:
        found: dict[str, Any] = orjson.loads(await self.api.get(kind, namespace, name))
        return found

    async def patch(self, kind: Kind, name: str, patch: dict[str, Any]) -> None:
        await self.api.patch(kind, "default", name, orjson.dumps(patch), "application/merge-patch+json")

    async def delete(self, kind: Kind, name: str, **options: Any) -> None:
        await self.api.delete(kind, "default", name, body=orjson.dumps(options))

    async def until(
        self, kind: Kind, name: str, holds: Callable[[dict[str, Any]], object], namespace: str = "default"
    ) -> dict[str, Any]:
        """Wait until the object fulfils holds; return it."""
        found: dict[str, Any] = {}
        try:
            async with asyncio.timeout(WAIT_S):
                while True:
                    try:
                        found = await self.get(kind, name, namespace)
                        if holds(found):
                            return found
                    except ApiError as error:
                        if error.code != 404:
                            raise
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"{name} stays {orjson.dumps(found.get('status')).decode()}") from None

    async def until_gone(self, kind: Kind, name: str) -> None:
        async def is_gone() -> bool:
            try:
                await self.get(kind, name)
            except ApiError as error:
                return error.code == 404
            return False

        await eventually(is_gone)

    async def until_node_runs_nothing(self, name: str) -> None:
        """Wait until nothing of the pods of that name is left in the runtime."""

        async def is_empty() -> bool:
            return not any(sandbox.name == name for sandbox in await self.node.runtime.list_sandboxes())

        await eventually(is_empty)

    async def events(self, pod: str) -> list[tuple[str, str, int]]:
        """Return reason, message and count of the events of a pod."""
        listed = [orjson.loads(raw) for raw in (await self.api.list(EVENT, "default")).items]
        return [
            (event["reason"], event["message"], event.get("count", 1))
            for event in listed
            if event["involvedObject"]["name"] == pod
        ]

    async def until_event(self, pod: str, reason: str) -> str:
        """Wait for an event of that reason; return its message."""
        told: list[str] = []

        async def is_told() -> bool:
            told.extend(message for found, message, _ in await self.events(pod) if found == reason)
            return bool(told)

        await eventually(is_told)
        return told[0]


async def eventually(holds: Callable[[], Awaitable[bool]], timeout_s: float = WAIT_S) -> None:
    """Wait until holds() does."""
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110 - what is waited for is in other processes
            await asyncio.sleep(0.02)


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    """Run cloud and edge, joined."""
    async with embedded_apiserver(folder / "api", "default", "kube-node-lease") as server:
        made = World(folder, server.api)
        caches = Caches(server.api)
        nodes = caches.open(NODE)
        pods = caches.open(POD, field_selector="spec.nodeName!=", indexes={"node": by_node})
        config_maps, secrets = caches.open(CONFIG_MAP), caches.open(SECRET)
        controller = EdgeController(made.cloud_bus, server.api, nodes, pods, config_maps, secrets, local_ip=NODE_IP)
        async with asyncio.TaskGroup() as group:
            running = [group.create_task(caches.run()), group.create_task(controller.run())]
            for informer in (nodes, pods, config_maps, secrets):
                await informer.synced()
            await made.node.start()
            made.connect(True)
            try:
                yield made
            finally:
                await made.node.stop()
                await made.node.destroy()
                for task in running:
                    task.cancel()
