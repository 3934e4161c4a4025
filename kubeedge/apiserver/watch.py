"""One client following a resource: what it selects, what waits for it, when it gets bookmarks, when it is let go."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

from kubeedge import metrics
from kubeedge.apiserver.revision import Change, Stored
from kubeedge.apiserver.storage import Storage

# A client that is this many changes behind what it has read is let go; it comes back with the last version it saw.
MAX_WAITING = 2_000
# Told at once; a whole collection at the start of a watch is written in pieces.
MAX_BATCH = 200
BOOKMARK_INTERVAL_S = 60.0
# A last bookmark so long before the end of a watch, so that the client resumes from there.
BOOKMARK_BEFORE_END_S = 2.0

_watches = metrics.Gauge("kubeedge_apiserver_watches", "Open watches")
_slow = metrics.Counter("kubeedge_apiserver_watches_dropped_total", "Watches ended because the client read too slowly")
_open = 0


class Selector(Protocol):
    """A parsed label or field selector."""

    def matches(self, values: Mapping[str, str]) -> bool:
        """Tell whether it lets values through."""
        ...


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a resource a list or watch is about."""

    namespace: str = ""
    name: str = ""
    labels: Selector | None = None
    fields: Selector | None = None
    selectable_fields: Callable[[dict[str, Any]], Mapping[str, str]] = lambda document: {}

    @property
    def takes_all(self) -> bool:
        """Every object of the namespace, whatever it holds."""
        return self.labels is None and self.fields is None

    def covers(self, stored: Stored) -> bool:
        """Tell whether the object can be selected by its name alone."""
        return (not self.namespace or stored.namespace == self.namespace) and (
            not self.name or stored.name == self.name
        )

    def matches(self, stored: Stored) -> bool:
        """Tell whether the selectors let the object through."""
        if self.labels is not None and not self.labels.matches(stored.labels):
            return False
        return self.fields is None or self.fields.matches(stored.fields(self.selectable_fields))


class Notice(NamedTuple):
    """What a watch tells: an object with the change it comes from (None for one that was there), or a bookmark."""

    type: Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
    object: Stored | None
    change: Change | None
    rv: int
    ends_initial: bool = False


class Watch:
    """The changes of one resource that a selection lets through, in order, for a client that reads at its own pace."""

    def __init__(
        self,
        storage: Storage,
        resource: str,
        selection: Selection,
        *,
        timeout_s: float,
        bookmarks: bool = False,
    ) -> None:
        self._storage = storage
        self._resource = resource
        self._selection = selection
        self._timeout_s = timeout_s
        self._bookmarks = bookmarks
        self._waiting: deque[Notice] = deque()
        self._rv = 0
        self._from_rv = 0
        self._is_closed = False
        self._is_subscribed = False
        self._wake: asyncio.Future[None] | None = None

    def start_from(self, rv: int) -> None:
        """Tell what happened after rv. Raises storage.CompactedError."""
        changes = self._storage.changes_after(self._resource, rv)
        self._from_rv = rv
        self._subscribe()
        for change in changes:
            self._consider(change)
        self._rv = max(rv, self._storage.revision)

    def start_with_objects(self, *, end_bookmark: bool) -> None:
        """Tell of the present objects first, with a bookmark after the last when end_bookmark is set."""
        snapshot = self._storage.snapshot(self._resource)
        self._subscribe()
        for stored in snapshot.range(self._selection.namespace):
            if self._selection.covers(stored) and self._selection.matches(stored):
                self._waiting.append(Notice("ADDED", stored, None, stored.rv))
        if end_bookmark:
            self._waiting.append(Notice("BOOKMARK", None, None, snapshot.rv, ends_initial=True))
        self._rv = snapshot.rv

    def _subscribe(self) -> None:
        global _open  # noqa: PLW0603
        self._storage.subscribe(self._resource, self)
        self._is_subscribed = True
        _open += 1
        _watches.set(_open)

    def close(self) -> None:
        """End the watch after what already waits."""
        self._is_closed = True
        self._notify()

    def offer(self, change: Change) -> None:
        """Take a change from the storage."""
        if self._is_closed or change.object.rv <= self._from_rv:
            return
        waiting = len(self._waiting)
        self._consider(change)
        if len(self._waiting) == waiting:
            return
        if waiting > MAX_WAITING:
            _slow.inc()
            self._is_closed = True
        self._notify()

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    def _consider(self, change: Change) -> None:
        selection = self._selection
        stored = change.object
        if not selection.covers(stored):
            return
        rv = stored.rv
        if selection.takes_all:
            self._waiting.append(Notice(change.type, stored, change, rv))
            return
        was = change.previous is not None and selection.matches(change.previous)
        if change.type == "DELETED":
            if was:
                self._waiting.append(Notice("DELETED", stored, change, rv))
            return
        if selection.matches(stored):
            self._waiting.append(Notice("MODIFIED" if was else "ADDED", stored, change, rv))
        elif was:
            self._waiting.append(Notice("DELETED", change.left, change, rv))

    async def batches(self) -> AsyncGenerator[list[Notice], None]:
        """Give what happened, all that waits or MAX_BATCH of it, until the time is over or close() is called."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._timeout_s
        next_bookmark = loop.time() + BOOKMARK_INTERVAL_S
        last_bookmark = end - BOOKMARK_BEFORE_END_S
        if self._timeout_s <= BOOKMARK_BEFORE_END_S:
            last_bookmark = float("inf")
        try:
            while True:
                if self._waiting:
                    batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MAX_BATCH))]
                    self._rv = max(self._rv, batch[-1].rv)
                    yield batch
                    continue
                now = loop.time()
                if self._is_closed or now >= end:
                    return
                if self._bookmarks and now >= min(next_bookmark, last_bookmark):
                    if now >= last_bookmark:
                        last_bookmark = float("inf")
                    next_bookmark = now + BOOKMARK_INTERVAL_S
                    # All that happened up to the newest write has been offered already.
                    self._rv = max(self._rv, self._storage.revision)
                    yield [Notice("BOOKMARK", None, None, self._rv)]
                    continue
                await self._wait_until(min(end, next_bookmark, last_bookmark) if self._bookmarks else end)
        finally:
            self.release()

    def release(self) -> None:
        """Give up the watch; done by batches() at its end, so only needed where that may never start."""
        global _open  # noqa: PLW0603
        if not self._is_subscribed:
            return
        self._is_closed = True
        self._is_subscribed = False
        self._storage.unsubscribe(self._resource, self)
        _open -= 1
        _watches.set(_open)

    async def _wait_until(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        self._wake = loop.create_future()
        timer = loop.call_at(deadline, self._notify)
        try:
            await self._wake
        finally:
            timer.cancel()
            self._wake = None
