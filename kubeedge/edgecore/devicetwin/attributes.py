"""Attributes of devices: what a request changes of them (spec 04 §3.9)."""

from __future__ import annotations

from typing import Any

from kubeedge._speedups.twin import Device
from kubeedge.edgecore.devicetwin.batch import Batch
from kubeedge.edgecore.devicetwin.payloads import PayloadError, member
from kubeedge.edgecore.devicetwin.rows import Attribute, delete_attribute, replace_attribute


def change(device: Device, wanted: dict[str, Any], batch: Batch, *, is_whole: bool) -> dict[str, dict[str, Any] | None]:
    """Apply wanted to the attributes of a device and return what changed, None for a deleted one.

    With is_whole those that wanted does not name are deleted. Raises PayloadError, and has then changed nothing.
    """
    parsed = {name: _read(name, value) for name, value in wanted.items()}
    if device.attributes is None:
        device.attributes = {}
    attributes: dict[str, Attribute] = device.attributes
    changed: dict[str, dict[str, Any] | None] = {}
    for name, one in parsed.items():
        present = attributes.get(name)
        if one is None:
            if present is not None and (is_whole or present.is_optional):
                changed[name] = None
        elif present is None:
            value, optional, type_ = one
            attributes[name] = Attribute(value, optional is not False, "string" if type_ is None else type_)
            changed[name] = {"value": value} | _given(optional, type_)
        else:
            difference = _update(present, *one)
            if difference:
                changed[name] = difference
    if is_whole:
        changed |= dict.fromkeys(attributes.keys() - parsed.keys())
    for name, entry in changed.items():
        if entry is None:
            del attributes[name]
            batch.statements.append(delete_attribute(device.id, name))
        else:
            batch.statements.extend(replace_attribute(device.id, name, attributes[name]))
    if changed:
        batch.touched.add(device.id)
    return changed


def _read(name: str, value: Any) -> tuple[str, bool | None, str | None] | None:
    if value is None:
        return None
    if not isinstance(value, dict):
        raise PayloadError(f"attribute {name} is no object")
    metadata = member(value, "metadata", dict)
    type_ = None if metadata is None else member(metadata, "type", str, "")
    return member(value, "value", str, ""), member(value, "optional", bool), type_


def _update(attribute: Attribute, value: str, optional: bool | None, type_: str | None) -> dict[str, Any]:
    """Change an attribute; return what Go shows of the change, nothing when there is none."""
    changed: dict[str, Any] = {"value": ""}
    is_changed = attribute.value != value
    if is_changed:
        attribute.value = changed["value"] = value
    if optional is False and attribute.is_optional:
        attribute.is_optional = False
        changed |= _given(False, None)
        is_changed = True
    if type_ is not None and attribute.type != type_:
        attribute.type = type_
        changed |= _given(None, type_)
        is_changed = True
    return changed if is_changed else {}


def _given(optional: bool | None, type_: str | None) -> dict[str, Any]:
    given: dict[str, Any] = {}
    if optional is not None:
        given["optional"] = optional
    if type_ is not None:
        given["metadata"] = {"type": type_} if type_ else {}
    return given
