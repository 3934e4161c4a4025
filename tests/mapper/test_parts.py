"""The pure parts: schedule, health, outbox, configuration."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.mapper import config
from kubeedge.mapper.config import ConfigError
from kubeedge.mapper.description import Key
from kubeedge.mapper.health import Health
from kubeedge.mapper.outbox import Outbox, Reading
from kubeedge.mapper.schedule import Schedule

KEY = Key("default", "d1")


def reading(value: str) -> Reading:
    return Reading(value, "int", "", 0)


# Schedule


def test_each_name_is_due_in_its_cycle() -> None:
    schedule = Schedule({"fast": 1, "slow": 3}, 100)
    taken = [(at, schedule.take(at)) for at in range(100, 107)]
    assert taken == [
        (100, ["fast", "slow"]),
        (101, ["fast"]),
        (102, ["fast"]),
        (103, ["fast", "slow"]),
        (104, ["fast"]),
        (105, ["fast"]),
        (106, ["fast", "slow"]),
    ]
    assert schedule.next() == 107


def test_turns_that_were_missed_are_left_out() -> None:
    schedule = Schedule({"a": 1}, 0)
    assert schedule.take(0) == ["a"]
    assert schedule.take(10.5) == ["a"]
    assert schedule.next() == 11.5


def test_other_cycles_leave_the_turns_of_what_has_not_changed() -> None:
    before = Schedule({"a": 10, "b": 10}, 0)
    before.take(0)
    schedule = Schedule({"a": 10, "b": 5, "c": 5}, 1, before)
    assert schedule.take(1) == ["b", "c"]
    schedule.hasten(["a", "gone"], 2)
    assert schedule.take(2) == ["a"]
    assert Schedule({}, 0).next() is None


@given(st.dictionaries(st.sampled_from("abcd"), st.floats(0.01, 100), min_size=1), st.lists(st.floats(0, 50)))
def test_time_always_goes_on(cycles: dict[str, float], steps: list[float]) -> None:
    schedule, now = Schedule(cycles, 0), 0.0
    for step in steps:
        now += step
        schedule.take(now)
        # Nothing is due again at once, or a device would be asked without end.
        assert schedule.take(now) == []
        assert (schedule.next() or 0) > now


# Health


def test_device_is_offline_after_two_rounds_without_anything() -> None:
    health = Health()
    assert health.end_round({"a", "b"}, (), ()) == "online"
    assert health.end_round((), {"a", "b"}, ()) == "online"
    assert health.end_round((), {"a", "b"}, ()) == "offline"
    assert health.end_round({"a"}, {"b"}, ()) == "unhealthy"
    assert health.end_round({"b"}, (), {"a"}) == "online"


def test_device_that_never_answered_is_offline_at_once() -> None:
    assert Health().unreachable({"a"}) == "offline"


def test_device_without_properties_is_online_when_connected() -> None:
    health = Health()
    assert health.unreachable(()) == "offline"
    assert health.end_round((), (), ()) == "online"


def test_property_that_fails_beside_one_that_works_leaves_the_device_unhealthy() -> None:
    health = Health()
    health.end_round({"a", "b"}, (), ())
    for _ in range(5):
        assert health.end_round((), {"b"}, {"a"}) == "unhealthy"


# Outbox


async def test_latest_value_of_each_property_waits() -> None:
    outbox = Outbox()
    outbox.put(KEY, {"a": reading("1"), "b": reading("1")})
    outbox.put(KEY, {"a": reading("2")})
    outbox.put_state(KEY, "online")
    report = await outbox.take()
    assert {name: one.value for name, one in report.readings.items()} == {"a": "2", "b": "1"}
    assert (await outbox.take()).state == "online"
    assert len(outbox) == 0


async def test_what_could_not_be_told_waits_in_its_old_place_under_what_is_newer() -> None:
    outbox = Outbox()
    outbox.put(KEY, {"a": reading("1"), "b": reading("1")})
    report = await outbox.take()
    outbox.put(Key("default", "d2"), {"x": reading("9")})
    outbox.put(KEY, {"a": reading("2")})
    outbox.give_back(report)
    again = await outbox.take()
    assert again.key == KEY
    assert {name: one.value for name, one in again.readings.items()} == {"a": "2", "b": "1"}


async def test_device_that_waits_keeps_its_place() -> None:
    outbox = Outbox()
    other = Key("default", "d2")
    outbox.put(KEY, {"a": reading("1")})
    outbox.put(other, {"a": reading("1")})
    outbox.put(KEY, {"a": reading("2")})
    assert (await outbox.take()).key == KEY
    outbox.put(KEY, {"a": reading("3")})
    assert (await outbox.take()).key == other


async def test_value_waits_for_the_one_before_it_that_is_being_told() -> None:
    outbox = Outbox()
    outbox.put(KEY, {"a": reading("1")})
    first = await outbox.take()
    outbox.put(KEY, {"a": reading("2")})
    taking = asyncio.ensure_future(outbox.take())
    await asyncio.sleep(0)
    assert not taking.done()
    outbox.told(first)
    assert (await taking).readings["a"].value == "2"


async def test_state_and_values_of_a_device_have_each_their_place() -> None:
    outbox = Outbox()
    outbox.put_state(KEY, "offline")
    outbox.put(KEY, {"a": reading("1")})
    first = await outbox.take()
    outbox.put_state(KEY, "online")
    outbox.give_back(first)
    assert (await outbox.take()).state == "online"
    assert list((await outbox.take()).readings) == ["a"]


async def test_all_is_told_again_after_a_restart_of_the_edge() -> None:
    outbox = Outbox()
    outbox.put(KEY, {"a": reading("1"), "gone": reading("1")})
    outbox.put_state(KEY, "online")
    for _ in range(2):
        outbox.told(await outbox.take())
    outbox.retain(KEY, {"a"})
    outbox.again()
    assert list((await outbox.take()).readings) == ["a"]
    assert (await outbox.take()).state == "online"


async def test_nothing_is_told_of_a_device_that_is_gone() -> None:
    outbox = Outbox()
    outbox.put(KEY, {"a": reading("1")})
    report = await outbox.take()
    outbox.forget(KEY)
    outbox.give_back(report)
    outbox.again()
    assert len(outbox) == 0


async def test_taking_waits_for_something() -> None:
    outbox = Outbox()
    taking = asyncio.ensure_future(outbox.take())
    await asyncio.sleep(0)
    assert not taking.done()
    outbox.put(KEY, {"a": reading("1")})
    assert (await taking).key == KEY


# Configuration


def test_file_of_upstream_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "grpc_server:\n  socket_path: /etc/kubeedge/arduino.sock\ncommon:\n  name: arduino-mapper\n  version: v1.13.0\n"
        "  api_version: v1.0.0\n  protocol: # yours\n  address: 127.0.0.1\n  edgecore_sock: /etc/kubeedge/dmi.sock\n"
        '  http_port: "7778"\n  colour: red\n'
    )
    read, warnings = config.load(path)
    read.complete("arduino")
    assert warnings == ["common.colour: unknown key"]
    assert read.grpc_server.socket_path == "/etc/kubeedge/arduino.sock"
    assert (read.common.protocol, read.common.http_port, read.common.http_address) == ("arduino", 7778, "127.0.0.1")


def test_empty_file_has_defaults_for_all() -> None:
    read, _ = config.decode(None)
    read.complete("modbus")
    assert read.grpc_server.socket_path == "/etc/kubeedge/modbus.sock"
    assert (read.common.name, read.common.http_port) == ("modbus-mapper", 7777)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"common": {"http_port": "x"}}, "common.http_port"),
        ({"common": []}, "common"),
        ([], "file"),
        ({}, "common.protocol"),
    ],
)
def test_wrong_file_is_refused_with_its_key(document: object, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        config.decode(document)[0].complete("")
