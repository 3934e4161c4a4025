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
_UNUSED = ("List", "APIResource", "WatchEvent", "ShardInfo", "Status", "meta.v1.Patch")
# Times that are left out instead of written as null, unlike every other time that is no pointer.
_LEFT_OUT_TIMES = {("meta.v1.ObjectMeta", "creationTimestamp")}

# Served kinds that SCHEMAS.json may lack: made from the Go source, or of open fields where that lacks them too.
_FROM_GO = {
    "admissionregistration.v1": (
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
        "ValidatingWebhookConfiguration",
    ),
    "autoscaling.v1": ("HorizontalPodAutoscaler",),
    "autoscaling.v2": ("HorizontalPodAutoscaler",),
    "flowcontrol.v1": ("FlowSchema", "PriorityLevelConfiguration"),
    "node.v1": ("RuntimeClass",),
}
_OPEN = (
    "admissionregistration.v1.MutatingAdmissionPolicy",
    "admissionregistration.v1.MutatingAdmissionPolicyBinding",
    "apiregistration.v1.APIService",
    "resource.v1.DeviceClass",
    "resource.v1.ResourceClaim",
    "resource.v1.ResourceClaimTemplate",
    "resource.v1.ResourceSlice",
)
_OPEN_FIELDS = {
    "apiVersion": "string",
    "kind": "string",
    "metadata": ["*meta.v1.ObjectMeta", {"default": {}}],
    "spec": "any",
    "status": "any",
}
_GO_SCALARS = {
    "string": "string",
    "bool": "bool",
    "int32": "int32",
    "int64": "int64",
    "[]byte": "bytes",
    "metav1.Time": "time",
    "metav1.MicroTime": "microtime",
    "resource.Quantity": "quantity",
    "intstr.IntOrString": "intorstring",
    "v1.ResourceList": "{}quantity",
    "corev1.ResourceList": "{}quantity",
}
_GROUPS = {
    "admissionregistration": "admissionregistration.k8s.io",
    "apiregistration": "apiregistration.k8s.io",
    "flowcontrol": "flowcontrol.apiserver.k8s.io",
    "node": "node.k8s.io",
    "resource": "resource.k8s.io",
}
_GO_PACKAGES = {"metav1": "meta.v1", "v1": "core.v1", "corev1": "core.v1"}

_STRUCT = re.compile(r"^type (\w+) struct \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_FIELD = re.compile(r"^\t(?:(\w+)[ \t]+)?([\w.*\[\]]+)[ \t]+`([^`]*)`", re.MULTILINE)
_TAG = re.compile(r"(\w+):\"([^\"]*)\"")


class GoField(NamedTuple):
    """What a struct tag tells: the Go type, whether `omitempty` stands, and how lists are patched."""

    type: str
    omitempty: bool
    strategy: str = ""
    merge: str = ""


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
                for _, go_type, text in _FIELD.findall(body):
                    tags = dict(_TAG.findall(text))
                    json_name, *options = tags.get("json", "-").split(",")
                    if json_name and json_name != "-":
                        strategy, merge = tags.get("patchStrategy", ""), tags.get("patchMergeKey", "")
                        fields[json_name] = GoField(go_type, "omitempty" in options, strategy, merge)
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


def go_expression(go_type: str, package: str, structs: dict[str, dict[str, GoField]]) -> str:
    """The type expression of a Go type that stands in package (`node.v1`)."""
    if go_type in _GO_SCALARS:
        return _GO_SCALARS[go_type]
    if go_type.startswith("*"):
        return go_expression(go_type[1:], package, structs)
    if go_type.startswith("[]"):
        return "[]" + go_expression(go_type[2:], package, structs)
    if go_type.startswith("map["):
        return "{}" + go_expression(go_type.partition("]")[2], package, structs)
    prefix, dot, name = go_type.rpartition(".")
    full = f"{_GO_PACKAGES.get(prefix, package) if dot else package}.{name}"
    if full in structs:
        return f"*{full}"
    return "any" if name in ("RawExtension", "ExtraValue") else "string"


def from_go(name: str, structs: dict[str, dict[str, GoField]], entries: dict[str, dict[str, Any]]) -> None:
    """Add the type called name and those that it uses to entries, as the Go source has them."""
    package = name.rpartition(".")[0]
    fields: dict[str, object] = {}
    entries[name] = {"fields": fields}
    for field, go in structs[name].items():
        expression = go_expression(go.type, package, structs)
        pointer, is_struct = go.type.startswith("*"), expression.startswith("*")
        attributes: dict[str, Any] = {}
        if is_struct and not pointer:
            attributes["default"] = {}
        elif (expression in ("time", "microtime") and not pointer) or (not go.omitempty and expression[0] in "[{"):
            attributes["null"] = True
        elif not pointer and go.omitempty:
            attributes["zero"] = True
        elif not pointer:
            attributes["default"] = {"bool": False, "int32": 0, "int64": 0}.get(expression, "")
        attributes |= {"strategy": go.strategy} if go.strategy else {}
        attributes |= {"merge": go.merge} if go.merge else {}
        fields[field] = [expression, attributes] if attributes else expression
        element = expression.partition("*")[2]
        if element and element not in entries and not element.startswith(("meta.", "core.")):
            from_go(element, structs, entries)


def _served(name: str) -> list[str]:
    """[group, version, kind] of a type that stands in no OpenAPI document."""
    package, version, kind = name.split(".")
    return [_GROUPS.get(package, package), version, kind]


def generate(schemas: dict[str, Any], structs: dict[str, dict[str, GoField]]) -> str:
    """The text of types.json."""
    entries: dict[str, dict[str, Any]] = {}
    for name, schema in schemas.items():
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
        if served := schema.get("x-kubernetes-group-version-kind"):
            entry["gvk"] = [[k["group"], k["version"], k["kind"]] for k in served]
        if schema.get("x-kubernetes-map-type"):
            entry["map"] = schema["x-kubernetes-map-type"]
        if unions := schema.get("x-kubernetes-unions"):
            entry["unions"] = unions
        entry["fields"] = {
            field: field_of(short, field, about, field in required, go.get(field))
            for field, about in schema.get("properties", {}).items()
        }
        entries[short] = entry
    for package, kinds in _FROM_GO.items():
        for kind in kinds:
            if f"{package}.{kind}" not in entries:
                from_go(f"{package}.{kind}", structs, entries)
                typed = entries[f"{package}.{kind}"]["fields"]
                typed |= {"apiVersion": "string", "kind": "string"}
                entries[f"{package}.{kind}"]["gvk"] = [_served(f"{package}.{kind}")]
    for name in _OPEN:
        entries.setdefault(name, {"gvk": [_served(name)], "fields": _OPEN_FIELDS})
    lines = [f"{orjson.dumps(name).decode()}:{orjson.dumps(entries[name]).decode()}" for name in sorted(entries)]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def main(arguments: list[str]) -> None:
    """Read the named sources and write types.json to standard output."""
    schemas = orjson.loads(Path(arguments[0]).read_bytes())
    sys.stdout.write(generate(schemas, go_fields([Path(folder) for folder in arguments[1:]])))


if __name__ == "__main__":
    main(sys.argv[1:])
