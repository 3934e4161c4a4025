"""Devices and models on their way to nodes (spec 04 §2.2, §2.3)."""

from __future__ import annotations

import orjson

from kubeedge.kube.kinds import DEVICE, DEVICE_MODEL
from tests.cloudcore.devicecontroller.conftest import TEMPERATURE, Cloud
from tests.sites import until


def wire(cloud: Cloud) -> list[tuple[str, str]]:
    """Return what was sent so far and forget it."""
    sent = cloud.hub.pushes()
    cloud.hub.sent.clear()
    return sent


async def sent(cloud: Cloud, count: int) -> list[tuple[str, str]]:
    """Wait for that many messages and return them."""
    await until(lambda: len(cloud.hub.pushes()) >= count, 5, lambda: str(cloud.hub.pushes()))
    return wire(cloud)


async def test_a_new_device_is_told_as_member_then_its_model_then_the_device(cloud: Cloud) -> None:
    await cloud.model()
    await until(lambda: cloud.informers[1].get("default", "thermo"))
    await cloud.device()
    await until(lambda: len(cloud.hub.sent) == 3)
    membership, model, device = cloud.hub.sent
    assert (membership.source, membership.group, membership.operation) == ("devicecontroller", "twin", "update")
    content = orjson.loads(membership.content)
    assert membership.resource == "node/e1/membership"
    assert list(content) == ["event_id", "timestamp", "added_devices", "removed_devices"]
    assert content["added_devices"] == [{"id": "default/sensor", "name": "sensor", "description": "on-the-roof"}]
    assert content["removed_devices"] is None
    assert [(m.source, m.group, m.operation, m.resource) for m in (model, device)] == [
        ("devicecontroller", "resource", "insert", "node/e1/default/devicemodel/thermo"),
        ("devicecontroller", "resource", "insert", "node/e1/default/device/sensor"),
    ]
    assert all(
        m.resource_version and b'"apiVersion":"devices.kubeedge.io/v1beta1"' in m.content for m in (model, device)
    )


async def test_a_desired_value_goes_as_an_update_of_model_and_device(cloud: Cloud) -> None:
    await cloud.model()
    await cloud.device()
    await sent(cloud, 3)
    await cloud.change("sensor", properties=[{"name": "limit", "desired": {"value": "7"}}])
    assert await sent(cloud, 2) == [
        ("update", "node/e1/default/devicemodel/thermo"),
        ("update", "node/e1/default/device/sensor"),
    ]


async def test_a_change_that_is_none_for_the_node_sends_nothing(cloud: Cloud) -> None:
    await cloud.model()
    await cloud.device()
    await sent(cloud, 3)
    await cloud.api.patch(
        DEVICE, "default", "sensor", b'{"metadata":{"labels":{"a":"b"}}}', "application/merge-patch+json"
    )
    await cloud.device("marker")
    assert ("insert", "node/e1/default/device/sensor") not in await sent(cloud, 3)


async def test_a_device_that_moves_leaves_the_old_node_with_its_model(cloud: Cloud) -> None:
    await cloud.model()
    await cloud.device()
    await sent(cloud, 3)
    await cloud.change("sensor", nodeName="e2")
    assert await sent(cloud, 6) == [
        ("update", "node/e1/membership"),
        ("delete", "node/e1/default/devicemodel/thermo"),
        ("delete", "node/e1/default/device/sensor"),
        ("update", "node/e2/membership"),
        ("insert", "node/e2/default/devicemodel/thermo"),
        ("insert", "node/e2/default/device/sensor"),
    ]
    (device,) = cloud.informers[0].objects()
    assert cloud.controller.belongs(DEVICE, device, "e2")
    assert not cloud.controller.belongs(DEVICE, device, "e1")
    (model,) = cloud.informers[1].objects()
    assert [cloud.controller.belongs(DEVICE_MODEL, model, node) for node in ("e1", "e2")] == [False, True]


async def test_a_model_stays_while_another_device_of_the_node_needs_it(cloud: Cloud) -> None:
    await cloud.model()
    await cloud.device()
    await cloud.device("second")
    await sent(cloud, 6)
    await cloud.api.delete(DEVICE, "default", "sensor")
    assert await sent(cloud, 2) == [("update", "node/e1/membership"), ("delete", "node/e1/default/device/sensor")]
    await cloud.api.delete(DEVICE, "default", "second")
    assert await sent(cloud, 3) == [
        ("update", "node/e1/membership"),
        ("delete", "node/e1/default/devicemodel/thermo"),
        ("delete", "node/e1/default/device/second"),
    ]


async def test_q22_a_missing_model_delays_nobody_and_comes_when_it_is_there(cloud: Cloud) -> None:
    await cloud.device()
    assert await sent(cloud, 2) == [("update", "node/e1/membership"), ("insert", "node/e1/default/device/sensor")]
    await cloud.api.create(DEVICE, "default", b'{"metadata":{"name":"bare"},"spec":{"nodeName":"e1"}}')
    assert await sent(cloud, 2) == [("update", "node/e1/membership"), ("insert", "node/e1/default/device/bare")]
    await cloud.model("thermo", TEMPERATURE)
    assert await sent(cloud, 1) == [("insert", "node/e1/default/devicemodel/thermo")]


async def test_a_node_that_connects_is_offered_its_models_and_devices(cloud: Cloud) -> None:
    await cloud.model()
    await cloud.device()
    await cloud.device("second")
    await cloud.device("elsewhere", "e2")
    await sent(cloud, 9)
    cloud.say("", {}, operation="connected")
    assert await sent(cloud, 3) == [
        ("insert", "node/e1/default/devicemodel/thermo"),
        ("insert", "node/e1/default/device/sensor"),
        ("insert", "node/e1/default/device/second"),
    ]


async def test_q7_the_question_for_the_membership_is_confirmed_and_answered(cloud: Cloud) -> None:
    await cloud.model()
    await cloud.device()
    await cloud.device("elsewhere", "e2")
    await sent(cloud, 6)
    question = cloud.say("membership/detail", "…", operation="get")
    confirmation, answer = cloud.hub.sent
    assert (confirmation.parent_id, confirmation.content) == (question.id, b'"OK"')
    assert (answer.parent_id, answer.group, answer.resource) == ("", "twin", "node/e1/membership/detail")
    assert orjson.loads(answer.content)["devices"] == [
        {"id": "default/sensor", "name": "sensor", "description": "on-the-roof", "twin": {}}
    ]
