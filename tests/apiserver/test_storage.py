from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kubeedge.apiserver.collection import MAX_HISTORY_CHANGES, CompactedError
from kubeedge.apiserver.revision import Change, Stored
from kubeedge.apiserver.storage import Storage, Transaction
from kubeedge.store.database import StoreError

RESOURCE = "configmaps"


@asynccontextmanager
async def opened(folder: Path, now_s: float = 1000.0) -> AsyncIterator[Storage]:
    storage = Storage(folder, now_s=lambda: now_s)
    await storage.open()
    try:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(storage.run())
            yield storage
            running.cancel()
    finally:
        await storage.close()


def document(name: str, value: str = "", namespace: str = "default", uid: str = "u") -> dict[str, Any]:
    return {
        "kind": "ConfigMap",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": namespace, "uid": uid, "labels": {"value": value}},
        "data": {"value": value},
    }


async def put(storage: Storage, name: str, value: str = "", resource: str = RESOURCE) -> Stored:
    return await storage.write(lambda transaction: transaction.put(resource, document(name, value)))


async def delete(storage: Storage, name: str) -> Stored:
    def work(transaction: Transaction) -> Stored:
        stored = transaction.get(RESOURCE, "default", name)
        assert stored is not None
        return transaction.delete(RESOURCE, stored.document())

    return await storage.write(work)


class Listener:
    def __init__(self, storage: Storage) -> None:
        self.heard: list[Change] = []
        self._storage = storage

    def offer(self, change: Change) -> None:
        # What is told is committed: another connection to the file already sees it.
        rows = self._storage._database.read("SELECT rv FROM revision WHERE rv = ?", (change.object.rv,))
        assert rows
        self.heard.append(change)


async def test_resource_version_rises_with_every_write_of_whatever_kind(tmp_path: Path) -> None:
    async with opened(tmp_path) as storage:
        first = await put(storage, "a")
        second = await put(storage, "a", resource="secrets")
        third = await put(storage, "a", "changed")
        assert [first.rv, second.rv, third.rv] == [1, 2, 3]
        assert storage.revision == 3
        assert b'"resourceVersion":"3"' in third.data


async def test_watchers_hear_of_durable_writes_only_and_in_order(tmp_path: Path) -> None:
    async with opened(tmp_path) as storage:
        listener = Listener(storage)
        storage.subscribe(RESOURCE, listener)
        await asyncio.gather(*(put(storage, f"n{number}") for number in range(50)))
        await delete(storage, "n7")
        assert [change.object.rv for change in listener.heard] == list(range(1, 52))
        assert [change.type for change in listener.heard] == ["ADDED"] * 50 + ["DELETED"]


async def test_watcher_that_fails_is_dropped_and_nobody_else_notices(tmp_path: Path) -> None:
    class Failing:
        def offer(self, change: Change) -> None:
            raise KeyError(change.object.name)

    async with opened(tmp_path) as storage:
        listener = Listener(storage)
        storage.subscribe(RESOURCE, Failing())
        storage.subscribe(RESOURCE, listener)
        await put(storage, "a")
        await put(storage, "b")
        assert [change.object.name for change in listener.heard] == ["a", "b"]
        assert len(storage.collection(RESOURCE).watchers) == 1


async def test_concurrent_changes_of_one_object_all_count(tmp_path: Path) -> None:
    async with opened(tmp_path) as storage:
        await put(storage, "counter", "0")

        def increment(transaction: Transaction) -> None:
            stored = transaction.get(RESOURCE, "default", "counter")
            assert stored is not None
            changed = stored.document()
            changed["data"]["value"] = str(int(changed["data"]["value"]) + 1)
            transaction.put(RESOURCE, changed)

        await asyncio.gather(*(storage.write(increment) for _ in range(200)))
        stored = storage.get(RESOURCE, "default", "counter")
        assert stored is not None and stored.document()["data"]["value"] == "200"


async def test_work_that_raises_undoes_all_it_did_and_nothing_else(tmp_path: Path) -> None:
    async with opened(tmp_path) as storage:

        def fail(transaction: Transaction) -> None:
            transaction.put(RESOURCE, document("half"))
            raise ValueError("no")

        results = await asyncio.gather(
            put(storage, "a"), storage.write(fail), put(storage, "b"), return_exceptions=True
        )
        assert isinstance(results[1], ValueError)
        assert [stored.name for stored in storage.snapshot(RESOURCE).range()] == ["a", "b"]


async def test_caller_that_is_cancelled_leaves_a_write_that_watchers_see(tmp_path: Path) -> None:
    async with opened(tmp_path) as storage:
        listener = Listener(storage)
        storage.subscribe(RESOURCE, listener)
        caller = asyncio.create_task(put(storage, "a"))
        # It is queued now.
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        await put(storage, "b")
        names = [change.object.name for change in listener.heard]
        assert names in (["a", "b"], ["b"])
        assert [stored.name for stored in storage.snapshot(RESOURCE).range()] == names


