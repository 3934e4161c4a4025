"""Probes against real servers, and what follows from their results."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kubeedge.edgecore.edged.probes import checks
from kubeedge.edgecore.edged.probes.checks import Outcome, Result, Target
from kubeedge.edgecore.edged.probes.prober import Prober
from kubeedge.edgecore.edged.runtime.interface import ExecResult, RuntimeCallError

HOST = "127.0.0.1"
UNKNOWN_SERVICE = "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
TARGET = Target("id", {"name": "main", "ports": [{"name": "web", "containerPort": 81}]}, HOST)


async def never(container_id: str, command: list[str], timeout_s: float) -> ExecResult:
    raise AssertionError("no command is run")


@asynccontextmanager
async def http_server(answer: Callable[[str], bytes], context: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Answer each request with the bytes of answer(head)."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(head.decode()))
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


def page(status: int, *headers: str, body: str = "ok") -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


async def probe(body: dict[str, Any], execute: Any = never) -> Result:
    return await checks.run(body, TARGET, execute)


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, Outcome.SUCCESS), (399, Outcome.SUCCESS), (404, Outcome.FAILURE)]
)
async def test_http_probe_goes_by_the_status(status: int, outcome: Outcome) -> None:
    async with http_server(lambda _: page(status)) as port:
        result = await probe({"httpGet": {"port": port, "path": "/"}})
    assert result.outcome is outcome
    if outcome is Outcome.FAILURE:
        assert result.output == f"HTTP probe failed with statuscode: {status}"


async def test_http_probe_sends_its_headers() -> None:
    heads: list[str] = []

    def answer(head: str) -> bytes:
        heads.append(head)
        return page(200)

    async with http_server(answer) as port:
        headers = [
            {"name": "X-One", "value": "1"},
            {"name": "user-agent", "value": "mine"},
            {"name": "Host", "value": "h"},
        ]
        await probe({"httpGet": {"port": port, "path": "/x?y=1", "httpHeaders": headers}})
        await probe({"httpGet": {"port": port}})
    first, second = heads
    assert first.startswith("GET /x?y=1 HTTP/1.1\r\n")
    assert "X-One: 1\r\n" in first and "user-agent: mine\r\n" in first and "kube-probe" not in first
    assert "Host: h\r\n" in first and first.lower().count("host:") == 1
    assert "User-Agent: kube-probe/1.32\r\n" in second and "Accept: */*\r\n" in second


async def test_redirect_is_followed_on_the_same_host_only() -> None:
    def answer(head: str) -> bytes:
        if head.startswith("GET /away"):
            return page(302, "Location: http://example.com/")
        return page(302, "Location: /there") if head.startswith("GET /here") else page(500)

    async with http_server(answer) as port:
        assert (await probe({"httpGet": {"port": port, "path": "/here"}})).outcome is Outcome.FAILURE
        assert (await probe({"httpGet": {"port": port, "path": "/away"}})).outcome is Outcome.WARNING


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    """A server's context with a certificate that nobody trusts."""
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x", "-days", "1"]
    subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(certificate, key)
    return made


async def test_https_probe_takes_any_certificate(context: ssl.SSLContext) -> None:
    async with http_server(lambda _: page(200), context) as port:
        assert (await probe({"httpGet": {"port": port, "scheme": "HTTPS"}})).outcome is Outcome.SUCCESS


async def test_nobody_listening_is_told_in_kubernetes_words() -> None:
    async with http_server(lambda _: b"") as port:
        pass
    result = await probe({"httpGet": {"port": port, "path": "/x"}})
    assert result.output == f'Get "http://127.0.0.1:{port}/x": dial tcp 127.0.0.1:{port}: connect: connection refused'
    result = await probe({"tcpSocket": {"port": port}})
    assert result.output == f"dial tcp 127.0.0.1:{port}: connect: connection refused"


@pytest.mark.parametrize(
    "answer", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 abc X\r\n\r\n", b"HTTP/1.1 200", b"\0" * 100_000]
)
async def test_nonsense_is_a_failure(answer: bytes) -> None:
    async with http_server(lambda _: answer) as port:
        assert (await probe({"httpGet": {"port": port}})).outcome is Outcome.FAILURE


