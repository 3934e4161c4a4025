"""A node with devices: real programs from the API to a Modbus register, any of which may be killed."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import yaml
from pymodbus.client import AsyncModbusTcpClient

from kubeedge.demo import site as demo_site
from kubeedge.demo import thermometer
from kubeedge.demo.program import Program
from kubeedge.kube.kinds import DEVICE, DEVICE_MODEL, DEVICE_STATUS
from tests.mosquitto import Mosquitto
from tests.sites import EdgeNode, Log, Object, Site, until

EXTERNAL_BROKER = 2


class Plant:
    """The node `plant` of a site, its broker, its thermometer and its mapper; MQTT pushes go to the broker too."""

    def __init__(self, site: Site, node: EdgeNode, broker: Mosquitto) -> None:
        self.site = site
        self.node = node
        self.broker = broker
        folder = node.folder
        modules = node.document["modules"]
        modules["eventBus"] = {"enable": True, "mqttMode": EXTERNAL_BROKER, "mqttServerExternal": broker.url}
        modules["deviceTwin"] = {"enable": True, "dmiSockPath": str(folder)}
        port = ["--port", str(site.ports.thermometer)]
        self.thermometer = Program(
            "thermometer", "kubeedge.demo.thermometer", [*port, "--still"], folder / "thermometer.log"
        )
        self.mapper = self.program("modbus", http_port=site.ports.mapper)

    def program(self, name: str, **common: Any) -> Program:
        """Return a mapper of ours as a program of this node."""
        folder = self.node.folder
        path = folder / f"{name}.yaml"
        document = {
            "grpc_server": {"socket_path": str(folder / f"{name}.sock")},
            "common": {"edgecore_sock": str(folder / "dmi.sock"), "http_port": -1, **common},
        }
        path.write_text(yaml.safe_dump(document), encoding="utf-8")
        return Program(name, "kubeedge.mapper", [name, "--config-file", str(path)], folder / f"{name}.log")

    async def start(self) -> None:
        """Start the node and wait until it is Ready, then the thermometer and the mapper."""
        await self.node.start()
        await until(lambda: self.site.is_ready(self.node.name), otherwise=lambda: self.node.program.last_words(40))
        await self.thermometer.start()
        await self.mapper.start()

    async def stop(self) -> None:
        for program in (self.mapper, self.thermometer):
            await program.stop()

    def log(self) -> Log:
        """Return what the mapper says from now on."""
        return Log(self.mapper.log_path)

    def manifests(self) -> list[Object]:
        """Return model and device of the example, for this node; the temperature is pushed to `plant/temperature`."""
        text = demo_site.DEVICE_EXAMPLE.read_text(encoding="utf-8")
        documents: list[Object] = list(yaml.safe_load_all(text))
        spec = documents[1]["spec"]
        spec["nodeName"] = self.node.name
        spec["protocol"]["configData"]["port"] = self.site.ports.thermometer
        push = {"address": self.broker.url, "topic": "plant/temperature", "qos": 1, "retained": True}
        spec["properties"][0]["pushMethod"] = {"mqtt": push}
        return documents

    async def apply(self, documents: list[Object]) -> None:
        """Create the models and devices."""
        for document in documents:
            await self.site.create(DEVICE_MODEL if document["kind"] == "DeviceModel" else DEVICE, document)

    async def desire(self, value: str, name: str = "thermometer") -> None:
        """Desire a setpoint, as kubectl patch does."""
        device = await self.site.get(DEVICE, "default", name)
        properties = device["spec"]["properties"]
        properties[1]["desired"] = {"value": value}
        await self.site.patch(DEVICE, name, {"spec": {"properties": properties}})

    async def status(self, name: str = "thermometer") -> Object:
        found: Object = (await self.site.get(DEVICE_STATUS, "default", name)).get("status", {})
        return found

    async def reported(self, name: str, device: str = "thermometer") -> str:
        """Return what the cloud has of a property."""
        twins = (await self.status(device)).get("twins", ())
        return str(next((one["reported"]["value"] for one in twins if one["propertyName"] == name), ""))

    async def shows(self, name: str, value: str, device: str = "thermometer", timeout_s: float = 20) -> None:
        """Wait until the cloud shows a value."""
        seen: list[str] = []

        async def is_there() -> bool:
            seen[:] = [await self.reported(name, device)]
            return seen == [value]

        await until(is_there, timeout_s, lambda: f"{name} is {seen}, not {value}\n{self.mapper.last_words(20)}")

    async def read(self, register: int) -> int:
        async with self._modbus() as client:
            return (await client.read_holding_registers(register, device_id=thermometer.UNIT)).registers[0]

    async def write(self, register: int, value: int) -> None:
        async with self._modbus() as client:
            await client.write_register(register, value, device_id=thermometer.UNIT)

    @asynccontextmanager
    async def _modbus(self) -> AsyncIterator[AsyncModbusTcpClient]:
        client = AsyncModbusTcpClient("127.0.0.1", port=self.site.ports.thermometer, reconnect_delay=0)
        assert await client.connect()
        try:
            yield client
        finally:
            client.close()

    async def check_one_of_each(self) -> None:
        """See that nothing is there twice: in the cloud, in the node's database, in the mapper."""
        statuses = [one["metadata"]["name"] for one in await self.site.objects(DEVICE_STATUS, "default")]
        assert statuses == ["thermometer"]
        twins = [one["propertyName"] for one in (await self.status())["twins"]]
        assert sorted(twins) == ["setpoint", "temperature"]
        with sqlite3.connect(f"file:{self.node.database}?mode=ro", uri=True) as database:
            assert database.execute("select id from device").fetchall() == [("default/thermometer",)]
            rows = database.execute("select deviceid, name from device_twin").fetchall()
        assert sorted(rows) == [("default/thermometer", "setpoint"), ("default/thermometer", "temperature")]
        page = await demo_site._page(self.site.ports.mapper, "/metrics")
        assert "kubeedge_mapper_devices 1\n" in page
        model = await demo_site._page(self.site.ports.mapper, "/api/v1/meta/model/default/thermometer")
        assert len(orjson.loads(model)["properties"]) == 2


@asynccontextmanager
async def plant(folder: Path) -> AsyncIterator[Plant]:
    """Run a cloud and a plant until the block is left."""
    site = Site(folder / "site")
    broker = Mosquitto(folder / "broker", is_persistent=True)
    try:
        broker.start()
        await site.start_api()
        await site.start_cloudcore()
        async with site.node("plant") as node:
            made = Plant(site, node, broker)
            try:
                await made.start()
                yield made
            finally:
                await made.stop()
    finally:
        broker.kill()
        await site.clean_up()
