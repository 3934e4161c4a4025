"""Calls that are begun without a task, against a server that answers as it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kubeedge.kube.api import MERGE_PATCH, ApiError, ApiUnavailableError, BusyError
from kubeedge.kube.client import HttpApi
from kubeedge.kube.kinds import LEASE, NODE
from tests.kube.scripted import Script, answer, scripted

WAIT_S = 5.0
NAMESPACE = "kube-node-lease"


class Answers:
    """What came of calls that were begun."""

    def __init__(self) -> None:
        self.came: asyncio.Queue[bytes | Exception] = asyncio.Queue()

    def __call__(self, answer: bytes | Exception) -> None:
        self.came.put_nowait(answer)

    async def next(self) -> bytes | Exception:
        """Wait for one."""
        async with asyncio.timeout(WAIT_S):
            return await self.came.get()


@asynccontextmanager
async def warm(*answers: bytes | None, connections: int = 64) -> AsyncIterator[tuple[Script, HttpApi, Answers]]:
    """Give an API client with one idle connection, which answers so."""
    async with scripted(answer(200, b"{}"), *answers) as script:
        api = HttpApi(script.access, max_connections=connections)
        await api.get(NODE, "", "e1")
        try:
            yield script, api, Answers()
        finally:
            api.close()


async def test_a_call_is_declined_while_there_is_no_connection() -> None:
    async with scripted(answer(200, b"{}")) as script:
        api = HttpApi(script.access)
        assert not api.begin("GET", NODE, "", "e1", b"", Answers())
        assert script.requests == []
        api.close()


async def test_a_call_on_an_idle_connection_gives_the_bytes_of_the_answer() -> None:
    async with warm(answer(200, b'{"a":1}'), answer(200, b'{"a":2}')) as (script, api, answers):
        for number in (1, 2):
            assert api.begin("PUT", LEASE, NAMESPACE, "e1", b'{"b":1}', answers)
            assert await answers.next() == b'{"a":%d}' % number
        assert script.connections == 1
        head, _, body = script.requests[-1].partition(b"\r\n\r\n")
        assert head.startswith(b"PUT /apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/e1 HTTP/1.1\r\n")
        assert b"Content-Type: application/json\r\nContent-Length: 7" in head
        assert body == b'{"b":1}'


async def test_a_patch_in_the_name_of_a_node_says_so() -> None:
    async with warm(answer(200, b"{}")) as (script, api, answers):
        begun = api.begin(
            "PATCH", NODE, "", "e1", b"{}", answers, content_type=MERGE_PATCH, subresource="status", as_node="e1"
        )
        assert begun
        await answers.next()
        head = script.requests[-1]
        assert head.startswith(b"PATCH /api/v1/nodes/e1/status HTTP/1.1\r\n")
        assert b"Content-Type: application/merge-patch+json\r\n" in head
        assert b"Impersonate-User: system:node:e1\r\nImpersonate-Group: system:nodes\r\n" in head


async def test_a_second_call_is_declined_while_the_connection_is_taken() -> None:
    async with warm(answer(200, b"{}"), answer(200, b"{}")) as (_, api, answers):
        assert api.begin("GET", NODE, "", "e1", b"", answers)
        assert not api.begin("GET", NODE, "", "e1", b"", answers)
        await answers.next()
        assert api.begin("GET", NODE, "", "e1", b"", answers)


async def test_calls_that_are_begun_count_among_the_bounded_connections() -> None:
    async with warm(answer(200, b'{"a":1}'), answer(200, b'{"a":2}'), connections=1) as (script, api, answers):
        script.delay_s = 0.05
        assert api.begin("GET", NODE, "", "e1", b"", answers)
        assert await api.get(NODE, "", "e2") == b'{"a":2}'
        assert script.connections == 1
        assert await answers.next() == b'{"a":1}'


async def test_a_refusal_comes_with_its_status() -> None:
    status = b'{"kind":"Status","status":"Failure","message":"gone on","reason":"Conflict","code":409}'
    async with warm(answer(409, status)) as (_, api, answers):
        assert api.begin("PUT", LEASE, NAMESPACE, "e1", b"{}", answers)
        error = await answers.next()
        assert isinstance(error, ApiError)
        assert (error.code, error.reason, error.status) == (409, "Conflict", status)


@pytest.mark.parametrize("code", [429, 503])
async def test_what_the_server_puts_off_is_handed_back(code: int) -> None:
    async with warm(answer(code, b"later", "Retry-After: 1")) as (_, api, answers):
        assert api.begin("PUT", LEASE, NAMESPACE, "e1", b"{}", answers)
        assert isinstance(await answers.next(), BusyError)


async def test_a_server_that_is_out_of_order_is_unavailable_and_not_merely_busy() -> None:
    async with warm(answer(503, b"out of order")) as (_, api, answers):
        assert api.begin("PUT", LEASE, NAMESPACE, "e1", b"{}", answers)
        assert isinstance(await answers.next(), ApiUnavailableError)


async def test_a_read_that_a_closed_connection_swallowed_is_handed_back() -> None:
    async with warm(None) as (_, api, answers):
        assert api.begin("GET", NODE, "", "e1", b"", answers)
        assert isinstance(await answers.next(), BusyError)
        assert not api.begin("GET", NODE, "", "e1", b"", answers)


async def test_a_write_that_a_closed_connection_swallowed_may_have_been_made() -> None:
    async with warm(None) as (_, api, answers):
        assert api.begin("PUT", LEASE, NAMESPACE, "e1", b"{}", answers)
        assert isinstance(await answers.next(), ApiUnavailableError)


async def test_an_answer_that_does_not_come_in_time_ends_the_connection() -> None:
    async with warm(answer(200, b"{}")) as (script, api, answers):
        script.delay_s = WAIT_S
        assert api.begin("PUT", LEASE, NAMESPACE, "e1", b"{}", answers, timeout_s=0.05)
        error = await answers.next()
        assert isinstance(error, ApiUnavailableError)
        assert "no answer in time" in str(error)
        assert not api.begin("GET", NODE, "", "e1", b"", answers)


async def test_the_end_of_the_client_ends_its_calls() -> None:
    async with warm(answer(200, b"{}")) as (script, api, answers):
        script.delay_s = WAIT_S
        assert api.begin("PUT", LEASE, NAMESPACE, "e1", b"{}", answers)
        api.close()
        assert isinstance(await answers.next(), ApiUnavailableError)


async def test_a_name_that_would_change_the_path_is_refused_at_once() -> None:
    async with warm(answer(200, b"{}"), connections=1) as (script, api, answers):
        with pytest.raises(ApiError, match="can be no part of the path"):
            api.begin("GET", NODE, "", "../e2", b"", answers)
        with pytest.raises(ApiError, match="can be no part of the path"):
            api.begin("GET", NODE, "", "e1", b"", answers, as_node="e1\r\nX: y")
        assert len(script.requests) == 1
        assert api.begin("GET", NODE, "", "e1", b"", answers)
        assert await answers.next() == b"{}"


async def test_a_call_cancelled_while_it_waits_leaves_its_turn_to_the_next() -> None:
    async with warm(answer(200, b'{"a":1}'), answer(200, b'{"a":2}'), connections=1) as (script, api, answers):
        script.delay_s = 0.05
        assert api.begin("GET", NODE, "", "e1", b"", answers)
        first = asyncio.ensure_future(api.get(NODE, "", "e2"))
        second = asyncio.ensure_future(api.get(NODE, "", "e3"))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == b'{"a":2}'
        assert first.cancelled()
