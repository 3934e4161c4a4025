"""The HTTP client and its informers on the embedded API, over TLS as everywhere else."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from kubeedge.kube.api import MERGE_PATCH, ApiError
from kubeedge.kube.caches import Caches
from kubeedge.kube.client import HttpApi
from kubeedge.kube.informer import Informer
from kubeedge.kube.kinds import CONFIG_MAP, NODE, POD, SERVICE_ACCOUNT
from kubeedge.kube.kubeconfig import load
from tests.embedded import embedded_apiserver


async def test_every_verb_goes_through(tmp_path: Path) -> None:
    async with embedded_apiserver(tmp_path, "default") as server:
        api = HttpApi(load(server.kubeconfig))
        made = orjson.loads(await api.create(NODE, "", b'{"metadata":{"name":"e1"}}'))
        assert orjson.loads(await api.get(NODE, "", "e1")) == made
        made["metadata"]["labels"] = {"a": "b"}
        await api.update(NODE, "", "e1", orjson.dumps(made))
        with pytest.raises(ApiError) as caught:
            await api.update(NODE, "", "e1", orjson.dumps(made))
        assert (caught.value.code, caught.value.reason) == (409, "Conflict")
        patch = b'{"status":{"conditions":[{"type":"Ready","status":"True"}]}}'
        await api.patch(NODE, "", "e1", patch, MERGE_PATCH, subresource="status")
        node = orjson.loads((await api.list(NODE, label_selector="a=b")).items[0])
        assert node["status"]["conditions"][0]["type"] == "Ready"
        token = await api.create(SERVICE_ACCOUNT, "default", b'{"spec":{}}', name="default", subresource="token")
        assert orjson.loads(token)["status"]["token"]
        await api.delete(NODE, "", "e1", body=b'{"gracePeriodSeconds":0}')
        with pytest.raises(ApiError) as caught:
            await api.get(NODE, "", "e1")
        assert caught.value.reason == "NotFound"
        api.close()


async def test_calls_in_the_name_of_a_node_are_judged_as_the_node_s(tmp_path: Path) -> None:
    async with embedded_apiserver(tmp_path, "default") as server:
        api = HttpApi(load(server.kubeconfig))
        await api.create(NODE, "", b'{"metadata":{"name":"e1"}}', as_node="e1")
        await api.get(NODE, "", "e1", as_node="e1")
        with pytest.raises(ApiError) as caught:
            await api.create(NODE, "", b'{"metadata":{"name":"e2"}}', as_node="e1")
        assert caught.value.code == 403
        api.close()


async def test_informers_share_a_watch_and_follow_over_https(tmp_path: Path) -> None:
    async with embedded_apiserver(tmp_path, "default") as server:
        api = HttpApi(load(server.kubeconfig))
        caches = Caches(api)
        pods = caches.open(POD, field_selector="spec.nodeName!=")
        assert caches.open(POD) is pods
        async with asyncio.TaskGroup() as group:
            running = group.create_task(caches.run())
            async with asyncio.timeout(5):
                await pods.synced()
                # A kind that is asked for later starts at once.
                config_maps: Informer = caches.open(CONFIG_MAP)
                await config_maps.synced()
                seen: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
                for informer in (pods, config_maps):
                    informer.on_event(lambda type_, new, old: seen.put_nowait((type_, new.name)), replay=False)
                spec = {"containers": [{"name": "c", "image": "busybox"}]}
                pod = {"metadata": {"name": "free"}, "spec": spec}
                await api.create(POD, "default", orjson.dumps(pod))
                pod = {"metadata": {"name": "bound"}, "spec": {**spec, "nodeName": "e1"}}
                await api.create(POD, "default", orjson.dumps(pod))
                await api.create(CONFIG_MAP, "default", b'{"metadata":{"name":"app"}}')
                assert {await seen.get(), await seen.get()} == {("ADDED", "bound"), ("ADDED", "app")}
            running.cancel()
        api.close()
