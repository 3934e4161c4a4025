"""CustomResourceDefinitions themselves: what they must look like, and the status that they get once accepted."""

from __future__ import annotations

from typing import Any

from kubeedge.apiserver import names
from kubeedge.apiserver.causes import IMMUTABLE, duplicate, forbidden, invalid, not_supported, required
from kubeedge.apiserver.kinds.spec import Object
from kubeedge.apiserver.schema.structural import INT_OR_STRING, PRESERVE, Schema
from kubeedge.apiserver.status import Cause

_TYPES = ("array", "boolean", "integer", "number", "object", "string")
_SCOPES = ("Cluster", "Namespaced")
_COLUMN_TYPES = ("integer", "number", "string", "boolean", "date")


def storage_version(definition: Object) -> str:
    """Name of the version in which objects are stored."""
    versions = definition["spec"].get("versions") or ()
    return next((str(version.get("name", "")) for version in versions if version.get("storage")), "")


def prepare_create(definition: Object) -> None:
    """A new definition has no accepted names yet."""
    version = storage_version(definition)
    definition["status"] = {
        "conditions": None,
        "acceptedNames": {"plural": "", "kind": ""},
        "storedVersions": [version] if version else None,
    }


def prepare_update(new: Object, old: Object) -> None:
    """A new storage version is remembered beside the ones in which objects may still be stored."""
    stored = (old.get("status") or {}).get("storedVersions") or []
    version = storage_version(new)
    if version and version not in stored:
        new["status"] = {**(new.get("status") or {}), "storedVersions": [*stored, version]}


def accepted_status(definition: Object, now: str) -> Object:
    """The status of a definition that is served. now is the time of the API for new conditions (RFC 3339)."""
    status = definition.get("status") or {}
    present = {one["type"]: one for one in status.get("conditions") or ()}
    wanted = (
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    )
    conditions = []
    for kind, reason, message in wanted:
        old = present.pop(kind, None)
        if old is not None and old.get("status") == "True":
            conditions.append(old)
            continue
        conditions.append(
            {"type": kind, "status": "True", "lastTransitionTime": now, "reason": reason, "message": message}
        )
    return {
        "conditions": [*conditions, *present.values()],
        "acceptedNames": definition["spec"]["names"],
        "storedVersions": status.get("storedVersions") or [storage_version(definition)],
    }


def conflicting_status(definition: Object, now: str, taken: str) -> Object:
    """The status of a definition whose name taken is already another kind's."""
    status = definition.get("status") or {}
    refused: Object = {
        "type": "NamesAccepted",
        "status": "False",
        "lastTransitionTime": now,
        "reason": "NameConflict",
        "message": f'"{taken}" is already in use',
    }
    waiting = {
        "type": "Established",
        "status": "False",
        "lastTransitionTime": now,
        "reason": "NotAccepted",
        "message": "not all names are accepted",
    }
    return {**status, "conditions": [refused, waiting], "acceptedNames": {"plural": "", "kind": ""}}


def check(definition: Object, path: str, found: list[Cause]) -> None:
    """Add what is wrong with a definition to found."""
    del path
    spec, name = definition.get("spec") or {}, definition["metadata"].get("name", "")
    naming, group = spec.get("names") or {}, spec.get("group", "")
    if name != f"{naming.get('plural', '')}.{group}":
        found.append(invalid("metadata.name", name, 'must be spec.names.plural+"."+spec.group'))
    if not group:
        found.append(required("spec.group"))
    else:
        found += [invalid("spec.group", group, problem) for problem in names.dns_subdomain(group)]
        if "." not in group:
            found.append(invalid("spec.group", group, "should be a domain with at least one dot"))
    scope = spec.get("scope", "")
    if scope not in _SCOPES:
        found.append(not_supported("spec.scope", scope, _SCOPES) if scope else required("spec.scope"))
    _names(naming, found)
    if spec.get("preserveUnknownFields"):
        detail = "must be false; use x-kubernetes-preserve-unknown-fields instead in the schema"
        found.append(invalid("spec.preserveUnknownFields", True, detail))
    _versions(spec, found)


