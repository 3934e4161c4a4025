"""The conditions of a Deployment, in the order in which a rollout shows them."""

from __future__ import annotations

from kubeedge.apiserver.controllers import progress
from kubeedge.apiserver.controllers.views import Condition, Deployment, DeploymentStatus, ReplicaSet, condition
from kubeedge.kube.instants import timestamp
from tests.apiserver.controllers.builders import deployment, replica_set

NOW = 1_000_000.0


def assessed(wanted: Deployment, new: ReplicaSet, now_s: float = NOW) -> DeploymentStatus:
    return progress.assess(wanted, new, [new], wanted.status.conditions, now_s)


def reason(status: DeploymentStatus, type_: str = "Progressing") -> str:
    found = condition(status.conditions, type_)
    return found.reason if found is not None else ""


def test_rollout_from_created_to_available() -> None:
    wanted = deployment(2)
    created = progress.put([], "Progressing", "True", progress.CREATED, "Created", NOW)
    wanted.status.conditions = created
    assert reason(assessed(wanted, replica_set("d-1", 2, there=0))) == progress.CREATED
    wanted.status = assessed(wanted, replica_set("d-1", 2))
    assert reason(wanted.status) == progress.UPDATED
    assert reason(wanted.status, "Available") == "MinimumReplicasUnavailable"
    wanted.status = assessed(wanted, replica_set("d-1", 2, available=2))
    assert reason(wanted.status) == progress.COMPLETE
    assert reason(wanted.status, "Available") == "MinimumReplicasAvailable"


def test_each_step_restarts_the_deadline_and_none_means_time_out() -> None:
    wanted = deployment(2, deadline_s=10)
    wanted.status.conditions = progress.put([], "Progressing", "True", progress.UPDATED, "", NOW)
    new = replica_set("d-1", 2, available=0)
    wanted.status = assessed(wanted, new, NOW + 8)
    found = condition(wanted.status.conditions, "Progressing")
    assert found is not None
    assert found.last_update_time == timestamp(NOW + 8)
    assert found.last_transition_time == timestamp(NOW)
    assert progress.check_again_in(wanted, wanted.status, NOW + 9) == 10.0
    assert reason(assessed(wanted, new, NOW + 18)) == progress.UPDATED
    late = assessed(wanted, new, NOW + 18.5)
    assert reason(late) == progress.TIMED_OUT
    wanted.status = late
    assert progress.check_again_in(wanted, late, NOW + 20) is None
    assert reason(assessed(wanted, replica_set("d-1", 2, available=1), NOW + 30)) == progress.UPDATED


def test_assessment_leaves_the_status_before_it_as_it_was() -> None:
    wanted = deployment(2)
    wanted.status.conditions = progress.put([], "Progressing", "True", progress.UPDATED, "", NOW)
    assessed(wanted, replica_set("d-1", 2), NOW + 5)
    assert wanted.status.conditions[0].last_update_time == timestamp(NOW)


def test_deployment_without_deadline_says_nothing_of_progress() -> None:
    for seconds in (None, progress.NO_DEADLINE):
        wanted = deployment(1, deadline_s=seconds)
        wanted.status.conditions = progress.put([], "Progressing", "True", progress.UPDATED, "", NOW)
        assert reason(assessed(wanted, replica_set("d-1", 1))) == ""


def test_pause_stops_the_deadline_and_resume_starts_it_again() -> None:
    wanted = deployment(1, paused=True)
    wanted.status.conditions = progress.pause_condition(wanted, NOW)
    found = condition(wanted.status.conditions, "Progressing")
    assert found is not None
    assert (found.status, found.reason, found.message) == ("Unknown", progress.PAUSED, "Deployment is paused")
    assert progress.check_again_in(wanted, wanted.status, NOW) is None
    wanted.spec.paused = False
    wanted.status.conditions = progress.pause_condition(wanted, NOW + 5)
    assert reason(wanted.status) == progress.RESUMED
    assert progress.pause_condition(wanted, NOW + 6) == wanted.status.conditions


def test_timed_out_deployment_is_not_marked_as_paused() -> None:
    wanted = deployment(1, paused=True)
    wanted.status.conditions = progress.put([], "Progressing", "False", progress.TIMED_OUT, "", NOW)
    assert progress.pause_condition(wanted, NOW) == wanted.status.conditions


def test_failure_of_a_set_is_passed_on_and_goes_with_it() -> None:
    wanted = deployment(1)
    failure = Condition("ReplicaFailure", "True", reason="FailedCreate", message="quota")
    failing = assessed(wanted, replica_set("d-1", 1, there=0, conditions=[failure]))
    assert reason(failing, "ReplicaFailure") == "FailedCreate"
    wanted.status = failing
    assert reason(assessed(wanted, replica_set("d-1", 1)), "ReplicaFailure") == ""


def test_condition_keeps_its_transition_time_while_its_status_stays() -> None:
    first = progress.put([], "Progressing", "True", "A", "", NOW)
    second = progress.put(first, "Progressing", "True", "B", "", NOW + 5)
    assert second[0].last_transition_time == timestamp(NOW)
    third = progress.put(second, "Progressing", "False", "B", "", NOW + 9)
    assert third[0].last_transition_time == timestamp(NOW + 9)
    assert progress.put(third, "Progressing", "False", "B", "other words", NOW + 20) == third


def test_unavailable_counts_what_is_asked_for_and_not_available() -> None:
    sets = [replica_set("new", 1, there=1), replica_set("old", 3, available=1)]
    status = progress.counts(deployment(3), sets[0], sets, [], NOW)
    assert (status.replicas, status.updated_replicas, status.unavailable_replicas) == (4, 1, 3)
