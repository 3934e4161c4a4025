"""Walks through an object along its type and lets the checks of every struct on the way speak.

What the schema knows (enumerations, required fields) is checked here for all types; what only words can say is in the
modules that are named after what they check.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from kubeedge.apiserver.causes import not_supported, required
from kubeedge.apiserver.kinds import definitions, pods, resources, services, workloads
from kubeedge.apiserver.kinds.spec import Object
from kubeedge.apiserver.schema.types import Field, struct
from kubeedge.apiserver.status import Cause

Check = Callable[[Object, str, list[Cause]], None]
"""(struct, its path, causes found so far, to which the check adds)."""

CHECKS: dict[str, Check] = {
    "apiextensions.v1.CustomResourceDefinition": definitions.check,
    **pods.CHECKS,
    **resources.CHECKS,
    **services.CHECKS,
    **workloads.CHECKS,
}

# Required by the schema, yet an empty string is a fine value.
_MAY_BE_EMPTY = frozenset(
    {
        ("authentication.v1.TokenReviewSpec", "token"),
        ("core.v1.HTTPHeader", "value"),
        ("core.v1.ResourceFieldSelector", "resource"),
        ("core.v1.ServicePort", "port"),
        ("core.v1.Sysctl", "value"),
        ("core.v1.Taint", "key"),
        ("core.v1.VolumeMount", "name"),
        ("discovery.v1.Endpoint", "addresses"),
        ("meta.v1.LabelSelectorRequirement", "operator"),
        ("rbac.v1.PolicyRule", "verbs"),
    }
)
# Enumerations that a real server lists in this order instead of the alphabetical one.
_ORDERS = {
    ("core.v1.PodSpec", "dnsPolicy"): ("ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"),
    ("core.v1.PodSpec", "restartPolicy"): ("Always", "OnFailure", "Never"),
    ("core.v1.Toleration", "operator"): ("Equal", "Exists"),
}
# Checked elsewhere (metadata, definitions), or written by controllers that are trusted.
_NOT_ENTERED = frozenset({"meta.v1.ObjectMeta", "apiextensions.v1.CustomResourceDefinitionSpec"})


class _Step(NamedTuple):
    name: str
    shape: str
    element: str
    enum: tuple[str, ...]
    is_required: bool


def _step(owner: str, field: Field) -> _Step | None:
    element = "" if field.element in _NOT_ENTERED or field.element.endswith("Status") else field.element
    if element and not _has_checks(element, frozenset()):
        element = ""
    is_required = field.required and (owner, field.name) not in _MAY_BE_EMPTY
    is_required = is_required and (
        field.type == "string" or field.type[0] in "[{" or (field.null and bool(field.element))
    )
    enum = _ORDERS.get((owner, field.name), field.enum)
    if not (element or enum or is_required):
        return None
    return _Step(field.name, field.type.partition("*")[0] if element else "", element, enum, is_required)


def _has_checks(name: str, above: frozenset[str]) -> bool:
    if name in CHECKS:
        return True
    if name in above:
        return False
    for field in struct(name).fields.values():
        if field.enum or (field.required and (name, field.name) not in _MAY_BE_EMPTY):
            return True
        if field.element and _has_checks(field.element, above | {name}):
            return True
    return False


@cache
def _steps(name: str) -> tuple[_Step, ...]:
    steps = (_step(name, field) for field in struct(name).fields.values())
    return tuple(step for step in steps if step is not None)


def check(name: str, obj: Object, path: str, found: list[Cause]) -> None:
    """Add to found what is wrong with a struct of the type called name that stands at path ("" for a whole object)."""
    prefix = f"{path}." if path else ""
    steps = _steps(name)
    for step in steps:
        value = obj.get(step.name)
        if value is None or value in ("", []):
            if step.is_required:
                found.append(required(prefix + step.name))
        elif step.enum and value not in step.enum:
            found.append(not_supported(prefix + step.name, value, step.enum))
    own = CHECKS.get(name)
    if own is not None:
        own(obj, path, found)
    for step in steps:
        value = obj.get(step.name) if step.element else None
        if value:
            _enter(step, value, prefix + step.name, found)


def _enter(step: _Step, value: Any, path: str, found: list[Cause]) -> None:
    if step.shape == "":
        check(step.element, value, path, found)
    elif step.shape == "[]":
        for index, item in enumerate(value):
            check(step.element, item, f"{path}[{index}]", found)
    else:
        for key, item in value.items():
            check(step.element, item, f"{path}[{key}]", found)
