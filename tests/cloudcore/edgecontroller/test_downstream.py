"""What nodes are sent when something changes in the API."""

from __future__ import annotations

import asyncio

import orjson

from kubeedge.kube.api import MERGE_PATCH
from kubeedge.kube.kinds import CONFIG_MAP, NODE, POD, SECRET
from kubeedge.message import new_message
from tests.cloudcore.edgecontroller.conftest import EDGE, Cloud

MOUNT = {"volumes": [{"name": "v", "configMap": {"name": "app"}}, {"name": "s", "secret": {"secretName": "key"}}]}


async def test_a_pod_is_inserted_updated_and_deleted_at_its_node(cloud: Cloud) -> None:
    await cloud.node("e1")
    node = await cloud.hub.push("update", "node/e1/null/node/e1")
    assert orjson.loads(node.content)["kind"] == "Node"
    assert node.resource_version == orjson.loads(node.content)["metadata"]["resourceVersion"]
    pod = await cloud.pod("web", "e1")
    insert = await cloud.hub.push("insert", "node/e1/default/pod/web")
    assert (insert.source, insert.group, insert.parent_id) == ("edgecontroller", "resource", "")
    assert insert.resource_version == pod["metadata"]["resourceVersion"]
    content = orjson.loads(insert.content)
    assert (content["kind"], content["apiVersion"], content["spec"]["nodeName"]) == ("Pod", "v1", "e1")
    await cloud.api.patch(POD, "default", "web", b'{"metadata":{"labels":{"a":"b"}}}', MERGE_PATCH)
    update = await cloud.hub.push("update", "node/e1/default/pod/web")
    assert orjson.loads(update.content)["metadata"]["labels"] == {"a": "b"}
    await cloud.api.delete(POD, "default", "web", body=b'{"gracePeriodSeconds":0}')
    delete = await cloud.hub.push("delete", "node/e1/default/pod/web")
    assert orjson.loads(delete.content)["metadata"]["uid"] == pod["metadata"]["uid"]
    assert cloud.hub.pushes() == []


async def test_graceful_deletion_is_an_update_first(cloud: Cloud) -> None:
    await cloud.node("e1")
    await cloud.pod("web", "e1")
    await cloud.hub.push("insert", "node/e1/default/pod/web")
    await cloud.api.delete(POD, "default", "web")
    update = await cloud.hub.push("update", "node/e1/default/pod/web")
    assert orjson.loads(update.content)["metadata"]["deletionTimestamp"]


async def test_a_pod_bound_before_its_node_is_an_edge_node_is_sent_then(cloud: Cloud) -> None:
    await cloud.node("e1", labels={})
    await cloud.pod("early", "e1")
    await cloud.pod("elsewhere", "other")
    await asyncio.sleep(0.05)
    assert cloud.hub.pushes() == []
    await cloud.api.patch(NODE, "", "e1", orjson.dumps({"metadata": {"labels": EDGE}}), MERGE_PATCH)
    await cloud.hub.push("insert", "node/e1/default/pod/early")
    assert cloud.hub.pushes() == [("update", "node/e1/null/node/e1")]


async def test_pods_of_nodes_that_are_no_edge_nodes_are_not_sent(cloud: Cloud) -> None:
    await cloud.node("n1", labels={"node-role.kubernetes.io/edge": "true"})
    await cloud.pod("web", "n1")
    await cloud.node("e1")
    await cloud.hub.push("update", "node/e1/null/node/e1")
    assert cloud.hub.pushes() == []


async def test_a_node_that_connects_is_offered_what_is_its_own(cloud: Cloud) -> None:
    await cloud.node("e1")
    await cloud.pod("web", "e1")
    await cloud.hub.push("insert", "node/e1/default/pod/web")
    cloud.hub.sent.clear()
    cloud.bus.send_group("edgecontroller", new_message("cloudhub", "resource", "connected", "node/e1", b"{}"))
    assert cloud.hub.pushes() == [("update", "node/e1/null/node/e1"), ("insert", "node/e1/default/pod/web")]
    cloud.bus.send_group("edgecontroller", new_message("cloudhub", "resource", "connected", "node/none", b"{}"))
    cloud.bus.send_group("edgecontroller", new_message("cloudhub", "resource", "disconnected", "node/e1", b"{}"))
    assert len(cloud.hub.pushes()) == 2


