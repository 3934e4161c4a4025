"""Brings a JSON value into the form in which a real API server keeps it, or says what is wrong in the server's words.

A reader is a function compiled once for each type: it checks types, leaves unknown fields and empty optional values
out, writes those values that are always written, and puts times and quantities into canonical form.
"""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Callable
from functools import cache
from typing import Any

from kubeedge.apiserver.gotime import TimeError, canonical_time
from kubeedge.apiserver.schema.types import Field, go_type, struct
from kubeedge.kube import quantity

Read = Callable[[Any], Any]

_INT_RANGES = {"int32": (-(2**31), 2**31 - 1), "int64": (-(2**63), 2**63 - 1)}


class TypeMismatchError(Exception):
    """A value that doesn't fit its type; str() is what a real server says."""

    def __init__(self, problem: str, expected: str = "") -> None:
        """problem is the whole message, or, with the Go type expected, what stood there: `string`, `number 1.5`."""
        super().__init__(problem)
        self.problem = problem
        self.expected = expected
        self.struct = ""
        self.path: list[str] = []

    def __str__(self) -> str:
        if not self.expected:
            return self.problem
        where = f"struct field {self.struct}.{'.'.join(self.path)}" if self.path else "value"
        return f"json: cannot unmarshal {self.problem} into Go {where} of type {self.expected}"


_GO_KINDS = {"array": "slice", "object": "map", "bool": "bool", "string": "string"}


def conversion_words(error: TypeMismatchError) -> str:
    """What a real server says of the same mistake in a strategic merge patch, which it reads by another way."""
    found, expected = error.problem, error.expected
    if not expected:
        return str(error)
    kind = _GO_KINDS.get(found, "float64" if "." in found else "int64")
    if expected.startswith("[]") and expected != "[]uint8":
        return f"cannot restore slice from {kind}"
    if expected.startswith("map["):
        return f"cannot restore map from {kind}"
    if "." in expected:
        return f"cannot restore struct from: {kind}"
    if kind in ("int64", "float64") and expected not in ("bool", "string" if kind == "float64" else ""):
        return f"cannot convert {kind} to {expected}"
    return f"unrecognized type: {expected}"


def describe(value: Any) -> str:
    """What a Go decoder calls a JSON value: `string`, `object`, `number 1.5`, …"""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, str):
        return "string"
    if isinstance(value, (int, float)):
        return "number"
    return "array" if isinstance(value, list) else "object"


def _mismatch(value: Any, expression: str) -> TypeMismatchError:
    return TypeMismatchError(describe(value), go_type(expression))


def _read_string(value: Any) -> Any:
    if type(value) is str:
        return value
    if value is None:
        return ""
    raise _mismatch(value, "string")


def _read_bool(value: Any) -> Any:
    if value is True or value is False:
        return value
    if value is None:
        return False
    raise _mismatch(value, "bool")


def _int_reader(expression: str) -> Read:
    low, high = _INT_RANGES[expression]

    def read(value: Any) -> Any:
        if type(value) is int and low <= value <= high:
            return value
        if value is None:
            return 0
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            raise TypeMismatchError(f"number {value}", expression)
        raise _mismatch(value, expression)

    return read


def _read_double(value: Any) -> Any:
    if type(value) in (int, float):
        return value
    if value is None:
        return 0
    raise _mismatch(value, "double")


def _read_bytes(value: Any) -> Any:
    if value is None:
        return ""
    if type(value) is not str:
        raise _mismatch(value, "bytes")
    try:
        b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise TypeMismatchError(f"illegal base64 data at input byte {_bad_base64_at(value)}") from None
    return value


def _bad_base64_at(value: str) -> int:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for index, char in enumerate(value):
        if char not in alphabet:
            return index
    return len(value)


def _time_reader(micro: bool) -> Read:
    def read(value: Any) -> Any:
        if value is None:
            return None
        if type(value) is not str:
            raise _mismatch(value, "string")
        try:
            return canonical_time(value, micro)
        except TimeError as error:
            raise TypeMismatchError(str(error)) from None

    return read


def _read_quantity(value: Any) -> Any:
    if value is None:
        return "0"
    text = value if type(value) is str else str(value)
    try:
        return quantity.canonical(text)
    except ValueError as error:
        raise TypeMismatchError(str(error)) from None


def _read_int_or_string(value: Any) -> Any:
    if type(value) is str:
        return value
    if value is None:
        return 0
    return _int_reader("int32")(value)


def _list_reader(expression: str) -> Read:
    element = reader(expression[2:])

    def read(value: Any) -> Any:
        if type(value) is list:
            return [element(item) for item in value]
        if value is None:
            return []
        raise _mismatch(value, expression)

    return read


