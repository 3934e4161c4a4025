"""Device twins, what the database holds of them, and the payloads that tell of them (spec 04 §3.3, §3.4, §4.3).

A twin is a property of a device with two sides: what is expected of it and what is actual. Values are text.
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import Any, Final

try:
    import cython
except ModuleNotFoundError:
    from kubeedge._speedups import uncompiled as cython

import orjson

from kubeedge._speedups.twinrequest import DELETED, STRING

# Parts of a twin, as bits: what of it is in a payload, and what the cloud has not heard of.
EXPECTED: Final = 1
ACTUAL: Final = 2
OPTIONAL: Final = 4
TYPE: Final = 8
WHOLE: Final = 15

# What stands in JSON as it is; anything else is left to a slower look.
_PLAIN = re.compile(r"[ !#-%'-;=?-\[\]-~]*")
_name = attrgetter("name")


class Side:
    """One side of a twin. Without is_set it has no value; with it, value None means one that was deleted.

    timestamp_ms is -1 when unknown. cloud and edge are its version, if has_version.
    """

    __slots__ = ("cloud", "edge", "has_version", "is_set", "timestamp_ms", "value")

    def __init__(self) -> None:
        self.value: str | None = None
        self.is_set = False
        self.timestamp_ms = -1
        self.has_version = False
        self.cloud = 0
        self.edge = 0


class Twin:
    """A property of a device.

    row is its row in the database, 0 before it has one. What the cloud has not heard of stands in unsent, what is on
    its way there in in_flight (bits). sent_ms: 0 before it was sent for the first time, 1 until the second time.
    """

    __slots__ = (
        "actual",
        "device",
        "expected",
        "in_flight",
        "is_dirty",
        "is_marked",
        "is_optional",
        "name",
        "row",
        "sent_ms",
        "type",
        "unsent",
    )

    def __init__(self, device: str, name: str) -> None:
        self.device = device
        self.name = name
        self.type = STRING
        self.row = 0
        self.expected = Side()
        self.actual = Side()
        self.is_optional = True
        self.is_dirty = False
        self.is_marked = False
        self.unsent = 0
        self.in_flight = 0
        self.sent_ms = 0

    def member(self, value: str) -> str:
        """Write value as the member of an object that has this twin's name, with a comma before it."""
        return f",{_quoted(self.name)}:{value}"

    def entry(self, bits: int, with_versions: bool) -> str:
        """Write the parts of a twin that bits name, in Go's order (spec 04 §3.4)."""
        text = ""
        if bits & EXPECTED and self.expected.is_set:
            text = f',"expected":{_side(self.expected)}'
        if bits & ACTUAL and self.actual.is_set:
            text += f',"actual":{_side(self.actual)}'
        if bits & OPTIONAL:
            text += ',"optional":true' if self.is_optional else ',"optional":false'
        if bits & TYPE:
            text += f',"metadata":{{"type":{_quoted(self.type)}}}' if self.type else ',"metadata":{}'
        if with_versions:
            if bits & EXPECTED and self.expected.has_version:
                text += f',"expected_version":{_version(self.expected)}'
            if bits & ACTUAL and self.actual.has_version:
                text += f',"actual_version":{_version(self.actual)}'
        return f"{{{text[1:]}}}"

    def mark(self) -> None:
        """Note that the cloud may have heard of nothing of it, which the database knows already."""
        self.is_marked = True
        self.unsent = WHOLE

    def columns(self) -> tuple[str | int | None, ...]:
        """Return what the columns of device_twin hold for a twin (spec 04 §3.3).

        expected, actual, expected_meta, actual_meta, expected_version, actual_version, optional, attr_type; then the
        id of its row.
        """
        expected = self.expected
        actual = self.actual
        nothing = None if self.type == DELETED else ""
        return (
            nothing if expected.value is None else expected.value,
            nothing if actual.value is None else actual.value,
            nothing if expected.timestamp_ms < 0 else f'{{"timestamp":{expected.timestamp_ms}}}',
            nothing if actual.timestamp_ms < 0 else f'{{"timestamp":{actual.timestamp_ms}}}',
            _version(expected) if expected.has_version else "",
            _version(actual) if actual.has_version else "",
            1 if self.is_optional else 0,
            self.type,
            self.row,
        )


