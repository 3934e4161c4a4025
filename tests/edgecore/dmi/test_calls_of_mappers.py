"""What mappers may say, and what becomes of it (spec 04 §6.5)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from google.protobuf.json_format import MessageToDict
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from kubeedge.edgecore.dmi import reports
from kubeedge.proto import dmi_pb2 as dmi
from tests.edgecore.dmi.conftest import MakeNode, Node
from tests.edgecore.dmi.objects import MODEL, SENSOR, device, model

TOPIC = "$hw/events/device/default/sensor/twin/update"


def twin(desired: str, reported: str) -> dict[str, Any]:
    return {"temperature": {"expected": {"value": desired}, "actual": {"value": reported}}}


async def test_report_becomes_a_twin_update(node: Node) -> None:
    mapper = await node.mapper()
    await mapper.report(("temperature", "25", "21"))
    assert node.published == [(TOPIC, {"event_id": "", "twin": twin("25", "21")})]


async def test_each_twin_of_a_report_is_an_update_of_its_own(node: Node) -> None:
    mapper = await node.mapper()
    await mapper.report(("a", "1", "2"), ("b", "3", "4"))
    assert [list(payload["twin"]) for _, payload in node.published] == [["a"], ["b"]]


async def test_state_becomes_a_state_update(node: Node) -> None:
    mapper = await node.mapper()
    request = dmi.ReportDeviceStatesRequest(deviceName="sensor", deviceNamespace="default", state="online")
    await mapper.edge.ReportDeviceStates(request)
    topic = "$hw/events/device/default/sensor/state/update"
    assert node.published == [(topic, {"event_id": "", "State": "online"})]


@pytest.mark.parametrize("namespace", ["dev", "device", "e", "hw", "event", "node"])
async def test_namespace_that_is_part_of_the_prefix_is_a_namespace(node: Node, namespace: str) -> None:
    """Spec 04 Q2."""
    mapper = await node.mapper()
    await mapper.report(("temperature", "", "1"), namespace=namespace)
    assert node.published[0][0] == f"$hw/events/device/{namespace}/sensor/twin/update"


async def test_report_is_answered_when_it_is_stored_and_not_before(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "STORE_TIMEOUT_S", 0.05)
    node.takes = False
    mapper = await node.mapper()
    with pytest.raises(GRPCError) as caught:
        await mapper.report(("temperature", "", "1"))
    assert caught.value.status is Status.UNAVAILABLE


async def test_value_that_no_twin_can_hold_is_told_to_the_mapper_and_the_rest_is_stored(node: Node) -> None:
    """Spec 04 Q11: upstream answers OK, and the value vanishes."""
    mapper = await node.mapper()
    before = reports._refused.value()
    with pytest.raises(GRPCError, match="properties note of device default/sensor are not stored") as caught:
        await mapper.report(("note", "", "two words"), ("temperature", "", "1"))
    assert caught.value.status is Status.INVALID_ARGUMENT
    assert len(node.published) == 2
    assert reports._refused.value() == before + 1


PROPERTY = dmi.TwinProperty(value="1")


@pytest.mark.parametrize(
    ("method", "request_", "status", "text"),
    [
        (
            *("MapperRegister", dmi.MapperRegisterRequest(withData=True), Status.INVALID_ARGUMENT),
            "MapperRegisterRequest does not have a mapper",
        ),
        (
            *("MapperRegister", dmi.MapperRegisterRequest(mapper=dmi.MapperInfo(name="m")), Status.UNKNOWN),
            "fail to register mapper m because the protocol is nil",
        ),
        (
            "MapperRegister",
            dmi.MapperRegisterRequest(mapper=dmi.MapperInfo(name="m", protocol="p", address=b"/a\0b")),
            *(Status.INVALID_ARGUMENT, "the address of mapper m is no path of a socket"),
        ),
        (
            *("ReportDeviceStatus", dmi.ReportDeviceStatusRequest(deviceName="sensor"), Status.UNKNOWN),
            "ReportDeviceStatusRequest does not have twin data",
        ),
        (
            "ReportDeviceStatus",
            dmi.ReportDeviceStatusRequest(
                deviceName="sensor",
                deviceNamespace="default",
                reportedDevice=dmi.DeviceStatus(twins=[dmi.Twin(propertyName="t", reported=PROPERTY)]),
            ),
            *(Status.INVALID_ARGUMENT, "twin t lacks observedDesired or reported"),
        ),
        (
            "ReportDeviceStatus",
            dmi.ReportDeviceStatusRequest(
                deviceName="sensor",
                deviceNamespace="default/other",
                reportedDevice=dmi.DeviceStatus(
                    twins=[dmi.Twin(propertyName="t", reported=PROPERTY, observedDesired=PROPERTY)]
                ),
            ),
            *(Status.INVALID_ARGUMENT, "'default/other' and 'sensor' are not namespace and name of a device"),
        ),
        (
            *("ReportDeviceStates", dmi.ReportDeviceStatesRequest(deviceName="sensor"), Status.UNKNOWN),
            "ReportDeviceStatesRequest is invalid data",
        ),
        (
            *("ReportDeviceStates", dmi.ReportDeviceStatesRequest(state="ok"), Status.UNKNOWN),
            "ReportDeviceStatesRequest is invalid data",
        ),
    ],
)
async def test_call_that_is_wrong_gets_its_error(
    node: Node, method: str, request_: Any, status: Status, text: str
) -> None:
    """Spec 04 §6.5, and Q14: what ends upstream's edgecore is INVALID_ARGUMENT here."""
    mapper = await node.mapper()
    with pytest.raises(GRPCError) as caught:
        await getattr(mapper.edge, method)(request_)
    assert (caught.value.status, caught.value.message) == (status, text)
    await mapper.report(("temperature", "", "1"))


