"""Versions of objects: one as it is stored, and the step from one to the next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
import orjson

EventType = Literal["ADDED", "MODIFIED", "DELETED"]

_NO_LABELS: Mapping[str, str] = {}


class _Metadata(msgspec.Struct, rename="camel", gc=False):
    uid: str = ""
    labels: dict[str, str] | None = None


class _Head(msgspec.Struct, gc=False):
    metadata: _Metadata


_head = msgspec.json.Decoder(_Head)


class Stored:
    """One version of an object; data is its JSON text with `kind` and `apiVersion` first."""

    __slots__ = ("_fields", "data", "labels", "name", "namespace", "rv", "uid")

    def __init__(self, namespace: str, name: str, uid: str, rv: int, data: bytes, labels: Mapping[str, str]) -> None:
        self.namespace = namespace
        self.name = name
        self.uid = uid
        self.rv = rv
        self.data = data
        self.labels = labels
        self._fields: Mapping[str, str] | None = None

    @classmethod
    def read(cls, namespace: str, name: str, rv: int, data: bytes) -> Stored:
        """Make it from its JSON text alone. Raises msgspec.DecodeError."""
        metadata = _head.decode(data).metadata
        return cls(namespace, name, metadata.uid, rv, data, metadata.labels or _NO_LABELS)

    @property
    def key(self) -> str:
        """Its place in the order of a list."""
        return key_of(self.namespace, self.name)

    def document(self) -> dict[str, Any]:
        """Return the object decoded, a fresh dict at each call that the caller may change."""
        document: dict[str, Any] = orjson.loads(self.data)
        return document

    def fields(self, selectable_fields: Callable[[dict[str, Any]], Mapping[str, str]]) -> Mapping[str, str]:
        """Return what field selectors of its kind look at, decoded at the first call only."""
        if self._fields is None:
            self._fields = selectable_fields(self.document())
        return self._fields


class Change:
    """One entry of the history. object of a deletion is the last state under the deletion's resource version."""

    __slots__ = ("_left", "at_ms", "frames", "object", "previous", "resource", "type")

    def __init__(self, type_: EventType, resource: str, object: Stored, previous: Stored | None, at_ms: int) -> None:
        self.type = type_
        self.resource = resource
        self.object = object
        self.previous = previous
        self.at_ms = at_ms
        # Encoded forms by encoder and type, made at the first need and shared by all watches.
        self.frames: dict[Any, bytes] = {}
        self._left: Stored | None = None

    @property
    def left(self) -> Stored:
        """The state before under this change's resource version: what a watch is told that the object left."""
        if self._left is None:
            before = self.previous or self.object
            self._left = render(before.document(), before.namespace, before.name, self.object.rv)
        return self._left


def key_of(namespace: str, name: str) -> str:
    """Return the place of an object in the order of a list: that of etcd's keys."""
    return f"{namespace}/{name}" if namespace else name


def render(document: dict[str, Any], namespace: str, name: str, rv: int) -> Stored:
    """Write a document down as version rv of an object; sets its resourceVersion."""
    metadata = document["metadata"]
    metadata["resourceVersion"] = str(rv)
    # orjson leaves the buffer that it grew attached to its result (8 kB for a pod of 2 kB): keep an exact copy.
    data = bytes(memoryview(orjson.dumps(document)))
    return Stored(namespace, name, metadata.get("uid", ""), rv, data, metadata.get("labels") or _NO_LABELS)
