"""Repair of what nodes missed, on the embedded API."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from kubeedge.bus import Bus
from kubeedge.cloudcore.synccontroller import sync as sync_module
from kubeedge.cloudcore.synccontroller.controller import SyncController
from kubeedge.kube.api import MERGE_PATCH, Kind, KubeApi
from kubeedge.kube.caches import Caches
from kubeedge.kube.crds import ensure_installed
from kubeedge.kube.kinds import (
    CLUSTER_OBJECT_SYNC,
    CONFIG_MAP,
    DEVICE,
    DEVICE_MODEL,
    NODE,
    OBJECT_SYNC,
    PERSISTENT_VOLUME_CLAIM,
)
from kubeedge.message import new_message
from tests.cloudcore.conftest import Hub

RULE = Kind("rules.kubeedge.io", "v1", "rules", "Rule", True)
INDEXES = {"node": sync_module.by_node, "object": sync_module.by_object}


class Cloud:
    """The controller's surroundings."""

    def __init__(self, api: KubeApi, bus: Bus, hub: Hub) -> None:
        self.api = api
        self.bus = bus
        self.hub = hub
        self.connected = {"e1"}
        self.caches = Caches(api)
        self.syncs = self.caches.open(OBJECT_SYNC, indexes=INDEXES)
        self.cluster_syncs = self.caches.open(CLUSTER_OBJECT_SYNC, indexes=INDEXES)
        self.controller = SyncController(
            bus,
            api,
            self.caches,
            self.caches.open(NODE),
            self.syncs,
            self.cluster_syncs,
            is_connected=lambda node: node in self.connected,
            full_pass_s=3600,
            settle_s=0.1,
        )

    async def config_map(self, name: str = "app") -> dict[str, Any]:
        """Make a ConfigMap."""
        raw = await self.api.create(CONFIG_MAP, "default", orjson.dumps({"metadata": {"name": name}}))
        object: dict[str, Any] = orjson.loads(raw)
        return object

    async def sync(
        self,
        node: str,
        uid: str,
        version: str | None,
        *,
        kind: str = "ConfigMap",
        name: str = "app",
        api_version: str = "v1",
    ) -> None:
        """Make an ObjectSync, with a status unless version is None."""
        body: dict[str, Any] = {
            "apiVersion": OBJECT_SYNC.api_version,
            "kind": OBJECT_SYNC.kind,
            "metadata": {"name": f"{node}.{uid}"},
            "spec": {"objectAPIVersion": api_version, "objectKind": kind, "objectName": name},
        }
        made = orjson.loads(await self.api.create(OBJECT_SYNC, "default", orjson.dumps(body)))
        if version is not None:
            made["status"] = {"objectResourceVersion": version}
            await self.api.update(
                OBJECT_SYNC, "default", body["metadata"]["name"], orjson.dumps(made), subresource="status"
            )

    def connect(self, node: str) -> None:
        """Tell the controller that node has connected."""
        self.connected.add(node)
        self.bus.send("synccontroller", new_message("cloudhub", "resource", "connected", f"node/{node}", b"{}"))

    async def until_gone(self, kind: Kind, namespace: str, name: str) -> None:
        """Wait for an object to be deleted."""
        informer = self.caches.open(kind)
        gone = asyncio.Event()
        informer.on_event(lambda type_, new, _: gone.set() if (type_, new.name) == ("DELETED", name) else None)
        if informer.get(namespace, name) is None and informer.has_synced:
            return
        async with asyncio.timeout(5):
            await gone.wait()

    async def __aenter__(self) -> Cloud:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self._running = [
            self._group.create_task(self.caches.run()),
            self._group.create_task(self.controller.run()),
        ]
        for informer in (self.syncs, self.cluster_syncs):
            await informer.synced()
        return self

    async def __aexit__(self, *error: Any) -> None:
        for task in self._running:
            task.cancel()
        await self._group.__aexit__(None, None, None)


@pytest.fixture
async def cloud(api: KubeApi, bus: Bus, hub: Hub) -> Cloud:
    """Surroundings with Nodes e1 and e2, not yet running."""
    await ensure_installed(api)
    for name in ("e1", "e2"):
        await api.create(NODE, "", orjson.dumps({"metadata": {"name": name}}))
    return Cloud(api, bus, hub)