async def test_bucket_bounds_the_calls_of_all(make_node: MakeNode) -> None:
    """Spec 04 Q31: upstream's bucket gives 1 a second."""
    node = await make_node(requests_per_second=0.001, burst=2)
    mapper = await node.mapper()
    await mapper.report(("temperature", "", "1"))
    await mapper.report(("temperature", "", "2"))
    with pytest.raises(GRPCError) as caught:
        await mapper.report(("temperature", "", "3"))
    assert caught.value.status is Status.UNKNOWN
    assert caught.value.message == "fail to report device status because of too many request: sensor"
    with pytest.raises(GRPCError, match="fail to register mapper because of too many request: m"):
        await mapper.register()


async def test_thousands_of_reports_are_taken(node: Node) -> None:
    mapper = await node.mapper()
    async with asyncio.TaskGroup() as group:
        for number in range(2000):
            group.create_task(mapper.report(("temperature", "", str(number))))
    assert len(node.published) == 2000


async def test_list_has_a_model_beside_each_device(node: Node) -> None:
    mapper = await node.mapper()
    await node.say("insert", MODEL, model())
    for name in ("a", "b"):
        await node.say("insert", f"default/device/{name}", device(name))
    await node.say("insert", "default/device/other", device("other", protocol="opcua"))
    await node.say("insert", "default/device/without", device("without", model="absent"))
    response = await mapper.register()
    assert [one.name for one in response.deviceList] == ["a", "b"]
    assert [one.name for one in response.modelList] == ["thermo", "thermo"]
    assert [one.name for one in (await mapper.register(exact=True)).modelList] == ["thermo"]


