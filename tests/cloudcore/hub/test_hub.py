"""CloudHub with nodes on real TLS connections, and controllers that a test plays."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from kubeedge.cloudcore.hub import annotator, outbox
from kubeedge.cloudcore.hub.session import dropped, failed_receivers
from kubeedge.kube.api import ApiError, KubeApi
from kubeedge.kube.kinds import NODE, OBJECT_SYNC
from kubeedge.link.client import ConnectError
from kubeedge.message import Message, new_message, response_to
from kubeedge.metrics import exposition
from tests.cloudcore.hub.cloud import WAIT_S, cloud, pod
from tests.link.certificates import TestAuthority

# Who is let in.


async def test_a_node_that_connects_is_announced_and_annotated(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    await api.create(NODE, "", orjson.dumps({"metadata": {"name": "e1"}}))
    async with cloud(api, authority, workers=workers, local_ip="192.0.2.7") as c:
        node = await c.node()
        group, message = await c.next()
        assert (group, message.operation, message.resource) == ("edgecontroller", "connected", "node/e1")
        assert orjson.loads(message.content)["client_id"] == "e1"
        assert c.hub.is_connected("e1")
        assert c.hub.nodes == ["e1"]
        assert "KubeEdge_CloudHub_connected_nodes 1\n" in exposition()
        for _ in range(WAIT_S * 50):
            annotations = orjson.loads(await api.get(NODE, "", "e1"))["metadata"].get("annotations", {})
            if annotations.get("cloudcore") == "192.0.2.7":
                break
            await asyncio.sleep(0.02)
        assert annotations["cloudcore"] == "192.0.2.7"
        node.connection.close()
        assert await c.news() == ("disconnected", "node/e1")
        assert "KubeEdge_CloudHub_connected_nodes 0\n" in exposition()


async def test_a_node_that_is_not_in_the_api_yet_is_let_in(
    api: KubeApi,
    authority: TestAuthority,
    workers: int,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(annotator, "PAUSE_S", 0.01)
    caplog.set_level("INFO")
    async with cloud(api, authority, workers=workers) as c:
        await c.node()
        before = annotator.failures.value()
        for _ in range(WAIT_S * 100):
            if annotator.failures.value() > before or "node not annotated node=e1" in caplog.text:
                break
            await asyncio.sleep(0.01)
        assert "node not annotated node=e1" in caplog.text
        assert c.hub.is_connected("e1")


@pytest.mark.parametrize(
    ("name", "certificate", "headers", "status", "reason"),
    [
        ("e1", "e2", {}, 403, "certificate of 'system:node:e2' does not allow to be node e1"),
        ("e1", None, {"Node_id": ""}, 400, "names no node"),
        ("e1", None, {"Node_id": "../e1"}, 400, "names no node"),
        ("e1", None, {"Node_id": "E1"}, 400, "names no node"),
        ("e1", None, {"Connectionuse": ""}, 400, "Connectionuse"),
        ("e1", None, {"Connectionuse": "str"}, 400, "Connectionuse"),
    ],
)
async def test_who_is_not_the_node_it_says_is_refused_with_a_reason(
    api: KubeApi,
    authority: TestAuthority,
    workers: int,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    name: str,
    certificate: str | None,
    headers: dict[str, str],
    status: int,
    reason: str,
) -> None:
    async with cloud(api, authority, workers=workers) as c:
        with pytest.raises(ConnectError) as caught:
            await c.node(name, certificate, **headers)
        assert caught.value.status == status
        logged = caplog.text + capfd.readouterr().err
        assert f"status={status}" in logged
        assert reason in logged
        assert c.hub.nodes == []


async def test_the_node_limit_refuses_new_nodes_but_not_known_ones(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    async with cloud(api, authority, workers=workers, node_limit=1) as c:
        first = await c.node("e1")
        with pytest.raises(ConnectError) as caught:
            await c.node("e2")
        assert caught.value.status == 503
        again = await c.node("e1")
        assert await first.end() == "peer closed: 1001 replaced by a newer connection"
        again.connection.close()


async def test_the_end_of_an_old_connection_leaves_the_new_session_alone(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    async with cloud(api, authority, workers=workers) as c:
        old = await c.node()
        new = await c.node()
        assert await old.end()
        assert [await c.news() for _ in range(3)] == [
            ("connected", "node/e1"),
            ("disconnected", "node/e1"),
            ("connected", "node/e1"),
        ]
        old.connection.abort("late")
        await asyncio.sleep(0.05)
        assert c.hub.is_connected("e1")
        c.send("response", "node/e1/null/nodepatch/e1", {}, parent_id="p")
        assert (await new.next()).parent_id == "p"


async def test_a_silent_node_is_put_out(api: KubeApi, authority: TestAuthority, workers: int) -> None:
    async with cloud(api, authority, workers=workers, keepalive_timeout_s=0.7) as c:
        talking, silent = await c.node("e1"), await c.node("e2")
        for _ in range(6):
            talking.say(new_message("websocket", "resource", "keepalive", "node", b'"ping"'))
            await asyncio.sleep(0.25)
        assert await silent.end() == "peer closed: 1001 nothing heard for 0.7 s"
        assert c.hub.nodes == ["e1"]


async def test_nodes_are_told_when_the_cloud_stops(api: KubeApi, authority: TestAuthority, workers: int) -> None:
    async with cloud(api, authority, workers=workers) as c:
        node = await c.node()
    assert await node.end() == "peer closed: 1001 cloudcore stops"


# Up.


async def test_what_a_node_says_reaches_the_controller_it_is_for(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    async with cloud(api, authority, workers=workers) as c:
        node = await c.node()
        await c.news()
        for source, group, operation, resource, to, expected in (
            ("edged", "meta", "patch", "default/podpatch/web", "edgecontroller", "node/e1/default/podpatch/web"),
            ("twin", "resource", "update", "device/ns/d/twin/edge_updated", "devicecontroller", None),
            ("bus", "user", "upload", "a/topic", "router", "node/e1/a/topic"),
            ("websocket", "hub", "UpdateNodeActionStatus", "x/y/node/e1", "taskmanager", "x/y/node/e1"),
        ):
            sent = node.say(new_message(source, group, operation, resource, b'"text"'))
            receiver, message = await c.next()
            assert (receiver, message.id, message.content) == (to, sent.id, b'"text"')
            assert message.resource == (expected or f"node/e1/{resource}")


async def test_a_node_cannot_speak_in_the_name_of_the_cloud(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    async with cloud(api, authority, workers=workers) as c:
        node = await c.node()
        await c.news()
        node.say(new_message("edgecontroller", "resource", "update", "default/pod/web"))
        node.say(new_message("edged", "meta", "query", "default/pod/web"))
        assert (await c.next())[1].source == "edged"


async def test_a_reply_reaches_the_node_without_its_prefix(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    async with cloud(api, authority, workers=workers) as c:
        node = await c.node()
        await c.news()
        node.say(new_message("edged", "meta", "query", "kube-node-lease/lease/e1"))
        _, request = await c.next()
        c.bus.send("cloudhub", response_to(request, b'{"Object":null}', source="edgecontroller", group="resource"))
        reply = await node.next()
        assert (reply.parent_id, reply.resource) == (request.id, "kube-node-lease/lease/e1")


async def test_the_ca_of_the_cluster_is_answered_here(api: KubeApi, authority: TestAuthority, workers: int) -> None:
    async with cloud(api, authority, workers=workers, cluster_ca=b"-----BEGIN") as c:
        node = await c.node()
        query = node.say(new_message("metamanager", "meta", "query", "k8s/ca.crt"))
        reply = await node.next()
        assert (reply.parent_id, reply.source, reply.group) == (query.id, "cloudhub", "resource")
        assert (reply.operation, reply.resource, reply.content) == ("response", "k8s/ca.crt", b'"-----BEGIN"')


async def test_an_answer_about_a_volume_reaches_who_waits_for_it(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    async with cloud(api, authority, workers=workers) as c:
        node = await c.node()
        request = new_message("cloudhub", "resource", "createvolume", "node/e1/default/volume/v1", b'"{}"')
        waiting = asyncio.ensure_future(c.bus.request("cloudhub", request, WAIT_S))
        asked = await node.next()
        assert asked.resource == "default/volume/v1"
        node.say(response_to(asked, b'{"volume":{}}'))
        assert (await waiting).content == b'{"volume":{}}'


async def test_a_module_that_fails_costs_nobody_the_connection(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    async with cloud(api, authority, workers=workers) as c:

        def fail(message: Message) -> None:
            raise RuntimeError("broken module")

        c.bus.register("dynamiccontroller", "dynamiccontroller", fail)
        node = await c.node()
        await c.news()
        before = failed_receivers.value()
        node.say(new_message("metaserver", "dynamiccontroller", "null", "null"))
        node.say(new_message("edged", "meta", "query", "default/pod/web"))
        assert (await c.next())[1].source == "edged"
        assert failed_receivers.value() == before + 1


# Down, reliably.


async def test_a_push_is_recorded_when_the_node_has_acknowledged_it(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    async with cloud(api, authority, workers=workers) as c:
        node = await c.node()
        c.send("insert", "node/e1/default/pod/web", pod(1200), resource_version="1200")
        message = await node.next()
        assert (message.operation, message.resource, message.resource_version) == ("insert", "default/pod/web", "1200")
        assert message.parent_id == ""
        sync = orjson.loads(await api.get(OBJECT_SYNC, "default", "e1.u1"))
        assert sync["spec"] == {"objectAPIVersion": "v1", "objectKind": "Pod", "objectName": "web"}
        node.say(response_to(message))
        await c.synced("e1.u1", "1200")
        c.known["default/e1.u1"] = "1200"
        c.send("update", "node/e1/default/pod/web", pod(1200), resource_version="1200")
        c.send("update", "node/e1/default/pod/web", pod(1199), resource_version="1199")
        await node.silence()
        c.send("delete", "node/e1/default/pod/web", pod(1300), resource_version="1300")
        assert (await node.next_acked()).operation == "delete"
        await c.synced("e1.u1", "NotFound")


async def test_cluster_scoped_objects_have_a_cluster_sync(api: KubeApi, authority: TestAuthority, workers: int) -> None:
    async with cloud(api, authority, workers=workers) as c:
        node = await c.node()
        content = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "e1", "uid": "n1", "resourceVersion": "5"}}
        c.send("update", "node/e1/null/node/e1", content, resource_version="5")
        await node.next_acked()
        await c.synced("e1.n1", "5", namespace="")


async def test_answers_to_queries_are_recorded_but_never_held_back(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    async with cloud(api, authority, workers=workers) as c:
        node = await c.node()
        c.known["default/e1.c1"] = "50"
        content = {
            "kind": "ConfigMap",
            "apiVersion": "v1",
            "metadata": {"name": "cm", "uid": "c1", "resourceVersion": "50"},
        }
        for request in ("q1", "q2"):
            c.send("response", "node/e1/default/configmap/cm", content, resource_version="50", parent_id=request)
        assert {(await node.next()).parent_id, (await node.next_acked()).parent_id} == {"q1", "q2"}


async def test_messages_are_sent_again_under_their_id_until_acknowledged(
    api: KubeApi, authority: TestAuthority, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "RETRY_S", 0.2)
    async with cloud(api, authority) as c:
        node = await c.node()
        c.known["default/e1.u1"] = "1"
        c.send("update", "node/e1/default/pod/web", pod(7), resource_version="7")
        sent = [await node.next() for _ in range(3)]
        assert len({message.id for message in sent}) == 1
        node.say(response_to(sent[0]))
        await node.silence(1.2)


async def test_other_objects_pass_one_that_is_not_acknowledged(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    async with cloud(api, authority, workers=workers) as c:
        node = await c.node()
        for number in range(40):
            c.known[f"default/e1.u{number}"] = "1"
            c.send("update", f"node/e1/default/pod/p{number}", pod(2, f"u{number}"), resource_version="2")
        under_way = [await node.next() for _ in range(outbox.WINDOW)]
        await node.silence()
        for message in under_way[5:]:
            node.say(response_to(message))
        rest = [await node.next() for _ in range(40 - outbox.WINDOW)]
        assert {message.resource for message in under_way + rest} == {f"default/pod/p{n}" for n in range(40)}


async def test_devices_go_one_after_the_other(api: KubeApi, authority: TestAuthority, workers: int) -> None:
    async with cloud(api, authority, workers=workers) as c:
        node = await c.node()
        for uid, type_ in (("m", "devicemodel"), ("d", "device")):
            c.known[f"default/e1.{uid}"] = "1"
            c.send("insert", f"node/e1/default/{type_}/x", pod(2, uid), resource_version="2", source="devicecontroller")
        model = await node.next()
        assert model.resource == "default/devicemodel/x"
        await node.silence()
        node.say(response_to(model))
        assert (await node.next()).resource == "default/device/x"


async def test_a_model_that_is_needed_again_follows_its_delete(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    async with cloud(api, authority, workers=workers) as c:
        node = await c.node()
        c.known["default/e1.m"] = "2"
        for operation in ("delete", "insert"):
            resource = "node/e1/default/devicemodel/x"
            c.send(operation, resource, pod(2, "m"), resource_version="2", source="devicecontroller")
        for operation in ("delete", "insert"):
            assert (await node.next_acked()).operation == operation


async def test_only_the_latest_version_waits_for_a_node_that_is_slow(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    async with cloud(api, authority, workers=workers) as c:
        node = await c.node()
        c.known["default/e1.u1"] = "1"
        for version in range(2, 30):
            c.send("update", "node/e1/default/pod/web", pod(version), resource_version=str(version))
        first = await node.next()
        await node.silence()
        node.say(response_to(first))
        assert (await node.next_acked()).resource_version == "29"
        await node.silence()


async def test_a_push_to_many_nodes_is_one_envelope(api: KubeApi, authority: TestAuthority, workers: int) -> None:
    async with cloud(api, authority, workers=workers) as c:
        nodes = [await c.node(f"e{number}") for number in range(3)]
        content = orjson.dumps(pod(7))
        for number in range(3):
            c.known[f"default/e{number}.u1"] = "1"
            c.send("update", f"node/e{number}/default/configmap/cm", content, resource_version="7")
        received = [await node.next_acked() for node in nodes]
        assert len({message.id for message in received}) == 1


async def test_messages_for_nodes_that_are_not_here_are_dropped_and_counted(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    async with cloud(api, authority, workers=workers) as c:
        before = dropped.value("no session")
        c.send("insert", "node/e9/default/pod/web", pod(7), resource_version="7")
        c.send("response", "node/e9/default/podpatch/web", {}, parent_id="x")
        c.send("insert", "rule/x", {})
        assert dropped.value("no session") == before + 3
        with pytest.raises(ApiError):
            await api.get(OBJECT_SYNC, "default", "e9.u1")


async def test_the_deletion_of_a_node_ends_its_session(api: KubeApi, authority: TestAuthority, workers: int) -> None:
    async with cloud(api, authority, workers=workers) as c:
        node = await c.node()
        c.send("delete", "node/e1/null/node/e1", b"null")
        assert await node.end() == "peer closed: 1000 node was deleted"
        assert node.messages.empty()


async def test_a_node_that_does_not_read_does_not_fill_our_memory(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    async with cloud(api, authority, workers=workers) as c:
        node = await c.node()
        node.connection.pause_reading()
        before = dropped.value("node does not read")
        content = b'"' + b"x" * 20_000 + b'"'
        for number in range(1500):
            c.send("publish", f"node/e1/topic/{number}", content, source="router_eventbus", group="user")
            if number % 50 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(0.2)
        node.connection.resume_reading()
        received = [(await node.next()).resource]
        while received[-1] != "topic/1499":
            received.append((await node.next()).resource)
        lost = 1500 - len(received)
        assert lost > 0
        # Workers tell what they have counted now and then.
        for _ in range(WAIT_S * 50):
            if dropped.value("node does not read") >= before + lost:
                break
            await asyncio.sleep(0.02)
        assert dropped.value("node does not read") == before + lost


async def test_cancelling_the_hub_anywhere_leaves_no_session_behind(
    api: KubeApi, authority: TestAuthority, workers: int
) -> None:
    for turns in range(2, 40, 4):
        async with cloud(api, authority, workers=workers) as c:
            connecting = asyncio.ensure_future(c.node())
            for _ in range(turns):
                await asyncio.sleep(0.0005)
        assert c.hub.nodes == []
        await asyncio.wait([connecting])
        if connecting.exception() is None:
            await connecting.result().end()
