"""A hub, its nodes on real TLS connections, and controllers that a test plays."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from kubeedge.bus import Bus
from kubeedge.cloudcore.hub.hub import CloudHub
from kubeedge.kube.api import ApiError, KubeApi
from kubeedge.kube.crds import ensure_installed
from kubeedge.kube.kinds import CLUSTER_OBJECT_SYNC, OBJECT_SYNC
from kubeedge.link.client import ClientConnection, connect
from kubeedge.message import Message, decode, encode, new_message, response_to
from tests.link.certificates import TestAuthority

WAIT_S = 5


class Node:
    """The edge's end of one connection."""

    def __init__(self) -> None:
        self.messages: asyncio.Queue[Message] = asyncio.Queue()
        self.ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.connection: ClientConnection

    def received(self, payload: bytes) -> None:
        self.messages.put_nowait(decode(payload))

    def writable(self) -> None:
        """Nothing waits."""

    def closed(self, reason: str) -> None:
        self.ended.set_result(reason)

    def say(self, message: Message) -> Message:
        self.connection.send(encode(message))
        return message

    async def next(self) -> Message:
        return await asyncio.wait_for(self.messages.get(), WAIT_S)

    async def next_acked(self) -> Message:
        message = await self.next()
        self.say(response_to(message))
        return message

    async def silence(self, seconds: float = 0.15) -> None:
        await asyncio.sleep(seconds)
        assert self.messages.empty()

    async def end(self) -> str:
        return await asyncio.wait_for(asyncio.shield(self.ended), WAIT_S)


class Cloud:
    """A hub with a bus on which every message to a controller is kept."""

    def __init__(self, api: KubeApi, authority: TestAuthority, **options: Any) -> None:
        self.api = api
        self.bus = Bus()
        self.heard: asyncio.Queue[tuple[str, Message]] = asyncio.Queue()
        self.known: dict[str, str] = {}
        self.authority = authority
        for group in ("edgecontroller", "devicecontroller", "taskmanager", "router"):
            self.bus.register(group, group, self._listener(group))
        self.hub = CloudHub(
            self.bus,
            api,
            authority.server_credentials(),
            lambda namespace, name: self.known.get(f"{namespace}/{name}"),
            host="127.0.0.1",
            port=0,
            **options,
        )
        self.port = self.hub.bind()

    def _listener(self, group: str) -> Callable[[Message], None]:
        def hear(message: Message) -> None:
            # Of the news that all of them get, one copy is enough.
            if group == "edgecontroller" or message.operation not in ("connected", "disconnected"):
                self.heard.put_nowait((group, message))

        return hear

    async def next(self) -> tuple[str, Message]:
        """Take the next message of a node."""
        return await asyncio.wait_for(self.heard.get(), WAIT_S)

    async def news(self) -> tuple[str, str]:
        group, message = await self.next()
        assert group == "edgecontroller"
        return message.operation, message.resource

    async def node(self, name: str = "e1", certificate: str | None = None, **headers: str) -> Node:
        """Connect a node."""
        node = Node()
        fields = {"Node_id": name, "Project_id": "p", "Connectionuse": "msg", **headers}
        node.connection = await connect(
            f"wss://127.0.0.1:{self.port}/p/{name}/events",
            self.authority.client_context(certificate or name),
            [(key, value) for key, value in fields.items() if value],
            lambda connection: node,
        )
        return node

    def send(self, operation: str, resource: str, content: Any, **fields: Any) -> Message:
        """Send a push as a controller does."""
        message = new_message(
            fields.pop("source", "edgecontroller"),
            fields.pop("group", "resource"),
            operation,
            resource,
            content if isinstance(content, bytes) else orjson.dumps(content),
            **fields,
        )
        self.bus.send("cloudhub", message)
        return message

    async def synced(self, name: str, version: str, namespace: str = "default") -> None:
        """Wait until an ObjectSync says that version, `NotFound` until there is none."""
        kind = OBJECT_SYNC if namespace else CLUSTER_OBJECT_SYNC
        found = None
        for _ in range(WAIT_S * 50):
            try:
                status = orjson.loads(await self.api.get(kind, namespace, name)).get("status", {})
                found = status.get("objectResourceVersion", "")
            except ApiError as error:
                found = error.reason
            if found == version:
                return
            await asyncio.sleep(0.02)
        pytest.fail(f"{name} is {found}, not {version}")


@asynccontextmanager
async def cloud(api: KubeApi, authority: TestAuthority, **options: Any) -> AsyncIterator[Cloud]:
    await ensure_installed(api)
    made = Cloud(api, authority, **options)
    running = asyncio.ensure_future(made.hub.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.wait([running])


def pod(version: int, uid: str = "u1", **metadata: Any) -> dict[str, Any]:
    meta = {"name": "web", "namespace": "default", "uid": uid, "resourceVersion": str(version), **metadata}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": meta}
