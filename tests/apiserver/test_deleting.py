from __future__ import annotations

from datetime import datetime
from typing import Any

import orjson
import pytest

from kubeedge.apiserver.app import ApiServer
from kubeedge.apiserver.local import LocalApi
from kubeedge.kube.api import MERGE_PATCH, ApiError, Kind
from kubeedge.kube.kinds import CONFIG_MAP, NAMESPACE, NODE, POD
from tests.apiserver.https import Https

BINDING = b'{"target":{"kind":"Node","name":"n1"}}'


async def make_pod(api: LocalApi, name: str = "p", *, bound: bool = True, **metadata: Any) -> dict[str, Any]:
    pod = {"metadata": {"name": name, **metadata}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    await api.create(POD, "default", orjson.dumps(pod))
    if bound:
        await api.create(POD, "default", BINDING, name=name, subresource="binding")
    return await read(api, name)


async def read(api: LocalApi, name: str = "p", kind: Kind = POD) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads(await api.get(kind, "default", name))
    return found


async def delete(api: LocalApi, name: str = "p", kind: Kind = POD, **options: Any) -> dict[str, Any]:
    answer: dict[str, Any] = orjson.loads(await api.delete(kind, "default", name, body=orjson.dumps(options)))
    return answer


async def gone(api: LocalApi, name: str = "p", kind: Kind = POD) -> bool:
    try:
        await api.get(kind, "default", name)
    except ApiError as error:
        return error.code == 404
    return False


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


async def test_bound_pod_stays_for_its_grace_and_shortening_counts_from_the_first_deletion(api: LocalApi) -> None:
    before = await make_pod(api)
    first = (await delete(api))["metadata"]
    assert first["deletionGracePeriodSeconds"] == 30
    assert first["generation"] == before["metadata"]["generation"] + 1
    second = (await delete(api, gracePeriodSeconds=5))["metadata"]
    assert second["deletionGracePeriodSeconds"] == 5
    assert seconds(first["deletionTimestamp"]) - seconds(second["deletionTimestamp"]) == 25
    longer = (await delete(api, gracePeriodSeconds=50))["metadata"]
    assert longer == second
    await delete(api, gracePeriodSeconds=0)
    assert await gone(api)


async def test_pod_on_no_node_goes_at_once(api: LocalApi) -> None:
    await make_pod(api, bound=False)
    answer = await delete(api)
    assert answer["kind"] == "Pod" and answer["metadata"]["deletionGracePeriodSeconds"] == 0
    assert await gone(api)


async def test_pod_that_ended_goes_at_once(api: LocalApi) -> None:
    await make_pod(api)
    await api.patch(POD, "default", "p", b'{"status":{"phase":"Succeeded"}}', MERGE_PATCH, subresource="status")
    await delete(api)
    assert await gone(api)


async def test_pod_with_finalizers_outlives_its_grace(api: LocalApi) -> None:
    await make_pod(api, finalizers=["example.com/hold"])
    await delete(api, gracePeriodSeconds=0)
    assert (await read(api))["metadata"]["deletionGracePeriodSeconds"] == 0
    await api.patch(POD, "default", "p", b'{"metadata":{"finalizers":null}}', MERGE_PATCH)
    assert await gone(api)


async def test_pod_in_its_grace_is_not_removed_by_losing_its_finalizers(api: LocalApi) -> None:
    await make_pod(api, finalizers=["example.com/hold"])
    await delete(api)
    await api.patch(POD, "default", "p", b'{"metadata":{"finalizers":null}}', MERGE_PATCH)
    assert not await gone(api)


async def test_preconditions_protect_a_pod_of_the_same_name(api: LocalApi) -> None:
    pod = await make_pod(api)
    with pytest.raises(ApiError) as caught:
        await delete(api, gracePeriodSeconds=0, preconditions={"uid": "00000000-0000-0000-0000-000000000000"})
    assert caught.value.code == 409 and pod["metadata"]["uid"] in caught.value.message
    await delete(api, gracePeriodSeconds=0, preconditions={"uid": pod["metadata"]["uid"]})
    assert await gone(api)


@pytest.mark.parametrize(
    ("policy", "finalizers"),
    [("Foreground", ["foregroundDeletion"]), ("Orphan", ["orphan"])],
)
async def test_propagation_leaves_the_object_for_the_garbage_collector(
    api: LocalApi, policy: str, finalizers: list[str]
) -> None:
    await api.create(CONFIG_MAP, "default", b'{"metadata":{"name":"a"}}')
    answer = await delete(api, "a", CONFIG_MAP, propagationPolicy=policy)
    assert answer["metadata"]["finalizers"] == finalizers
    assert "deletionTimestamp" in answer["metadata"]


async def test_bound_pod_of_an_eviction_is_marked(api: LocalApi) -> None:
    await make_pod(api)
    body = b'{"apiVersion":"policy/v1","kind":"Eviction","metadata":{"name":"p"}}'
    await api.create(POD, "default", body, name="p", subresource="eviction")
    assert (await read(api))["metadata"]["deletionGracePeriodSeconds"] == 30


async def test_collection_is_deleted_as_far_as_selectors_let_through(https: Https, api: LocalApi) -> None:
    for name, app in (("a", "x"), ("b", "y"), ("c", "x")):
        await api.create(CONFIG_MAP, "default", orjson.dumps({"metadata": {"name": name, "labels": {"app": app}}}))
    response = await https.call("DELETE", "/api/v1/namespaces/default/configmaps?labelSelector=app%3Dx")
    assert [item["metadata"]["name"] for item in response.json()["items"]] == ["a", "c"]
    items = (await api.list(CONFIG_MAP, "default")).items
    assert [orjson.loads(item)["metadata"]["name"] for item in items] == ["b"]


async def test_namespaces_that_a_cluster_needs_cannot_be_deleted(api: LocalApi) -> None:
    for name in ("default", "kube-system", "kube-public"):
        with pytest.raises(ApiError, match="this namespace may not be deleted"):
            await api.delete(NAMESPACE, "", name)


async def test_terminating_namespace_takes_nothing_new_and_goes_when_finalized(bare: ApiServer, https: Https) -> None:
    api = bare.api
    await api.create(NAMESPACE, "", b'{"metadata":{"name":"x"}}')
    await api.delete(NAMESPACE, "", "x")
    with pytest.raises(ApiError, match="because it is being terminated"):
        await api.create(CONFIG_MAP, "x", b'{"metadata":{"name":"late"}}')
    body = {"metadata": {"name": "x"}, "spec": {"finalizers": []}}
    response = await https.call("PUT", "/api/v1/namespaces/x/finalize", body)
    assert response.status == 200
    with pytest.raises(ApiError) as caught:
        await api.get(NAMESPACE, "", "x")
    assert caught.value.code == 404


async def test_node_is_answered_with_a_status(api: LocalApi) -> None:
    await api.create(NODE, "", b'{"metadata":{"name":"n1"}}')
    answer = orjson.loads(await api.delete(NODE, "", "n1"))
    assert answer["kind"] == "Status" and answer["details"]["name"] == "n1"
