"""The three patches of the API: JSON patch (RFC 6902), merge patch (RFC 7386) and Kubernetes' strategic merge patch.

Every function takes the document as parsed JSON, may change it in place, and returns the result.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import orjson

from kubeedge.apiserver import gojson, status
from kubeedge.apiserver.schema.types import Field, struct
from kubeedge.kube.api import JSON_PATCH, MERGE_PATCH, ApiError

_MAX_OPERATIONS = 10000


class PatchError(ValueError):
    """A patch that can't be applied to this document, or that is no patch at all."""


def decode_patch(body: bytes, media_type: str) -> Any:
    """Parse the body of a PATCH: a list of operations for JSON patch, else an object. Raises ApiError (400, 413)."""
    prefix = "error decoding patch: " if media_type in (JSON_PATCH, MERGE_PATCH) else ""
    wanted, go_type = (
        (list, "[]handlers.jsonPatchOp") if media_type == JSON_PATCH else (dict, "map[string]interface {}")
    )
    try:
        patch = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise status.bad_request(prefix + (gojson.syntax_error(body) or str(error))) from None
    if not isinstance(patch, wanted):
        what = "object" if isinstance(patch, dict) else "array" if isinstance(patch, list) else type(patch).__name__
        what = {"str": "string", "int": "number", "float": "number"}.get(what, what)
        raise status.bad_request(f"{prefix}json: cannot unmarshal {what} into Go value of type {go_type}")
    if media_type == JSON_PATCH:
        for operation in patch:
            if not isinstance(operation, dict):
                raise status.bad_request(f"{prefix}json: cannot unmarshal into Go value of type handlers.jsonPatchOp")
        if len(patch) > _MAX_OPERATIONS:
            raise status.request_entity_too_large(
                f"The allowed maximum operations in a JSON patch is {_MAX_OPERATIONS}, got {len(patch)}"
            )
    return patch


def unprocessable() -> ApiError:
    """The 422 that answers a PatchError; a real server doesn't tell more."""
    return status.status(422, "Invalid", "the server rejected our request due to an error in our request", {})


# JSON patch


def _tokens(pointer: Any) -> list[str]:
    if not isinstance(pointer, str):
        raise PatchError("path is no string")
    if pointer == "":
        return []
    if not pointer.startswith("/"):
        raise PatchError(f"path {pointer!r} does not start with '/'")
    return [token.replace("~1", "/").replace("~0", "~") for token in pointer[1:].split("/")]


def _index(token: str, length: int) -> int:
    """The position that a token names in a list of length; negative ones count from the end, as real servers allow."""
    digits = token.removeprefix("-")
    if not digits.isascii() or not digits.isdigit() or (digits[0] == "0" and token != "0"):
        raise PatchError(f"{token!r} is no index")
    position = int(token)
    if position < 0:
        position += length
    if not 0 <= position < length:
        raise PatchError(f"index {token} is out of bounds")
    return position


def _find(document: Any, tokens: list[str]) -> Any:
    for token in tokens:
        if isinstance(document, dict):
            if token not in document:
                raise PatchError(f"there is no {token!r}")
            document = document[token]
        elif isinstance(document, list):
            document = document[_index(token, len(document))]
        else:
            raise PatchError(f"nothing is below {token!r}")
    return document


def _add(document: Any, tokens: list[str], value: Any) -> Any:
    if not tokens:
        return value
    parent, last = _find(document, tokens[:-1]), tokens[-1]
    if isinstance(parent, dict):
        parent[last] = value
    elif isinstance(parent, list):
        position = len(parent) if last == "-" else _index(last, len(parent) + 1)
        parent.insert(position, value)
    else:
        raise PatchError(f"nothing can be added below {last!r}")
    return document


def _remove(document: Any, tokens: list[str]) -> Any:
    if not tokens:
        raise PatchError("the whole document can't be removed")
    value = _find(document, tokens)
    parent, last = _find(document, tokens[:-1]), tokens[-1]
    del parent[last if isinstance(parent, dict) else _index(last, len(parent))]
    return value


def _replace(document: Any, tokens: list[str], value: Any) -> Any:
    if not tokens:
        return value
    _find(document, tokens)
    parent, last = _find(document, tokens[:-1]), tokens[-1]
    parent[last if isinstance(parent, dict) else _index(last, len(parent))] = value
    return document


def _copy(value: Any) -> Any:
    return orjson.loads(orjson.dumps(value))


