from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import orjson
import pytest

from kubeedge.apiserver import definitions
from kubeedge.apiserver.app import ApiServer, running
from kubeedge.apiserver.local import LocalApi
from kubeedge.apiserver.storage import Transaction
from kubeedge.kube.api import MERGE_PATCH, ApiError, ApiUnavailableError, Kind
from kubeedge.kube.kinds import CUSTOM_RESOURCE_DEFINITION
from tests.apiserver.waiting import until

GADGET = Kind("example.com", "v1", "gadgets", "Gadget", True)
GADGET_V2 = GADGET._replace(version="v2")


def definition(**names: Any) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": {
            "spec": {
                "type": "object",
                "properties": {"size": {"type": "integer", "default": 1}, "color": {"type": "string"}},
            },
            "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}},
        },
    }
    version = {"served": True, "schema": {"openAPIV3Schema": schema}, "subresources": {"status": {}}}
    spec: dict[str, Any] = {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "gadgets", "kind": "Gadget", **names},
        "versions": [{"name": "v1", "storage": True, **version}, {"name": "v2", "storage": False, **version}],
    }
    return {"metadata": {"name": f"{spec['names']['plural']}.example.com"}, "spec": spec}


async def define(api: LocalApi, body: dict[str, Any] | None = None) -> None:
    body = body or definition()
    await api.create(CUSTOM_RESOURCE_DEFINITION, "", orjson.dumps(body))
    await until_condition(api, body["metadata"]["name"], "Established")


async def until_condition(api: LocalApi, name: str, condition: str, value: str = "True") -> dict[str, Any]:
    async with asyncio.timeout(5):
        while True:
            found = orjson.loads(await api.get(CUSTOM_RESOURCE_DEFINITION, "", name))
            for one in found["status"].get("conditions") or ():
                if one["type"] == condition and one["status"] == value:
                    result: dict[str, Any] = found
                    return result
            await asyncio.sleep(0.01)


async def test_kind_is_served_as_soon_as_its_definition_is_established(api: LocalApi) -> None:
    await define(api)
    created = orjson.loads(
        await api.create(GADGET, "default", b'{"metadata":{"name":"g"},"spec":{"color":"red","x":1}}')
    )
    assert created["spec"] == {"size": 1, "color": "red"}
    await api.patch(GADGET, "default", "g", b'{"status":{"ready":true}}', MERGE_PATCH, subresource="status")
    assert orjson.loads(await api.get(GADGET, "default", "g"))["status"] == {"ready": True}


async def test_object_is_served_in_every_version_and_stored_in_one(bare: ApiServer) -> None:
    await define(bare.api)
    await bare.api.create(GADGET_V2, "default", b'{"metadata":{"name":"g"},"spec":{"size":2}}')
    assert orjson.loads(await bare.api.get(GADGET_V2, "default", "g"))["apiVersion"] == "example.com/v2"
    stored = bare.storage.get("gadgets.example.com", "default", "g")
    assert stored is not None and stored.document()["apiVersion"] == "example.com/v1"
    page = await bare.api.list(GADGET_V2, "default")
    assert orjson.loads(page.items[0])["apiVersion"] == "example.com/v2"


async def test_changed_schema_counts_at_once(api: LocalApi) -> None:
    await define(api)
    patch = [
        {
            "op": "replace",
            "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size/default",
            "value": 7,
        }
    ]
    body = orjson.dumps(patch)
    await api.patch(CUSTOM_RESOURCE_DEFINITION, "", "gadgets.example.com", body, "application/json-patch+json")
    created = orjson.loads(await api.create(GADGET, "default", b'{"metadata":{"name":"g"},"spec":{}}'))
    assert created["spec"] == {"size": 7}


async def test_objects_go_with_their_definition_but_not_before_their_finalizers(api: LocalApi) -> None:
    await define(api)
    await api.create(GADGET, "default", b'{"metadata":{"name":"free"},"spec":{}}')
    held = b'{"metadata":{"name":"held","finalizers":["example.com/hold"]},"spec":{}}'
    await api.create(GADGET, "default", held)
    await api.delete(CUSTOM_RESOURCE_DEFINITION, "", "gadgets.example.com")
    await until_condition(api, "gadgets.example.com", "Terminating")
    with pytest.raises(ApiError) as caught:
        await api.create(GADGET, "default", b'{"metadata":{"name":"late"},"spec":{}}')
    assert caught.value.code == 405

    async def held_is_left() -> bool:
        return len((await api.list(GADGET, "default")).items) == 1

    async def nothing_is_served() -> bool:
        try:
            await api.list(GADGET, "default")
        except ApiUnavailableError:
            return True
        return False

    await until(held_is_left)
    await api.patch(GADGET, "default", "held", b'{"metadata":{"finalizers":null}}', MERGE_PATCH)
    await until(nothing_is_served)
    with pytest.raises(ApiError) as caught:
        await api.get(CUSTOM_RESOURCE_DEFINITION, "", "gadgets.example.com")
    assert caught.value.code == 404


async def test_names_of_another_definition_are_not_accepted(api: LocalApi) -> None:
    await define(api)
    other = definition(plural="gizmos", kind="Gadget")
    await api.create(CUSTOM_RESOURCE_DEFINITION, "", orjson.dumps(other))
    found = await until_condition(api, "gizmos.example.com", "NamesAccepted", "False")
    conditions = {one["type"]: one for one in found["status"]["conditions"]}
    assert conditions["NamesAccepted"]["message"] == '"Gadget" is already in use'
    assert conditions["Established"]["status"] == "False"
    with pytest.raises(ApiError) as caught:
        await api.list(GADGET._replace(plural="gizmos"), "default")
    assert caught.value.code == 404


async def test_kinds_are_served_again_after_a_restart(tmp_path: Path) -> None:
    async with running(ApiServer(tmp_path, with_controllers=False)) as server:
        await define(server.api)
        await server.api.create(GADGET, "default", b'{"metadata":{"name":"g"},"spec":{}}')
    async with running(ApiServer(tmp_path, with_controllers=False)) as server:
        assert orjson.loads(await server.api.get(GADGET, "default", "g"))["spec"] == {"size": 1}


async def test_definition_that_cannot_be_worked_with_disturbs_no_other(tmp_path: Path) -> None:
    def broken(transaction: Transaction) -> None:
        metadata = {"name": "broken.example.com", "uid": "u"}
        conditions = [{"type": "Established", "status": "True"}]
        document = {"metadata": metadata, "spec": {"group": "example.com"}, "status": {"conditions": conditions}}
        transaction.put(definitions.RESOURCE, document)

    async with running(ApiServer(tmp_path, with_controllers=False)) as server:
        await server.storage.write(broken)
        await define(server.api)
    # Nor does it keep the server from starting.
    async with running(ApiServer(tmp_path, with_controllers=False)) as server:
        assert (await server.api.list(GADGET, "default")).items == []
