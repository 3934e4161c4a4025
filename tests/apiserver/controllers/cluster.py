"""A cluster for tests: an engine without HTTPS, and nodes whose pods run at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson

from kubeedge.apiserver.bootstrap import bootstrap
from kubeedge.apiserver.definitions import Definitions
from kubeedge.apiserver.engine import Engine
from kubeedge.apiserver.kinds.table import builtin
from kubeedge.apiserver.local import LocalApi
from kubeedge.apiserver.storage import Storage
from kubeedge.kube import kinds
from kubeedge.kube.api import MERGE_PATCH, STRATEGIC_MERGE_PATCH, ApiError, Kind, KubeApi
from kubeedge.kube.informer import Informer
from kubeedge.kube.instants import micro_timestamp, timestamp
from kubeedge.kube.object import Object

TIMEOUT_S = 10.0


class Cluster:
    """Calls on objects as dicts, and nodes that do what an edge node would."""

    def __init__(self, api: KubeApi, tasks: asyncio.TaskGroup) -> None:
        self.api = api
        self._tasks = tasks
        self._addresses = 0
        self.silent: set[str] = set()
        self.unready: set[str] = set()
        """Names of nodes on which pods run but don't become ready."""

    async def create(self, kind: Kind, body: dict[str, Any], namespace: str = "default") -> dict[str, Any]:
        answer = await self.api.create(kind, namespace if kind.namespaced else "", orjson.dumps(body))
        return dict(orjson.loads(answer))

    async def get(self, kind: Kind, name: str, namespace: str = "default") -> dict[str, Any] | None:
        try:
            return dict(orjson.loads(await self.api.get(kind, namespace if kind.namespaced else "", name)))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def list(self, kind: Kind, namespace: str = "", selector: str = "") -> list[dict[str, Any]]:
        page = await self.api.list(kind, namespace, label_selector=selector)
        return [orjson.loads(raw) for raw in page.items]

    async def patch(
        self, kind: Kind, name: str, patch: dict[str, Any], namespace: str = "default", subresource: str = ""
    ) -> dict[str, Any]:
        patch_type = STRATEGIC_MERGE_PATCH if subresource == "status" else MERGE_PATCH
        answer = await self.api.patch(
            kind, namespace if kind.namespaced else "", name, orjson.dumps(patch), patch_type, subresource=subresource
        )
        return dict(orjson.loads(answer))

    async def delete(self, kind: Kind, name: str, namespace: str = "default", **options: Any) -> None:
        await self.api.delete(kind, namespace if kind.namespaced else "", name, body=orjson.dumps(options))

    async def events(self, reason: str) -> list[dict[str, Any]]:
        return [event for event in await self.list(kinds.EVENT) if event["reason"] == reason]

    async def told(self, reason: str, count: int = 1) -> list[dict[str, Any]]:
        """Wait until there are count events with this reason; they are written after what they tell of."""

        async def look() -> list[dict[str, Any]]:
            found = await self.events(reason)
            return found if len(found) >= count else []

        return list(await until(look))

    async def add_node(self, name: str, *, cpu: str = "4", pods: str = "20", **labels: str) -> None:
        """Register a node and keep it alive until its name is in silent."""
        await self.create(
            kinds.NODE, {"metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}}}
        )
        await self.beat(name, allocatable={"cpu": cpu, "memory": "8Gi", "pods": pods})
        self._tasks.create_task(self._live(name))

    async def beat(self, name: str, **status: Any) -> None:
        now = timestamp(time.time())
        types = {"Ready": "True", "MemoryPressure": "False", "DiskPressure": "False", "PIDPressure": "False"}
        conditions = [
            {"type": type_, "status": state, "lastHeartbeatTime": now, "lastTransitionTime": now, "reason": "Test"}
            for type_, state in types.items()
        ]
        await self.patch(kinds.NODE, name, {"status": {**status, "conditions": conditions}}, subresource="status")

    async def renew(self, name: str) -> None:
        spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": micro_timestamp(time.time())}
        if await self.get(kinds.LEASE, name, "kube-node-lease") is None:
            await self.create(kinds.LEASE, {"metadata": {"name": name}, "spec": spec}, "kube-node-lease")
        else:
            await self.patch(kinds.LEASE, name, {"spec": spec}, "kube-node-lease")

    async def _live(self, name: str) -> None:
        queue: asyncio.Queue[Object] = asyncio.Queue()
        pods = Informer(self.api, kinds.POD, field_selector=f"spec.nodeName={name}")
        pods.on_event(lambda type_, new, old: queue.put_nowait(new) if type_ != "DELETED" else None)
        self._tasks.create_task(pods.run())
        due = 0.0
        while True:
            if time.monotonic() >= due and name not in self.silent:
                await self.renew(name)
                if await self._is_lost(name):
                    await self.beat(name)
                due = time.monotonic() + 0.1
            try:
                async with asyncio.timeout(0.05):
                    pod = await queue.get()
            except TimeoutError:
                continue
            if name not in self.silent:
                try:
                    await self._work_on(pod.data(), is_ready=name not in self.unready)
                except ApiError as error:
                    if error.code not in (404, 409):
                        raise

    async def _is_lost(self, name: str) -> bool:
        """Tell whether the node is taken for dead, as it may be on a busy machine."""
        node = await self.get(kinds.NODE, name)
        conditions = node["status"].get("conditions", []) if node is not None else []
        return any(entry["type"] == "Ready" and entry["status"] == "Unknown" for entry in conditions)

    async def _work_on(self, pod: dict[str, Any], *, is_ready: bool) -> None:
        meta = pod["metadata"]
        if "deletionTimestamp" in meta:
            options = {"gracePeriodSeconds": 0, "preconditions": {"uid": meta["uid"]}}
            await self.delete(kinds.POD, meta["name"], meta["namespace"], **options)
        elif pod["status"].get("phase") == "Pending":
            self._addresses += 1
            address = f"10.1.{self._addresses // 250}.{self._addresses % 250 + 1}"
            ready = {
                "type": "Ready",
                "status": "True" if is_ready else "False",
                "lastTransitionTime": timestamp(time.time()),
            }
            status = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}], "conditions": [ready]}
            await self.patch(kinds.POD, meta["name"], {"status": status}, meta["namespace"], "status")


