"""Every object of the API: its versions in SQLite, the present state and the recent history in memory.

One table holds revisions. The resource version rises by one with every write of whatever kind, the newest revision of
an object is its state, the older ones are the history that a watch can start from and that pages of a list are read
from, until compaction takes them. Writes are transactions: plain functions that run one after the other against the
newest state, so that an update never has to be tried again; what waits is made durable together and seen by nobody
before.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import apsw
import msgspec

from kubeedge import metrics
from kubeedge.apiserver.collection import Collection, Snapshot, Watcher
from kubeedge.apiserver.revision import Change, EventType, Stored, key_of, render
from kubeedge.store.database import Database, StoreError
from kubeedge.store.job import Job

log = logging.getLogger(__name__)

T = TypeVar("T")

# How long history is kept: as long as etcd is left uncompacted by a real API server.
HISTORY_S = 300
COMPACTION_INTERVAL_S = 30
# Transactions evaluated in one go, so that the loop is not held up for longer than some milliseconds.
MAX_BATCH = 64
_PAGE_ROWS = 1_000

MIGRATIONS = (
    """
    CREATE TABLE revision (
        rv INTEGER PRIMARY KEY,
        resource TEXT NOT NULL,
        namespace TEXT NOT NULL,
        name TEXT NOT NULL,
        previous INTEGER NOT NULL,
        deleted INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        object BLOB NOT NULL
    );
    CREATE TABLE compacted (resource TEXT PRIMARY KEY, rv INTEGER NOT NULL) WITHOUT ROWID;
    """,
)
_INSERT = "INSERT INTO revision VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM revision WHERE rv = ?"
_COMPACTED = "INSERT INTO compacted VALUES (?, ?) ON CONFLICT DO UPDATE SET rv = excluded.rv"

_writes = metrics.Counter("kubeedge_apiserver_writes_total", "Objects written, by what happened", ("type",))
_batches = metrics.Counter("kubeedge_apiserver_commits_total", "Transactions of the database")
_objects = metrics.Gauge("kubeedge_apiserver_objects", "Objects stored", ("resource",))


class Transaction:
    """What one write sees and does. Its function must not await and must not keep the transaction."""

    __slots__ = ("_staged", "_storage", "changes")

    def __init__(self, storage: Storage, staged: Mapping[tuple[str, str], Stored | None]) -> None:
        self._storage = storage
        self._staged = staged
        self.changes: list[Change] = []

    @property
    def now_s(self) -> float:
        """Unix time in seconds."""
        return self._storage.now_s()

    def get(self, resource: str, namespace: str, name: str) -> Stored | None:
        """Return the newest version of an object, that of writes waiting for the disk included."""
        key = key_of(namespace, name)
        for change in reversed(self.changes):
            if change.resource == resource and change.object.key == key:
                return None if change.type == "DELETED" else change.object
        if (resource, key) in self._staged:
            return self._staged[resource, key]
        return self._storage.get(resource, namespace, name)

    def objects(self, resource: str) -> Iterator[Stored]:
        """Give every object of a resource as get() would, in no order."""
        newest = {key: stored for (owner, key), stored in self._staged.items() if owner == resource}
        for change in self.changes:
            if change.resource == resource:
                newest[change.object.key] = None if change.type == "DELETED" else change.object
        for stored in self._storage.snapshot(resource).range():
            if stored.key not in newest:
                yield stored
        yield from (stored for stored in newest.values() if stored is not None)

    def put(self, resource: str, document: dict[str, Any]) -> Stored:
        """Create or replace the object that document's metadata names; sets its resourceVersion."""
        return self._write(resource, document, deleted=False)

    def delete(self, resource: str, document: dict[str, Any]) -> Stored:
        """Remove the object; document is its last state as watches shall see it."""
        return self._write(resource, document, deleted=True)

    def _write(self, resource: str, document: dict[str, Any], *, deleted: bool) -> Stored:
        metadata = document["metadata"]
        namespace, name = metadata.get("namespace", ""), metadata["name"]
        previous = self.get(resource, namespace, name)
        stored = render(document, namespace, name, self._storage.next_rv())
        type_: EventType = "DELETED" if deleted else "MODIFIED" if previous is not None else "ADDED"
        self.changes.append(Change(type_, resource, stored, previous, int(self.now_s * 1000)))
        return stored


