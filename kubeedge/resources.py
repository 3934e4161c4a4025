"""Grammar of resource strings, both directions (spec 01 §5).

cloud, inside:       node/<node>/<namespace>/<type>[/<name>]
on the wire:         <namespace>/<type>[/<name>]       (namespace `null` for cluster-scoped objects)
"""

from __future__ import annotations

from typing import NamedTuple

CLUSTER_SCOPE = "null"


class Resource(NamedTuple):
    """A resource string of the wire, taken apart. name is empty where the string has no third segment."""

    namespace: str
    type: str
    name: str


def parse(resource: str) -> Resource:
    """Take a wire resource apart; missing segments are empty, further ones stay in name (spec 01 §5.1)."""
    namespace, _, rest = resource.partition("/")
    type_, _, name = rest.partition("/")
    return Resource(namespace, type_, name)


def build(namespace: str, type_: str, name: str = "") -> str:
    """Put a wire resource together; an empty namespace means cluster scope."""
    resource = f"{namespace or CLUSTER_SCOPE}/{type_}"
    return f"{resource}/{name}" if name else resource


def for_node(node: str, resource: str) -> str:
    """Prefix a wire resource with its node, the cloud's inner form."""
    return f"node/{node}/{resource}"


def node_of(resource: str) -> str:
    """Return the segment after the first segment `node`, empty when there is none (spec 01 §5.2)."""
    segments = resource.split("/")
    try:
        return segments[segments.index("node") + 1]
    except (ValueError, IndexError):
        return ""


def address(resource: str) -> tuple[str, str]:
    """Return the node of the cloud's inner form and the resource that goes on the wire to it (spec 01 §5.2, §5.3).

    The node is empty when the resource names none. Resources of node tasks name theirs further on and are not cut.
    """
    first, _, rest = resource.partition("/")
    if first == "node":
        node, _, wire = rest.partition("/")
        return node, wire or resource
    return node_of(resource), resource


def trim(resource: str) -> str:
    """Cut `node/<node>/` off, the form that goes to the edge (spec 01 §5.3)."""
    if resource.startswith("node/"):
        segments = resource.split("/", 2)
        if len(segments) == 3:
            return segments[2]
    return resource
