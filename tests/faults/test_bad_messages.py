"""What a node with a good certificate can do to the cloud, and to other nodes, by what it sends: nothing."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import orjson
import pytest
import pytest_asyncio

from kubeedge._speedups.frames import PING, TEXT, frame
from kubeedge.demo.configuration import NODE_NAME
from kubeedge.kube.kinds import LEASE, POD
from tests.faults.rawnode import RawNode, connected
from tests.sites import SLEEPER, Site, is_running, pod, shell, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

NODE = "mallory"
MALFORMED = "kubeedge_link_malformed_messages_total"
PROTOCOL_ERRORS = "kubeedge_link_protocol_errors_total"
REQUESTS = "kubeedge_edgecontroller_requests_total"


@pytest_asyncio.fixture(loop_scope="session")
async def node(site: Site) -> AsyncIterator[RawNode]:
    """A node that may say anything. Afterwards the other node's session is the one of before."""
    log = site.cloud_log()
    async with connected(site, NODE) as node:
        yield node
    assert not log.lines("session ended", f"node={NODE_NAME}")
    assert not log.lines("Traceback")


async def is_alive(node: RawNode) -> None:
    """See that the connection goes on: a request is answered."""
    asked = node.say("query", f"kube-node-lease/lease/{NODE}")
    answer = await node.answer(asked)
    assert answer["content"]["Err"]["ErrStatus"]["reason"] == "NotFound"


@pytest.mark.parametrize(
    "text",
    [
        b"garbage",
        b"",
        b"\x00",
        b"[1,2,3]",
        b'"ping"',
        b'{"header":',
        b'{"header":7,"route":{},"content":null}',
        b'{"header":{"msg_id":7},"route":{},"content":null}',
        b'{"header":{"msg_id":"a","timestamp":"now"},"route":{},"content":null}',
        b'{"header":{"msg_id":"a"},"route":{"operation":["query"]},"content":null}',
        b'{"header":{"msg_id":"a"},"route":{"resource":{"a":1}},"content":null}',
        b'{"header":{"msg_id":"a"},"route":{"resource":"x"},"content":}',
        b"[" * 100_000,
        b'{"header":{"msg_id":"a"},"route":{"a":' + b"[" * 100_000,
    ],
    ids=lambda text: text[:45].decode(),
)
async def test_what_is_no_envelope_is_answered_counted_and_forgotten(site: Site, node: RawNode, text: bytes) -> None:
    before = (await site.cloud_metrics()).of(MALFORMED)
    log = site.cloud_log()
    node.text(text)
    answer = await node.next()
    assert answer["route"]["operation"] == "error"
    assert "malformed message" in answer["content"]
    line = await log.says("malformed message", f"peer={NODE}")
    assert "reason=" in line
    await is_alive(node)
    assert (await site.cloud_metrics()).of(MALFORMED) == before + 1


async def test_an_answer_names_the_message_that_could_not_be_read_where_its_id_could(node: RawNode) -> None:
    node.text(b'{"header":{"msg_id":"abc","timestamp":true},"route":{"operation":"query"},"content":null}')
    answer = await node.next()
    assert answer["header"]["parent_msg_id"] == "abc"
    await is_alive(node)


async def test_a_thousand_of_them_are_one_line_in_the_log(site: Site, node: RawNode) -> None:
    before = (await site.cloud_metrics()).of(MALFORMED)
    log = site.cloud_log()
    for _ in range(1000):
        node.text(b"garbage")
    for _ in range(1000):
        await node.next()
    await is_alive(node)
    assert (await site.cloud_metrics()).of(MALFORMED) == before + 1000
    assert len(log.lines("malformed message")) == 1