class Device:
    """A device of this node and its twins by name. id is `<namespace>/<name>`."""

    __slots__ = ("_ordered", "attributes", "description", "id", "last_online", "name", "state", "twins")

    def __init__(self, id: str, name: str, description: str = "", state: str = "", last_online: str = "") -> None:
        self.id = id
        self.name = name
        self.description = description
        self.state = state
        self.last_online = last_online
        self.twins: dict[str, Twin] = {}
        self.attributes: dict[str, Any] | None = None
        self._ordered: list[Twin] | None = None

    def add(self, twin: Twin) -> None:
        """Make twin one of this device's, instead of one with the same name."""
        self.twins[twin.name] = twin
        self._ordered = None

    def ordered(self) -> list[Twin]:
        """Return the twins by name, the order in which Go writes them."""
        if self._ordered is None:
            self._ordered = sorted(self.twins.values(), key=_name)
        return self._ordered

    def document(self, event_id: str, now_ms: int, members: str) -> bytes:
        """Put a payload together around its members, each with a comma before it."""
        return f'{{"event_id":{_quoted(event_id)},"timestamp":{now_ms},"twin":{{{members[1:]}}}}}'.encode()

    def twins_payload(self, event_id: str, now_ms: int) -> bytes:
        """Return all live twins, without versions: the answer to twin/get (spec 04 §4.3)."""
        entries = ""
        for twin in self.ordered():
            if twin.type != DELETED:
                entries += twin.member(twin.entry(WHOLE, False))
        return self.document(event_id, now_ms, entries)

    def news_payload(self, event_id: str, now_ms: int) -> bytes:
        """Return what the cloud has not heard of yet and note that it is on its way; empty when there is nothing."""
        entries = ""
        for twin in self.ordered():
            if twin.unsent:
                entries += twin.member(twin.entry(twin.unsent, True))
                twin.in_flight |= twin.unsent
                twin.unsent = 0
                twin.sent_ms = now_ms if twin.sent_ms else 1
        return self.document(event_id, now_ms, entries) if entries else b""

    def delta_payload(self, event_id: str, now_ms: int) -> bytes:
        """Return the twins whose actual value is not the expected one, and all that have one; empty without."""
        is_needed = False
        for twin in self.twins.values():
            if twin.expected.value and twin.expected.value != twin.actual.value and twin.type != DELETED:
                is_needed = True
                break
        if not is_needed:
            return b""
        entries = ""
        deltas = ""
        for twin in self.ordered():
            expected = twin.expected.value
            if expected and twin.type != DELETED:
                entries += twin.member(twin.entry(WHOLE, False))
                if expected != twin.actual.value:
                    deltas += twin.member(_quoted(expected))
        head = f'{{"event_id":{_quoted(event_id)},"timestamp":{now_ms}'
        return f'{head},"twin":{{{entries[1:]}}},"delta":{{{deltas[1:]}}}}}'.encode()

    def arrived(self) -> None:
        """Note that the cloud has what was on its way."""
        for twin in self.twins.values():
            twin.in_flight = 0

    def lost(self) -> bool:
        """Note that what was on its way may not have come to the cloud; tell whether anything has to be sent."""
        is_unsent = False
        for twin in self.twins.values():
            twin.unsent |= twin.in_flight
            twin.in_flight = 0
            if twin.unsent:
                is_unsent = True
        return is_unsent

    def settled(self, before_ms: int) -> list[Twin]:
        """Return the marked twins of which the cloud has had all since before_ms, and take their marks away."""
        found = []
        for twin in self.twins.values():
            if twin.is_marked and not twin.unsent and not twin.in_flight and twin.sent_ms < before_ms:
                twin.is_marked = False
                found.append(twin)
        return found


def _side(side: Side) -> str:
    if side.value is None:
        return "{}"
    if side.timestamp_ms > 0:
        return f'{{"value":{_quoted(side.value)},"metadata":{{"timestamp":{side.timestamp_ms}}}}}'
    # Go leaves a zero out, and the object around it only when it is not known at all.
    if side.timestamp_ms == 0:
        return f'{{"value":{_quoted(side.value)},"metadata":{{}}}}'
    return f'{{"value":{_quoted(side.value)}}}'


def _version(side: Side) -> str:
    return f'{{"cloud":{side.cloud},"edge":{side.edge}}}'


def _quoted(text: str) -> str:
    # Nearly all are plain; the look saves building a bytes object and decoding it again.
    if cython.compiled:
        is_plain = True
        for char in text:
            if not 32 <= char <= 126 or char in (34, 92, 60, 62, 38):
                is_plain = False
                break
    else:
        is_plain = _PLAIN.fullmatch(text) is not None
    return f'"{text}"' if is_plain else quote(text)


def quote(text: str) -> str:
    """Write text as a JSON string with Go's escapes: those of HTML, and what is no Unicode replaced."""
    try:
        quoted = orjson.dumps(text)
    except orjson.JSONEncodeError:
        quoted = orjson.dumps(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    plain = quoted.decode()
    for char in "<>&\u2028\u2029":
        plain = plain.replace(char, f"\\u{ord(char):04x}")
    return plain
