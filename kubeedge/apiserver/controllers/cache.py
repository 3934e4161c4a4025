"""What the controllers know of one kind: views of all objects, kept current by an informer and by their own writes."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, Literal, TypeVar

import msgspec
import orjson

from kubeedge import metrics
from kubeedge.apiserver.controllers.views import HasMetadata
from kubeedge.kube.api import MERGE_PATCH, ApiError, Kind, KubeApi
from kubeedge.kube.informer import EventType, Informer
from kubeedge.kube.object import Object

log = logging.getLogger(__name__)

T = TypeVar("T", bound=HasMetadata)
OnChange = Callable[[EventType, T, T | None], None]
IndexFunction = Callable[[T], Iterable[str]]
Propagation = Literal["Background", "Foreground", "Orphan"]

_unreadable = metrics.Counter(
    "kubeedge_controller_unreadable_objects_total", "Objects of a shape that no API server lets in", ("kind",)
)


class Cache(Generic[T]):
    """Reads come from the watch, writes go to the API, and what a write answered can be read at once.

    That last point is what keeps a controller from making a pod twice because the watch has not shown the first one
    yet: the answer of a write stands in the cache until the watch has come past its resource version.
    """

    def __init__(
        self,
        api: KubeApi,
        kind: Kind,
        view: type[T],
        *,
        indexes: Mapping[str, IndexFunction[T]] | None = None,
    ) -> None:
        """Make a cache; indexes gives for each index name the function from an object to its index values."""
        self.kind = kind
        self._api = api
        self._view = view
        self._decode_plain = msgspec.json.Decoder(view).decode
        self._informer = Informer(api, kind)
        self._informer.on_event(self._on_event)
        self._items: dict[tuple[str, str], T] = {}
        self._index_functions = dict(indexes or {})
        self._indexes: dict[str, dict[str, dict[tuple[str, str], None]]] = {name: {} for name in self._index_functions}
        self._handlers: list[OnChange[T]] = []
        # Own writes that the watch has not shown yet, and objects that were deleted but may still be shown living.
        self._ahead: dict[tuple[str, str], int] = {}
        self._unconfirmed: list[tuple[int, tuple[str, str]]] = []
        self._deleted: set[str] = set()

    # Following

    async def run(self) -> None:
        """Follow the API until cancelled."""
        await self._informer.run()

    async def synced(self) -> None:
        """Wait until everything that there is has been read once."""
        await self._informer.synced()

    def on_change(self, handler: OnChange[T]) -> None:
        """Call handler(type, new, old) for each change, own writes included, and with ADDED for what is there."""
        self._handlers.append(handler)
        for item in list(self._items.values()):
            handler("ADDED", item, None)

    # Reading

    def __len__(self) -> int:
        return len(self._items)

    def get(self, namespace: str, name: str) -> T | None:
        """Return the object of that name; namespace is "" for cluster-scoped kinds."""
        self._settle()
        return self._items.get((namespace, name))

    def all(self) -> list[T]:
        """Return all objects."""
        self._settle()
        return list(self._items.values())

    def by(self, index: str, value: str) -> list[T]:
        """Return the objects for which the function of index gave value."""
        self._settle()
        return [self._items[key] for key in self._indexes[index].get(value, ())]

    def raw(self, namespace: str, name: str) -> bytes | None:
        """Return the whole object as the watch gave it."""
        found = self._informer.get(namespace, name)
        return None if found is None else found.raw

    # Writing

    async def live(self, namespace: str, name: str) -> T | None:
        """Ask the API itself for an object; None when there is none."""
        try:
            return self._decode(await self._api.get(self.kind, namespace, name))
        except ApiError as error:
            if error.code == 404:
                return None
            raise

    async def create(self, namespace: str, body: dict[str, Any]) -> T:
        """Create an object; kind and apiVersion are added."""
        body = {"apiVersion": self.kind.api_version, "kind": self.kind.kind, **body}
        return self._wrote(await self._api.create(self.kind, namespace, orjson.dumps(body)))

    async def patch(
        self,
        item: T,
        patch: dict[str, Any],
        *,
        patch_type: str = MERGE_PATCH,
        subresource: str = "",
        exact: bool = False,
    ) -> T:
        """Patch an object, only if it still has its uid, and with exact only if it is still at its resource version."""
        meta = item.metadata
        guard = {"uid": meta.uid} | ({"resourceVersion": meta.resource_version} if exact else {})
        body = patch | {"metadata": patch.get("metadata", {}) | guard}
        answer = await self._api.patch(
            self.kind, meta.namespace, meta.name, orjson.dumps(body), patch_type, subresource=subresource
        )
        return self._wrote(answer)

    async def delete(
        self,
        item: T,
        *,
        propagation: Propagation | None = None,
        grace_s: int | None = None,
        exact: bool = False,
    ) -> None:
        """Delete this very object, not a successor of its name; it being gone already is fine."""
        meta = item.metadata
        preconditions = {"uid": meta.uid} | ({"resourceVersion": meta.resource_version} if exact else {})
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        if propagation is not None:
            options["propagationPolicy"] = propagation
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        try:
            answer = await self._api.delete(self.kind, meta.namespace, meta.name, body=orjson.dumps(options))
        except ApiError as error:
            if error.code != 404 and (exact or not _names_uid(error)):
                raise
            return
        current = self._items.get(meta.key)
        if current is not None and current.metadata.uid == meta.uid:
            self._deleted.add(meta.uid)
            self._mark(current)
            seen = _decode_deleted(self._decode, answer)
            if seen is not None and seen.metadata.uid == meta.uid and seen.metadata.is_deleting:
                self._wrote(answer)

    # Inside

    def _decode(self, raw: bytes) -> T:
        """Read an object; a null stands for an absent field, as some clients write it."""
        try:
            return self._decode_plain(raw)
        except msgspec.ValidationError:
            return msgspec.convert(_without_nulls(orjson.loads(raw)), self._view)

    def _wrote(self, answer: bytes) -> T:
        """Take the answer of a write, unless the watch is past it already."""
        item = self._decode(answer)
        version = _number(item.metadata.resource_version)
        if version > _number(self._informer.resource_version):
            key = item.metadata.key
            old = self._predecessor(key, item.metadata.uid)
            if old is None or version > _number(old.metadata.resource_version):
                self._ahead[key] = version
                heapq.heappush(self._unconfirmed, (version, key))
                self._put(key, item, old)
        return item

    def _predecessor(self, key: tuple[str, str], uid: str) -> T | None:
        """Return the former state of an object; another one that had its name before is dropped."""
        old = self._items.get(key)
        if old is not None and old.metadata.uid != uid:
            self._drop(key, old)
            return None
        return old

    def _on_event(self, type_: EventType, new: Object, old: Object | None) -> None:
        del old
        key = (new.namespace, new.name)
        if type_ == "DELETED":
            self._deleted.discard(new.uid)
            current = self._items.get(key)
            if current is not None and current.metadata.uid == new.uid:
                self._drop(key, current)
            return
        try:
            item = self._decode(new.raw)
        except msgspec.ValidationError as error:
            _unreadable.inc(self.kind.plural)
            log.warning("object unreadable kind=%s object=%s/%s error=%s", self.kind.plural, *key, error)
            return
        ahead = self._ahead.get(key)
        if ahead is not None:
            version = _number(new.resource_version)
            if version >= ahead:
                del self._ahead[key]
            if version <= ahead:
                # An own write, told when it was made, or something older.
                return
        if new.uid in self._deleted:
            if item.metadata.is_deleting:
                self._deleted.discard(new.uid)
            else:
                self._mark(item)
        self._put(key, item, self._predecessor(key, new.uid))

    def _settle(self) -> None:
        """Drop own writes that the watch should have shown by now: somebody deleted them while it was broken."""
        reached = _number(self._informer.resource_version) if self._unconfirmed else 0
        while self._unconfirmed and self._unconfirmed[0][0] <= reached:
            version, key = heapq.heappop(self._unconfirmed)
            if self._ahead.get(key) != version:
                continue
            del self._ahead[key]
            item = self._items.get(key)
            if item is not None and self._informer.get(*key) is None:
                self._drop(key, item)

    def _put(self, key: tuple[str, str], item: T, old: T | None) -> None:
        if old is not None:
            self._unindex(key, old)
        self._items[key] = item
        for name, function in self._index_functions.items():
            for value in function(item):
                self._indexes[name].setdefault(value, {})[key] = None
        for handler in self._handlers:
            handler("ADDED" if old is None else "MODIFIED", item, old)

    def _drop(self, key: tuple[str, str], item: T) -> None:
        self._ahead.pop(key, None)
        self._unindex(key, item)
        del self._items[key]
        for handler in self._handlers:
            handler("DELETED", item, item)

    def _unindex(self, key: tuple[str, str], item: T) -> None:
        for name, function in self._index_functions.items():
            index = self._indexes[name]
            for value in function(item):
                keys = index.get(value)
                if keys is not None:
                    keys.pop(key, None)
                    if not keys:
                        del index[value]

    def _mark(self, item: T) -> None:
        """Let an object look as what it is since our request: being deleted."""
        if not item.metadata.is_deleting:
            item.metadata.deletion_timestamp = ""


def _names_uid(error: ApiError) -> bool:
    """Tell whether a deletion was refused because the name belongs to another object by now."""
    return error.code == 409 and error.message.partition(" precondition")[0].endswith(("UID in", "UID in the"))


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(inner) for key, inner in value.items() if inner is not None}
    if isinstance(value, list):
        return [_without_nulls(inner) for inner in value if inner is not None]
    return value


def _number(resource_version: str) -> int:
    """Resource versions of one server can be compared as numbers (spec 03 §3.6); anything else counts as oldest."""
    return int(resource_version) if resource_version.isdigit() else 0


def _decode_deleted(decode: Callable[[bytes], T], answer: bytes) -> T | None:
    """Return the object that the answer of a deletion holds; None for a Status."""
    try:
        item = decode(answer)
    except msgspec.ValidationError:
        return None
    return item if item.metadata.name else None