async def test_list_that_would_be_too_long_for_a_client_has_each_model_once(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kubeedge.edgecore.dmi.service.MAX_CLIENT_BYTES", 300)
    mapper = await node.mapper()
    await node.say("insert", MODEL, model())
    for name in ("a", "b", "c"):
        await node.say("insert", f"default/device/{name}", device(name))
    response = await mapper.register()
    assert (len(response.deviceList), len(response.modelList)) == (3, 1)


async def test_everything_that_can_be_empty_is_set(node: Node) -> None:
    """Spec 04 Q14: upstream's mappers die of what is not."""
    mapper = await node.mapper()
    await node.say("insert", MODEL, model())
    bare = device()
    bare["spec"]["properties"] = [{"name": "temperature"}]
    bare["spec"]["protocol"] = {"protocolName": "modbus"}
    await node.say("insert", SENSOR, bare)
    (found,) = (await mapper.register()).deviceList
    assert MessageToDict(found) == {
        "name": "sensor",
        "namespace": "default",
        "spec": {
            "deviceModelReference": "thermo",
            "protocol": {"protocolName": "modbus", "configData": {}},
            "properties": [{"name": "temperature", "desired": {}, "visitors": {"configData": {}}}],
        },
        "status": {},
    }


async def test_device_has_what_its_model_says_unless_it_says_otherwise(node: Node) -> None:
    mapper = await node.mapper()
    kind = model(visitors={"protocolName": "of-model", "configData": {"register": "Coil", "offset": 1}})
    kind["spec"]["protocolConfigData"] = {"ip": "10.0.0.1", "port": 1}
    await node.say("insert", MODEL, kind)
    instance = device(config={"port": 2}, visitors={"protocolName": "of-device", "configData": {"offset": 2}})
    instance["spec"]["stateReport"] = {"reportToCloud": True, "reportCycle": 500}
    await node.say("insert", SENSOR, instance)
    (found,) = (await mapper.register(exact=True)).deviceList
    shown = MessageToDict(found)
    visitors = shown["spec"]["properties"][0]["visitors"]
    assert visitors["protocolName"] == "of-model"
    assert {key: one["value"] for key, one in visitors["configData"]["data"].items()} == {
        "register": "Coil",
        "offset": "2",
    }
    protocol = shown["spec"]["protocol"]["configData"]["data"]
    assert {key: one["value"] for key, one in protocol.items()} == {"ip": "10.0.0.1", "port": "2"}
    assert shown["status"] == {"reportToCloud": True, "reportCycle": "500"}


@pytest.mark.parametrize(
    ("number", "exact", "kind", "value"),
    [
        (16777217, True, "Int64Value", "16777217"),
        (16777217, False, "FloatValue", 16777216.0),
        (0.1, True, "DoubleValue", 0.1),
        (1.5, False, "FloatValue", 1.5),
        (2**63, True, "DoubleValue", float(2**63)),
        (-7, True, "Int64Value", "-7"),
    ],
)
async def test_numbers_are_exact_for_mappers_that_say_so(
    node: Node, number: float, exact: bool, kind: str, value: object
) -> None:
    """Spec 04 Q32."""
    mapper = await node.mapper()
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device(config={"number": number}))
    (found,) = (await mapper.register(exact=exact)).deviceList
    data = MessageToDict(found)["spec"]["protocol"]["configData"]["data"]["number"]
    assert data == {"@type": f"type.googleapis.com/google.protobuf.{kind}", "value": value}


async def test_mapper_is_stored_as_upstream_stores_it(node: Node) -> None:
    mapper = await node.mapper()
    await mapper.register(name="golden")
    (key, row), *_ = node.rows("devicemapper").items()
    assert key == "node/nodeID/namespace/devicemapper/golden"
    assert list(row) == ["name", "version", "api_version", "protocol", "address", "state"]


async def test_no_more_mappers_than_a_node_can_have(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubeedge.edgecore.dmi.dmi.MAX_MAPPERS", 2)
    mapper = await node.mapper()
    for protocol in ("a", "b", "a"):
        await mapper.register(protocol=protocol)
    with pytest.raises(GRPCError) as caught:
        await mapper.register(protocol="c")
    assert caught.value.status is Status.RESOURCE_EXHAUSTED


async def test_row_of_a_mapper_that_is_damaged_is_passed_over(node: Node) -> None:
    mapper = await node.mapper()
    await mapper.register()

    def damage(connection: Any) -> None:
        for number, value in enumerate(("{", "[]", "null", '{"protocol":"x","address":5}', '{"name":"y"}')):
            connection.execute("INSERT INTO meta VALUES (?, 'devicemapper', ?)", (f"damaged/{number}", value))

    await node.database.write(damage)
    await node.restart()
    assert list(node.dmi.deliveries) == ["modbus"]
