"""The recorded talk of a mapper and a Go edgecore, with ours in the place of the latter and a real broker beside it."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import apsw
import orjson
import pytest
import yaml
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message as ProtobufMessage
from grpclib.exceptions import GRPCError

from kubeedge.bus import Bus
from kubeedge.edgecore.devicetwin import schema as twin_schema
from kubeedge.edgecore.devicetwin.devicetwin import DeviceTwin
from kubeedge.edgecore.dmi.dmi import Dmi
from kubeedge.edgecore.eventbus import address, subscriptions
from kubeedge.edgecore.eventbus.eventbus import EventBus
from kubeedge.edgecore.eventbus.external import ExternalBroker
from kubeedge.edgecore.metamanager.metamanager import MetaManager
from kubeedge.edgecore.metamanager.schema import SCHEMA
from kubeedge.message import new_message
from kubeedge.proto import dmi_pb2
from kubeedge.store.database import Database
from tests.edgecore.dmi.mapper import Mapper
from tests.mosquitto import Mosquitto, client, mosquitto

GOLDEN = Path(__file__).parents[1] / "golden" / "dmi"
CALLS = [orjson.loads(line) for line in (GOLDEN / "calls.jsonl").read_bytes().splitlines()]
PUBLISHED = [line.split(" ", 2)[1:] for line in (GOLDEN / "mqtt.log").read_text().splitlines()]
MODEL_OBJECT, DEVICE_OBJECT = yaml.safe_load_all((GOLDEN / "device.yaml").read_text())

WAIT_S = 10
NODE = "e1"
MODEL, DEVICE = "default/devicemodel/sensor-model", "default/device/sensor"
FROM_MAPPER = "mapper>edgecore"
# What an upstream edgecore lists of an earlier run: it forgets no device whose mapper was away (spec 04 Q21). Here the
# device was not deleted yet.
EARLIER, *LATER = CALLS
# The call that ends an upstream edgecore, and what ours says instead (spec 04 Q14).
*ORDINARY, FATAL = LATER


class Edge:
    """The modules of a node that have to do with devices, on a real broker; the cloud is the test."""

    def __init__(self, folder: Path, broker: Mosquitto) -> None:
        self.bus = Bus()
        schema = SCHEMA + twin_schema.SCHEMA + subscriptions.SCHEMA
        self.database = Database(folder / "edgecore.db", schema=schema)
        self.bus.register("websocket", "hub", lambda _: None)
        self.socket = folder / "edge" / "dmi.sock"
        external = ExternalBroker(address.parse(broker.url), "edge", username="", password="", tls=None)
        self._modules = (
            MetaManager(self.bus, self.database, lambda: True),
            DeviceTwin(self.bus, self.database, NODE),
            Dmi(self.bus, self.database, self.socket, first_pause_s=0.05),
            EventBus(self.bus, self.database, [external], NODE),
        )

    async def __aenter__(self) -> Edge:
        self.database.open()
        self._tasks = [asyncio.ensure_future(module.run()) for module in self._modules]
        async with asyncio.timeout(WAIT_S):
            while not self.socket.exists():  # noqa: ASYNC110 - what is waited for has no event
                await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.database.close()

    def cloud(self, operation: str, resource: str, content: Any) -> None:
        """Say something of an object, as DeviceController does."""
        message = new_message("devicecontroller", "resource", operation, resource, orjson.dumps(content))
        self.bus.send("metamanager", message)

    def membership(self, **change: Any) -> None:
        """Say which devices the node has."""
        content = {"event_id": "m", "timestamp": 1, "added_devices": None, "removed_devices": None, **change}
        message = new_message("devicecontroller", "twin", "update", "membership", orjson.dumps(content))
        self.bus.send_group("twin", message)

    async def stored(self, *keys: str) -> None:
        """Wait until these objects are there."""
        async with asyncio.timeout(WAIT_S):
            while {row[0] for row in self.database.read("SELECT key FROM meta")}.isdisjoint(keys):  # noqa: ASYNC110
                await asyncio.sleep(0.005)


def _forget(connection: apsw.Connection) -> None:
    """Leave of an earlier run only what upstream's next one starts with: the mapper."""
    connection.execute("DELETE FROM meta WHERE type != 'devicemapper'")
    connection.execute("DELETE FROM device")


def with_namespace(found: dict[str, Any], desired: str = "25") -> dict[str, Any]:
    found = orjson.loads(orjson.dumps(found))
    found["metadata"] |= {"namespace": "default", "uid": found["kind"], "resourceVersion": desired}
    if found["kind"] == "Device":
        found["spec"]["properties"][0]["desired"]["value"] = desired
        found["spec"]["properties"][1] |= {"desired": {"value": ""}}
        found["status"] = {}
    return found


