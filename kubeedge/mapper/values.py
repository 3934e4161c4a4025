"""Values of a property between a device and text, which is what twins and desired values carry (spec 04 §7.2)."""

from __future__ import annotations

import math
import re
import struct
from decimal import Decimal
from typing import Any

import orjson
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError
from google.protobuf.wrappers_pb2 import (
    BoolValue,
    BytesValue,
    DoubleValue,
    FloatValue,
    Int32Value,
    Int64Value,
    StringValue,
    UInt32Value,
    UInt64Value,
)

Scalar = str | int | float | bool

MAX_TEXT = 512
# What the edge accepts in a twin (spec 04 §3.6); a value with anything else would be dropped there, and no one told.
_NOT_PLAIN = re.compile(r"[^a-zA-Z0-9_.,:/@#-]")

_TRUE = frozenset({"true", "t", "1"})
_FALSE = frozenset({"false", "f", "0"})

_WRAPPERS = {
    kind.DESCRIPTOR.full_name: kind
    for kind in (
        *(StringValue, BoolValue, FloatValue, DoubleValue, BytesValue),
        *(Int32Value, Int64Value, UInt32Value, UInt64Value),
    )
}


def to_text(value: Any) -> str:
    """Return a value that a driver has read as text.

    Numbers in plain decimal notation with the shortest digits that tell them apart, booleans as `true` and `false`,
    bytes as UTF-8 where they are it and as hexadecimal digits otherwise, None as nothing, the rest as JSON.
    """
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return str(value)
        case int():
            return str(int(value))
        case float():
            return _float_to_text(value)
        case bytes() | bytearray():
            return _bytes_to_text(bytes(value))
    try:
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS).decode()
    except TypeError:
        return str(value)


def _float_to_text(value: float) -> str:
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Inf" if value > 0 else "-Inf")
    text = format(Decimal(repr(float(value))), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _bytes_to_text(value: bytes) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        return value.hex()
    return text if text.isprintable() else value.hex()


def plain(text: str) -> str:
    """Return text as the edge takes it in a twin: what it refuses is replaced by `_`, what is too long is cut."""
    return _NOT_PLAIN.sub("_", text)[:MAX_TEXT]


def from_text(text: str, type_name: str) -> Scalar | bytes:
    """Turn a desired value into one of the type that the model names (lower case). Raises ValueError.

    A type that is not known gives the text as it is.
    """
    match type_name:
        case "int" | "integer":
            number = int(text, 10)
            if not -(2**63) <= number < 2**63:
                raise ValueError(f"{text} is no integer of 64 bits")
            return number
        case "float" | "double":
            return float(text)
        case "boolean":
            return _to_boolean(text)
        case "bytes":
            return text.encode()
    return text


def _to_boolean(text: str) -> bool:
    word = text.lower()
    if word in _TRUE or word in _FALSE:
        return word in _TRUE
    raise ValueError(f"{text!r} is neither true nor false")


def check_range(value: Any, minimum: str, maximum: str) -> None:
    """Raise ValueError when a number lies outside the limits of its model; a limit that is no number is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    if (low := _limit(minimum)) is not None and value < low:
        raise ValueError(f"{value} is less than the minimum {minimum}")
    if (high := _limit(maximum)) is not None and value > high:
        raise ValueError(f"{value} is more than the maximum {maximum}")


def _limit(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def from_any(value: AnyMessage) -> Scalar:
    """Return a value of `configData` (spec 04 §6.4). Raises ValueError for a type that has no place there.

    The Go edge makes a 32-bit float of every number: what was a whole number is an int again, other numbers get back
    the digits that were typed (0.1, not 0.10000000149011612).
    """
    kind = _WRAPPERS.get(value.type_url.rpartition("/")[2])
    if kind is None:
        raise ValueError(f"a value of type {value.type_url!r} cannot be used")
    try:
        held = kind.FromString(value.value).value
    except DecodeError as error:
        raise ValueError(f"damaged {value.type_url}: {error}") from None
    if isinstance(held, bytes):
        return held.decode("utf-8", "replace")
    if isinstance(held, float):
        if held.is_integer():
            return int(held)
        return _shortest_single(held) if kind is FloatValue else held
    scalar: Scalar = held
    return scalar


def _shortest_single(value: float) -> float:
    """Return the number with the fewest digits that is value as a 32-bit float."""
    wanted = struct.pack("<f", value)
    for digits in range(1, 10):
        candidate = float(f"{value:.{digits}g}")
        if struct.pack("<f", candidate) == wanted:
            return candidate
    return value
