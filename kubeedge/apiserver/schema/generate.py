"""Makes types.json: `python -m kubeedge.apiserver.schema.generate SCHEMAS.json GO_SOURCES... > types.json`.

SCHEMAS.json is the `components.schemas` of a Kubernetes API's OpenAPI v3 documents. OpenAPI does not tell whether a
zero value is left out, written, or written as null; the struct tags of the Go API do, so the folders of the Go types
(`k8s.io/api`, `k8s.io/apimachinery/pkg/apis/meta/v1`, …) are read for that alone.

Format of types.json: one type a line, `{"gvk": [[group, version, kind], …], "fields": {name: field, …}}`. A field is
the expression of its type, or [expression, attributes] when there is more to say:

    expression   string int32 int64 double bool bytes time microtime quantity intorstring any, *NAME a struct,
                 []EXPR a list, {}EXPR a map
    default      what stands when the field is absent (`{}`: the struct with its own defaults)
    null         true: an absent or empty value is written as null
    zero         true: a zero value is left out (without it a zero value that was given stays)
    enum required list keys strategy merge  as in OpenAPI (x-kubernetes-list-type, …)
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import orjson

_PREFIXES = (
    ("io.k8s.apiextensions-apiserver.pkg.apis.", ""),
    ("io.k8s.kube-aggregator.pkg.apis.", ""),
    ("io.k8s.apimachinery.pkg.apis.", ""),
    ("io.k8s.api.", ""),
)
_SCALARS = {
    "io.k8s.apimachinery.pkg.api.resource.Quantity": "quantity",
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": "intorstring",
    "io.k8s.apimachinery.pkg.apis.meta.v1.Time": "time",
    "io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
}
_FREE = ("RawExtension", "FieldsV1", ".JSON", "JSONSchemaPropsOrArray", "JSONSchemaPropsOrBool", "OrStringArray")
_UNUSED = ("List", "DeleteOptions", "APIResource", "WatchEvent", "ShardInfo", "Status", "meta.v1.Patch")
# Times that are left out instead of written as null, unlike every other time that is no pointer.
_LEFT_OUT_TIMES = {("meta.v1.ObjectMeta", "creationTimestamp")}

_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\t(?:(\w+)[ \t]+)?([\w.*\[\]]+)[ \t]+`[^`]*json:\"([^\"]*)\"", re.MULTILINE)


class GoField(NamedTuple):
    """What a struct tag tells: the Go type and whether `omitempty` stands."""

    type: str
    omitempty: bool


def short_name(name: str) -> str:
    """`io.k8s.api.core.v1.Pod` as `core.v1.Pod`."""
    for prefix, replacement in _PREFIXES:
        if name.startswith(prefix):
            return replacement + name.removeprefix(prefix)
    return name


def go_fields(folders: list[Path]) -> dict[str, dict[str, GoField]]:
    """Fields by JSON name of every struct, named like the types (`core.v1.Pod`)."""
    structs: dict[str, dict[str, GoField]] = {}
    embedded: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted(folder.rglob("types*.go")):
            package = f"{path.parent.parent.name}.{path.parent.name}"
            for name, body in _STRUCT.findall(path.read_text()):
                fields = structs.setdefault(f"{package}.{name}", {})
                for _, go_type, tag in _FIELD.findall(body):
                    json_name, *options = tag.split(",")
                    if json_name:
                        fields[json_name] = GoField(go_type, "omitempty" in options)
                    elif "inline" in options:
                        embedded.setdefault(f"{package}.{name}", []).append(f"{package}.{go_type}")
    for name, parents in embedded.items():
        for parent in parents:
            structs[name] = {**structs.get(parent, {}), **structs[name]}
    return structs


def expression(schema: dict[str, Any]) -> str:
    """The type expression of an OpenAPI schema."""
    reference = schema.get("$ref") or next((part["$ref"] for part in schema.get("allOf", ())), "")
    if reference:
        name = reference.rpartition("/")[2]
        if name in _SCALARS:
            return _SCALARS[name]
        return "any" if name.endswith(_FREE) else "*" + short_name(name)
    kind = schema.get("type")
    if kind == "array":
        return "[]" + expression(schema["items"])
    if kind == "object":
        return "{}" + expression(schema["additionalProperties"]) if "additionalProperties" in schema else "any"
    if kind == "string":
        return "bytes" if schema.get("format") == "byte" else "string"
    if kind in ("integer", "number"):
        return str(schema.get("format", "int64" if kind == "integer" else "double"))
    return "bool" if kind == "boolean" else "any"


def field_of(owner: str, name: str, schema: dict[str, Any], required: bool, go: GoField | None) -> object:
    """One field in the format of types.json."""
    what = expression(schema)
    pointer = go is None or go.type.startswith("*")
    attributes: dict[str, Any] = {}
    if "default" in schema:
        attributes["default"] = schema["default"]
    if go is not None:
        is_time = what in ("time", "microtime") and not pointer
        if (is_time and (owner, name) not in _LEFT_OUT_TIMES) or (
            not go.omitempty and "default" not in schema and (pointer or what[0] in "[{" or what in ("bytes", "any"))
        ):
            attributes["null"] = True
            attributes.pop("default", None)
        elif what in ("quantity", "intorstring") and not pointer:
            attributes["default"] = {}
        elif not pointer and "default" not in schema:
            attributes["zero"] = True
    elif what[0] in "[{":
        attributes["zero"] = True
    for key, source in (
        ("enum", "enum"),
        ("list", "x-kubernetes-list-type"),
        ("keys", "x-kubernetes-list-map-keys"),
        ("map", "x-kubernetes-map-type"),
        ("strategy", "x-kubernetes-patch-strategy"),
        ("merge", "x-kubernetes-patch-merge-key"),
    ):
        if source in schema:
            attributes[key] = schema[source]
    if required:
        attributes["required"] = True
    return [what, attributes] if attributes else what


def generate(schemas: dict[str, Any], structs: dict[str, dict[str, GoField]]) -> str:
    """The text of types.json."""
    lines = []
    for name, schema in sorted(schemas.items()):
        short = short_name(name)
        if "properties" not in schema and not name.endswith("CustomResourceSubresourceStatus"):
            continue
        if short.startswith("meta.") and short.rpartition(".")[2].startswith(_UNUSED):
            continue
        if short.endswith("List") and "items" in schema.get("properties", {}):
            continue
        go = structs.get(short, {})
        required = set(schema.get("required", ()))
        entry: dict[str, Any] = {}
        if kinds := schema.get("x-kubernetes-group-version-kind"):
            entry["gvk"] = [[k["group"], k["version"], k["kind"]] for k in kinds]
        if schema.get("x-kubernetes-map-type"):
            entry["map"] = schema["x-kubernetes-map-type"]
        if unions := schema.get("x-kubernetes-unions"):
            entry["unions"] = unions
        entry["fields"] = {
            field: field_of(short, field, about, field in required, go.get(field))
            for field, about in schema.get("properties", {}).items()
        }
        lines.append(f"{orjson.dumps(short).decode()}:{orjson.dumps(entry).decode()}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(arguments: list[str]) -> None:
    """Read the named sources and write types.json to standard output."""
    schemas = orjson.loads(Path(arguments[0]).read_bytes())
    sys.stdout.write(generate(schemas, go_fields([Path(folder) for folder in arguments[1:]])))


if __name__ == "__main__":
    main(sys.argv[1:])
