from __future__ import annotations

from typing import Any

import msgspec
import pytest

from kubeedge.mapper import manifest
from kubeedge.mapper.description import Device, HttpPush, MqttPush, describe
from kubeedge.mapper.settings import SettingsError, decode
from kubeedge.proto import dmi_pb2 as dmi
from tests.mapper.lamps import MODEL, lamp, prop, text


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
