"""Devices come, go and tell their state and attributes (spec 04 §3.5, §3.9)."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from kubeedge.message import new_message
from tests.edgecore.devicetwin.conftest import Node

SENSOR = "default/sensor-1"


async def test_new_device_is_stored_and_published(node: Node) -> None:
    await node.add(SENSOR, description="north")
    assert node.rows("SELECT * FROM device") == [(SENSOR, "sensor-1", "north", "", "")]
    ((topic, body),) = node.published
    assert topic == "$hw/events/node/e1/membership/updated"
    told = orjson.loads(body)
    assert list(told) == ["event_id", "timestamp", "added_devices", "removed_devices"]
    assert told["added_devices"] == [{"id": SENSOR, "name": "sensor-1", "description": "north"}]
    assert told["removed_devices"] is None


async def test_known_device_that_is_added_again_is_left_alone_q4(node: Node) -> None:
    await node.add(SENSOR)
    topic = f"$hw/events/device/{SENSOR}/updated"
    await node.publish(topic, {"event_id": "a", "attributes": {"fw": {"value": "1.0"}}})
    await node.update(SENSOR, {"k": {"actual": {"value": "1"}}})
    listed = await node.publish("$hw/events/node/e1/membership/get", {})
    before = len(node.published)
    node.cloud("update", "membership", {"added_devices": [{"id": SENSOR, "name": "sensor-1"}]})
    assert await node.publish("$hw/events/node/e1/membership/get", {}) == listed
    assert listed["membership/get/result"][0]["devices"][0]["attributes"]["fw"]["value"] == "1.0"
    assert len(node.published) == before + 1


async def test_removed_device_leaves_no_rows(node: Node) -> None:
    await node.add(SENSOR, "default/other")
    for device in (SENSOR, "default/other"):
        await node.update(device, {"k": {"actual": {"value": "1"}}})
        await node.publish(f"$hw/events/device/{device}/state/update", {"state": "online"})
        await node.publish(f"$hw/events/device/{device}/updated", {"attributes": {"a": {"value": "b"}}})
    node.cloud("update", "membership", {"removed_devices": [{"id": SENSOR}, {"id": "default/unknown"}]})
    await node.until(lambda: b'"removed_devices":[' in node.published[-1][1])
    assert orjson.loads(node.published[-1][1])["removed_devices"] == [{"id": SENSOR}]
    for table, column in (("device", "id"), ("device_twin", "deviceid"), ("device_attr", "deviceid")):
        assert node.rows(f"SELECT DISTINCT {column} FROM {table}") == [("default/other",)]
    assert node.rows("SELECT DISTINCT device FROM kubeedge_twin_unsent") == [("default/other",)]


async def test_device_that_goes_and_comes_back_in_one_transaction_begins_anew(node: Node) -> None:
    await node.add(SENSOR)
    await node.update(SENSOR, {"old": {"actual": {"value": "1"}}})
    payload = orjson.dumps({"twin": {"late": {"actual": {"value": "1"}}}})
    topic = f"$hw/events/device/{SENSOR}/twin/update"
    node.bus.publish("twin", topic, payload)
    node.cloud("update", "membership", {"removed_devices": [{"id": SENSOR}]})
    node.cloud("update", "membership", {"added_devices": [{"id": SENSOR, "name": "again"}]})
    await node.update(SENSOR, {"new": {"actual": {"value": "2"}}})
    assert node.rows("SELECT name,actual FROM device_twin") == [("new", "2")]
    assert node.rows("SELECT name FROM device") == [("again",)]
    await node.restart()
    twins = await node.publish(f"$hw/events/device/{SENSOR}/twin/get", {})
    assert list(twins["twin/get/result"][0]["twin"]) == ["new"]


async def test_full_list_adds_and_removes(node: Node) -> None:
    await node.add("default/a", "default/b")
    before = len(node.published)
    devices = [{"id": "default/b", "name": "b", "twin": {}}, {"id": "default/c", "name": "c", "twin": {}}]
    node.cloud("update", "membership/detail", {"event_id": "x", "timestamp": 1, "devices": devices})
    await node.until(lambda: len(node.published) == before + 2)
    assert node.rows("SELECT id FROM device ORDER BY id") == [("default/b",), ("default/c",)]
    told = [orjson.loads(body) for _, body in node.published[before:]]
    assert told[0]["added_devices"] == [{"id": "default/c", "name": "c"}]
    assert told[1]["removed_devices"] == [{"id": "default/a"}]


@pytest.mark.parametrize("content", [{}, {"devices": None}, [], {"devices": {}}, "text", 5])
async def test_full_list_that_is_none_removes_nothing(node: Node, content: Any) -> None:
    await node.add(SENSOR)
    node.cloud("update", "membership/detail", content)
    await node.publish("$hw/events/node/e1/membership/get", {})
    assert node.rows("SELECT id FROM device") == [(SENSOR,)]


async def test_bad_entry_does_not_keep_the_others_out(node: Node) -> None:
    entries: list[Any] = [5, {"name": "nameless"}, {"id": "default/bad", "name": 7}, {"id": SENSOR, "name": "sensor-1"}]
    node.cloud("update", "membership", {"added_devices": entries})
    await node.until(lambda: node.published)
    assert node.rows("SELECT id FROM device") == [(SENSOR,)]


async def test_device_can_come_with_twins_and_attributes(node: Node) -> None:
    version = {"cloud": 4, "edge": 0}
    twin = {"k": {"expected": {"value": "on 1"}, "metadata": {"type": "string"}, "expected_version": version}}
    await node.add(SENSOR, twin=twin, attributes={"fw": {"value": "1", "optional": True}})
    await node.publish("$hw/events/node/e1/membership/get", {})
    assert node.rows("SELECT name,expected,expected_version FROM device_twin") == [
        ("k", "on 1", '{"cloud":4,"edge":0}')
    ]
    assert node.rows("SELECT name,value,optional FROM device_attr") == [("fw", "1", 1)]
    told = [topic.rpartition("/")[2] for topic, _ in node.published[:4]]
    assert told == ["document", "delta", "updated", "updated"]
    entry = orjson.loads(node.published[3][1])["added_devices"][0]
    assert entry["twin"] == {"k": {"expected": {"value": "on 1"}, "metadata": {"type": "string"}}}


async def test_cloud_updated_takes_namespace_and_name_q9(node: Node) -> None:
    await node.add(SENSOR)
    version = {"cloud": 1, "edge": 0}
    twin = {"k": {"expected": {"value": "21"}, "metadata": {"type": "int"}, "expected_version": version}}
    before = len(node.published)
    node.cloud("update", f"device/{SENSOR}/twin/cloud_updated", {"event_id": "c", "timestamp": 1, "twin": twin})
    await node.until(lambda: len(node.published) == before + 2)
    document, delta = (orjson.loads(body) for _, body in node.published[before:])
    assert document["twin"]["k"]["current"]["expected"]["value"] == "21"
    assert delta["delta"] == {"k": "21"}
    assert node.rows("SELECT expected_version FROM device_twin") == [('{"cloud":1,"edge":0}',)]


async def test_state_is_stored_published_and_told(node: Node) -> None:
    await node.add(SENSOR)
    node.connect()
    topic = f"$hw/events/device/{SENSOR}/state/update"
    answers = await node.publish(topic, {"event_id": "", "timestamp": 0, "State": "Online"})
    (told,) = answers["state/update/result"]
    assert told["device"] == {"name": "sensor-1", "state": "Online", "lastOnlineTime": "2026-11-24T08:30:00Z"}
    assert node.rows("SELECT state,last_online FROM device") == [("Online", "2026-11-24T08:30:00Z")]
    ((resource, content),) = node.news()
    assert resource == f"device/{SENSOR}/state/update"
    assert orjson.loads(content) == told
    answers = await node.publish(topic, {"state": "offline"})
    assert answers["state/update/result"][0]["device"] == {"name": "sensor-1", "state": "offline"}
    assert node.rows("SELECT state,last_online FROM device") == [("offline", "")]


@pytest.mark.parametrize("payload", [{"state": "disconnected"}, {"state": ""}, {"state": 1}, {}, [], None])
async def test_state_that_upstream_does_not_know_is_not_answered(node: Node, payload: Any) -> None:
    await node.add(SENSOR)
    assert await node.publish(f"$hw/events/device/{SENSOR}/state/update", payload) == {}
    assert node.rows("SELECT state FROM device") == [("",)]
    assert await node.publish("$hw/events/device/default/absent/state/update", {"state": "ok"}) == {}


async def test_attributes_tell_only_what_changes(node: Node) -> None:
    await node.add(SENSOR)
    topic = f"$hw/events/device/{SENSOR}/updated"

    async def change(**attributes: Any) -> Any:
        answers = await node.publish(topic, {"event_id": "a", "attributes": attributes})
        return answers["updated"][0]["attributes"] if answers else None

    fw = {"value": "1.0", "optional": True, "metadata": {"type": "string"}}
    assert await change(fw=fw, sn={"value": "7", "optional": False}) == {
        "fw": fw,
        "sn": {"value": "7", "optional": False},
    }
    assert await change(fw=fw) is None
    assert await change(fw={"value": "1.1"}) == {"fw": {"value": "1.1"}}
    assert await change(sn=None, absent=None) is None
    assert await change(sn={"value": "7", "optional": True}) is None
    assert await change(fw={"value": "1.1", "optional": False}) == {"fw": {"value": "", "optional": False}}
    assert await change(fw=None) is None
    assert node.rows("SELECT name,value,optional,attr_type FROM device_attr ORDER BY name") == [
        ("fw", "1.1", 0, "string"),
        ("sn", "7", 0, "string"),
    ]
    await node.restart()
    assert await change(sn={"value": "8"}) == {"sn": {"value": "8"}}


async def test_cloud_can_change_attributes(node: Node) -> None:
    await node.add(SENSOR)
    before = len(node.published)
    node.cloud("updated", f"device/{SENSOR}", {"event_id": "a", "attributes": {"fw": {"value": "2"}}})
    await node.until(lambda: len(node.published) > before)
    assert node.rows("SELECT name,value FROM device_attr") == [("fw", "2")]


def stored(node: Node, operation: str, document: dict[str, Any]) -> None:
    """Hand over a Device that MetaManager has stored."""
    message = new_message("meta", "twin", operation, f"default/device/{document['metadata']['name']}")
    message.content = orjson.dumps(document)
    node.bus.send_group("twin", message)


async def test_device_whose_membership_was_lost_is_known_by_its_object_q7(node: Node) -> None:
    """Upstream's cloud tells a node that was away of its new devices by their objects alone."""
    metadata = {"namespace": "default", "name": "sensor-1", "labels": {"description": "north"}}
    stored(node, "insert", {"metadata": metadata, "spec": {"nodeName": "e1"}})
    await node.until(lambda: node.published)
    stored(node, "update", {"metadata": metadata, "spec": {"nodeName": "e1"}})
    stored(node, "update", {"metadata": {**metadata, "name": "elsewhere"}, "spec": {"nodeName": "e2"}})
    listed = await node.publish("$hw/events/node/e1/membership/get", {})
    (found,) = listed["membership/get/result"][0]["devices"]
    assert (found["id"], found["description"]) == (SENSOR, "north")
    assert sum(b"added_devices" in body for _, body in node.published) == 1


async def test_device_that_went_while_the_node_was_away_goes_with_its_object_q7(node: Node) -> None:
    metadata = {"namespace": "default", "name": "sensor-1"}
    await node.add(SENSOR)
    # Deleted before the eyes of the node, which is told of that otherwise, and already here again.
    stored(node, "delete", {"metadata": metadata, "spec": {"nodeName": "e1"}})
    await node.update(SENSOR, {"k": {"actual": {"value": "1"}}})
    assert node.rows("SELECT id FROM device") == [(SENSOR,)]
    stored(node, "delete", {"metadata": {**metadata, "uid": "u"}})
    await node.until(lambda: not node.rows("SELECT id FROM device"))


async def test_stored_object_that_is_no_device_harms_nothing(node: Node) -> None:
    for document in ({"metadata": {"name": "x"}}, {"metadata": {"name": "x", "namespace": 1}, "spec": []}):
        stored(node, "insert", document)
    await node.add(SENSOR)
    assert node.rows("SELECT id FROM device") == [(SENSOR,)]
