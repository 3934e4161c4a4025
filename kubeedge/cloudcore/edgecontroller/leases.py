"""Heartbeats: the Lease of the sender (spec 03 §2.8). The most frequent of all requests."""

from __future__ import annotations

from kubeedge.cloudcore.edgecontroller.request import Request, not_found
from kubeedge.kube.api import Answered, ApiError, KubeApi
from kubeedge.kube.kinds import LEASE
from kubeedge.kube.object import Object
from kubeedge.message import Message

EMPTY_LEASE = b'{"metadata":{"creationTimestamp":null},"spec":{}}'


class LeaseRequests:
    """Makes the API calls of a node about its Lease. There is no cache: nobody else asks for it."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def query(self, request: Request, as_node: str) -> Message:
        """Answer with the Lease."""
        request.require_own_name()
        return self.found(request, await self._api.get(LEASE, request.namespace, request.name, as_node=as_node))

    def begin_query(self, request: Request, as_node: str, answered: Answered) -> bool:
        """Begin what query() does."""
        request.require_own_name()
        return request.begin(self._api, "GET", LEASE, b"", answered, as_node)

    @staticmethod
    def found(request: Request, raw: bytes) -> Message:
        """Answer with a Lease, complete with kind and apiVersion."""
        return request.found(b'{"Object":%s,"Err":null}' % Object.parse(raw, LEASE).raw)

    @staticmethod
    def not_found(request: Request, error: Exception) -> Message:
        """Answer that there is no Lease as a Go cache would, or with another failure."""
        if isinstance(error, ApiError) and error.reason == "NotFound":
            error = not_found(LEASE, request.name)
        return request.not_written(error, b"null")

    async def insert(self, request: Request, as_node: str) -> Message:
        """Create the Lease."""
        request.require_own_name()
        body = request.stamped(LEASE)
        return self.written(request, await self._api.create(LEASE, request.namespace, body, as_node=as_node))

    async def update(self, request: Request, as_node: str) -> Message:
        """Replace the Lease; its resourceVersion is the edge's, so a conflict makes the edge read it again."""
        request.require_own_name()
        body = request.stamped(LEASE)
        lease = await self._api.update(LEASE, request.namespace, request.name, body, as_node=as_node)
        return self.written(request, lease)

    def begin_update(self, request: Request, as_node: str, answered: Answered) -> bool:
        """Begin what update() does."""
        request.require_own_name()
        return request.begin(self._api, "PUT", LEASE, request.stamped(LEASE), answered, as_node)

    @staticmethod
    def written(request: Request, raw: bytes) -> Message:
        """Answer with the Lease written."""
        return request.written(raw, with_version=False)
