"""What the cloud hears: the latest of everything, also after a time without it (spec 04 §3.8, Q13)."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from kubeedge.edgecore.devicetwin import reports
from tests.edgecore.devicetwin.conftest import Node

SENSOR = "default/sensor-1"


async def report(node: Node, value: str, device: str = SENSOR, key: str = "k") -> None:
    await node.update(device, {key: {"actual": {"value": value}}})


def values(node: Node) -> list[tuple[str, dict[str, str]]]:
    """Device and values of each report of twins."""
    return [
        (
            resource.split("/twin/")[0][len("device/") :],
            {name: t["actual"]["value"] for name, t in body["twin"].items()},
        )
        for resource, body in node.news()
        if resource.endswith("/twin/edge_updated")
    ]


async def test_node_that_connects_asks_once_for_its_devices_q7(node: Node) -> None:
    node.connect()
    node.connect()
    (request,) = node.sent
    assert (request.source, request.group, request.operation) == ("twin", "resource", "get")
    assert request.resource == "membership/detail"
    body = orjson.loads(orjson.loads(request.content))
    assert (body["event_type"], body["group_id"], body["operation"]) == ("group_membership_event", "e1", "detail")
    node.connect(False)
    node.connect()
    assert len(node.sent) == 2


async def test_what_changed_offline_reaches_the_cloud_with_its_latest_value_q13(node: Node) -> None:
    await node.add(SENSOR, "default/b")
    for value in ("1", "2", "3"):
        await report(node, value)
        await report(node, value, key="j")
    await report(node, "9", "default/b")
    assert node.sent == []
    node.connect()
    assert values(node) == [(SENSOR, {"j": "3", "k": "3"}), ("default/b", {"k": "9"})]
    await asyncio.sleep(0.01)
    node.connect(False)
    node.connect()
    await asyncio.sleep(0.01)
    assert len(values(node)) == 2


async def test_what_was_on_its_way_when_the_connection_broke_is_sent_again_q13(node: Node) -> None:
    await node.add(SENSOR)
    node.confirms = False
    node.connect()
    await report(node, "1")
    node.connect(False)
    await report(node, "2")
    node.connect()
    assert values(node) == [(SENSOR, {"k": "1"}), (SENSOR, {"k": "2"})]


async def test_marks_survive_a_restart_q13(node: Node) -> None:
    await node.add(SENSOR, "default/b")
    await report(node, "1")
    await report(node, "2", "default/b")
    await node.publish(f"$hw/events/device/{SENSOR}/state/update", {"state": "ok"})
    await node.restart()
    assert node.sent == []
    node.connect()
    await asyncio.sleep(0.01)
    assert sorted(values(node)) == [("default/b", {"k": "2"}), (SENSOR, {"k": "1"})]
    states = [orjson.loads(body) for resource, body in node.news() if resource.endswith("/state/update")]
    assert [state["device"]["state"] for state in states] == ["ok"]
    # What is confirmed is told to nobody a second time.
    node.sent.clear()
    await node.restart()
    assert node.rows("SELECT * FROM kubeedge_twin_unsent") == []
    node.connect()
    await asyncio.sleep(0.01)
    assert node.news() == []


async def test_waiting_confirmations_are_one_a_device_however_much_changes_q13(node: Node) -> None:
    await node.add(SENSOR)
    node.confirms = False
    node.connect()
    for value in range(100):
        await report(node, str(value))
    assert values(node) == [(SENSOR, {"k": "0"})]
    node.confirms = True
    node.confirm(node.sent[-1])
    await asyncio.sleep(0.01)
    assert values(node) == [(SENSOR, {"k": "0"}), (SENSOR, {"k": "99"})]


async def test_unconfirmed_report_is_sent_again_as_it_is_then(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RESEND_S", 0.05), ("SLOT_S", 0.02), ("TICK_S", 0.01)):
        monkeypatch.setattr(reports, name, value)
    await node.restart()
    await node.add(SENSOR)
    node.confirms = False
    node.connect()
    await report(node, "1")
    await node.publish(f"$hw/events/device/{SENSOR}/state/update", {"state": "ok"})
    await report(node, "2")
    await node.until(lambda: len(node.news()) >= 4)
    assert values(node)[:2] == [(SENSOR, {"k": "1"}), (SENSOR, {"k": "2"})]


async def test_reports_leave_room_for_others_and_none_is_forgotten(node: Node) -> None:
    devices = [f"default/d{number}" for number in range(100)]
    await node.add(*devices)
    for device in devices:
        await report(node, "1", device)
    node.confirms = False
    node.connect()
    assert len(values(node)) == reports.WINDOW
    for number in range(1, len(devices) + 1):
        await node.until(lambda number=number: len(node.sent) > number)
        node.confirm(node.sent[number])
    assert sorted(device for device, _ in values(node)) == sorted(devices)


async def test_window_opens_again_when_nobody_confirms(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reports, "SLOT_S", 0.02)
    monkeypatch.setattr(reports, "TICK_S", 0.01)
    await node.restart()
    devices = [f"default/d{number}" for number in range(50)]
    await node.add(*devices)
    for device in devices:
        await report(node, "1", device)
    node.confirms = False
    node.connect()
    await node.until(lambda: len(values(node)) == 50)


async def test_removed_device_is_told_no_more(node: Node) -> None:
    await node.add(SENSOR)
    await report(node, "1")
    node.cloud("update", "membership", {"removed_devices": [{"id": SENSOR}]})
    await node.until(lambda: b'"removed_devices":[' in node.published[-1][1])
    node.connect()
    assert node.news() == []


async def test_equal_values_reach_the_cloud_once_a_minute_q24(node: Node) -> None:
    await node.add(SENSOR)
    node.connect()
    for _ in range(61):
        node.now_ms += 1000
        await report(node, "1")
        await asyncio.sleep(0)
    assert len(values(node)) == 2
    # Each was answered to the client.
    assert sum(topic.endswith("/update/result") for topic, _ in node.published) == 61
    node.now_ms += 1000
    await report(node, "1")
    assert len(values(node)) == 3


async def test_marks_of_a_busy_property_are_written_once(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    await node.add(SENSOR)
    node.connect()
    written: list[Any] = []
    write = node.database.write

    async def seen(work: Any) -> Any:
        written.extend(work.__self__.marks)
        return await write(work)

    monkeypatch.setattr(node.database, "write", seen)
    for value in range(20):
        await report(node, str(value))
        await asyncio.sleep(0)
    assert written == [(SENSOR, "k")]
