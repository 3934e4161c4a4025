"""What a workload keeps, adopts and releases."""

from __future__ import annotations

from kubeedge.apiserver.controllers.ownership import by_controller, claim
from kubeedge.apiserver.controllers.views import LabelSelector, Metadata, Pod
from tests.apiserver.controllers.builders import pod

OWNER = Metadata(name="rs", namespace="default", uid="me")
SELECTOR = LabelSelector(match_labels={"app": "x"})
X, Y = {"app": "x"}, {"app": "y"}


def names(pods: list[Pod]) -> list[str]:
    return [found.metadata.name for found in pods]


def test_selector_and_owner_decide() -> None:
    pods = [
        pod("mine", labels=X, owner="me"),
        pod("strayed", labels=Y, owner="me"),
        pod("orphan", labels=X),
        pod("stranger", labels=Y),
        pod("others", labels=X, owner="other"),
        pod("leaving-orphan", labels=X, deleting=True),
        pod("leaving-strayed", labels=Y, owner="me", deleting=True),
        pod("leaving-mine", labels=X, owner="me", deleting=True),
    ]
    decision = claim(OWNER, SELECTOR, pods)
    assert names(decision.keep) == ["mine", "leaving-mine"]
    assert names(decision.adopt) == ["orphan"]
    assert names(decision.release) == ["strayed"]


def test_owner_that_is_being_deleted_keeps_but_changes_nothing() -> None:
    owner = Metadata(name="rs", namespace="default", uid="me", deletion_timestamp="t")
    pods = [pod("mine", labels=X, owner="me"), pod("strayed", labels=Y, owner="me"), pod("orphan", labels=X)]
    decision = claim(owner, SELECTOR, pods)
    assert (names(decision.keep), decision.adopt, decision.release) == (["mine"], [], [])


def test_empty_selector_claims_nothing() -> None:
    decision = claim(OWNER, LabelSelector(), [pod("orphan")])
    assert (decision.keep, decision.adopt, decision.release) == ([], [], [])


def test_objects_are_found_by_their_controller_or_as_orphans_of_their_namespace() -> None:
    assert by_controller(pod("a", owner="me")) == ("me",)
    assert by_controller(pod("b")) == ("orphan/default",)
