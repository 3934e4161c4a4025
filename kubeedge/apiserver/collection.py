"""One resource in memory: its objects, its recent history, and who follows it."""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from kubeedge import metrics
from kubeedge.apiserver.revision import Change, Stored

log = logging.getLogger(__name__)

# One busy kind (leases of a large fleet) must not fill the memory: a watch that is further behind has to list again.
MAX_HISTORY_CHANGES = 2_000
MAX_HISTORY_BYTES = 4 << 20

_watcher_errors = metrics.Counter("kubeedge_apiserver_watcher_failures_total", "Watchers that failed and were dropped")


class CompactedError(Exception):
    """The history before `oldest` is gone."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"compacted up to {oldest}")
        self.oldest = oldest


class Watcher(Protocol):
    """Whoever follows a resource. offer() must not call back into the storage."""

    def offer(self, change: Change) -> None:
        """Take a change that is durable; called in order of resource versions."""
        ...


class Snapshot:
    """The objects of a resource at one resource version, in the order of their keys; valid until the next await."""

    __slots__ = ("_keys", "_objects", "rv")

    def __init__(self, rv: int, keys: Sequence[str], objects: Mapping[str, Stored]) -> None:
        self.rv = rv
        self._keys = keys
        self._objects = objects

    def range(self, namespace: str = "", after: str = "") -> Iterator[Stored]:
        """Give the objects of a namespace, or all, whose key comes after a key."""
        start, stop = self._bounds(namespace, after)
        for index in range(start, stop):
            yield self._objects[self._keys[index]]

    def count(self, namespace: str = "", after: str = "") -> int:
        """Return how many objects range() would give."""
        start, stop = self._bounds(namespace, after)
        return max(0, stop - start)

    def _bounds(self, namespace: str, after: str) -> tuple[int, int]:
        start, stop = 0, len(self._keys)
        if namespace:
            # "0" is the character that follows "/".
            start = bisect_left(self._keys, f"{namespace}/")
            stop = bisect_left(self._keys, f"{namespace}0")
        if after:
            start = max(start, bisect_right(self._keys, after))
        return start, stop


class Collection:
    """State, history and watchers of one resource; history before version `compacted` is forgotten."""

    __slots__ = ("_history_bytes", "_watchers", "changes", "compacted", "keys", "objects")

    def __init__(self, compacted: int = 0) -> None:
        self.objects: dict[str, Stored] = {}
        self.keys: list[str] = []
        self.changes: deque[Change] = deque()
        self.compacted = compacted
        self._history_bytes = 0
        self._watchers: dict[Watcher, None] = {}

    # Changing

    def apply(self, change: Change) -> None:
        """Make the state that of after a change."""
        object = change.object
        key = object.key
        if change.type == "DELETED":
            self.objects.pop(key, None)
            index = bisect_left(self.keys, key)
            if index < len(self.keys) and self.keys[index] == key:
                del self.keys[index]
            return
        if key not in self.objects:
            self.keys.insert(bisect_left(self.keys, key), key)
        self.objects[key] = object

    def remember(self, change: Change) -> None:
        """Add a change to the history."""
        self.changes.append(change)
        self._history_bytes += len(change.object.data)

    def tell(self, change: Change) -> None:
        """Offer a change to all watchers."""
        for watcher in tuple(self._watchers):
            try:
                watcher.offer(change)
            except Exception:
                # One client's selector must not end the API for all.
                _watcher_errors.inc()
                log.exception("watcher failed resource=%s key=%s", change.resource, change.object.key)
                self._watchers.pop(watcher, None)

    @property
    def is_history_full(self) -> bool:
        """It is time to forget some."""
        return len(self.changes) > MAX_HISTORY_CHANGES or self._history_bytes > MAX_HISTORY_BYTES

    def forget(self, count: int) -> list[int]:
        """Forget the oldest changes; return the versions that nobody can see any more."""
        superseded = []
        for _ in range(count):
            change = self.changes.popleft()
            self._history_bytes -= len(change.object.data)
            self.compacted = change.object.rv
            if change.previous is not None:
                superseded.append(change.previous.rv)
            if change.type == "DELETED":
                superseded.append(change.object.rv)
        return superseded

    # Reading

    def snapshot(self, revision: int, rv: int = 0) -> Snapshot:
        """Return the objects as they are at version revision, or as they were at rv. Raises CompactedError."""
        if not rv or rv >= revision:
            return Snapshot(revision, self.keys, self.objects)
        if rv < self.compacted:
            raise CompactedError(self.compacted)
        changed: dict[str, Stored | None] = {}
        for change in reversed(self.changes):
            if change.object.rv <= rv:
                break
            changed[change.object.key] = change.previous
        if not changed:
            return Snapshot(rv, self.keys, self.objects)
        objects = {key: object for key, object in self.objects.items() if key not in changed}
        objects.update((key, object) for key, object in changed.items() if object is not None)
        return Snapshot(rv, sorted(objects), objects)

    def changes_after(self, rv: int) -> list[Change]:
        """Return the history after rv. Raises CompactedError."""
        if rv < self.compacted:
            raise CompactedError(self.compacted)
        newer: list[Change] = []
        for change in reversed(self.changes):
            if change.object.rv <= rv:
                break
            newer.append(change)
        newer.reverse()
        return newer

    # Watching

    @property
    def watchers(self) -> Sequence[Watcher]:
        """Who follows."""
        return tuple(self._watchers)

    def subscribe(self, watcher: Watcher) -> None:
        """Offer every later change to watcher."""
        self._watchers[watcher] = None

    def unsubscribe(self, watcher: Watcher) -> None:
        """Stop that."""
        self._watchers.pop(watcher, None)
