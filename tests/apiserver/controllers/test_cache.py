"""Own writes can be read before the watch shows them, and nothing that is gone stays."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from kubeedge.apiserver.controllers.cache import Cache
from kubeedge.apiserver.controllers.views import Meta, Namespace
from kubeedge.apiserver.local import LocalApi
from kubeedge.kube import kinds
from kubeedge.kube.api import ApiError
from tests.apiserver.controllers.cluster import until


def cache_of(api: LocalApi) -> Cache[Meta]:
    return Cache(api, kinds.CONFIG_MAP, Meta, indexes={"label": lambda item: item.metadata.labels.values()})


def config_map(name: str, **labels: str) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": labels}}


async def test_what_was_written_is_read_at_once_without_any_watch(api: LocalApi) -> None:
    cache = cache_of(api)
    made = await cache.create("default", config_map("a", x="1"))
    assert cache.get("default", "a") is made
    changed = await cache.patch(made, {"metadata": {"labels": {"x": "2"}}})
    assert cache.by("label", "1") == []
    assert cache.by("label", "2") == [changed]
    await cache.delete(changed)
    remaining = cache.get("default", "a")
    assert remaining is None or remaining.metadata.is_deleting


async def test_each_version_is_told_once_whether_written_or_watched(api: LocalApi) -> None:
    cache = cache_of(api)
    told: list[tuple[str, str]] = []
    cache.on_change(lambda type_, new, old: told.append((type_, new.metadata.labels.get("x", ""))))
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(cache.run())
        await cache.synced()
        made = await cache.create("default", config_map("a", x="1"))
        await cache.patch(made, {"metadata": {"labels": {"x": "2"}}})
        await api.patch(
            kinds.CONFIG_MAP, "default", "a", b'{"metadata":{"labels":{"x":"3"}}}', "application/merge-patch+json"
        )
        await api.delete(kinds.CONFIG_MAP, "default", "a")

        async def deleted() -> bool:
            return told[-1][0] == "DELETED"

        await until(deleted)
        running.cancel()
    assert told == [("ADDED", "1"), ("MODIFIED", "2"), ("MODIFIED", "3"), ("DELETED", "3")]


async def test_own_object_that_somebody_deleted_during_a_gap_of_the_watch_is_dropped(api: LocalApi) -> None:
    cache = cache_of(api)
    dropped: list[str] = []
    cache.on_change(lambda type_, new, old: dropped.append(new.metadata.name) if type_ == "DELETED" else None)
    await cache.create("default", config_map("ghost"))
    await api.delete(kinds.CONFIG_MAP, "default", "ghost")
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(cache.run())
        await cache.synced()
        assert cache.get("default", "ghost") is None
        running.cancel()
    assert dropped == ["ghost"]


async def test_deleted_object_counts_as_going_until_the_watch_has_shown_it(api: LocalApi) -> None:
    cache = cache_of(api)
    made = await cache.create("default", config_map("a"))
    await api.patch(
        kinds.CONFIG_MAP, "default", "a", b'{"metadata":{"finalizers":["x/y"]}}', "application/merge-patch+json"
    )
    await cache.delete(made)
    kept = cache.get("default", "a")
    assert kept is not None
    assert kept.metadata.is_deleting


async def test_deletion_spares_a_successor_of_the_same_name(api: LocalApi) -> None:
    cache = cache_of(api)
    first = await cache.create("default", config_map("a"))
    await api.delete(kinds.CONFIG_MAP, "default", "a")
    second = orjson.loads(await api.create(kinds.CONFIG_MAP, "default", b'{"metadata":{"name":"a"}}'))
    await cache.delete(first)
    live = await cache.live("default", "a")
    assert live is not None
    assert live.metadata.uid == second["metadata"]["uid"]
    await api.delete(kinds.CONFIG_MAP, "default", "a")
    await cache.delete(first)


async def test_exact_write_is_refused_when_the_object_changed(api: LocalApi) -> None:
    cache = cache_of(api)
    made = await cache.create("default", config_map("a"))
    await cache.patch(made, {"data": {"k": "v"}})
    with pytest.raises(ApiError) as refused:
        await cache.patch(made, {"data": {"k": "w"}}, exact=True)
    assert refused.value.code == 409
    with pytest.raises(ApiError) as refused:
        await cache.delete(made, exact=True)
    assert refused.value.code == 409


async def test_patch_of_a_successor_of_the_same_name_is_refused(api: LocalApi) -> None:
    cache = cache_of(api)
    first = await cache.create("default", config_map("a"))
    await api.delete(kinds.CONFIG_MAP, "default", "a")
    await api.create(kinds.CONFIG_MAP, "default", b'{"metadata":{"name":"a"}}')
    with pytest.raises(ApiError) as refused:
        await cache.patch(first, {"data": {"k": "v"}})
    assert refused.value.code == 409


async def test_successor_of_the_same_name_is_told_as_another_object(api: LocalApi) -> None:
    cache = cache_of(api)
    told: list[tuple[str, str]] = []
    first = await cache.create("default", config_map("a"))
    cache.on_change(lambda type_, new, old: told.append((type_, new.metadata.uid)))
    await api.delete(kinds.CONFIG_MAP, "default", "a")
    second = await cache.create("default", config_map("a"))
    uids = (first.metadata.uid, second.metadata.uid)
    assert told == [("ADDED", uids[0]), ("DELETED", uids[0]), ("ADDED", uids[1])]
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(cache.run())
        await cache.synced()
        running.cancel()
    assert len(told) == 3
    assert cache.get("default", "a") is second


async def test_object_with_nulls_is_read_as_if_they_were_absent(api: LocalApi) -> None:
    cache: Cache[Namespace] = Cache(api, kinds.NAMESPACE, Namespace)
    read = cache._decode(b'{"metadata":{"name":"n","labels":null},"status":{"conditions":null,"phase":"Active"}}')
    assert (read.metadata.labels, read.status.conditions, read.status.phase) == ({}, [], "Active")
