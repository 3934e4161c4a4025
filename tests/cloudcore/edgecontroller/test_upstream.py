"""Every request that a node can make, and its exact answer (spec 03 §2.3)."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from kubeedge.bus import Bus
from kubeedge.cloudcore.edgecontroller import upstream as upstream_module
from kubeedge.cloudcore.edgecontroller.nodes import NodeRequests
from kubeedge.kube.api import ApiError, ApiUnavailableError, KubeApi
from kubeedge.kube.informer import Informer
from kubeedge.kube.kinds import (
    CERTIFICATE_SIGNING_REQUEST,
    CONFIG_MAP,
    EVENT,
    LEASE,
    NODE,
    PERSISTENT_VOLUME,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    SECRET,
    VOLUME_ATTACHMENT,
)
from kubeedge.message import Message
from tests.cloudcore.conftest import Hub
from tests.cloudcore.edgecontroller.conftest import LOCAL_IP, Cloud

REGISTRATION = {
    "metadata": {
        "name": "e1",
        "creationTimestamp": None,
        "labels": {"kubernetes.io/os": "linux", "node-role.kubernetes.io/edge": "", "mine": "x", "k8s.io/a": "b"},
        "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
    },
    "spec": {},
    "status": {
        "capacity": {"cpu": "2", "memory": "1Gi", "pods": "110"},
        "daemonEndpoints": {"kubeletEndpoint": {"Port": 10350}},
    },
}
LEASE_BODY = {
    "metadata": {"name": "e1", "namespace": "kube-node-lease", "creationTimestamp": None},
    "spec": {"holderIdentity": "e1", "leaseDurationSeconds": 40, "renewTime": "2026-11-24T08:31:15.590029Z"},
}

EVENT_BODY = {
    "metadata": {"name": "web.1", "namespace": "default"},
    "involvedObject": {"kind": "Pod", "name": "web", "namespace": "default"},
    "reason": "Pulled",
    "message": "it is here",
    "type": "Normal",
    "count": 1,
}


def content(message: Message) -> Any:
    """Return the content of an answer."""
    return orjson.loads(message.content)


def status(message: Message) -> dict[str, Any]:
    """Return the Status of an ERR answer."""
    error: dict[str, Any] = content(message)["ErrStatus"]
    return error


def assert_resp(message: Message, resource: str, *, has_version: bool) -> dict[str, Any]:
    """Check the form RESP of a success and return its object."""
    assert (message.source, message.group, message.operation) == ("edgecontroller", "resource", "response")
    assert message.resource == resource
    answer = content(message)
    assert set(answer) == {"Object", "Err"}
    assert answer["Err"] is None
    object: dict[str, Any] = answer["Object"]
    assert "kind" not in object
    assert message.resource_version == (object["metadata"]["resourceVersion"] if has_version else "")
    return object


async def fetch(api: KubeApi, kind: Any, namespace: str, name: str) -> dict[str, Any]:
    """Read an object."""
    object: dict[str, Any] = orjson.loads(await api.get(kind, namespace, name))
    return object


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubeedge.cloudcore.edgecontroller.queries.PATIENCE_S", 0.3)


class TestNode:
    """Requests about the sender's own Node."""

    async def test_registration_sets_reserved_labels_and_the_annotation(self, cloud: Cloud) -> None:
        answer = await cloud.ask("e1", "insert", "null/node/e1", REGISTRATION)
        node = assert_resp(answer, "node/e1/null/node/e1", has_version=False)
        assert node["metadata"]["labels"].items() >= REGISTRATION["metadata"]["labels"].items()  # type: ignore[index]
        assert node["metadata"]["annotations"]["cloudcore"] == LOCAL_IP
        assert node["status"]["capacity"]["pods"] == "110"
        await cloud.hub.push("update", "node/e1/null/node/e1")

    async def test_a_second_registration_is_answered_as_go_does(self, cloud: Cloud) -> None:
        await cloud.ask("e1", "insert", "null/node/e1", REGISTRATION)
        answer = content(await cloud.ask("e1", "insert", "null/node/e1", REGISTRATION))
        assert answer["Err"]["ErrStatus"]["reason"] == "AlreadyExists"
        assert answer["Err"]["ErrStatus"]["details"] == {"name": "e1", "kind": "nodes"}
        assert answer["Object"]["metadata"] == {
            "creationTimestamp": None,
            "labels": {"kubernetes.io/os": "linux", "node-role.kubernetes.io/edge": ""},
        }
        assert answer["Object"]["status"]["nodeInfo"]["machineID"] == ""

    async def test_a_registration_whose_labels_cannot_be_set_is_taken_back_and_told(
        self, api: KubeApi, bus: Bus, hub: Hub, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Patchless:
            def __getattr__(self, name: str) -> Any:
                return getattr(api, name)

            async def patch(self, *_: Any, **__: Any) -> bytes:
                raise ApiUnavailableError("no patches today")

        monkeypatch.setattr("kubeedge.cloudcore.edgecontroller.nodes.LABEL_PATCH_PAUSE_S", 0.001)
        broken: Any = Patchless()
        requests = NodeRequests(broken, Informer(api, NODE), LOCAL_IP, 10)
        request = upstream_module.Request(
            upstream_module.Message(
                "m", "", 0, "", "edged", "meta", "insert", "node/e1/null/node/e1", orjson.dumps(REGISTRATION)
            )
        )
        answer = content(await requests.insert(request, ""))
        assert answer["Err"]["ErrStatus"]["reason"] == "ServiceUnavailable"
        with pytest.raises(ApiError, match="not found"):
            await api.get(NODE, "", "e1")

    async def test_status_patch_as_text_or_object_is_applied_and_echoed(self, cloud: Cloud) -> None:
        await cloud.ask("e1", "insert", "null/node/e1", REGISTRATION)
        patch = {"status": {"conditions": [{"type": "Ready", "status": "True", "reason": "EdgeReady"}]}}
        for form in (orjson.dumps(patch).decode(), patch, "{}"):
            answer = await cloud.ask("e1", "patch", "null/nodepatch/e1", form)
            node = assert_resp(answer, "node/e1/null/nodepatch/e1", has_version=True)
            assert node["status"]["conditions"][0]["reason"] == "EdgeReady"

    async def test_update_merges_labels_and_annotations_and_nothing_else(self, cloud: Cloud) -> None:
        await cloud.ask("e1", "insert", "null/node/e1", REGISTRATION)
        changed = {
            "metadata": {"labels": {"new": "1"}, "annotations": {"a": "b"}, "resourceVersion": "1"},
            "spec": {"taints": [{}]},
        }
        answer = await cloud.ask("e1", "update", "null/node/e1", changed)
        node = await fetch(cloud.api, NODE, "", "e1")
        assert (answer.content, answer.resource) == (b'"OK"', "node/e1/null/node/e1")
        assert answer.resource_version == node["metadata"]["resourceVersion"]
        assert node["metadata"]["labels"]["new"] == "1"
        assert node["metadata"]["labels"]["mine"] == "x"
        assert {} not in node["spec"].get("taints", [])
        assert status(await cloud.ask("e2", "update", "null/node/e2", changed))["reason"] == "NotFound"

    async def test_query_gives_the_node_or_not_found(self, cloud: Cloud) -> None:
        await cloud.node("e1")
        await cloud.hub.push("update", "node/e1/null/node/e1")
        answer = await cloud.ask("e1", "query", "null/node/e1")
        assert content(answer)["kind"] == "Node"
        assert answer.resource_version == content(answer)["metadata"]["resourceVersion"]
        assert status(await cloud.ask("e9", "query", "null/node/e9"))["message"] == 'node "e9" not found'

    @pytest.mark.parametrize(
        ("operation", "resource"),
        [
            ("insert", "null/node/e2"),
            ("update", "null/node/e2"),
            ("query", "null/node/e2"),
            ("patch", "null/nodepatch/e2"),
            ("insert", "default/nodestatus/e2"),
            ("update", "default/nodestatus/e2"),
            ("query", "kube-node-lease/lease/e2"),
            ("insert", "kube-node-lease/lease/e2"),
            ("update", "kube-node-lease/lease/e2"),
        ],
    )
    async def test_node_cannot_speak_for_another_node(self, cloud: Cloud, operation: str, resource: str) -> None:
        await cloud.node("e2")
        answer = content(await cloud.ask("e1", operation, resource, REGISTRATION))
        error = answer.get("Err", answer)["ErrStatus"]
        assert (error["code"], error["reason"]) == (403, "Forbidden")

    async def test_old_edges_create_their_node_with_a_status(self, cloud: Cloud) -> None:
        for _ in range(2):
            answer = await cloud.ask("e1", "insert", "default/nodestatus/e1", REGISTRATION)
            assert (answer.content, answer.resource) == (b'"OK"', "node/e1/default/node/e1")
            assert answer.resource_version == ""

    async def test_old_edges_replace_their_status(self, cloud: Cloud) -> None:
        await cloud.ask("e1", "insert", "null/node/e1", REGISTRATION)
        reported = {
            "UID": "",
            "Status": {
                "conditions": [
                    {"type": "Ready", "status": "True", "lastHeartbeatTime": "2020-01-01T00:00:00Z"},
                    {"type": "DiskPressure", "status": "False", "lastHeartbeatTime": None},
                ]
            },
            "ExtendResources": {"nvidia.com/gpu": [{"name": "g0", "type": "t", "capacity": "1"}]},
        }
        answer = await cloud.ask("e1", "update", "default/nodestatus/e1", reported)
        node = await fetch(cloud.api, NODE, "", "e1")
        assert answer.resource == "node/e1/default/node/e1"
        assert answer.resource_version == node["metadata"]["resourceVersion"]
        for condition in node["status"]["conditions"]:
            assert condition["lastHeartbeatTime"] > "2026"
        assert node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"] == 10350
        assert orjson.loads(node["metadata"]["annotations"]["nvidia.com/gpu"])[0]["name"] == "g0"
        assert node["metadata"]["annotations"]["huawei.com/gpu-status"] == '[{"id":"g0","healthy":true}]'


class TestLease:
    """Heartbeats."""

    async def test_a_lease_is_queried_inserted_updated(self, cloud: Cloud) -> None:
        resource = "kube-node-lease/lease/e1"
        missing = await cloud.ask("e1", "query", resource)
        # As recorded in link-websocket.jsonl at t = 0.225.
        assert content(missing) == {
            "Object": None,
            "Err": {
                "ErrStatus": {
                    "metadata": {},
                    "status": "Failure",
                    "message": 'lease.coordination.k8s.io "e1" not found',
                    "reason": "NotFound",
                    "details": {"name": "e1", "group": "coordination.k8s.io", "kind": "lease"},
                    "code": 404,
                }
            },
        }
        made = assert_resp(
            await cloud.ask("e1", "insert", resource, LEASE_BODY), f"node/e1/{resource}", has_version=False
        )
        made["spec"]["renewTime"] = "2026-11-24T08:32:15.590029Z"
        updated = assert_resp(await cloud.ask("e1", "update", resource, made), f"node/e1/{resource}", has_version=False)
        assert updated["spec"]["renewTime"] == "2026-11-24T08:32:15.590029Z"
        found = content(await cloud.ask("e1", "query", resource))
        assert found["Err"] is None
        assert (found["Object"]["kind"], found["Object"]["spec"]) == ("Lease", updated["spec"])
        # The version of the first insert is old by now.
        conflict = content(await cloud.ask("e1", "update", resource, made))
        assert conflict["Err"]["ErrStatus"]["code"] == 409
        assert conflict["Object"] == {"metadata": {"creationTimestamp": None}, "spec": {}}

    async def test_content_that_is_no_lease_is_answered_and_harms_nobody(self, cloud: Cloud) -> None:
        for bad in (b"null", b"7", b"[]", b'"text"', b'{"metadata":7}'):
            answer = content(await cloud.ask("e1", "insert", "kube-node-lease/lease/e1", bad))
            assert answer["Err"]["ErrStatus"]["reason"] == "BadRequest"
        await cloud.ask("e1", "insert", "kube-node-lease/lease/e1", LEASE_BODY)
        assert await fetch(cloud.api, LEASE, "kube-node-lease", "e1")


class TestPod:
    """Requests about pods of the sender."""

    async def test_status_patch_is_applied_to_the_pod_with_that_uid_only(self, cloud: Cloud) -> None:
        await cloud.node("e1")
        uid = (await cloud.pod("web", "e1"))["metadata"]["uid"]
        patch = {"metadata": {"uid": uid}, "status": {"phase": "Running"}}
        answer = await cloud.ask("e1", "patch", "default/podpatch/web", orjson.dumps(patch).decode())
        pod = assert_resp(answer, "node/e1/default/podpatch/web", has_version=True)
        assert pod["status"]["phase"] == "Running"
        patch["metadata"] = {"uid": "11111111-1111-1111-1111-111111111111"}
        answer = await cloud.ask("e1", "patch", "default/podpatch/web", orjson.dumps(patch).decode())
        assert content(answer)["Err"]["ErrStatus"]["code"] == 409
        assert content(answer)["Object"]["metadata"] == {"creationTimestamp": None}
        assert answer.resource_version == ""

    async def test_status_patch_of_a_missing_pod_has_an_object_beside_the_error(self, cloud: Cloud) -> None:
        answer = content(await cloud.ask("e1", "patch", "default/podpatch/none", "{}"))
        assert answer["Err"]["ErrStatus"]["reason"] == "NotFound"
        assert answer["Object"] == {"metadata": {"creationTimestamp": None}, "spec": {"containers": None}, "status": {}}

    @pytest.mark.parametrize(
        ("operation", "resource", "body"),
        [
            ("patch", "default/podpatch/web", "{}"),
            ("delete", "default/pod/web", {"gracePeriodSeconds": 0}),
            ("update", "default/podstatus/web", {"UID": "x", "Name": "web", "Status": {}}),
        ],
    )
    async def test_node_cannot_touch_pod_of_another_node(
        self, cloud: Cloud, operation: str, resource: str, body: Any
    ) -> None:
        await cloud.pod("web", "e2")
        answer = content(await cloud.ask("e1", operation, resource, body))
        assert answer.get("Err", answer)["ErrStatus"]["reason"] == "Forbidden"
        assert await fetch(cloud.api, POD, "default", "web")

    async def test_deletion_by_options_or_uid_and_of_what_is_gone_is_ok(self, cloud: Cloud) -> None:
        await cloud.node("e1")
        uid = (await cloud.pod("web", "e1"))["metadata"]["uid"]
        other = {"gracePeriodSeconds": 0, "preconditions": {"uid": "22222222-2222-2222-2222-222222222222"}}
        answer = await cloud.ask("e1", "delete", "default/pod/web", other)
        # A precondition that fails is a pod deleted and made again: nothing is left to do for this request.
        assert answer.content == b'"OK"'
        assert await fetch(cloud.api, POD, "default", "web")
        mine = {"gracePeriodSeconds": 0, "preconditions": {"uid": uid}}
        for body in (mine, mine, uid):
            answer = await cloud.ask("e1", "delete", "default/pod/web", body)
            assert (answer.content, answer.resource, answer.resource_version) == (
                b'"OK"',
                "node/e1/default/pod/web",
                "",
            )
        uid = (await cloud.pod("old", "e1"))["metadata"]["uid"]
        assert (await cloud.ask("e1", "delete", "default/pod/old", uid)).content == b'"OK"'
        with pytest.raises(ApiError, match="not found"):
            await fetch(cloud.api, POD, "default", "old")
        assert status(await cloud.ask("e1", "delete", "default/pod/old", 7))["reason"] == "BadRequest"

    async def test_mirror_pods_are_made_for_the_sender_only(self, cloud: Cloud) -> None:
        await cloud.node("e1")
        mirror = {
            "metadata": {"name": "static-e1", "annotations": {"kubernetes.io/config.mirror": "abc"}},
            "spec": {"nodeName": "e1", "containers": [{"name": "c", "image": "busybox"}]},
        }
        pod = assert_resp(
            await cloud.ask("e1", "insert", "default/pod/static-e1", mirror),
            "node/e1/default/pod/static-e1",
            has_version=True,
        )
        assert pod["spec"]["nodeName"] == "e1"
        await cloud.hub.push("insert", "node/e1/default/pod/static-e1")
        answer = content(await cloud.ask("e2", "insert", "default/pod/static-e1", mirror))
        assert answer["Err"]["ErrStatus"]["reason"] == "Forbidden"
        for bad in ({"spec": {"nodeName": 7}}, {"metadata": {}, "spec": {"nodeName": []}}):
            answer = content(await cloud.ask("e2", "insert", "default/pod/x", bad))
            assert answer["Err"]["ErrStatus"]["reason"] == "BadRequest"

    async def test_old_edges_replace_the_status_of_one_or_several_pods(self, cloud: Cloud) -> None:
        await cloud.node("e1")
        uid = (await cloud.pod("web", "e1"))["metadata"]["uid"]
        reported = {
            "phase": "Running",
            "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": None}],
            "containerStatuses": [
                {"name": name, "image": "i", "imageID": "", "ready": True, "restartCount": 0, "state": {}}
                for name in ("b", "a")
            ],
            "startTime": "2026-11-24T08:31:15.590029Z",
        }
        answer = await cloud.ask(
            "e1", "update", "default/podstatus/web", {"UID": uid, "Name": "web", "Status": reported}
        )
        assert answer.content == b'"OK"'
        pod = await fetch(cloud.api, POD, "default", "web")
        assert pod["status"]["phase"] == "Running"
        assert pod["status"]["startTime"] == "2026-11-24T08:31:15Z"
        assert [each["name"] for each in pod["status"]["containerStatuses"]] == ["a", "b"]
        transition = pod["status"]["conditions"][0]["lastTransitionTime"]
        assert transition
        entries = [
            {"UID": uid, "Name": "web", "Status": reported},
            {"UID": "other", "Name": "web", "Status": reported},
            {"UID": uid, "Name": "none", "Status": reported},
        ]
        request = cloud.send("e1", "update", "default/podstatus", entries)
        for _ in entries:
            assert (await cloud.hub.answer(request)).content == b'"OK"'
        for name in ("web", "none"):
            forget = await cloud.hub.push("delete", f"node/e1/default/pod/{name}")
            assert content(forget) == {"metadata": {"name": name, "namespace": "default"}}
        pod = await fetch(cloud.api, POD, "default", "web")
        assert pod["status"]["conditions"][0]["lastTransitionTime"] == transition

    async def test_an_ended_pod_of_an_old_edge_is_deleted_when_it_was_told_to_end(self, cloud: Cloud) -> None:
        await cloud.node("e1")
        uid = (await cloud.pod("web", "e1"))["metadata"]["uid"]
        await cloud.api.delete(POD, "default", "web")
        ended = {"phase": "Succeeded", "containerStatuses": []}
        answer = await cloud.ask("e1", "update", "default/podstatus/web", {"UID": uid, "Name": "web", "Status": ended})
        assert answer.content == b'"OK"'
        with pytest.raises(ApiError, match="not found"):
            await fetch(cloud.api, POD, "default", "web")


