"""What mappers are told of devices and models (spec 04 §6.4)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import orjson
import pytest

from kubeedge.edgecore.dmi import calls
from kubeedge.edgecore.dmi.catalog import Object
from kubeedge.message import new_message
from tests.edgecore.dmi.conftest import Node
from tests.edgecore.dmi.objects import MODEL, SENSOR, device, model


async def test_mapper_hears_of_model_and_device_in_order(node: Node) -> None:
    mapper = await node.mapper()
    await mapper.register()
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device())
    made = await mapper.called(2)
    assert [method for method, _ in made] == ["CreateDeviceModel", "RegisterDevice"]
    assert made[0][1]["model"]["name"] == "thermo"
    assert made[1][1]["device"]["spec"]["deviceModelReference"] == "thermo"


async def test_change_goes_out_once_with_the_latest_state(node: Node) -> None:
    mapper = await node.mapper()
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device())
    await mapper.register()
    await mapper.stop()
    for desired in ("1", "2", "3"):
        await node.say("update", SENSOR, device(desired=desired))
    await asyncio.sleep(0.05)
    await mapper.start()
    ((method, request),) = await mapper.called(1)
    await node.quiet()
    assert method == "UpdateDevice"
    assert request["device"]["spec"]["properties"][0]["desired"]["value"] == "3"
    assert len(mapper.calls) == 1


async def test_replayed_objects_are_not_told_again(node: Node) -> None:
    mapper = await node.mapper()
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device())
    await mapper.register()
    for operation in ("insert", "update"):
        await node.say(operation, MODEL, model())
        await node.say(operation, SENSOR, device())
    await node.quiet()
    assert mapper.calls == []


async def test_device_before_its_model_is_told_when_the_model_comes(node: Node) -> None:
    mapper = await node.mapper()
    assert not (await mapper.register()).deviceList
    await node.say("insert", SENSOR, device())
    await node.quiet()
    assert mapper.calls == []
    await node.say("insert", MODEL, model())
    await mapper.called(2)
    await node.quiet()
    assert mapper.methods == ["CreateDeviceModel", "RegisterDevice"]


async def test_changed_model_takes_its_devices_along(node: Node) -> None:
    """Spec 04 Q33: upstream's mappers look at a model only with a device."""
    mapper = await node.mapper()
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device())
    await mapper.register()
    await node.say("update", MODEL, model(maximum="90"))
    made = await mapper.called(2)
    assert [method for method, _ in made] == ["UpdateDeviceModel", "UpdateDevice"]
    assert made[0][1]["model"]["spec"]["properties"][0]["maximum"] == "90"


async def test_removal_needs_no_content_and_comes_from_anyone_in_the_cloud(node: Node) -> None:
    """Spec 04 Q8: repaired objects carry another source, and a repaired delete no specification."""
    mapper = await node.mapper()
    await mapper.register()
    await node.say("insert", MODEL, model(), source="edgecontroller")
    await node.say("insert", SENSOR, device(), source="synccontroller")
    await mapper.called(2)
    await node.say("delete", MODEL, {"metadata": {"name": "thermo"}}, source="edgecontroller")
    await node.say("delete", SENSOR, None, source="synccontroller")
    made = await mapper.called(4)
    assert made[2:] == [
        ("RemoveDeviceModel", {"modelName": "thermo", "modelNamespace": "default"}),
        ("RemoveDevice", {"deviceName": "sensor", "deviceNamespace": "default"}),
    ]


async def test_what_was_deleted_while_its_mapper_was_away_is_not_listed(node: Node) -> None:
    """Spec 04 Q21: upstream's cache keeps it."""
    mapper = await node.mapper(listens=False)
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device())
    assert [one.name for one in (await mapper.register()).deviceList] == ["sensor"]
    await node.say("delete", SENSOR)
    assert not (await mapper.register()).deviceList


