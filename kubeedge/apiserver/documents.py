"""What is served that is no object: health, version, discovery, OpenAPI, metrics, keys."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kubeedge import KUBERNETES_VERSION, metrics
from kubeedge.apiserver.kinds.registry import Registry
from kubeedge.apiserver.request import Query
from kubeedge.apiserver.tokens import ISSUER, Tokens

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"
_METRICS = "text/plain; version=0.0.4; charset=utf-8"


class Document(NamedTuple):
    """body is bytes to be sent as they are, or a value to be written as JSON."""

    body: Any
    media_type: str = _JSON
    code: int = 200
    headers: Sequence[tuple[bytes, bytes]] = ()


class Documents:
    """Finds them by path."""

    def __init__(self, registry: Registry, tokens: Tokens, is_ready: Callable[[], bool]) -> None:
        self._registry = registry
        self._tokens = tokens
        self._is_ready = is_ready
        self.address = "127.0.0.1:6443"
        """Host and port, as discovery tells them."""

    def find(self, path: str, accept: str, query: Query) -> Document | None:
        """Return the document at a path, None when there is none."""
        path = path.rstrip("/") or "/"
        if path in ("/healthz", "/livez") or path.startswith(("/livez/", "/healthz/")):
            return Document(b"ok", _TEXT)
        if path == "/readyz" or path.startswith("/readyz/"):
            return Document(b"ok", _TEXT) if self._is_ready() else Document(b"starting", _TEXT, 503)
        if path == "/version":
            return Document(version())
        if path == "/metrics":
            return Document(metrics.exposition().encode(), _METRICS)
        if path == "/api" or path == "/apis" or path.startswith(("/api/", "/apis/")):
            return self._discovery(path.strip("/").split("/"))
        if path == "/.well-known/openid-configuration":
            return Document(self._openid())
        if path == "/openid/v1/jwks":
            return Document(self._tokens.key_set(), "application/jwk-set+json")
        return None

    def _discovery(self, parts: list[str]) -> Document | None:
        registry = self._registry
        if parts == ["api"]:
            return Document({"kind": "APIVersions", "versions": ["v1"]})
        if parts == ["apis"]:
            groups = [self._group(group) for group in registry.groups() if group]
            return Document({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
        if len(parts) == 2 and parts[0] == "apis":
            found = registry.versions(parts[1])
            return Document({"kind": "APIGroup", "apiVersion": "v1", **self._group(parts[1])}) if found else None
        group, version = ("", parts[1]) if parts[0] == "api" else (parts[1], parts[2])
        resources: list[dict[str, Any]] = []
        for spec in registry.specs():
            kind = spec.kind
            if (kind.group, kind.version) != (group, version):
                continue
            about = {"namespaced": kind.namespaced, "kind": kind.kind, "verbs": list(spec.verbs)}
            names = {"shortNames": list(spec.short_names), "categories": list(spec.categories)}
            resources.append({"name": kind.plural, "singularName": spec.singular, **about, **names})
            for name, sub in spec.subresources.items():
                entry: dict[str, Any] = {"name": f"{kind.plural}/{name}", "singularName": "", **about}
                entry |= {"kind": sub.kind, "verbs": list(sub.verbs)}
                if sub.version:
                    entry |= {"group": sub.group, "version": sub.version}
                resources.append(entry)
        if not resources:
            return None
        group_version = f"{group}/{version}" if group else version
        return Document({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources})

    def _group(self, group: str) -> dict[str, Any]:
        versions = [
            {"groupVersion": f"{group}/{version}", "version": version} for version in self._registry.versions(group)
        ]
        return {"name": group, "versions": versions, "preferredVersion": versions[0] if versions else {}}

    def _openid(self) -> dict[str, Any]:
        return {
            "issuer": ISSUER,
            "jwks_uri": f"https://{self.address}/openid/v1/jwks",
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        }


def version() -> dict[str, str]:
    """Return the version of Kubernetes whose API this is."""
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    return {
        "major": major,
        "minor": minor,
        "gitVersion": KUBERNETES_VERSION,
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{sys.platform}/{_machine()}",
    }


def _machine() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(platform.machine(), platform.machine())
