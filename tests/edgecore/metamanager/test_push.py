"""What the cloud pushes: stored, acknowledged, handed on - in this order."""

from __future__ import annotations

import asyncio
from typing import Any

import apsw
import pytest

from kubeedge.message import new_message
from kubeedge.store.database import _commits
from tests.edgecore.metamanager.conftest import Edge


def pod(name: str = "nginx", uid: str = "u1", version: str = "7", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "uid": uid, "resourceVersion": version}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, **more}


async def test_pod_is_stored_acknowledged_and_given_to_edged(edge: Edge) -> None:
    message = await edge.push("insert", "default/pod/nginx", pod())
    assert edge.row("default/pod/nginx") == ("pod", pod())
    assert edge.database.read("SELECT * FROM meta_v2") == [
        ("/core/v1/pods/default/nginx", "/v1, Resource=pods", "default", "nginx", 7, message.content.decode())
    ]
    (ack,) = edge.sent
    assert (ack.parent_id, ack.source, ack.group, ack.operation, ack.resource, ack.content) == (
        message.id,
        "edgecontroller",
        "resource",
        "response",
        "default/pod/nginx",
        b'"OK"',
    )
    assert edge.pods == [message]


async def test_text_that_holds_json_is_stored_as_that_json(edge: Edge) -> None:
    await edge.push("update", "default/pod/nginx", '{"kind":"Pod","apiVersion":"v1","metadata":{"name":"nginx"}}')
    assert edge.row("default/pod/nginx") == (
        "pod",
        {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "nginx"}},
    )


async def test_node_is_stored_but_not_given_to_edged(edge: Edge) -> None:
    node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "e1", "uid": "n", "resourceVersion": "9"}}
    await edge.push("update", "null/node/e1", node)
    assert edge.row("null/node/e1") == ("node", node)
    assert edge.stored("meta_v2") == ["/core/v1/nodes/null/e1"]
    assert edge.database.read("SELECT namespace FROM meta_v2") == [("",)]
    assert len(edge.acks) == 1
    assert edge.pods == []


async def test_access_of_a_service_account_is_only_stored(edge: Edge) -> None:
    await edge.push("insert", "ns/serviceaccountaccess/x", {"kind": "ServiceAccountAccess"}, source="policycontroller")
    assert edge.row("ns/serviceaccountaccess/x") == ("serviceaccountaccess", {"kind": "ServiceAccountAccess"})
    assert len(edge.acks) == 1
    assert edge.pods == []


@pytest.mark.parametrize("operation", ["insert", "update"])
async def test_source_that_upstream_does_not_know_is_acknowledged_too(edge: Edge, operation: str) -> None:
    await edge.push(operation, "default/pod/nginx", pod(), source="somethingnew")
    assert len(edge.acks) == 1
    assert len(edge.pods) == 1


@pytest.mark.parametrize(
    ("operation", "source", "ack_route"),
    [
        ("insert", "devicecontroller", ("meta", "twin")),
        ("update", "devicecontroller", ("devicecontroller", "resource")),
        ("delete", "devicecontroller", ("meta", "twin")),
        ("update", "edgecontroller", ("edgecontroller", "resource")),
    ],
)
async def test_device_goes_to_mappers_whatever_its_source_q8(
    edge: Edge, operation: str, source: str, ack_route: tuple[str, str]
) -> None:
    device = {"kind": "Device", "apiVersion": "devices.kubeedge.io/v1beta1", "metadata": {"name": "d", "uid": "d1"}}
    message = await edge.push(operation, "default/device/d", device, source=source)
    (ack,) = edge.sent
    assert (ack.source, ack.group) == ack_route
    assert ack.parent_id == message.id
    (handed,) = edge.dmi
    assert (handed.id, handed.source, handed.group, handed.content) == (message.id, "meta", "twin", message.content)
    assert edge.pods == []


