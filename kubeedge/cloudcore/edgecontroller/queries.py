"""Requests for objects that a pod needs and the node does not have (spec 03 §2.3)."""

from __future__ import annotations

from kubeedge.cloudcore.edgecontroller.request import Request, not_found
from kubeedge.kube.api import ApiError, Kind, KubeApi
from kubeedge.kube.informer import Informer
from kubeedge.kube.kinds import VOLUME_ATTACHMENT
from kubeedge.kube.object import Object
from kubeedge.message import Message


class CachedQuery:
    """Answers from a cache, and from the API what the cache does not have yet (quirk EU3)."""

    def __init__(self, api: KubeApi, cache: Informer) -> None:
        self._api = api
        self._cache = cache

    async def __call__(self, request: Request, as_node: str) -> Message:
        """Answer with the object, which the node then acks, or with NotFound."""
        object = self._cache.get(request.namespace, request.name)
        if object is None:
            kind = self._cache.kind
            try:
                raw = await self._api.get(kind, request.namespace, request.name, as_node=as_node)
            except ApiError as error:
                raise not_found(kind, request.name) if error.reason == "NotFound" else error from None
            object = Object.parse(raw, kind)
        return request.found(object.raw, object.resource_version)


class LiveQuery:
    """Answers from the API: for kinds that few nodes ever ask for."""

    def __init__(self, api: KubeApi, kind: Kind) -> None:
        self._api = api
        self._kind = kind

    async def __call__(self, request: Request, as_node: str) -> Message:
        """Answer with the object, which the node then acks."""
        kind = self._kind
        # A VolumeAttachment is asked for under the namespace `default` although it has none (spec 01 quirk 23).
        namespace = request.namespace if kind is not VOLUME_ATTACHMENT else ""
        object = Object.parse(await self._api.get(kind, namespace, request.name, as_node=as_node), kind)
        return request.found(object.raw, object.resource_version)
