"""What this node knows of devices and models: an index in memory, the objects themselves in table `meta`.

An object is named by its key there, `<namespace>/device/<name>` or `<namespace>/devicemodel/<name>` (spec 04 §3.3).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

import orjson

log = logging.getLogger("kubeedge.dmi")

DEVICE = "device"
MODEL = "devicemodel"

Object = dict[str, Any]


class ObjectError(ValueError):
    """The object is not what its kind should be."""


class Reader(Protocol):
    """Reads committed rows, as the database does."""

    def read(self, sql: str, bindings: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        ...


class Entry(NamedTuple):
    """What has to be known of an object without reading it: spec is a hash of its specification, model a key."""

    protocol: str
    model: str
    spec: int


def parse(value: str | bytes) -> Object:
    """Parse a device or a model. Raises ObjectError."""
    try:
        found = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        raise ObjectError(f"no JSON: {error}") from None
    if not isinstance(found, dict):
        raise ObjectError("no object")
    return found


def section(holder: Object, key: str) -> Object:
    """Return the object under key, an empty one where there is none. Raises ObjectError."""
    found = holder.get(key)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ObjectError(f"{key} is no object")
    return found


def text(holder: Object, key: str) -> str:
    """Return the text under key, an empty one where there is none. Raises ObjectError."""
    found = holder.get(key)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise ObjectError(f"{key} is no text")
    return found


def type_of(key: str) -> str:
    """Return `device` or `devicemodel` for a key of three segments, else nothing."""
    segments = key.split("/")
    return segments[1] if len(segments) == 3 and all(segments) and segments[1] in (DEVICE, MODEL) else ""


def names_of(key: str) -> tuple[str, str]:
    """Return namespace and name of a key."""
    namespace, _, name = key.split("/")
    return namespace, name


def protocol_of(key: str, found: Object) -> str:
    """Return the protocol that finds the mapper of an object. Raises ObjectError."""
    spec = section(found, "spec")
    return text(spec, "protocol") if type_of(key) == MODEL else text(section(spec, "protocol"), "protocolName")


def _entry(key: str, found: Object) -> Entry:
    spec = section(found, "spec")
    model = ""
    if type_of(key) == DEVICE:
        name = text(section(spec, "deviceModelRef"), "name")
        # A model lies in the namespace of its devices.
        model = f"{names_of(key)[0]}/{MODEL}/{name}" if name else ""
    return Entry(protocol_of(key, found), model, hash(orjson.dumps(spec, option=orjson.OPT_SORT_KEYS)))


class Catalog:
    """The index. It follows the messages; the objects are always read as they are stored now."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._entries: dict[str, Entry] = {}
        self._changed: dict[str, int] = {}
        #: Counts the changes.
        self.serial = 0

    def load(self) -> None:
        """Index what is stored. A row that cannot be used is left out, and said. Raises StoreError."""
        for key, value in self._reader.read("SELECT key, value FROM meta WHERE type IN (?, ?)", (DEVICE, MODEL)):
            try:
                found = parse(value)
                # A local change of a device is stored by a Go edge under a name of its own (spec 04 Q21).
                if type_of(key) and text(section(found, "metadata"), "name") == names_of(key)[1]:
                    self._entries[key] = _entry(key, found)
            except ObjectError as error:
                log.warning("stored object not used key=%s reason=%s", key, error)

    def put(self, key: str, found: Object) -> tuple[Entry | None, Entry]:
        """Take note of an object; return what was known of it before and what is now. Raises ObjectError."""
        before, now = self._entries.get(key), _entry(key, found)
        self._entries[key] = now
        if before != now:
            self.serial += 1
            self._changed[key] = self.serial
        return before, now

    def remove(self, key: str) -> Entry | None:
        """Forget an object; return what was known of it."""
        self._changed.pop(key, None)
        return self._entries.pop(key, None)

    def changed(self, since: int) -> list[str]:
        """Return the keys of the objects that changed after serial was since; not of those that are gone."""
        return [key for key, serial in self._changed.items() if serial > since]

    def entry(self, key: str) -> Entry | None:
        """Return what is known of an object, None when there is none."""
        return self._entries.get(key)

    def devices(self, *, protocol: str | None = None, model: str | None = None) -> Iterator[str]:
        """Give the keys of the devices of a protocol, of a model, or of both."""
        for key, entry in self._entries.items():
            if (
                type_of(key) == DEVICE
                and (protocol is None or entry.protocol == protocol)
                and (model is None or entry.model == model)
            ):
                yield key

    def read(self, key: str) -> Object | None:
        """Return an object as it is stored, None when it is not there. Raises StoreError, ObjectError."""
        if key not in self._entries:
            return None
        rows = self._reader.read("SELECT value FROM meta WHERE key = ?", (key,))
        return parse(rows[0][0]) if rows else None