async def test_a_newer_object_is_sent_whole_and_a_known_one_not(cloud: Cloud) -> None:
    object = await cloud.config_map()
    uid, version = object["metadata"]["uid"], object["metadata"]["resourceVersion"]
    same = await cloud.config_map("same")
    await cloud.sync("e1", uid, str(int(version) - 1))
    await cloud.sync("e1", same["metadata"]["uid"], same["metadata"]["resourceVersion"], name="same")
    async with cloud:
        update = await cloud.hub.push("update", "node/e1/default/configmap/app")
        assert (update.source, update.group, update.resource_version) == ("edgecontroller", "resource", version)
        assert orjson.loads(update.content)["kind"] == "ConfigMap"
        await asyncio.sleep(0.05)
        assert cloud.hub.sent == []


@pytest.mark.parametrize("version", [None, "", "0"])
async def test_a_sync_without_a_version_counts_as_never_acked(cloud: Cloud, version: str | None) -> None:
    object = await cloud.config_map()
    await cloud.sync("e1", object["metadata"]["uid"], version)
    async with cloud:
        await cloud.hub.push("update", "node/e1/default/configmap/app")


async def test_what_is_gone_or_another_is_deleted_with_its_uid(cloud: Cloud) -> None:
    await cloud.config_map("remade")
    await cloud.sync("e1", "11111111-0000-0000-0000-000000000000", "5", name="gone")
    await cloud.sync("e1", "22222222-0000-0000-0000-000000000000", "5", name="remade")
    async with cloud:
        for name, uid in (("gone", "11111111"), ("remade", "22222222")):
            delete = await cloud.hub.push("delete", f"node/e1/default/configmap/{name}")
            assert orjson.loads(delete.content) == {
                "metadata": {"name": name, "namespace": "default", "uid": f"{uid}-0000-0000-0000-000000000000"}
            }
            assert delete.resource_version == ""


async def test_only_connected_nodes_are_told_and_others_when_they_connect_deletions_first(cloud: Cloud) -> None:
    object = await cloud.config_map()
    await cloud.sync("e2", object["metadata"]["uid"], "1")
    await cloud.sync("e2", "11111111-0000-0000-0000-000000000000", "5", name="gone")
    await cloud.sync("e1", "11111111-0000-0000-0000-000000000000", "5", name="gone")
    async with cloud:
        await cloud.hub.push("delete", "node/e1/default/configmap/gone")
        assert cloud.hub.sent == []
        cloud.connect("e2")
        assert cloud.hub.pushes() == [
            ("delete", "node/e2/default/configmap/gone"),
            ("update", "node/e2/default/configmap/app"),
        ]


