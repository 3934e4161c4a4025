"""What edged asks for: from the store, from the cloud, and what it hears when neither can tell."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from kubeedge.edgecore.metamanager import keys, tokens
from kubeedge.message import Message, new_message
from tests.edgecore.metamanager.conftest import Edge

CONFIG_MAP = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "c", "namespace": "a", "uid": "1"}}
NOT_FOUND = {"ErrStatus": {"metadata": {}, "status": "Failure", "reason": "NotFound", "message": "no", "code": 404}}


def answering(content: Any) -> Any:
    return lambda _: orjson.dumps(content)


def parsed(answer: Message) -> Any:
    return orjson.loads(answer.content)


@pytest.mark.parametrize("type_", ["configmap", "secret", "persistentvolume", "persistentvolumeclaim"])
async def test_object_that_is_not_stored_comes_from_the_cloud_and_is_kept(edge: Edge, type_: str) -> None:
    edge.answer = answering(CONFIG_MAP)
    answer = await edge.ask("query", f"a/{type_}/c")
    assert (answer.operation, answer.source, parsed(answer)) == ("response", "edgecontroller", CONFIG_MAP)
    assert edge.row(f"a/{type_}/c") == (type_, CONFIG_MAP)
    question, ack = edge.sent
    assert question.id != answer.parent_id
    assert (ack.parent_id, ack.content, ack.source) == (answer.id, b'"OK"', "edgecontroller")


async def test_two_who_ask_for_the_same_share_one_question(edge: Edge) -> None:
    edge.answer = answering(CONFIG_MAP)
    first, second = await asyncio.gather(edge.ask("query", "a/configmap/c"), edge.ask("query", "a/configmap/c"))
    assert parsed(first) == parsed(second) == CONFIG_MAP
    assert first.parent_id != second.parent_id
    assert [message.operation for message in edge.sent] == ["query", "response"]


@pytest.mark.parametrize("type_", ["configmap", "secret"])
async def test_stored_object_wins_over_the_cloud(edge: Edge, type_: str) -> None:
    await edge.push("update", f"a/{type_}/c", CONFIG_MAP)
    edge.sent.clear()
    answer = await edge.ask("query", f"a/{type_}/c")
    assert edge.sent == []
    assert (answer.source, answer.operation) == ("metamanager", "response")
    assert [orjson.loads(value) for value in parsed(answer)] == [CONFIG_MAP]


async def test_failure_of_the_cloud_is_handed_on_but_never_stored(edge: Edge) -> None:
    edge.answer = answering(NOT_FOUND)
    answer = await edge.ask("query", "a/configmap/c")
    assert parsed(answer) == NOT_FOUND
    assert edge.stored() == []
    assert edge.acks[-1].parent_id == answer.id


@pytest.mark.parametrize(
    "resource", ["a/configmap/c", "a/secret/c", "null/node/e1", "null/persistentvolume/c", "a/serviceaccounttoken/sa"]
)
async def test_what_is_not_stored_is_unavailable_without_the_cloud(edge: Edge, resource: str) -> None:
    edge.is_connected = False
    answer = await edge.ask("query", resource, {"spec": {}})
    assert answer.operation == "response"
    status = parsed(answer)["ErrStatus"]
    assert (status["code"], status["reason"]) == (503, "ServiceUnavailable")
    assert edge.sent == []


@pytest.mark.parametrize("type_", ["configmap", "persistentvolumeclaim", "volumeattachment"])
async def test_what_is_stored_is_answered_without_the_cloud(edge: Edge, type_: str) -> None:
    await edge.push("update", f"a/{type_}/c", CONFIG_MAP)
    edge.is_connected = False
    assert [orjson.loads(value) for value in parsed(await edge.ask("query", f"a/{type_}/c"))] == [CONFIG_MAP]


async def test_cloud_that_keeps_silent_is_a_timeout(edge: Edge) -> None:
    answer = await edge.ask("query", "a/configmap/c")
    assert parsed(answer)["ErrStatus"]["reason"] == "Timeout"
    answer = await edge.ask("insert", "null/node/e1", {"metadata": {"name": "e1"}})
    assert (answer.operation, parsed(answer)) == (
        "error",
        "failed to process remote: the cloud did not answer within 0.2 s",
    )


async def test_pods_are_listed_by_type_and_found_by_name(edge: Edge) -> None:
    for name in ("a", "b"):
        await edge.push("insert", f"default/pod/{name}", {"metadata": {"name": name}})
    listed = await edge.ask("query", "default/pod")
    assert [orjson.loads(value)["metadata"]["name"] for value in parsed(listed)] == ["a", "b"]
    assert [orjson.loads(value)["metadata"]["name"] for value in parsed(await edge.ask("query", "default/pod/b"))] == [
        "b"
    ]
    assert parsed(await edge.ask("query", "default/pod/none")) is None
    assert listed.source == "metamanager"


async def test_node_that_is_not_stored_is_asked_for(edge: Edge) -> None:
    node = {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "e1", "uid": "n"}}
    edge.answer = answering(node)
    assert parsed(await edge.ask("query", "null/node/e1")) == node
    assert edge.row("null/node/e1") == ("node", node)


async def test_node_registration_stores_the_node_with_its_kind(edge: Edge) -> None:
    edge.answer = answering({"Object": {"metadata": {"name": "e1", "uid": "n"}}, "Err": None})
    answer = await edge.ask("insert", "null/node/e1", {"metadata": {"name": "e1"}})
    assert parsed(answer)["Err"] is None
    assert edge.row("null/node/e1") == (
        "node",
        {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "e1", "uid": "n"}},
    )
    assert edge.acks[-1].parent_id == answer.id


async def test_failed_registration_stores_nothing(edge: Edge) -> None:
    edge.answer = answering({"Object": None, "Err": NOT_FOUND})
    assert parsed(await edge.ask("insert", "null/node/e1", {})) == {"Object": None, "Err": NOT_FOUND}
    assert edge.stored() == []


async def test_lease_passes_through_and_costs_no_write(edge: Edge) -> None:
    edge.answer = answering({"Object": {"metadata": {"name": "e1"}}, "Err": None})
    for operation in ("query", "insert", "update"):
        answer = await edge.ask(operation, "kube-node-lease/lease/e1", {"metadata": {"name": "e1"}})
        assert parsed(answer)["Err"] is None
        assert edge.acks[-1].parent_id == answer.id
    assert edge.stored() == []


@pytest.mark.parametrize("operation", ["insert", "update"])
async def test_writes_are_refused_without_the_cloud(edge: Edge, operation: str) -> None:
    edge.is_connected = False
    answer = await edge.ask(operation, "kube-node-lease/lease/e1", {})
    assert (answer.operation, parsed(answer)) == ("error", "failed to process remote: not connected")
    assert (answer.source, answer.group) == ("metamanager", "meta")
    answer = await edge.ask("delete", "default/pod/x", {})
    assert (answer.operation, parsed(answer)) == ("error", "connection lost between EdgeCore and CloudCore")


async def test_status_patch_is_kept_and_its_answer_replaces_the_pod(edge: Edge) -> None:
    before = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "p", "uid": "u", "resourceVersion": "5"}}
    await edge.push("insert", "default/pod/p", before)
    after = {"metadata": {"name": "p", "uid": "u", "resourceVersion": "6"}, "status": {"phase": "Running"}}
    edge.answer = answering({"Object": after, "Err": None})
    acks = len(edge.acks)
    answer = await edge.ask("patch", "default/podpatch/p", '{"status":{"phase":"Running"}}')
    assert parsed(answer)["Object"] == after
    assert edge.row("default/podpatch/p") == ("podpatch", {"status": {"phase": "Running"}})
    assert edge.row("default/pod/p") == ("pod", {"kind": "Pod", "apiVersion": "v1", **after})
    assert len(edge.acks) == acks, "answers to patches are not acknowledged"
    assert edge.sent[-1].content == b'"{\\"status\\":{\\"phase\\":\\"Running\\"}}"'


@pytest.mark.parametrize(
    ("present", "kept"),
    [
        (None, None),
        ({"name": "p", "uid": "u", "resourceVersion": "9"}, "9"),
        ({"name": "p", "uid": "other", "resourceVersion": "5"}, "5"),
    ],
)
async def test_answer_to_a_patch_neither_revives_nor_ages_a_pod(
    edge: Edge, present: dict[str, str] | None, kept: str | None
) -> None:
    if present is not None:
        await edge.push("insert", "default/pod/p", {"kind": "Pod", "apiVersion": "v1", "metadata": present})
    answer = {"metadata": {"name": "p", "uid": "u", "resourceVersion": "6"}}
    edge.answer = answering({"Object": answer, "Err": None})
    await edge.ask("patch", "default/podpatch/p", "{}")
    row = edge.row("default/pod/p")
    assert (row[1]["metadata"]["resourceVersion"] if row else None) == kept


async def test_patch_without_the_cloud_is_kept_and_refused(edge: Edge) -> None:
    edge.is_connected = False
    answer = await edge.ask("patch", "null/nodepatch/e1", '{"status":{}}')
    assert (answer.operation, parsed(answer)) == ("error", "connection lost between EdgeCore and CloudCore")
    assert edge.row("null/nodepatch/e1") == ("nodepatch", {"status": {}})


async def test_update_of_the_node_is_confirmed_at_once_and_sent_up(edge: Edge) -> None:
    answer = await edge.ask("update", "null/node/e1", {"kind": "Node", "metadata": {"name": "e1"}})
    assert (answer.operation, answer.content) == ("response", b'"OK"')
    assert edge.row("null/node/e1") == ("node", {"kind": "Node", "metadata": {"name": "e1"}})
    assert [message.operation for message in edge.sent] == ["update"]


async def test_pod_delete_goes_up_under_its_own_id_and_leaves_the_row(edge: Edge) -> None:
    await edge.push("insert", "default/pod/p", {"metadata": {"name": "p", "uid": "u"}})
    edge.answer = answering("OK")
    answer = await edge.ask("delete", "default/pod/p", {"gracePeriodSeconds": 0})
    assert answer.content == b'"OK"'
    assert edge.sent[-1].id == answer.parent_id
    assert edge.stored() == ["default/pod/p"]


@pytest.mark.parametrize("operation", ["insert", "update", "patch"])
async def test_event_goes_up_and_is_not_stored(edge: Edge, operation: str) -> None:
    edge.bus.send("metamanager", new_message("edged", "meta", operation, "default/event/x", b"{}"))
    await edge.until(lambda: len(edge.sent) == 1)
    assert edge.sent[0].operation == operation
    assert edge.stored() == []


# Tokens

REQUEST = {
    "spec": {
        "audiences": None,
        "expirationSeconds": 3607,
        "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "nginx", "uid": "8c0a"},
    }
}


def token(expires: str = "1970-01-12T14:46:40Z", value: str = "t1") -> dict[str, Any]:
    spec = {**REQUEST["spec"], "audiences": ["https://kubernetes.default.svc"]}
    return {"kind": "TokenRequest", "spec": spec, "status": {"token": value, "expirationTimestamp": expires}}


STORED_KEY = (
    '"default"/"ns"/[]string{"https://kubernetes.default.svc"}/3607/'
    'v1.BoundObjectReference{Kind:"Pod", APIVersion:"v1", Name:"nginx", UID:"8c0a"}'
)


async def test_token_is_stored_under_the_key_of_the_answer_and_found_by_the_question(edge: Edge) -> None:
    edge.answer = answering(token())
    first = await edge.ask("query", "ns/serviceaccounttoken/default", REQUEST)
    assert parsed(first) == token()
    assert edge.stored() == [STORED_KEY]
    assert edge.acks[-1].parent_id == first.id
    asked = len(edge.sent)
    second = await edge.ask("query", "ns/serviceaccounttoken/default", REQUEST)
    assert len(edge.sent) == asked
    assert [orjson.loads(value) for value in parsed(second)] == [token()]


async def test_token_for_another_pod_or_audience_is_another_token(edge: Edge) -> None:
    edge.answer = answering(token())
    await edge.ask("query", "ns/serviceaccounttoken/default", REQUEST)
    edge.is_connected = False
    for changed in ({"audiences": ["vault"]}, {"boundObjectRef": {"kind": "Pod", "name": "nginx", "uid": "other"}}):
        answer = await edge.ask("query", "ns/serviceaccounttoken/default", {"spec": {**REQUEST["spec"], **changed}})
        assert "ErrStatus" in parsed(answer)


async def test_token_is_renewed_in_the_last_fifth_of_its_life_and_used_to_its_end(edge: Edge) -> None:
    edge.answer = answering(token())
    await edge.ask("query", "ns/serviceaccounttoken/default", REQUEST)
    ends = 1_003_600.0
    edge.now = ends - 3607 * 0.2 + 1
    # The cloud refuses: the old one is still good.
    edge.answer = answering(NOT_FOUND)
    answer = await edge.ask("query", "ns/serviceaccounttoken/default", REQUEST)
    assert orjson.loads(parsed(answer)[0])["status"]["token"] == "t1"
    edge.is_connected = False
    answer = await edge.ask("query", "ns/serviceaccounttoken/default", REQUEST)
    assert orjson.loads(parsed(answer)[0])["status"]["token"] == "t1"
    edge.is_connected = True
    edge.answer = answering(token(value="t2"))
    assert parsed(await edge.ask("query", "ns/serviceaccounttoken/default", REQUEST))["status"]["token"] == "t2"
    edge.now = ends + 1
    edge.is_connected = False
    assert "ErrStatus" in parsed(await edge.ask("query", "ns/serviceaccounttoken/default", REQUEST))
    assert edge.stored() == []
    assert edge.database.read("SELECT * FROM kubeedge_token") == []


async def test_token_that_a_go_edge_stored_is_found_when_it_is_the_only_one(edge: Edge) -> None:
    value = orjson.dumps(token()).decode()
    await edge.database.write(
        lambda c: c.execute("INSERT INTO meta VALUES (?, 'serviceaccounttoken', ?)", (STORED_KEY, value)).fetchall()
    )
    edge.is_connected = False
    answer = await edge.ask("query", "ns/serviceaccounttoken/default", REQUEST)
    assert [orjson.loads(item) for item in parsed(answer)] == [token()]


def test_key_of_a_token_is_gos_print() -> None:
    nothing = tokens.decode(b"{}")
    assert keys.token_key("golden", "default", nothing) == (
        '"default"/"golden"/[]string(nil)/0/v1.BoundObjectReference{Kind:"", APIVersion:"", Name:"", UID:""}'
    )
    several = tokens.decode(b'{"spec":{"audiences":["a","b"]}}')
    assert '[]string{"a", "b"}' in keys.token_key("n", "s", several)
    assert "[]string{}" in keys.token_key("n", "s", tokens.decode(b'{"spec":{"audiences":[]}}'))


async def test_error_that_a_go_edge_took_for_an_object_is_not_answered(edge: Edge) -> None:
    value = orjson.dumps(NOT_FOUND).decode()
    await edge.database.write(
        lambda c: c.execute("INSERT INTO meta VALUES ('a/configmap/c', 'configmap', ?)", (value,)).fetchall()
    )
    edge.answer = answering(CONFIG_MAP)
    assert parsed(await edge.ask("query", "a/configmap/c")) == CONFIG_MAP
    assert edge.row("a/configmap/c") == ("configmap", CONFIG_MAP)


async def test_questions_do_not_hold_up_pushes(edge: Edge) -> None:
    waiting = asyncio.ensure_future(edge.ask("query", "a/configmap/slow"))
    await edge.until(lambda: len(edge.sent) == 1)
    await edge.push("insert", "default/pod/p", {"metadata": {"name": "p"}})
    assert not waiting.done()
    assert "ErrStatus" in parsed(await waiting)


@pytest.mark.parametrize("resource", ["default/serviceaccounttoken/x", "serviceaccounttoken", "a/b/c/d"])
async def test_question_that_makes_no_sense_is_answered_and_harms_nobody(edge: Edge, resource: str) -> None:
    answer = await edge.ask("query", resource, b'"no request"')
    assert answer.operation in ("error", "response")
    await edge.push("insert", "default/pod/p", {"metadata": {"name": "p"}})


@pytest.mark.parametrize(
    ("kind", "plural"),
    [
        ("Pod", "pods"),
        ("Endpoints", "endpoints"),
        ("NetworkPolicy", "networkpolicies"),
        ("Ingress", "ingresses"),
        ("Leases", "leases"),
        ("CustomResourceDefinition", "customresourcedefinitions"),
    ],
)
def test_plural_is_guessed_as_upstream_guesses_it(kind: str, plural: str) -> None:
    assert keys.plural_of(kind) == plural
