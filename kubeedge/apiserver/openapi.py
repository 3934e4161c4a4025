"""OpenAPI v3 documents, one a group version, for kubectl's explain, apply, create and diff.

They have the types with patch strategies and merge keys, and the paths with the parameters by which kubectl learns
what the server can do. Descriptions of built-in types are not shipped; custom kinds bring theirs along.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from kubeedge.apiserver.kinds.registry import Registry
from kubeedge.apiserver.kinds.spec import KindSpec
from kubeedge.apiserver.schema.types import Field, struct
from kubeedge.kube.api import JSON_PATCH, MERGE_PATCH, STRATEGIC_MERGE_PATCH

Document = dict[str, Any]

_REF = "#/components/schemas/"
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."
_SCALARS: dict[str, Document] = {
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    "int32": {"type": "integer", "format": "int32"},
    "int64": {"type": "integer", "format": "int64"},
    "double": {"type": "number", "format": "double"},
    "bytes": {"type": "string", "format": "byte"},
    "any": {"type": "object"},
}
_NAMED: dict[str, tuple[str, Document]] = {
    "time": (f"{_META}Time", {"type": "string", "format": "date-time"}),
    "microtime": (f"{_META}MicroTime", {"type": "string", "format": "date-time"}),
    "quantity": ("io.k8s.apimachinery.pkg.api.resource.Quantity", {"oneOf": [{"type": "string"}, {"type": "number"}]}),
    "intorstring": (
        "io.k8s.apimachinery.pkg.util.intstr.IntOrString",
        {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    ),
}
_LIST_META: Document = {
    "type": "object",
    "properties": {
        "continue": {"type": "string"},
        "remainingItemCount": {"type": "integer", "format": "int64"},
        "resourceVersion": {"type": "string"},
        "selfLink": {"type": "string"},
    },
}
_WRITE_PARAMETERS = ("dryRun", "fieldManager", "fieldValidation")
_PARAMETERS = {
    "create": _WRITE_PARAMETERS,
    "update": _WRITE_PARAMETERS,
    "patch": (*_WRITE_PARAMETERS, "force"),
    "list": ("continue", "fieldSelector", "labelSelector", "limit", "resourceVersion", "resourceVersionMatch"),
    "delete": ("dryRun", "gracePeriodSeconds", "propagationPolicy"),
    "deletecollection": ("dryRun", "fieldSelector", "gracePeriodSeconds", "labelSelector", "propagationPolicy"),
}
# (verb, HTTP method, on one object, name of the action)
_OPERATIONS = (
    ("list", "get", False, "list"),
    ("create", "post", False, "post"),
    ("deletecollection", "delete", False, "deletecollection"),
    ("get", "get", True, "get"),
    ("update", "put", True, "put"),
    ("patch", "patch", True, "patch"),
    ("delete", "delete", True, "delete"),
)
_INTEGERS = ("gracePeriodSeconds", "limit")
_PATCH_TYPES = (JSON_PATCH, MERGE_PATCH)
_KEPT_DOCUMENTS = 4

V2 = b"\n\x032.0\x12\x10\n\nKubernetes\x12\x02v1B\x00"
"""An OpenAPI v2 document without paths in protobuf, which is all that a client of today asks v2 for."""


def full_name(name: str) -> str:
    """`core.v1.Pod` as OpenAPI calls it: `io.k8s.api.core.v1.Pod`."""
    package = name.partition(".")[0]
    prefix = {
        "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.",
        "apiregistration": "io.k8s.kube-aggregator.pkg.apis.",
        "meta": "io.k8s.apimachinery.pkg.apis.",
    }.get(package, "io.k8s.api.")
    return prefix + name


def custom_name(spec: KindSpec) -> str:
    """`com.example.golden.v1.Widget` for a custom kind."""
    group = ".".join(reversed(spec.kind.group.split(".")))
    return f"{group}.{spec.kind.version}.{spec.kind.kind}"


def _expression(expression: str) -> Document:
    if expression.startswith("[]"):
        return {"type": "array", "items": _expression(expression[2:])}
    if expression.startswith("{}"):
        return {"type": "object", "additionalProperties": _expression(expression[2:])}
    if expression.startswith("*"):
        return {"$ref": _REF + full_name(expression[1:])}
    if expression in _NAMED:
        return {"$ref": _REF + _NAMED[expression][0]}
    return dict(_SCALARS[expression])


def _property(field: Field) -> Document:
    schema = _expression(field.type)
    extensions = {
        "default": field.default,
        "enum": list(field.enum) or None,
        "x-kubernetes-list-type": field.list or None,
        "x-kubernetes-list-map-keys": list(field.keys) or None,
        "x-kubernetes-map-type": field.map or None,
        "x-kubernetes-patch-strategy": field.strategy or None,
        "x-kubernetes-patch-merge-key": field.merge or None,
    }
    given = {key: value for key, value in extensions.items() if value is not None}
    if "$ref" in schema:
        return {"allOf": [schema], **given} if given else {"allOf": [schema]}
    return {**schema, **given}


def _references(expression: str) -> Iterator[str]:
    name = expression.lstrip("[]{}")
    if name.startswith("*") or name in _NAMED:
        yield name


def _type(name: str) -> Document:
    about = struct(name)
    schema: Document = {
        "type": "object",
        "properties": {field.name: _property(field) for field in about.fields.values()},
    }
    if required := [field.name for field in about.fields.values() if field.required]:
        schema["required"] = required
    if about.map:
        schema["x-kubernetes-map-type"] = about.map
    if about.kinds:
        schema["x-kubernetes-group-version-kind"] = [
            {"group": group, "version": version, "kind": kind} for group, version, kind in about.kinds
        ]
    return schema


def _gvk(spec: KindSpec, kind: str = "") -> Document:
    return {"group": spec.kind.group, "version": spec.kind.version, "kind": kind or spec.kind.kind}


class OpenApi:
    """The documents of a registry. version is the version of Kubernetes that they tell."""

    def __init__(self, registry: Registry, version: str) -> None:
        self._registry = registry
        self._version = version
        self._made: dict[tuple[str, str, int], bytes] = {}
        self._index: tuple[int, bytes] = (-1, b"")

    def index(self) -> bytes:
        """The document at /openapi/v3: where to find each group version, with a hash that changes with its contents."""
        generation, index = self._index
        if generation != self._registry.generation:
            paths = {}
            for group in self._registry.groups():
                for version in self._registry.versions(group):
                    path = f"apis/{group}/{version}" if group else f"api/{version}"
                    url = f"/openapi/v3/{path}?hash={self._hash(group, version)}"
                    paths[path] = {"serverRelativeURL": url}
            index = orjson.dumps({"paths": dict(sorted(paths.items()))})
            self._index = (self._registry.generation, index)
        return index

    def document(self, path: str) -> bytes | None:
        """The document of a group version: path is `api/v1` or `apis/<group>/<version>`; None for no such."""
        parts = path.strip("/").split("/")
        if len(parts) == 2 and parts[0] == "api":
            group, version = "", parts[1]
        elif len(parts) == 3 and parts[0] == "apis":
            group, version = parts[1:]
        else:
            return None
        key = (group, version, self._registry.generation)
        if key not in self._made:
            specs = self._of(group, version)
            if not specs:
                return None
            while len(self._made) >= _KEPT_DOCUMENTS:
                del self._made[next(iter(self._made))]
            self._made[key] = orjson.dumps(self._make(specs))
        return self._made[key]

    def _of(self, group: str, version: str) -> list[KindSpec]:
        wanted = (group, version)
        return [spec for spec in self._registry.specs() if (spec.kind.group, spec.kind.version) == wanted]

    def _hash(self, group: str, version: str) -> str:
        """What the document depends on: our version, and for custom kinds their definition."""
        digest = hashlib.sha512(f"{self._version} {group}/{version}".encode())
        for spec in self._of(group, version):
            digest.update(f"{spec.kind} {sorted(spec.subresources)}".encode())
            if spec.open_api is not None:
                digest.update(orjson.dumps(spec.open_api, option=orjson.OPT_SORT_KEYS))
        return digest.hexdigest().upper()

    def _make(self, specs: list[KindSpec]) -> Document:
        schemas: Document = {}
        paths: Document = {}
        for spec in specs:
            _add_kind(spec, schemas)
            _add_paths(spec, paths)
        return {
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": self._version},
            "paths": paths,
            "components": {"schemas": dict(sorted(schemas.items()))},
        }


def _add_kind(spec: KindSpec, schemas: Document) -> None:
    """Add the type of a kind, that of its list, and all that they use."""
    if spec.schema:
        name, waiting = full_name(spec.schema), [f"*{spec.schema}"]
    else:
        name, waiting = custom_name(spec), ["*meta.v1.ObjectMeta"]
        schemas[name] = _custom_type(spec)
    while waiting:
        expression = waiting.pop()
        if expression in _NAMED:
            full, schema = _NAMED[expression]
            schemas[full] = schema
            continue
        full = full_name(expression[1:])
        if full in schemas:
            continue
        schemas[full] = _type(expression[1:])
        for field in struct(expression[1:]).fields.values():
            waiting += _references(field.type)
    if "list" in spec.verbs:
        schemas[f"{_META}ListMeta"] = _LIST_META
        schemas[f"{name}List"] = {
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "items": {"type": "array", "items": {"$ref": _REF + name}},
                "kind": {"type": "string"},
                "metadata": {"allOf": [{"$ref": f"{_REF}{_META}ListMeta"}]},
            },
            "x-kubernetes-group-version-kind": [_gvk(spec, spec.list_kind)],
        }


def _custom_type(spec: KindSpec) -> Document:
    schema = dict(spec.open_api or {})
    head = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"allOf": [{"$ref": f"{_REF}{_META}ObjectMeta"}]},
    }
    schema["properties"] = {**(schema.get("properties") or {}), **head}
    schema["type"] = "object"
    schema["x-kubernetes-group-version-kind"] = [_gvk(spec)]
    return schema


def _add_paths(spec: KindSpec, paths: Document) -> None:
    namespace = "{namespace}" if spec.kind.namespaced else ""
    collection, item = spec.kind.path(namespace), spec.kind.path(namespace, "{name}")
    if spec.kind.namespaced and "list" in spec.verbs:
        paths[spec.kind.path()] = {"get": _operation(spec, "list", "list")}
    for verb, method, is_item, action in _OPERATIONS:
        if verb in spec.verbs:
            paths.setdefault(item if is_item else collection, {})[method] = _operation(spec, verb, action)
    for sub in spec.subresources.values():
        operations = {}
        for verb, method, _, action in _OPERATIONS:
            if verb in sub.verbs:
                operations[method] = _operation(spec, verb, action, sub.kind, sub.group or "", sub.version)
        paths[f"{item}/{sub.name}"] = operations


def _operation(spec: KindSpec, verb: str, action: str, kind: str = "", group: str = "", version: str = "") -> Document:
    about = {"group": group, "version": version, "kind": kind} if version else _gvk(spec, kind)
    reference = {"$ref": _REF + (full_name(spec.schema) if spec.schema else custom_name(spec))}
    is_own = not version and kind in ("", spec.kind.kind)
    schema = reference if is_own else {"type": "object"}
    content = {"application/json": {"schema": schema}}
    operation: Document = {
        "parameters": [
            {"name": name, "in": "query", "schema": {"type": "integer" if name in _INTEGERS else "string"}}
            for name in _PARAMETERS.get(verb, ())
        ],
        "responses": {"200": {"description": "OK", "content": content}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": about,
    }
    if verb in ("create", "update"):
        operation["requestBody"] = {"content": {"*/*": {"schema": schema}}}
    elif verb == "patch":
        # By this kubectl decides with which patch to apply.
        accepted = (*_PATCH_TYPES, *([STRATEGIC_MERGE_PATCH] if spec.strategic_patch else ()))
        operation["requestBody"] = {"content": {media: {"schema": {"type": "object"}} for media in accepted}}
    return operation
