"""`configData` of a protocol or a visitor as a typed object, forgiving about what people write in YAML."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar

import msgspec

from kubeedge.mapper.values import to_text

T = TypeVar("T", bound=msgspec.Struct)


class SettingsError(ValueError):
    """A key that is missing or cannot be used; the text names it."""


def decode(kind: type[T], values: Mapping[str, Any]) -> T:
    """Make a struct of the values. Raises SettingsError.

    Keys match whatever their case, as in Go: field `slave_id` takes `slaveID` and `SlaveId`. Numbers may be given as
    text and text as numbers. Keys that the struct does not know are left out: one device often serves two mappers.
    """
    fields = _fields(kind)
    known = {}
    for key, value in values.items():
        if (field := fields.get(_folded(key))) is not None:
            known[field.encode_name] = to_text(value) if field.type is str else value
    try:
        return msgspec.convert(known, kind, strict=False)
    except msgspec.ValidationError as error:
        raise SettingsError(_named(str(error), kind)) from None


@cache
def _fields(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    """Return the fields by the names that keys are matched with. Looking them up costs more than all the rest."""
    return {_folded(field.name): field for field in msgspec.structs.fields(kind)}


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _named(text: str, kind: type[msgspec.Struct]) -> str:
    """Turn msgspec's `Expected ... - at `$.slave_id`` into `slave_id: expected ...`."""
    what, _, where = text.partition(" - at `$.")
    key = where.rstrip("`")
    return f"{key}: {what[:1].lower()}{what[1:]}" if key else f"{what[:1].lower()}{what[1:]}"
