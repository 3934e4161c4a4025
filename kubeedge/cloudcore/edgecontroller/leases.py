"""Heartbeats: the Lease of the sender (spec 03 §2.8). The most frequent of all requests."""

from __future__ import annotations

from kubeedge.cloudcore.edgecontroller.request import Request, not_found
from kubeedge.kube.api import ApiError, KubeApi
from kubeedge.kube.kinds import LEASE
from kubeedge.kube.object import Object
from kubeedge.message import Message

EMPTY_LEASE = b'{"metadata":{"creationTimestamp":null},"spec":{}}'


class LeaseRequests:
    """Makes the API calls of a node about its Lease. There is no cache: nobody else asks for it."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def query(self, request: Request, as_node: str) -> Message:
        """Answer with the Lease, complete with kind and apiVersion."""
        request.require_own_name()
        try:
            raw = await self._api.get(LEASE, request.namespace, request.name, as_node=as_node)
        except ApiError as error:
            if error.reason == "NotFound":
                error = not_found(LEASE, request.name)
            return request.not_written(error, b"null")
        return request.found(b'{"Object":%s,"Err":null}' % Object.parse(raw, LEASE).raw)

    async def insert(self, request: Request, as_node: str) -> Message:
        """Create the Lease."""
        request.require_own_name()
        body = request.object(LEASE).raw
        lease = await self._api.create(LEASE, request.namespace, body, as_node=as_node)
        return request.written(lease, with_version=False)

    async def update(self, request: Request, as_node: str) -> Message:
        """Replace the Lease; its resourceVersion is the edge's, so a conflict makes the edge read it again."""
        request.require_own_name()
        body = request.object(LEASE).raw
        lease = await self._api.update(LEASE, request.namespace, request.name, body, as_node=as_node)
        return request.written(lease, with_version=False)