class TestQuery:
    """Objects that a pod needs."""

    @pytest.mark.parametrize(("kind", "type_"), [(CONFIG_MAP, "configmap"), (SECRET, "secret")])
    async def test_configmap_and_secret_come_whole_even_before_the_cache_has_them(
        self, cloud: Cloud, kind: Any, type_: str
    ) -> None:
        for _ in range(2):
            name = f"x{_}"
            await cloud.api.create(kind, "default", orjson.dumps({"metadata": {"name": name}, "data": {"a": "YQ=="}}))
            answer = await cloud.ask("e1", "query", f"default/{type_}/{name}")
            object = content(answer)
            assert (answer.source, answer.group, answer.operation) == ("edgecontroller", "resource", "response")
            assert answer.resource == f"node/e1/default/{type_}/{name}"
            assert (object["kind"], object["apiVersion"], object["data"]) == (kind.kind, "v1", {"a": "YQ=="})
            assert answer.resource_version == object["metadata"]["resourceVersion"]
            await asyncio.sleep(0.02)
        error = status(await cloud.ask("e1", "query", f"default/{type_}/none"))
        assert error["message"] == f'{type_} "none" not found'
        assert error["details"] == {"name": "none", "kind": type_}

    async def test_an_object_that_comes_a_moment_after_its_pod_is_waited_for(self, cloud: Cloud) -> None:
        request = cloud.send("e1", "query", "default/configmap/late")
        await asyncio.sleep(0.1)
        await cloud.api.create(CONFIG_MAP, "default", b'{"metadata":{"name":"late"}}')
        assert content(await cloud.hub.answer(request))["kind"] == "ConfigMap"

    async def test_node_cannot_read_the_keys_of_the_cloud(self, cloud: Cloud) -> None:
        for name in ("casecret", "cloudcoresecret", "tokensecret"):
            await cloud.api.create(SECRET, "kubeedge", orjson.dumps({"metadata": {"name": name}}))
            assert status(await cloud.ask("e1", "query", f"kubeedge/secret/{name}"))["reason"] == "Forbidden"

    async def test_storage_objects_are_read_from_the_api(self, cloud: Cloud) -> None:
        volume = {
            "metadata": {"name": "pv"},
            "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}},
        }
        await cloud.api.create(PERSISTENT_VOLUME, "", orjson.dumps(volume))
        claim = {
            "metadata": {"name": "pvc"},
            "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
        }
        await cloud.api.create(PERSISTENT_VOLUME_CLAIM, "default", orjson.dumps(claim))
        attachment = {
            "metadata": {"name": "va"},
            "spec": {"attacher": "a", "nodeName": "e1", "source": {"persistentVolumeName": "pv"}},
        }
        await cloud.api.create(VOLUME_ATTACHMENT, "", orjson.dumps(attachment))
        for resource, kind in (
            ("null/persistentvolume/pv", "PersistentVolume"),
            ("default/persistentvolumeclaim/pvc", "PersistentVolumeClaim"),
            ("default/volumeattachment/va", "VolumeAttachment"),
        ):
            answer = await cloud.ask("e1", "query", resource)
            assert content(answer)["kind"] == kind
            assert answer.resource == f"node/e1/{resource}"
            assert answer.resource_version == content(answer)["metadata"]["resourceVersion"]
        error = status(await cloud.ask("e1", "query", "null/persistentvolume/none"))
        assert error["message"] == 'persistentvolumes "none" not found'


