"""Informers on the embedded API, with gaps made on purpose between the two."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from kubeedge.kube import informer as informer_module
from kubeedge.kube.api import MERGE_PATCH, ApiError, ApiUnavailableError, Items, Kind, KubeApi, WatchEvent
from kubeedge.kube.informer import Informer
from kubeedge.kube.kinds import CONFIG_MAP
from kubeedge.kube.object import MalformedObjectError, Object, is_newer, stamp

Seen = tuple[str, str, str, str | None]


class Unreliable:
    """The list and watch of an API, failing as told; everything else is asked of `real` directly."""

    def __init__(self, real: KubeApi) -> None:
        self.real = real
        self.is_down = False
        self.list_failures: list[ApiError] = []
        self.watch_failures: list[ApiError] = []
        self.lists: list[tuple[int, str]] = []
        self.watched_from: list[str] = []
        self._cut = asyncio.Event()

    def cut(self, down: bool = False) -> None:
        """End the watch that is on; with down, refuse another one and lists too."""
        self.is_down = down
        self._cut.set()
        self._cut = asyncio.Event()

    async def list(self, kind: Kind, namespace: str = "", **options: Any) -> Items:
        self.lists.append((options.get("limit", 0), options.get("continue_token", "")))
        if self.is_down:
            raise ApiUnavailableError("down")
        if self.list_failures and options.get("continue_token"):
            raise self.list_failures.pop()
        return await self.real.list(kind, namespace, **options)

    async def watch(self, kind: Kind, namespace: str = "", **options: Any) -> AsyncGenerator[WatchEvent, None]:
        self.watched_from.append(options["resource_version"])
        if self.is_down:
            raise ApiUnavailableError("down")
        if self.watch_failures:
            raise self.watch_failures.pop()
        cut = self._cut
        events = self.real.watch(kind, namespace, **options)
        try:
            while True:
                next_event = asyncio.ensure_future(anext(events))
                ended = asyncio.ensure_future(cut.wait())
                try:
                    await asyncio.wait({next_event, ended}, return_when=asyncio.FIRST_COMPLETED)
                    if not next_event.done():
                        raise ApiUnavailableError("cut")
                    yield next_event.result()
                finally:
                    next_event.cancel()
                    ended.cancel()
                    await asyncio.gather(next_event, ended, return_exceptions=True)
        finally:
            await events.aclose()


class Recorder:
    """Events as (type, name, value of the data, value before)."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self._more = asyncio.Event()

    def __call__(self, type_: str, new: Object, old: Object | None) -> None:
        self.seen.append((type_, new.name, value(new), value(old) if old is not None else None))
        self._more.set()

    async def until(self, *expected: Seen) -> None:
        """Wait for so many events and compare them; forget them then."""
        async with asyncio.timeout(5):
            while len(self.seen) < len(expected):
                self._more.clear()
                await self._more.wait()
        assert self.seen == list(expected)
        self.seen.clear()


def value(object: Object) -> str:
    """Return what the tests write into a ConfigMap."""
    text: str = object.data()["data"]["v"]
    return text


def config_map(name: str, text: str = "1", **labels: str) -> bytes:
    """Return a ConfigMap."""
    return orjson.dumps({"metadata": {"name": name, "labels": labels}, "data": {"v": text}})


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(informer_module, "FIRST_PAUSE_S", 0.01)
    monkeypatch.setattr(informer_module, "LONGEST_PAUSE_S", 0.05)


@pytest.fixture
def unreliable(api: KubeApi) -> Unreliable:
    """The embedded API behind something that can be cut."""
    return Unreliable(api)


async def put(api: KubeApi, name: str, text: str = "1", **labels: str) -> None:
    """Create a ConfigMap."""
    await api.create(CONFIG_MAP, "default", config_map(name, text, **labels))


async def change(api: KubeApi, name: str, text: str) -> None:
    """Change the value of a ConfigMap."""
    await api.patch(CONFIG_MAP, "default", name, orjson.dumps({"data": {"v": text}}), MERGE_PATCH)


@asynccontextmanager
async def running(informer: Informer) -> AsyncIterator[Recorder]:
    """Run informer with a recorder on it."""
    recorder = Recorder()
    informer.on_event(recorder)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(informer.run())
        yield recorder
        task.cancel()


