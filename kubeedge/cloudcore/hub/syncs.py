"""ObjectSyncs: the record of what each node has acknowledged, written in batches (spec 01 §6.3, §6.5)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

import orjson

from kubeedge.cloudcore.hub.outbox import Delivery, SyncRef
from kubeedge.cloudcore.hub.wheel import TimerWheel
from kubeedge.kube.api import MERGE_PATCH, ApiError, ApiUnavailableError, Kind, KubeApi, is_passing
from kubeedge.kube.kinds import CLUSTER_OBJECT_SYNC, OBJECT_SYNC
from kubeedge.kube.object import is_newer
from kubeedge.metrics import Counter

log = logging.getLogger(__name__)

# A crash loses at most what was acknowledged within this time, which is then sent once more.
FLUSH_S = 1.0
# Calls at a time; the API client has few connections.
WRITERS = 8
# What failed because the API is away or busy is tried again after this time.
RETRY_S = 1.0
_TICK_S = 0.25

# What a new record says: nothing acknowledged yet.
NOTHING = "0"

writes = Counter("kubeedge_cloudhub_objectsync_writes_total", "ObjectSyncs written", labels=("operation",))
failures = Counter("kubeedge_cloudhub_objectsync_failures_total", "Writes of ObjectSyncs that failed")


class Lookup(Protocol):
    """Reads a cached ObjectSync without waiting."""

    def __call__(self, namespace: str, name: str) -> str | None:
        """Return status.objectResourceVersion, empty when it is not set; None when there is no such ObjectSync.

        namespace is empty for a ClusterObjectSync.
        """
        ...


class _Record:
    """What is to be written about one object on one node: its version, or that it is gone."""

    __slots__ = ("delivery", "is_gone", "version")

    def __init__(self, delivery: Delivery, version: str, *, is_gone: bool = False) -> None:
        self.delivery = delivery
        self.version = version
        self.is_gone = is_gone


class ObjectSyncs:
    """Keeps ObjectSyncs as the nodes' acknowledgements say.

    An ObjectSync is created before the first message about an object leaves, so that the node is told of a deletion
    whatever happens in between. Versions are written at most once in FLUSH_S for a node, the latest of each object
    only. What cannot be written because the API is away waits: one record for an object of a node.
    """

    def __init__(
        self, api: KubeApi, lookup: Lookup, on_created: Callable[[Delivery], None], *, now: Callable[[], float]
    ) -> None:
        """on_created gets each delivery given to create() as soon as its ObjectSync exists."""
        self._api = api
        self._lookup = lookup
        self._on_created = on_created
        self._now = now
        self._creating: dict[SyncRef, dict[str, Delivery]] = {}
        self._records: dict[str, dict[SyncRef, _Record]] = {}
        self._flushed_s: dict[str, float] = {}
        self._flushing: set[str] = set()
        # ObjectSyncs to create, and names of nodes whose records are to be written.
        self._jobs: asyncio.Queue[SyncRef | str] = asyncio.Queue()
        # Those of devices and their models, one after the other: a model comes before the devices that need it.
        self._ordered: asyncio.Queue[SyncRef | str] = asyncio.Queue()
        self._later: TimerWheel[SyncRef | str] = TimerWheel(_TICK_S, now())

    def version(self, ref: SyncRef) -> str | None:
        """Return the version that the node is known to have, NOTHING before any; None when no ObjectSync is known."""
        record = self._records.get(ref.node, {}).get(ref)
        if record is not None:
            return None if record.is_gone else record.version
        version = self._lookup(ref.namespace, ref.name)
        # Upstream gets stuck on an empty status (spec 01 §9 quirk 21).
        return NOTHING if version == "" else version

    def create(self, delivery: Delivery) -> None:
        """Create the ObjectSync of delivery, then hand delivery to on_created, or what came later for its key."""
        assert delivery.sync is not None
        waiting = self._creating.get(delivery.sync)
        if waiting is None:
            self._creating[delivery.sync] = {delivery.key: delivery}
            self._queue(delivery.sync).put_nowait(delivery.sync)
        elif delivery.key not in waiting or delivery.supersedes(waiting[delivery.key]):
            waiting[delivery.key] = delivery

    def is_creating(self, ref: SyncRef) -> bool:
        """Tell whether deliveries of this object wait for its ObjectSync."""
        return ref in self._creating

    def acknowledged(self, delivery: Delivery) -> None:
        """Note that the node has what delivery says."""
        ref = delivery.sync
        if ref is None:
            return
        records = self._records.setdefault(ref.node, {})
        record = records.get(ref)
        if delivery.removes_sync:
            records[ref] = _Record(delivery, delivery.version, is_gone=True)
        elif record is None or record.is_gone or is_newer(delivery.version, record.version):
            records[ref] = _Record(delivery, delivery.version)
        self._schedule(ref.node)

    def __len__(self) -> int:
        return sum(len(records) for records in self._records.values())

    async def run(self) -> None:
        """Write until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WRITERS):
                group.create_task(self._work(self._jobs))
            group.create_task(self._work(self._ordered))
            while True:
                await asyncio.sleep(_TICK_S)
                for job in self._later.due(self._now()):
                    self._queue(job).put_nowait(job)

    def _queue(self, job: SyncRef | str) -> asyncio.Queue[SyncRef | str]:
        if isinstance(job, SyncRef):
            for delivery in self._creating.get(job, {}).values():
                if delivery.message.source == "devicecontroller":
                    return self._ordered
        return self._jobs

    def _schedule(self, node: str) -> None:
        """Let the records of node be written at once, or when its last writing is long enough ago."""
        at_s = self._flushed_s.get(node, float("-inf")) + FLUSH_S
        if at_s <= self._now():
            self._flushed_s[node] = self._now()
            self._jobs.put_nowait(node)
        else:
            self._later.set_earlier(node, at_s)

    async def _work(self, jobs: asyncio.Queue[SyncRef | str]) -> None:
        while True:
            job = await jobs.get()
            if isinstance(job, str):
                await self._flush(job)
            else:
                await self._create(job)

    async def _create(self, ref: SyncRef) -> None:
        delivery = next(iter(self._creating[ref].values()))
        try:
            is_new = await self._post(delivery)
        except (ApiError, ApiUnavailableError, TimeoutError) as error:
            if is_passing(error):
                self._failed("create", ref, error, logging.WARNING)
                self._later.set(ref, self._now() + RETRY_S)
            else:
                # As upstream: nothing is sent that could not be taken back.
                self._failed("create", ref, error, logging.ERROR)
                del self._creating[ref]
            return
        if is_new:
            # "0" only matters when no acknowledgement comes; mostly one does, and then this write is saved.
            self._records.setdefault(ref.node, {}).setdefault(ref, _Record(delivery, NOTHING))
            self._later.set_earlier(ref.node, self._now() + FLUSH_S)
        for waiting in self._creating.pop(ref).values():
            self._on_created(waiting)

    async def _flush(self, node: str) -> None:
        if node in self._flushing:
            return
        records = self._records.get(node)
        if records is None:
            return
        self._flushing.add(node)
        self._flushed_s[node] = self._now()
        try:
            for ref, record in list(records.items()):
                if not await self._write(ref, record):
                    break
                # Unless something newer was noted meanwhile.
                if records.get(ref) is record:
                    del records[ref]
        finally:
            self._flushing.discard(node)
        if records:
            self._later.set_earlier(node, self._now() + FLUSH_S)
        else:
            del self._records[node]

    async def _write(self, ref: SyncRef, record: _Record) -> bool:
        """Write one record; False when it has to be tried again."""
        operation = "delete" if record.is_gone else "update"
        try:
            if record.is_gone:
                await self._delete(ref)
            elif record.version != NOTHING or not self._lookup(ref.namespace, ref.name):
                # Another replica may have noted an acknowledgement while ours only says "nothing yet".
                await self._patch(ref, record)
        except (ApiError, ApiUnavailableError, TimeoutError) as error:
            may_retry = is_passing(error)
            self._failed(operation, ref, error, logging.WARNING if may_retry else logging.ERROR)
            return not may_retry
        writes.inc(operation)
        return True

    async def _post(self, delivery: Delivery) -> bool:
        """Create an ObjectSync; False when it exists already."""
        ref = delivery.sync
        assert ref is not None
        kind = _kind(ref)
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": ref.name, **({"namespace": ref.namespace} if ref.namespace else {})},
            "spec": {
                "objectAPIVersion": delivery.api_version,
                "objectKind": delivery.kind,
                "objectName": delivery.name,
            },
        }
        try:
            await self._api.create(kind, ref.namespace, orjson.dumps(body))
        except ApiError as error:
            if error.reason == "AlreadyExists":
                return False
            raise
        writes.inc("create")
        return True

    async def _patch(self, ref: SyncRef, record: _Record) -> None:
        body = b'{"status":{"objectResourceVersion":%s}}' % orjson.dumps(record.version)
        if record.version != NOTHING and self._lookup(ref.namespace, ref.name) is None:
            # The answer to a query makes its ObjectSync only now (spec 01 §6.5).
            if not record.delivery.kind:
                return
            await self._post(record.delivery)
        try:
            await self._api.patch(_kind(ref), ref.namespace, ref.name, body, MERGE_PATCH, subresource="status")
        except ApiError as error:
            # Deleted with its node, or by hand: nothing is left to be kept.
            if error.code != 404:
                raise

    async def _delete(self, ref: SyncRef) -> None:
        try:
            await self._api.delete(_kind(ref), ref.namespace, ref.name, body=b'{"gracePeriodSeconds":0}')
        except ApiError as error:
            if error.code != 404:
                raise

    def _failed(self, operation: str, ref: SyncRef, error: Exception, level: int) -> None:
        failures.inc()
        reason = str(error) or type(error).__name__
        log.log(
            level,
            "objectsync not written operation=%s node=%s name=%s reason=%s",
            operation,
            ref.node,
            ref.name,
            reason,
        )


def _kind(ref: SyncRef) -> Kind:
    return OBJECT_SYNC if ref.namespace else CLUSTER_OBJECT_SYNC