async def store_tokens(edge: Edge, *uids: str) -> None:
    """Put a token for each of the pods into the database."""

    def store(connection: apsw.Connection) -> None:
        for uid in uids:
            key = f'"default"/"default"/[]string(nil)/3607/v1.BoundObjectReference{{Kind:"Pod", UID:"{uid}"}}'
            connection.execute("INSERT INTO meta VALUES (?, 'serviceaccounttoken', '{}')", (key,))
            connection.execute("INSERT INTO kubeedge_token VALUES (?, ?)", (f"asked for {uid}", key))

    await edge.database.write(store)


async def test_deleted_pod_takes_its_patch_and_its_tokens_along(edge: Edge) -> None:
    await edge.push("insert", "default/pod/nginx", pod())
    row = "INSERT INTO meta VALUES ('default/podpatch/nginx', 'podpatch', '{}')"
    await edge.database.write(lambda connection: connection.execute(row).fetchall())
    await store_tokens(edge, "u1", "u2")
    message = await edge.push("delete", "default/pod/nginx", pod())
    assert [key for key in edge.stored() if "u2" not in key] == []
    assert len(edge.stored()) == 1
    assert edge.stored("meta_v2") == []
    assert edge.pods[-1] is message
    assert edge.acks[-1].parent_id == message.id


async def test_delete_of_an_older_pod_of_that_name_leaves_the_present_one(edge: Edge) -> None:
    await edge.push("insert", "default/pod/nginx", pod(uid="new"))
    await store_tokens(edge, "new", "old")
    await edge.push("delete", "default/pod/nginx", pod(uid="old"))
    assert edge.database.read("SELECT request FROM kubeedge_token") == [("asked for new",)]
    assert len(edge.stored()) == 2
    assert edge.row("default/pod/nginx") == ("pod", pod(uid="new"))
    assert edge.stored("meta_v2") == ["/core/v1/pods/default/nginx"]
    assert len(edge.acks) == 2


async def test_delete_without_uid_removes_the_pod(edge: Edge) -> None:
    await edge.push("insert", "default/pod/nginx", pod())
    await edge.push("delete", "default/pod/nginx", {"metadata": {"name": "nginx", "namespace": "default"}})
    assert edge.stored() == []


async def test_correction_that_names_neither_kind_nor_version_empties_both_tables(edge: Edge) -> None:
    config_map = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c", "namespace": "a", "uid": "1"}}
    await edge.push("insert", "a/configmap/c", config_map)
    assert edge.stored("meta_v2") == ["/core/v1/configmaps/a/c"]
    await edge.push("delete", "a/configmap/c", {"metadata": {"name": "c", "namespace": "a", "uid": "1"}})
    assert edge.stored() == []
    assert edge.stored("meta_v2") == []


async def test_delete_of_what_is_not_there_is_acknowledged(edge: Edge) -> None:
    await edge.push("delete", "default/configmap/never", None)
    assert len(edge.acks) == 1


async def test_content_that_is_no_json_is_refused_and_not_acknowledged(edge: Edge) -> None:
    message = await edge.push("insert", "default/pod/nginx", b'{"metadata":')
    (answer,) = edge.sent
    assert (answer.operation, answer.source, answer.group, answer.parent_id) == (
        "error",
        "metamanager",
        "resource",
        message.id,
    )
    assert edge.stored() == []
    assert edge.pods == []
    await edge.push("insert", "default/pod/nginx", pod())
    assert len(edge.acks) == 1


@pytest.mark.parametrize("content", [b"null", b"7", b'"text"', b"[1]", b'{"metadata":{"name":7}}', b"{}"])
async def test_content_that_is_no_object_is_kept_as_it_is(edge: Edge, content: bytes) -> None:
    await edge.push("update", "default/thing/x", content)
    assert edge.database.read("SELECT value FROM meta") == [(content.decode().strip('"'),)]
    assert edge.stored("meta_v2") == []
    assert len(edge.acks) == 1


