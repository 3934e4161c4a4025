"""Deletes syncs that no longer mean anything, patiently (spec 03 §3.3)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque

from kubeedge import metrics
from kubeedge.kube.api import ApiError, ApiUnavailableError, Kind, KubeApi
from kubeedge.kube.object import Object

log = logging.getLogger(__name__)

WORKERS = 4
PAUSE_S = 5.0

_removed = metrics.Counter("kubeedge_synccontroller_removed_total", "ObjectSyncs removed because nothing needs them")


class Removal:
    """A queue of syncs to delete. A sync that is gone already is a success: other replicas delete too (quirk SC1)."""

    def __init__(self, api: KubeApi) -> None:
        self._api = api
        self._queue: deque[tuple[Kind, Object]] = deque()
        self._queued: set[str] = set()
        self._wake = asyncio.Event()

    def add(self, kind: Kind, sync: Object) -> None:
        """Have sync, of kind ObjectSync or ClusterObjectSync, deleted."""
        if sync.uid not in self._queued:
            self._queued.add(sync.uid)
            self._queue.append((kind, sync))
            self._wake.set()

    async def run(self) -> None:
        """Delete what is added, for ever; while the API is away it waits."""
        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            while not self._queue:
                self._wake.clear()
                await self._wake.wait()
            kind, sync = self._queue.popleft()
            try:
                await self._api.delete(
                    kind,
                    sync.namespace,
                    sync.name,
                    body=b'{"gracePeriodSeconds":0,"preconditions":{"uid":"%s"}}' % sync.uid.encode(),
                )
                _removed.inc()
            except ApiError as error:
                # A refusal is looked at again by the next full pass.
                if error.reason not in ("NotFound", "Conflict"):
                    log.warning("sync not removed name=%s reason=%s", sync.name, error)
            except ApiUnavailableError as error:
                log.debug("sync not removed yet name=%s reason=%s", sync.name, error)
                self._queue.append((kind, sync))
                await asyncio.sleep(PAUSE_S)
                continue
            self._queued.discard(sync.uid)
