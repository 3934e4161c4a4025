"""Nodes and their leases."""

from __future__ import annotations

from msgspec import field

from kubeedge.apiserver.controllers.views.metadata import Condition, Metadata, View


class Taint(View):
    """A taint of a node."""

    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: str | None = None


class NodeSpec(View):
    """NodeSpec."""

    unschedulable: bool = False
    taints: list[Taint] = field(default_factory=list)


class NodeStatus(View):
    """NodeStatus."""

    allocatable: dict[str, str] = field(default_factory=dict)
    conditions: list[Condition] = field(default_factory=list)


class Node(View):
    """A Node."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: NodeSpec = field(default_factory=NodeSpec)
    status: NodeStatus = field(default_factory=NodeStatus)


class LeaseSpec(View):
    """LeaseSpec."""

    holder_identity: str | None = None
    renew_time: str | None = None


class Lease(View):
    """A Lease."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: LeaseSpec = field(default_factory=LeaseSpec)
