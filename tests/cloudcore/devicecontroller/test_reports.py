"""What nodes report, on its way to DeviceStatus (spec 04 §2.4, §2.5)."""

from __future__ import annotations

import orjson
import pytest

from kubeedge.cloudcore.devicecontroller.reports import MalformedReportError, merged, read_state, read_twins
from kubeedge.kube.kinds import DEVICE_STATUS
from kubeedge.message import new_message
from tests.cloudcore.devicecontroller.conftest import Cloud
from tests.sites import until


async def test_each_device_gets_its_status_object(cloud: Cloud) -> None:
    await cloud.model()
    await cloud.device()
    await until(cloud.has_status)
    status = orjson.loads(await cloud.api.get(DEVICE_STATUS, "default", "sensor"))
    (owner,) = status["metadata"]["ownerReferences"]
    device = cloud.informers[0].get("default", "sensor")
    assert device is not None
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == ("Device", "sensor", device.uid, True)


async def test_q1_the_first_value_is_kept_and_confirmed_once_it_is_written(cloud: Cloud) -> None:
    await cloud.model()
    await cloud.device()
    await until(lambda: cloud.informers[0].get("default", "sensor"))
    report = cloud.report(temperature="25.3", unknown="1")
    confirmation = await cloud.hub.answer(report)
    assert (confirmation.group, confirmation.resource, confirmation.content) == ("twin", "node/e1/twin", b'"OK"')
    assert await cloud.twins() == {
        "temperature": {
            "propertyName": "temperature",
            "reported": {"value": "25.3", "metadata": {"timestamp": "1700", "type": "float"}},
            "observedDesired": {"value": ""},
        }
    }


async def test_many_reports_are_all_confirmed_and_the_latest_values_stand(cloud: Cloud) -> None:
    await cloud.model()
    await cloud.device()
    await until(lambda: cloud.informers[0].get("default", "sensor"))
    reports = [cloud.report(temperature=str(number)) for number in range(50)]
    reports += [cloud.report(limit="9")]
    for report in reports:
        await cloud.hub.answer(report)
    values = {name: twin["reported"]["value"] for name, twin in (await cloud.twins()).items()}
    assert values == {"temperature": "49", "limit": "9"}


async def test_a_state_stands_beside_the_twins(cloud: Cloud) -> None:
    await cloud.model()
    await cloud.device()
    await until(lambda: cloud.informers[0].get("default", "sensor"))
    await cloud.hub.answer(cloud.report(temperature="1"))
    inner = {"event_id": "", "timestamp": 1, "device": {"name": "sensor", "state": "online", "lastOnlineTime": "t"}}
    state = cloud.say("device/default/sensor/state/update", orjson.dumps(inner).decode())
    await cloud.hub.answer(state)
    status = await cloud.status()
    assert (status["state"], status["lastOnlineTime"], len(status["twins"])) == ("online", "t", 1)


@pytest.mark.parametrize("node", ["e1", "e2"])
async def test_q23_a_report_that_cannot_be_written_is_confirmed(cloud: Cloud, node: str) -> None:
    """Of an unknown device, and of a device of another node."""
    await cloud.model()
    await cloud.device("sensor", "e1")
    await until(lambda: cloud.informers[0].get("default", "sensor"))
    report = cloud.report("nobody" if node == "e1" else "sensor", node=node, temperature="1")
    await cloud.hub.answer(report)
    await until(cloud.has_status)
    assert not await cloud.twins()


@pytest.mark.parametrize(
    ("resource", "content"),
    [
        ("device/default/sensor/twin/edge_updated", "x"),
        ("device/default/sensor/twin/edge_updated", None),
        ("device/default/sensor/twin/edge_updated", {"twin": {"temperature": {"actual": {"value": 1}}}}),
        ("device/default/sensor/state/update", [1]),
        ("device/default/sensor/else", {}),
        ("device", {}),
    ],
)
async def test_garbage_is_confirmed_and_harms_nobody(cloud: Cloud, resource: str, content: object) -> None:
    await cloud.model()
    await cloud.device()
    await until(lambda: cloud.informers[0].get("default", "sensor"))
    await cloud.hub.answer(cloud.say(resource, content))
    await cloud.hub.answer(cloud.report(temperature="1"))
    assert "temperature" in await cloud.twins()


async def test_a_status_that_was_deleted_is_made_again(cloud: Cloud) -> None:
    await cloud.model()
    await cloud.device()
    await until(cloud.has_status)
    await cloud.api.delete(DEVICE_STATUS, "default", "sensor")
    await until(cloud.has_status)
    await cloud.hub.answer(cloud.report(temperature="3"))
    assert (await cloud.twins())["temperature"]["reported"]["value"] == "3"


def test_a_deleted_twin_and_a_missing_side_leave_what_is_known() -> None:
    content = orjson.dumps({"twin": {"a": None, "b": {"expected": {"value": "on"}}, "c": {"actual": {}}}})
    report = read_twins(new_message("twin", "resource", "update", "r", content))
    before = [{"propertyName": "a", "reported": {"value": "1"}, "observedDesired": {"value": ""}}]
    assert merged(before, report, {"a", "b"}) == [
        before[0],
        {"propertyName": "b", "reported": {"value": ""}, "observedDesired": {"value": "on"}},
    ]


def test_twins_of_properties_that_the_device_no_longer_has_go() -> None:
    empty = read_twins(new_message("twin", "resource", "update", "r", b'{"twin":{}}'))
    assert merged([{"propertyName": "gone", "reported": {"value": "1"}}], empty, {"here"}) == []


def test_the_key_of_the_device_may_be_written_large() -> None:
    content = orjson.dumps('{"event_id":"","Device":{"state":"ok"}}')
    assert read_state(new_message("twin", "resource", "update", "r", content)).state == {"state": "ok"}
    with pytest.raises(MalformedReportError):
        read_state(new_message("twin", "resource", "update", "r", b'"{"'))