class Storage:
    """The objects of one data directory, which no other process may use meanwhile."""

    def __init__(self, directory: Path, *, now_s: Callable[[], float] = time.time) -> None:
        self.now_s = now_s
        self.revision = 0
        """Resource version of the newest durable write."""
        self._directory = directory
        self._database = Database(directory / "objects.db", migrations=MIGRATIONS)
        self._collections: dict[str, Collection] = {}
        self._last_rv = 0
        self._queue: deque[Job[Transaction]] = deque()
        self._wake = asyncio.Event()
        self._advanced: asyncio.Future[None] | None = None
        # What compaction took out of the history and the next commit takes out of the database.
        self._superseded: list[int] = []
        self._compacted: dict[str, int] = {}
        self._is_open = False

    async def open(self) -> None:
        """Read the database. Raises OSError, or StoreError, also when another process uses it."""
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        # SQLite gives its other files the mode of this one. There are Secrets inside.
        self._database.path.touch(mode=0o600)
        self._database.open()
        try:
            self._load()
        except msgspec.DecodeError as error:
            await self._database.close()
            raise StoreError(self._database.path, f"an object in it cannot be read: {error}") from error
        except StoreError:
            await self._database.close()
            raise
        self._is_open = True

    async def close(self) -> None:
        """Finish what is queued for the disk and close."""
        self._is_open = False
        await self._database.close()

    def _load(self) -> None:
        for resource, rv in self._database.read("SELECT resource, rv FROM compacted"):
            self._collections[resource] = Collection(rv)
        last = 0
        while rows := self._database.read(
            "SELECT rv, resource, namespace, name, previous, deleted, at_ms, object FROM revision"
            f" WHERE rv > ? ORDER BY rv LIMIT {_PAGE_ROWS}",
            (last,),
        ):
            for rv, resource, namespace, name, previous_rv, deleted, at_ms, data in rows:
                object = Stored.read(namespace, name, rv, data)
                collection = self.collection(resource)
                previous = collection.objects.get(object.key) if previous_rv else None
                type_: EventType = "DELETED" if deleted else "MODIFIED" if previous_rv else "ADDED"
                change = Change(type_, resource, object, previous, at_ms)
                collection.apply(change)
                if rv > collection.compacted:
                    collection.remember(change)
                elif deleted:
                    self._superseded.append(rv)
            last = rows[-1][0]
        # A deletion may be the newest write, and compaction may have taken its row.
        newest = max((collection.compacted for collection in self._collections.values()), default=0)
        self._last_rv = self.revision = max(last, newest)

    def collection(self, resource: str) -> Collection:
        """Return a resource's state and history."""
        collection = self._collections.get(resource)
        if collection is None:
            collection = self._collections[resource] = Collection()
        return collection

    def next_rv(self) -> int:
        """Take the next resource version; those of writes that fail stay unused."""
        self._last_rv += 1
        return self._last_rv

    # Reading

    def get(self, resource: str, namespace: str, name: str) -> Stored | None:
        """Return the durable state of an object."""
        collection = self._collections.get(resource)
        if collection is None:
            return None
        return collection.objects.get(key_of(namespace, name))

    def snapshot(self, resource: str, rv: int = 0) -> Snapshot:
        """Return the objects as they are, or as they were at resource version rv. Raises CompactedError."""
        return self.collection(resource).snapshot(self.revision, rv)

    def changes_after(self, resource: str, rv: int) -> list[Change]:
        """Return the history after rv. Raises CompactedError."""
        return self.collection(resource).changes_after(rv)

    def subscribe(self, resource: str, watcher: Watcher) -> None:
        """Offer every later change of a resource to watcher."""
        self.collection(resource).subscribe(watcher)

    def unsubscribe(self, resource: str, watcher: Watcher) -> None:
        """Stop that."""
        self.collection(resource).unsubscribe(watcher)

    async def reached(self, rv: int) -> None:
        """Wait until the state is not older than rv."""
        while self.revision < rv:
            if self._advanced is None:
                self._advanced = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._advanced)

    # Writing

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Run work against the newest state and return its result once its changes are durable and seen by watches.

        What work raises is raised here and undoes all it did. A caller that is cancelled leaves the write to happen.
        Raises StoreError when the disk refuses.
        """
        if not self._is_open:
            raise StoreError(self._database.path, "storage is closed")
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.append(Job(work, future))
        self._wake.set()
        return await future

    async def run(self) -> None:
        """Commit writes and compact until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._commit_batches())
                group.create_task(self._compact_regularly())
        finally:
            self._is_open = False
            closed = StoreError(self._database.path, "storage is closed")
            while self._queue:
                write = self._queue.popleft()
                write.error = closed
                write.settle()

    async def _commit_batches(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                await self._commit_batch()

    async def _commit_batch(self) -> None:
        writes: list[Job[Transaction]] = []
        staged: dict[tuple[str, str], Stored | None] = {}
        changes: list[Change] = []
        while self._queue and len(writes) < MAX_BATCH:
            write = self._queue.popleft()
            if write.future.cancelled():
                continue
            writes.append(write)
            transaction = Transaction(self, staged)
            try:
                write.result = write.work(transaction)
            except Exception as error:
                # The caller is told, after those whose state it may have seen.
                write.error = error
                continue
            for change in transaction.changes:
                staged[change.resource, change.object.key] = None if change.type == "DELETED" else change.object
            changes += transaction.changes
        if changes:
            try:
                await self._commit(changes)
            except StoreError as error:
                log.error("write failed path=%s reason=%s", error.path, error.reason)
                for write in writes:
                    write.error = write.error or error
            else:
                self._publish(changes)
        for write in writes:
            write.settle()

    async def _commit(self, changes: Sequence[Change]) -> None:
        rows = [
            (
                change.object.rv,
                change.resource,
                change.object.namespace,
                change.object.name,
                change.previous.rv if change.previous is not None else 0,
                change.type == "DELETED",
                change.at_ms,
                change.object.data,
            )
            for change in changes
        ]
        superseded, compacted = self._superseded, self._compacted
        self._superseded, self._compacted = [], {}

        def work(connection: apsw.Connection) -> None:
            connection.executemany(_INSERT, rows)
            connection.executemany(_DELETE, [(rv,) for rv in superseded])
            connection.executemany(_COMPACTED, list(compacted.items()))

        try:
            await self._database.write(work)
        except BaseException:
            self._superseded = superseded + self._superseded
            self._compacted = compacted | self._compacted
            raise
        _batches.inc()

    def _publish(self, changes: Sequence[Change]) -> None:
        for change in changes:
            collection = self.collection(change.resource)
            collection.apply(change)
            collection.remember(change)
            self.revision = change.object.rv
            _writes.inc(change.type)
            collection.tell(change)
            if collection.is_history_full:
                self._forget(change.resource, collection, len(collection.changes) // 4 + 1)
        if self._advanced is not None:
            self._advanced.set_result(None)
            self._advanced = None

    # Compaction

    async def _compact_regularly(self) -> None:
        while True:
            await asyncio.sleep(COMPACTION_INTERVAL_S)
            self.compact(HISTORY_S)
            for resource, collection in self._collections.items():
                _objects.set(len(collection.objects), resource)
            if self._superseded or self._compacted:
                try:
                    await self._commit(())
                except StoreError as error:
                    log.error("compaction failed path=%s reason=%s", error.path, error.reason)

    def compact(self, age_s: float = 0) -> None:
        """Forget the history that is older than age_s seconds; the database follows with a later commit."""
        before_ms = (self.now_s() - age_s) * 1000
        for resource, collection in self._collections.items():
            old = 0
            for change in collection.changes:
                if change.at_ms > before_ms:
                    break
                old += 1
            if old:
                self._forget(resource, collection, old)

    def _forget(self, resource: str, collection: Collection, count: int) -> None:
        self._superseded += collection.forget(count)
        self._compacted[resource] = collection.compacted
