"""Events of the group events.k8s.io: the same objects as core events under other field names."""

from __future__ import annotations

from kubeedge.apiserver.kinds.spec import Object
from kubeedge.apiserver.schema.reader import reader

# events.k8s.io: core
_NAMES = {
    "regarding": "involvedObject",
    "note": "message",
    "reportingController": "reportingComponent",
    "deprecatedSource": "source",
    "deprecatedFirstTimestamp": "firstTimestamp",
    "deprecatedLastTimestamp": "lastTimestamp",
    "deprecatedCount": "count",
}
_CORE_NAMES = {core: name for name, core in _NAMES.items()}


def to_core(event: Object) -> Object:
    """The core event that stores an event of events.k8s.io."""
    renamed = {_NAMES.get(key, key): value for key, value in event.items()}
    core: Object = reader("*core.v1.Event")({**renamed, "apiVersion": "v1"})
    return core


def from_core(event: Object) -> Object:
    """A core event as events.k8s.io/v1 shows it."""
    renamed = {_CORE_NAMES.get(key, key): value for key, value in event.items()}
    shown: Object = reader("*events.v1.Event")({**renamed, "apiVersion": "events.k8s.io/v1"})
    return shown
