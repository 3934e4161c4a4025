"""Bodies of requests: text to an object of the kind that a path expects, refused in a real server's words."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import orjson

from kubeedge.apiserver import gojson, status
from kubeedge.apiserver.kinds.registry import Registry
from kubeedge.apiserver.kinds.spec import KindSpec

JSON = "application/json"
YAML = "application/yaml"
PROTOBUF = "application/vnd.kubernetes.protobuf"
# In the order in which a refusal names them.
MEDIA_TYPES = (JSON, YAML, PROTOBUF)

_SUMMARY_BYTES = 30
# What a Go decoder calls the struct that it looks for kind and apiVersion with.
_HEAD = r'struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }'
_SCHEME = "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"


def media_type(content_type: str) -> str:
    """Return a Content-Type without its parameters; nothing counts as JSON."""
    return content_type.partition(";")[0].strip().lower() or JSON


def parse(body: bytes, content_type: str) -> Any:
    """Read a body as JSON, YAML or protobuf. Raises ValueError with a Go decoder's words, or ApiError 415."""
    kind = media_type(content_type)
    if kind == JSON:
        return parse_json(body)
    if kind == YAML:
        import yaml

        try:
            return yaml.load(body, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        except yaml.YAMLError as error:
            raise ValueError(f"error converting YAML to JSON: {error}") from None
    if kind == PROTOBUF:
        from kubeedge.apiserver import protobuf

        return protobuf.read(body)
    raise status.unsupported_media_type(MEDIA_TYPES)


def parse_json(body: bytes) -> Any:
    """Read JSON. Raises ValueError with a Go decoder's words."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise ValueError(gojson.syntax_error(body) or str(error)) from None


def read_object(body: bytes, content_type: str, spec: KindSpec, registry: Registry) -> dict[str, Any]:
    """Read the object of a create or update. kind and apiVersion may be absent; they come first in what is returned.

    Raises ApiError 400 or 415.
    """
    try:
        document = parse(body, content_type)
    except ValueError as error:
        _unrecognized(spec, f"json parse error: {error}", body)
    if not isinstance(document, dict):
        what = {list: "array", str: "string", bool: "bool", int: "number", float: "number"}.get(type(document), "null")
        if what == "null":
            document = {}
        else:
            _unrecognized(spec, f"json parse error: json: cannot unmarshal {what} into Go value of type {_HEAD}", body)
    return with_kind(document, spec, registry)


def _unrecognized(spec: KindSpec, why: str, body: bytes) -> NoReturn:
    raise status.bad_request(
        f"the object provided is unrecognized (must be of type {spec.kind.kind}): couldn't get version/kind; {why}"
        f" ({_summary(body)})"
    )


def _summary(body: bytes) -> str:
    if not body:
        return "<empty>"
    more = " ..." if len(body) > _SUMMARY_BYTES else ""
    head = body[:_SUMMARY_BYTES]
    return (head.decode("utf-8", "replace") if head[:1] == b"{" else head.hex()) + more


def with_kind(document: dict[str, Any], spec: KindSpec, registry: Registry) -> dict[str, Any]:
    """Check that document is of the kind expected and return it with kind, apiVersion and metadata in front."""
    kind = document.pop("kind", None) or spec.kind.kind
    api_version = document.pop("apiVersion", None) or spec.kind.api_version
    if (kind, api_version) != (spec.kind.kind, spec.kind.api_version):
        _wrong_kind(str(kind), str(api_version), spec, registry)
    metadata = document.pop("metadata", None)
    if metadata is not None and not isinstance(metadata, dict):
        raise status.bad_request(
            f'{kind} in version "{spec.kind.version}" cannot be handled as a {spec.kind.kind}: json: cannot unmarshal '
            f"{type(metadata).__name__} into Go struct field {kind}.metadata of type v1.ObjectMeta"
        )
    return {"kind": kind, "apiVersion": api_version, "metadata": metadata or {}, **document}


def _wrong_kind(kind: str, api_version: str, spec: KindSpec, registry: Registry) -> NoReturn:
    group, _, version = api_version.rpartition("/")
    expected = spec.kind
    head = f'{kind} in version "{version}" cannot be handled as a {expected.kind}: '
    if not spec.schema:
        if api_version != expected.api_version:
            raise status.bad_request(
                f"the API version in the data ({api_version}) does not match the expected API version"
                f" ({expected.api_version})"
            )
        raise status.bad_request(f"the kind in the data ({kind}) does not match the expected kind ({expected.kind})")
    if registry.by_kind(group, version, kind) is None:
        raise status.bad_request(
            f'{head}no kind "{kind}" is registered for version "{api_version}" in scheme "{_SCHEME}"'
        )
    internal = f"{expected.group.partition('.')[0] or 'core'}.{expected.kind}"
    raise status.bad_request(f"{head}converting ({version}.{kind}) to ({internal}): unknown conversion")


_KEY = re.compile(rb'"\s*:')


def duplicate_fields(body: bytes) -> list[str]:
    """Return the paths of keys that stand twice in one JSON object of body.

    Almost no body has any, and a body without has no more `":` than what is read from it has keys: that is looked at
    first, for a tenth of the time.
    """
    if len(_KEY.findall(body)) == _count_keys(orjson.loads(body)):
        return []
    import json

    found: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        seen: dict[str, Any] = {}
        for key, value in items:
            if key in seen:
                seen.setdefault("\0duplicates", []).append(key)
            seen[key] = value
        return seen

    def walk(value: Any, path: str) -> None:
        if isinstance(value, dict):
            found.extend(f"{path}{key}" for key in value.pop("\0duplicates", ()))
            for key, inner in value.items():
                walk(inner, f"{path}{key}.")
        elif isinstance(value, list):
            for index, inner in enumerate(value):
                walk(inner, f"{path.removesuffix('.')}[{index}].")

    walk(json.loads(body, object_pairs_hook=pairs), "")
    return found


def _count_keys(value: Any) -> int:
    if isinstance(value, dict):
        return len(value) + sum(_count_keys(inner) for inner in value.values() if isinstance(inner, dict | list))
    if isinstance(value, list):
        return sum(_count_keys(inner) for inner in value if isinstance(inner, dict | list))
    return 0
