"""What a Deployment says of itself: counts and the conditions Available, Progressing and ReplicaFailure."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from kubeedge.apiserver.controllers.rollout import available, limits, wanted
from kubeedge.apiserver.controllers.views import Condition, Deployment, DeploymentStatus, ReplicaSet, condition
from kubeedge.kube.instants import timestamp, unix_time

NO_DEADLINE = 2**31 - 1

CREATED = "NewReplicaSetCreated"
FOUND = "FoundNewReplicaSet"
UPDATED = "ReplicaSetUpdated"
COMPLETE = "NewReplicaSetAvailable"
TIMED_OUT = "ProgressDeadlineExceeded"
FAILED_CREATE = "ReplicaSetCreateError"
PAUSED = "DeploymentPaused"
RESUMED = "DeploymentResumed"


def deadline_s(deployment: Deployment) -> int | None:
    """Return how long a rollout may stand still, None for ever."""
    seconds = deployment.spec.progress_deadline_seconds
    return None if seconds is None or seconds == NO_DEADLINE else seconds


def put(
    conditions: Sequence[Condition], type_: str, status: str, reason: str, message: str, now_s: float
) -> list[Condition]:
    """Return conditions with this one, unless it stands there with the same status and reason already.

    The changed one goes to the end, as in a real server; lastTransitionTime stays when the status does.
    """
    old = condition(list(conditions), type_)
    if old is not None and (old.status, old.reason) == (status, reason):
        return list(conditions)
    at = timestamp(now_s)
    since = old.last_transition_time if old is not None and old.status == status else at
    new = Condition(type_, status, last_update_time=at, last_transition_time=since, reason=reason, message=message)
    return [*without(conditions, type_), new]


def without(conditions: Sequence[Condition], type_: str) -> list[Condition]:
    """Return conditions without those of a type."""
    return [found for found in conditions if found.type != type_]


def pause_condition(deployment: Deployment, now_s: float) -> list[Condition]:
    """Return the conditions of a Deployment after it was paused or resumed, which stops and restarts its deadline."""
    conditions = deployment.status.conditions
    present = condition(conditions, "Progressing")
    if deadline_s(deployment) is None or (present is not None and present.reason == TIMED_OUT):
        return conditions
    was_paused = present is not None and present.reason == PAUSED
    if deployment.spec.paused and not was_paused:
        return put(conditions, "Progressing", "Unknown", PAUSED, "Deployment is paused", now_s)
    if not deployment.spec.paused and was_paused:
        return put(conditions, "Progressing", "Unknown", RESUMED, "Deployment is resumed", now_s)
    return conditions


def counts(
    deployment: Deployment,
    new: ReplicaSet | None,
    sets: Sequence[ReplicaSet],
    conditions: Sequence[Condition],
    now_s: float,
) -> DeploymentStatus:
    """Return the status as the sets make it; conditions are those so far, of which Available is brought up to date."""
    ready = available(sets)
    if ready >= deployment.spec.replicas - limits(deployment)[1]:
        held = ("True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
    else:
        held = ("False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.")
    return DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=sum(found.status.replicas for found in sets),
        updated_replicas=new.status.replicas if new is not None else 0,
        ready_replicas=sum(found.status.ready_replicas for found in sets),
        available_replicas=ready,
        unavailable_replicas=max(0, wanted(sets) - ready),
        terminating_replicas=sum(found.status.terminating_replicas or 0 for found in sets),
        collision_count=deployment.status.collision_count,
        conditions=put(conditions, "Available", *held, now_s),
    )


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """Tell whether all pods are of the new template and available, and no other is left."""
    replicas = deployment.spec.replicas
    return (
        status.updated_replicas == replicas
        and status.replicas == replicas
        and status.available_replicas == replicas
        and status.observed_generation >= deployment.metadata.generation
    )


def has_progressed(before: DeploymentStatus, after: DeploymentStatus) -> bool:
    """Tell whether something moved: more new, ready or available pods, or fewer old ones."""
    return (
        after.updated_replicas > before.updated_replicas
        or after.replicas - after.updated_replicas < before.replicas - before.updated_replicas
        or after.ready_replicas > before.ready_replicas
        or after.available_replicas > before.available_replicas
    )


def has_timed_out(deployment: Deployment, status: DeploymentStatus, now_s: float) -> bool:
    """Tell whether the rollout has stood still for longer than its deadline."""
    present = condition(status.conditions, "Progressing")
    limit = deadline_s(deployment)
    if present is None or limit is None or present.reason == COMPLETE:
        return False
    if present.reason == TIMED_OUT:
        return True
    return now_s > unix_time(present.last_update_time, now_s) + limit


def assess(
    deployment: Deployment,
    new: ReplicaSet | None,
    sets: Sequence[ReplicaSet],
    conditions: Sequence[Condition],
    now_s: float,
) -> DeploymentStatus:
    """Return the status with Progressing and ReplicaFailure judged against the status that the Deployment has now."""
    status = counts(deployment, new, sets, conditions, now_s)
    present = condition(status.conditions, "Progressing")
    if deadline_s(deployment) is None:
        status.conditions = without(status.conditions, "Progressing")
    elif not (status.replicas == status.updated_replicas and present is not None and present.reason == COMPLETE):
        who = f'ReplicaSet "{new.metadata.name}"' if new is not None else f'Deployment "{deployment.metadata.name}"'
        if is_complete(deployment, status):
            status.conditions = put(
                status.conditions, "Progressing", "True", COMPLETE, f"{who} has successfully progressed.", now_s
            )
        elif has_progressed(deployment.status, status):
            if present is not None and present.reason == UPDATED and present.status == "True":
                # Each step restarts the deadline, which counts from lastUpdateTime.
                moved = replace(present, last_update_time=timestamp(now_s), message=f"{who} is progressing.")
                status.conditions = [moved if found is present else found for found in status.conditions]
            else:
                status.conditions = put(
                    status.conditions, "Progressing", "True", UPDATED, f"{who} is progressing.", now_s
                )
        elif has_timed_out(deployment, status, now_s):
            status.conditions = put(
                status.conditions, "Progressing", "False", TIMED_OUT, f"{who} has timed out progressing.", now_s
            )
    failure = _failure([*([new] if new is not None else []), *sets])
    if failure is None:
        status.conditions = without(status.conditions, "ReplicaFailure")
    else:
        status.conditions = put(
            status.conditions, "ReplicaFailure", failure.status, failure.reason, failure.message, now_s
        )
    return status


def _failure(sets: Sequence[ReplicaSet]) -> Condition | None:
    found = (condition(found.status.conditions, "ReplicaFailure") for found in sets)
    return next((failure for failure in found if failure is not None), None)


def check_again_in(deployment: Deployment, status: DeploymentStatus, now_s: float) -> float | None:
    """Return after how many seconds the deadline will have passed if nothing moves, None when there is none."""
    present = condition(status.conditions, "Progressing")
    limit = deadline_s(deployment)
    if present is None or limit is None or deployment.spec.paused or is_complete(deployment, status):
        return None
    if present.reason in (TIMED_OUT, COMPLETE):
        return None
    return max(0.0, unix_time(present.last_update_time, now_s) + limit - now_s) + 1.0