async def test_losing_the_label_or_the_node_ends_it_with_a_delete_that_has_no_content(cloud: Cloud) -> None:
    await cloud.node("e1")
    await cloud.hub.push("update", "node/e1/null/node/e1")
    labels = {"metadata": {"labels": {"node-role.kubernetes.io/edge": None}}}
    await cloud.api.patch(NODE, "", "e1", orjson.dumps(labels), MERGE_PATCH)
    gone = await cloud.hub.push("delete", "node/e1/null/node/e1")
    assert (gone.content, gone.resource_version) == (b"null", "")
    await cloud.api.patch(NODE, "", "e1", orjson.dumps({"metadata": {"labels": EDGE}}), MERGE_PATCH)
    await cloud.hub.push("update", "node/e1/null/node/e1")
    await cloud.api.delete(NODE, "", "e1")
    await cloud.hub.push("delete", "node/e1/null/node/e1")


async def test_changes_of_what_pods_reference_reach_their_nodes_and_no_other(cloud: Cloud) -> None:
    for name in ("e1", "e2", "e3"):
        await cloud.node(name)
        await cloud.pod(f"pod-{name}", name, **(MOUNT if name != "e3" else {}))
        await cloud.hub.push("insert", f"node/{name}/default/pod/pod-{name}")
    cloud.hub.sent.clear()
    await cloud.api.create(CONFIG_MAP, "default", b'{"metadata":{"name":"app"},"data":{"a":"1"}}')
    first = await cloud.hub.push("insert", "node/e1/default/configmap/app")
    second = await cloud.hub.push("insert", "node/e2/default/configmap/app")
    # One serialisation, whatever the number of nodes.
    assert first.content is second.content
    await cloud.api.patch(CONFIG_MAP, "default", "app", b'{"data":{"a":"2"}}', MERGE_PATCH)
    await cloud.hub.push("update", "node/e1/default/configmap/app")
    await cloud.hub.push("update", "node/e2/default/configmap/app")
    # A Secret is never inserted.
    await cloud.api.create(SECRET, "default", b'{"metadata":{"name":"key"}}')
    await cloud.hub.push("update", "node/e1/default/secret/key")
    await cloud.hub.push("update", "node/e2/default/secret/key")
    assert cloud.hub.pushes() == []


async def test_a_configmap_deleted_and_made_again_comes_back(cloud: Cloud) -> None:
    await cloud.node("e1")
    await cloud.pod("web", "e1", **MOUNT)
    await cloud.hub.push("insert", "node/e1/default/pod/web")
    await cloud.api.create(CONFIG_MAP, "default", b'{"metadata":{"name":"app"}}')
    await cloud.hub.push("insert", "node/e1/default/configmap/app")
    await cloud.api.delete(CONFIG_MAP, "default", "app")
    await cloud.hub.push("delete", "node/e1/default/configmap/app")
    await cloud.api.create(CONFIG_MAP, "default", b'{"metadata":{"name":"app"}}')
    await cloud.hub.push("insert", "node/e1/default/configmap/app")


async def test_a_node_without_a_pod_that_references_it_gets_no_secret_any_more(cloud: Cloud) -> None:
    await cloud.node("e1")
    await cloud.pod("web", "e1", **MOUNT)
    await cloud.hub.push("insert", "node/e1/default/pod/web")
    await cloud.api.create(SECRET, "default", b'{"metadata":{"name":"key"}}')
    await cloud.hub.push("update", "node/e1/default/secret/key")
    await cloud.api.delete(POD, "default", "web", body=b'{"gracePeriodSeconds":0}')
    await cloud.hub.push("delete", "node/e1/default/pod/web")
    cloud.hub.sent.clear()
    await cloud.api.patch(SECRET, "default", "key", b'{"data":{"a":"YQ=="}}', MERGE_PATCH)
    await cloud.node("e2")
    await cloud.hub.push("update", "node/e2/null/node/e2")
    assert cloud.hub.pushes() == []