async def test_device_that_changes_its_protocol_moves_to_the_other_mapper(node: Node) -> None:
    old, new = await node.mapper("old"), await node.mapper("new")
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device())
    await old.register(name="old")
    await new.register(name="new", protocol="opcua")
    await node.say("update", SENSOR, device(protocol="opcua"))
    await old.called(1)
    await new.called(2)
    assert old.methods == ["RemoveDevice"]
    assert new.methods == ["CreateDeviceModel", "RegisterDevice"]


async def test_mapper_that_hangs_holds_up_no_other(node: Node) -> None:
    hung, well = await node.mapper("hung"), await node.mapper("well")
    await hung.register(name="hung", protocol="opcua")
    await well.register(name="well")
    hung.hangs = True
    await node.say("insert", "default/devicemodel/other", model("other", protocol="opcua"))
    await hung.called(1)
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device())
    await well.called(2)


async def test_mapper_that_hung_gets_everything_once_it_answers(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls.Calls.__init__, "__kwdefaults__", {"timeout_s": 0.1})
    mapper = await node.mapper()
    await mapper.register()
    mapper.hangs = True
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device())
    await mapper.called(2)
    assert set(mapper.methods) == {"CreateDeviceModel"}
    mapper.hangs = False
    await node.until(lambda: "RegisterDevice" in mapper.methods)