class TestIdentity:
    """Tokens and certificates."""

    @staticmethod
    def token_request(pod: str, uid: str) -> dict[str, Any]:
        """Return a TokenRequest as a Go edge sends it."""
        return {
            "metadata": {"creationTimestamp": None},
            "spec": {
                "audiences": None,
                "expirationSeconds": 3607,
                "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": pod, "uid": uid},
            },
            "status": {"token": "", "expirationTimestamp": None},
        }

    async def test_a_token_is_made_for_a_pod_of_the_sender(self, cloud: Cloud) -> None:
        await cloud.node("e1")
        uid = (await cloud.pod("web", "e1"))["metadata"]["uid"]
        answer = await cloud.ask("e1", "query", "default/serviceaccounttoken/default", self.token_request("web", uid))
        token = content(answer)
        assert (token["kind"], token["apiVersion"]) == ("TokenRequest", "authentication.k8s.io/v1")
        assert token["status"]["token"].count(".") == 2
        assert token["status"]["expirationTimestamp"]
        assert answer.resource_version == ""
        assert answer.resource == "node/e1/default/serviceaccounttoken/default"

    async def test_no_token_for_pods_of_others_or_for_none(self, cloud: Cloud) -> None:
        await cloud.node("e1")
        mine = (await cloud.pod("mine", "e1"))["metadata"]["uid"]
        theirs = (await cloud.pod("theirs", "e2"))["metadata"]["uid"]
        unbound = self.token_request("mine", mine)
        del unbound["spec"]["boundObjectRef"]
        for resource, body in (
            ("default/serviceaccounttoken/default", self.token_request("theirs", theirs)),
            ("default/serviceaccounttoken/default", self.token_request("mine", theirs)),
            ("default/serviceaccounttoken/other", self.token_request("mine", mine)),
            ("default/serviceaccounttoken/default", unbound),
        ):
            answer = await cloud.ask("e1", "query", resource, body)
            assert status(answer)["reason"] == "Forbidden"
            # What keeps a Go edge alive, which takes this for a token.
            assert content(answer)["spec"] == body["spec"]
        missing = self.token_request("none", mine)
        answer = await cloud.ask("e1", "query", "default/serviceaccounttoken/default", missing)
        assert status(answer)["reason"] == "NotFound"

    async def test_certificate_requests_are_made_and_read(self, cloud: Cloud) -> None:
        body = {
            "metadata": {"name": "csr-1", "creationTimestamp": None},
            "spec": {
                "request": "LS0t",
                "signerName": "kubernetes.io/kubelet-serving",
                "usages": ["digital signature", "server auth"],
            },
        }
        answer = content(await cloud.ask("e1", "insert", "default/certificatesigningrequest/csr-1", body))
        if answer["Err"] is None:
            made = await fetch(cloud.api, CERTIFICATE_SIGNING_REQUEST, "", "csr-1")
            assert answer["Object"]["metadata"]["uid"] == made["metadata"]["uid"]
            found = await cloud.ask("e1", "query", "default/certificatesigningrequest/csr-1")
            assert content(found)["kind"] == "CertificateSigningRequest"
        error = status(await cloud.ask("e1", "query", "default/certificatesigningrequest/none"))
        assert error["reason"] == "NotFound"