async def called(mapper: Mapper, record: dict[str, Any]) -> Any:
    """Call edgecore as recorded; return its answer or its error, as they are recorded."""
    method = record["method"]
    request: ProtobufMessage = getattr(dmi_pb2, f"{method}Request")()
    ParseDict(record["request"], request)
    if isinstance(request, dmi_pb2.MapperRegisterRequest):
        request.mapper.address = str(mapper.path).encode()
    try:
        return MessageToDict(await getattr(mapper.edge, method)(request, timeout=WAIT_S))
    except GRPCError as error:
        return {"error": {"code": error.status.name, "details": error.message}}


def blurred(topic: str, payload: str) -> tuple[str, str]:
    """A publication without what differs from run to run: times and fresh event ids."""
    payload = re.sub(r'"timestamp":\d{13}', '"timestamp":T', payload)
    payload = re.sub(r'"event_id":"[0-9a-f-]{36}"', '"event_id":"U"', payload)
    return topic, re.sub(r'"lastOnlineTime":"[^"]+"', '"lastOnlineTime":"L"', payload)


class Played:
    """What came of the recording: answers beside the recorded ones, calls of the mapper, publications."""

    def __init__(self) -> None:
        self.answers: list[tuple[Any, Any]] = []
        self.calls: list[tuple[str, Any]] = []
        self.published: list[tuple[str, str]] = []
        self.to_the_fatal: Any = None
        self.to_the_next: Any = None


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with mosquitto(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
async def played(tmp_path: Path, broker: Mosquitto) -> Played:
    """Do what the mapper and the cloud of the recording did."""
    played = Played()
    mapper = Mapper(tmp_path / "mapper.sock", tmp_path / "edge" / "dmi.sock")
    await mapper.start()
    async with Edge(tmp_path, broker) as edge:
        edge.cloud("insert", MODEL, with_namespace(MODEL_OBJECT))
        edge.cloud("insert", DEVICE, with_namespace(DEVICE_OBJECT, "30"))
        await edge.stored(DEVICE)
        played.answers.append((await called(mapper, EARLIER), EARLIER["response"]))
        await edge.database.write(_forget)
    async with Edge(tmp_path, broker) as edge, client(broker, tmp_path.name) as listener:
        await listener.subscribe("$hw/#")
        for record in ORDINARY:
            if record["dir"] == FROM_MAPPER:
                played.answers.append((await called(mapper, record), record["response"]))
                continue
            if record["method"] == "CreateDeviceModel":
                edge.membership(added_devices=[{"id": "default/sensor", "name": "sensor"}])
                edge.cloud("insert", MODEL, with_namespace(MODEL_OBJECT))
                edge.cloud("insert", DEVICE, with_namespace(DEVICE_OBJECT))
            elif record["method"] == "UpdateDevice":
                edge.cloud("update", MODEL, with_namespace(MODEL_OBJECT))
                edge.cloud("update", DEVICE, with_namespace(DEVICE_OBJECT, "30"))
            elif record["method"] == "RemoveDeviceModel":
                edge.membership(removed_devices=[{"id": "default/sensor", "name": "sensor"}])
                edge.cloud("delete", MODEL, with_namespace(MODEL_OBJECT))
                edge.cloud("delete", DEVICE, with_namespace(DEVICE_OBJECT, "30"))
            await mapper.called(len([one for one in LATER[: LATER.index(record) + 1] if one["dir"] != FROM_MAPPER]))
        played.to_the_fatal = await called(mapper, FATAL)
        played.to_the_next = await called(mapper, next(one for one in ORDINARY if one["method"] == "MapperRegister"))
        while len(played.published) < len(PUBLISHED):
            heard = await listener.next()
            played.published.append((heard.topic, heard.payload.decode()))
        assert listener.heard.empty()
    await mapper.close()
    played.calls = [(method, MessageToDict(request)) for method, request in mapper.calls]
    return played


async def test_mapper_gets_the_recorded_answers_and_calls_and_clients_the_recorded_publications(played: Played) -> None:
    for ours, recorded in played.answers:
        assert ours == recorded
    assert played.calls == [(one["method"], one["request"]) for one in LATER if one["dir"] != FROM_MAPPER]
    ours = [blurred(*one) for one in played.published]
    assert ours == [blurred(*one) for one in PUBLISHED]


async def test_call_that_ends_a_go_edgecore_is_refused_and_the_next_one_served(played: Played) -> None:
    """Spec 04 Q14."""
    assert played.to_the_fatal == {
        "error": {"code": "INVALID_ARGUMENT", "details": "twin temperature lacks observedDesired or reported"}
    }
    assert played.to_the_next == {}
