"""Bodies in Kubernetes' protobuf form, which kubectl's typed commands send, to the JSON document that they stand for.

Only reading: every client takes JSON for an answer.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from struct import error as StructError
from struct import unpack
from typing import Any

import orjson

from kubeedge.apiserver.schema.types import Field, struct

MAGIC = b"k8s\0"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_VARINT_BYTES = 10

Document = dict[str, Any]


class ProtobufError(ValueError):
    """Not a body in Kubernetes' protobuf form, or of a type that has none."""


def read(body: bytes) -> Document:
    """Return the object of a body as JSON would have it. Raises ProtobufError."""
    if not body.startswith(MAGIC):
        raise ProtobufError("provided data does not appear to be a protobuf message")
    envelope = dict(_fields(body[len(MAGIC) :]))
    try:
        about = dict(_fields(envelope.get(1, b"")))
        api_version, kind = about.get(1, b"").decode(), about.get(2, b"").decode()
        group, _, version = api_version.rpartition("/")
        name = f"{group.partition('.')[0] or 'core'}.{version}.{kind}"
        raw = envelope.get(2, b"")
        content = _delete_options(raw) if kind == "DeleteOptions" else _message(name, raw)
        return {"kind": kind, "apiVersion": api_version, **content}
    except ProtobufError:
        raise
    except (ValueError, AttributeError, TypeError, OverflowError, OSError, StructError) as error:
        # A field holds something else than its type; nothing before has looked at that.
        raise ProtobufError(f"proto: {error}") from None


@cache
def _numbers() -> dict[str, dict[str, str]]:
    numbers: dict[str, dict[str, str]] = orjson.loads(
        files("kubeedge.apiserver.schema").joinpath("field_numbers.json").read_bytes()
    )
    return numbers


def _message(name: str, data: bytes, into: str = "") -> Document:
    """Read a message; into is the enclosing type for a message whose fields stand there in JSON."""
    try:
        numbers, fields = _numbers()[name], struct(into or name).fields
    except KeyError:
        raise ProtobufError(f"{name} has no protobuf form here") from None
    result: Document = {}
    for number, value in _fields(data):
        target = numbers.get(str(number))
        if target is None:
            continue
        if target.startswith("*"):
            result.update(_message(target[1:], value, into or name))
            continue
        field = fields[target]
        if field.type.startswith("[]"):
            result.setdefault(target, []).append(_value(field.type[2:], value, field))
        elif field.type.startswith("{}"):
            entry = dict(_fields(value))
            key = entry.get(1, b"").decode()
            result.setdefault(target, {})[key] = _value(field.type[2:], entry.get(2, b""), field)
        else:
            read_value = _value(field.type, value, field)
            if read_value is not None:
                result[target] = read_value
    return result


def _value(expression: str, value: Any, field: Field) -> Any:
    if field.name == "deleteOptions":
        return _delete_options(value)
    if expression.startswith("*"):
        return _message(expression[1:], value)
    if expression.startswith("[]"):
        # A list inside a map is a message with one repeated field.
        return [_value(expression[2:], item, field) for _, item in _fields(value)]
    if expression == "string":
        return value.decode()
    if expression == "bool":
        return bool(value)
    if expression in ("int32", "int64"):
        return value - (1 << 64) if value >= 1 << 63 else value
    if expression == "double":
        return unpack("<d", value)[0]
    if expression == "bytes":
        return b64encode(value).decode()
    inner = dict(_fields(value))
    if expression == "quantity":
        return inner.get(1, b"0").decode()
    if expression in ("time", "microtime"):
        return _time(inner.get(1, 0), inner.get(2, 0), micro=expression == "microtime")
    if expression == "intorstring":
        return inner.get(3, b"").decode() if inner.get(1, 0) else _value("int32", inner.get(2, 0), field)
    # Anything: JSON in a message of its own.
    return orjson.loads(inner[1]) if inner.get(1) else None


def _delete_options(data: bytes) -> Document:
    """The one body that is no type of objects."""
    options: Document = {}
    for number, value in _fields(data):
        match number:
            case 1:
                options["gracePeriodSeconds"] = value
            case 2:
                names = {1: "uid", 2: "resourceVersion"}
                options["preconditions"] = {names[key]: inner.decode() for key, inner in _fields(value) if key in names}
            case 3:
                options["orphanDependents"] = bool(value)
            case 4:
                options["propagationPolicy"] = value.decode()
            case 5:
                options.setdefault("dryRun", []).append(value.decode())
            case _:
                continue
    return options


def _time(seconds: int, nanoseconds: int, *, micro: bool) -> str | None:
    if not seconds and not nanoseconds:
        return None
    moment = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{moment}.{nanoseconds // 1000:06d}Z" if micro else f"{moment}Z"


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Give (number, value) of each field: whole numbers as they are, everything else as bytes."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if size is None:
            if kind != _BYTES:
                raise ProtobufError(f"proto: illegal wireType {kind}")
            size, at = _varint(data, at)
        if at + size > end:
            raise ProtobufError("unexpected EOF")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    for index in range(_MAX_VARINT_BYTES):
        if at + index >= len(data):
            raise ProtobufError("unexpected EOF")
        byte = data[at + index]
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result, at + index + 1
        shift += 7
    raise ProtobufError("proto: integer overflow")
