"""Events are forgotten an hour after they were last written."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import NamedTuple

from kubeedge.apiserver.revision import Change
from kubeedge.apiserver.storage import Storage, Transaction
from kubeedge.store.database import StoreError

log = logging.getLogger(__name__)

EVENT_TTL_S = 3600
_CHECK_INTERVAL_S = 60
_RESOURCE = "events"


class _Written(NamedTuple):
    at_s: float
    namespace: str
    name: str
    rv: int


class EventExpiry:
    """Remembers when each event was written and deletes it when its time is over, unless it was written again."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._written: deque[_Written] = deque()

    def offer(self, change: Change) -> None:
        """Take note of a written event."""
        if change.type != "DELETED":
            stored = change.object
            self._written.append(_Written(change.at_ms / 1000, stored.namespace, stored.name, stored.rv))

    async def run(self) -> None:
        """Delete until cancelled. Events from before the start live for another hour."""
        now_s = self._storage.now_s()
        for stored in self._storage.snapshot(_RESOURCE).range():
            self._written.append(_Written(now_s, stored.namespace, stored.name, stored.rv))
        self._storage.subscribe(_RESOURCE, self)
        try:
            while True:
                await asyncio.sleep(_CHECK_INTERVAL_S)
                await self._expire()
        finally:
            self._storage.unsubscribe(_RESOURCE, self)

    async def _expire(self) -> None:
        before_s = self._storage.now_s() - EVENT_TTL_S
        due: list[_Written] = []
        while self._written and self._written[0].at_s < before_s:
            due.append(self._written.popleft())
        if not due:
            return

        def work(transaction: Transaction) -> None:
            for written in due:
                stored = transaction.get(_RESOURCE, written.namespace, written.name)
                if stored is not None and stored.rv == written.rv:
                    transaction.delete(_RESOURCE, stored.document())

        try:
            await self._storage.write(work)
        except StoreError as error:
            log.error("events not expired reason=%s", error)
            self._written.extendleft(reversed(due))
