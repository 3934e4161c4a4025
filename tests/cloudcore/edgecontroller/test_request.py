"""The forms of requests and answers, byte for byte where a Go edge looks."""

from __future__ import annotations

import orjson
import pytest

from kubeedge.cloudcore.edgecontroller.nodes import empty_node
from kubeedge.cloudcore.edgecontroller.request import (
    BadRequestError,
    ForbiddenError,
    Request,
    error_content,
    not_found,
    unstamped,
)
from kubeedge.kube.api import ApiError, ApiUnavailableError
from kubeedge.kube.kinds import CONFIG_MAP, LEASE
from kubeedge.message import Message, new_message


def request(resource: str = "node/e1/default/pod/web", content: bytes = b"null") -> Request:
    """Return a request of node e1."""
    return Request(new_message("edged", "meta", "query", resource, content))


def route(message: Message) -> tuple[str, str, str, str]:
    """Return what a message says about its way."""
    return message.source, message.group, message.operation, message.resource


@pytest.mark.parametrize("resource", ["", "node", "node/e1", "node/e1/default", "node//default/pod/x", "x/e1/ns/pod/y"])
def test_a_resource_that_names_no_type_is_refused(resource: str) -> None:
    with pytest.raises(BadRequestError):
        request(resource)


def test_segments_of_the_resource_are_taken_apart() -> None:
    asked = request("node/e1/null/node/e1")
    assert (asked.node, asked.namespace, asked.type, asked.name) == ("e1", "", "node", "e1")
    assert request("node/e1/default/podstatus").name == ""
    assert request("node/e1/default/pod/web/more").name == "web"


def test_content_may_be_an_object_or_text_that_holds_one() -> None:
    assert request(content=b'{"a":1}').data() == {"a": 1}
    assert request(content=b'"{\\"a\\":1}"').data() == {"a": 1}
    assert request(content=b'"{\\"a\\":1}"').text() == b'{"a":1}'
    assert request(content=b'"{}"').literal() == "{}"


@pytest.mark.parametrize("content", [b"null", b"[]", b'"x"', b"7", b'"\\"{}\\""'])
def test_content_of_another_kind_is_refused(content: bytes) -> None:
    with pytest.raises(BadRequestError):
        request(content=content).data()
    with pytest.raises(BadRequestError):
        request(content=content).text()


def test_answers_go_to_the_resource_of_the_request_with_it_as_parent() -> None:
    asked = request("node/e1/default/podpatch/web")
    answer = asked.written(b'{"kind":"Pod","apiVersion":"v1","metadata":{"resourceVersion":"7"}}')
    assert route(answer) == ("edgecontroller", "resource", "response", "node/e1/default/podpatch/web")
    assert (answer.parent_id, answer.resource_version) == (asked.message.id, "7")
    assert answer.content == b'{"Object":{"metadata":{"resourceVersion":"7"}},"Err":null}'
    assert asked.written(b'{"metadata":{"resourceVersion":"7"}}', with_version=False).resource_version == ""
    assert asked.ok(resource_version="5").content == b'"OK"'
    assert request("node/e1/n/nodestatus/e1").ok(type_="node").resource == "node/e1/n/node/e1"


def test_kind_and_api_version_are_cut_off_the_front_only() -> None:
    assert unstamped(b'{"kind":"Pod","apiVersion":"v1","metadata":{}}') == b'{"metadata":{}}'
    assert unstamped(b'{"apiVersion":"v1","kind":"Pod","metadata":{}}') == b'{"metadata":{}}'
    assert unstamped(b'{"metadata":{},"kind":"Pod"}') == b'{"metadata":{},"kind":"Pod"}'
    assert unstamped(b'{"kind":"Pod"}') == b'{"kind":"Pod"}'


def test_every_failure_has_a_full_status() -> None:
    refused = orjson.dumps(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": 'nodes "e1" already exists',
            "reason": "AlreadyExists",
            "details": {"name": "e1", "kind": "nodes"},
            "code": 409,
        }
    )
    # Recorded in link-websocket-2.jsonl at t = 0.38.
    assert orjson.loads(error_content(ApiError(409, "AlreadyExists", "", refused))) == {
        "ErrStatus": {
            "metadata": {},
            "status": "Failure",
            "message": 'nodes "e1" already exists',
            "reason": "AlreadyExists",
            "details": {"name": "e1", "kind": "nodes"},
            "code": 409,
        }
    }
    for error, code, reason in (
        (ApiUnavailableError("down"), 503, "ServiceUnavailable"),
        (ForbiddenError("no"), 403, "Forbidden"),
        (BadRequestError("what"), 400, "BadRequest"),
        (RuntimeError("bug"), 500, "InternalError"),
        (ApiError(500, "", "odd", b"no json"), 500, ""),
    ):
        status = orjson.loads(error_content(error))["ErrStatus"]
        assert (status["status"], status["code"], status["reason"]) == ("Failure", code, reason)
        assert status["message"]


def test_not_found_is_said_as_a_go_cache_says_it() -> None:
    # Recorded in link-websocket.jsonl at t = 0.22.
    assert orjson.loads(error_content(not_found(LEASE, "e1")))["ErrStatus"] == {
        "metadata": {},
        "status": "Failure",
        "message": 'lease.coordination.k8s.io "e1" not found',
        "reason": "NotFound",
        "details": {"name": "e1", "group": "coordination.k8s.io", "kind": "lease"},
        "code": 404,
    }
    assert not_found(CONFIG_MAP, "app").message == 'configmap "app" not found'


def test_a_failed_write_carries_the_object_that_go_expects() -> None:
    answer = request("node/e1/null/node/e1").not_written(
        BadRequestError("x"), empty_node({"kubernetes.io/os": "linux"})
    )
    content = orjson.loads(answer.content)
    assert content["Object"]["metadata"] == {"creationTimestamp": None, "labels": {"kubernetes.io/os": "linux"}}
    assert content["Object"]["status"]["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 0}}
    assert content["Err"]["ErrStatus"]["code"] == 400
    assert answer.resource_version == ""
