"""A database that refuses, a module that is cancelled, rows that make no sense: nothing is told that is not so."""

from __future__ import annotations

import asyncio
from typing import Any

import apsw
import orjson
import pytest

from kubeedge.store import database
from tests.edgecore.devicetwin.conftest import Node

SENSOR = "default/sensor-1"


class Refusing:
    """Lets every write fail as a full disk does, inside the transaction."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.write = node.database.write

    async def __call__(self, work: Any) -> Any:
        def fail(connection: apsw.Connection) -> None:
            work(connection)
            raise apsw.FullError("database or disk is full")

        return await self.write(fail)

    def __enter__(self) -> None:
        self.node.database.write = self  # type: ignore[method-assign]

    def __exit__(self, *_: object) -> None:
        self.node.database.write = self.write  # type: ignore[method-assign]


async def test_update_that_cannot_be_stored_is_answered_with_500_and_forgotten(node: Node) -> None:
    await node.add(SENSOR)
    await node.update(SENSOR, {"k": {"actual": {"value": "1"}}})
    node.connect()
    topic = f"$hw/events/device/{SENSOR}/twin/get"
    before = (await node.publish(topic, {}))["twin/get/result"][0]
    with Refusing(node):
        answers = await node.update(
            SENSOR, {"k": {"actual": {"value": "2"}}, "new": {"expected": {"value": "3"}}}, "e9"
        )
    assert list(answers) == ["twin/update/result"]
    (error,) = answers["twin/update/result"]
    assert (error["event_id"], error["code"], "full" in error["reason"]) == ("e9", 500, True)
    assert (await node.publish(topic, {}))["twin/get/result"][0] == before
    # Read again, it is marked as unsent still: the cloud may hear what it knows, but nothing of what was lost.
    assert [body["twin"]["k"]["actual"]["value"] for _, body in node.news()] in (["1"], ["1", "1"])
    # The version goes on from what is stored.
    await node.update(SENSOR, {"k": {"actual": {"value": "4"}}, "new": {"actual": {"value": "5"}}})
    assert node.rows("SELECT name,actual,actual_version FROM device_twin ORDER BY name") == [
        ("k", "4", '{"cloud":0,"edge":2}'),
        ("new", "5", '{"cloud":0,"edge":1}'),
    ]
    assert orjson.loads(node.sent[-1].content)["twin"]["k"]["actual"]["value"] == "4"


async def test_update_is_refused_while_another_process_holds_the_database(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    await node.stop()
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 20)
    await node.restart()
    await node.add(SENSOR)
    other = apsw.Connection(str(node.path))
    other.execute("BEGIN IMMEDIATE")
    answers = await node.update(SENSOR, {"k": {"actual": {"value": "2"}}})
    assert answers["twin/update/result"][0]["code"] == 500
    other.execute("ROLLBACK")
    other.close()
    answers = await node.update(SENSOR, {"k": {"actual": {"value": "2"}}})
    assert "code" not in answers["twin/update/result"][0]


async def test_membership_state_and_attributes_that_cannot_be_stored_are_not_told(node: Node) -> None:
    await node.add(SENSOR)
    await node.publish(f"$hw/events/device/{SENSOR}/updated", {"attributes": {"a": {"value": "1"}}})
    listed = await node.publish("$hw/events/node/e1/membership/get", {})
    before = len(node.published)
    with Refusing(node):
        node.cloud(
            "update", "membership", {"added_devices": [{"id": "default/new"}], "removed_devices": [{"id": SENSOR}]}
        )
        await node.publish(f"$hw/events/device/{SENSOR}/state/update", {"state": "ok"})
        node.cloud("update", "membership", {"added_devices": [{"id": SENSOR, "attributes": {"a": {"value": "2"}}}]})
        await node.publish("$hw/events/node/e1/nothing", {})
        await node.until(lambda: not node.twin._queue and len(node.twin._devices) == 1)
    assert node.published[before:] == []
    await node.publish("$hw/events/node/e1/membership/get", {})
    assert orjson.loads(node.published[-1][1])["devices"] == listed["membership/get/result"][0]["devices"]
    await node.publish(f"$hw/events/device/{SENSOR}/state/update", {"state": "ok"})
    assert node.rows("SELECT device,name FROM kubeedge_twin_unsent") == [(SENSOR, "")]


async def test_fault_in_one_input_does_not_cost_the_others(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    await node.add(SENSOR)
    monkeypatch.setattr(node.twin, "_get", lambda *_: 1 / 0)
    assert await node.publish(f"$hw/events/device/{SENSOR}/twin/get", {}) == {}
    assert "twin/update/result" in await node.update(SENSOR, {"k": {"actual": {"value": "1"}}})


async def test_cancelled_at_any_moment_it_keeps_what_it_has_answered(node: Node) -> None:
    await node.add(SENSOR)
    for steps in range(12):
        payload = orjson.dumps({"event_id": str(steps), "twin": {"k": {"actual": {"value": str(steps)}}}})
        before = len(node.published)
        node.bus.publish("twin", f"$hw/events/device/{SENSOR}/twin/update", payload)
        for _ in range(steps):
            await asyncio.sleep(0.0002)
        await node.restart()
        answered = any(b'"event_id":"%d"' % steps in body for _, body in node.published[before:])
        rows = node.rows("SELECT actual FROM device_twin")
        assert not answered or rows == [(str(steps),)]


async def test_rows_that_make_no_sense_are_read_as_far_as_they_do(node: Node) -> None:
    await node.stop()
    connection = apsw.Connection(str(node.path))
    connection.execute("INSERT INTO device VALUES ('default/a',NULL,NULL,NULL,NULL)")
    insert = (
        "INSERT INTO device_twin (deviceid,name,expected,actual,expected_meta,actual_meta,expected_version,"
        "actual_version,optional,attr_type) VALUES (?,?,?,?,?,?,?,?,?,?)"
    )
    for row in (
        ("default/a", "meta", None, "1", None, "no json", None, "", 1, "string"),
        ("default/a", "version", "", "2", "", '{"timestamp":5}', "[]", '{"cloud":1,"edge":1}', None, None),
        ("default/a", "big", "", "3", "", '{"timestamp":99999999999999999999}', "", "", 0, "string"),
        ("default/gone", "k", "", "4", "", "", "", "", 1, "string"),
        ("default/a", "", "", "5", "", "", "", "", 1, "string"),
        # Go's tables allow two rows of one name; the last counts.
        ("default/a", "twice", "", "6", "", "", "", "", 1, "string"),
        ("default/a", "twice", "", "7", "", "", "", "", 1, "string"),
    ):
        connection.execute(insert, row)
    connection.execute("INSERT INTO device_attr (deviceid,name,value) VALUES ('default/a','n',NULL),('gone','n','v')")
    connection.execute("INSERT INTO kubeedge_twin_unsent VALUES ('gone','k'),('default/a','nothing')")
    connection.close()
    await node.restart()
    answers = await node.publish("$hw/events/device/default/a/twin/get", {"event_id": "g"})
    twins = answers["twin/get/result"][0]["twin"]
    assert sorted(twins) == ["big", "meta", "twice", "version"]
    assert twins["twice"]["actual"]["value"] == "7"
    assert (
        "code"
        not in (await node.update("default/a", {name: {"actual": {"value": "9"}} for name in twins}))[
            "twin/update/result"
        ][0]
    )
