"""Structural schemas of custom kinds: which fields an object may have, and what absent ones become.

A schema is the `openAPIV3Schema` of a CustomResourceDefinition, used as the dict that it is.
"""

from __future__ import annotations

from typing import Any

import orjson

Schema = dict[str, Any]

PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
EMBEDDED = "x-kubernetes-embedded-resource"
_ROOT_FIELDS = ("apiVersion", "kind", "metadata")


def _child(schema: Schema, key: str) -> Schema | None:
    """The schema of a key of an object; {} when anything goes, None when the key is unknown."""
    properties = schema.get("properties") or {}
    if key in properties:
        return properties[key] or {}
    additional = schema.get("additionalProperties")
    if isinstance(additional, dict):
        return additional
    if additional is True or schema.get(PRESERVE):
        return {}
    return None


def prune(value: Any, schema: Schema, path: str = "", *, is_root: bool = True) -> list[str]:
    """Remove fields that the schema doesn't know, in place, and return their paths in the order of the document."""
    removed: list[str] = []
    is_object = is_root or bool(schema.get(EMBEDDED))
    if isinstance(value, dict):
        for key in list(value):
            if is_object and key in _ROOT_FIELDS:
                continue
            child = _child(schema, key)
            where = f"{path}.{key}" if path else key
            if child is None:
                del value[key]
                removed.append(where)
            elif _is_open(child):
                continue
            else:
                removed += prune(value[key], child, where, is_root=False)
    elif isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for index, item in enumerate(value):
                removed += prune(item, items, f"{path}[{index}]", is_root=False)
    return removed


def _is_open(schema: Schema) -> bool:
    """Nothing below has to be looked at."""
    return not schema or (bool(schema.get(PRESERVE)) and not schema.get("properties"))


def fill_defaults(value: Any, schema: Schema) -> None:
    """Fill absent fields with the schema's defaults, in place; a forbidden null becomes the default or goes."""
    if isinstance(value, dict):
        for key, child in (schema.get("properties") or {}).items():
            if key in value and value[key] is None and not child.get("nullable"):
                del value[key]
            if key not in value and "default" in child:
                value[key] = orjson.loads(orjson.dumps(child["default"]))
            if key in value:
                fill_defaults(value[key], child)
        additional = schema.get("additionalProperties")
        if isinstance(additional, dict):
            for key, item in value.items():
                if key not in (schema.get("properties") or {}):
                    fill_defaults(item, additional)
    elif isinstance(value, list) and isinstance(schema.get("items"), dict):
        for item in value:
            fill_defaults(item, schema["items"])


def has_rules(schema: Any) -> bool:
    """Whether x-kubernetes-validations stand anywhere in a schema."""
    if isinstance(schema, dict):
        return "x-kubernetes-validations" in schema or any(map(has_rules, schema.values()))
    return isinstance(schema, list) and any(map(has_rules, schema))