class TestEvent:
    """Events are written and never answered."""

    async def test_insert_update_and_patch_reach_the_namespace_of_the_event(self, cloud: Cloud) -> None:
        cloud.send("e1", "insert", "elsewhere/event/web.1", EVENT_BODY)
        made = await self.wait(cloud, 1)
        cloud.send("e1", "update", "default/event/web.1", {**made, "count": 2})
        await self.wait(cloud, 2)
        cloud.send("e1", "patch", "default/event/web.1", {"event": made, "patchData": '{"count":3}'})
        await self.wait(cloud, 3)
        assert cloud.hub.sent == []

    @staticmethod
    async def wait(cloud: Cloud, count: int) -> dict[str, Any]:
        """Return the event once it has that count."""
        async with asyncio.timeout(5):
            while True:
                try:
                    event = await fetch(cloud.api, EVENT, "default", "web.1")
                    if event["count"] == count:
                        return event
                except ApiError:
                    pass
                await asyncio.sleep(0.01)

    async def test_a_patch_without_its_event_is_dropped_and_kills_nothing(self, cloud: Cloud) -> None:
        for body in ({}, {"event": None}, {"event": {}, "patchData": 5}, [], "x"):
            cloud.send("e1", "patch", "default/event/web.1", body)
        answer = await cloud.ask("e1", "query", "kube-node-lease/lease/e1")
        assert content(answer)["Err"]["ErrStatus"]["code"] == 404
        assert cloud.hub.sent == []