@pytest.mark.parametrize(
    ("operation", "resource"),
    [
        ("explode", "default/pod/web"),
        ("", "default/pod/web"),
        ("query", "default/spaceship/enterprise"),
        ("insert", "default/configmap/theirs"),
        ("update", "default/secret/theirs"),
    ],
)
async def test_what_is_not_supported_is_told_and_counted(
    site: Site, node: RawNode, operation: str, resource: str
) -> None:
    before = (await site.cloud_metrics()).of(REQUESTS, 'outcome="unsupported"')
    answer = await node.answer(node.say(operation, resource))
    status = answer["content"]["ErrStatus"]
    assert status["reason"] == "BadRequest"
    assert "is supported" in status["message"]
    assert (await site.cloud_metrics()).of(REQUESTS, 'outcome="unsupported"') == before + 1
    await is_alive(node)


@pytest.mark.parametrize("resource", ["", "x", "a/b", "///", "default/pod/" + "x/" * 1000, "é/ü/ö", "../../../etc"])
async def test_a_resource_of_another_shape_harms_nobody(node: RawNode, resource: str) -> None:
    node.say("query", resource)
    node.say("update", resource, {"metadata": 1})
    await is_alive(node)


async def test_an_empty_envelope_is_one_that_asks_for_nothing(node: RawNode) -> None:
    """As in Go, where what is missing or null is a zero value (spec 01 §1.1)."""
    for text in (b"null", b"{}", b'{"header":null,"route":null}', b'{"route":{}} and more'):
        node.text(text)
    await is_alive(node)


@pytest.mark.parametrize(
    "content",
    [None, True, 7, "", "text", [], ["a"], {}, {"metadata": []}, {"metadata": {"name": 7}}, {"status": "x"}, "{"],
    ids=repr,
)
async def test_contents_of_the_wrong_type_are_refused_with_a_status(node: RawNode, content: object) -> None:
    for operation, resource in (
        ("insert", f"default/node/{NODE}"),
        ("patch", "default/podpatch/web"),
        ("update", "default/podstatus/web"),
        ("insert", f"kube-node-lease/lease/{NODE}"),
        ("query", "default/serviceaccounttoken/default"),
        ("insert", "default/event/web.1"),
    ):
        node.say(operation, resource, content)
    await is_alive(node)


async def test_a_node_cannot_speak_for_another(site: Site, node: RawNode) -> None:
    lease = await site.get(LEASE, "kube-node-lease", NODE_NAME)
    for operation, resource, content in (
        ("update", f"kube-node-lease/lease/{NODE_NAME}", lease),
        ("patch", f"default/nodepatch/{NODE_NAME}", '{"status":{"conditions":[]}}'),
        ("insert", f"default/node/{NODE_NAME}", {"metadata": {"name": NODE_NAME}}),
    ):
        content = (await node.answer(node.say(operation, resource, content)))["content"]
        status = (content.get("Err") or content)["ErrStatus"]
        assert (status["reason"], status["code"]) == ("Forbidden", 403), resource


async def test_messages_in_the_name_of_the_cloud_are_dropped(site: Site, node: RawNode) -> None:
    log = site.cloud_log()
    route = {"source": "edgecontroller", "group": "resource", "operation": "delete", "resource": "default/pod/web"}
    node.text(orjson.dumps({"header": {"msg_id": "1"}, "route": route, "content": None}))
    await log.says("message rejected", f"node={NODE}", "source=edgecontroller")
    await is_alive(node)


async def test_acknowledgements_that_nobody_asked_for_change_nothing(site: Site, node: RawNode) -> None:
    before = await site.cloud_metrics()
    for _ in range(100):
        node.say("response", "default/pod/web", "OK", parent_msg_id=os.urandom(8).hex())
    await is_alive(node)
    name = "kubeedge_cloudhub_objectsync_writes_total"
    after = await site.cloud_metrics()
    assert after.of(name, 'operation="delete"') == before.of(name, 'operation="delete"')


async def test_a_message_of_40_mib_is_read_like_any_other(site: Site, node: RawNode) -> None:
    large = "x" * (40 << 20)
    node.say("query", "default/spaceship/enterprise", large)
    await node.drain()
    assert (await node.next())["content"]["ErrStatus"]["reason"] == "BadRequest"
    node.text(large.encode())
    await node.drain()
    assert "malformed message" in (await node.next())["content"]
    await is_alive(node)


