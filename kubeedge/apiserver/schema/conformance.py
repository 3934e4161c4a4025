"""Whether a value fits the OpenAPI schema of a custom kind, and in which words a real server says that it doesn't."""

from __future__ import annotations

import ipaddress
import re
from base64 import b64decode
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from kubeedge.apiserver import causes
from kubeedge.apiserver.gojson import json_text
from kubeedge.apiserver.gotime import TimeError, parse_time
from kubeedge.apiserver.schema.structural import INT_OR_STRING, Schema
from kubeedge.apiserver.status import Cause

_NOWHERE = "<nil>"


def check(value: Any, schema: Schema, path: str, name: str | None = None) -> list[Cause]:
    """What is wrong with value, which stands at path. name is what messages call it, if that differs from path."""
    found: list[Cause] = []
    _check(value, schema, path, path if name is None else name, found)
    return found


def type_name(value: Any) -> str:
    """The JSON schema type of a value; a whole float counts as an integer."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, str):
        return "string"
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return "integer"
    if isinstance(value, float):
        return "number"
    return "array" if isinstance(value, list) else "object"


def _types(schema: Schema) -> tuple[str, ...]:
    if schema.get(INT_OR_STRING):
        return ("integer", "string")
    kind = schema.get("type")
    return (kind,) if kind else ()


def _joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _invalid(path: str, value: Any, detail: str) -> Cause:
    return causes.invalid(path, value, detail)


def _check(value: Any, schema: Schema, path: str, name: str, found: list[Cause]) -> None:
    if value is None and schema.get("nullable"):
        return
    types, actual = _types(schema), type_name(value)
    if types and actual not in types and not (actual == "integer" and "number" in types):
        found.append(causes.type_invalid(path, actual, f'{name} in body must be of type {",".join(types)}: "{actual}"'))
        if "integer" in types and actual == "number" and ("minimum" in schema or "maximum" in schema):
            found.append(_invalid(_NOWHERE, "", f"Checked value must be of type integer (default format) in {name}"))
        return
    if isinstance(value, str):
        _check_string(value, schema, path, name, found)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_number(value, schema, path, name, found)
    elif isinstance(value, list):
        _check_list(value, schema, path, name, found)
    elif isinstance(value, dict):
        _check_object(value, schema, path, name, found)
    choices = schema.get("enum")
    if choices is not None and value not in choices:
        found.append(
            causes.not_supported(path, value, [one if isinstance(one, str) else json_text(one) for one in choices])
        )
    _check_combinations(value, schema, path, name, found)


@lru_cache(maxsize=512)
def _pattern(text: str) -> re.Pattern[str] | None:
    """The pattern as Python's re reads it, None for what only Go's can."""
    try:
        return re.compile(text.replace(r"\z", r"\Z"), re.ASCII)
    except re.error:
        return None


def _check_string(value: str, schema: Schema, path: str, name: str, found: list[Cause]) -> None:
    longest, shortest = schema.get("maxLength"), schema.get("minLength")
    if longest is not None and len(value) > longest:
        found.append(causes.too_long(path, longest))
    if shortest is not None and len(value) < shortest:
        found.append(_invalid(path, value, f"{name} in body should be at least {shortest} chars long"))
    if pattern := schema.get("pattern"):
        compiled = _pattern(pattern)
        if compiled is not None and not compiled.search(value):
            found.append(_invalid(path, value, f"{name} in body should match '{pattern}'"))
    form = schema.get("format")
    if form in _FORMATS and not _FORMATS[form](value):
        found.append(causes.type_invalid(path, value, f'{name} in body must be of type {form}: "{value}"'))


def _fits(function: Callable[[str], Any]) -> Callable[[str], bool]:
    def fits(value: str) -> bool:
        try:
            function(value)
        except (ValueError, TimeError):
            return False
        return True

    return fits


_UUID = re.compile(r"(?i)[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}")
_DURATION = re.compile(r"[+-]?(?:0|(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h|d|w)\s*)+")
_FORMATS: dict[str, Callable[[str], bool]] = {
    "byte": _fits(lambda value: b64decode(value, validate=True)),
    "cidr": _fits(lambda value: ipaddress.ip_network(value, strict=False)),
    "date": _fits(lambda value: parse_time(f"{value}T00:00:00Z")),
    "date-time": _fits(parse_time),
    "duration": lambda value: bool(_DURATION.fullmatch(value)),
    "email": lambda value: bool(re.fullmatch(r"[^@\s]+@[^@\s]+", value)),
    "hostname": lambda value: bool(re.fullmatch(r"(?i)[a-z0-9]([-a-z0-9.]*[a-z0-9])?\.?", value)),
    "ipv4": _fits(ipaddress.IPv4Address),
    "ipv6": _fits(ipaddress.IPv6Address),
    "uri": lambda value: ":" in value or value.startswith("/"),
    "uuid": lambda value: bool(_UUID.fullmatch(value)),
}


def _check_number(value: float, schema: Schema, path: str, name: str, found: list[Cause]) -> None:
    least, most, step = schema.get("minimum"), schema.get("maximum"), schema.get("multipleOf")
    if least is not None:
        if schema.get("exclusiveMinimum"):
            if value <= least:
                found.append(_invalid(path, value, f"{name} in body should be greater than {least:g}"))
        elif value < least:
            found.append(_invalid(path, value, f"{name} in body should be greater than or equal to {least:g}"))
    if most is not None:
        if schema.get("exclusiveMaximum"):
            if value >= most:
                found.append(_invalid(path, value, f"{name} in body should be less than {most:g}"))
        elif value > most:
            found.append(_invalid(path, value, f"{name} in body should be less than or equal to {most:g}"))
    if step and value % step:
        found.append(_invalid(path, value, f"{name} in body should be a multiple of {step:g}"))


def _check_list(value: list[Any], schema: Schema, path: str, name: str, found: list[Cause]) -> None:
    most, least = schema.get("maxItems"), schema.get("minItems")
    items = schema.get("items")
    if isinstance(items, dict):
        for index, item in enumerate(value):
            _check(item, items, f"{path}[{index}]", f"{name}[{index}]", found)
    if most is not None and len(value) > most:
        found.append(causes.too_many(path, len(value), most))
    if least is not None and len(value) < least:
        found.append(_invalid(path, len(value), f"{name} in body should have at least {least} items"))
    if schema.get("uniqueItems") and len({json_text(item) for item in value}) < len(value):
        found.append(_invalid(path, value, f"{name} in body shouldn't contain duplicates"))


def _check_object(value: dict[str, Any], schema: Schema, path: str, name: str, found: list[Cause]) -> None:
    properties = schema.get("properties") or {}
    for key in sorted({*schema.get("required", ()), *value}):
        where, called = _joined(path, key), _joined(name, key)
        if key not in value:
            found.append(causes.required(where))
        elif key in properties:
            _check(value[key], properties[key], where, called, found)
        elif isinstance(schema.get("additionalProperties"), dict):
            _check(value[key], schema["additionalProperties"], where, called, found)
    most, least = schema.get("maxProperties"), schema.get("minProperties")
    if most is not None and len(value) > most:
        found.append(causes.too_many(path, len(value), most))
    if least is not None and len(value) < least:
        found.append(_invalid(path, len(value), f"{name} in body should have at least {least} properties"))


def _check_combinations(value: Any, schema: Schema, path: str, name: str, found: list[Cause]) -> None:
    if every := schema.get("allOf"):
        problems = [check(value, one, path, name) for one in every]
        if any(problems):
            found.append(_invalid(_NOWHERE, "", f'"{name}" must validate all the schemas (allOf)'))
            for one in problems:
                found += one
    if some := schema.get("anyOf"):
        problems = [check(value, one, path, name) for one in some]
        if all(problems):
            found.append(_invalid(_NOWHERE, "", f'"{name}" must validate at least one schema (anyOf)'))
            found += _fewest(problems)
    if alternatives := schema.get("oneOf"):
        problems = [check(value, one, path, name) for one in alternatives]
        fitting = problems.count([])
        if fitting != 1:
            how_many = f"{fitting} valid alternatives" if fitting else "none valid"
            detail = f'"{name}" must validate one and only one schema (oneOf). Found {how_many}'
            found.append(_invalid(_NOWHERE, "", detail))
            if not fitting:
                found += _fewest(problems)
    if "not" in schema and not check(value, schema["not"], path, name):
        found.append(_invalid(_NOWHERE, "", f'"{name}" must not validate the schema (not)'))


def _fewest(problems: list[list[Cause]]) -> list[Cause]:
    return sorted(problems, key=len)[0]


def check_lists(value: Any, schema: Schema, path: str) -> list[Cause]:
    """Duplicate elements of lists that are sets or maps (x-kubernetes-list-type)."""
    found: list[Cause] = []
    if isinstance(value, dict):
        for key, item in value.items():
            child = (schema.get("properties") or {}).get(key, schema.get("additionalProperties"))
            if isinstance(child, dict):
                found += check_lists(item, child, _joined(path, key))
    elif isinstance(value, list):
        kind, keys = schema.get("x-kubernetes-list-type"), schema.get("x-kubernetes-list-map-keys") or ()
        seen: set[str] = set()
        for index, item in enumerate(value):
            if kind == "set":
                identity = item
            elif kind == "map" and isinstance(item, dict):
                identity = {key: item[key] for key in keys if key in item}
            else:
                identity = None
            if kind in ("set", "map"):
                text = json_text(identity)
                if text in seen:
                    found.append(causes.duplicate(f"{path}[{index}]", identity))
                seen.add(text)
            if isinstance(schema.get("items"), dict):
                found += check_lists(item, schema["items"], f"{path}[{index}]")
    return found
