"""CloudHub and EdgeHub with each other over TLS: requests up, reliable pushes down, and a cloud that dies between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson

from kubeedge.bus import Bus
from kubeedge.cloudcore.hub import outbox
from kubeedge.cloudcore.hub.hub import CloudHub
from kubeedge.edgecore.hub.hub import EdgeHub
from kubeedge.kube.api import ApiError, Kind
from kubeedge.message import Message, new_message, response_to
from tests.link.certificates import TestAuthority

WAIT_S = 5


class Records:
    """As much of an API as the hub needs: ObjectSyncs in a dictionary, which is also their cache."""

    def __init__(self) -> None:
        self.versions: dict[str, str] = {}

    def lookup(self, namespace: str, name: str) -> str | None:
        return self.versions.get(f"{namespace}/{name}")

    async def create(self, kind: Kind, namespace: str, body: bytes) -> bytes:
        self.versions[f"{namespace}/{orjson.loads(body)['metadata']['name']}"] = ""
        return body

    async def patch(self, kind: Kind, namespace: str, name: str, body: bytes, *args: Any, **options: Any) -> bytes:
        if kind.kind == "Node":
            raise ApiError(404, "NotFound", "no such node", b"{}")
        self.versions[f"{namespace}/{name}"] = orjson.loads(body)["status"]["objectResourceVersion"]
        return body


class Cloud:
    """A hub with a controller that knows some pods and offers them to each node that connects."""

    def __init__(self, authority: TestAuthority, records: Records, pods: int, port: int = 0) -> None:
        self.bus = Bus()
        self.pods = pods
        self.hub = CloudHub(
            self.bus,
            records,  # type: ignore[arg-type]
            authority.server_credentials(),
            records.lookup,
            host="127.0.0.1",
            port=port,
        )
        self.port = self.hub.bind()
        self.bus.register("edgecontroller", "edgecontroller", self.receive)

    def receive(self, message: Message) -> None:
        if message.operation == "connected":
            for number in range(self.pods):
                self.push(f"u{number}", "10")
        elif message.operation == "query":
            reply = response_to(message, orjson.dumps(message.resource), source="edgecontroller", group="resource")
            self.bus.send("cloudhub", reply)

    def push(self, uid: str, version: str) -> None:
        metadata = {"name": uid, "namespace": "default", "uid": uid, "resourceVersion": version}
        content = orjson.dumps({"kind": "Pod", "apiVersion": "v1", "metadata": metadata})
        resource = f"node/e1/default/pod/{uid}"
        message = new_message("edgecontroller", "resource", "update", resource, content, resource_version=version)
        self.bus.send("cloudhub", message)


@asynccontextmanager
async def running(module: CloudHub | EdgeHub) -> AsyncIterator[None]:
    task = asyncio.ensure_future(module.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


class Edge:
    """A hub with a metamanager that stores and acknowledges."""

    def __init__(self, authority: TestAuthority, port: int) -> None:
        self.bus = Bus()
        self.stored: dict[str, str] = {}
        self.received = 0
        self.bus.register("metamanager", "meta", self.receive)
        self.hub = EdgeHub(
            self.bus,
            "e1",
            f"127.0.0.1:{port}",
            lambda: authority.client_context("e1"),
            message_qps=5000,
            message_burst=1000,
            jitter=lambda: 0.1,
        )

    def receive(self, message: Message) -> None:
        if message.operation == "update":
            self.received += 1
            self.stored[message.resource] = message.resource_version
            self.bus.send("websocket", response_to(message))


async def until(condition: Any) -> None:
    for _ in range(WAIT_S * 200):
        if condition():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("did not come true")


async def test_requests_and_pushes_survive_the_death_of_the_cloud(authority: TestAuthority) -> None:
    records = Records()
    pods = 3 * outbox.WINDOW
    cloud = Cloud(authority, records, pods)
    edge = Edge(authority, cloud.port)
    async with running(edge.hub):
        async with running(cloud.hub):
            await until(lambda: list(records.versions.values()).count("10") == pods)
            assert edge.received == pods
            asked = [new_message("edged", "meta", "query", f"default/configmap/c{n}") for n in range(100)]
            answers = await asyncio.gather(*(edge.bus.request("websocket", one, WAIT_S) for one in asked))
            assert [orjson.loads(answer.content) for answer in answers] == [
                f"node/e1/default/configmap/c{n}" for n in range(100)
            ]
            for version in range(11, 40):
                cloud.push("u0", str(version))
            await until(lambda: edge.stored["default/pod/u0"] == "39")
        await until(lambda: not edge.hub.connected.is_set())
        # The records of the last second may be lost with the cloud, then that object comes once more, and no other.
        received = edge.received
        second = Cloud(authority, records, pods, cloud.port)
        async with running(second.hub):
            await until(lambda: edge.hub.connected.is_set() and second.hub.is_connected("e1"))
            second.push("u1", "50")
            await until(lambda: records.versions["default/e1.u1"] == "50")
            assert edge.received - received <= 2