def _map_reader(expression: str) -> Read:
    element = reader(expression[2:])

    def read(value: Any) -> Any:
        if type(value) is dict:
            return {key: element(item) for key, item in value.items()}
        if value is None:
            return {}
        raise _mismatch(value, expression)

    return read


def _absent(field: Field) -> Callable[[], Any] | None:
    """What to write for a field that isn't given; None to leave it out."""
    if field.null:
        return lambda: None
    if field.default is None:
        return None
    if field.type == "quantity":
        return lambda: "0"
    if field.type == "intorstring":
        return lambda: 0
    if isinstance(field.default, (dict, list)):
        read = reader(field.type)
        empty = type(field.default)
        return lambda: read(empty())
    default = field.default
    return lambda: default


def _struct_reader(expression: str) -> Read:
    about = struct(expression[1:])
    # name: (reader, leave out when empty, write null when empty)
    fields: dict[str, tuple[Read, bool, bool]] = {}
    always: list[tuple[str, Callable[[], Any]]] = []
    compiled = False

    def compile_fields() -> None:
        nonlocal compiled
        for name, field in about.fields.items():
            fields[name] = (reader(field.type), field.zero, field.null)
            absent = _absent(field)
            if absent is not None:
                always.append((name, absent))
        compiled = True

    def read(value: Any) -> Any:
        if type(value) is not dict:
            if value is not None:
                raise _mismatch(value, expression)
            value = {}
        if not compiled:
            compile_fields()
        result = {}
        key = ""
        try:
            for key, item in value.items():
                if item is None or key not in fields:
                    continue
                read_field, leave_out, null = fields[key]
                item = read_field(item)
                if not item and item is not None and leave_out:
                    continue
                if null and (item is None or item in ([], {})):
                    continue
                result[key] = item
        except TypeMismatchError as error:
            error.struct = error.struct or about.go_name
            error.path.insert(0, key)
            raise
        for key, absent in always:
            if key not in result:
                result[key] = absent()
        return result

    return read


@cache
def reader(expression: str) -> Read:
    """The reader of a type expression; `*core.v1.Pod` for a whole object. It raises TypeMismatchError."""
    if expression.startswith("*"):
        return _struct_reader(expression)
    if expression.startswith("[]"):
        return _list_reader(expression)
    if expression.startswith("{}"):
        return _map_reader(expression)
    if expression in _INT_RANGES:
        return _int_reader(expression)
    return {
        "string": _read_string,
        "bool": _read_bool,
        "double": _read_double,
        "bytes": _read_bytes,
        "time": _time_reader(micro=False),
        "microtime": _time_reader(micro=True),
        "quantity": _read_quantity,
        "intorstring": _read_int_or_string,
        "any": lambda value: value,
    }[expression]


Find = Callable[[Any, str, list[str]], None]


@cache
def _finder(expression: str) -> Find | None:
    """What adds the paths of fields that a type doesn't have to a list; None for a type that can hold no struct."""
    if expression.startswith("*"):
        return _struct_finder(expression)
    if expression.startswith(("[]*", "{}*")):
        find = _struct_finder(expression[2:])
        return _list_finder(find) if expression.startswith("[]") else _map_finder(find)
    return None


def _struct_finder(expression: str) -> Find:
    about = struct(expression[1:])
    # Filled at the first use, for a struct may hold itself.
    inner: dict[str, Find | None] = {}

    def find(value: Any, path: str, found: list[str]) -> None:
        if type(value) is not dict:
            return
        if not inner:
            inner.update({name: _finder(field.type) for name, field in about.fields.items()})
        for key, item in value.items():
            if key not in inner:
                found.append(f"{path}.{key}" if path else key)
            elif item:
                find_inner = inner[key]
                if find_inner is not None:
                    find_inner(item, f"{path}.{key}" if path else key, found)

    return find


def _list_finder(element: Find) -> Find:
    def find(value: Any, path: str, found: list[str]) -> None:
        if type(value) is list:
            for index, item in enumerate(value):
                element(item, f"{path}[{index}]", found)

    return find


def _map_finder(element: Find) -> Find:
    def find(value: Any, path: str, found: list[str]) -> None:
        if type(value) is dict:
            for key, item in value.items():
                element(item, f"{path}.{key}", found)

    return find


def unknown_fields(expression: str, value: Any) -> list[str]:
    """Paths of fields that the type doesn't have, in the order of the document: `spec.containers[0].nonsense`."""
    found: list[str] = []
    find = _finder(expression)
    if find is not None:
        find(value, "", found)
    return found
