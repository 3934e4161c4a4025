from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from google.protobuf import json_format

from kubeedge.mapper import manifest
from kubeedge.mapper.description import Device, HttpPush, MqttPush, describe
from kubeedge.mapper.modbus.registers import point
from kubeedge.mapper.settings import SettingsError, decode
from kubeedge.proto import dmi_pb2 as dmi
from tests.mapper.lamps import MODEL, lamp, prop, text

GOLDEN = Path(__file__).parents[1] / "golden" / "dmi"


def described(*documents: dict[str, Any]) -> tuple[Device, list[str]]:
    devices, models = manifest.read(text(*documents))
    return describe(devices[0], models[0] if models else None)


def test_device_and_model_are_put_together() -> None:
    device, problems = described(
        MODEL,
        lamp(
            prop(
                "brightness", desired="50", reportCycle=2000, visitors={"configData": {"register": "r1", "scale": 0.5}}
            ),
            config={"ip": "10.0.0.3", "port": 502},
            methods=[{"name": "dim", "description": "less", "propertyNames": ["brightness"]}],
        ),
    )
    assert problems == []
    assert (device.namespace, device.name, device.model, device.protocol) == ("default", "l1", "lamp", "lamp")
    assert device.config == {"ip": "10.0.0.3", "port": 502}
    one = device.properties["brightness"]
    assert (one.type, one.is_writable, one.minimum, one.maximum) == ("int", True, "0", "100")
    assert (one.collect_cycle_s, one.report_cycle_s, one.desired) == (0.05, 2.0, "50")
    assert one.config == {"register": "r1", "scale": 0.5}
    assert device.methods["dim"].properties == ("brightness",)
    assert device.state_cycle_s == 60


def test_what_the_device_says_wins_over_its_model() -> None:
    model = {
        "kind": "DeviceModel",
        "metadata": {"name": "lamp"},
        "spec": {
            "protocolConfigData": {"port": 1, "unit": 7},
            "properties": [
                {"name": "power", "type": "FLOAT", "visitors": {"protocolName": "p", "configData": {"a": 1, "b": 2}}}
            ],
        },
    }
    device, _ = described(model, lamp(prop("power", visitors={"configData": {"b": 3}}), config={"port": 2}))
    assert device.config == {"port": 2, "unit": 7}
    assert device.properties["power"].config == {"a": 1, "b": 3}


def test_property_that_the_model_does_not_have_is_read_as_text_and_not_written() -> None:
    device, problems = described(MODEL, lamp(prop("colour")))
    assert problems == ["property colour is not in the model lamp"]
    assert (device.properties["colour"].type, device.properties["colour"].is_writable) == ("", False)


def test_model_that_is_missing_is_a_problem_and_no_end() -> None:
    device, problems = described(lamp(prop("brightness")))
    assert problems == ["the model 'lamp' is not known yet"]
    assert device.properties["brightness"].type == ""


def test_empty_device_of_the_edge_is_described() -> None:
    device, _ = describe(dmi.Device(name="bare"), dmi.DeviceModel())
    assert device == Device("", "bare")


def test_what_is_wrong_in_a_device_leaves_the_rest() -> None:
    made = manifest.device(lamp(prop("on"), prop("on"), config={"ip": "x"}), {})
    made.spec.protocol.configData.data["nested"].type_url = "type.googleapis.com/google.protobuf.Struct"
    device, problems = describe(made, manifest.model(MODEL))
    assert [problem.split(":")[0] for problem in problems] == ["property on is there twice", "nested of protocol of l1"]
    assert device.config == {"ip": "x"}


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (
            {"mqtt": {"address": "tcp://h:1", "topic": "t", "qos": 1, "retained": True}},
            MqttPush("tcp://h:1", "t", 1, True),
        ),
        (
            {"http": {"hostName": "http://h", "port": 80, "requestPath": "/p", "timeout": 500}},
            HttpPush("http://h:80/p", 0.5),
        ),
    ],
)
def test_push_method_is_read(method: dict[str, Any], expected: object) -> None:
    device, _ = described(MODEL, lamp(prop("on", pushMethod=method)))
    assert device.properties["on"].push == expected


def test_push_method_that_is_not_ours_is_named() -> None:
    made = manifest.device(lamp(prop("on")), {})
    made.spec.properties[0].pushMethod.otel.endpointURL = "http://x"
    device, problems = describe(made, manifest.model(MODEL))
    assert device.properties["on"].push is None
    assert problems == ["property on cannot be pushed by otel"]


class Settings(msgspec.Struct):
    slave_id: int
    ip: str = ""
    scale: float = 1


def test_settings_match_whatever_their_case_and_form() -> None:
    assert decode(Settings, {"slaveID": "7", "IP": 10, "scale": 2, "other": 1}) == Settings(7, "10", 2.0)


@pytest.mark.parametrize(
    ("values", "words"), [({}, "slave_id"), ({"slaveID": "x"}, "slave_id: "), ({"slaveId": 1.5}, "slave_id: ")]
)
def test_setting_that_is_wrong_is_named(values: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        decode(Settings, values)


def recorded(method: str) -> Any:
    """Return the first request of a method that upstream's edgecore made of a mapper."""
    for line in (GOLDEN / "calls.jsonl").read_text().splitlines():
        call = json.loads(line)
        if call["method"] == method and call["dir"] == "edgecore>mapper":
            return json_format.ParseDict(call["request"], getattr(dmi, f"{method}Request")())
    raise AssertionError(f"no {method} is recorded")


def test_device_that_upstream_sends_is_described() -> None:
    device, problems = describe(recorded("RegisterDevice").device, recorded("CreateDeviceModel").model)
    assert problems == []
    assert device.config == {"ip": "127.0.0.1", "port": 5020, "slaveID": 1, "rate": 1.5, "tls": False}
    one = device.properties["temperature"]
    assert one.config == {"register": "HoldingRegister", "offset": 2, "limit": 1, "scale": 0.1, "isSwap": True}
    assert (one.type, one.is_writable, one.desired, one.desired_id) == ("int", True, "25", "1")
    assert (one.collect_cycle_s, one.report_cycle_s) == (1.0, 2.0)
    assert one.push == MqttPush("tcp://127.0.0.1:1883", "temp", 1, False)
    assert point(one).swaps_bytes
    assert device.methods["setValue"].properties == ("temperature",)
    assert not device.properties["switch"].report_to_cloud
