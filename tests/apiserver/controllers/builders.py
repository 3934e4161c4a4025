"""Short ways to write the objects that pure decisions are about."""

from __future__ import annotations

from kubeedge.apiserver.controllers.views import (
    Condition,
    ContainerStatus,
    Deployment,
    DeploymentSpec,
    DeploymentStatus,
    Metadata,
    OwnerReference,
    Pod,
    PodSpec,
    PodStatus,
    ReplicaSet,
    ReplicaSetSpec,
    ReplicaSetStatus,
    RollingUpdate,
    Strategy,
)
from kubeedge.kube.instants import timestamp


def pod(
    name: str = "p",
    *,
    node: str = "",
    phase: str = "Running",
    ready_at: float | None = None,
    created: float = 0.0,
    restarts: int = 0,
    deleting: bool = False,
    labels: dict[str, str] | None = None,
    annotations: dict[str, str] | None = None,
    owner: str = "",
    spec: PodSpec | None = None,
) -> Pod:
    """A pod; ready_at is since when it is ready, None for not ready."""
    conditions = []
    if ready_at is not None:
        conditions = [Condition("Ready", "True", last_transition_time=timestamp(ready_at))]
    spec = spec or PodSpec()
    spec.node_name = node or spec.node_name
    return Pod(
        metadata=Metadata(
            name=name,
            namespace="default",
            uid=f"uid-{name}",
            creation_timestamp=timestamp(created),
            deletion_timestamp=timestamp(0) if deleting else None,
            labels=labels or {},
            annotations=annotations or {},
            owner_references=[OwnerReference(uid=owner, controller=True)] if owner else [],
        ),
        spec=spec,
        status=PodStatus(phase=phase, conditions=conditions, container_statuses=[ContainerStatus(restarts)]),
    )


def deployment(
    replicas: int = 3,
    *,
    surge: int | str = "25%",
    unavailable: int | str = "25%",
    recreate: bool = False,
    generation: int = 1,
    deadline_s: int | None = 600,
    status: DeploymentStatus | None = None,
    template: dict[str, object] | None = None,
    paused: bool = False,
) -> Deployment:
    """A Deployment named d."""
    strategy = Strategy("Recreate") if recreate else Strategy("RollingUpdate", RollingUpdate(unavailable, surge))
    return Deployment(
        metadata=Metadata(name="d", namespace="default", uid="uid-d", generation=generation),
        spec=DeploymentSpec(
            replicas=replicas,
            strategy=strategy,
            progress_deadline_seconds=deadline_s,
            template=template or {"metadata": {"labels": {"app": "d"}}, "spec": {}},
            paused=paused,
        ),
        status=status or DeploymentStatus(),
    )


def replica_set(
    name: str,
    replicas: int,
    *,
    available: int = 0,
    there: int | None = None,
    created: float = 0.0,
    annotations: dict[str, str] | None = None,
    template: dict[str, object] | None = None,
    conditions: list[Condition] | None = None,
) -> ReplicaSet:
    """A ReplicaSet that asks for replicas pods, of which there are `there` and `available` available ones."""
    return ReplicaSet(
        metadata=Metadata(
            name=name,
            namespace="default",
            uid=f"uid-{name}",
            generation=1,
            creation_timestamp=timestamp(created),
            annotations=annotations or {},
        ),
        spec=ReplicaSetSpec(replicas=replicas, template=template or {}),
        status=ReplicaSetStatus(
            replicas=replicas if there is None else there,
            ready_replicas=available,
            available_replicas=available,
            observed_generation=1,
            conditions=conditions or [],
        ),
    )
