"""Keys of the rows in `meta` and `meta_v2`, exactly as a Go edgecore makes them (spec 05 §2.2)."""

from __future__ import annotations

import msgspec
import orjson

POD = "pod"
POD_PATCH = "podpatch"
NODE = "node"
NODE_PATCH = "nodepatch"
LEASE = "lease"
EVENT = "event"
TOKEN = "serviceaccounttoken"

# Kinds whose resource name is not made by the rule below.
_UNUSUAL_PLURALS = {
    "Endpoints": "endpoints",
    "PodStatus": "podstatus",
    "NodeStatus": "nodestatus",
    "CustomResourceDefinition": "customresourcedefinitions",
    "CustomResourceDefinitionList": "customresourcedefinitionlist",
    "Leases": "leases",
}


def type_of(resource: str) -> str:
    """Return the type of a resource string: the second of three segments, the last of two, else nothing."""
    segments = resource.split("/")
    return segments[1] if len(segments) in (2, 3) else ""


def name_of(resource: str) -> str:
    """Return the last of three segments, else nothing."""
    segments = resource.split("/")
    return segments[2] if len(segments) == 3 else ""


def with_type(resource: str, type_: str) -> str:
    """Return a resource of three segments with another type."""
    namespace, _, name = resource.split("/")
    return f"{namespace}/{type_}/{name}"


def plural_of(kind: str) -> str:
    """Guess the resource name of a kind in the way that upstream's keys are made of."""
    if kind in _UNUSUAL_PLURALS:
        return _UNUSUAL_PLURALS[kind]
    word = kind.lower()
    if word.endswith("s"):
        return f"{word}es"
    return f"{word[:-1]}ies" if word.endswith("y") else f"{word}s"


class BoundObject(msgspec.Struct, rename="camel"):
    """The object that a token is bound to."""

    kind: str = ""
    api_version: str = ""
    name: str = ""
    uid: str = ""


class TokenSpec(msgspec.Struct, rename="camel"):
    """What a token was asked for."""

    audiences: list[str] | None = None
    expiration_seconds: int | None = None
    bound_object_ref: BoundObject | None = None


class TokenStatus(msgspec.Struct, rename="camel"):
    """The token itself."""

    token: str = ""
    expiration_timestamp: str | None = None


class TokenRequest(msgspec.Struct):
    """The parts of a TokenRequest that decide about its key and its use."""

    spec: TokenSpec = msgspec.field(default_factory=TokenSpec)
    status: TokenStatus = msgspec.field(default_factory=TokenStatus)


def token_key(namespace: str, account: str, request: TokenRequest) -> str:
    """Return the key of a service account token: Go's print of the names and the spec."""
    audiences = request.spec.audiences
    listed = "(nil)" if audiences is None else "{" + ", ".join(map(_quote, audiences)) + "}"
    before, after = token_key_ends(namespace, account, request)
    return f"{before}{listed}{after}"


def token_key_ends(namespace: str, account: str, request: TokenRequest) -> tuple[str, str]:
    """Return what stands before and after the audiences in the key of a token."""
    bound = request.spec.bound_object_ref or BoundObject()
    reference = (
        f"v1.BoundObjectReference{{Kind:{_quote(bound.kind)}, APIVersion:{_quote(bound.api_version)}, "
        f"Name:{_quote(bound.name)}, UID:{_quote(bound.uid)}}}"
    )
    return f"{_quote(account)}/{_quote(namespace)}/[]string", f"/{request.spec.expiration_seconds or 0}/{reference}"


def _quote(text: str) -> str:
    return orjson.dumps(text).decode()


class V2Key(msgspec.Struct, frozen=True):
    """A row of `meta_v2` but for its value."""

    key: str
    group_version_resource: str
    namespace: str
    name: str


def v2_key(api_version: str, kind: str, namespace: str, name: str) -> V2Key:
    """Return key and columns of an object in `meta_v2`."""
    group, _, version = api_version.rpartition("/")
    plural = plural_of(kind)
    return V2Key(
        f"/{group or 'core'}/{version}/{plural}/{namespace or 'null'}/{name}",
        f"{group}/{version}, Resource={plural}",
        namespace,
        name,
    )