async def test_what_is_there_and_every_change_is_told_in_order(api: KubeApi) -> None:
    await put(api, "a")
    informer = Informer(api, CONFIG_MAP, namespace="default")
    async with running(informer) as events:
        async with asyncio.timeout(5):
            await informer.synced()
        await events.until(("ADDED", "a", "1", None))
        await put(api, "b")
        await change(api, "a", "2")
        await api.delete(CONFIG_MAP, "default", "a")
        await events.until(("ADDED", "b", "1", None), ("MODIFIED", "a", "2", "1"), ("DELETED", "a", "2", "2"))
        assert informer.get("default", "a") is None
        assert [each.name for each in informer.objects()] == ["b"]
        assert len(informer) == 1


async def test_objects_carry_kind_and_api_version_wherever_they_come_from(api: KubeApi) -> None:
    await put(api, "a")
    informer = Informer(api, CONFIG_MAP, namespace="default")
    async with running(informer) as events:
        await events.until(("ADDED", "a", "1", None))
        await put(api, "b")
        await events.until(("ADDED", "b", "1", None))
        for object in informer.objects():
            assert (object.data()["kind"], object.data()["apiVersion"]) == ("ConfigMap", "v1")


async def test_a_cut_watch_goes_on_where_it_was(unreliable: Unreliable) -> None:
    api = unreliable.real
    informer = Informer(unreliable, CONFIG_MAP, namespace="default")  # type: ignore[arg-type]
    async with running(informer) as events:
        await put(api, "a")
        await events.until(("ADDED", "a", "1", None))
        unreliable.cut(down=True)
        await change(api, "a", "2")
        await change(api, "a", "3")
        unreliable.is_down = False
        await events.until(("MODIFIED", "a", "2", "1"), ("MODIFIED", "a", "3", "2"))
        assert len(unreliable.lists) == 1


async def test_after_an_expired_watch_the_difference_is_told(unreliable: Unreliable) -> None:
    api = unreliable.real
    informer = Informer(unreliable, CONFIG_MAP, namespace="default")  # type: ignore[arg-type]
    for name in ("changed", "deleted", "remade", "same"):
        await put(api, name)
    async with running(informer) as events:
        async with asyncio.timeout(5):
            await informer.synced()
        events.seen.clear()
        unreliable.cut(down=True)
        await change(api, "changed", "2")
        await change(api, "deleted", "last words that nobody heard")
        await api.delete(CONFIG_MAP, "default", "deleted")
        await api.delete(CONFIG_MAP, "default", "remade")
        await put(api, "remade", "new")
        await put(api, "born")
        unreliable.watch_failures.append(ApiError(410, "Expired", "too old resource version: 3 (9)", b""))
        unreliable.is_down = False
        await events.until(
            ("DELETED", "deleted", "1", "1"),
            ("ADDED", "born", "1", None),
            ("MODIFIED", "changed", "2", "1"),
            ("DELETED", "remade", "1", "1"),
            ("ADDED", "remade", "new", None),
        )


async def test_a_place_that_the_server_has_forgotten_makes_a_new_list(unreliable: Unreliable) -> None:
    api = unreliable.real
    informer = Informer(unreliable, CONFIG_MAP, namespace="default")  # type: ignore[arg-type]
    async with running(informer) as events:
        await put(api, "a")
        await events.until(("ADDED", "a", "1", None))
        unreliable.cut(down=True)
        await put(api, "b")
        unreliable.watch_failures.append(ApiError(410, "Expired", "too old resource version: 3 (9)", b""))
        unreliable.is_down = False
        await events.until(("ADDED", "b", "1", None))
        assert len(unreliable.lists) == 2