class TestOdd:
    """What no edge should send."""

    @pytest.mark.parametrize(
        ("operation", "resource"),
        [
            ("query", "default/podlist/x"),
            ("query", "default/pod/x"),
            ("fly", "null/node/e1"),
            ("update", "d/rulestatus/r"),
            ("", "a/b"),
        ],
    )
    async def test_what_is_not_supported_is_answered(self, cloud: Cloud, operation: str, resource: str) -> None:
        assert status(await cloud.ask("e1", operation, resource))["reason"] == "BadRequest"

    @pytest.mark.parametrize("name", ["../../../api/v1/nodes", "a b", "..", "x?y", "ä", ""])
    async def test_names_cannot_leave_their_place(self, cloud: Cloud, name: str) -> None:
        await cloud.api.create(SECRET, "kubeedge", b'{"metadata":{"name":"casecret"}}')
        error = status(await cloud.ask("e1", "query", f"default/secret/{name}"))
        assert error["code"] in (400, 404, 405)

    async def test_a_resource_without_a_type_is_dropped(self, cloud: Cloud) -> None:
        cloud.send("e1", "query", "x")
        await cloud.ask("e1", "query", "default/secret/none")
        assert cloud.hub.sent == []

    async def test_too_many_requests_of_a_node_are_refused_with_a_status(
        self, cloud: Cloud, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("kubeedge.cloudcore.edgecontroller.queue.MAX_WAITING_PER_NODE", 1)
        requests = [cloud.send("e1", "query", "default/secret/none") for _ in range(3)]
        codes = [status(await cloud.hub.answer(each))["code"] for each in requests]
        assert sorted(codes) == [404, 429, 429]
