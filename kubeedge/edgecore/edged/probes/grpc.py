"""The gRPC health check (grpc.health.v1.Health/Check) as one unary call over HTTP/2."""

from __future__ import annotations

import asyncio

import h2.config
import h2.connection
import h2.events

from kubeedge.config.host import endpoint
from kubeedge.edgecore.edged.probes.checks import USER_AGENT, Outcome, Result

_SERVING = 1
_STATUS_NAMES = {0: "UNKNOWN", 1: "SERVING", 2: "NOT_SERVING", 3: "SERVICE_UNKNOWN"}
_UNIMPLEMENTED = "12"
_READ_BYTES = 16_384


async def check(host: str, port: int, service: str, timeout_s: float) -> Result:
    """Ask for the health of service (empty: of the whole server)."""
    address = endpoint(host, port)
    try:
        async with asyncio.timeout(timeout_s):
            code, message, status = await _call(host, port, address, service)
    except TimeoutError:
        return Result(Outcome.FAILURE, f'timeout: failed to connect service "{address}" within {timeout_s:g}s')
    except (OSError, EOFError, h2.exceptions.ProtocolError) as error:
        return Result(Outcome.FAILURE, f'error: failed to connect service "{address}": {error}')
    if code == _UNIMPLEMENTED:
        return Result(
            Outcome.FAILURE, "error: this server does not implement the grpc health protocol (grpc.health.v1.Health)"
        )
    if code != "0":
        return Result(Outcome.FAILURE, f"error: health rpc probe failed: code {code}: {message}")
    if status != _SERVING:
        shown = _STATUS_NAMES.get(status, str(status))
        return Result(Outcome.FAILURE, f'service unhealthy (responded with "{shown}")')
    return Result(Outcome.SUCCESS, "service healthy")


async def _call(host: str, port: int, address: str, service: str) -> tuple[str, str, int]:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        connection.initiate_connection()
        stream = connection.get_next_available_stream_id()
        connection.send_headers(
            stream,
            [
                (":method", "POST"),
                (":scheme", "http"),
                (":path", "/grpc.health.v1.Health/Check"),
                (":authority", address),
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("user-agent", USER_AGENT),
            ],
        )
        connection.send_data(stream, _framed(_request(service)), end_stream=True)
        return await _answer(reader, writer, connection)
    finally:
        writer.close()


async def _answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: h2.connection.H2Connection
) -> tuple[str, str, int]:
    body = bytearray()
    fields: dict[str, str] = {}
    while True:
        writer.write(connection.data_to_send())
        await writer.drain()
        data = await reader.read(_READ_BYTES)
        if not data:
            raise EOFError("connection closed")
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                fields.update((str(name), str(value)) for name, value in event.headers or ())
            elif isinstance(event, h2.events.DataReceived):
                body += event.data or b""
                connection.acknowledge_received_data(event.flow_controlled_length or 0, event.stream_id or 0)
            elif isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                raise EOFError("stream reset")
            elif isinstance(event, h2.events.StreamEnded):
                code = fields.get("grpc-status", "2")
                return code, fields.get("grpc-message", ""), _status(bytes(body[5:]))


def _framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def _request(service: str) -> bytes:
    """HealthCheckRequest: field 1, a string (protocol buffers: tag 0x0a, length, text)."""
    if not service:
        return b""
    text = service.encode()
    return b"\x0a" + _varint(len(text)) + text


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _status(message: bytes) -> int:
    """HealthCheckResponse: field 1, an enumeration (tag 0x08); absent means 0."""
    return message[1] if len(message) >= 2 and message[0] == 0x08 else 0
