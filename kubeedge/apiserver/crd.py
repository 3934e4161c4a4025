"""Custom kinds: makes KindSpecs of a CustomResourceDefinition, one for each served version.

Objects are pruned, defaulted and checked by the version's structural schema. Of `x-kubernetes-validations` (CEL) those
rules count that `cel` can read; the others are not enforced.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kubeedge.apiserver import cel, jsonpath, names
from kubeedge.apiserver.causes import invalid
from kubeedge.apiserver.gojson import json_text
from kubeedge.apiserver.gotime import TimeError, age
from kubeedge.apiserver.kinds import metadata
from kubeedge.apiserver.kinds.definitions import storage_version
from kubeedge.apiserver.kinds.fields import at
from kubeedge.apiserver.kinds.spec import Column, KindSpec, Object, Subresource
from kubeedge.apiserver.schema import conformance, structural
from kubeedge.apiserver.schema.reader import TypeMismatchError, reader
from kubeedge.apiserver.schema.structural import Schema
from kubeedge.apiserver.status import Cause
from kubeedge.kube.api import Kind

_VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")
_PART_VERBS = ("get", "patch", "update")
# After one of these a real server doesn't evaluate rules.
_BLOCKING = frozenset(
    {"FieldValueNotSupported", "FieldValueRequired", "FieldValueTooLong", "FieldValueTooMany", "FieldValueTypeInvalid"}
)
_NOT_CHECKED = (
    "some validation rules were not checked because the object was invalid; correct the existing errors to complete "
    "validation"
)
_DEFAULT_COLUMNS = ({"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},)


def specs(definition: Object) -> list[KindSpec]:
    """The kinds that a definition serves, preferred version first."""
    versions = [version for version in definition["spec"].get("versions") or () if version.get("served")]
    return [_Custom(definition, version).spec() for version in sorted(versions, key=_priority, reverse=True)]


def _priority(version: Object) -> tuple[int, int, int, str]:
    """Order of versions as Kubernetes has it: v2 before v1 before v1beta2 before v1alpha1 before other names."""
    name = version.get("name", "")
    digits, stage, number = name[1:], 3, "0"
    for place, word in ((2, "beta"), (1, "alpha")):
        if word in digits:
            digits, _, number = digits.partition(word)
            stage = place
    if not name.startswith("v") or not digits.isdigit() or not number.isdigit():
        return (0, 0, 0, name)
    return (stage, int(digits), int(number), name)


class _Custom:
    """One served version of a custom kind: its schema and the functions that a KindSpec needs."""

    def __init__(self, definition: Object, version: Object) -> None:
        spec, naming = definition["spec"], definition["spec"]["names"]
        namespaced = spec.get("scope") == "Namespaced"
        self.kind = Kind(spec["group"], version["name"], naming["plural"], naming["kind"], namespaced)
        self.stored = self.kind._replace(version=storage_version(definition))
        self.names = naming
        self.version = version
        self.schema: Schema = (version.get("schema") or {}).get("openAPIV3Schema") or {structural.PRESERVE: True}
        parts = version.get("subresources") or {}
        self.has_status = "status" in parts
        self.scale: Object | None = parts.get("scale")
        self.has_rules = structural.has_rules(self.schema)

    def spec(self) -> KindSpec:
        kind, converts = self.kind, self.kind.version != self.stored.version
        fields = [one["jsonPath"] for one in self.version.get("selectableFields") or ()]
        labels = ["metadata.name", *(["metadata.namespace"] if kind.namespaced else ())]
        labels += [path.removeprefix(".") for path in fields]
        columns = self.version.get("additionalPrinterColumns") or _DEFAULT_COLUMNS
        scale = self.scale or {}
        return KindSpec(
            kind=kind,
            singular=self.names.get("singular") or kind.kind.lower(),
            schema="",
            short_names=tuple(self.names.get("shortNames") or ()),
            categories=tuple(self.names.get("categories") or ()),
            verbs=_VERBS,
            subresources=self._subresources(),
            storage=self.stored if converts else None,
            to_storage=_with_version(self.stored.api_version) if converts else None,
            from_storage=_with_version(kind.api_version) if converts else None,
            unconditional_update=False,
            strategic_patch=False,
            decode=self.decode,
            default=lambda obj: structural.fill_defaults(obj, self.schema),
            prepare_create=self.prepare_create,
            prepare_update=self.prepare_update,
            prepare_status=self.prepare_status,
            validate=self.validate,
            validate_status=self.validate_status,
            selectable_fields=lambda obj: {label: _text(at(obj, tuple(label.split(".")))) for label in labels},
            selectable=frozenset(labels),
            scale_paths=(
                scale.get("specReplicasPath", ""),
                scale.get("statusReplicasPath", ""),
                scale.get("labelSelectorPath", ""),
            ),
            columns=(_NAME, *(_column(column) for column in columns)),
            row=_row(tuple(columns)),
            open_api=self.schema,
        )

    def _subresources(self) -> dict[str, Subresource]:
        found = {"status": Subresource("status", self.kind.kind, _PART_VERBS)} if self.has_status else {}
        if self.scale is not None:
            found["scale"] = Subresource("scale", "Scale", _PART_VERBS, "autoscaling", "v1")
        return found

    def decode(self, obj: Object) -> tuple[Object, list[str]]:
        content = {key: value for key, value in obj.items() if key != "metadata"}
        try:
            meta = reader("*meta.v1.ObjectMeta")(obj.get("metadata"))
        except TypeMismatchError as error:
            error.path.insert(0, "metadata")
            raise
        unknown = structural.prune(content, self.schema)
        head: Object = {key: content.pop(key) for key in ("kind", "apiVersion") if key in content}
        return {**head, "metadata": meta, **content}, unknown

    def prepare_create(self, obj: Object) -> None:
        metadata.prepare_create(obj)
        obj["metadata"]["generation"] = 1
        if self.has_status:
            obj.pop("status", None)

    def prepare_update(self, new: Object, old: Object) -> None:
        metadata.prepare_update(new, old)
        if self.has_status:
            _keep(new, old, "status")
        left_out = ("metadata", "status") if self.has_status else ("metadata",)
        if _but(new, left_out) != _but(old, left_out):
            new["metadata"]["generation"] = old["metadata"].get("generation", 0) + 1

    def prepare_status(self, new: Object, old: Object) -> None:
        version = new["metadata"].get("resourceVersion")
        new["metadata"] = {**old["metadata"], **({"resourceVersion": version} if version else {})}
        for key in {**new, **old}:
            if key not in ("metadata", "status"):
                _keep(new, old, key)

    def validate(self, new: Object, old: Object | None) -> list[Cause]:
        found = metadata.validate(new, self.kind.namespaced, names.dns_subdomain, standard_finalizers=False)
        if old is not None:
            found += metadata.validate_update(new, old)
        content = {key: value for key, value in new.items() if key != "metadata"}
        schema = {**self.schema, "required": [key for key in self.schema.get("required") or () if key != "metadata"]}
        found += conformance.check(content, schema, "")
        found += conformance.check_lists(content, schema, "")
        found += self._check_scale(new)
        return found + self._check_rules(found, content, old, "")

    def validate_status(self, new: Object, old: Object | None) -> list[Cause]:
        schema = (self.schema.get("properties") or {}).get("status") or {}
        found: list[Cause] = []
        if "status" in new:
            for cause in conformance.check(new["status"], schema, "status", ""):
                found.append(cause._replace(message=cause.message.replace(": . in body", ": in body")))
            found += conformance.check_lists(new["status"], schema, "status")
        return found + self._check_rules(found, new, old, "status")

    def _check_scale(self, obj: Object) -> list[Cause]:
        """The replicas of the scale subresource must be a whole number of at least 0."""
        path = (self.scale or {}).get("specReplicasPath")
        if not path:
            return []
        value = at(obj, tuple(path.strip(".").split(".")))
        if value is None:
            return []
        if not isinstance(value, int) or isinstance(value, bool):
            kind = {str: "string", float: "float64", bool: "bool"}.get(type(value), "map[string]interface {}")
            shown = f"{value:g}" if isinstance(value, float) else value
            return [invalid(path, 0, f"{path} accessor error: {shown} is of the type {kind}, expected int64")]
        return [] if value >= 0 else [invalid(path, value, "should be a non-negative integer")]

    def _check_rules(self, found: list[Cause], new: Object, old: Object | None, path: str) -> list[Cause]:
        if not self.has_rules:
            return []
        if any(cause.reason in _BLOCKING for cause in found):
            return [invalid("<nil>", None, _NOT_CHECKED)]
        if path:
            schema = (self.schema.get("properties") or {}).get(path) or {}
            return cel.check(new.get(path), (old or {}).get(path), schema, path)
        return cel.check(new, old, self.schema, "")


def _but(obj: Object, left_out: tuple[str, ...]) -> Object:
    return {key: value for key, value in obj.items() if key not in left_out}


def _keep(new: Object, old: Object, key: str) -> None:
    if key in old:
        new[key] = old[key]
    else:
        new.pop(key, None)


def _with_version(api_version: str) -> Callable[[Object], Object]:
    """Conversion without a webhook changes nothing but the version."""
    return lambda obj: {**obj, "apiVersion": api_version}


def _text(value: Any) -> str:
    if value is None:
        return ""
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


_NAME = Column("Name", "string", "Name of the object, unique in its namespace.", "name")


def _column(column: Object) -> Column:
    description = column.get("description") or f"What stands at {column.get('jsonPath', '')} of the object."
    name, kind, form = column.get("name", ""), column.get("type", ""), column.get("format", "")
    return Column(name, kind, description, form, column.get("priority", 0))


def _row(columns: tuple[Object, ...]) -> Callable[[Object, float], list[Any]]:
    paths = [(column.get("jsonPath", ""), column.get("type", "")) for column in columns]

    def row(obj: Object, now_s: float) -> list[Any]:
        return [obj["metadata"].get("name", ""), *(_cell(obj, path, kind, now_s) for path, kind in paths)]

    return row


def _cell(obj: Object, path: str, kind: str, now_s: float) -> Any:
    """The cell of a column; None where there is nothing to show or the value is of another type."""
    try:
        values = jsonpath.find(obj, path)
    except ValueError:
        return None
    if not values:
        return None
    if kind == "string":
        return " ".join(value if isinstance(value, str) else json_text(value) for value in values)
    value = values[0]
    if kind == "date":
        try:
            return age(value, now_s)
        except (TimeError, TypeError):
            return "<invalid>"
    if kind == "integer":
        return int(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if kind == "number":
        return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    return value if isinstance(value, bool) else None
