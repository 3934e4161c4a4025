"""What controllers know of pods."""

from __future__ import annotations

import random

from kubeedge.apiserver.controllers import pods
from kubeedge.apiserver.controllers.views import Condition, Metadata
from kubeedge.kube.kinds import REPLICA_SET
from tests.apiserver.controllers.builders import pod


def test_pods_are_given_up_in_the_order_of_a_real_replica_set() -> None:
    order = [
        pod("unbound", phase="Pending"),
        pod("pending", node="n1", phase="Pending"),
        pod("unknown", node="n1", phase="Unknown"),
        pod("not-ready", node="n1"),
        pod("cheap", node="n1", ready_at=10, annotations={pods.DELETION_COST: "-5"}),
        pod("crowded", node="n2", ready_at=10),
        pod("lately-ready", node="n1", ready_at=90),
        pod("restarted", node="n1", ready_at=10, restarts=3),
        pod("young", node="n1", ready_at=10, created=9),
        pod("old", node="n1", ready_at=10, created=1),
        pod("dear", node="n1", ready_at=90, annotations={pods.DELETION_COST: "100"}),
    ]
    shuffled = order.copy()
    random.Random(1).shuffle(shuffled)
    assert pods.deletion_order(shuffled, {"n1": 1, "n2": 5}) == order


def test_malformed_deletion_cost_counts_as_nothing() -> None:
    assert pods.deletion_cost(pod(annotations={pods.DELETION_COST: "much"})) == 0


def test_ready_pod_becomes_available_after_a_while() -> None:
    assert pods.available_in(pod(ready_at=100), 0, 100) == 0
    assert pods.available_in(pod(ready_at=100), 10, 104) == 6
    assert pods.available_in(pod(ready_at=100), 10, 111) == 0
    assert pods.available_in(pod(), 0, 100) is None


def test_finished_and_leaving_pods_are_no_replicas() -> None:
    assert pods.is_active(pod(phase="Pending"))
    assert not pods.is_active(pod(phase="Failed"))
    assert not pods.is_active(pod(phase="Succeeded"))
    assert not pods.is_active(pod(deleting=True))


def test_template_gives_a_pod_that_is_owned() -> None:
    template = {"metadata": {"labels": {"a": "b"}, "annotations": None}, "spec": {"containers": []}}
    made = pods.from_template(template, REPLICA_SET, Metadata(name="rs", namespace="ns", uid="u"))
    assert made["metadata"]["generateName"] == "rs-"
    assert made["metadata"]["labels"] == {"a": "b"}
    assert "annotations" not in made["metadata"]
    assert made["metadata"]["ownerReferences"][0]["kind"] == "ReplicaSet"


def test_condition_of_the_same_status_keeps_its_transition_time() -> None:
    old = [Condition("A", "True", last_transition_time="t0", reason="r")]
    assert pods.with_condition(old, Condition("A", "True", last_transition_time="t1", reason="r")) is None
    changed = pods.with_condition(old, Condition("A", "True", last_transition_time="t1", reason="other"))
    assert changed is not None
    assert changed[0].last_transition_time == "t0"
    added = pods.with_condition(old, Condition("B", "True"))
    assert added is not None
    assert [found.type for found in added] == ["A", "B"]
