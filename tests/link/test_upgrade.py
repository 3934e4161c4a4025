"""The HTTP exchange, with `websockets` as the other end, and everything that has to be refused."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

from kubeedge.link import upgrade

NONCE = bytes(range(16))
NODE = [("Node_id", "e1"), ("Project_id", "p"), ("Connectionuse", "msg")]
GOOD = (
    "GET /any/path HTTP/1.1\r\nHost: cloud:10000\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {b64encode(NONCE).decode()}\r\nNode_id: e1\r\n\r\n"
)


def refused(head: str) -> upgrade.UpgradeError:
    with pytest.raises(upgrade.UpgradeError) as caught:
        upgrade.read_request(head.encode("latin-1"))
    return caught.value


def test_websockets_accepts_our_request_and_we_its_answer() -> None:
    server = ServerProtocol()
    server.receive_data(upgrade.request("/p/e1/events", "cloud:10000", NODE, NONCE))
    (request,) = server.events_received()
    assert request.path == "/p/e1/events"
    assert request.headers["Node_id"] == "e1"
    server.send_response(server.accept(request))
    head = b"".join(server.data_to_send())
    assert upgrade.end_of_head(head) == len(head)
    upgrade.check_response(head, NONCE)


def test_we_accept_the_request_of_websockets_and_it_our_answer() -> None:
    client = ClientProtocol(parse_uri("ws://cloud:10000/x?y=1"))
    client.send_request(client.connect())
    head = b"".join(client.data_to_send())
    request = upgrade.read_request(head)
    assert request.target == "/x?y=1"
    client.receive_data(upgrade.acceptance(request))
    assert client.handshake_exc is None
    client.events_received()
    assert client.state.name == "OPEN"


def test_the_recorded_request_of_a_go_edge_is_accepted() -> None:
    lines = [
        "GET /e632aba927ea4ac2b575ec1603d56f10/e1/events HTTP/1.1",
        "Host: 127.0.0.1:20000",
        "User-Agent: Go-http-client/1.1",
        "Connection: Upgrade",
        "Connectionuse: msg",
        "Connectionuse: msg",
        "Node_id: e1",
        "Project_id: e632aba927ea4ac2b575ec1603d56f10",
        "Sec-WebSocket-Key: NkB8XbOd0u9JOIfzSc3RKw==",
        "Sec-WebSocket-Version: 13",
        "Upgrade: websocket",
    ]
    request = upgrade.read_request("\r\n".join([*lines, "", ""]).encode())
    assert request.headers.first("connectionuse") == "msg"
    assert request.headers.first("NODE_ID") == "e1"
    assert b"Sec-WebSocket-Accept: yVwlSgNgG+6n4ZUcZUDLpBk9bOY=\r\n" in upgrade.acceptance(request)


def test_the_first_of_repeated_headers_counts() -> None:
    request = upgrade.read_request(GOOD.replace("Node_id: e1", "Node_id: e1\r\nnode_ID: e2").encode())
    assert request.headers.first("Node_id") == "e1"
    assert request.headers.first("absent") == ""


@pytest.mark.parametrize(
    ("old", "new", "status"),
    [
        ("GET", "POST", 405),
        ("HTTP/1.1", "HTTP/1.0", 505),
        ("HTTP/1.1", "SPDY/1", 400),
        ("GET /any/path", "GET  /any", 400),
        ("Connection: Upgrade", "Connection: keep-alive", 400),
        ("Upgrade: websocket", "Upgrade: h2c", 400),
        ("Version: 13", "Version: 8", 426),
        ("Key: A", "Key: ", 400),
        ("Key: A", "Key: !", 400),
        ("Node_id: e1", "Node_id : e1", 400),
        ("Node_id: e1", " folded", 400),
        ("Node_id: e1", "Origin: https://evil.example", 403),
        ("Node_id: e1", "Node_id: é1\r\nno colon", 400),
    ],
)
def test_what_is_no_upgrade_is_refused_with_a_status(old: str, new: str, status: int) -> None:
    assert refused(GOOD.replace(old, new, 1)).status == status


def test_an_origin_of_the_same_host_is_fine() -> None:
    assert upgrade.read_request(GOOD.replace("Node_id: e1", "Origin: https://CLOUD:10000").encode())


def test_lists_of_tokens_are_read_over_all_lines() -> None:
    head = GOOD.replace("Connection: Upgrade", "Connection: keep-alive, UPGRADE\r\nConnection: x")
    assert upgrade.read_request(head.encode())


def test_a_refusal_gives_its_reason_in_the_body() -> None:
    answer = upgrade.refusal(upgrade.UpgradeError(403, "certificate is of another node"))
    assert answer.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert answer.endswith(b"\r\n\r\ncertificate is of another node\n")
    assert b"Sec-WebSocket-Version: 13" in upgrade.refusal(upgrade.UpgradeError(426, "x"))


def test_a_head_has_a_limit() -> None:
    assert upgrade.end_of_head(b"x" * upgrade.MAX_HEAD_BYTES) == 0
    with pytest.raises(upgrade.UpgradeError) as caught:
        upgrade.end_of_head(b"x" * (upgrade.MAX_HEAD_BYTES + 1))
    assert caught.value.status == 431


ANSWER = (
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {}\r\n\r\n"
)


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        ("HTTP/1.1 403 Forbidden\r\n\r\n", 403),
        ("garbage\r\n\r\n", 0),
        (ANSWER.format("wrong"), 101),
        ("HTTP/1.1 101 x\r\n\r\n", 101),
        (ANSWER.format("gIzksSX/5C+aZD+ZwwQTnrJTyxM=\r\nSec-WebSocket-Extensions: permessage-deflate"), 101),
        (ANSWER.format("gIzksSX/5C+aZD+ZwwQTnrJTyxM=\r\nSec-WebSocket-Protocol: mqtt"), 101),
    ],
)
def test_wrong_answers_are_refused(answer: str, status: int) -> None:
    with pytest.raises(upgrade.UpgradeError) as caught:
        upgrade.check_response(answer.encode(), NONCE)
    assert caught.value.status == status


@pytest.mark.parametrize("spoken", ["", "\r\nSec-WebSocket-Protocol: other"])
def test_answer_without_the_subprotocol_that_was_asked_for_is_refused(spoken: str) -> None:
    accepted = upgrade._accept_key(b64encode(NONCE).decode()).decode()
    upgrade.check_response(ANSWER.format(f"{accepted}\r\nSec-WebSocket-Protocol: mqtt").encode(), NONCE, "mqtt")
    with pytest.raises(upgrade.UpgradeError):
        upgrade.check_response(ANSWER.format(f"{accepted}{spoken}").encode(), NONCE, "mqtt")


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "a\x00"])
def test_header_values_cannot_smuggle_lines(value: str) -> None:
    with pytest.raises(ValueError):
        upgrade.request("/", "h", [("Node_id", value)], NONCE)


@given(st.binary(max_size=200) | st.text(max_size=80).map(lambda text: (GOOD[:-2] + text + "\r\n\r\n").encode()))
def test_garbage_is_refused_or_read_but_never_more(data: bytes) -> None:
    with suppress(upgrade.UpgradeError):
        upgrade.read_request(data)
