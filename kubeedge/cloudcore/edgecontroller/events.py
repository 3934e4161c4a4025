"""Events of a node about its pods and itself, written as they come; never answered (spec 03 §2.8)."""

from __future__ import annotations

import orjson

from kubeedge.cloudcore.edgecontroller.request import BadRequestError, Request
from kubeedge.kube.api import STRATEGIC_MERGE_PATCH, KubeApi
from kubeedge.kube.kinds import EVENT
from kubeedge.kube.object import MalformedObjectError, Object


class EventRequests:
    """Makes the API calls for events, in the namespace that the event names."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api

    async def insert(self, request: Request, as_node: str) -> None:
        """Create an event."""
        event = request.object(EVENT)
        await self._api.create(EVENT, event.namespace or request.namespace, event.raw)

    async def update(self, request: Request, as_node: str) -> None:
        """Replace an event."""
        event = request.object(EVENT)
        await self._api.update(EVENT, event.namespace, event.name, event.raw)

    async def patch(self, request: Request, as_node: str) -> None:
        """Patch an event; content is `{"event": …, "patchData": text}`, of which both must be there (quirk EU1)."""
        content = request.data()
        event, patch = content.get("event"), content.get("patchData")
        if not isinstance(event, dict) or not isinstance(patch, str):
            raise BadRequestError("content has no event or no patchData")
        try:
            target = Object.parse(orjson.dumps(event))
        except MalformedObjectError as error:
            raise BadRequestError(f"event is none: {error}") from None
        await self._api.patch(EVENT, target.namespace, target.name, patch.encode(), STRATEGIC_MERGE_PATCH)
