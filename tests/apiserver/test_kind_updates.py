"""What a change of an object may touch, what it counts up, and what never changes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from kubeedge.apiserver.crd import specs
from kubeedge.apiserver.kinds.spec import KindSpec, Object
from kubeedge.apiserver.kinds.table import builtin

REGISTRY = builtin()


def spec_of(group: str, version: str, plural: str) -> KindSpec:
    found = REGISTRY.lookup(group, version, plural)
    assert found is not None
    return found


PODS = spec_of("", "v1", "pods")
DEPLOYMENTS = spec_of("apps", "v1", "deployments")
SERVICES = spec_of("", "v1", "services")
DEFINITIONS = spec_of("apiextensions.k8s.io", "v1", "customresourcedefinitions")


def stored(spec: KindSpec, /, **content: Any) -> Object:
    """An object as it would be in storage."""
    head = {"kind": spec.kind.kind, "apiVersion": spec.kind.api_version}
    metadata = {"name": "x", "namespace": "ns", "uid": "u", **content.pop("metadata", {})}
    if not spec.kind.namespaced:
        del metadata["namespace"]
    obj, _ = spec.decode({**head, "metadata": metadata, **content})
    spec.default(obj)
    spec.prepare_create(obj)
    obj["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z"
    assert spec.validate(obj, None) == []
    return obj


def changed(obj: Object, /, **parts: Any) -> Object:
    new = copy.deepcopy(obj)
    for key, value in parts.items():
        new[key] = {**(new.get(key) or {}), **value} if isinstance(value, dict) else value
    return new


def pod(**spec: Any) -> Object:
    return stored(PODS, spec={"containers": [{"name": "c", "image": "i:1"}], **spec})


def deployment() -> Object:
    labels = {"app": "x"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    return stored(DEPLOYMENTS, spec={"selector": {"matchLabels": labels}, "template": template})


def test_an_update_keeps_status_and_counts_the_generation_when_the_spec_changed() -> None:
    old = changed(deployment(), status={"replicas": 2})
    new = changed(old, status={"replicas": 9}, metadata={"generation": 7, "labels": {"a": "b"}})
    DEPLOYMENTS.prepare_update(new, old)
    assert new["status"] == {"replicas": 2}
    assert new["metadata"]["generation"] == 1
    new = changed(old, spec={"replicas": 3})
    DEPLOYMENTS.prepare_update(new, old)
    assert new["metadata"]["generation"] == 2


def test_a_status_update_keeps_everything_else() -> None:
    old = deployment()
    new = changed(old, status={"replicas": 1}, spec={"replicas": 5}, metadata={"labels": {"via": "status"}})
    DEPLOYMENTS.prepare_status(new, old)
    assert new["status"] == {"replicas": 1}
    assert new["spec"] == old["spec"]
    assert "labels" not in new["metadata"]
    assert new["metadata"]["generation"] == 1


def test_labels_of_a_pod_can_be_set_through_its_status() -> None:
    old = pod()
    new = changed(old, metadata={"labels": {"via": "status"}, "ownerReferences": [{"uid": "o"}]})
    PODS.prepare_status(new, old)
    assert new["metadata"]["labels"] == {"via": "status"}
    assert "ownerReferences" not in new["metadata"]


def test_no_update_takes_a_deletion_back() -> None:
    old = changed(pod(), metadata={"deletionTimestamp": "2026-01-01T00:00:00Z", "deletionGracePeriodSeconds": 30})
    new = changed(old)
    del new["metadata"]["deletionTimestamp"], new["metadata"]["deletionGracePeriodSeconds"]
    PODS.prepare_update(new, old)
    assert new["metadata"] == old["metadata"]


def refusals(spec: KindSpec, new: Object, old: Object) -> list[str]:
    return [str(cause) for cause in spec.validate(new, old)]


@pytest.mark.parametrize(
    "change",
    [
        {"containers": [{"name": "c", "image": "i:2"}]},
        {"activeDeadlineSeconds": 5},
        {"tolerations": [{"key": "k", "operator": "Exists"}]},
    ],
)
def test_these_parts_of_a_pod_may_change(change: Object) -> None:
    old = pod()
    new = changed(old)
    for key, value in change.items():
        new["spec"][key] = value
    new["spec"]["containers"] = [{**old["spec"]["containers"][0], **new["spec"]["containers"][0]}]
    assert refusals(PODS, new, old) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nodeName": "n"}, "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`"),
        ({"containers": []}, "spec.containers: Forbidden: pod updates may not add or remove containers"),
        ({"activeDeadlineSeconds": 50}, "spec.activeDeadlineSeconds: Invalid value: 50: must be less than or equal to"),
        ({"tolerations": []}, "spec.tolerations: Forbidden: existing toleration can not be modified"),
    ],
)
def test_other_parts_of_a_pod_may_not_change(change: Object, words: str) -> None:
    old = pod(activeDeadlineSeconds=10, tolerations=[{"key": "k", "operator": "Exists"}])
    assert any(refusal.startswith(words) for refusal in refusals(PODS, changed(old, spec=change), old))


def test_the_refusal_of_a_change_shows_the_change() -> None:
    old = pod()
    new = changed(old)
    new["spec"]["containers"][0]["command"] = ["x"]
    refusal = refusals(PODS, new, old)[0]
    assert "@@ -1,6 +1,9 @@" in refusal
    assert '\n+   "command": [\n+    "x"\n+   ],\n' in refusal


def test_the_selector_of_a_workload_never_changes() -> None:
    old = deployment()
    new = changed(old, spec={"selector": {"matchLabels": {"app": "y"}}})
    assert refusals(DEPLOYMENTS, new, old)[-1] == (
        'spec.selector: Invalid value: {"matchLabels":{"app":"y"}}: field is immutable'
    )


def test_a_service_keeps_its_address_when_an_update_does_not_name_it() -> None:
    old = stored(SERVICES, spec={"ports": [{"port": 80}]})
    old["spec"] |= {"clusterIP": "10.0.0.5", "clusterIPs": ["10.0.0.5"]}
    new = changed(old)
    del new["spec"]["clusterIP"], new["spec"]["clusterIPs"]
    SERVICES.prepare_update(new, old)
    assert new["spec"]["clusterIPs"] == ["10.0.0.5"]
    other = changed(old, spec={"clusterIP": "10.0.0.6"})
    assert refusals(SERVICES, other, old)[-1].endswith("may not change once set")


def test_immutable_metadata_is_named() -> None:
    old = pod()
    new = changed(old, metadata={"uid": "other"})
    assert refusals(PODS, new, old) == ['metadata.uid: Invalid value: "other": field is immutable']


@pytest.mark.parametrize(
    ("plural", "content", "change"),
    [
        ("storageclasses", {"provisioner": "p"}, {"provisioner": "q"}),
        ("priorityclasses", {"value": 1}, {"value": 2}),
        ("runtimeclasses", {"handler": "h"}, {"handler": "i"}),
    ],
)
def test_what_is_fixed_at_creation_stays(plural: str, content: Object, change: Object) -> None:
    spec = next(one for one in REGISTRY.specs() if one.kind.plural == plural)
    old = stored(spec, **content)
    assert any("field is immutable" in refusal for refusal in refusals(spec, changed(old, **change), old))


def definition(*versions: Object) -> Object:
    names = {"plural": "things", "kind": "Thing"}
    spec = {"group": "e.example.com", "scope": "Namespaced", "names": names, "versions": list(versions)}
    return stored(DEFINITIONS, metadata={"name": "things.e.example.com"}, spec=spec)


def version(name: str, *, storage: bool = False, **more: Any) -> Object:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    return {"name": name, "served": True, "storage": storage, "schema": schema, **more}


def test_versions_of_a_custom_kind_share_their_storage_and_the_best_comes_first() -> None:
    found = specs(definition(version("v1alpha1"), version("v1", storage=True), version("v2beta1")))
    assert [spec.kind.version for spec in found] == ["v1", "v2beta1", "v1alpha1"]
    assert [spec.storage and spec.storage.version for spec in found] == [None, "v1", "v1"]
    convert = found[1].to_storage
    assert convert is not None
    assert convert({"apiVersion": "e.example.com/v2beta1", "a": 1}) == {"apiVersion": "e.example.com/v1", "a": 1}


def test_a_custom_kind_without_status_subresource_stores_its_status() -> None:
    spec = specs(definition(version("v1", storage=True)))[0]
    obj = stored(spec, status={"a": 1})
    assert obj["status"] == {"a": 1}
    new = changed(obj, status={"a": 2})
    spec.prepare_update(new, obj)
    assert new["metadata"]["generation"] == 2


def test_columns_of_a_custom_kind_come_from_json_paths() -> None:
    columns = [
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status'},
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Since", "type": "date", "jsonPath": ".status.since"},
        {"name": "None", "type": "string", "jsonPath": ".spec.absent"},
    ]
    spec = specs(definition(version("v1", storage=True, additionalPrinterColumns=columns)))[0]
    obj = {
        "metadata": {"name": "x"},
        "spec": {"size": 3.0},
        "status": {"conditions": [{"type": "A"}, {"type": "Ready", "status": "True"}], "since": "2026-01-01T00:00:00Z"},
    }
    assert [column.name for column in spec.columns] == ["Name", "Ready", "Size", "Since", "None"]
    assert spec.row(obj, 1767225600 + 65) == ["x", "True", 3, "65s", None]