def _equal(left: Any, right: Any) -> bool:
    """Equality of JSON: true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return bool(left == right)


def _value(operation: dict[str, Any]) -> Any:
    if "value" not in operation:
        raise PatchError(f"{operation.get('op')} without value")
    return operation["value"]


def json_patch(document: Any, operations: list[dict[str, Any]]) -> Any:
    """Apply RFC 6902 operations in order. Raises PatchError when one of them can't be done; document is spoilt then."""
    for operation in operations:
        name, path = operation.get("op"), _tokens(operation.get("path"))
        if name == "add":
            document = _add(document, path, _copy(_value(operation)))
        elif name == "replace":
            document = _replace(document, path, _copy(_value(operation)))
        elif name == "remove":
            _remove(document, path)
        elif name == "move":
            source = _tokens(operation.get("from"))
            if path[: len(source)] == source and path != source:
                raise PatchError("a value can't be moved into itself")
            if path != source or _find(document, source) is None:
                document = _add(document, path, _remove(document, source))
        elif name == "copy":
            document = _add(document, path, _copy(_find(document, _tokens(operation.get("from")))))
        elif name == "test":
            if not _equal(_find(document, path), _value(operation)):
                raise PatchError(f"{operation['path']!r} is another value")
        else:
            raise PatchError(f"unknown operation {name!r}")
    return document


# Merge patch


