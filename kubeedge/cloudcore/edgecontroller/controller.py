"""The module as the rest of cloudcore sees it."""

from __future__ import annotations

from kubeedge import resources
from kubeedge.bus import Bus
from kubeedge.cloudcore.edgecontroller.downstream import Downstream
from kubeedge.cloudcore.edgecontroller.request import MODULE
from kubeedge.cloudcore.edgecontroller.upstream import Upstream
from kubeedge.kube.api import KubeApi
from kubeedge.kube.informer import Informer
from kubeedge.message import Message


class EdgeController:
    """Registers itself on the bus as module and group `edgecontroller`."""

    def __init__(
        self,
        bus: Bus,
        api: KubeApi,
        nodes: Informer,
        pods: Informer,
        config_maps: Informer,
        secrets: Informer,
        *,
        local_ip: str,
        heartbeat_s: float = 10.0,
        impersonate: bool = False,
    ) -> None:
        """Join the informers and the bus; pods needs the index `node` (`node.by_node`).

        local_ip is this replica's address for the `cloudcore` annotation, heartbeat_s is `nodeUpdateFrequency`,
        impersonate makes the calls of a node in its name (spec 02 §1.8).
        """
        self._downstream = Downstream(bus, nodes, pods, config_maps, secrets)
        self._upstream = Upstream(
            bus,
            api,
            nodes,
            pods,
            config_maps,
            secrets,
            local_ip=local_ip,
            heartbeat_s=heartbeat_s,
            impersonate=impersonate,
        )
        bus.register(MODULE, MODULE, self.receive)

    async def run(self) -> None:
        """Answer the requests of nodes, for ever."""
        await self._upstream.run()

    def receive(self, message: Message) -> None:
        """Take a request of a node, or the news that one has come or gone (spec 01 §3.8)."""
        if message.operation == "connected":
            self._downstream.connected(resources.node_of(message.resource))
        elif message.operation == "disconnected":
            self._upstream.forget(resources.node_of(message.resource))
        else:
            self._upstream.receive(message)
