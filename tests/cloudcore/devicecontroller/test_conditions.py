"""Devices with mistakes: told at the Device, and harmless for the others."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kubeedge.cloudcore.devicecontroller.checks import problems
from kubeedge.cloudcore.devicecontroller.device import Device, ModelProperty
from kubeedge.kube.api import MERGE_PATCH
from kubeedge.kube.kinds import DEVICE, EVENT
from kubeedge.kube.object import Object
from tests.cloudcore.devicecontroller.conftest import Cloud
from tests.sites import until

MODEL = [
    ModelProperty("limit", "INT", "ReadWrite", "0", "100"),
    ModelProperty("level", "DOUBLE", "ReadWrite"),
    ModelProperty("switch", "BOOLEAN", "ReadWrite"),
    ModelProperty("text", "STRING", "ReadWrite", "bad", ""),
    ModelProperty("temperature", "FLOAT", "ReadOnly"),
]


def device(*properties: tuple[str, str]) -> Device:
    """Return a device with desired values."""
    listed = [{"name": name, "desired": {"value": value}} for name, value in properties]
    spec = {"deviceModelRef": {"name": "thermo"}, "nodeName": "e1", "properties": listed}
    document = {"metadata": {"name": "d", "namespace": "default"}, "spec": spec}
    return Device(Object.parse(orjson.dumps(document)))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("limit", "100", ""),
        ("limit", "101", "is above the maximum 100"),
        ("limit", "-1", "is below the minimum 0"),
        ("limit", "7.5", "is no INT"),
        ("limit", "99999999999999999999", "does not fit into an INT of 64 bits"),
        ("level", "1e3", ""),
        ("level", "warm", "is no DOUBLE"),
        ("level", "nan", "is no finite DOUBLE"),
        ("switch", "true", ""),
        ("switch", "True", "is neither true nor false"),
        ("text", "anything goes", ""),
        ("temperature", "", ""),
        ("temperature", "1", "cannot be set: the model says ReadOnly"),
    ],
)
def test_desired_values_are_held_against_the_model(name: str, value: str, message: str) -> None:
    found = problems(device((name, value)), MODEL)
    assert [each.reason for each in found] == (["InvalidDesiredValue"] if message else [])
    assert all(each.message.endswith(message) for each in found)


def test_every_mistake_is_named() -> None:
    found = problems(device(("limit", ""), ("limit", ""), ("colour", "")), MODEL)
    assert [each.reason for each in found] == ["DuplicateProperty", "UnknownProperty"]
    assert [each.reason for each in problems(device(), None)] == ["ModelNotFound"]


async def condition(cloud: Cloud, name: str) -> dict[str, Any] | None:
    """Return the condition of a device, None when it has none."""
    document = orjson.loads(await cloud.api.get(DEVICE, "default", name))
    conditions = (document.get("status") or {}).get("conditions") or [None]
    found: dict[str, Any] | None = conditions[0]
    return found


async def events(cloud: Cloud) -> list[dict[str, Any]]:
    """Return all events of the namespace."""
    return [orjson.loads(raw) for raw in (await cloud.api.list(EVENT, "default")).items]


async def test_a_bad_device_says_why_until_it_is_well_and_stops_no_other(cloud: Cloud) -> None:
    await cloud.device("bad")
    bad = await until(lambda: condition(cloud, "bad"))
    assert (bad["type"], bad["status"], bad["reason"]) == ("Valid", "False", "ModelNotFound")
    (event,) = await until(lambda: events(cloud))
    assert (event["involvedObject"]["name"], event["reason"], event["type"]) == ("bad", "ModelNotFound", "Warning")
    await cloud.device("good")
    report = cloud.report("good", temperature="1")
    await cloud.hub.answer(report)
    await cloud.model()

    async def is_well() -> bool:
        found = await condition(cloud, "bad")
        return found is not None and found["status"] == "True"

    await until(is_well)
    assert await condition(cloud, "good") is None


async def test_a_device_that_goes_before_it_is_looked_at_harms_nobody(cloud: Cloud) -> None:
    await cloud.device("brief")
    await cloud.device("bad")
    await until(lambda: cloud.informers[0].get("default", "bad"))
    await cloud.api.delete(DEVICE, "default", "brief")
    assert (await until(lambda: condition(cloud, "bad")))["reason"] == "ModelNotFound"


@pytest.mark.parametrize("conditions", [5, "text", {"a": 1}, [None, 7]])
async def test_conditions_of_any_shape_harm_nobody(cloud: Cloud, conditions: object) -> None:
    await cloud.device("bad")
    await until(lambda: cloud.informers[0].get("default", "bad"))
    await cloud.api.patch(DEVICE, "default", "bad", orjson.dumps({"status": {"conditions": conditions}}), MERGE_PATCH)

    async def is_told() -> bool:
        document = orjson.loads(await cloud.api.get(DEVICE, "default", "bad"))
        found = document["status"]["conditions"]
        return isinstance(found, list) and any(isinstance(each, dict) and each["type"] == "Valid" for each in found)

    await until(is_told)
