"""With node authorization enforced, the API decides what a node may read and write (spec 02 §1.8)."""

from __future__ import annotations

from typing import Any

import orjson

from kubeedge.kube.kinds import CONFIG_MAP, SECRET
from kubeedge.message import Message
from tests.cloudcore.edgecontroller.conftest import Cloud

MOUNT = {"volumes": [{"name": "v", "configMap": {"name": "app"}}, {"name": "s", "secret": {"secretName": "key"}}]}


def reason(answer: Message) -> str:
    """Return why a request failed, empty when it did not."""
    content = orjson.loads(answer.content)
    error: dict[str, Any] | None = content.get("Err", content) if isinstance(content, dict) else None
    return str(error["ErrStatus"]["reason"]) if error and "ErrStatus" in error else ""


async def test_a_node_reads_what_its_pods_reference_and_nothing_else(strict_cloud: Cloud) -> None:
    cloud = strict_cloud
    for name in ("e1", "e2"):
        await cloud.node(name)
    await cloud.api.create(CONFIG_MAP, "default", b'{"metadata":{"name":"app"}}')
    await cloud.api.create(SECRET, "default", b'{"metadata":{"name":"key"}}')
    await cloud.pod("web", "e1", **MOUNT)
    for resource in ("default/configmap/app", "default/secret/key"):
        assert reason(await cloud.ask("e1", "query", resource)) == ""
        assert reason(await cloud.ask("e2", "query", resource)) == "Forbidden"


async def test_a_node_registers_keeps_its_lease_and_reports_as_before(strict_cloud: Cloud) -> None:
    cloud = strict_cloud
    node = {"metadata": {"name": "e1", "labels": {"node-role.kubernetes.io/edge": "", "kubernetes.io/os": "linux"}}}
    assert reason(await cloud.ask("e1", "insert", "null/node/e1", node)) == ""
    lease = {"metadata": {"name": "e1", "namespace": "kube-node-lease"}, "spec": {"holderIdentity": "e1"}}
    assert reason(await cloud.ask("e1", "query", "kube-node-lease/lease/e1")) == "NotFound"
    assert reason(await cloud.ask("e1", "insert", "kube-node-lease/lease/e1", lease)) == ""
    assert reason(await cloud.ask("e1", "patch", "null/nodepatch/e1", "{}")) == ""
    uid = (await cloud.pod("web", "e1"))["metadata"]["uid"]
    patch = orjson.dumps({"metadata": {"uid": uid}, "status": {"phase": "Running"}}).decode()
    assert reason(await cloud.ask("e1", "patch", "default/podpatch/web", patch)) == ""
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "web", "uid": uid}
    token = {"spec": {"audiences": None, "expirationSeconds": 3607, "boundObjectRef": bound}}
    assert reason(await cloud.ask("e1", "query", "default/serviceaccounttoken/default", token)) == ""
    deletion = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
    assert (await cloud.ask("e1", "delete", "default/pod/web", deletion)).content == b'"OK"'
