"""The HTTP client of the Kubernetes API, against servers that misbehave in every way that we know of."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import aclosing

import orjson
import pytest
import uvloop

from kubeedge.kube import client as client_module
from kubeedge.kube.api import MERGE_PATCH, ApiError, ApiUnavailableError
from kubeedge.kube.client import HttpApi
from kubeedge.kube.kinds import NODE, POD, SECRET
from kubeedge.kube.kubeconfig import Access, Credential, FixedCredential
from kubeedge.pki.authority import Authority
from kubeedge.pki.tls import ClientCertificate, client_context, server_context
from tests.kube.scripted import answer, scripted

STATUS = orjson.dumps(
    {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": 'pods "x" not found',
        "reason": "NotFound",
        "details": {"name": "x", "kind": "pods"},
        "code": 404,
    }
)


def lines(*events: dict[str, object]) -> bytes:
    """Return a chunked HTTP answer whose body is the events, one a line."""
    body = b"".join(orjson.dumps(event) + b"\n" for event in events)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


async def test_get_returns_the_bytes_of_the_answer_and_keeps_the_connection() -> None:
    async with scripted(answer(200, b'{"a":1}'), answer(200, b'{"a":2}')) as script:
        api = HttpApi(script.access)
        assert await api.get(POD, "default", "a") == b'{"a":1}'
        assert await api.get(NODE, "", "n", subresource="status") == b'{"a":2}'
        api.close()
    assert script.connections == 1
    assert script.requests[0].startswith(b"GET /api/v1/namespaces/default/pods/a HTTP/1.1\r\n")
    assert script.requests[1].startswith(b"GET /api/v1/nodes/n/status HTTP/1.1\r\n")


async def test_a_refusal_is_raised_with_the_whole_status() -> None:
    async with scripted(answer(404, STATUS)) as script:
        api = HttpApi(script.access)
        with pytest.raises(ApiError) as caught:
            await api.get(POD, "default", "x")
        api.close()
    assert (caught.value.code, caught.value.reason, caught.value.status) == (404, "NotFound", STATUS)


async def test_a_refusal_in_plain_text_becomes_a_status_too() -> None:
    async with scripted(answer(404, b"404 page not found\n")) as script:
        api = HttpApi(script.access)
        with pytest.raises(ApiError) as caught:
            await api.get(POD, "default", "x")
        api.close()
    assert orjson.loads(caught.value.status)["code"] == 404
    assert caught.value.reason == "NotFound"


@pytest.mark.parametrize(
    "data", [answer(502, b"<html>bad gateway</html>"), b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Le", None]
)
async def test_what_is_no_answer_of_an_api_is_unavailable(data: bytes | None) -> None:
    async with scripted(data) as script:
        api = HttpApi(script.access)
        script.answers.append(None)
        # For the answer that stops in the middle.
        asyncio.get_running_loop().call_later(0.1, api.close)
        with pytest.raises(ApiUnavailableError):
            await api.get(POD, "default", "x")
        api.close()


async def test_nobody_listening_is_unavailable() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    api = HttpApi(Access("127.0.0.1", port, "", None, "127.0.0.1", Credential()))
    with pytest.raises(ApiUnavailableError, match=str(port)):
        await api.get(POD, "default", "x")


async def test_a_read_on_a_connection_that_the_server_has_closed_is_repeated() -> None:
    async with scripted(answer(200, b"{}"), None, answer(200, b'{"again":true}')) as script:
        api = HttpApi(script.access)
        await api.get(POD, "default", "a")
        assert await api.get(POD, "default", "a") == b'{"again":true}'
        api.close()
    assert script.connections == 2


async def test_a_write_is_never_repeated_on_its_own() -> None:
    async with scripted(answer(200, b"{}"), None, answer(200, b"{}")) as script:
        api = HttpApi(script.access)
        await api.get(POD, "default", "a")
        with pytest.raises(ApiUnavailableError):
            await api.create(POD, "default", b"{}")
        api.close()
    assert len(script.requests) == 2


async def test_a_write_that_the_server_put_off_is_made_again() -> None:
    async with scripted(answer(429, STATUS, "Retry-After: 0"), answer(201, b'{"made":1}')) as script:
        api = HttpApi(script.access)
        assert await api.create(POD, "default", b'{"kind":"Pod"}') == b'{"made":1}'
        api.close()
    assert script.requests[0] == script.requests[1]


async def test_a_server_that_puts_off_for_ever_is_told_to_the_caller() -> None:
    async with scripted(*[answer(429, STATUS, "Retry-After: 0")] * 10) as script:
        api = HttpApi(script.access)
        with pytest.raises(ApiError):
            await api.get(POD, "default", "a")
        api.close()
    assert len(script.requests) == client_module.MAX_ATTEMPTS


async def test_calls_for_a_node_impersonate_it_and_carry_the_credential() -> None:
    async with scripted(answer(200, b"{}")) as script:
        access = script.access
        access.credential = FixedCredential("Bearer abc")
        access.prefix = "/k8s/clusters/c-1"
        api = HttpApi(access)
        await api.patch(NODE, "", "e1", b"{}", MERGE_PATCH, as_node="e1")
        api.close()
    head = script.requests[0].decode()
    assert head.startswith("PATCH /k8s/clusters/c-1/api/v1/nodes/e1 HTTP/1.1\r\n")
    assert "Impersonate-User: system:node:e1\r\nImpersonate-Group: system:nodes\r\n" in head
    assert "Authorization: Bearer abc\r\n" in head
    assert "Content-Type: application/merge-patch+json\r\n" in head


@pytest.mark.parametrize("name", ["..", ".", "a/b", "a b", "a\r\nX: y", "a?b", "a%2fb", "ä"])
async def test_a_name_that_would_change_the_path_is_refused_before_anything_is_sent(name: str) -> None:
    async with scripted(answer(200, b"{}")) as script:
        api = HttpApi(script.access)
        with pytest.raises(ApiError) as caught:
            await api.get(POD, "default", name)
        assert caught.value.code == 400
        with pytest.raises(ApiError):
            await api.get(POD, "default", "x", as_node=name)
    assert not script.requests


async def test_a_call_for_one_object_without_a_name_never_reaches_all_of_them() -> None:
    async with scripted(answer(200, b'{"items":[]}')) as script:
        api = HttpApi(script.access)
        for call in (
            api.get(SECRET, "kubeedge", ""),
            api.update(SECRET, "kubeedge", "", b"{}"),
            api.patch(SECRET, "kubeedge", "", b"{}", MERGE_PATCH),
            api.delete(SECRET, "kubeedge", ""),
        ):
            with pytest.raises(ApiError, match="no name is given"):
                await call
        assert script.requests == []
        api.close()


async def test_list_gives_the_items_as_they_stand_in_the_page() -> None:
    page = b'{"metadata":{"resourceVersion":"7","continue":"c"},"items":[{"metadata":{"name":"a"}},  {"x": 1 }]}'
    async with scripted(answer(200, page), answer(200, b'{"metadata":{},"items":null}')) as script:
        api = HttpApi(script.access)
        items = await api.list(POD, field_selector="spec.nodeName!=", limit=2, label_selector="a in (b)")
        assert items == ([b'{"metadata":{"name":"a"}}', b'{"x": 1 }'], "7", "c")
        assert (await api.list(POD, "default")).items == []
        api.close()
    assert (
        b"GET /api/v1/pods?labelSelector=a+in+%28b%29&fieldSelector=spec.nodeName%21%3D&limit=2 " in script.requests[0]
    )


async def test_calls_wait_for_one_of_the_bounded_connections() -> None:
    async with scripted(*[answer(200, b"{}")] * 20) as script:
        script.delay_s = 0.005
        api = HttpApi(script.access, max_connections=3)
        await asyncio.gather(*(api.get(POD, "default", "a") for _ in range(20)))
        assert script.most_open == 3
        api.close()


async def test_a_cancelled_call_leaves_no_answer_behind_for_the_next_one() -> None:
    async with scripted(answer(200, b'"first"'), answer(200, b'"second"')) as script:
        script.delay_s = 0.05
        api = HttpApi(script.access, max_connections=1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await api.get(POD, "default", "a")
        script.delay_s = 0
        await asyncio.sleep(0.08)
        assert await api.get(POD, "default", "a") == b'"second"'
        api.close()


async def test_a_call_without_an_answer_ends_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CALL_TIMEOUT_S", 0.05)
    async with scripted(answer(200, b"{}")) as script:
        script.delay_s = 0.5
        api = HttpApi(script.access)
        started = time.monotonic()
        with pytest.raises(ApiUnavailableError, match="no answer"):
            await api.get(POD, "default", "a")
        assert time.monotonic() - started < 0.4


async def test_watch_gives_events_until_the_server_ends_it() -> None:
    data = lines(
        {"type": "ADDED", "object": {"metadata": {"name": "a"}}},
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "9"}}},
    )
    async with scripted(data) as script:
        api = HttpApi(script.access)
        events = [event async for event in api.watch(POD, resource_version="5", timeout_s=9)]
        assert [(event.type, event.object) for event in events] == [
            ("ADDED", b'{"metadata":{"name":"a"}}'),
            ("BOOKMARK", b'{"metadata":{"resourceVersion":"9"}}'),
        ]
        api.close()
    query = b"/api/v1/pods?watch=true&allowWatchBookmarks=true&resourceVersion=5&timeoutSeconds=9 "
    assert query in script.requests[0]


async def test_an_event_cut_into_any_pieces_is_the_same() -> None:
    body = b'{"type":"ADDED","object":{"metadata":{"name":"a"}}}\n{"type":"DELETED","object":{}}\n'
    pieces = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + pieces + b"0\r\n\r\n"
    async with scripted(data) as script:
        api = HttpApi(script.access)
        assert [event.type async for event in api.watch(POD, resource_version="5")] == ["ADDED", "DELETED"]


async def test_an_expired_watch_raises_the_status_of_its_event() -> None:
    gone = {"kind": "Status", "status": "Failure", "reason": "Expired", "message": "too old", "code": 410}
    async with scripted(lines({"type": "ERROR", "object": gone})) as script:
        api = HttpApi(script.access)
        with pytest.raises(ApiError) as caught:
            async for _ in api.watch(POD, resource_version="5"):
                pass
    assert caught.value.code == 410


async def test_a_refused_watch_raises_the_status() -> None:
    async with scripted(answer(404, STATUS)) as script:
        api = HttpApi(script.access)
        with pytest.raises(ApiError) as caught:
            async for _ in api.watch(POD, resource_version="5"):
                pass
    assert caught.value.status == STATUS


async def test_a_watch_left_early_closes_its_connection() -> None:
    event = b'{"type":"ADDED","object":{}}\n'
    data = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n" % (len(event), event)
    async with scripted(data, data) as script:
        api = HttpApi(script.access)
        async with aclosing(api.watch(POD, resource_version="5")) as events:
            async for _ in events:
                assert script.open == 1
                break
        for _ in range(100):
            await asyncio.sleep(0.01)
            if not script.open:
                break
        assert script.open == 0


async def test_a_silent_watch_ends_some_time_after_the_time_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "WATCH_GRACE_S", -0.9)
    async with scripted(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n") as script:
        script.answers.append(None)
        api = HttpApi(script.access)
        with pytest.raises(ApiUnavailableError, match="silent"):
            async for _ in api.watch(POD, resource_version="5", timeout_s=1):
                pass


def test_calls_and_watches_work_over_tls_on_uvloop_too() -> None:
    authority = Authority.create("test-ca")
    pair = authority.sign_server(["127.0.0.1"], [])
    context = server_context(pair.certificate_pem, pair.key_pem, client=ClientCertificate.NONE)

    async def run() -> None:
        event = lines({"type": "ADDED", "object": {"metadata": {"name": "a"}}})
        async with scripted(answer(200, b"{}"), answer(200, b'{"b":1}'), event, tls=context) as script:
            access = script.access
            access.tls = client_context(authority.certificate_pem)
            api = HttpApi(access)
            await api.get(POD, "default", "a")
            assert await api.update(POD, "default", "a", b"{}") == b'{"b":1}'
            assert [each.type async for each in api.watch(POD, resource_version="1")] == ["ADDED"]
            access.tls = client_context(Authority.create("other").certificate_pem)
            with pytest.raises(ApiUnavailableError, match="certificate"):
                async for _ in api.watch(POD, resource_version="1"):
                    pass
            api.close()

    uvloop.run(run())


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.1 201 Created\r\nDate: now\r\nContent-Length:2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    ],
)
async def test_an_answer_means_the_same_in_one_piece_and_in_many(data: bytes) -> None:
    async with scripted(data, data, answer(200, b'"next"')) as script:
        api = HttpApi(script.access, max_connections=1)
        assert await api.get(POD, "default", "a") == b"{}"
        script.piece_bytes = 7
        assert await api.get(POD, "default", "a") == b"{}"
        assert await api.get(POD, "default", "a") == b'"next"'
        api.close()


async def test_the_time_of_a_call_counts_from_its_own_beginning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CALL_TIMEOUT_S", 0.2)
    async with scripted(*[answer(200, b"{}")] * 3) as script:
        api = HttpApi(script.access, max_connections=1)
        script.delay_s = 0.12
        for _ in range(3):
            assert await api.get(POD, "default", "a") == b"{}"
        assert script.connections == 1
        api.close()