async def test_store_that_fails_gives_an_error_instead_of_an_acknowledgement(edge: Edge) -> None:
    def fill(connection: apsw.Connection) -> None:
        pages = connection.execute("PRAGMA page_count").get
        connection.execute(f"PRAGMA max_page_count={pages}").fetchall()

    await edge.database.write(fill)
    message = await edge.push("insert", "default/pod/big", pod("big", spec={"x": "y" * 50_000}))
    (answer,) = edge.sent
    assert (answer.operation, answer.parent_id, answer.source) == ("error", message.id, "metamanager")
    assert b"full" in answer.content
    assert edge.pods == []
    assert edge.stored() == []


async def test_unknown_operation_is_answered_by_nothing(edge: Edge) -> None:
    edge.bus.send("metamanager", new_message("edgecontroller", "resource", "dance", "default/pod/x"))
    edge.bus.send("metamanager", new_message("edgehub", "meta", "connect", "node/connection", b'"cloud_connected"'))
    await edge.push("insert", "default/pod/nginx", pod())
    assert len(edge.sent) == 1


async def test_messages_of_a_burst_share_commits_and_keep_their_order(edge: Edge) -> None:
    commits = _commits.value("edgecore.db")
    messages = [
        new_message(
            "edgecontroller",
            "resource",
            "update",
            f"default/pod/p{number % 10}",
            b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"p%d","resourceVersion":"%d"}}'
            % (number % 10, number),
        )
        for number in range(200)
    ]
    for message in messages:
        edge.bus.send("metamanager", message)
    await edge.until(lambda: len(edge.acks) == 200)
    assert [ack.parent_id for ack in edge.acks] == [message.id for message in messages]
    assert edge.pods == messages
    assert _commits.value("edgecore.db") - commits <= 20
    versions = edge.database.read("SELECT name, resource_version FROM meta_v2 ORDER BY name")
    assert versions == [(f"p{number}", 190 + number) for number in range(10)]


async def test_message_is_not_acknowledged_before_it_is_on_disk(edge: Edge) -> None:
    loop = asyncio.get_running_loop()
    inside, proceed = asyncio.Event(), asyncio.Event()

    def block(_: apsw.Connection) -> None:
        loop.call_soon_threadsafe(inside.set)
        asyncio.run_coroutine_threadsafe(proceed.wait(), loop).result(10)

    blocking = asyncio.ensure_future(edge.database.write(block))
    await inside.wait()
    edge.bus.send("metamanager", new_message("edgecontroller", "resource", "insert", "default/pod/nginx", b"{}"))
    await asyncio.sleep(0.05)
    assert edge.sent == []
    assert edge.pods == []
    proceed.set()
    await blocking
    await edge.until(lambda: len(edge.acks) == 1)


async def test_answer_that_comes_too_late_is_kept_and_acknowledged(edge: Edge) -> None:
    config_map = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c","uid":"1"}}'
    late = new_message("edgecontroller", "resource", "response", "a/configmap/c", config_map, parent_id="gone")
    edge.bus.send("metamanager", late)
    await edge.until(lambda: len(edge.acks) == 1)
    assert edge.acks[0].parent_id == late.id
    assert edge.stored() == ["a/configmap/c"]


async def test_volume_operation_is_put_to_edged_and_its_answer_sent_up(edge: Edge) -> None:
    request = new_message("cloudhub", "resource", "createvolume", "default/volume/v1", b'"{}"')
    edge.bus.send("metamanager", request)
    await edge.until(lambda: len(edge.pods) == 1)
    edge.bus.resolve(new_message("edged", "meta", "response", "x", b'{"volume":1}', parent_id=request.id))
    await edge.until(lambda: len(edge.sent) == 1)
    assert (edge.sent[0].parent_id, edge.sent[0].source, edge.sent[0].content) == (
        request.id,
        "cloudhub",
        b'{"volume":1}',
    )
