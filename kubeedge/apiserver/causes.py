"""Constructors of causes, in the words in which a real server speaks of each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kubeedge.apiserver.gojson import json_text, quoted
from kubeedge.apiserver.status import Cause

IMMUTABLE = "field is immutable"


def shown(value: Any) -> str:
    """A value as it stands in a message: strings quoted, numbers plain, objects and lists as JSON."""
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, float):
        return f"{value:g}"
    return json_text(value)


def required(field: str, detail: str = "") -> Cause:
    return Cause("FieldValueRequired", f"Required value: {detail}" if detail else "Required value", field)


def invalid(field: str, value: Any, detail: str = "") -> Cause:
    text = f"Invalid value: {shown(value)}"
    return Cause("FieldValueInvalid", f"{text}: {detail}" if detail else text, field)


def not_supported(field: str, value: Any, supported: Iterable[str]) -> Cause:
    choices = ", ".join(map(quoted, supported))
    return Cause("FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {choices}", field)


def duplicate(field: str, value: Any) -> Cause:
    return Cause("FieldValueDuplicate", f"Duplicate value: {shown(value)}", field)


def not_found(field: str, value: Any) -> Cause:
    return Cause("FieldValueNotFound", f"Not found: {shown(value)}", field)


def forbidden(field: str, detail: str) -> Cause:
    return Cause("FieldValueForbidden", f"Forbidden: {detail}", field)


def too_long(field: str, limit: int) -> Cause:
    return Cause("FieldValueTooLong", f"Too long: may not be more than {limit} bytes", field)


def too_many(field: str, count: int, limit: int) -> Cause:
    return Cause("FieldValueTooMany", f"Too many: {count}: must have at most {limit} items", field)


def type_invalid(field: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueTypeInvalid", f"Invalid value: {shown(value)}: {detail}", field)
