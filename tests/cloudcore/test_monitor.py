"""The monitor server, asked over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kubeedge import metrics
from kubeedge.cloudcore.monitor import REQUEST_LIMIT_BYTES, Monitor


@asynccontextmanager
async def monitor(is_ready: bool = True) -> AsyncIterator[int]:
    """Run a monitor on a free port."""
    server = Monitor("127.0.0.1:0", lambda: is_ready)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(server.run())
        await server.listening.wait()
        yield server.port
        task.cancel()


async def ask(port: int, request: bytes) -> bytes:
    """Send request and return all of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    return answer


async def test_metrics_are_in_the_format_of_prometheus() -> None:
    metrics.Counter("test_monitor_total", "A counter of this test").inc()
    async with monitor() as port:
        answer = await ask(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4")
    assert b"# TYPE test_monitor_total counter\ntest_monitor_total 1\n" in answer


@pytest.mark.parametrize(
    ("is_ready", "path", "status"),
    [
        (True, b"/healthz", b"200 OK"),
        (False, b"/healthz", b"200 OK"),
        (True, b"/readyz?verbose", b"200 OK"),
        (False, b"/readyz", b"503 Service Unavailable"),
        (True, b"/debug/pprof/", b"404 Not Found"),
    ],
)
async def test_health_is_told_by_status(is_ready: bool, path: bytes, status: bytes) -> None:
    async with monitor(is_ready) as port:
        assert (await ask(port, b"GET %s HTTP/1.1\r\n\r\n" % path)).startswith(b"HTTP/1.1 " + status)


async def test_only_reading_is_served_and_a_head_has_no_body() -> None:
    async with monitor() as port:
        assert b"405" in await ask(port, b"POST /healthz HTTP/1.1\r\n\r\n")
        assert (await ask(port, b"HEAD /healthz HTTP/1.1\r\n\r\n")).endswith(b"\r\n\r\n")


async def test_a_request_that_is_none_ends_its_connection_only() -> None:
    async with monitor() as port:
        assert await ask(port, b"x" * (REQUEST_LIMIT_BYTES + 10)) == b""
        assert b"405" in await ask(port, b"\r\n\r\n")
        assert b"200 OK" in await ask(port, b"GET /healthz HTTP/1.1\r\n\r\n")
