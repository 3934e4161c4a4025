"""Kinds against recorded creations: defaults, preparation and refusals are those of a real server."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kubeedge.apiserver.crd import specs
from kubeedge.apiserver.kinds.registry import Registry
from kubeedge.apiserver.kinds.table import builtin
from tests.apiserver.recorded import (
    Creation,
    answer_to,
    created,
    creations,
    objects,
    spec_of,
    without_server_fields,
)

REGISTRY = builtin()

# What these need is more than the object itself: other objects, the request's options, the user.
NEED_A_SERVER = (
    "again",
    "differs",
    "absent",
    "strict",
    "bad fieldValidation",
    "bad dryRun",
    "not allowed",
    "cluster list",
    "with resourceVersion",
)
# Filled by admission, which looks at other objects.
ADMITTED: dict[str, tuple[str, ...]] = {
    "Pod": ("priority", "preemptionPolicy", "serviceAccount", "serviceAccountName", "tolerations", "volumes"),
    "Service": ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"),
    "Node": ("taints",),
}


def built_in_creations() -> list[Creation]:
    found = creations("objects", "pods", "workloads")
    return [one for one in found if not any(word in one.name for word in NEED_A_SERVER)]


def without_admission(obj: Any) -> Any:
    """An object without what admission adds to it."""
    if not isinstance(obj, dict) or obj.get("kind") == "Status":
        return obj
    spec = {key: value for key, value in (obj.get("spec") or {}).items() if key not in ADMITTED.get(obj["kind"], ())}
    for container in (*(spec.get("containers") or ()), *(spec.get("initContainers") or ())):
        mounts = [one for one in container.get("volumeMounts") or () if not one["name"].startswith("kube-api-access-")]
        container["volumeMounts"] = mounts
    for port in (spec.get("ports") or ()) if obj["kind"] == "Service" else ():
        port.pop("nodePort", None)
    metadata = {
        key: value
        for key, value in obj["metadata"].items()
        if key != "finalizers" or obj["kind"] != "PersistentVolumeClaim"
    }
    return {**obj, "metadata": metadata, **({"spec": spec} if "spec" in obj else {})}


@pytest.mark.parametrize("creation", built_in_creations(), ids=str)
def test_a_built_in_object_is_stored_or_refused_as_recorded(creation: Creation) -> None:
    code, answer = answer_to(spec_of(REGISTRY, creation), creation)
    assert code == creation.status
    assert without_admission(answer) == without_admission(without_server_fields(creation.answer))


@pytest.fixture(scope="module")
def registry() -> Registry:
    """Built-in kinds and the custom kind of the recordings."""
    found = builtin()
    definition = next(creations("crd"))
    for spec in specs(created(spec_of(found, definition), definition)):
        found.add(spec)
    return found


@pytest.mark.parametrize("creation", [one for one in creations("crd") if "strict" not in one.name], ids=str)
def test_definitions_and_custom_objects_are_stored_or_refused_as_recorded(
    creation: Creation, registry: Registry
) -> None:
    code, answer = answer_to(spec_of(registry, creation), creation)
    assert (code, answer) == (creation.status, without_server_fields(creation.answer))


def test_unknown_fields_are_named_with_their_paths(registry: Registry) -> None:
    widgets = registry.lookup("golden.example.com", "v1", "widgets")
    pods = registry.lookup("", "v1", "pods")
    assert widgets is not None
    assert pods is not None
    body = {
        "kind": "Widget",
        "metadata": {},
        "spec": {"unknown": 1, "free": {"any": 1}, "items": [{"name": "a", "x": 1}]},
    }
    obj, unknown = widgets.decode(body)
    assert unknown == ["spec.unknown", "spec.items[0].x"]
    assert obj["spec"] == {"free": {"any": 1}, "items": [{"name": "a"}]}
    _, unknown = pods.decode({"metadata": {"nonsense": 1}, "spec": {"containers": [{"name": "c", "imagee": "x"}]}})
    assert unknown == ["metadata.nonsense", "spec.containers[0].imagee"]


def test_objects_from_a_real_server_are_read_unchanged(registry: Registry) -> None:
    read = 0
    for obj in objects():
        group, _, version = obj["apiVersion"].rpartition("/")
        spec = registry.by_kind(group, version, obj["kind"])
        if spec is None or spec.is_virtual:
            continue
        found, unknown = spec.decode(copy.deepcopy(obj))
        spec.default(found)
        assert (found, unknown) == (obj, [])
        read += 1
    assert read > 100
