"""Which node a pod goes to: what rules a node out, in the words of a real scheduler, and what makes one better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kubeedge.apiserver.controllers.capacity import Demand, Room
from kubeedge.apiserver.controllers.selection import (
    first_untolerated,
    is_wanted,
    matches,
    matches_term,
    tolerates,
)
from kubeedge.apiserver.controllers.views import LabelSelector, Node, Pod, PodAffinityTerm, Taint

UNSCHEDULABLE_TAINT = Taint("node.kubernetes.io/unschedulable", "", "NoSchedule")

NO_NODES = "no nodes available to schedule pods"
BEST = 100
# Weights of the scores, those of a real scheduler's default profile.
TAINTS_WEIGHT, AFFINITY_WEIGHT, SPREAD_WEIGHT, FIT_WEIGHT, BALANCE_WEIGHT = 3, 2, 2, 1, 1


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node is ruled out; is_final says that removing other pods from it would not help."""

    reasons: tuple[str, ...]
    is_final: bool = True


def refusal(demand: Demand, room: Room) -> Refusal | None:
    """Return why the pod cannot go to the node, None when it can. The first obstacle counts, in a scheduler's order."""
    spec, node = demand.pod.spec, room.node
    if node.spec.unschedulable and not any(tolerates(t, UNSCHEDULABLE_TAINT) for t in spec.tolerations):
        return Refusal(("node(s) were unschedulable",))
    taint = first_untolerated(node.spec.taints, spec.tolerations)
    if taint is not None:
        return Refusal((f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}",))
    if not is_wanted(spec, node):
        return Refusal(("node(s) didn't match Pod's node affinity/selector",))
    if demand.ports and room.takes(demand.ports):
        return Refusal(("node(s) didn't have free ports for the requested pod ports",), is_final=False)
    return _shortage(demand, room)


def _shortage(demand: Demand, room: Room) -> Refusal | None:
    reasons = []
    is_final = False
    if len(room.demands) + 1 > room.allocatable.get("pods", 0):
        reasons.append("Too many pods")
    order = ("cpu", "memory", "ephemeral-storage")
    for resource in sorted(demand.requests, key=lambda name: (order.index(name) if name in order else 3, name)):
        asked = demand.requests[resource]
        allocatable = room.allocatable.get(resource, 0)
        if asked > 0 and asked > allocatable - room.requested.get(resource, 0):
            reasons.append(f"Insufficient {resource}")
            is_final |= asked > allocatable
    return Refusal(tuple(reasons), is_final) if reasons else None


def named_nodes(pod: Pod) -> set[str] | None:
    """Return the only nodes that the pod's affinity names, None when it doesn't go by name (DaemonSet pods do)."""
    affinity = pod.spec.affinity
    if affinity is None or affinity.node_affinity is None or affinity.node_affinity.required is None:
        return None
    names: set[str] = set()
    for term in affinity.node_affinity.required.node_selector_terms:
        wanted = [set(r.values) for r in term.match_fields if r.key == "metadata.name" and r.operator == "In"]
        if not wanted:
            return None
        names |= set.intersection(*wanted)
    return names


def message(pod: Pod, refusals: Mapping[str, Refusal], total: int) -> str:
    """Return why no node fits: reasons counted over nodes, then what preemption could do (nothing: there is none)."""
    if total == 0:
        return NO_NODES
    reasons = Counter(reason for refused in refusals.values() for reason in refused.reasons)
    if pod.spec.preemption_policy == "Never":
        preemption = "not eligible due to preemptionPolicy=Never."
    else:
        hopes = Counter(
            "Preemption is not helpful for scheduling"
            if refused.is_final
            else "No preemption victims found for incoming pod"
            for refused in refusals.values()
        )
        preemption = f"0/{total} nodes are available: {_histogram(hopes)}."
    return f"0/{total} nodes are available: {_histogram(reasons)}. preemption: {preemption}"


def _histogram(counts: Counter[str]) -> str:
    return ", ".join(sorted(f"{count} {reason}" for reason, count in counts.items()))


class Topology:
    """Where pods are, for demands of a pod on its neighbours: required pod affinity and anti-affinity, both ways."""

    def __init__(
        self, pod: Pod, rooms: Mapping[str, Room], namespace_labels: Callable[[str], Mapping[str, str]]
    ) -> None:
        """Work out what holds for all nodes; namespace_labels gives the labels of a namespace."""
        self._pod = pod
        self._labels_of = namespace_labels
        affinity = pod.spec.affinity
        near = affinity.pod_affinity.required if affinity is not None and affinity.pod_affinity else []
        away = affinity.pod_anti_affinity.required if affinity is not None and affinity.pod_anti_affinity else []
        # For each term the values of its topology key at which a matching pod runs.
        self._near = [(term, self._domains(term, pod, rooms)) for term in near]
        self._away = [(term, self._domains(term, pod, rooms)) for term in away]
        self._kept_away = self._domains_of_others(rooms)

    def refusal(self, node: Node) -> Refusal | None:
        """Return why the pod cannot go to the node because of other pods."""
        labels = node.metadata.labels
        for term, domains in self._near:
            value = labels.get(term.topology_key)
            if value is None or (value not in domains and not self._is_first(term, domains)):
                return Refusal(("node(s) didn't match pod affinity rules",))
        for term, domains in self._away:
            if labels.get(term.topology_key) in domains:
                return Refusal(("node(s) didn't match pod anti-affinity rules",), is_final=False)
        if any(labels.get(key) == value for key, value in self._kept_away):
            return Refusal(("node(s) didn't satisfy existing pods anti-affinity rules",), is_final=False)
        return None

    def _is_first(self, term: PodAffinityTerm, domains: set[str]) -> bool:
        """The first of pods that want to be near each other may go anywhere."""
        return not domains and self._selects(term, self._pod, self._pod)

    def _selects(self, term: PodAffinityTerm, owner: Pod, other: Pod) -> bool:
        namespace = other.metadata.namespace
        if term.namespace_selector is not None:
            fits = namespace in term.namespaces or self._selects_namespace(term.namespace_selector, namespace)
        else:
            fits = namespace in (term.namespaces or [owner.metadata.namespace])
        return fits and matches(term.label_selector, other.metadata.labels)

    def _selects_namespace(self, selector: LabelSelector, namespace: str) -> bool:
        return matches(selector, self._labels_of(namespace))

    def _domains(self, term: PodAffinityTerm, owner: Pod, rooms: Mapping[str, Room]) -> set[str]:
        return {
            value
            for room in rooms.values()
            if (value := room.node.metadata.labels.get(term.topology_key)) is not None
            and any(self._selects(term, owner, demand.pod) for demand in room.demands.values())
        }

    def _domains_of_others(self, rooms: Mapping[str, Room]) -> set[tuple[str, str]]:
        found = set()
        for room in rooms.values():
            for demand in room.demands.values():
                affinity = demand.pod.spec.affinity
                if affinity is None or affinity.pod_anti_affinity is None:
                    continue
                for term in affinity.pod_anti_affinity.required:
                    value = room.node.metadata.labels.get(term.topology_key)
                    if value is not None and self._selects(term, demand.pod, self._pod):
                        found.add((term.topology_key, value))
        return found


def scores(demand: Demand, rooms: Sequence[Room]) -> list[float]:
    """Return for each node that fits how good it is; only comparisons mean something."""
    tolerations = demand.pod.spec.tolerations
    hindered = [
        sum(
            taint.effect == "PreferNoSchedule"
            and first_untolerated([taint], tolerations, ("PreferNoSchedule",)) is not None
            for taint in room.node.spec.taints
        )
        for room in rooms
    ]
    preferred = [_preference(demand.pod, room) for room in rooms]
    together = [room.owners[demand.owner] if demand.owner else 0 for room in rooms]
    most_hindered, most_preferred, most_together = max(hindered), max(preferred), max(together)
    result = []
    for index, room in enumerate(rooms):
        least, balance = _fit(demand, room)
        result.append(
            TAINTS_WEIGHT * (BEST * (most_hindered - hindered[index]) / most_hindered if most_hindered else BEST)
            + AFFINITY_WEIGHT * (BEST * preferred[index] / most_preferred if most_preferred else 0)
            + SPREAD_WEIGHT * (BEST * (most_together - together[index]) / most_together if most_together else BEST)
            + FIT_WEIGHT * least
            + BALANCE_WEIGHT * balance
        )
    return result


def _preference(pod: Pod, room: Room) -> int:
    affinity = pod.spec.affinity
    if affinity is None or affinity.node_affinity is None:
        return 0
    return sum(
        term.weight
        for term in affinity.node_affinity.preferred
        if term.weight and matches_term(term.preference, room.node)
    )


def _fit(demand: Demand, room: Room) -> tuple[float, float]:
    """Return (how much is left, how evenly cpu and memory are used) with the pod on the node, each up to BEST."""
    fractions = []
    for resource in ("cpu", "memory"):
        allocatable = room.allocatable.get(resource, 0)
        if allocatable:
            used = room.scored.get(resource, 0) + demand.scored.get(resource, 0)
            fractions.append(min(1.0, used / allocatable))
    if not fractions:
        return 0.0, 0.0
    mean = sum(fractions) / len(fractions)
    deviation = abs(fractions[0] - fractions[1]) / 2 if len(fractions) == 2 else 0.0
    return BEST * (1 - mean), BEST * (1 - deviation)


def place(
    demand: Demand,
    rooms: Mapping[str, Room],
    choose: Callable[[list[str]], str],
    namespace_labels: Callable[[str], Mapping[str, str]] = lambda namespace: {},
) -> tuple[str, str]:
    """Return (node name, "") for a pod, or ("", why none fits).

    rooms are those of known nodes by name; choose picks one of several equally good names.
    """
    only = named_nodes(demand.pod)
    topology = Topology(demand.pod, rooms, namespace_labels)
    refusals: dict[str, Refusal] = {}
    fitting: dict[str, Room] = {}
    for name, room in rooms.items():
        if only is not None and name not in only:
            refusals[name] = Refusal(("node(s) didn't satisfy plugin(s) [NodeAffinity]",))
            continue
        refused = refusal(demand, room) or topology.refusal(room.node)
        if refused is None:
            fitting[name] = room
        else:
            refusals[name] = refused
    if not fitting:
        return "", message(demand.pod, refusals, len(rooms))
    values = scores(demand, list(fitting.values()))
    best = max(values)
    return choose([name for name, value in zip(fitting, values, strict=True) if value == best]), ""