async def test_removal_without_an_answer_is_not_repeated_to_upstreams_mappers(
    node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spec 04 §7.2: a second removal of the same device ends them."""
    monkeypatch.setattr(calls.Calls.__init__, "__kwdefaults__", {"timeout_s": 0.1})
    mapper = await node.mapper()
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device())
    await mapper.register()
    mapper.hangs = True
    await node.say("delete", SENSOR)
    await mapper.called(1)
    await asyncio.sleep(0.3)
    assert mapper.methods == ["RemoveDevice"]


async def test_device_that_a_mapper_refuses_holds_up_no_other(node: Node) -> None:
    mapper = await node.mapper()
    await node.say("insert", MODEL, model())
    await mapper.register()
    mapper.refuses["RegisterDevice"] = 1
    await node.say("insert", SENSOR, device())
    await node.say("insert", "default/device/second", device("second"))
    made = await mapper.called(4)
    registered = [request["device"]["name"] for method, request in made if method == "RegisterDevice"]
    assert registered == ["sensor", "second", "sensor"]


async def test_device_that_a_mapper_keeps_refusing_is_given_up(node: Node) -> None:
    mapper = await node.mapper()
    await node.say("insert", MODEL, model())
    await mapper.register()
    mapper.refuses["RegisterDevice"] = 100
    await node.say("insert", SENSOR, device())
    await node.quiet()
    assert mapper.methods.count("RegisterDevice") == 4
    mapper.refuses.clear()
    await node.say("update", SENSOR, device(desired="7"))
    await node.until(lambda: len(mapper.calls) > 5 or mapper.methods[-1] == "RegisterDevice")


async def test_mapper_is_remembered_over_a_restart(node: Node) -> None:
    mapper = await node.mapper()
    await mapper.register(exact=True)
    await node.restart()
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device(config={"port": 16777217}))
    made = await mapper.called(2)
    port = made[1][1]["device"]["spec"]["protocol"]["configData"]["data"]["port"]
    assert port == {"@type": "type.googleapis.com/google.protobuf.Int64Value", "value": "16777217"}


async def test_devices_of_a_remembered_mapper_are_updated_not_registered_anew(node: Node) -> None:
    mapper = await node.mapper()
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device())
    await mapper.register()
    await node.restart()
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device())
    await node.say("update", SENSOR, device(desired="4"))
    await mapper.called(1)
    await node.quiet()
    assert mapper.methods == ["UpdateDevice"]


async def test_changed_socket_of_a_mapper_is_stored(node: Node) -> None:
    """Spec 04 Q21: upstream only inserts."""
    first, second = await node.mapper("first"), await node.mapper("second")
    await first.register()
    await second.register()
    await node.restart()
    await node.say("insert", MODEL, model())
    await second.called(1)
    assert first.calls == []


async def test_mapper_that_wants_no_list_is_called_all_the_same(node: Node) -> None:
    """Spec 04 Q21: upstream makes no client for it."""
    mapper = await node.mapper()
    response = await mapper.register(with_data=False)
    assert not response.deviceList
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device())
    await mapper.called(2)


async def test_later_mapper_of_a_protocol_takes_the_place_of_the_earlier(node: Node) -> None:
    first, second = await node.mapper("first"), await node.mapper("second")
    await first.register(name="first")
    await second.register(name="second")
    assert list(node.rows("devicemapper")) == ["node/nodeID/namespace/devicemapper/second"]


async def test_change_while_the_mapper_registers_but_does_not_listen_yet_is_not_lost(node: Node) -> None:
    """Spec 04 §6.6: upstream's mappers open their socket after they have the list."""
    mapper = await node.mapper(listens=False)
    await node.say("insert", MODEL, model())
    await mapper.register()
    await node.say("insert", SENSOR, device())
    await asyncio.sleep(0.05)
    await mapper.start()
    await mapper.called(2)
    assert mapper.methods == ["CreateDeviceModel", "RegisterDevice"]


async def test_change_while_the_list_is_made_is_told_afterwards(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kubeedge.edgecore.dmi.service.BATCH", 1)
    mapper = await node.mapper()
    await node.say("insert", MODEL, model())
    names = [f"d{number}" for number in range(300)]
    for name in names:
        await node.say("insert", f"default/device/{name}", device(name))
    listed_by, begun = node.dmi.listed, asyncio.Event()

    def spied(protocol: str) -> Iterator[tuple[str, Object, str, Object]]:
        for one in listed_by(protocol):
            begun.set()
            yield one

    monkeypatch.setattr(node.dmi, "listed", spied)
    registering = asyncio.ensure_future(mapper.register())
    await begun.wait()
    await node.say("update", "default/device/d0", device("d0", desired="9"))
    await node.say("delete", "default/device/d1")
    await node.say("insert", "default/device/new", device("new"))
    response = await registering
    listed = {one.name: one.spec.properties[0].desired.value for one in response.deviceList}
    await node.quiet()
    for method, request in mapper.calls:
        if method == "RemoveDevice":
            listed.pop(request.deviceName)
        else:
            listed[request.device.name] = request.device.spec.properties[0].desired.value
    wanted = {**dict.fromkeys(names, ""), "d0": "9", "new": ""}
    del wanted["d1"]
    assert listed == wanted


async def test_row_under_the_name_of_a_local_change_is_no_device(node: Node) -> None:
    """Spec 04 Q21: upstream stores what MetaServer changes under `<ns>/device/updated` and loads it as a device."""
    mapper = await node.mapper()
    await node.say("insert", MODEL, model())
    await node.say("insert", SENSOR, device())
    await node.put_row("default/device/updated", "device", orjson.dumps(device(desired="old")).decode())
    await node.restart()
    assert [one.name for one in (await mapper.register()).deviceList] == ["sensor"]


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        [],
        {"spec": 5},
        {"spec": {"protocol": "modbus"}},
        {"spec": {"deviceModelRef": {"name": 7}, "protocol": {"protocolName": "modbus"}}},
        device(config={"nested": {"a": 1}}),
        device(config={"nothing": None}),
        device(collectCycle="soon"),
        device(collectCycle=2.5),
        device(reportToCloud=3),
        device(pushMethod={"mqtt": {"qos": 2**40}}),
        device(desired={"not": "text"}),  # type: ignore[arg-type]
    ],
)
async def test_device_that_is_none_stops_no_other(node: Node, content: object) -> None:
    mapper = await node.mapper()
    await mapper.register()
    await node.say("insert", MODEL, model())
    if isinstance(content, bytes):
        node.bus.send("dmi", new_message("devicecontroller", "twin", "insert", SENSOR, content))
    else:
        await node.say("insert", SENSOR, content)
    await node.say("insert", "default/device/second", device("second"))
    made = await mapper.called(2)
    assert [request["device"]["name"] for method, request in made if method == "RegisterDevice"] == ["second"]
    assert [one.name for one in (await mapper.register()).deviceList] == ["second"]
