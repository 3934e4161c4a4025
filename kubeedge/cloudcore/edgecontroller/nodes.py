"""Requests about the sender's own Node: registration, labels, status (spec 03 §2.5, §2.6)."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import orjson

from kubeedge.cloudcore.edgecontroller.node import CLOUDCORE
from kubeedge.cloudcore.edgecontroller.request import Request, not_found
from kubeedge.cloudcore.edgecontroller.shape import mapping, mappings, text
from kubeedge.kube.api import MERGE_PATCH, STRATEGIC_MERGE_PATCH, Answered, ApiError, ApiUnavailableError, KubeApi
from kubeedge.kube.informer import Informer
from kubeedge.kube.kinds import NODE
from kubeedge.kube.object import Object
from kubeedge.message import Message

log = logging.getLogger(__name__)

LABEL_PATCH_ATTEMPTS = 4
LABEL_PATCH_PAUSE_S = 0.5

# Labels that the API server does not let a node give itself; a prefix is what stands before the only slash.
_RESERVED = re.compile(r"(?:[^/]*\.)?kubernetes\.io/[^/]*")

_EMPTY_STATUS: dict[str, Any] = {
    "daemonEndpoints": {"kubeletEndpoint": {"Port": 0}},
    "nodeInfo": {
        "machineID": "",
        "systemUUID": "",
        "bootID": "",
        "kernelVersion": "",
        "osImage": "",
        "containerRuntimeVersion": "",
        "kubeletVersion": "",
        "kubeProxyVersion": "",
        "operatingSystem": "",
        "architecture": "",
    },
}


def empty_node(labels: dict[str, str] | None = None) -> bytes:
    """Return the Node that a Go client gives beside an error: all zero values (spec 03 §2.1)."""
    metadata: dict[str, Any] = {"creationTimestamp": None}
    if labels:
        metadata["labels"] = labels
    return orjson.dumps({"metadata": metadata, "spec": {}, "status": _EMPTY_STATUS})


class NodeRequests:
    """Makes the API calls of a node about itself.

    local_ip goes into the `cloudcore` annotation of new Nodes; heartbeat_s is how old a heartbeat of an old edge may be
    before it is taken for now (`nodeUpdateFrequency`).
    """

    def __init__(
        self,
        api: KubeApi,
        nodes: Informer,
        local_ip: str,
        heartbeat_s: float,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._nodes = nodes
        self._local_ip = local_ip
        self._heartbeat_s = heartbeat_s
        self._clock = clock

    async def insert(self, request: Request, as_node: str) -> Message:
        """Create the Node, then put on the labels that a node may not give itself."""
        request.require_own_name()
        node = request.data()
        reserved = self._prepare(node, request.name)
        try:
            created = await self._create(request.name, node, reserved, as_node)
        except (ApiError, ApiUnavailableError) as error:
            return request.not_written(error, empty_node(reserved))
        return request.written(created, with_version=False)

    async def update(self, request: Request, as_node: str) -> Message:
        """Merge the labels and annotations of the request into the Node, and nothing else of it (quirk EU5)."""
        request.require_own_name()
        metadata = mapping(request.data().get("metadata"), "metadata")
        patch = {key: metadata[key] for key in ("labels", "annotations") if metadata.get(key)}
        body = orjson.dumps({"metadata": patch})
        node = await self._api.patch(NODE, "", request.name, body, STRATEGIC_MERGE_PATCH, as_node=as_node)
        return request.ok(resource_version=Object.parse(node).resource_version)

    async def query(self, request: Request, as_node: str) -> Message:
        """Answer with the Node."""
        request.require_own_name()
        node = self._nodes.get("", request.name)
        if node is None:
            raise not_found(NODE, request.name)
        return request.found(node.raw, node.resource_version)

    async def patch_status(self, request: Request, as_node: str) -> Message:
        """Patch the status with the content as it is."""
        request.require_own_name()
        body = request.text()
        return request.written(
            await self._api.patch(
                NODE, "", request.name, body, STRATEGIC_MERGE_PATCH, subresource="status", as_node=as_node
            )
        )

    def begin_patch_status(self, request: Request, as_node: str, answered: Answered) -> bool:
        """Begin what patch_status() does."""
        request.require_own_name()
        return request.begin(
            self._api,
            "PATCH",
            NODE,
            request.text(),
            answered,
            as_node,
            content_type=STRATEGIC_MERGE_PATCH,
            subresource="status",
        )

    async def insert_status(self, request: Request, as_node: str) -> Message:
        """Create the Node for an old edge unless it exists, which is success too (quirk EU4)."""
        request.require_own_name()
        if self._nodes.get("", request.name) is None:
            node = request.data()
            reserved = self._prepare(node, request.name)
            try:
                await self._create(request.name, node, reserved, as_node)
            except ApiError as error:
                if error.reason != "AlreadyExists":
                    raise
        return request.ok(type_="node")

    async def update_status(self, request: Request, as_node: str) -> Message:
        """Replace the status by that of an old edge's NodeStatusRequest."""
        request.require_own_name()
        content = request.data()
        reported = mapping(content.get("Status"), "Status")
        node = orjson.loads(await self._api.get(NODE, "", request.name, as_node=as_node))
        now = self._clock()
        for condition in mappings(reported.get("conditions"), "conditions"):
            heartbeat = _instant(condition.get("lastHeartbeatTime"))
            if heartbeat is None or (now - heartbeat).total_seconds() > self._heartbeat_s:
                condition["lastHeartbeatTime"] = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        annotations = node["metadata"].setdefault("annotations", {})
        for name, resources in mapping(content.get("ExtendResources"), "ExtendResources").items():
            annotations[name] = orjson.dumps(resources).decode()
            if name == "nvidia.com/gpu":
                health = [{"id": text(each.get("name")), "healthy": True} for each in mappings(resources, name)]
                annotations["huawei.com/gpu-status"] = orjson.dumps(health).decode()
        status = node.get("status") or {}
        # Both are other writers' fields (spec 03 §2.3).
        if status.get("volumesAttached"):
            reported["volumesAttached"] = status["volumesAttached"]
        endpoints = status.get("daemonEndpoints") or {}
        if (endpoints.get("kubeletEndpoint") or {}).get("Port"):
            reported["daemonEndpoints"] = endpoints
        node["status"] = reported
        updated = await self._api.update(
            NODE, "", request.name, orjson.dumps(node), subresource="status", as_node=as_node
        )
        return request.ok(type_="node", resource_version=Object.parse(updated).resource_version)

    def _prepare(self, node: dict[str, Any], name: str) -> dict[str, str]:
        """Make a Node fit for its creation by the node itself; return the labels taken out."""
        metadata = node["metadata"] = mapping(node.get("metadata"), "metadata")
        labels = mapping(metadata.get("labels"), "labels")
        reserved = {key: value for key, value in labels.items() if _RESERVED.fullmatch(key)}
        metadata["name"] = name
        metadata["labels"] = {key: value for key, value in labels.items() if key not in reserved}
        if self._local_ip:
            metadata["annotations"] = {
                **mapping(metadata.get("annotations"), "annotations"),
                CLOUDCORE: self._local_ip,
            }
        node["kind"], node["apiVersion"] = NODE.kind, NODE.api_version
        return reserved

    async def _create(self, name: str, node: dict[str, Any], reserved: dict[str, str], as_node: str) -> bytes:
        created = await self._api.create(NODE, "", orjson.dumps(node), as_node=as_node)
        if not reserved:
            return created
        patch = orjson.dumps({"metadata": {"labels": reserved}})
        for attempt in range(1, LABEL_PATCH_ATTEMPTS + 1):
            try:
                return await self._api.patch(NODE, "", name, patch, MERGE_PATCH)
            except (ApiError, ApiUnavailableError) as error:
                if attempt == LABEL_PATCH_ATTEMPTS:
                    log.error("node labels not set, taking the node back node=%s reason=%s", name, error)
                    await self._take_back(created)
                    raise
            await asyncio.sleep(LABEL_PATCH_PAUSE_S * attempt)
        raise AssertionError("unreachable")

    async def _take_back(self, created: bytes) -> None:
        """Delete the Node just made: without its edge label nobody would ever see it again (spec 03 §9.8)."""
        node = Object.parse(created)
        options = orjson.dumps({"preconditions": {"uid": node.uid}})
        try:
            await self._api.delete(NODE, "", node.name, body=options)
        except (ApiError, ApiUnavailableError) as error:
            log.error("node not taken back node=%s reason=%s", node.name, error)


def _instant(text: Any) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)