async def test_lists_come_in_pages_and_an_expired_page_makes_one_whole_list(
    unreliable: Unreliable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(informer_module, "PAGE_SIZE", 2)
    for name in "abcde":
        await put(unreliable.real, name)
    informer = Informer(unreliable, CONFIG_MAP, namespace="default")  # type: ignore[arg-type]
    async with running(informer), asyncio.timeout(5):
        await informer.synced()
        assert len(informer) == 5
        assert [limit for limit, _ in unreliable.lists] == [2, 2, 2]
    unreliable.lists.clear()
    unreliable.list_failures.append(ApiError(410, "Expired", "continue token expired", b""))
    informer = Informer(unreliable, CONFIG_MAP, namespace="default")  # type: ignore[arg-type]
    async with running(informer), asyncio.timeout(5):
        await informer.synced()
        assert len(informer) == 5
        assert [(limit, bool(token)) for limit, token in unreliable.lists] == [(2, False), (2, True), (0, False)]


async def test_an_api_that_is_away_at_the_start_is_waited_for(unreliable: Unreliable) -> None:
    unreliable.is_down = True
    informer = Informer(unreliable, CONFIG_MAP, namespace="default")  # type: ignore[arg-type]
    async with running(informer):
        await asyncio.sleep(0.05)
        assert not informer.has_synced
        unreliable.is_down = False
        async with asyncio.timeout(5):
            await informer.synced()


async def test_selectors_make_objects_come_and_go(api: KubeApi) -> None:
    await put(api, "a", color="red")
    await put(api, "b", color="blue")
    informer = Informer(api, CONFIG_MAP, label_selector="color=red")
    async with running(informer) as events:
        await events.until(("ADDED", "a", "1", None))
        labels = orjson.dumps({"metadata": {"labels": {"color": "red"}}})
        await api.patch(CONFIG_MAP, "default", "b", labels, MERGE_PATCH)
        await events.until(("ADDED", "b", "1", None))
        labels = orjson.dumps({"metadata": {"labels": {"color": "blue"}}})
        await api.patch(CONFIG_MAP, "default", "b", labels, MERGE_PATCH)
        await events.until(("DELETED", "b", "1", "1"))


async def test_an_index_follows_changes_and_deletions(api: KubeApi) -> None:
    informer = Informer(api, CONFIG_MAP, namespace="default", indexes={"value": lambda each: value(each).split()})
    async with running(informer) as events:
        await put(api, "a", "x y")
        await put(api, "b", "y")
        await events.until(("ADDED", "a", "x y", None), ("ADDED", "b", "y", None))
        assert [each.name for each in informer.by_index("value", "y")] == ["a", "b"]
        await change(api, "a", "z")
        await api.delete(CONFIG_MAP, "default", "b")
        await events.until(("MODIFIED", "a", "z", "x y"), ("DELETED", "b", "y", "y"))
        assert informer.by_index("value", "y") == []
        assert [each.name for each in informer.by_index("value", "z")] == ["a"]
        assert set(informer._indexes["value"]) == {"z"}


async def test_a_handler_that_fails_does_not_keep_others_from_the_event(api: KubeApi) -> None:
    def fail(type_: str, new: Object, old: Object | None) -> None:
        raise RuntimeError("bug in a handler")

    informer = Informer(api, CONFIG_MAP, namespace="default")
    informer.on_event(fail)
    async with running(informer) as events:
        await put(api, "a")
        await events.until(("ADDED", "a", "1", None))
        await put(api, "b")
        await events.until(("ADDED", "b", "1", None))


async def test_a_handler_that_comes_late_is_told_what_there_is(api: KubeApi) -> None:
    await put(api, "a")
    informer = Informer(api, CONFIG_MAP, namespace="default")
    async with running(informer) as events:
        await events.until(("ADDED", "a", "1", None))
        late = Recorder()
        informer.on_event(late)
        assert late.seen == [("ADDED", "a", "1", None)]


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"metadata":7}', b'{"metadata":{"name":5}}', b"\xff"])
def test_what_is_no_object_is_refused(raw: bytes) -> None:
    with pytest.raises(MalformedObjectError):
        Object.parse(raw)


def test_a_stamp_goes_in_front_and_only_where_none_is() -> None:
    assert Object.parse(b'{"metadata":{"name":"a"}}', CONFIG_MAP).raw == (
        b'{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}'
    )
    raw = b'{"metadata":{"name":"a"},"kind":"ConfigMap","apiVersion":"v1"}'
    assert Object.parse(raw, CONFIG_MAP).raw is raw
    assert stamp(b" { } ".strip(), CONFIG_MAP) == b'{"kind":"ConfigMap","apiVersion":"v1"}'


def test_versions_compare_as_numbers_and_odd_ones_count_as_newer() -> None:
    assert is_newer("10", "9")
    assert not is_newer("9", "10")
    assert not is_newer("7", "7")
    assert is_newer("1", "")
    assert is_newer("1", "0")
    assert is_newer("abc", "7")
    assert not is_newer("abc", "abc")