async def test_a_message_may_come_in_a_thousand_pieces(node: RawNode) -> None:
    """Fragments of one byte, with pings between them, of which some split the message's UTF-8."""
    text = '{"header":{"msg_id":"ü"},"route":{"operation":"query"},"content":"' + "é" * 450 + '"'
    pieces = [bytes([byte]) for byte in text.encode()]
    for number, piece in enumerate(pieces):
        is_last = number == len(pieces) - 1
        node.write(_fragment(TEXT if number == 0 else 0, piece, is_final=is_last))
        if number % 100 == 0:
            node.write(frame(PING, b"still there?", os.urandom(4)))
    pongs = [opcode for opcode, _ in [await node._next() for _ in range(len(pieces) // 100 + 1)]]
    assert pongs == [0xA] * len(pongs)
    assert "malformed message" in (await node.next())["content"]
    await is_alive(node)


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (b"\x81\x02{}", 1002, "mask"),
        (b"\xc1\x80\0\0\0\0", 1002, "reserved"),
        (b"\x83\x80\0\0\0\0", 1002, "opcode"),
        (b"\x80\x80\0\0\0\0", 1002, "continu"),
        (b"\x09\x80\0\0\0\0", 1002, "control"),
        (b"\x89\xfe\x00\x7e\0\0\0\0", 1002, "control"),
        (b"\x81\xff\x00\x00\x00\x01\x00\x00\x00\x00\0\0\0\0", 1009, "bytes"),
        (b"\x81\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0", 1009, "bytes"),
        (b"\x81\x82\0\0\0\0\xff\xfe", 1007, "UTF-8"),
        (b"\x88\x81\0\0\0\0\x03", 1002, "close"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1002, ""),
    ],
)
async def test_frames_that_are_none_end_the_connection_with_a_reason(
    site: Site, node: RawNode, data: bytes, code: int, reason: str
) -> None:
    """Where one frame ends and the next begins cannot be told any more, or RFC 6455 §8.1 leaves no choice."""
    before = (await site.cloud_metrics()).of(PROTOCOL_ERRORS, f'code="{code}"')
    log = site.cloud_log()
    node.write(data)
    told_code, told_reason = await node.closed()
    assert told_code == code
    assert reason.lower() in told_reason.lower()
    await log.says("session ended", f"node={NODE}", told_reason)
    assert (await site.cloud_metrics()).of(PROTOCOL_ERRORS, f'code="{code}"') == before + 1


async def test_a_node_that_connects_again_and_again_is_one_node(site: Site, node: RawNode) -> None:
    log = site.cloud_log()
    for _ in range(20):
        async with connected(site, NODE) as other:
            await is_alive(other)
    await log.says("session ended", f"node={NODE}", "replaced by a newer connection")
    nodes = "KubeEdge_CloudHub_connected_nodes"
    await until(lambda: _counts(site, nodes, 1), otherwise=lambda: log.text)


async def test_the_other_node_has_noticed_nothing(site: Site, node: RawNode) -> None:
    """A pod still comes all the way down, and its status all the way up, while the bad node shouts."""
    await site.create(POD, pod("undisturbed", shell(SLEEPER)))
    for _ in range(1000):
        node.text(b"garbage")
        node.say("explode", "default/pod/web")
    await site.pod_is("undisturbed", is_running, timeout_s=10)
    await site.delete(POD, "undisturbed")
    await site.gone(POD, "undisturbed")


async def _counts(site: Site, name: str, value: float) -> bool:
    return (await site.cloud_metrics()).of(name) == value


def _fragment(opcode: int, payload: bytes, *, is_final: bool) -> bytes:
    """Return a masked frame, for a client may not send another; a key of zeros changes nothing."""
    assert len(payload) < 126
    return bytes([opcode | (0x80 if is_final else 0), 0x80 | len(payload)]) + bytes(4) + payload