def _names(naming: Object, found: list[Cause]) -> None:
    for field in ("plural", "singular", "kind", "listKind"):
        value = naming.get(field, "")
        where = f"spec.names.{field}"
        if not value:
            if field in ("plural", "kind"):
                found.append(required(where))
            continue
        found += [invalid(where, value, problem) for problem in names.dns_1035_label(value.lower())]
    for field in ("shortNames", "categories"):
        for index, value in enumerate(naming.get(field) or ()):
            where = f"spec.names.{field}[{index}]"
            found += [invalid(where, value, problem) for problem in names.dns_1035_label(value)]
    if naming.get("kind") and naming.get("kind") == naming.get("listKind"):
        found.append(invalid("spec.names.listKind", naming["listKind"], "kind and listKind may not be the same"))


def _versions(spec: Object, found: list[Cause]) -> None:
    versions = spec.get("versions") or []
    if not versions:
        found.append(required("spec.versions"))
    seen: set[str] = set()
    for index, version in enumerate(versions):
        where, name = f"spec.versions[{index}]", version.get("name", "")
        found += [invalid(f"{where}.name", name, problem) for problem in names.dns_1035_label(name)]
        if name in seen:
            found.append(duplicate(f"{where}.name", name))
        seen.add(name)
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            found.append(required(f"{where}.schema.openAPIV3Schema"))
        else:
            # A single version's schema is spoken of at the place where it stood in the first version of this API.
            lone = len(versions) == 1
            _root(schema, "spec.validation.openAPIV3Schema" if lone else f"{where}.schema.openAPIV3Schema", found)
        for place, column in enumerate(version.get("additionalPrinterColumns") or ()):
            at = f"{where}.additionalPrinterColumns[{place}]"
            found += [required(f"{at}.{field}") for field in ("name", "type", "jsonPath") if not column.get(field)]
            if column.get("type") and column["type"] not in _COLUMN_TYPES:
                found.append(invalid(f"{at}.type", column["type"], f"must be one of {','.join(_COLUMN_TYPES)}"))
    storing = sum(bool(version.get("storage")) for version in versions)
    if versions and storing != 1:
        found.append(invalid("spec.versions", versions, "must have exactly one version marked as storage version"))


def _root(schema: Schema, path: str, found: list[Cause]) -> None:
    kind = schema.get("type", "")
    if not kind:
        found.append(required(f"{path}.type", "must not be empty at the root"))
    elif kind != "object":
        found.append(invalid(f"{path}.type", kind, "must be object at the root"))
    _structure(schema, path, found)


def _structure(schema: Schema, path: str, found: list[Cause]) -> None:
    kind = schema.get("type", "")
    if kind and kind not in _TYPES:
        found.append(not_supported(f"{path}.type", kind, _TYPES))
    if schema.get("properties") and "additionalProperties" in schema:
        detail = "additionalProperties and properties are mutual exclusive"
        found.append(forbidden(f"{path}.additionalProperties", detail))
    if kind == "array" and "items" not in schema:
        found.append(required(f"{path}.items", "must be specified"))
    for key, child in sorted((schema.get("properties") or {}).items()):
        where = f"{path}.properties[{key}]"
        _typed(child, where, "must not be empty for specified object fields", found)
        _structure(child, where, found)
    items, additional = schema.get("items"), schema.get("additionalProperties")
    if isinstance(items, dict):
        _typed(items, f"{path}.items", "must not be empty for specified array items", found)
        _structure(items, f"{path}.items", found)
    if isinstance(additional, dict):
        where = f"{path}.additionalProperties"
        _typed(additional, where, "must not be empty for specified object fields", found)
        _structure(additional, where, found)
    if schema.get("x-kubernetes-list-type") == "map" and not schema.get("x-kubernetes-list-map-keys"):
        detail = "must not be empty if x-kubernetes-list-type is map"
        found.append(required(f"{path}.x-kubernetes-list-map-keys", detail))


def _typed(schema: Any, path: str, detail: str, found: list[Cause]) -> None:
    if not schema.get("type") and not schema.get(INT_OR_STRING) and not schema.get(PRESERVE):
        found.append(required(f"{path}.type", detail))


def validate_update(new: Object, old: Object) -> list[Cause]:
    """Scope and kind stay."""
    found, spec, before = list[Cause](), new["spec"], old["spec"]
    if spec.get("scope") != before.get("scope"):
        found.append(invalid("spec.scope", spec.get("scope"), IMMUTABLE))
    kind = (spec.get("names") or {}).get("kind")
    if kind != (before.get("names") or {}).get("kind"):
        found.append(invalid("spec.names.kind", kind, IMMUTABLE))
    return found
