"""Whether labels match a LabelSelector, a node matches a pod's demands, and a pod tolerates a taint. All pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from kubeedge.apiserver.controllers.views import (
    LabelSelector,
    Node,
    NodeSelectorTerm,
    PodSpec,
    Requirement,
    Taint,
    Toleration,
)
from kubeedge.kube.requirement import is_met

HINDERING = ("NoSchedule", "NoExecute")


def matches(selector: LabelSelector | None, labels: Mapping[str, str]) -> bool:
    """Tell whether labels match; an absent selector matches nothing, an empty one everything."""
    if selector is None:
        return False
    return contains(labels, selector.match_labels) and all(
        meets(requirement, labels) for requirement in selector.match_expressions
    )


def is_empty(selector: LabelSelector) -> bool:
    """Tell whether a selector demands nothing."""
    return not selector.match_labels and not selector.match_expressions


def contains(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    """Tell whether labels have every entry of wanted."""
    return all(labels.get(key) == value for key, value in wanted.items())


def meets(requirement: Requirement, labels: Mapping[str, str]) -> bool:
    """Tell whether labels meet a requirement; one with an operator that does not exist is never met."""
    return is_met(requirement.operator, labels.get(requirement.key), requirement.values)


def matches_term(term: NodeSelectorTerm, node: Node) -> bool:
    """Tell whether a node meets all of a term; an empty term matches no node."""
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(meets(requirement, node.metadata.labels) for requirement in term.match_expressions) and all(
        meets(requirement, fields) for requirement in term.match_fields
    )


def is_wanted(spec: PodSpec, node: Node) -> bool:
    """Tell whether a node meets the pod's nodeSelector and required node affinity."""
    if not contains(node.metadata.labels, spec.node_selector):
        return False
    if spec.affinity is None or spec.affinity.node_affinity is None:
        return True
    required = spec.affinity.node_affinity.required
    return required is None or any(matches_term(term, node) for term in required.node_selector_terms)


def tolerates(toleration: Toleration, taint: Taint) -> bool:
    """Tell whether a toleration covers a taint; an empty effect or key (with Exists) stands for all."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if toleration.key and toleration.key != taint.key:
        return False
    if toleration.operator == "Exists":
        return True
    return toleration.operator in ("", "Equal") and bool(toleration.key) and toleration.value == taint.value


def first_untolerated(
    taints: Iterable[Taint], tolerations: list[Toleration], effects: tuple[str, ...] = HINDERING
) -> Taint | None:
    """Return the first taint with one of these effects that no toleration covers."""
    for taint in taints:
        if taint.effect in effects and not any(tolerates(toleration, taint) for toleration in tolerations):
            return taint
    return None
