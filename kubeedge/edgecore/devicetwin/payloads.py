"""Payloads that are rare enough to be built from objects: errors, membership, state, attributes (spec 04 §3.5-§3.9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from kubeedge._speedups.twin import Device, quote
from kubeedge.edgecore.devicetwin.rows import Attribute


class PayloadError(ValueError):
    """A payload that cannot be understood; the text says why."""


def read_object(payload: bytes) -> dict[str, Any]:
    """Read a JSON object; null is an empty one, as in Go. Raises PayloadError."""
    try:
        document = orjson.loads(payload)
    except orjson.JSONDecodeError as error:
        raise PayloadError(str(error)) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise PayloadError("no JSON object")
    return document


def member(document: Mapping[str, Any], name: str, kind: type, default: Any = None) -> Any:
    """Return the member of that name in any case, default when it is null or absent. Raises PayloadError."""
    value = document.get(name)
    if value is None:
        value = next((other for key, other in document.items() if key.lower() == name and other is not None), None)
        if value is None:
            return default
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise PayloadError(f"{name} is no {kind.__name__}")
    return value


def read_event_id(payload: bytes) -> str:
    """Return the event id of a request that needs nothing else. Raises PayloadError."""
    document = read_object(payload)
    member(document, "timestamp", int)
    event_id: str = member(document, "event_id", str, "")
    return event_id


def error(event_id: str, now_ms: int, code: int, reason: str) -> bytes:
    """Say why a request was refused (spec 04 §3.7)."""
    return (f'{{"event_id":{quote(event_id)},"timestamp":{now_ms},"code":{code},"reason":{quote(reason)}}}').encode()


def state(device: Device, event_id: str, now_ms: int) -> bytes:
    """Tell the state of a device (spec 04 §3.9)."""
    body = {"name": device.name, "state": device.state, "lastOnlineTime": device.last_online}
    return _with_base(event_id, now_ms, device={key: text for key, text in body.items() if text})


def attributes(event_id: str, now_ms: int, changed: Mapping[str, dict[str, Any] | None]) -> bytes:
    """Tell which attributes have changed; None is one that was deleted (spec 04 §3.9)."""
    return _with_base(event_id, now_ms, attributes=dict(sorted(changed.items())))


def membership_change(
    event_id: str, now_ms: int, added: dict[str, Any] | None = None, removed: dict[str, Any] | None = None
) -> bytes:
    """Tell that a device has come or gone; entries as membership_entry() makes them (spec 04 §3.5)."""
    return _with_base(
        event_id,
        now_ms,
        added_devices=None if added is None else [added],
        removed_devices=None if removed is None else [removed],
    )


def membership(event_id: str, now_ms: int, devices: Iterable[Device]) -> bytes:
    """List the devices of the node, without twins (spec 04 §3.5)."""
    return _with_base(event_id, now_ms, devices=[_listed(device) for device in devices])


def _listed(device: Device) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "id": device.id,
        "name": device.name,
        "description": device.description,
        "state": device.state,
        "last_online": device.last_online,
    }
    entry = {key: text for key, text in entry.items() if text}
    if device.attributes:
        entry["attributes"] = {
            name: attribute_entry(attribute) for name, attribute in sorted(device.attributes.items())
        }
    return entry


def attribute_entry(attribute: Attribute) -> dict[str, Any]:
    """Write an attribute whole."""
    return {
        "value": attribute.value,
        "optional": attribute.is_optional,
        "metadata": {"type": attribute.type} if attribute.type else {},
    }


def membership_entry(received: Mapping[str, Any]) -> dict[str, Any]:
    """Write an entry of a membership as Go writes the one that it received: known members, versions left out."""
    entry = {
        name: received[name]
        for name in ("id", "name", "description", "state", "last_online", "attributes", "twin")
        if received.get(name)
    }
    if isinstance(entry.get("twin"), dict):
        entry["twin"] = {
            name: {key: part for key, part in twin.items() if not key.endswith("_version")}
            if isinstance(twin, dict)
            else twin
            for name, twin in sorted(entry["twin"].items())
        }
    return entry


def _with_base(event_id: str, now_ms: int, **members: Any) -> bytes:
    return orjson.dumps({"event_id": event_id, "timestamp": now_ms, **members})