async def test_silence_is_a_failure_after_the_time_out() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(serve, HOST, 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        result = await probe({"httpGet": {"port": port}, "timeoutSeconds": 0.1})
        assert "context deadline exceeded" in result.output
        assert (await probe({"tcpSocket": {"port": port}})).outcome is Outcome.SUCCESS


async def test_port_may_be_named() -> None:
    assert checks.port_number(TARGET.container, "web") == 81
    assert checks.port_number(TARGET.container, "80") == 80
    result = await probe({"tcpSocket": {"port": "no"}})
    assert (result.outcome, result.output) == (Outcome.ERROR, "couldn't find port: 'no'")


async def test_command_goes_by_its_exit_code() -> None:
    async def execute(container_id: str, command: list[str], timeout_s: float) -> ExecResult:
        assert (container_id, timeout_s) == ("id", 3)
        return ExecResult(b"out", b"err", int(command[0]))

    assert (await probe({"exec": {"command": ["0"]}, "timeoutSeconds": 3}, execute)).outcome is Outcome.SUCCESS
    result = await probe({"exec": {"command": ["2"]}, "timeoutSeconds": 3}, execute)
    assert (result.outcome, result.output) == (Outcome.FAILURE, "outerr")


async def test_command_that_takes_too_long_is_a_failure_and_one_that_cannot_run_an_error() -> None:
    async def slow(container_id: str, command: list[str], timeout_s: float) -> ExecResult:
        raise TimeoutError

    async def broken(container_id: str, command: list[str], timeout_s: float) -> ExecResult:
        raise RuntimeCallError("ExecError", "no such file")

    result = await probe({"exec": {"command": ["sleep", "9"]}}, slow)
    assert (result.outcome, result.output) == (Outcome.FAILURE, 'command "sleep 9" timed out after 1s')
    assert await probe({"exec": {"command": ["x"]}}, broken) == Result(Outcome.ERROR, "no such file")


@asynccontextmanager
async def health_server(status: int | None) -> AsyncIterator[int]:
    """A real gRPC server; with status None it does not know the health service."""
    from grpclib.const import Cardinality, Handler
    from grpclib.server import Server, Stream

    class Raw:
        __content_subtype__ = "proto"

        def encode(self, message: Any, message_type: Any) -> bytes:
            return bytes(message)

        def decode(self, data: bytes, message_type: Any) -> bytes:
            return data

    class Health:
        async def check(self, stream: Stream[Any, Any]) -> None:
            request = await stream.recv_message()
            assert request == b"\x0a\x03web"
            await stream.send_message(b"\x08" + bytes([status or 0]))

        def __mapping__(self) -> dict[str, Handler]:
            return {"/grpc.health.v1.Health/Check": Handler(self.check, Cardinality.UNARY_UNARY, bytes, bytes)}

    server = Server([Health()] if status is not None else [], codec=Raw())  # type: ignore[arg-type]
    listening = socket.create_server((HOST, 0))
    await server.start(sock=listening)
    try:
        yield listening.getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("status", "outcome", "output"),
    [
        (1, Outcome.SUCCESS, "service healthy"),
        (2, Outcome.FAILURE, 'service unhealthy (responded with "NOT_SERVING")'),
        (
            None,
            Outcome.FAILURE,
            "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)",
        ),
    ],
)
async def test_grpc_probe_asks_a_real_server(status: int | None, outcome: Outcome, output: str) -> None:
    async with health_server(status) as port:
        result = await probe({"grpc": {"port": port, "service": "web"}, "timeoutSeconds": 5})
    assert (result.outcome, result.output) == (outcome, output)


async def test_grpc_probe_fails_where_nobody_or_something_else_listens() -> None:
    async with http_server(lambda _: page(200)) as port:
        assert (await probe({"grpc": {"port": port}, "timeoutSeconds": 0.2})).outcome is Outcome.FAILURE
    assert (await probe({"grpc": {"port": port}})).outcome is Outcome.FAILURE


class Bench:
    """A prober whose exec probes are answered from `results` by the first word of their command."""

    def __init__(self) -> None:
        self.prober = Prober(self.execute, jitter=lambda: 0.5)
        self.results: dict[str, int] = {}
        self.runs: list[str] = []
        self.reports: list[tuple[str, Result]] = []
        self.notified = 0

    async def execute(self, container_id: str, command: list[str], timeout_s: float) -> ExecResult:
        self.runs.append(command[0])
        return ExecResult(b"", b"said", self.results.get(command[0], 0))

    def watch(self, running_for_s: float = 0, **options: Any) -> None:
        container: dict[str, Any] = {"name": "main"}
        for type_ in ("startup", "liveness", "readiness"):
            if type_ in options:
                fields = options.pop(type_)
                container[f"{type_}Probe"] = {"exec": {"command": [type_]}, "periodSeconds": 0.02, **fields}
        target = Target("id", container, HOST)
        self.prober.watch(target, running_for_s, self.notify, lambda t, r: self.reports.append((t, r)), **options)

    def notify(self) -> None:
        self.notified += 1


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    made = Bench()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(made.prober.run())
        yield made
        task.cancel()


