"""Selectors, node affinity, taints."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kubeedge.apiserver.controllers.selection import (
    first_untolerated,
    is_wanted,
    matches,
    matches_term,
    meets,
    tolerates,
)
from kubeedge.apiserver.controllers.views import (
    Affinity,
    LabelSelector,
    Metadata,
    Node,
    NodeAffinity,
    NodeSelector,
    NodeSelectorTerm,
    PodSpec,
    Requirement,
    Taint,
    Toleration,
)

NODE = Node(metadata=Metadata(name="n1", labels={"zone": "a", "cpus": "8", "empty": ""}))


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        (Requirement("zone", "In", ["a", "b"]), True),
        (Requirement("zone", "In", ["b"]), False),
        (Requirement("none", "In", ["a"]), False),
        (Requirement("zone", "NotIn", ["b"]), True),
        (Requirement("none", "NotIn", ["a"]), True),
        (Requirement("zone", "NotIn", ["a"]), False),
        (Requirement("empty", "Exists"), True),
        (Requirement("none", "Exists"), False),
        (Requirement("none", "DoesNotExist"), True),
        (Requirement("cpus", "Gt", ["7"]), True),
        (Requirement("cpus", "Gt", ["8"]), False),
        (Requirement("cpus", "Lt", ["9"]), True),
        (Requirement("zone", "Gt", ["1"]), False),
        (Requirement("cpus", "Gt", []), False),
        (Requirement("zone", "Like", ["a"]), False),
    ],
)
def test_requirements_on_labels(requirement: Requirement, expected: bool) -> None:
    assert meets(requirement, NODE.metadata.labels) is expected


def test_absent_selector_matches_nothing_and_an_empty_one_everything() -> None:
    assert not matches(None, {"a": "b"})
    assert matches(LabelSelector(), {"a": "b"})


@given(
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy")),
    st.dictionaries(st.sampled_from("abc"), st.sampled_from("xy")),
)
def test_match_labels_mean_the_same_as_in_with_one_value(wanted: dict[str, str], labels: dict[str, str]) -> None:
    expressions = [Requirement(key, "In", [value]) for key, value in wanted.items()]
    by_labels = matches(LabelSelector(match_labels=wanted), labels)
    assert by_labels == matches(LabelSelector(match_expressions=expressions), labels)
    assert by_labels == (wanted.items() <= labels.items())


def test_empty_term_matches_no_node() -> None:
    assert not matches_term(NodeSelectorTerm(), NODE)


def test_one_term_is_enough_and_all_of_it_has_to_hold() -> None:
    wrong = NodeSelectorTerm(match_expressions=[Requirement("zone", "In", ["a"]), Requirement("none", "Exists")])
    right = NodeSelectorTerm(match_fields=[Requirement("metadata.name", "In", ["n1"])])

    def spec(*terms: NodeSelectorTerm) -> PodSpec:
        return PodSpec(affinity=Affinity(node_affinity=NodeAffinity(required=NodeSelector(list(terms)))))

    assert is_wanted(spec(wrong, right), NODE)
    assert not is_wanted(spec(wrong), NODE)
    assert not is_wanted(spec(), NODE)
    assert is_wanted(PodSpec(), NODE)
    assert not is_wanted(PodSpec(node_selector={"zone": "b"}), NODE)


@pytest.mark.parametrize(
    ("toleration", "expected"),
    [
        (Toleration("k", "Equal", "v", "NoSchedule"), True),
        (Toleration("k", "", "v", ""), True),
        (Toleration("k", "Equal", "other", "NoSchedule"), False),
        (Toleration("k", "Exists", "", "NoSchedule"), True),
        (Toleration("", "Exists", "", ""), True),
        (Toleration("other", "Exists", "", ""), False),
        (Toleration("k", "Exists", "", "NoExecute"), False),
        (Toleration("", "Equal", "v", ""), False),
        (Toleration("k", "Matches", "v", ""), False),
    ],
)
def test_tolerations(toleration: Toleration, expected: bool) -> None:
    assert tolerates(toleration, Taint("k", "v", "NoSchedule")) is expected


def test_preference_of_a_node_does_not_keep_pods_away() -> None:
    taints = [Taint("a", "", "PreferNoSchedule"), Taint("b", "", "NoExecute")]
    assert first_untolerated(taints, []) == taints[1]
    assert first_untolerated(taints[:1], []) is None
