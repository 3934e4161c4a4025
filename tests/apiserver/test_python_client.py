from __future__ import annotations

import asyncio
from typing import Any

import pytest
from kubernetes import client, config, watch

from kubeedge.apiserver.app import ApiServer


@pytest.fixture
def core(bare: ApiServer) -> Any:
    """The official client."""
    configuration = client.Configuration()
    config.load_kube_config(str(bare.kubeconfig), client_configuration=configuration)
    return client.CoreV1Api(client.ApiClient(configuration))


def config_map(name: str) -> Any:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name), data={"k": "v"})


async def test_objects_are_created_listed_and_deleted(core: Any) -> None:
    def use() -> None:
        for name in ("a", "b", "c"):
            core.create_namespaced_config_map("default", config_map(name))
        page = core.list_namespaced_config_map("default", limit=2)
        rest = core.list_namespaced_config_map("default", limit=2, _continue=page.metadata._continue)
        assert [item.metadata.name for item in (*page.items, *rest.items)] == ["a", "b", "c"]
        core.patch_namespaced_config_map("a", "default", {"data": {"k": "w"}})
        assert core.read_namespaced_config_map("a", "default").data == {"k": "w"}
        core.delete_namespaced_config_map("a", "default")
        with pytest.raises(client.ApiException) as caught:
            core.read_namespaced_config_map("a", "default")
        assert caught.value.status == 404 and caught.value.reason == "Not Found"

    await asyncio.to_thread(use)


async def test_watch_goes_on_from_a_list(core: Any) -> None:
    def use() -> list[tuple[str, str]]:
        version = core.list_namespaced_config_map("default").metadata.resource_version
        core.create_namespaced_config_map("default", config_map("a"))
        core.patch_namespaced_config_map("a", "default", {"data": {"k": "w"}})
        core.delete_namespaced_config_map("a", "default")
        stream = watch.Watch().stream(
            core.list_namespaced_config_map, "default", resource_version=version, timeout_seconds=1
        )
        return [(event["type"], event["object"].data["k"]) for event in stream]

    assert await asyncio.to_thread(use) == [("ADDED", "v"), ("MODIFIED", "w"), ("DELETED", "w")]
