"""What pods ask for and what nodes have left of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache

from kubeedge.apiserver.controllers.views import Container, Node, Pod, PodSpec
from kubeedge.kube import quantity

# What a container without requests is taken to need, so that such pods are spread as well (for scores only).
DEFAULT_CPU_MILLI = 100
DEFAULT_MEMORY_BYTES = 200 * 1024 * 1024

# Amounts by resource name: cpu in thousandths, everything else in whole units.
Amounts = dict[str, int]
# (protocol, port, address) that a pod takes on its node.
HostPort = tuple[str, int, str]


@lru_cache(maxsize=1024)
def amount(resource: str, text: str) -> int:
    """Return a quantity in the unit that its resource is counted in; what is no quantity counts as nothing."""
    try:
        return quantity.milli(text) if resource == "cpu" else quantity.whole(text)
    except quantity.QuantityError:
        return 0


def amounts(quantities: Mapping[str, str]) -> Amounts:
    """Return quantities in units."""
    return {resource: amount(resource, text) for resource, text in quantities.items()}


def _sum(parts: Iterable[Mapping[str, int]]) -> Amounts:
    total: Amounts = {}
    for part in parts:
        for resource, value in part.items():
            total[resource] = total.get(resource, 0) + value
    return total


def _most(one: Mapping[str, int], other: Mapping[str, int]) -> Amounts:
    return {resource: max(one.get(resource, 0), other.get(resource, 0)) for resource in one.keys() | other.keys()}


def _with_defaults(container: Container) -> Amounts:
    asked = amounts(container.resources.requests)
    return {"cpu": DEFAULT_CPU_MILLI, "memory": DEFAULT_MEMORY_BYTES} | asked


def requests(spec: PodSpec, *, defaults: bool = False) -> Amounts:
    """Return what a pod needs at its greediest: all its containers, or one init container with the sidecars so far.

    defaults takes DEFAULT_CPU_MILLI and DEFAULT_MEMORY_BYTES for containers that ask for nothing.
    """

    def asked(container: Container) -> Amounts:
        return _with_defaults(container) if defaults else amounts(container.resources.requests)

    sidecars: Amounts = {}
    peak: Amounts = {}
    for container in spec.init_containers:
        if container.restart_policy == "Always":
            sidecars = _sum([sidecars, asked(container)])
            peak = _most(peak, sidecars)
        else:
            peak = _most(peak, _sum([sidecars, asked(container)]))
    total = _most(_sum([sidecars, *map(asked, spec.containers)]), peak)
    if spec.resources is not None:
        total |= amounts(spec.resources.requests)
    return _sum([total, amounts(spec.overhead)])


def host_ports(spec: PodSpec) -> list[HostPort]:
    """Return the ports of the node that a pod takes."""
    sidecars = [container for container in spec.init_containers if container.restart_policy == "Always"]
    return [
        (port.protocol, port.host_port, port.host_ip or "0.0.0.0")
        for container in [*spec.containers, *sidecars]
        for port in container.ports
        if port.host_port > 0
    ]


class Demand:
    """What one pod takes from its node, worked out once."""

    __slots__ = ("owner", "pod", "ports", "requests", "scored")

    def __init__(self, pod: Pod) -> None:
        self.pod = pod
        self.requests = requests(pod.spec)
        self.scored = requests(pod.spec, defaults=True)
        self.ports = host_ports(pod.spec)
        owner = pod.metadata.controller
        self.owner = owner.uid if owner is not None else ""


class Room:
    """A node and the pods on it, with the sums kept up to date; pods may be bound to a node that isn't known (yet)."""

    __slots__ = ("allocatable", "demands", "is_known", "node", "owners", "requested", "scored")

    def __init__(self, node: Node | None = None) -> None:
        self.node = Node()
        self.is_known = False
        self.allocatable: Amounts = {}
        self.demands: dict[str, Demand] = {}
        self.requested: Amounts = {}
        self.scored: Amounts = {}
        self.owners: Counter[str] = Counter()
        if node is not None:
            self.change(node)

    def change(self, node: Node) -> None:
        """Take a new state of the node."""
        self.node = node
        self.is_known = True
        self.allocatable = amounts(node.status.allocatable)

    def add(self, demand: Demand) -> None:
        """Put a pod on the node, in place of what it asked for before if it is there already."""
        uid = demand.pod.metadata.uid
        self.remove(uid)
        self.demands[uid] = demand
        self._count(demand, 1)

    def remove(self, uid: str) -> bool:
        """Take a pod off the node; tell whether it was there."""
        demand = self.demands.pop(uid, None)
        if demand is None:
            return False
        self._count(demand, -1)
        return True

    def _count(self, demand: Demand, sign: int) -> None:
        for total, part in ((self.requested, demand.requests), (self.scored, demand.scored)):
            for resource, value in part.items():
                total[resource] = total.get(resource, 0) + sign * value
        if demand.owner:
            self.owners[demand.owner] += sign

    def takes(self, ports: Iterable[HostPort]) -> bool:
        """Tell whether one of ports is taken on the node; 0.0.0.0 stands for all addresses."""
        taken = [port for demand in self.demands.values() for port in demand.ports]
        return any(
            (protocol, number) == (other_protocol, other_number)
            and (address == other_address or "0.0.0.0" in (address, other_address))
            for protocol, number, address in ports
            for other_protocol, other_number, other_address in taken
        )
