"""Reads types.json: the types of the API by name, each parsed when first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import orjson


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct; generate.py says what each attribute means."""

    name: str
    type: str
    """An expression such as `string`, `*core.v1.PodSpec`, `[]*core.v1.Container`, `{}quantity`."""
    default: Any = None
    null: bool = False
    zero: bool = False
    required: bool = False
    enum: tuple[str, ...] = ()
    list: str = ""
    keys: tuple[str, ...] = ()
    map: str = ""
    strategy: str = ""
    """Patch strategies, comma separated: `merge`, `replace`, `retainKeys`."""
    merge: str = ""
    """Merge key of a list with strategy merge; empty for a list of scalars."""

    @property
    def element(self) -> str:
        """Name of the struct that the field holds, in a list or map too; empty when it holds none."""
        _, star, name = self.type.partition("*")
        return name if star else ""


@dataclass(frozen=True, slots=True)
class Struct:
    """A type with fields. kinds are the (group, version, kind) that it stands for at the top level."""

    name: str
    fields: dict[str, Field]
    kinds: tuple[tuple[str, str, str], ...] = ()
    map: str = ""

    @property
    def go_name(self) -> str:
        """`Pod` of `core.v1.Pod`."""
        return self.name.rpartition(".")[2]


def go_type(expression: str) -> str:
    """The type as a Go program prints it: `[]v1.Container`, `map[string]string`."""
    if expression.startswith("[]"):
        return "[]" + go_type(expression[2:])
    if expression.startswith("{}"):
        return "map[string]" + go_type(expression[2:])
    if expression.startswith("*"):
        return ".".join(expression[1:].rsplit(".", 2)[-2:])
    return {
        "double": "float64",
        "bytes": "[]uint8",
        "quantity": "resource.Quantity",
        "intorstring": "intstr.IntOrString",
        "time": "v1.Time",
        "microtime": "v1.MicroTime",
    }.get(expression, expression)


@cache
def _source() -> dict[str, tuple[int, int]]:
    """Where each type's definition stands in the file, so that only what is used gets parsed."""
    index = {}
    for start, line in _lines(_text()):
        name, _, _ = line.partition(b":")
        if name.startswith(b'"'):
            begin = start + len(name) + 1
            index[name[1:-1].decode()] = (begin, start + len(line.rstrip(b",")))
    return index


def _lines(text: bytes) -> list[tuple[int, bytes]]:
    lines, start = [], 0
    for line in text.split(b"\n"):
        lines.append((start, line))
        start += len(line) + 1
    return lines


@cache
def _text() -> bytes:
    return files("kubeedge.apiserver.schema").joinpath("types.json").read_bytes()


def _field(name: str, entry: Any) -> Field:
    if isinstance(entry, str):
        return Field(name, entry)
    expression, attributes = entry
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in attributes.items()
    }
    return Field(name, expression, **values)


@cache
def struct(name: str) -> Struct:
    """The type called name, such as `core.v1.Pod`. Raises KeyError for a name that isn't in types.json."""
    begin, end = _source()[name]
    entry = orjson.loads(_text()[begin:end])
    fields = {key: _field(key, value) for key, value in entry["fields"].items()}
    return Struct(name, fields, tuple(tuple(kind) for kind in entry.get("gvk", ())), entry.get("map", ""))


def names() -> list[str]:
    """Names of all types."""
    return list(_source())
