"""What owner references mean."""

from __future__ import annotations

from kubeedge.apiserver.controllers.ownergraph import FOREGROUND, ORPHAN, Graph, decide, judge
from kubeedge.apiserver.controllers.views import Metadata, OwnerReference
from kubeedge.kube.kinds import CONFIG_MAP


def meta(
    uid: str, *owners: str, blocking: bool = False, deleting: bool = False, finalizers: tuple[str, ...] = ()
) -> Metadata:
    return Metadata(
        name=uid,
        namespace="ns",
        uid=uid,
        owner_references=[OwnerReference("v1", "ConfigMap", owner, owner, None, blocking) for owner in owners],
        finalizers=list(finalizers),
        deletion_timestamp="t" if deleting else None,
    )


def graph(*metas: Metadata) -> Graph:
    made = Graph()
    for found in metas:
        made.put(CONFIG_MAP, found)
    return made


def action(made: Graph, uid: str, *absent: str) -> tuple[list[str], str]:
    owned = made.get(uid)
    assert owned is not None
    result = decide(owned, judge(owned, made, lambda owner: owner.uid in absent), made.dependents(uid))
    return [owner.uid for owner in result.cut], result.delete


def test_object_without_owners_is_left_alone() -> None:
    assert action(graph(meta("a")), "a") == ([], "")


def test_present_owner_keeps_and_an_absent_one_lets_go() -> None:
    made = graph(meta("owner"), meta("child", "owner"))
    assert action(made, "child") == ([], "")
    made.remove("owner")
    assert action(made, "child", "owner") == ([], "Background")
    assert action(made, "child") == ([], "")


def test_one_solid_owner_is_enough_and_the_others_are_cut() -> None:
    going = meta("going", deleting=True, finalizers=(FOREGROUND,))
    made = graph(meta("solid"), going, meta("child", "solid", "absent", "going"))
    assert action(made, "child", "absent") == (["absent", "going"], "")


def test_dependents_of_a_waiting_owner_go_the_same_way_when_they_have_dependents() -> None:
    going = meta("going", deleting=True, finalizers=(FOREGROUND,))
    made = graph(going, meta("child", "going"), meta("leaf", "child"))
    assert action(made, "child") == ([], "Foreground")
    made.remove("leaf")
    assert action(made, "child") == ([], "Background")


def test_policy_that_an_object_asked_for_itself_is_kept() -> None:
    made = graph(meta("child", "absent", finalizers=(ORPHAN,)), meta("other", "absent", finalizers=(FOREGROUND,)))
    assert action(made, "child", "absent") == ([], "Orphan")
    assert action(made, "other", "absent") == ([], "Foreground")


def test_object_that_is_being_deleted_needs_no_second_deletion() -> None:
    assert action(graph(meta("child", "absent", deleting=True)), "child", "absent") == ([], "")


def test_only_dependents_that_ask_for_it_block_their_owner() -> None:
    made = graph(meta("owner"), meta("free", "owner"), meta("blocking", "owner", blocking=True))
    assert {found.uid for found in made.dependents("owner")} == {"free", "blocking"}
    assert [found.uid for found in made.blocking("owner")] == ["blocking"]


def test_changed_owners_change_the_dependents_of_both() -> None:
    made = graph(meta("child", "one"))
    made.put(CONFIG_MAP, meta("child", "two"))
    assert made.dependents("one") == []
    assert [found.uid for found in made.dependents("two")] == ["child"]
    made.remove("child")
    made.remove("child")
    assert len(made) == 0
    assert made.dependents("two") == []