async def test_full_disk_is_told_to_the_caller_and_nothing_is_published(tmp_path: Path) -> None:
    async with opened(tmp_path) as storage:
        await put(storage, "a")
        pages = await storage._database.write(lambda connection: connection.execute("PRAGMA page_count").get)
        await storage._database.write(lambda connection: connection.execute(f"PRAGMA max_page_count={pages}").get)
        with pytest.raises(StoreError, match="full"):
            await put(storage, "big", "x" * 100_000)
        assert storage.get(RESOURCE, "default", "big") is None
        assert storage.revision == 1
        await storage._database.write(lambda connection: connection.execute("PRAGMA max_page_count=100000").get)
        # The version of the failed write stays unused.
        assert (await put(storage, "later")).rv == 3


async def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as storage:
        await put(storage, "a", "1")
        await put(storage, "b", "1")
        await put(storage, "a", "2")
        await delete(storage, "b")
    async with opened(tmp_path) as storage:
        assert storage.revision == 4
        assert [(s.name, s.rv, s.labels) for s in storage.snapshot(RESOURCE).range()] == [("a", 3, {"value": "2"})]
        changes = storage.changes_after(RESOURCE, 0)
        assert [(change.type, change.object.rv) for change in changes] == [
            ("ADDED", 1),
            ("ADDED", 2),
            ("MODIFIED", 3),
            ("DELETED", 4),
        ]
        assert changes[2].previous is not None and changes[2].previous.rv == 1


async def test_compaction_is_kept_over_a_restart_and_versions_never_repeat(tmp_path: Path) -> None:
    async with opened(tmp_path) as storage:
        await put(storage, "a")
        await put(storage, "b")
        await delete(storage, "b")
        storage.compact()
        with pytest.raises(CompactedError):
            storage.changes_after(RESOURCE, 2)
        await put(storage, "other", resource="secrets")
        await delete_in(storage, "secrets", "other")
        storage.compact()
        await storage._commit(())
    async with opened(tmp_path) as storage:
        with pytest.raises(CompactedError):
            storage.changes_after(RESOURCE, 2)
        assert storage.changes_after(RESOURCE, 3) == []
        assert [stored.name for stored in storage.snapshot(RESOURCE).range()] == ["a"]
        assert storage._database.read("SELECT count(*) FROM revision") == [(1,)]
        assert (await put(storage, "c")).rv == 6


async def delete_in(storage: Storage, resource: str, name: str) -> None:
    await storage.write(lambda transaction: transaction.delete(resource, document(name)))


async def test_busy_resource_keeps_bounded_history(tmp_path: Path) -> None:
    async with opened(tmp_path) as storage:
        await put(storage, "quiet", resource="secrets")
        for _ in range(MAX_HISTORY_CHANGES // 50 + 10):
            await asyncio.gather(*(put(storage, "busy", str(number)) for number in range(50)))
        assert len(storage.collection(RESOURCE).changes) <= MAX_HISTORY_CHANGES
        with pytest.raises(CompactedError):
            storage.changes_after(RESOURCE, 1)
        # Others are not disturbed.
        assert len(storage.changes_after("secrets", 0)) == 1


async def test_second_server_on_one_folder_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(StoreError, match="in use"):
            await Storage(tmp_path).open()


async def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    async with opened(tmp_path / "new") as storage:
        await put(storage, "a")
        modes = {path.name: path.stat().st_mode & 0o077 for path in (tmp_path / "new").iterdir()}
        assert "objects.db-wal" in modes
        assert set(modes.values()) == {0}


async def test_damaged_database_is_refused_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "objects.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreError, match=r"objects\.db"):
        await Storage(tmp_path).open()


async def test_namespaces_are_ordered_as_keys_of_etcd(tmp_path: Path) -> None:
    async with opened(tmp_path) as storage:
        for namespace in ("a-b", "a", "a.b"):
            made = document("x", namespace=namespace)
            await storage.write(partial(Transaction.put, resource=RESOURCE, document=made))
        assert [s.namespace for s in storage.snapshot(RESOURCE).range()] == ["a-b", "a.b", "a"]
        assert [s.namespace for s in storage.snapshot(RESOURCE).range("a")] == ["a"]


Step = tuple[str, str]
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["put", "delete"]), st.sampled_from("abc")),
        st.tuples(st.sampled_from(["compact", "restart"]), st.just("")),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(steps)
def test_every_version_in_history_shows_what_was_there_then(actions: list[Step]) -> None:
    async def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            past: dict[int, dict[str, str]] = {0: {}}
            now: dict[str, str] = {}
            oldest = version = 0
            remaining = list(actions)
            while True:
                async with opened(Path(folder)) as storage:
                    while remaining:
                        action, name = remaining.pop(0)
                        if action == "restart":
                            await storage._commit(())
                            break
                        if action == "compact":
                            storage.compact()
                            oldest = max(
                                (c.object.rv for c in [*storage.collection(RESOURCE).changes]), default=version
                            )
                        elif action == "put":
                            version = (await put(storage, name, f"{version}")).rv
                            now[name] = str(version)
                        elif name in now:
                            version = (await delete(storage, name)).rv
                            del now[name]
                        past[version] = dict(now)
                        for rv, state in past.items():
                            if rv and rv < oldest:
                                with pytest.raises(CompactedError):
                                    storage.snapshot(RESOURCE, rv)
                            elif rv:
                                shown = {s.name: str(s.rv) for s in storage.snapshot(RESOURCE, rv).range()}
                                assert shown == state
                    else:
                        return

    asyncio.run(run())
