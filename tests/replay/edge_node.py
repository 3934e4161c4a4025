"""Plays the edge node of a recording: what a kubelet would tell the API about its pods, without running anything."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import orjson

from kubeedge.kube.api import MERGE_PATCH, ApiError, KubeApi
from kubeedge.kube.kinds import LEASE, NODE, POD

POLL_INTERVAL_S = 0.1
START_AFTER_S = 0.2


def now() -> str:
    """This moment as the API writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class EdgeNode:
    """A node that says of every pod bound to it that it runs, and lets go of those that are being deleted."""

    def __init__(self, api: KubeApi, node: dict[str, Any]) -> None:
        """node is the Node as the recording has it."""
        self._api = api
        self._node = node
        self._name: str = node["metadata"]["name"]
        self._seen: dict[str, float] = {}
        self._addresses = 60

    async def register(self) -> None:
        """Create the node with its status and its lease."""
        metadata = {
            key: value for key, value in self._node["metadata"].items() if key in ("name", "labels", "annotations")
        }
        await self._api.create(NODE, "", orjson.dumps({"metadata": metadata, "status": self._node["status"]}))
        await self._report_ready()
        renewed = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": self._name, "leaseDurationSeconds": 40, "renewTime": renewed}
        lease = {"metadata": {"name": self._name}, "spec": spec}
        await self._api.create(LEASE, "kube-node-lease", orjson.dumps(lease))

    async def _report_ready(self) -> None:
        conditions = [
            {**one, "lastHeartbeatTime": now(), "lastTransitionTime": now()}
            for one in self._node["status"]["conditions"]
        ]
        patch = orjson.dumps({"status": {**self._node["status"], "conditions": conditions}})
        await self._api.patch(NODE, "", self._name, patch, MERGE_PATCH, subresource="status")

    async def run(self) -> None:
        """Look after pods until cancelled."""
        while True:
            await asyncio.sleep(POLL_INTERVAL_S)
            page = await self._api.list(POD, field_selector=f"spec.nodeName={self._name}")
            for data in page.items:
                await self._look_after(orjson.loads(data))

    async def _look_after(self, pod: dict[str, Any]) -> None:
        metadata, loop = pod["metadata"], asyncio.get_running_loop()
        namespace, name, uid = metadata["namespace"], metadata["name"], metadata["uid"]
        try:
            if "deletionTimestamp" in metadata:
                options = orjson.dumps({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
                await self._api.delete(POD, namespace, name, body=options)
                return
            since = self._seen.setdefault(uid, loop.time())
            if pod["status"].get("phase") == "Pending" and loop.time() - since > START_AFTER_S:
                patch = orjson.dumps({"status": self._running(pod)})
                await self._api.patch(POD, namespace, name, patch, MERGE_PATCH, subresource="status")
        except ApiError as error:
            if error.reason not in ("NotFound", "Conflict"):
                raise

    def _running(self, pod: dict[str, Any]) -> dict[str, Any]:
        self._addresses += 1
        address = f"10.88.0.{self._addresses}"
        types = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
        conditions = [{"type": kind, "status": "True", "lastTransitionTime": now()} for kind in types]
        statuses = [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "sha256:7dc5373238a290df5818eb87be78068206a31c0e04450b74b7582ef884c4e488",
                "containerID": "containerd://" + "0" * 64,
                "ready": True,
                "started": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": now()}},
            }
            for container in pod["spec"]["containers"]
        ]
        return {
            "phase": "Running",
            "conditions": conditions,
            "containerStatuses": statuses,
            "hostIP": "192.0.2.2",
            "hostIPs": [{"ip": "192.0.2.2"}],
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": now(),
        }
