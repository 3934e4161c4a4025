from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import Any

import orjson
import pytest

from kubeedge.apiserver import watch as watching
from kubeedge.apiserver.app import ApiServer
from kubeedge.apiserver.local import LocalApi
from kubeedge.apiserver.reading import resource_of
from kubeedge.kube.api import MERGE_PATCH, ApiError, WatchEvent
from kubeedge.kube.kinds import CONFIG_MAP
from tests.apiserver.https import Https
from tests.apiserver.waiting import until

COLLECTION = "/api/v1/namespaces/default/configmaps"


async def create(api: LocalApi, name: str, **labels: str) -> None:
    await api.create(CONFIG_MAP, "default", orjson.dumps({"metadata": {"name": name, "labels": labels}}))


async def label(api: LocalApi, name: str, **labels: str | None) -> None:
    body = orjson.dumps({"metadata": {"labels": labels}})
    await api.patch(CONFIG_MAP, "default", name, body, MERGE_PATCH)


async def collect(api: LocalApi, count: int, **options: Any) -> list[WatchEvent]:
    found: list[WatchEvent] = []
    async with asyncio.timeout(5), aclosing(api.watch(CONFIG_MAP, "default", **options)) as events:
        async for event in events:
            found.append(event)
            if len(found) == count:
                break
    return found


def shown(events: list[WatchEvent]) -> list[tuple[str, str]]:
    return [(event.type, orjson.loads(event.object)["metadata"].get("name", "")) for event in events]


async def test_object_that_leaves_a_selector_is_deleted_for_the_watch_and_comes_back_as_added(api: LocalApi) -> None:
    version = (await api.list(CONFIG_MAP, "default")).resource_version
    await create(api, "a", app="x")
    await label(api, "a", app="x", other="1")
    await label(api, "a", app="y")
    await label(api, "a", app="y", other="2")
    await label(api, "a", app="x")
    await api.delete(CONFIG_MAP, "default", "a")
    events = await collect(api, 5, resource_version=version, label_selector="app=x")
    assert shown(events) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "a"), ("DELETED", "a")]
    left = orjson.loads(events[2].object)["metadata"]
    # The state that was selected last, under the version of what made it leave.
    assert left["labels"] == {"app": "x", "other": "1"}
    assert int(left["resourceVersion"]) == int(version) + 3


async def test_watch_from_the_past_is_refused_when_history_is_gone(bare: ApiServer) -> None:
    await create(bare.api, "a")
    await label(bare.api, "a", n="1")
    bare.storage.compact()
    with pytest.raises(ApiError) as caught:
        await collect(bare.api, 1, resource_version="1")
    assert caught.value.code == 410 and caught.value.reason == "Expired"


async def test_initial_events_end_with_their_bookmark(https: Https, api: LocalApi) -> None:
    await create(api, "a", app="x")
    await create(api, "b", app="y")
    options = (
        "watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    )
    response = await https.call("GET", f"{COLLECTION}?{options}&labelSelector=app%3Dx")
    added, bookmark = response.events()
    assert (added["type"], added["object"]["metadata"]["name"]) == ("ADDED", "a")
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_bookmark_comes_before_the_end_with_the_newest_version(
    https: Https, bare: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "BOOKMARK_BEFORE_END_S", 0.5)
    url = f"{COLLECTION}?watch=1&allowWatchBookmarks=true&timeoutSeconds=1&resourceVersion={bare.storage.revision}"
    waiting = asyncio.create_task(https.call("GET", url))
    await asyncio.sleep(0.2)
    await bare.api.create(CONFIG_MAP, "kube-system", b'{"metadata":{"name":"elsewhere"}}')
    (bookmark,) = (await waiting).events()
    assert bookmark["type"] == "BOOKMARK"
    assert bookmark["object"]["metadata"] == {"resourceVersion": str(bare.storage.revision)}


async def test_client_that_does_not_read_is_let_go_and_others_are_not(
    bare: ApiServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "MAX_WAITING", 10)
    spec = bare.engine.registry.lookup("", "v1", "configmaps")
    assert spec is not None
    slow = watching.Watch(bare.storage, resource_of(spec), watching.Selection("default"), timeout_s=60)
    slow.start_from(bare.storage.revision)
    follower = asyncio.create_task(collect(bare.api, 40, resource_version=str(bare.storage.revision)))
    await asyncio.sleep(0)
    for number in range(40):
        await create(bare.api, f"n{number}")
    # What waits is still told, then the watch ends: the client resumes from there.
    batches = [batch async for batch in slow.batches()]
    assert [notice.object.name for notice in batches[0] if notice.object] == [f"n{number}" for number in range(12)]
    assert len(batches) == 1
    assert len(await follower) == 40


async def test_each_change_is_written_once_for_all_watches(bare: ApiServer, https: Https) -> None:
    url = f"{COLLECTION}?watch=1&timeoutSeconds=1&resourceVersion={bare.storage.revision}"
    waiting = [asyncio.create_task(https.call("GET", url)) for _ in range(5)]
    await asyncio.sleep(0.3)
    await create(bare.api, "a")
    (change,) = bare.storage.changes_after("configmaps", bare.storage.revision - 1)
    bodies = {(await response).body for response in waiting}
    assert len(bodies) == 1
    assert bodies == set(change.frames.values())


async def test_watch_ends_when_its_client_goes(bare: ApiServer, https: Https) -> None:
    _, writer = await https.open()
    await https.send(writer, "GET", f"{COLLECTION}?watch=1")
    collection = bare.storage.collection("configmaps")
    await until(lambda: collection.watchers)
    writer.close()
    await until(lambda: not collection.watchers)


async def test_table_of_a_watch_has_its_columns_once(https: Https, api: LocalApi) -> None:
    await create(api, "a")
    await create(api, "b")
    response = await https.call(
        "GET", f"{COLLECTION}?watch=1&timeoutSeconds=1", accept="application/json;as=Table;v=v1;g=meta.k8s.io"
    )
    first, second = (event["object"] for event in response.events())
    assert [column["name"] for column in first["columnDefinitions"]] == ["Name", "Data", "Age"]
    assert second["columnDefinitions"] is None
    assert second["rows"][0]["cells"][:2] == ["b", 0]
