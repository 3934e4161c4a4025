"""What is served that is no object: health, version, discovery, OpenAPI, metrics, keys."""

from __future__ import annotations

import platform
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from kubeedge import metrics
from kubeedge.apiserver.discovery import AGGREGATED, Discovery
from kubeedge.apiserver.kinds.registry import Registry
from kubeedge.apiserver.openapi import V2, OpenApi
from kubeedge.apiserver.representation import Form, negotiate
from kubeedge.apiserver.tokens import ISSUER, Tokens

API_VERSION = "v1.36.2"
"""The Kubernetes whose types and answers this API has; the nodes' version is another thing."""
_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"
_OPENAPI_V2 = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
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
        self._discovery = Discovery(registry)
        self._openapi = OpenApi(registry, API_VERSION)
        self._tokens = tokens
        self._is_ready = is_ready
        self.address = "127.0.0.1:6443"
        """Host and port, as discovery tells them."""

    def find(self, path: str, accept: str) -> Document | None:
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
        if f"{path}/".startswith(("/api/", "/apis/")):
            return self._find_discovery(path, accept)
        if path.startswith("/openapi/"):
            return self._find_openapi(path)
        if path == "/":
            return Document(self._index())
        if path == "/.well-known/openid-configuration":
            return Document(self._openid())
        if path == "/openid/v1/jwks":
            return Document(self._tokens.key_set(), "application/jwk-set+json")
        return None

    def _index(self) -> dict[str, Any]:
        """Return what there is, for people who look around."""
        paths = ["/.well-known/openid-configuration", "/api", "/api/v1", "/apis"]
        for group in sorted(filter(None, self._registry.groups())):
            paths += [f"/apis/{group}", *(f"/apis/{group}/{version}" for version in self._registry.versions(group))]
        paths += [
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v2",
            "/openapi/v3",
            "/openid/v1/jwks",
            "/readyz",
            "/version",
        ]
        return {"paths": paths}

    def _find_discovery(self, path: str, accept: str) -> Document | None:
        is_aggregated = path in ("/api", "/apis") and negotiate(accept) is Form.DISCOVERY
        found = self._discovery.find(path, aggregated=is_aggregated, address=self.address)
        if found is None:
            return None
        return Document(found, AGGREGATED if is_aggregated else _JSON)

    def _find_openapi(self, path: str) -> Document | None:
        if path == "/openapi/v2":
            return Document(V2, _OPENAPI_V2)
        if path == "/openapi/v3":
            return Document(self._openapi.index(), _TEXT)
        found = self._openapi.document(path.removeprefix("/openapi/v3/"))
        # Its address changes with its content.
        return (
            Document(found, _JSON, headers=((b"cache-control", b"public, immutable"),)) if found is not None else None
        )

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
    major, minor, _ = API_VERSION.removeprefix("v").split(".")
    return {
        "major": major,
        "minor": minor,
        "emulationMajor": major,
        "emulationMinor": minor,
        "minCompatibilityMajor": major,
        "minCompatibilityMinor": str(int(minor) - 1),
        "gitVersion": f"{API_VERSION}+kubeedge",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": platform.python_implementation().lower(),
        "platform": f"{sys.platform}/{_machine()}",
    }


def _machine() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}.get(platform.machine(), platform.machine())