async def pause(seconds: float = 0.15) -> None:
    await asyncio.sleep(seconds)


async def test_container_without_probes_is_started_and_ready(bench: Bench) -> None:
    bench.watch()
    assert bench.prober.is_started("id") and bench.prober.is_ready("id") and bench.prober.failure("id") is None


async def test_readiness_comes_and_goes(bench: Bench) -> None:
    bench.watch(readiness={"failureThreshold": 2})
    assert not bench.prober.is_ready("id")
    await pause()
    assert bench.prober.is_ready("id")
    bench.results["readiness"] = 1
    await pause()
    assert not bench.prober.is_ready("id")
    assert bench.notified == 2
    assert bench.prober.failure("id") is None
    assert bench.reports[0] == ("readiness", Result(Outcome.FAILURE, "said"))


async def test_readiness_may_need_several_successes(bench: Bench) -> None:
    bench.watch(readiness={"successThreshold": 3})
    while not bench.prober.is_ready("id"):  # noqa: ASYNC110 - the prober has no event for it
        await asyncio.sleep(0.005)
    assert bench.runs == ["readiness"] * 3


async def test_startup_probe_holds_the_others_back(bench: Bench) -> None:
    bench.results["startup"] = 1
    bench.watch(startup={"failureThreshold": 1000}, liveness={}, readiness={})
    await pause()
    assert set(bench.runs) == {"startup"}
    assert not bench.prober.is_started("id") and not bench.prober.is_ready("id")
    bench.results["startup"] = 0
    await pause()
    assert bench.prober.is_started("id") and bench.prober.is_ready("id")
    bench.runs.clear()
    await pause()
    assert "startup" not in bench.runs


@pytest.mark.parametrize("type_", ["startup", "liveness"])
async def test_probe_that_fails_often_enough_condemns_the_container_once(bench: Bench, type_: str) -> None:
    bench.results[type_] = 1
    probes: dict[str, Any] = {type_: {"failureThreshold": 3, "terminationGracePeriodSeconds": 5}}
    bench.watch(**probes)
    await pause(0.3)
    failure = bench.prober.failure("id")
    assert failure is not None
    assert (failure.probe, failure.grace_s, bench.notified) == (type_, 5, 1)
    assert bench.runs == [type_] * 3


async def test_first_probe_waits_for_its_initial_delay(bench: Bench) -> None:
    bench.watch(running_for_s=1, readiness={"initialDelaySeconds": 1.2})
    await pause(0.1)
    assert bench.runs == []
    await pause(0.2)
    assert bench.runs != []


async def test_container_that_was_running_before_keeps_what_was_known_of_it(bench: Bench) -> None:
    probes: dict[str, Any] = {"startup": {"periodSeconds": 60}, "readiness": {"periodSeconds": 60}}
    bench.watch(running_for_s=100, was_started=True, was_ready=True, is_adopted=True, **probes)
    assert bench.prober.is_started("id") and bench.prober.is_ready("id")
    await pause(0.05)
    assert bench.runs == []


async def test_deletion_ends_all_but_readiness(bench: Bench) -> None:
    bench.watch(liveness={"failureThreshold": 1}, readiness={})
    await pause(0.05)
    bench.prober.stop_killing("id")
    bench.results.update(liveness=1, readiness=1)
    bench.runs.clear()
    await pause()
    assert set(bench.runs) == {"readiness"}
    assert bench.prober.failure("id") is None


async def test_forgotten_container_is_not_probed(bench: Bench) -> None:
    bench.watch(readiness={})
    await pause(0.05)
    bench.prober.forget("id")
    await pause(0.05)
    bench.runs.clear()
    await pause(0.05)
    assert bench.runs == []


async def test_slow_probe_does_not_hold_up_the_others(bench: Bench) -> None:
    held = asyncio.Event()
    run: Callable[..., Awaitable[ExecResult]] = bench.execute

    async def execute(container_id: str, command: list[str], timeout_s: float) -> ExecResult:
        if command[0] == "liveness":
            await held.wait()
        return await run(container_id, command, timeout_s)

    bench.prober._execute = execute
    bench.watch(liveness={}, readiness={})
    await pause()
    assert bench.runs.count("readiness") > 2
    held.set()
