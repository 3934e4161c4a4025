"""The cluster around a recording: what others than the edge did to objects, done again to the embedded API."""

from __future__ import annotations

import re
from typing import Any

import orjson

from kubeedge.kube.api import ApiError, Kind, KubeApi
from kubeedge.kube.kinds import CONFIG_MAP, DEVICE, DEVICE_MODEL, NODE, POD, SECRET

KINDS = {
    "pod": POD,
    "configmap": CONFIG_MAP,
    "secret": SECRET,
    "node": NODE,
    "device": DEVICE,
    "devicemodel": DEVICE_MODEL,
}
# Given by the API server; the recorded values belong to another server.
_SERVER_FIELDS = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields")


class Names:
    """UIDs and versions of the recording, and what stands for them here."""

    def __init__(self) -> None:
        self.uids: dict[str, str] = {}
        self.versions: dict[str, str] = {}

    def learn(self, recorded: dict[str, Any], ours: dict[str, Any]) -> None:
        """Take two states of one object for the same."""
        before, now = recorded.get("metadata") or {}, ours.get("metadata") or {}
        if before.get("uid") and now.get("uid"):
            self.uids[before["uid"]] = now["uid"]
        if before.get("resourceVersion") and now.get("resourceVersion"):
            self.versions[before["resourceVersion"]] = now["resourceVersion"]

    def translate(self, text: str) -> str:
        """Return what an edge sent as it would have sent it here."""
        for recorded, ours in self.uids.items():
            text = text.replace(recorded, ours)
        return re.sub(
            r'(\\?"resourceVersion\\?":\\?")(\d+)',
            lambda match: match[1] + self.versions.get(match[2], match[2]),
            text,
        )


class World:
    """Changes objects of the API as the recording says that they changed."""

    def __init__(self, api: KubeApi, names: Names) -> None:
        self._api = api
        self._names = names

    async def current(self, kind: Kind, recorded: dict[str, Any]) -> dict[str, Any] | None:
        """Return our object of that name."""
        metadata = recorded["metadata"]
        try:
            raw = await self._api.get(kind, metadata.get("namespace", ""), metadata["name"])
        except ApiError as error:
            if error.reason != "NotFound":
                raise
            return None
        object: dict[str, Any] = orjson.loads(raw)
        return object

    async def make(self, kind: Kind, recorded: dict[str, Any]) -> dict[str, Any]:
        """Let our object be as the recorded one; return it."""
        namespace, name = recorded["metadata"].get("namespace", ""), recorded["metadata"]["name"]
        now = await self.current(kind, recorded)
        wanted: dict[str, Any] = orjson.loads(self._names.translate(orjson.dumps(recorded).decode()))
        for field in _SERVER_FIELDS:
            wanted["metadata"].pop(field, None)
        deleted_in_s = wanted["metadata"].pop("deletionGracePeriodSeconds", 0)
        is_terminating = wanted["metadata"].pop("deletionTimestamp", None) is not None
        if now is None:
            now = orjson.loads(await self._api.create(kind, namespace, orjson.dumps(wanted)))
        if is_terminating and "deletionTimestamp" not in now["metadata"]:
            options = orjson.dumps({"gracePeriodSeconds": deleted_in_s})
            now = orjson.loads(await self._api.delete(kind, namespace, name, body=options))
        now = await self._write(kind, namespace, name, now, wanted, "")
        if "status" in wanted:
            now = await self._write(kind, namespace, name, now, wanted, "status")
        self._names.learn(recorded, now)
        return now

    async def _write(
        self, kind: Kind, namespace: str, name: str, now: dict[str, Any], wanted: dict[str, Any], part: str
    ) -> dict[str, Any]:
        body = {**now, **wanted} if not part else {**now, "status": wanted["status"]}
        body["metadata"] = {**now["metadata"], **(wanted["metadata"] if not part else {})}
        body["metadata"].pop("managedFields", None)
        if {**now, "metadata": {**now["metadata"], "managedFields": 0}} == {
            **body,
            "metadata": {**body["metadata"], "managedFields": 0},
        }:
            return now
        raw = await self._api.update(kind, namespace, name, orjson.dumps(body), subresource=part)
        written: dict[str, Any] = orjson.loads(raw)
        return written

    async def unmake(self, kind: Kind, recorded: dict[str, Any]) -> None:
        """Delete our object at once if it is still there."""
        namespace, name = recorded["metadata"].get("namespace", ""), recorded["metadata"]["name"]
        if await self.current(kind, recorded) is not None:
            await self._api.delete(kind, namespace, name, body=b'{"gracePeriodSeconds":0}')
