"""Who needs which ConfigMap and Secret."""

from __future__ import annotations

from typing import Any

import orjson

from kubeedge.cloudcore.edgecontroller.location import Locations, Reference, references
from kubeedge.kube.object import Object


def pod(name: str, spec: dict[str, Any]) -> Object:
    """Return a pod of namespace n whose UID is its name."""
    metadata = {"name": name, "namespace": "n", "uid": name, "resourceVersion": "1"}
    return Object.parse(orjson.dumps({"metadata": metadata, "spec": spec}))


def volumes(*config_maps: str) -> dict[str, Any]:
    """Return a pod spec that mounts ConfigMaps."""
    return {"volumes": [{"name": name, "configMap": {"name": name}} for name in config_maps]}


def test_every_place_of_a_pod_that_names_a_configmap_or_secret_is_found() -> None:
    container = {
        "envFrom": [{"configMapRef": {"name": "c1"}}, {"secretRef": {"name": "s1"}}],
        "env": [
            {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "c2", "key": "k"}}},
            {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s2", "key": "k"}}},
            {"name": "C", "value": "v"},
            {"name": "D", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
    }
    spec = {
        "containers": [container, {"name": "plain"}],
        "initContainers": [{"envFrom": [{"configMapRef": {"name": "c3"}}]}],
        "ephemeralContainers": [{"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s3"}}}]}],
        "imagePullSecrets": [{"name": "s4"}, {}],
        "volumes": [
            {"name": "a", "configMap": {"name": "c4"}},
            {"name": "b", "secret": {"secretName": "s5"}},
            {
                "name": "c",
                "projected": {
                    "sources": [
                        {"configMap": {"name": "c5"}},
                        {"secret": {"name": "s6"}},
                        {"serviceAccountToken": {"path": "token"}},
                    ]
                },
            },
            {"name": "d", "csi": {"driver": "x", "nodePublishSecretRef": {"name": "s7"}}},
            {"name": "e", "flexVolume": {"driver": "x", "secretRef": {"name": "s8"}}},
            {"name": "f", "azureFile": {"secretName": "s9", "shareName": "x"}},
            {"name": "g", "emptyDir": {}},
        ],
    }
    found = references({"metadata": {"namespace": "n"}, "spec": spec})
    assert {r.name for r in found if r.type == "configmap"} == {"c1", "c2", "c3", "c4", "c5"}
    assert {r.name for r in found if r.type == "secret"} == {f"s{i}" for i in range(1, 10)}
    assert {r.namespace for r in found} == {"n"}


def test_a_node_needs_an_object_until_its_last_pod_with_it_is_gone() -> None:
    locations, c1 = Locations(), Reference("configmap", "n", "c1")
    locations.put(pod("a", volumes("c1")), "e1")
    locations.put(pod("b", volumes("c1", "c2")), "e1")
    locations.put(pod("c", volumes("c1")), "e2")
    assert set(locations.nodes(c1)) == {"e1", "e2"}
    locations.remove(pod("a", {}))
    assert set(locations.nodes(c1)) == {"e1", "e2"}
    locations.remove(pod("b", {}))
    assert set(locations.nodes(c1)) == {"e2"}
    assert not locations.nodes(Reference("configmap", "n", "c2"))
    locations.remove(pod("c", {}))
    locations.remove(pod("c", {}))
    assert not locations.nodes(c1)


def test_a_changed_pod_counts_once() -> None:
    locations, c1 = Locations(), Reference("configmap", "n", "c1")
    locations.put(pod("a", volumes("c1")), "e1")
    locations.put(pod("a", volumes("c1")), "e1")
    locations.put(pod("a", volumes("c2")), "e1")
    assert not locations.nodes(c1)
    assert locations.nodes(Reference("configmap", "n", "c2")) == ["e1"]
    assert not locations.nodes(Reference("secret", "n", "c2"))
