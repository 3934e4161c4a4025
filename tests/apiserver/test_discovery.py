"""Discovery and OpenAPI documents: as recorded from a real server, and kept in step with the registry."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest

from kubeedge.apiserver.crd import specs
from kubeedge.apiserver.discovery import Discovery
from kubeedge.apiserver.kinds.table import builtin
from kubeedge.apiserver.openapi import V2, OpenApi
from tests.apiserver.recorded import GOLDEN, created, creations, spec_of


def recorded() -> list[dict[str, Any]]:
    lines = (GOLDEN / "discovery.jsonl").read_text().splitlines()
    return [entry for line in lines if (entry := json.loads(line))["request"]["path"].startswith("/api")]


@pytest.mark.parametrize("entry", recorded(), ids=lambda entry: entry["name"])
def test_discovery_is_that_of_a_real_server(entry: dict[str, Any]) -> None:
    aggregated = "APIGroupDiscoveryList" in entry["request"]["headers"]["Accept"]
    found = Discovery(builtin()).find(entry["request"]["path"], aggregated=aggregated, address="127.0.0.1:6443")
    assert found == (entry["response"]["body"] if entry["response"]["status"] == 200 else None)


def with_widgets() -> tuple[Any, Discovery]:
    registry = builtin()
    discovery = Discovery(registry)
    assert discovery.find("/apis/golden.example.com/v1") is None
    definition = next(creations("crd"))
    for spec in specs(created(spec_of(registry, definition), definition)):
        registry.add(spec)
    return registry, discovery


def test_a_custom_kind_is_discovered_as_recorded_and_forgotten_when_it_goes() -> None:
    registry, discovery = with_widgets()
    line = (GOLDEN / "crd.jsonl").read_text().splitlines()[2]
    assert discovery.find("/apis/golden.example.com/v1") == json.loads(line)["response"]["body"]
    registry.remove("golden.example.com", "v1", "widgets")
    assert discovery.find("/apis/golden.example.com/v1") is None
    assert discovery.find("/apis/golden.example.com") is None


def test_every_group_version_has_a_document_and_a_hash_that_stays() -> None:
    api = OpenApi(builtin(), "v1.36.2")
    index = orjson.loads(api.index())["paths"]
    assert index == orjson.loads(OpenApi(builtin(), "v1.36.2").index())["paths"]
    for path, entry in index.items():
        assert entry["serverRelativeURL"].startswith(f"/openapi/v3/{path}?hash=")
        document = orjson.loads(api.document(path) or b"null")
        assert document["openapi"] == "3.0.0"
        references = set(_references(document))
        assert references <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert api.document("apis/nothing.example.com/v1") is None
    assert api.document("nonsense") is None


def _references(value: Any) -> Any:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from [item] if key == "$ref" and isinstance(item, str) else _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


def test_a_document_tells_what_kubectl_looks_for() -> None:
    document = orjson.loads(OpenApi(builtin(), "v1.36.2").document("apis/apps/v1") or b"null")
    operation = document["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert operation["x-kubernetes-group-version-kind"] == {"group": "apps", "version": "v1", "kind": "Deployment"}
    assert {"fieldValidation", "dryRun"} <= {parameter["name"] for parameter in operation["parameters"]}
    containers = document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"]["properties"]["containers"]
    assert containers["x-kubernetes-patch-merge-key"] == "name"
    assert containers["x-kubernetes-patch-strategy"] == "merge"
    kinds = document["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"]["x-kubernetes-group-version-kind"]
    assert kinds == [{"group": "apps", "version": "v1", "kind": "Deployment"}]


def test_a_custom_kind_has_its_own_schema_in_its_document() -> None:
    registry, _ = with_widgets()
    api = OpenApi(registry, "v1.36.2")
    schemas = orjson.loads(api.document("apis/golden.example.com/v1") or b"null")["components"]["schemas"]
    widget = schemas["com.example.golden.v1.Widget"]
    assert widget["properties"]["spec"]["properties"]["size"]["maximum"] == 10
    assert "com.example.golden.v1.WidgetList" in schemas
    before = api.index()
    registry.remove("golden.example.com", "v1", "widgets")
    assert api.index() != before


def test_the_document_of_version_2_is_protobuf_that_says_so() -> None:
    assert V2.startswith(b"\n\x032.0")
