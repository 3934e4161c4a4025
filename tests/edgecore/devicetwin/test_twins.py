"""Updates and questions of clients: answered on the right topic, when they are on disk, and never the end of it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kubeedge.edgecore.devicetwin.troubles import dropped, refused
from tests.edgecore.devicetwin.conftest import Node

SENSOR = "default/sensor-1"


@pytest.mark.parametrize("namespace", ["dev", "device", "event", "e", "hw", "twin"])
async def test_namespace_that_stands_in_the_topic_works_q2(node: Node, namespace: str) -> None:
    device = f"{namespace}/lamp"
    await node.add(device)
    answers = await node.update(device, {"k": {"actual": {"value": "1"}}})
    assert answers["twin/update/result"][0]["twin"]["k"]["actual"]["value"] == "1"
    topic, _ = node.published[-1]
    assert topic == f"$hw/events/device/{device}/twin/update/document"


async def test_any_node_name_works_in_membership_get_q2(node: Node) -> None:
    answers = await node.publish("$hw/events/node/node/membership/get", {"event_id": "m"})
    assert answers["membership/get/result"][0] == {"event_id": "m", "timestamp": node.now_ms, "devices": []}


async def test_unreadable_request_is_answered_on_its_own_topic_and_where_upstream_does_q3(node: Node) -> None:
    await node.add(SENSOR)
    before = len(node.published)
    await node.publish(f"$hw/events/device/{SENSOR}/twin/update", {"event_id": "e7", "twin": {"a b": {}}})
    (upstreams, upstreams_body), (own, own_body) = node.published[before:]
    assert upstreams == "$hw/events/device//twin/update/result"
    assert b'"event_id":"",' in upstreams_body
    assert own == f"$hw/events/device/{SENSOR}/twin/update/result"
    assert b'"event_id":"e7",' in own_body
    for body in (upstreams_body, own_body):
        assert b'"code":400,"reason":"The key of twin must only include' in body


@pytest.mark.parametrize(
    "topic",
    [
        "$hw/events/device/sensor-1/twin/update",
        "$hw/events/device/sensor-1/twin/get",
        "$hw/events/device/sensor-1/state/update",
        f"$hw/events/device/{SENSOR}/state/get",
        "$hw/events/node/e1/nothing",
        "$hw/events",
        "elsewhere",
    ],
)
async def test_topic_that_names_no_device_is_told_in_the_log_once_and_done_q5(
    node: Node, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    await node.add(SENSOR)
    caplog.set_level(logging.WARNING)
    before = dropped.value("unknown topic")
    for _ in range(3):
        assert await node.publish(topic, {"event_id": "e", "twin": {}}) == {}
    assert len(caplog.records) == 1
    assert topic in caplog.text
    assert dropped.value("unknown topic") == before + 3


@pytest.mark.parametrize("side", [{"actual": {}}, {"expected": {}}])
async def test_side_without_value_is_answered_with_400_and_the_device_stays_usable_q6(
    node: Node, side: dict[str, Any]
) -> None:
    await node.add(SENSOR)
    answers = await node.update(SENSOR, {"k": side})
    assert answers["twin/update/result"][0]["code"] == 400
    assert "code" not in (await node.update(SENSOR, {"k": {"actual": {"value": "1"}}}))["twin/update/result"][0]


async def test_sync_entry_without_metadata_is_answered_with_400_q6(node: Node) -> None:
    await node.add(SENSOR)
    for twin in ({"k": {"actual": {"value": "1"}}}, {"k": None}):
        topic = f"$hw/events/device/{SENSOR}/twin/cloud_updated"
        answers = await node.publish(topic, {"event_id": "s", "twin": twin})
        assert [answer["code"] for answer in answers["twin/update/result"]] == [400]
        reason = "unmarshal update request body failed, Please check the request"
        assert answers["twin/update/result"][0]["reason"] == reason


async def test_value_with_other_characters_is_refused_counted_and_logged_once_q11(
    node: Node, caplog: pytest.LogCaptureFixture
) -> None:
    await node.add(SENSOR)
    caplog.set_level(logging.WARNING)
    before = refused.value("update")
    for text in ("1e+05", "50 %", "21°", "{}"):
        answers = await node.update(SENSOR, {"k": {"actual": {"value": text}}})
        assert answers["twin/update/result"][0]["reason"].startswith("The value of twin must only include")
    assert refused.value("update") == before + 4
    assert len(caplog.records) == 1


async def test_double_is_a_type_q12(node: Node) -> None:
    await node.add(SENSOR)
    good = await node.update(SENSOR, {"k": {"actual": {"value": "1.5"}, "metadata": {"type": "double"}}})
    assert good["twin/update/result"][0]["twin"]["k"]["metadata"] == {"type": "double"}
    for type_ in ("DOUBLE", "bytes"):
        bad = await node.update(SENSOR, {"j": {"actual": {"value": "1.5"}, "metadata": {"type": type_}}})
        assert bad["twin/update/result"][0]["reason"] == "the value type is not allowed"


async def test_one_bad_property_refuses_all_and_nothing_is_stored_q25(node: Node) -> None:
    await node.add(SENSOR)
    twin = {"a": {"actual": {"value": "1"}}, "b": {"actual": {"value": "x"}, "metadata": {"type": "int"}}}
    answers = await node.update(SENSOR, twin)
    assert list(answers) == ["twin/update/result"]
    assert answers["twin/update/result"][0]["code"] == 400
    assert node.rows("SELECT * FROM device_twin") == []


async def test_empty_value_survives_a_restart_as_what_it_was_q26(node: Node) -> None:
    await node.add(SENSOR)
    await node.update(SENSOR, {"none": {"expected": {"value": ""}}, "empty": {"expected": {"value": "x"}}})
    await node.update(SENSOR, {"empty": {"expected": {"value": ""}}})
    topic = f"$hw/events/device/{SENSOR}/twin/get"
    before = await node.publish(topic, {"event_id": "g"})
    await node.restart()
    assert await node.publish(topic, {"event_id": "g"}) == before
    twins = before["twin/get/result"][0]["twin"]
    assert ("expected" in twins["none"], twins["empty"]["expected"]["value"]) == (False, "")
    # The version of both is still there.
    versions = node.rows("SELECT expected_version FROM device_twin ORDER BY name DESC")
    assert versions == [('{"cloud":0,"edge":1}',), ('{"cloud":0,"edge":2}',)]


async def test_deleted_twin_keeps_its_version_over_a_restart(node: Node) -> None:
    await node.add(SENSOR)
    await node.update(SENSOR, {"k": {"actual": {"value": "1"}}})
    await node.update(SENSOR, {"k": None})
    await node.restart()
    await node.update(SENSOR, {"k": {"actual": {"value": "2"}, "metadata": {"type": "int"}}})
    assert node.rows("SELECT actual,attr_type,actual_version FROM device_twin") == [
        ("2", "int", '{"cloud":0,"edge":3}')
    ]


async def test_unknown_device_is_answered_with_404(node: Node) -> None:
    answers = await node.update("default/absent", {"k": {"actual": {"value": "1"}}})
    (error,) = answers["twin/update/result"]
    assert (error["event_id"], error["code"]) == ("e", 404)
    assert error["reason"] == "update rejected due to the device is not existed"
    answers = await node.publish("$hw/events/device/default/absent/twin/get", {"event_id": "g"})
    assert answers["twin/get/result"][0]["reason"] == "Device default/absent not found while getting twin"


async def test_question_that_is_no_json_is_answered_with_400(node: Node) -> None:
    answers = await node.publish(f"$hw/events/device/{SENSOR}/twin/get", b"[1")
    (error,) = answers["twin/get/result"]
    assert (error["event_id"], error["code"]) == ("", 400)
    assert error["reason"].startswith("Unmarshal twin info [1 failed , err: ")
    for payload in (b"[]", b'{"event_id":1}', b'{"timestamp":"1"}'):
        answers = await node.publish("$hw/events/node/e1/membership/get", payload)
        assert answers["membership/get/result"][0]["reason"].startswith("Unmarshal get membership info ")


async def test_updates_that_wait_share_a_transaction_that_holds_the_latest_of_each(node: Node) -> None:
    await node.add(SENSOR)
    await node.update(SENSOR, {"k": {"actual": {"value": "0"}}})
    commits = store_commits()
    finished: list[int] = []
    before = len(node.published)
    for number in range(1, 101):
        payload = b'{"event_id":"%d","twin":{"k":{"actual":{"value":"%d"}}}}' % (number, number)
        node.bus.publish(
            "twin",
            f"$hw/events/device/{SENSOR}/twin/update",
            payload,
            lambda n=number: finished.append(n),  # type: ignore[misc]
        )
    assert finished == []
    await node.until(lambda: len(finished) == 100)
    assert finished == list(range(1, 101))
    assert store_commits() - commits <= 2
    results = [body for topic, body in node.published[before:] if topic.endswith("/result")]
    assert [b'"event_id":"%d"' % number in body for number, body in enumerate(results, start=1)] == [True] * 100
    assert node.rows("SELECT actual,actual_version FROM device_twin") == [("100", '{"cloud":0,"edge":101}')]


def store_commits() -> float:
    from kubeedge.store import database

    return database._commits.value("edge.db")


async def test_nothing_is_answered_before_it_is_on_disk(node: Node) -> None:
    await node.add(SENSOR)
    held, go = asyncio.Event(), asyncio.Event()
    write = node.database.write

    async def slow(work: Any) -> Any:
        held.set()
        await go.wait()
        return await write(work)

    node.database.write = slow  # type: ignore[method-assign]
    node.connect()
    before, told = len(node.published), len(node.sent)
    update = asyncio.create_task(node.update(SENSOR, {"k": {"actual": {"value": "1"}}}))
    await held.wait()
    # Confirmations and news of others don't carry it out either.
    node.cloud("response", "twin", "OK", parent_id="x")
    await asyncio.sleep(0.02)
    assert (len(node.published), len(node.sent), node.done) == (before, told, [])
    go.set()
    await update
    assert len(node.news()) == 1


TOPICS = st.sampled_from(
    [f"$hw/events/device/{SENSOR}/{action}" for action in ("twin/update", "twin/get", "twin/cloud_updated")]
    + [f"$hw/events/device/{SENSOR}/{action}" for action in ("state/update", "updated", "x")]
    + [f"$hw/events/node/e1/membership/{action}" for action in ("get", "updated", "detail/result")]
)
FIELDS = ["event_id", "timestamp", "twin", "attributes", "state", "added_devices", "removed_devices", "devices", "id"]
KEYS = st.sampled_from([*FIELDS, "k", "actual", "value", "metadata", "type", "optional", "name", "actual_version"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(SENSOR),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=15,
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
async def test_no_input_stops_the_module(node: Node, data: st.DataObject) -> None:
    failures = dropped.value("handler failed")
    for _ in range(8):
        await node.publish(data.draw(TOPICS), data.draw(JSON.map(encoded) | st.binary(max_size=20)))
    resource = data.draw(
        st.sampled_from(["membership", "membership/detail", f"device/{SENSOR}/twin/cloud_updated", "device/a", "x"])
    )
    node.cloud(data.draw(st.sampled_from(["update", "updated"])), resource, data.draw(JSON.map(encoded)))
    await node.add(f"probe/{len(node.done)}")
    await node.publish(f"$hw/events/device/{SENSOR}/twin/get", {})
    assert not node.task.done()
    assert dropped.value("handler failed") == failures


def encoded(value: Any) -> bytes:
    import json

    return json.dumps(value).encode()