async def until(what: Callable[[], Any], timeout_s: float = TIMEOUT_S) -> Any:
    """Call what, an async function, until it gives something true; return that."""
    async with asyncio.timeout(timeout_s):
        while True:
            found = await what()
            if found:
                return found
            await asyncio.sleep(0.01)


@asynccontextmanager
async def engine_api(path: Path) -> AsyncIterator[LocalApi]:
    """An engine on its own storage."""
    storage = Storage(path)
    await storage.open()
    try:
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(storage.run())]
            registry = builtin()
            engine = Engine(storage, registry)
            definitions = Definitions(storage, registry, engine.deleter)
            definitions.start()
            running.append(tasks.create_task(definitions.run()))
            api = LocalApi(engine)
            await bootstrap(api, 6443)
            yield api
            for task in running:
                task.cancel()
    finally:
        await storage.close()


def pod_template(app: str, image: str = "busybox:1", **spec: Any) -> dict[str, Any]:
    """A pod template with label app."""
    return {"metadata": {"labels": {"app": app}}, "spec": {"containers": [{"name": "c", "image": image}], **spec}}


def workload(name: str, image: str = "busybox:1", **spec: Any) -> dict[str, Any]:
    """A Deployment, ReplicaSet or DaemonSet with selector app=<name>."""
    return {
        "metadata": {"name": name},
        "spec": {"selector": {"matchLabels": {"app": name}}, "template": pod_template(name, image), **spec},
    }
