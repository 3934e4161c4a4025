"""Requests about the sender's own pods: status, deletion, mirror pods (spec 03 §2.3, §2.6, §2.7)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from kubeedge.cloudcore.edgecontroller.ownership import PodOwnership, require_bound_to
from kubeedge.cloudcore.edgecontroller.request import (
    GROUP,
    MODULE,
    BadRequestError,
    ForbiddenError,
    Request,
)
from kubeedge.cloudcore.edgecontroller.shape import mapping, mappings, text
from kubeedge.kube.api import STRATEGIC_MERGE_PATCH, Answered, ApiError, ApiUnavailableError, KubeApi
from kubeedge.kube.kinds import POD
from kubeedge.message import Message, new_message

EMPTY_POD = b'{"metadata":{"creationTimestamp":null},"spec":{"containers":null},"status":{}}'
_RECREATED = "The object might have been deleted and then recreated"
# Conditions whose transition time the cloud keeps for an old edge, which does not know it.
_KEPT_CONDITIONS = ("Ready", "Initialized")


class PodRequests:
    """Makes the API calls of a node about its pods. send takes the further answers of a request that has several."""

    def __init__(
        self,
        api: KubeApi,
        pods: PodOwnership,
        send: Callable[[Message], None],
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._pods = pods
        self._send = send
        self._clock = clock

    async def patch_status(self, request: Request, as_node: str) -> Message:
        """Patch the status with the content as it is; its metadata.uid keeps it off a successor of the same name."""
        body = request.text()
        await self._pods.pod(request.node, request.namespace, request.name, as_node)
        return request.written(
            await self._api.patch(
                POD,
                request.namespace,
                request.name,
                body,
                STRATEGIC_MERGE_PATCH,
                subresource="status",
                as_node=as_node,
            )
        )

    def begin_patch_status(self, request: Request, as_node: str, answered: Answered) -> bool:
        """Begin what patch_status() does, for a pod that the cache has."""
        return self._pods.is_known(request.node, request.namespace, request.name) and request.begin(
            self._api,
            "PATCH",
            POD,
            request.text(),
            answered,
            as_node,
            content_type=STRATEGIC_MERGE_PATCH,
            subresource="status",
        )

    async def insert(self, request: Request, as_node: str) -> Message:
        """Create a mirror pod."""
        pod = request.object(POD)
        require_bound_to(request.node, pod)
        return request.written(await self._api.create(POD, request.namespace, pod.raw, as_node=as_node))

    async def delete(self, request: Request, as_node: str) -> Message:
        """Delete a pod with the DeleteOptions of the content; a pod that is gone or another one is success."""
        options = _delete_options(request)
        try:
            await self._pods.pod(request.node, request.namespace, request.name, as_node)
            await self._api.delete(POD, request.namespace, request.name, body=options, as_node=as_node)
        except ApiError as error:
            if error.reason != "NotFound" and _RECREATED not in error.message:
                raise
        return request.ok()

    async def update_status(self, request: Request, as_node: str) -> None:
        """Replace the status of one or several pods of an old edge; each is answered on its own, under its own name."""
        content = request.content()
        for entry in content if isinstance(content, list) else [content]:
            entry = mapping(entry, "content")
            status = mapping(entry.get("Status"), "Status")
            name = text(entry.get("Name")) or request.name
            self._send(await self._update_one(request, name, text(entry.get("UID")), status, as_node))

    async def _update_one(
        self, request: Request, name: str, uid: str, reported: dict[str, Any], as_node: str
    ) -> Message:
        try:
            known = await self._pods.pod(request.node, request.namespace, name, as_node)
            if known.uid != uid:
                return self._unknown(request, name)
            pod = orjson.loads(await self._api.get(POD, request.namespace, name, as_node=as_node))
            pod["status"] = self._merged(pod, reported)
            body = orjson.dumps(pod)
            await self._api.update(POD, request.namespace, name, body, subresource="status", as_node=as_node)
            if pod["metadata"].get("deletionTimestamp") and _has_ended(reported):
                options = orjson.dumps({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
                await self._api.delete(POD, request.namespace, name, body=options, as_node=as_node)
        except ApiError as error:
            return self._unknown(request, name) if error.reason == "NotFound" else request.failed(error)
        except (ApiUnavailableError, BadRequestError, ForbiddenError) as error:
            return request.failed(error)
        return request.ok()

    def _unknown(self, request: Request, name: str) -> Message:
        """Tell an old edge to forget a pod that the API does not have (spec 01 §7.2 P4), and answer OK."""
        pod = orjson.dumps({"metadata": {"name": name, "namespace": request.namespace}})
        resource = f"node/{request.node}/{request.namespace}/pod/{name}"
        self._send(new_message(MODULE, GROUP, "delete", resource, pod))
        return request.ok()

    def _merged(self, pod: dict[str, Any], reported: dict[str, Any]) -> dict[str, Any]:
        now = self._clock().strftime("%Y-%m-%dT%H:%M:%SZ")
        present = pod.get("status") or {}
        before = {condition["type"]: condition for condition in present.get("conditions") or ()}
        for condition in mappings(reported.get("conditions"), "conditions"):
            if text(condition.get("type")) in _KEPT_CONDITIONS:
                old = before.get(condition["type"], {})
                same = old.get("status") == condition.get("status")
                condition["lastTransitionTime"] = (same and old.get("lastTransitionTime")) or now
        reported["startTime"] = present.get("startTime") or reported.get("startTime") or now
        _cut_to_seconds(reported)
        for key in ("containerStatuses", "ephemeralContainerStatuses"):
            mappings(reported.get(key), key).sort(key=lambda status: text(status.get("name")))
        containers = pod.get("spec", {}).get("initContainers") or ()
        order = {container["name"]: place for place, container in enumerate(containers)}
        mappings(reported.get("initContainerStatuses"), "initContainerStatuses").sort(
            key=lambda status: order.get(text(status.get("name")), len(order))
        )
        return reported


def _delete_options(request: Request) -> bytes:
    """Return the DeleteOptions of a deletion. A string is the pod's UID, whatever it looks like (spec 03 §2.7)."""
    content = request.literal()
    if isinstance(content, str):
        return orjson.dumps({"gracePeriodSeconds": 0, "preconditions": {"uid": content}})
    if isinstance(content, dict):
        return request.message.content
    raise BadRequestError("content is neither DeleteOptions nor the UID of a pod")


def _has_ended(status: dict[str, Any]) -> bool:
    containers = mappings(status.get("containerStatuses"), "containerStatuses")
    return text(status.get("phase")) in ("Succeeded", "Failed") and all(
        mapping(container.get("state"), "state").keys() & {"terminated", "waiting"} for container in containers
    )


def _cut_to_seconds(value: Any) -> None:
    """Cut the fractions off all times of a status: the API keeps seconds, and a change of nothing costs a write."""
    if isinstance(value, list):
        for item in value:
            _cut_to_seconds(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and (key.endswith(("Time", "At"))):
                value[key] = _seconds(item)
            else:
                _cut_to_seconds(item)


def _seconds(time: str) -> str:
    head, point, rest = time.partition(".")
    return head + rest.lstrip("0123456789") if point else time
