"""What is asked of Node and Pod objects without decoding them whole."""

from __future__ import annotations

import msgspec

from kubeedge.kube.informer import Informer
from kubeedge.kube.object import Object

EDGE_LABEL = "node-role.kubernetes.io/edge"
# The annotation that names the address of the cloudcore a node is connected to.
CLOUDCORE = "cloudcore"


class _NodeMetadata(msgspec.Struct):
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None


class _Node(msgspec.Struct):
    metadata: _NodeMetadata


class _PodMetadata(msgspec.Struct, rename="camel"):
    deletion_timestamp: str | None = None


class _PodSpec(msgspec.Struct, rename="camel"):
    node_name: str = ""
    service_account_name: str = ""


class _Pod(msgspec.Struct):
    metadata: _PodMetadata
    spec: msgspec.Raw = msgspec.Raw(b"{}")


class _PodFacts(msgspec.Struct, gc=False):
    """What is asked of a pod several times for each event, kept with its object. spec shares the memory of its text."""

    node_name: str
    service_account: str
    is_terminating: bool
    spec: msgspec.Raw


_node = msgspec.json.Decoder(_Node)
_pod = msgspec.json.Decoder(_Pod)
_pod_spec = msgspec.json.Decoder(_PodSpec)


def is_edge_node(node: Object) -> bool:
    """Whether a Node has the edge label with its empty value, which is what upstream selects by (spec 03 §1.1)."""
    return (_node.decode(node.raw).metadata.labels or {}).get(EDGE_LABEL) == ""


def has_annotation(nodes: Informer, local_ip: str, name: str) -> bool:
    """Whether the cache has the Node of that name, annotated as connected to the cloudcore at local_ip."""
    node = nodes.get("", name)
    return node is not None and (_node.decode(node.raw).metadata.annotations or {}).get(CLOUDCORE) == local_ip


def _facts(pod: Object) -> _PodFacts:
    facts = pod.memo
    if not isinstance(facts, _PodFacts):
        read = _pod.decode(pod.raw)
        spec = _pod_spec.decode(read.spec)
        is_terminating = read.metadata.deletion_timestamp is not None
        facts = pod.memo = _PodFacts(spec.node_name, spec.service_account_name or "default", is_terminating, read.spec)
    return facts


def node_name_of(pod: Object) -> str:
    """Return the name of the node that a pod is bound to, empty when it is not bound."""
    return _facts(pod).node_name


def service_account_of(pod: Object) -> str:
    """Return the name of the service account that a pod runs as."""
    return _facts(pod).service_account


def is_terminating(pod: Object) -> bool:
    """Whether a pod has a deletionTimestamp."""
    return _facts(pod).is_terminating


def has_spec_of(pod: Object, other: Object) -> bool:
    """Whether the spec of a pod is the same text as that of another, or of its state before."""
    return bool(_facts(pod).spec == _facts(other).spec)


def by_node(pod: Object) -> tuple[str, ...]:
    """Index function: the node of a pod."""
    name = node_name_of(pod)
    return (name,) if name else ()
