"""What comes over the socket that is no mapper, and the socket itself (spec 04 §6.1)."""

from __future__ import annotations

import asyncio
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Cardinality, Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubeedge.edgecore.dmi import connections, service
from kubeedge.edgecore.dmi.listener import socket_path
from kubeedge.proto import dmi_pb2 as dmi
from tests.edgecore.dmi.conftest import MakeNode, Node
from tests.edgecore.dmi.objects import device, model

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
METHOD = "/v1beta1.DeviceManagerService/ReportDeviceStatus"


@pytest.mark.parametrize(
    ("configured", "path"),
    [
        ("", "/etc/kubeedge/dmi.sock"),
        ("/etc/kubeedge/", "/etc/kubeedge/dmi.sock"),
        ("/run/edge", "/run/edge/dmi.sock"),
        ("/run/edge/other.sock", "/run/edge/dmi.sock"),
    ],
)
def test_socket_has_always_the_same_name(configured: str, path: str) -> None:
    assert socket_path(configured) == Path(path)


async def test_socket_is_there_again_after_a_restart_and_gone_at_the_end(node: Node) -> None:
    mapper = await node.mapper()
    await mapper.report(("temperature", "", "1"))
    await node.restart()
    await mapper.report(("temperature", "", "2"))
    assert node.socket.parent.stat().st_mode & 0o777 == 0o750
    assert node.socket.stat().st_mode & 0o777 == 0o660
    await node.stop()
    assert not node.socket.exists()


async def test_socket_that_a_killed_edgecore_left_is_replaced(node: Node) -> None:
    await node.stop()
    await node.database.close()
    left = await asyncio.start_unix_server(lambda *_: None, node.socket)
    left.close()
    node.socket.touch()
    await node.start()
    await (await node.mapper()).report(("temperature", "", "1"))


async def send(node: Node, data: bytes) -> bytes:
    """Send bytes and close; return what was answered."""
    reader, writer = await asyncio.open_unix_connection(node.socket)
    try:
        writer.write(data)
        writer.write_eof()
        async with asyncio.timeout(5):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=400), preface=st.booleans(), settings_frame=st.booleans())
async def test_garbage_harms_nothing(node: Node, data: bytes, preface: bool, settings_frame: bool) -> None:
    start = (PREFACE if preface else b"") + (b"\0\0\0\4\0\0\0\0\0" if settings_frame else b"")
    await send(node, start + data)
    assert node.is_running


async def test_mapper_is_served_after_garbage(node: Node) -> None:
    for data in (b"", b"GET / HTTP/1.1\r\n\r\n", PREFACE, PREFACE + b"\xff" * 5000, b"\0" * 100_000):
        await send(node, data)
    await (await node.mapper()).report(("temperature", "", "1"))


async def call(node: Node, message: bytes, *, end: bool = True, method: str = METHOD) -> None:
    """Call with a message that is these bytes, its length and all."""
    channel = Channel(path=str(node.socket))
    try:
        async with channel.request(
            method,
            Cardinality.UNARY_UNARY,
            dmi.ReportDeviceStatusRequest,
            dmi.ReportDeviceStatusResponse,
        ) as stream:
            await stream.send_request()
            await stream._stream.send_data(message, end_stream=end)
            stream._send_message_done = stream._end_done = True
            await stream.recv_message()
    finally:
        channel.close()


@pytest.mark.parametrize(
    "message",
    [
        b"\0" + struct.pack(">I", 3) + b"\xff\xff\xff",
        b"\0" + struct.pack(">I", 30) + b"short",
        b"\1" + struct.pack(">I", 3) + b"abc",
        b"\0\0",
        b"\0" + struct.pack(">I", 4) + b"\x0a\x02\xff\xfe",
    ],
)
async def test_message_that_is_none_is_an_invalid_argument(node: Node, message: bytes) -> None:
    with pytest.raises(GRPCError) as caught:
        await call(node, message)
    assert caught.value.status is Status.INVALID_ARGUMENT
    await (await node.mapper()).report(("temperature", "", "1"))


