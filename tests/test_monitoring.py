"""The small HTTP server of the daemons, asked over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge import metrics, monitoring
from kubeedge.cloudcore.monitor import monitor
from kubeedge.monitoring import MAX_REQUEST_BYTES, OK, Monitor


@asynccontextmanager
async def serving(is_ready: bool = True) -> AsyncIterator[int]:
    """Run cloudcore's monitor on a free port."""
    server = monitor("127.0.0.1:0", lambda: is_ready)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.run())
        await server.listening.wait()
        yield server.port
        task.cancel()


async def ask(port: int, request: bytes) -> bytes:
    """Send request and return all of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    try:
        return await reader.read()
    finally:
        writer.close()


async def test_metrics_are_in_the_format_of_prometheus() -> None:
    metrics.Counter("test_monitor_total", "A counter of this test").inc()
    async with serving() as port:
        answer = await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4")
    assert b"# TYPE test_monitor_total counter\ntest_monitor_total 1\n" in answer


@pytest.mark.parametrize(
    ("is_ready", "path", "status"),
    [
        (True, b"/healthz", b"200 OK"),
        (True, b"/healthz/", b"200 OK"),
        (False, b"/healthz", b"200 OK"),
        (True, b"/readyz?verbose", b"200 OK"),
        (False, b"/readyz", b"503 Service Unavailable"),
        (True, b"/debug/pprof/", b"404 Not Found"),
        (True, b"/\xff", b"404 Not Found"),
    ],
)
async def test_health_is_told_by_status(is_ready: bool, path: bytes, status: bytes) -> None:
    async with serving(is_ready) as port:
        assert (await ask(port, b"GET %s HTTP/1.1\r\n\r\n" % path)).startswith(b"HTTP/1.1 " + status)


async def test_only_reading_is_served_and_a_head_has_no_body() -> None:
    async with serving() as port:
        assert b"405" in await ask(port, b"POST /healthz HTTP/1.1\r\n\r\n")
        head = await ask(port, b"HEAD /healthz HTTP/1.1\r\n\r\n")
        assert b"Content-Length: 2" in head and head.endswith(b"\r\n\r\n")


async def test_request_that_is_none_ends_its_connection_only() -> None:
    async with serving() as port:
        for nonsense in (b"\r\n\r\n", b"GET /healthz\r\n\r\n", b"\x16\x03\x01\r\n\r\n"):
            assert (await ask(port, nonsense)).startswith(b"HTTP/1.1 400")
        try:
            assert (await ask(port, b"x" * (MAX_REQUEST_BYTES + 10))).startswith(b"HTTP/1.1 400")
        except ConnectionResetError:
            pass  # what was not read of it reaches the client before the answer does
        assert b"200 OK" in await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n")


async def test_request_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(monitoring, "REQUEST_TIMEOUT_S", 0.1)
    async with serving() as port, asyncio.timeout(5):
        assert await ask(port, b"GET /healthz") == b""


@given(st.binary())
def test_every_head_gets_an_answer(head: bytes) -> None:
    answer = Monitor("", 0, {"/healthz": lambda: OK})._answer(head)
    assert asyncio.run(answer).startswith(b"HTTP/1.1 ")
