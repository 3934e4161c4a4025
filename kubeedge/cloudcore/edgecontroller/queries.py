"""Requests for objects that a pod needs and the node does not have (spec 03 §2.3)."""

from __future__ import annotations

import asyncio

from kubeedge.cloudcore.edgecontroller.request import ForbiddenError, Request, not_found
from kubeedge.kube.api import ApiError, Kind, KubeApi
from kubeedge.kube.informer import EventType, Informer
from kubeedge.kube.kinds import SECRET, VOLUME_ATTACHMENT
from kubeedge.kube.object import Object
from kubeedge.message import Message
from kubeedge.pki import secrets

# A ConfigMap may be made a moment after the pod that needs it, by the same `kubectl apply`. A Go edge takes a NotFound
# for an empty object and keeps it (quirk EU3), so it is worth this much patience.
PATIENCE_S = 1.0

# With these a node could be any other node, or cloudcore itself.
_OWN_SECRETS = {(secrets.NAMESPACE, name) for name in (secrets.CA.name, secrets.CLOUDCORE.name, secrets.TOKEN_NAME)}


class CachedQuery:
    """Answers from a cache, and from the API what the cache does not have.

    Calls in a node's name always go to the API: the cache cannot tell what the node may read.
    """

    def __init__(self, api: KubeApi, cache: Informer) -> None:
        self._api = api
        self._cache = cache
        self._awaited: dict[tuple[str, str], list[asyncio.Future[Object]]] = {}
        cache.on_event(self._on_object, replay=False)

    async def __call__(self, request: Request, as_node: str) -> Message:
        """Answer with the object, which the node then acks, or with NotFound."""
        key = (request.namespace, request.name)
        if self._cache.kind is SECRET and key in _OWN_SECRETS:
            raise ForbiddenError(f"secret {key[0]}/{key[1]} is cloudcore's own")
        object = self._cache.get(*key) if not as_node else None
        if object is None:
            object = await self._live(*key, as_node)
        return request.found(object.raw, object.resource_version)

    async def _live(self, namespace: str, name: str, as_node: str) -> Object:
        kind = self._cache.kind
        coming: asyncio.Future[Object] = asyncio.get_running_loop().create_future()
        waiting = self._awaited.setdefault((namespace, name), [])
        waiting.append(coming)
        try:
            return Object.parse(await self._api.get(kind, namespace, name, as_node=as_node), kind)
        except ApiError as error:
            if error.reason != "NotFound":
                raise
            try:
                async with asyncio.timeout(PATIENCE_S):
                    return await coming
            except TimeoutError:
                raise not_found(kind, name) from None
        finally:
            waiting.remove(coming)
            if not waiting:
                self._awaited.pop((namespace, name), None)

    def _on_object(self, type_: EventType, new: Object, old: Object | None) -> None:
        if type_ == "ADDED":
            for coming in self._awaited.get((new.namespace, new.name), ()):
                if not coming.done():
                    coming.set_result(new)


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
