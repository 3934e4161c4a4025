"""An edge's end of the real link, and a whole cloudcore to connect it to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from kubeedge.cloudcore.app import CloudCore
from kubeedge.config import cloudcore as configuration
from kubeedge.kube.kubeconfig import load
from kubeedge.link.client import ClientConnection, connect
from kubeedge.pki.tls import client_context

PROJECT = "e632aba927ea4ac2b575ec1603d56f10"


@asynccontextmanager
async def running_cloudcore(
    kubeconfig: Path, folder: Path, hub_port: int = 0, workers: int = 1
) -> AsyncIterator[CloudCore]:
    """Run a cloudcore on free ports, unless hub_port says otherwise; its keys live in the API."""
    config = configuration.CloudCore()
    config.kube_api_config.install_crds = True
    config.common_config.monitor_server.bind_address = "127.0.0.1:0"
    hub = config.modules.cloud_hub
    hub.websocket.address = hub.https.address = "127.0.0.1"
    hub.websocket.port, hub.https.port = hub_port, 0
    hub.workers = workers
    hub.advertise_address = ["127.0.0.1"]
    hub.tls_ca_file, hub.tls_ca_key_file = str(folder / "ca.crt"), str(folder / "ca.key")
    hub.tls_cert_file, hub.tls_private_key_file = str(folder / "server.crt"), str(folder / "server.key")
    cloudcore = CloudCore(config, load(kubeconfig))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(cloudcore.run())
        ready = group.create_task(cloudcore.ready.wait())
        await asyncio.wait({running, ready}, return_when=asyncio.FIRST_COMPLETED)
        ready.cancel()
        if not running.done():
            try:
                yield cloudcore
            finally:
                running.cancel()


class LinkEdge:
    """Connects to a cloudcore as node e1 and keeps what comes until somebody takes it."""

    def __init__(self, cloud: Callable[[], Awaitable[CloudCore]], node: str = "e1") -> None:
        """cloud gives the cloudcore to connect to, asked for each connection."""
        self.inbox: list[dict[str, Any]] = []
        self.connections = 0
        self._cloud = cloud
        self._node = node
        self._more = asyncio.Event()
        self._connection: ClientConnection | None = None
        self._closed_for: str | None = None

    async def connect(self) -> None:
        """Open a connection, closing the one before."""
        self.close()
        cloudcore = await self._cloud()
        self.connections += 1
        authority = cloudcore.authority
        pair = authority.issue_client(f"system:node:{self._node}", ["system:nodes"], 1)
        self._connection = await connect(
            f"wss://127.0.0.1:{cloudcore.hub_port}/{PROJECT}/{self._node}/events",
            client_context(authority.certificate_pem, pair.certificate_pem, pair.key_pem),
            [("Connectionuse", "msg"), ("Node_id", self._node), ("Project_id", PROJECT)],
            lambda connection: _Receiver(self, connection),
        )

    def close(self) -> None:
        """Close the connection, if there is one and the cloud has not closed it."""
        assert self._closed_for is None, f"the cloud closed the connection: {self._closed_for}"
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def send(self, envelope: bytes) -> None:
        """Send a message."""
        assert self._connection is not None
        self._connection.send(envelope)

    async def next(self, accept: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Take the first message out of the inbox that accept takes; wait for it."""
        while True:
            for message in self.inbox:
                if accept(message):
                    self.inbox.remove(message)
                    return message
            self._more.clear()
            await self._more.wait()

    def received(self, message: dict[str, Any]) -> None:
        """Keep a message."""
        self.inbox.append(message)
        self._more.set()

    def closed(self, connection: ClientConnection, reason: str) -> None:
        """Remember that the cloud ended a connection, unless we did."""
        if connection is self._connection:
            self._closed_for = reason or "no reason"


class _Receiver:
    """Takes what comes on one connection."""

    def __init__(self, edge: LinkEdge, connection: ClientConnection) -> None:
        self._edge = edge
        self._connection = connection

    def received(self, payload: bytes) -> None:
        self._edge.received(orjson.loads(payload))

    def writable(self) -> None:
        """Nothing waits for this."""

    def closed(self, reason: str) -> None:
        self._edge.closed(self._connection, reason)
