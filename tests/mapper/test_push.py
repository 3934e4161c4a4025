"""Values sent past edgecore, to a real broker and a real web server (spec 04 §7.4)."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from kubeedge.mapper.testing import FakeEdge
from tests.mapper.lamps import MODEL, Lamp, lamp, prop, text
from tests.mosquitto import Mosquitto, client, mosquitto
from tests.sites import until

Object = dict[str, Any]

TIME = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    Lamp.reset(brightness=10, power=4.2, on=True, label="25 °C & more")
    monkeypatch.setattr("kubeedge.mapper.push.LAST_PAUSE_S", 0.5)


def over_mqtt(broker: Mosquitto, topic: str, **fields: Any) -> Object:
    return {"mqtt": {"address": broker.url, "topic": topic, "qos": 1, **fields}}


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_value_is_published_as_upstream_does(edge: FakeEdge, tmp_path: Path, qos: int) -> None:
    push = over_mqtt(broker := Mosquitto(tmp_path / "b"), "lamps/power", qos=qos, retained=True)
    broker.start()
    try:
        async with client(broker) as tester:
            await tester.subscribe("lamps/#")
            edge.add(text(MODEL, lamp(prop("power", pushMethod=push, reportToCloud=False))))
            async with edge.running(Lamp):
                heard = await tester.next()
                assert heard.topic == "lamps/power"
                assert re.fullmatch(rf"time is {TIME}  lamps/power: 4.2", heard.payload.decode())
                Lamp.values["power"] = 5.5
                await until(lambda: _last(tester).endswith(b": 5.5"))
        assert edge.told == []
    finally:
        broker.kill()


async def test_latest_value_arrives_after_the_broker_was_killed(edge: FakeEdge, tmp_path: Path) -> None:
    with mosquitto(tmp_path / "b") as broker:
        push = over_mqtt(broker, "lamps/power", retained=True)
        edge.add(text(MODEL, lamp(prop("power", pushMethod=push, reportCycle=50))))
        async with edge.running(Lamp):
            async with client(broker, "first") as tester:
                await tester.subscribe("lamps/#")
                await tester.next()
            broker.kill()
            await edge.reported("l1", "power", "4.2")
            # This one is read once only, while there is no broker.
            await edge.apply(text(lamp(prop("power", pushMethod=push, collectCycle=3_600_000))))
            Lamp.values["power"] = 9.9
            await edge.apply(text(lamp(prop("power", pushMethod=push, collectCycle=3_500_000))))
            await edge.reported("l1", "power", "9.9")
            await asyncio.sleep(0.3)
            broker.start()
            async with client(broker, "second") as tester:
                await tester.subscribe("lamps/#")
                await until(lambda: _last(tester).endswith(b": 9.9"))


def _last(tester: Any) -> bytes:
    payload = b""
    while not tester.heard.empty():
        payload = tester.heard.get_nowait().payload
    return payload


class WebServer:
    """Keeps the bodies that were posted to it; answers with status."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.status = 200

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        assert length is not None
        assert head.startswith(b"POST /in/here HTTP/1.1")
        assert b"application/x-www-form-urlencoded" in head
        self.bodies.append((await reader.readexactly(int(length[1]))).decode())
        writer.write(f"HTTP/1.1 {self.status} So\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        writer.close()


async def test_value_is_posted_as_upstream_does(edge: FakeEdge) -> None:
    web = WebServer()
    server = await asyncio.start_server(web.serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    push = {"http": {"hostName": "http://127.0.0.1", "port": port, "requestPath": "/in/here", "timeout": 1000}}
    edge.add(text(MODEL, lamp(prop("power", pushMethod=push), prop("label", pushMethod=push))))
    async with server, edge.running(Lamp):
        await until(lambda: any(re.fullmatch(rf"power=4.2&time={TIME}", body) for body in web.bodies))
        # What would be taken for the end of the value is written otherwise.
        await until(lambda: any(body.startswith("label=25%20%C2%B0C%20%26%20more&time=") for body in web.bodies))
        web.status = 503
        await asyncio.sleep(0.2)
        Lamp.values["power"] = 8.0
        await asyncio.sleep(0.2)
        web.bodies.clear()
        web.status = 200
        await until(lambda: any(body.startswith("power=8&") for body in web.bodies))


async def test_target_that_is_away_keeps_up_no_other(edge: FakeEdge, tmp_path: Path) -> None:
    with mosquitto(tmp_path / "b") as broker:
        away = {"mqtt": {"address": "tcp://127.0.0.1:9", "topic": "t", "qos": 1}}
        here = over_mqtt(broker, "lamps/power")
        edge.add(text(MODEL, lamp(prop("label", pushMethod=away), prop("power", pushMethod=here))))
        async with client(broker) as tester:
            await tester.subscribe("lamps/#")
            async with edge.running(Lamp):
                assert (await tester.next()).payload.endswith(b": 4.2")
                await edge.reported("l1", "label")
