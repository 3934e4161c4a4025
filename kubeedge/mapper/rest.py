"""The REST API of a mapper for this machine (spec 04 §7.3): all GET, one request a connection, on asyncio alone."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import unquote

import orjson

from kubeedge import metrics
from kubeedge.mapper.description import Device, Key
from kubeedge.mapper.devices import Devices
from kubeedge.mapper.worker import DeviceError, Worker

log = logging.getLogger("kubeedge.mapper.rest")

API_VERSION = "v1"
# Who asks sends its request at once; what is slower or longer is none.
REQUEST_TIMEOUT_S = 5.0
MAX_REQUEST_BYTES = 16 << 10
# A device may be asked for the answer.
ANSWER_TIMEOUT_S = 30.0

_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 500: "Internal Server Error"}
_REASONS[503] = "Service Unavailable"
_JSON = "application/json"
_TEXT = "text/plain; charset=utf-8"
_CORRELATION = "x-correlation-id"


class _Answer(NamedTuple):
    body: bytes
    status: int = 200
    media_type: str = _JSON


class Rest:
    """Serves one address until cancelled. Who may connect may move the devices, so it is loopback unless configured."""

    def __init__(self, devices: Devices, protocol: str, host: str, port: int) -> None:
        """port 0 takes a free one, see `port` once `listening` is set."""
        self.port = port
        self.listening = asyncio.Event()
        self._devices = devices
        self._protocol = protocol
        self._host = host

    async def run(self) -> None:
        """Serve until cancelled. Without the address the devices work all the same, so that is only logged."""
        try:
            server = await asyncio.start_server(self._serve, self._host, self.port, limit=MAX_REQUEST_BYTES)
        except OSError as error:
            log.error("no REST API address=%s port=%d reason=%s", self._host, self.port, error.strerror or error)
            return
        self.port = server.sockets[0].getsockname()[1]
        self.listening.set()
        log.info("REST API listening address=%s port=%d", self._host, self.port)
        async with server:
            await server.serve_forever()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                head = await reader.readuntil(b"\r\n\r\n")
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                writer.write(await self._answer(head.decode("latin-1")))
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError) as error:
            log.debug("request dropped reason=%r", error)
        finally:
            writer.close()

    async def _answer(self, head: str) -> bytes:
        first, *lines = head.split("\r\n")
        method, _, rest = first.partition(" ")
        target, _, version = rest.partition(" ")
        if not version.startswith("HTTP/1."):
            answer = _Answer(b"malformed request\n", 400, _TEXT)
        elif method != "GET":
            answer = _Answer(b"405: Method Not Allowed\n", 405, _TEXT)
        else:
            try:
                answer = await self._route([unquote(part) for part in target.partition("?")[0].split("/")[1:]])
            except DeviceError as error:
                answer = _Answer(f"{error}\n".encode(), 500, _TEXT)
        headers = [f"Content-Type: {answer.media_type}", f"Content-Length: {len(answer.body)}", "Connection: close"]
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip().lower() == _CORRELATION:
                headers.append(f"X-Correlation-ID: {value.strip()}")
        text = "\r\n".join([f"HTTP/1.1 {answer.status} {_REASONS[answer.status]}", *headers])
        return f"{text}\r\n\r\n".encode("latin-1") + answer.body

    async def _route(self, parts: list[str]) -> _Answer:
        match parts:
            case ["metrics"]:
                return _Answer(metrics.exposition().encode(), media_type="text/plain; version=0.0.4; charset=utf-8")
            case ["api", "v1", "ping"]:
                return _ok(Message=f"This is {API_VERSION} API of the {self._protocol} mapper, ping succeeded")
            case ["api", "v1", "device", namespace, name, property]:
                return await self._read(self._worker(namespace, name), property)
            case ["api", "v1", "devicemethod", namespace, name]:
                return self._methods(self._worker(namespace, name).device)
            case ["api", "v1", "devicemethod", namespace, name, method, property, value]:
                return await self._write(self._worker(namespace, name), method, property, value)
            case ["api", "v1", "meta", "model", namespace, name]:
                return self._model(self._worker(namespace, name).device)
            case ["api", "v1", "database", _, _]:
                return _Answer(b"this mapper keeps no database\n", 503, _TEXT)
        return _Answer(b"404 page not found\n", 404, _TEXT)

    def _worker(self, namespace: str, name: str) -> Worker:
        worker = self._devices.worker(Key(namespace, name))
        if worker is None:
            raise DeviceError(f"there is no device {namespace}/{name}")
        return worker

    async def _read(self, worker: Worker, name: str) -> _Answer:
        text = await worker.read_now(name)
        one, device = worker.device.properties[name], worker.device
        return _ok(
            Data={
                "DeviceName": device.name,
                "PropertyName": name,
                "Namespace": device.namespace,
                "Value": text,
                "Type": one.type or "string",
                "TimeStamp": _now_ms(),
            }
        )

    async def _write(self, worker: Worker, method: str, name: str, value: str) -> _Answer:
        device = worker.device
        if method not in device.methods:
            raise DeviceError(f"the device {device.key} has no method {method}")
        if name not in device.methods[method].properties:
            raise DeviceError(f"the method {method} of {device.key} is not for the property {name}")
        await worker.write_now(name, value)
        return _ok(Message=f"Write data {value} to device {device.name} successfully")

    def _methods(self, device: Device) -> _Answer:
        path = f"/api/v1/devicemethod/{device.namespace}/{device.name}"
        methods = [
            {
                "Name": method.name,
                "Path": f"{path}/{method.name}/{{propertyName}}/{{data}}",
                "Parameters": [
                    {"PropertyName": name, "ValueType": device.properties[name].type or "string"}
                    for name in method.properties
                    if name in device.properties
                ],
            }
            for method in device.methods.values()
        ]
        return _ok(Data={"Methods": methods})

    def _model(self, device: Device) -> _Answer:
        properties = [
            {
                "name": one.name,
                "dataType": one.type or "string",
                "description": one.description,
                "accessMode": "ReadWrite" if one.is_writable else "ReadOnly",
                "minimum": one.minimum,
                "maximum": one.maximum,
                "unit": one.unit,
            }
            for one in device.properties.values()
        ]
        shown = [{key: value for key, value in one.items() if value} for one in properties]
        key = f"{device.namespace}/{device.model}"
        return _ok(id=key, name=device.model, namespace=device.namespace, properties=shown)


def _ok(**fields: Any) -> _Answer:
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    return _Answer(orjson.dumps({"apiVersion": API_VERSION, "statusCode": 200, "timeStamp": now, **fields}))


def _now_ms() -> int:
    return int(datetime.now().timestamp() * 1000)
