"""ReplicaSets, Deployments, DaemonSets."""

from __future__ import annotations

from typing import Any

from msgspec import field

from kubeedge.apiserver.controllers.views.metadata import Condition, LabelSelector, Metadata, View


class ReplicaSetSpec(View):
    """ReplicaSetSpec."""

    replicas: int = 1
    min_ready_seconds: int = 0
    selector: LabelSelector = field(default_factory=LabelSelector)
    template: dict[str, Any] = field(default_factory=dict)


class ReplicaSetStatus(View):
    """ReplicaSetStatus."""

    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    terminating_replicas: int | None = None
    observed_generation: int = 0
    conditions: list[Condition] = field(default_factory=list)


class ReplicaSet(View):
    """A ReplicaSet."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: ReplicaSetSpec = field(default_factory=ReplicaSetSpec)
    status: ReplicaSetStatus = field(default_factory=ReplicaSetStatus)


class RollingUpdate(View):
    """How fast pods are exchanged: numbers or percentages."""

    max_unavailable: int | str | None = None
    max_surge: int | str | None = None


class Strategy(View):
    """DeploymentStrategy or DaemonSetUpdateStrategy."""

    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(View):
    """DeploymentSpec."""

    replicas: int = 1
    selector: LabelSelector = field(default_factory=LabelSelector)
    template: dict[str, Any] = field(default_factory=dict)
    strategy: Strategy = field(default_factory=Strategy)
    min_ready_seconds: int = 0
    revision_history_limit: int | None = None
    paused: bool = False
    progress_deadline_seconds: int | None = None


class DeploymentStatus(View):
    """DeploymentStatus."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    terminating_replicas: int | None = None
    collision_count: int | None = None
    conditions: list[Condition] = field(default_factory=list)


class Deployment(View):
    """A Deployment."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: DeploymentSpec = field(default_factory=DeploymentSpec)
    status: DeploymentStatus = field(default_factory=DeploymentStatus)


class DaemonSetSpec(View):
    """DaemonSetSpec."""

    selector: LabelSelector = field(default_factory=LabelSelector)
    template: dict[str, Any] = field(default_factory=dict)
    update_strategy: Strategy = field(default_factory=Strategy)
    min_ready_seconds: int = 0
    revision_history_limit: int | None = None


class DaemonSetStatus(View):
    """DaemonSetStatus."""

    current_number_scheduled: int = 0
    number_misscheduled: int = 0
    desired_number_scheduled: int = 0
    number_ready: int = 0
    observed_generation: int = 0
    updated_number_scheduled: int = 0
    number_available: int = 0
    number_unavailable: int = 0
    collision_count: int | None = None


class DaemonSet(View):
    """A DaemonSet."""

    metadata: Metadata = field(default_factory=Metadata)
    spec: DaemonSetSpec = field(default_factory=DaemonSetSpec)
    status: DaemonSetStatus = field(default_factory=DaemonSetStatus)


class ControllerRevision(View):
    """A recorded template of a DaemonSet."""

    metadata: Metadata = field(default_factory=Metadata)
    revision: int = 0
    data: dict[str, Any] = field(default_factory=dict)
