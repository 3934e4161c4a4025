"""The REST API of a mapper (spec 04 §7.3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import orjson
import pytest

from kubeedge.mapper.app import Mapper
from kubeedge.mapper.testing import FakeEdge
from tests.mapper.lamps import MODEL, Lamp, lamp, prop, text

METHODS = [{"name": "dim", "description": "less light", "propertyNames": ["brightness", "power", "nothing"]}]


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)


async def ask(mapper: Mapper, path: str, *headers: str, method: str = "GET") -> Answer:
    return await raw(mapper, "\r\n".join([f"{method} {path} HTTP/1.1", "Host: here", *headers, "", ""]).encode())


async def raw(mapper: Mapper, request: bytes) -> Answer:
    assert mapper.rest is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", mapper.rest.port)
    writer.write(request)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    first, *lines = head.decode().split("\r\n")
    return Answer(int(first.split(" ")[1]), dict(line.split(": ", 1) for line in lines), body)


@pytest.fixture
async def mapper(edge: FakeEdge) -> AsyncIterator[Mapper]:
    Lamp.reset(brightness=10, power=4.2, on=True, label="25 °C")
    edge.add(text(MODEL, lamp(prop("brightness"), prop("power"), prop("label"), methods=METHODS)))
    async with edge.running(Lamp, http_port=0) as mapper:
        assert mapper.rest is not None
        await mapper.rest.listening.wait()
        await edge.reported("l1", "power")
        yield mapper


async def test_ping(mapper: Mapper) -> None:
    answer = await ask(mapper, "/api/v1/ping", "X-Correlation-ID: abc-1")
    assert answer.status == 200
    assert answer.headers["X-Correlation-ID"] == "abc-1"
    assert answer.headers["Content-Type"] == "application/json"
    assert (answer.json["apiVersion"], answer.json["statusCode"]) == ("v1", 200)
    assert answer.json["timeStamp"]
    assert "lamp" in answer.json["Message"]


async def test_property_is_read_from_the_device(mapper: Mapper) -> None:
    Lamp.values["power"] = 8.8
    data = (await ask(mapper, "/api/v1/device/default/l1/power")).json["Data"]
    assert data.pop("TimeStamp") > 1e12
    assert data == {
        "DeviceName": "l1",
        "PropertyName": "power",
        "Namespace": "default",
        "Value": "8.8",
        "Type": "float",
    }
    # Here it is whole: only twins have to be plain.
    assert (await ask(mapper, "/api/v1/device/default/l1/label")).json["Data"]["Value"] == "25 °C"


async def test_method_writes_a_property_of_it(mapper: Mapper, edge: FakeEdge) -> None:
    methods = (await ask(mapper, "/api/v1/devicemethod/default/l1")).json["Data"]["Methods"]
    assert methods == [
        {
            "Name": "dim",
            "Path": "/api/v1/devicemethod/default/l1/dim/{propertyName}/{data}",
            "Parameters": [
                {"PropertyName": "brightness", "ValueType": "int"},
                {"PropertyName": "power", "ValueType": "float"},
            ],
        }
    ]
    answer = await ask(mapper, "/api/v1/devicemethod/default/l1/dim/brightness/33")
    assert answer.status == 200
    assert Lamp.writes == [("brightness", 33)]
    # Nobody desired it, so it is not what is observed.
    await edge.reported("l1", "brightness", "33", observed="")


async def test_model_is_shown(mapper: Mapper) -> None:
    shown = (await ask(mapper, "/api/v1/meta/model/default/l1")).json
    assert (shown["name"], shown["namespace"], shown["id"]) == ("lamp", "default", "default/lamp")
    assert shown["properties"][0] == {
        "name": "brightness",
        "dataType": "int",
        "accessMode": "ReadWrite",
        "minimum": "0",
        "maximum": "100",
    }


async def test_metrics_are_shown(mapper: Mapper) -> None:
    assert b'kubeedge_mapper_reads_total{outcome="ok"}' in (await ask(mapper, "/metrics")).body


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/v1/device/default/nobody/power", 500, "no device default/nobody"),
        ("/api/v1/device/default/l1/nothing", 500, "no property nothing"),
        ("/api/v1/devicemethod/default/l1/shine/brightness/1", 500, "no method shine"),
        ("/api/v1/devicemethod/default/l1/dim/label/1", 500, "not for the property label"),
        ("/api/v1/devicemethod/default/l1/dim/power/1", 500, "power is read-only"),
        ("/api/v1/devicemethod/default/l1/dim/brightness/bright", 500, "invalid literal"),
        ("/api/v1/devicemethod/default/l1/dim/brightness/101", 500, "more than the maximum 100"),
        ("/api/v1/database/default/l1", 503, "no database"),
        ("/api/v2/ping", 404, "404"),
        ("/", 404, "404"),
    ],
)
async def test_error_is_a_text(mapper: Mapper, path: str, status: int, words: str) -> None:
    answer = await ask(mapper, path)
    assert answer.status == status
    assert words in answer.body.decode()
    assert Lamp.writes == []


async def test_device_that_is_away_is_said_to_be(mapper: Mapper, edge: FakeEdge) -> None:
    Lamp.broken.update(read=ConnectionError("gone"), connect=ConnectionError("gone"))
    await edge.has_state("l1", "offline")
    answer = await ask(mapper, "/api/v1/device/default/l1/power")
    assert answer.status == 500
    assert "not connected" in answer.body.decode() or "gone" in answer.body.decode()


async def test_nonsense_does_no_harm(mapper: Mapper) -> None:
    assert (await ask(mapper, "/api/v1/ping", method="POST")).status == 405
    assert (await raw(mapper, b"hello\r\n\r\n")).status == 400
    assert (await ask(mapper, "/api/v1/device/%00/%ff/..")).status == 500
    assert (await ask(mapper, "/api/v1/ping")).status == 200


async def test_port_that_is_taken_does_not_stop_the_devices(edge: FakeEdge) -> None:
    Lamp.reset(power=1.0)
    edge.add(text(MODEL, lamp(prop("power"))))
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, edge.running(Lamp, http_port=port):
        await edge.reported("l1", "power", "1")
