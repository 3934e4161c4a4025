"""Discovery documents: which groups, versions and resources are served, in the old form and in the aggregated one."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any

from kubeedge.apiserver.kinds.registry import Registry
from kubeedge.apiserver.kinds.spec import KindSpec

Document = dict[str, Any]

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""Media type of the aggregated form."""

# A real server stores definitions in this older version, which the hash of their storage version tells.
_STORED_AS = {"customresourcedefinitions": "v1beta1"}


def _storage_hash(spec: KindSpec) -> str:
    kind = spec.storage or spec.kind
    version = _STORED_AS.get(kind.plural, kind.version)
    digest = hashlib.sha256(f"{kind.group}/{version}/{kind.kind}".encode()).digest()
    return b64encode(digest[:8]).decode()


def _versions(group: str, versions: list[str]) -> list[Document]:
    return [{"groupVersion": f"{group}/{version}", "version": version} for version in versions]


class Discovery:
    """The documents of a registry, made when asked for and kept until the registry changes."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._made: dict[tuple[str, ...], Document | None] = {}
        self._generation = registry.generation

    def find(self, path: str, *, aggregated: bool = False, address: str = "") -> Document | None:
        """The document at `/api`, `/apis`, `/apis/<group>`, `/api/v1` or `/apis/<group>/<version>`; None for no such.

        address is the host and port under which clients find the server; aggregated counts for /api and /apis only.
        """
        parts = path.strip("/").split("/")
        if parts == ["api"] and not aggregated:
            addresses = [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}]
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses}
        if self._generation != self._registry.generation:
            self._made.clear()
            self._generation = self._registry.generation
        key = (*parts, "aggregated") if aggregated and len(parts) == 1 else tuple(parts)
        if key not in self._made:
            self._made[key] = self._make(parts, aggregated)
        return self._made[key]

    def _make(self, parts: list[str], aggregated: bool) -> Document | None:
        match parts:
            case ["api" | "apis" as root] if aggregated:
                return self._aggregated(root == "api")
            case ["apis"]:
                groups = [self._group(group) for group in self._registry.groups() if group]
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case ["apis", group] if self._registry.versions(group):
                return {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
            case ["api", version]:
                return self._resources("", version)
            case ["apis", group, version]:
                return self._resources(group, version)
        return None

    def _group(self, group: str) -> Document:
        versions = _versions(group, self._registry.versions(group))
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _of(self, group: str, version: str) -> list[KindSpec]:
        wanted = (group, version)
        return [spec for spec in self._registry.specs() if (spec.kind.group, spec.kind.version) == wanted]

    def _resources(self, group: str, version: str) -> Document | None:
        specs = self._of(group, version)
        if not specs:
            return None
        found = [entry for spec in specs for entry in _entries(spec)]
        group_version = f"{group}/{version}" if group else version
        head = {"kind": "APIResourceList", **({"apiVersion": "v1"} if group else {}), "groupVersion": group_version}
        return {**head, "resources": found}

    def _aggregated(self, core: bool) -> Document:
        groups = [""] if core else [group for group in self._registry.groups() if group]
        items = []
        for group in groups:
            versions = [
                {
                    "version": version,
                    "resources": [_aggregated_entry(spec) for spec in self._of(group, version)],
                    "freshness": "Current",
                }
                for version in self._registry.versions(group)
            ]
            items.append({"metadata": {"name": group} if group else {}, "versions": versions})
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": "apidiscovery.k8s.io/v2",
            "metadata": {},
            "items": items,
        }


def _entries(spec: KindSpec) -> list[Document]:
    """A resource and its subresources in the old form."""
    kind = spec.kind
    entry: Document = {
        "name": kind.plural,
        "singularName": spec.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(spec.verbs),
    }
    if spec.short_names:
        entry["shortNames"] = list(spec.short_names)
    if spec.categories:
        entry["categories"] = list(spec.categories)
    if "watch" in spec.verbs:
        entry["storageVersionHash"] = _storage_hash(spec)
    entries = [entry]
    for sub in spec.subresources.values():
        about: Document = {"name": f"{kind.plural}/{sub.name}", "singularName": "", "namespaced": kind.namespaced}
        if sub.version:
            about |= {"group": sub.group, "version": sub.version}
        entries.append({**about, "kind": sub.kind, "verbs": list(sub.verbs)})
    return entries


def _aggregated_entry(spec: KindSpec) -> Document:
    # Of its own kinds a real server leaves group and version out, of custom ones it doesn't.
    own = ("", "") if spec.schema else (spec.kind.group, spec.kind.version)
    entry: Document = {
        "resource": spec.kind.plural,
        "responseKind": {"group": own[0], "version": own[1], "kind": spec.kind.kind},
        "scope": "Namespaced" if spec.kind.namespaced else "Cluster",
        "singularResource": spec.singular,
        "verbs": list(spec.verbs),
    }
    if spec.short_names:
        entry["shortNames"] = list(spec.short_names)
    if spec.categories:
        entry["categories"] = list(spec.categories)
    parts = []
    for sub in spec.subresources.values():
        group, version = (sub.group, sub.version) if sub.version else own
        response = {"group": group, "version": version, "kind": sub.kind}
        parts.append({"subresource": sub.name, "responseKind": response, "verbs": list(sub.verbs)})
    if parts:
        entry["subresources"] = parts
    return entry