def merge_patch(document: Any, patch: Any) -> Any:
    """Apply an RFC 7386 patch: objects are merged, null removes, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = document if isinstance(document, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = merge_patch(result.get(key), value)
        else:
            result[key] = value
    return result


# Strategic merge patch

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_DELETE = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"
_NO_FIELD = Field("", "any")


def strategic_merge_patch(document: Any, patch: dict[str, Any], schema: str) -> Any:
    """Apply a strategic merge patch to an object whose type is called schema (`core.v1.Pod`). Raises PatchError."""
    return _merge_object(document, _copy(patch), f"*{schema}")


def _field(expression: str, key: str) -> Field:
    """The field key of a struct, or the element of a map; a field without rules for what has no type."""
    if expression.startswith("*"):
        return struct(expression[1:]).fields.get(key, _NO_FIELD)
    return _element_of(expression) if expression.startswith("{}") else _NO_FIELD


@cache
def _element_of(expression: str) -> Field:
    return Field("", expression[2:])


def _is_merged(field: Field) -> bool:
    return "merge" in field.strategy.split(",")


def _merge_object(original: Any, patch: dict[str, Any], expression: str) -> Any:
    directive = patch.pop(_DIRECTIVE, None)
    if directive == "replace":
        return patch
    if directive == "delete":
        return {}
    if directive is not None:
        raise PatchError(f"unknown patch type: {directive} in map: {gojson.printed(patch)}")
    if not isinstance(original, dict):
        original = {}
    _retain(original, patch)
    for key in [key for key in patch if key.startswith(_ORDER)]:
        name = key.removeprefix(_ORDER)
        _merge_ordered(original, patch, name, patch.pop(key), _field(expression, name))
    for key, value in patch.items():
        type_ = type(value)
        if key.startswith(_DELETE):
            _delete_values(original, key.removeprefix(_DELETE), value)
        elif value is None:
            original.pop(key, None)
        elif type_ is not dict and type_ is not list:
            original[key] = value
        elif type(original.get(key)) is not type_:
            original[key] = _without_directives(value)
        else:
            field = _field(expression, key)
            if type_ is list:
                original[key] = _merge_list(original[key], value, field)
            elif "replace" in field.strategy.split(","):
                original[key] = value
            else:
                original[key] = _merge_object(original[key], value, field.type)
    return original


def _retain(original: dict[str, Any], patch: dict[str, Any]) -> None:
    """`$retainKeys`: of the original only the listed keys stay; the patch may set only those."""
    keys = patch.pop(_RETAIN, None)
    if keys is None:
        return
    directives = (_DELETE, _ORDER)
    if not isinstance(keys, list) or any(
        value is not None and key not in keys and not key.startswith(directives) for key, value in patch.items()
    ):
        raise PatchError("invalid patch format of retainKeys")
    for key in [key for key in original if key not in keys]:
        del original[key]


def _delete_values(original: dict[str, Any], key: str, values: Any) -> None:
    if not isinstance(values, list):
        raise PatchError("invalid patch format of primitive list")
    present = original.get(key)
    if isinstance(present, list):
        original[key] = [value for value in present if value not in values]


def _without_directives(value: Any) -> Any:
    """A patch that stands for a new value: its directives and nulls are dropped."""
    if isinstance(value, dict):
        special = (_DIRECTIVE, _RETAIN)
        return {
            key: _without_directives(item)
            for key, item in value.items()
            if item is not None and key not in special and not key.startswith((_DELETE, _ORDER))
        }
    if isinstance(value, list):
        kept = (
            item for item in value if not (isinstance(item, dict) and item.get(_DIRECTIVE) in ("delete", "replace"))
        )
        return [_without_directives(item) for item in kept]
    return value


def _key_of(item: Any, merge_key: str) -> Any:
    """What identifies an element of a merged list: its merge key, or the scalar itself."""
    if not merge_key:
        return item
    if not isinstance(item, dict):
        raise PatchError("expected a map, but received a " + ("slice" if isinstance(item, list) else "string"))
    if merge_key not in item:
        raise PatchError(f"map: {gojson.printed(item)} does not contain declared merge key: {merge_key}")
    return item[merge_key]


def _merge_list(original: list[Any], patch: list[Any], field: Field) -> list[Any]:
    if not _is_merged(field):
        return patch
    if not original and not patch:
        return original
    if isinstance((original or patch)[0], dict) != bool(field.merge):
        raise PatchError(f"cannot merge lists without merge key for {field.name}")
    merged, wanted = _merge_elements(original, patch, field)
    order = [_key_of(item, field.merge) for item in wanted]
    return _ordered(merged, order, [_key_of(item, field.merge) for item in original], field.merge)


def _merge_elements(original: list[Any], patch: list[Any], field: Field) -> tuple[list[Any], list[Any]]:
    """(the elements after merging, those of the patch that are no directives)."""
    if not field.merge:
        return list(dict.fromkeys([*original, *patch])), patch
    wanted, replaces = [], False
    merged = list(original)
    for item in patch:
        directive = item.get(_DIRECTIVE) if isinstance(item, dict) else None
        if directive is None:
            wanted.append(item)
        elif directive == "delete":
            key = _key_of(item, field.merge)
            merged = [one for one in merged if _key_of(one, field.merge) != key]
        elif directive == "replace":
            replaces = True
        else:
            raise PatchError(f"unknown patch type: {directive} in map: {gojson.printed(item)}")
    if replaces:
        return wanted, []
    places = {_key_of(item, field.merge): place for place, item in reversed(list(enumerate(merged)))}
    for item in wanted:
        key = _key_of(item, field.merge)
        if key in places:
            merged[places[key]] = _merge_object(merged[places[key]], item, field.type.removeprefix("[]"))
        else:
            places[key] = len(merged)
            merged.append(_without_directives(item))
    return merged, wanted


def _ordered(items: list[Any], wanted: list[Any], present: list[Any], merge_key: str) -> list[Any]:
    """items in the order of the patch (wanted keys), those only the server has at the places that they had between."""
    rank = {key: place for place, key in reversed(list(enumerate(wanted)))}
    server_rank = {key: place for place, key in reversed(list(enumerate(present)))}
    patched = sorted((i for i in items if _key_of(i, merge_key) in rank), key=lambda i: rank[_key_of(i, merge_key)])
    others = [i for i in items if _key_of(i, merge_key) not in rank]
    others.sort(key=lambda i: server_rank.get(_key_of(i, merge_key), len(present)))
    result: list[Any] = []
    for item in patched:
        place = server_rank.get(_key_of(item, merge_key))
        while place is not None and others and server_rank.get(_key_of(others[0], merge_key), place) < place:
            result.append(others.pop(0))
        result.append(item)
    return result + others


def _merge_ordered(original: dict[str, Any], patch: dict[str, Any], name: str, order: Any, field: Field) -> None:
    """`$setElementOrder/name`: merge the list if the patch has it, then put its elements in the given order."""
    if not isinstance(order, list):
        raise PatchError("invalid patch format of setElementOrder list")
    keys = [_key_of(item, field.merge) for item in order]
    before, change = original.get(name), patch.pop(name, None)
    for value in (before, change):
        if value is not None and not isinstance(value, list):
            raise PatchError(f"expected a slice, but received a {'map' if isinstance(value, dict) else 'string'}")
    if change is not None:
        kept = [item for item in change if not (isinstance(item, dict) and _DIRECTIVE in item)]
        if any(_key_of(item, field.merge) not in keys for item in kept):
            raise PatchError(
                f"The order in patch list:\n{gojson.printed(change)}\n doesn't match {_ORDER[:-1]} list:\n"
                f"{gojson.printed(order)}\n"
            )
    if before is None and change is None:
        return
    if change is None:
        merged = before or []
    elif before is None:
        merged = _without_directives(change)
    elif not _is_merged(field):
        merged = change
    else:
        merged, _ = _merge_elements(before, change, field)
    present = [_key_of(item, field.merge) for item in before or []]
    original[name] = _ordered(merged, keys, present, field.merge)