async def test_message_that_does_not_come_is_not_waited_for(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "RECEIVE_TIMEOUT_S", 0.1)
    with pytest.raises(GRPCError) as caught:
        await call(node, b"\0" + struct.pack(">I", 30) + b"short", end=False)
    assert caught.value.status is Status.DEADLINE_EXCEEDED


async def test_message_of_any_length_takes_little_memory(node: Node) -> None:
    before = connections._closed.value("message_too_long")
    chunk = b"x" * (16 << 20)
    calling = asyncio.ensure_future(call(node, b"\0" + struct.pack(">I", 2**32 - 1) + chunk, end=False))
    await node.until(lambda: connections._closed.value("message_too_long") > before)
    calling.cancel()
    await asyncio.gather(calling, return_exceptions=True)
    await (await node.mapper()).report(("temperature", "", "1"))


async def test_message_of_three_megabytes_is_taken(node: Node) -> None:
    mapper = await node.mapper()
    with pytest.raises(GRPCError, match="are not stored"):
        await mapper.report(("temperature", "", "x" * (3 << 20)))


async def test_connections_that_say_nothing_make_room_for_others(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 8)
    silent = [await asyncio.open_unix_connection(node.socket) for _ in range(20)]
    await (await node.mapper()).report(("temperature", "", "1"))
    for _, writer in silent:
        writer.close()


async def test_unknown_method_is_an_error(node: Node) -> None:
    channel = Channel(path=str(node.socket))
    name = "/v1beta1.DeviceManagerService/No"
    method = UnaryUnaryMethod(channel, name, dmi.GetDeviceRequest, dmi.GetDeviceResponse)
    with pytest.raises(GRPCError):
        await method(dmi.GetDeviceRequest())
    channel.close()


async def test_socket_that_cannot_be_made_is_tried_again(make_node: MakeNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubeedge.edgecore.dmi.dmi.LISTEN_RETRY_S", 0.05)
    node = await make_node()
    await node.stop()
    node.socket.parent.rmdir()
    node.socket.parent.write_text("in the way")
    starting = asyncio.ensure_future(node.start())
    await asyncio.sleep(0.15)
    node.socket.parent.unlink()
    await starting
    await (await node.mapper()).report(("temperature", "", "1"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.binary(max_size=200), method=st.sampled_from(["MapperRegister", "ReportDeviceStatus", "ReportDeviceStates"])
)
async def test_any_bytes_as_a_message_get_an_answer(node: Node, body: bytes, method: str) -> None:
    """Spec 04 Q14: what a mapper says ends with its call."""
    with suppress(GRPCError):
        await call(node, b"\0" + struct.pack(">I", len(body)) + body, method=f"/v1beta1.DeviceManagerService/{method}")
    assert node.is_running


async def test_edge_ends_at_once_whatever_its_mappers_do(node: Node) -> None:
    mapper = await node.mapper()
    await mapper.register()
    mapper.hangs = True
    node.takes = False
    await node.say("insert", "default/devicemodel/thermo", model())
    await mapper.called(1)
    reporting = asyncio.ensure_future(mapper.report(("temperature", "", "1")))
    await node.until(lambda: node.published)
    async with asyncio.timeout(1):
        await node.stop()
    with pytest.raises((GRPCError, OSError, StreamTerminatedError)):
        await reporting


@pytest.mark.parametrize("address", [b"", b"relative.sock", b"/nowhere/\xff\xfe.sock"])
async def test_address_where_nobody_listens_is_only_tried_again(node: Node, address: bytes) -> None:
    mapper = await node.mapper()
    info = dmi.MapperInfo(name="m", protocol="modbus", address=address)
    await mapper.edge.MapperRegister(dmi.MapperRegisterRequest(withData=True, mapper=info))
    await node.say("insert", "default/devicemodel/thermo", model())
    await node.say("insert", "default/device/sensor", device())
    await asyncio.sleep(0.1)
    assert len(node.dmi.deliveries["modbus"]) == 2
    await mapper.register()
    await node.quiet()