async def test_a_change_of_an_object_is_told_to_nodes_that_have_it(cloud: Cloud) -> None:
    claim = {
        "metadata": {"name": "c"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    made = orjson.loads(await cloud.api.create(PERSISTENT_VOLUME_CLAIM, "default", orjson.dumps(claim)))
    version = made["metadata"]["resourceVersion"]
    await cloud.sync("e1", made["metadata"]["uid"], version, kind="PersistentVolumeClaim", name="c")
    async with cloud:
        await asyncio.sleep(0.1)
        assert cloud.hub.sent == []
        await cloud.api.patch(
            PERSISTENT_VOLUME_CLAIM, "default", "c", b'{"metadata":{"labels":{"a":"b"}}}', MERGE_PATCH
        )
        update = await cloud.hub.push("update", "node/e1/default/persistentvolumeclaim/c")
        assert orjson.loads(update.content)["kind"] == "PersistentVolumeClaim"


async def test_what_is_pushed_anyway_is_looked_at_when_that_has_settled(cloud: Cloud) -> None:
    body = {"metadata": {"name": "app"}, "data": {"a": "b"}}
    made = orjson.loads(await cloud.api.create(CONFIG_MAP, "default", orjson.dumps(body)))
    await cloud.sync("e1", made["metadata"]["uid"], made["metadata"]["resourceVersion"])
    async with cloud:
        await asyncio.sleep(0.1)
        for value in b"cde":
            patch = b'{"data":{"a":"%c"}}' % value
            await cloud.api.patch(CONFIG_MAP, "default", "app", patch, MERGE_PATCH)
            assert cloud.hub.sent == []
        update = await cloud.hub.push("update", "node/e1/default/configmap/app")
        assert orjson.loads(update.content)["data"] == {"a": "e"}
        await cloud.api.delete(CONFIG_MAP, "default", "app")
        await cloud.hub.push("delete", "node/e1/default/configmap/app")


async def test_custom_kinds_are_found_by_their_definition(cloud: Cloud) -> None:
    resources = {"sourceResource": {"path": "/a"}, "targetResource": {"resource": "http://a"}}
    rule = {"metadata": {"name": "rule"}, "spec": {"source": "rest", "target": "servicebus", **resources}}
    made = orjson.loads(await cloud.api.create(RULE, "default", orjson.dumps(rule)))
    await cloud.sync("e1", made["metadata"]["uid"], "1", kind="Rule", name="rule", api_version=RULE.api_version)
    await cloud.sync("e1", "33333333-0000-0000-0000-000000000000", "1", kind="Nothing", api_version="no.such/v1")
    await cloud.sync("e1", "44444444-0000-0000-0000-000000000000", "1", kind="", api_version="")
    async with cloud:
        await cloud.hub.push("update", "node/e1/default/rule/rule")
        await asyncio.sleep(0.05)
        assert cloud.hub.sent == []


async def test_q8_devices_are_repaired_in_the_name_of_devicecontroller(cloud: Cloud) -> None:
    """A Go edge hands to its mappers only what comes from there."""
    for kind, name in ((DEVICE_MODEL, "thermo"), (DEVICE, "sensor")):
        made = orjson.loads(await cloud.api.create(kind, "default", orjson.dumps({"metadata": {"name": name}})))
        uid, version = made["metadata"]["uid"], made["metadata"]["resourceVersion"]
        await cloud.sync("e1", uid, str(int(version) - 1), kind=kind.kind, name=name, api_version=kind.api_version)
    async with cloud:
        for kind, name in ((DEVICE_MODEL, "thermo"), (DEVICE, "sensor")):
            update = await cloud.hub.push("update", f"node/e1/default/{kind.kind.lower()}/{name}")
            assert update.source == "devicecontroller"
            await cloud.api.delete(kind, "default", name)
            delete = await cloud.hub.push("delete", f"node/e1/default/{kind.kind.lower()}/{name}")
            assert delete.source == "devicecontroller"


async def test_a_device_that_moved_while_its_node_was_away_is_taken_from_it(cloud: Cloud) -> None:
    body = {"metadata": {"name": "sensor"}, "spec": {"nodeName": "e2"}}
    made = orjson.loads(await cloud.api.create(DEVICE, "default", orjson.dumps(body)))
    uid, version = made["metadata"]["uid"], made["metadata"]["resourceVersion"]
    for node in ("e1", "e2"):
        await cloud.sync(node, uid, version, kind="Device", name="sensor", api_version=DEVICE.api_version)
    cloud.connected.clear()
    cloud.controller._belongs = lambda kind, object, node: node == "e2"
    async with cloud:
        cloud.connect("e1")
        delete = await cloud.hub.push("delete", "node/e1/default/device/sensor")
        assert orjson.loads(delete.content)["metadata"]["uid"] == uid
        cloud.connect("e2")
        await asyncio.sleep(0.3)
        assert cloud.hub.pushes().count(("delete", "node/e2/default/device/sensor")) == 0


async def test_syncs_of_nodes_that_do_not_exist_are_removed(cloud: Cloud) -> None:
    object = await cloud.config_map()
    uid = object["metadata"]["uid"]
    await cloud.sync("ghost", uid, "1")
    await cloud.sync("e2", uid, object["metadata"]["resourceVersion"])
    async with cloud:
        await cloud.until_gone(OBJECT_SYNC, "default", f"ghost.{uid}")
        await cloud.api.delete(NODE, "", "e2")
        await cloud.until_gone(OBJECT_SYNC, "default", f"e2.{uid}")
        assert cloud.hub.sent == []


async def test_the_outdated_sync_of_a_node_made_again_is_removed_and_never_sent(cloud: Cloud) -> None:
    name = "e1.55555555-0000-0000-0000-000000000000"
    body = {
        "apiVersion": CLUSTER_OBJECT_SYNC.api_version,
        "kind": CLUSTER_OBJECT_SYNC.kind,
        "metadata": {"name": name},
        "spec": {"objectAPIVersion": "v1", "objectKind": "Node", "objectName": "e1"},
    }
    await cloud.api.create(CLUSTER_OBJECT_SYNC, "", orjson.dumps(body))
    async with cloud:
        await cloud.until_gone(CLUSTER_OBJECT_SYNC, "", name)
        assert cloud.hub.sent == []


def test_names_are_split_at_the_last_dot() -> None:
    assert sync_module.split_name("edge.example.org.1234-5") == ("edge.example.org", "1234-5")
    assert sync_module.split_name("nodot") == ("", "nodot")
