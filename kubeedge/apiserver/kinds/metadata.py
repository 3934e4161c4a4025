"""ObjectMeta of every kind: what clients cannot set, and what it must look like."""

from __future__ import annotations

from typing import Any

from kubeedge.apiserver import names
from kubeedge.apiserver.causes import IMMUTABLE, forbidden, invalid, required, too_long
from kubeedge.apiserver.kinds.spec import Object
from kubeedge.apiserver.names import Check
from kubeedge.apiserver.status import Cause

_ANNOTATIONS_LIMIT_BYTES = 256 * 1024
_IMMUTABLE = ("name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
_SERVER_OWNED = ("selfLink", "managedFields")
_STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})


def prepare_create(obj: Object) -> None:
    """Drop what only the server sets. uid, creationTimestamp and resourceVersion are the engine's to fill."""
    metadata = obj["metadata"]
    for key in (*_SERVER_OWNED, "deletionTimestamp", "deletionGracePeriodSeconds"):
        metadata.pop(key, None)


def prepare_update(new: Object, old: Object) -> None:
    """Carry over what an update cannot change, so that only a real contradiction is refused."""
    metadata, before = new["metadata"], old["metadata"]
    for key in _SERVER_OWNED:
        metadata.pop(key, None)
    for key in ("generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"):
        if key in before:
            metadata[key] = before[key]
        else:
            metadata.pop(key, None)
    for key in ("uid", "generateName"):
        if key in before and not metadata.get(key):
            metadata[key] = before[key]


def keep(new: Object, old: Object, *fields: str) -> None:
    """Set fields of new's metadata back to what old has."""
    for key in fields:
        if key in old["metadata"]:
            new["metadata"][key] = old["metadata"][key]
        else:
            new["metadata"].pop(key, None)


def check_labels(found: list[Cause], values: dict[str, str] | None, field: str) -> None:
    """Check a map of labels."""
    for key, value in (values or {}).items():
        found += [invalid(field, key, problem) for problem in names.qualified_name(key)]
        found += [invalid(field, value, problem) for problem in names.label_value(value)]


def check_annotations(found: list[Cause], values: dict[str, str] | None, field: str) -> None:
    """Check a map of annotations, the size of all of them too."""
    values = values or {}
    for key in values:
        found += [invalid(field, key, problem) for problem in names.qualified_name(key.lower())]
    if sum(len(key) + len(value) for key, value in values.items()) > _ANNOTATIONS_LIMIT_BYTES:
        found.append(too_long(field, _ANNOTATIONS_LIMIT_BYTES))


def _owners(found: list[Cause], references: list[dict[str, Any]]) -> None:
    field, controller = "metadata.ownerReferences", ""
    for reference in references:
        version = reference.get("apiVersion", "").rpartition("/")[2]
        for key, value in (("apiVersion", version), ("kind", ""), ("name", ""), ("uid", "")):
            if not (value or (key != "apiVersion" and reference.get(key))):
                what = "version" if key == "apiVersion" else key
                found.append(invalid(f"{field}.{key}", reference.get(key, ""), f"{what} must not be empty"))
        if reference.get("controller"):
            who = f"{reference.get('kind', '')}/{reference.get('name', '')}"
            if controller:
                found.append(
                    invalid(
                        field,
                        references,
                        'Only one reference can have Controller set to true. Found "true" in references for '
                        f"{controller} and {who}",
                    )
                )
            controller = controller or who


def _finalizers(found: list[Cause], finalizers: list[str], kinds_own: bool) -> None:
    field = "metadata.finalizers"
    for finalizer in finalizers:
        found += [invalid(field, finalizer, problem) for problem in names.qualified_name(finalizer)]
    if kinds_own:
        for index, finalizer in enumerate(finalizers):
            if "/" not in finalizer and finalizer not in _STANDARD_FINALIZERS:
                found.append(
                    invalid(
                        f"{field}[{index}]",
                        finalizer,
                        "name is neither a standard finalizer name nor is it fully qualified",
                    )
                )
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        found.append(invalid(field, finalizers, "finalizer orphan and foregroundDeletion cannot be both set"))


def validate(obj: Object, namespaced: bool, name_check: Check, *, standard_finalizers: bool = True) -> list[Cause]:
    """What is wrong with an object's metadata by itself."""
    metadata, found = obj["metadata"], list[Cause]()
    generate_name = metadata.get("generateName", "")
    if generate_name:
        # What will be added makes a trailing hyphen or dot harmless.
        shortened = generate_name.rstrip("-.") + "a" if generate_name[-1] in "-." else generate_name
        found += [invalid("metadata.generateName", generate_name, problem) for problem in name_check(shortened)]
    name = metadata.get("name", "")
    if not name:
        found.append(required("metadata.name", "name or generateName is required"))
    else:
        found += [invalid("metadata.name", name, problem) for problem in name_check(name)]
    namespace = metadata.get("namespace", "")
    if namespaced:
        if not namespace:
            found.append(required("metadata.namespace"))
        else:
            found += [invalid("metadata.namespace", namespace, problem) for problem in names.dns_label(namespace)]
    elif namespace:
        found.append(forbidden("metadata.namespace", "not allowed on this type"))
    if metadata.get("generation", 0) < 0:
        found.append(invalid("metadata.generation", metadata["generation"], "must be greater than or equal to 0"))
    check_labels(found, metadata.get("labels"), "metadata.labels")
    check_annotations(found, metadata.get("annotations"), "metadata.annotations")
    _owners(found, metadata.get("ownerReferences") or [])
    _finalizers(found, metadata.get("finalizers") or [], standard_finalizers)
    return found


def validate_update(new: Object, old: Object) -> list[Cause]:
    """What is wrong with a change of metadata. The resourceVersion is the engine's concern."""
    metadata, before, found = new["metadata"], old["metadata"], list[Cause]()
    if before.get("deletionTimestamp"):
        present = before.get("finalizers") or []
        added = sorted(set(metadata.get("finalizers") or []).difference(present))
        if added:
            listed = ", ".join(f'"{finalizer}"' for finalizer in added)
            refusal = forbidden(
                "metadata.finalizers",
                "no new finalizers can be added if the object is being deleted, found new finalizers []string"
                f"{{{listed}}}",
            )
            found += [refusal, refusal]  # a real server looks twice, and says so twice
    for key in _IMMUTABLE:
        if metadata.get(key) != before.get(key):
            found.append(invalid(f"metadata.{key}", metadata.get(key), IMMUTABLE))
    return found
